//! Trees of processes: who descends from whom, what they use, and their end.
//!
//! Where there is no PID namespace, a tree is what keeps the processes of an instance together: its
//! root is a process of ours that adopts whatever loses its parent (`PR_SET_CHILD_SUBREAPER`).

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process and its parent, as they were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
}

/// A clock tick as `/proc/PID/stat` counts them: part of the interface of this architecture.
const TICK: Duration = Duration::from_millis(10);

/// The children of a process.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    if lists_children() {
        return listed_children(pid);
    }
    let all = parents();
    all.into_iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| child).collect()
}

/// Everything that descends from `root`, parents first, without it.
pub(crate) fn descendants(root: u32) -> Vec<Member> {
    let by_parent = (!lists_children()).then(|| {
        let mut by_parent: HashMap<u32, Vec<u32>> = HashMap::new();
        for (pid, parent) in parents() {
            by_parent.entry(parent).or_default().push(pid);
        }
        by_parent
    });
    let mut found: Vec<Member> = Vec::new();
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        let children = match &by_parent {
            Some(by_parent) => by_parent.get(&parent).cloned().unwrap_or_default(),
            None => listed_children(parent),
        };
        for pid in children {
            // A number that was given anew while we looked must not lead in a circle.
            if pid != root && !found.iter().any(|member| member.pid == pid) {
                found.push(Member { pid, parent });
                open.push(pid);
            }
        }
    }
    found
}

/// Ends a process, unless its number has gone to another one since it was seen.
pub(crate) fn kill(member: Member) {
    let Some(pid) = Pid::from_raw(member.pid.cast_signed()) else { return };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    // The handle is of this process for good, so what is asked now is asked of the right one.
    if parent(member.pid) == Some(member.parent) {
        let _ = pidfd_send_signal(&handle, Signal::KILL);
    }
}

/// The memory that a process has for itself, in bytes; what it shares with others after a fork is counted in
/// each of them.
pub(crate) fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    sum(&status, &["RssAnon", "RssShmem", "VmSwap"])
}

/// The same with what is shared divided among those that share it; `None` where the kernel does not let us ask.
pub(crate) fn fair_memory(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    Some(sum(&rollup, &["Pss_Anon", "Pss_Shmem", "SwapPss"]))
}

/// The CPU time of a process and of those of its children that it has waited for.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // utime, stime, cutime, cstime: fields 14 to 17, of which the state is the third.
    let ticks: u32 = fields(&stat).skip(11).take(4).filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
    TICK * ticks
}

/// Processes that show by their root, their program or their environment that they are instances of
/// the engine that keeps the roots of its instances in `roots` and gives them `mark` as a variable.
pub(crate) fn marked(roots: &Path, mark: &str) -> Vec<Member> {
    let marked = |pid: &u32| {
        let place = PathBuf::from(format!("/proc/{pid}"));
        let below = |link: &str| fs::read_link(place.join(link)).is_ok_and(|target| target.starts_with(roots));
        let named = || {
            let environment = fs::read(place.join("environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|variable| variable.starts_with(mark.as_bytes()))
        };
        below("root") || below("exe") || below("cwd") || named()
    };
    let own = std::process::id();
    let all = numbers().filter(|pid| *pid != own).filter(marked);
    all.filter_map(|pid| Some(Member { pid, parent: parent(pid)? })).collect()
}

/// Processes other than this one that have `path` open.
pub(crate) fn holders(path: &Path) -> Vec<u32> {
    let holds = |pid: &u32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        descriptors.filter_map(|one| fs::read_link(one.path()).ok()).any(|target| target == path)
    };
    let own = std::process::id();
    numbers().filter(|pid| *pid != own).filter(holds).collect()
}

/// Has it ended, and does its parent not know yet?
pub(crate) fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    matches!(fields(&stat).next(), Some("Z" | "X"))
}

fn lists_children() -> bool {
    // Kernels may be built without it.
    Path::new("/proc/thread-self/children").exists()
}

fn listed_children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()).collect()
}

fn numbers() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parents() -> Vec<(u32, u32)> {
    numbers().filter_map(|pid| Some((pid, parent(pid)?))).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    fields(&stat).nth(1)?.parse().ok()
}

/// The fields of `/proc/PID/stat` from the state on; a name may hold anything, brackets included.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace()
}

/// The sum of these fields of a file of `Name: 123 kB` lines, in bytes.
fn sum(text: &str, names: &[&str]) -> u64 {
    let of = |name: &&str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    names.iter().map(of).sum::<u64>() << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "12 (a) b (c) S 7 12 12 0 -1 4194560 1 2 3 4 50 30 15 5 20 0";
        let all: Vec<&str> = fields(stat).collect();
        assert_eq!(all[..2], ["S", "7"]);
        assert_eq!(all[11..15], ["50", "30", "15", "5"]);
    }

    #[test]
    fn fields_are_summed_in_bytes_and_missing_ones_are_nothing() {
        let text = "Name:\tx\nRssAnon:\t     100 kB\nRssFile:\t  7 kB\nRssShmem:\t 20 kB\n";
        assert_eq!(sum(text, &["RssAnon", "RssShmem", "VmSwap"]), 120 << 10);
    }

    #[test]
    fn a_child_is_found_both_ways_and_ended() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().expect("sleep is everywhere");
        let own = std::process::id();
        assert!(listed_children(own).contains(&child.id()) || !lists_children());
        assert!(parents().contains(&(child.id(), own)));
        let member = Member { pid: child.id(), parent: own };
        assert!(descendants(own).contains(&member));
        kill(Member { parent: 1, ..member });
        assert!(child.try_wait().expect("ours").is_none(), "it is not the one that was meant");
        kill(member);
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().expect("ours")), Some(9));
    }
}
