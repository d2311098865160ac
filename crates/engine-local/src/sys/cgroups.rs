//! Control groups on the host: making, reading, emptying, removing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::cgroups::{Allowance, CpuUnit, Layout, Limits, Plan, counter};

/// The layout of this host.
///
/// # Errors
/// When `/proc` cannot be read.
pub(crate) fn layout() -> io::Result<Layout> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
    let mut layout = Layout::parse(&mountinfo, "");
    if let Some(unified) = layout.hierarchies.iter().find(|one| one.unified) {
        let controllers = fs::read_to_string(unified.mount.join("cgroup.controllers"))?;
        layout = Layout::parse(&mountinfo, &controllers);
    }
    // Nobody relies on these: one that cannot be used must not be in the way of a start.
    layout.freezers.retain(|one| rustix::fs::access(&one.mount, rustix::fs::Access::WRITE_OK).is_ok());
    Ok(layout.counted())
}

/// The layout of this host with every hierarchy that there is, also those that we have no use for.
///
/// # Errors
/// When `/proc` cannot be read.
pub(crate) fn whole_layout() -> io::Result<Layout> {
    Ok(layout()?.with_all_of(&fs::read_to_string("/proc/self/mountinfo")?))
}

/// The part of the layout that this process can use: hierarchies in which groups can be made and limits be set, by
/// trying it out with the groups of the engine with this tag. What cannot be used is no error.
///
/// # Errors
/// When `/proc` cannot be read.
pub(crate) fn usable(tag: &str) -> io::Result<Layout> {
    let mut all = layout().unwrap_or_default();
    all.missing.clear();
    // Who may not make namespaces may not say which devices others get, either.
    all.common.clear();
    all.hierarchies.retain(|one| !one.controllers.iter().any(|name| name == "devices"));
    all.hierarchies.retain(|one| try_out(&Layout { hierarchies: vec![one.clone()], ..Layout::default() }, tag).is_ok());
    all.freezers.retain(|one| try_out(&Layout { freezers: vec![one.clone()], ..Layout::default() }, tag).is_ok());
    let mut all = all.counted();
    // Where nothing is limited for want of rights, that is no news.
    all.missing.clear();
    Ok(all)
}

fn try_out(layout: &Layout, tag: &str) -> io::Result<()> {
    let limits = Limits { cpu_millis: 1000, memory_bytes: 64 << 20, pids: 64, ..Limits::default() };
    let (plan, allowance) = (layout.plan(tag, "trial"), layout.allowance(tag, "trial", limits));
    let tried = make_parents(layout, tag).and_then(|()| create(&plan)).and_then(|()| allow(&allowance));
    let _ = remove(&plan);
    let _ = layout.parents(tag).iter().try_for_each(|parent| remove_dir(parent));
    tried
}

/// Makes the directories of the engine with this tag.
///
/// # Errors
/// The kernel's, with the path.
pub(crate) fn make_parents(layout: &Layout, tag: &str) -> io::Result<()> {
    for parent in layout.parents(tag) {
        make(&parent)?;
    }
    layout.delegation(tag).iter().try_for_each(|(file, text)| write(file, text))
}

/// Leaves the instances of the engine with this tag no devices but theirs, where version 1 has a list of them. Refused
/// by the kernel (`InvalidInput`) while there is a group below, as there would be of an engine of before that list was
/// common: what a dead one left is to be swept first.
///
/// # Errors
/// The kernel's, with the path.
pub(crate) fn restrict_devices(layout: &Layout, tag: &str) -> io::Result<()> {
    layout.restriction(tag).iter().try_for_each(|(file, text)| write(file, text))
}

/// Makes the groups of one instance, without limits. Nothing is left when it fails.
///
/// # Errors
/// The kernel's, with the path.
pub(crate) fn create(plan: &Plan) -> io::Result<()> {
    plan.directories.iter().try_for_each(|dir| make(dir)).inspect_err(|_| {
        let _ = remove(plan);
    })
}

/// Limits what one instance may use. Waits for nothing in the kernel, and so is for the way of a request, too.
///
/// # Errors
/// The kernel's, with the path.
pub(crate) fn allow(allowance: &Allowance) -> io::Result<()> {
    // A kernel without the feature has no such file.
    let wish = |(file, text): &(PathBuf, String)| drop(write(file, text));
    allowance.first.iter().for_each(wish);
    allowance.settings.iter().try_for_each(|(file, text)| write(file, text))?;
    allowance.wishes.iter().for_each(wish);
    Ok(())
}

/// Gives the CPU back to an instance that may be frozen. Signals wait for that.
pub(crate) fn thaw(plan: &Plan) {
    if let Some(freezer) = &plan.freezer {
        // Gone with the instance, or of a kernel without it: then there is nothing to be thawed.
        let _ = write(&freezer.file, freezer.thaw);
    }
}

/// The calling thread, its process' only one, joins the groups that it cannot be born in.
///
/// # Errors
/// The kernel's, with the path.
pub(crate) fn join(plan: &Plan) -> io::Result<()> {
    let others = plan.directories.iter().filter(|&dir| plan.born.as_ref() != Some(dir)).chain(&plan.shared);
    others.map(|dir| dir.join("tasks")).try_for_each(|file| write(&file, "0"))
}

/// The calling process joins the group that it was not born in, although it could have been.
///
/// # Errors
/// The kernel's, with the path.
pub(crate) fn join_late(plan: &Plan) -> io::Result<()> {
    plan.born.as_ref().map_or(Ok(()), |dir| write(&dir.join("cgroup.procs"), "0"))
}

/// Removes the groups of one instance; those that are gone are no error.
///
/// # Errors
/// `ResourceBusy` while the kernel still empties them: to be tried again.
pub(crate) fn remove(plan: &Plan) -> io::Result<()> {
    plan.directories.iter().try_for_each(|dir| remove_dir(dir))
}

/// How many processes the kernel has killed for the memory of the instance.
pub(crate) fn memory_kills(plan: &Plan) -> u64 {
    let Some((file, key)) = &plan.kills else { return 0 };
    fs::read_to_string(file).ok().and_then(|text| counter(&text, key)).unwrap_or(0)
}

/// The highest use of memory, in bytes; 0 when the kernel does not tell.
pub(crate) fn memory_peak(plan: &Plan) -> u64 {
    plan.peak.as_deref().and_then(number).unwrap_or(0)
}

/// The present use of memory, in bytes.
pub(crate) fn memory_now(plan: &Plan) -> Option<u64> {
    plan.memory.as_deref().and_then(number)
}

/// How often the kernel refused a new process or thread for their number.
pub(crate) fn forks_refused(plan: &Plan) -> u64 {
    let Some((file, key)) = &plan.forks_refused else { return 0 };
    fs::read_to_string(file).ok().and_then(|text| counter(&text, key)).unwrap_or(0)
}

/// The processes of an instance.
pub(crate) fn members(plan: &Plan) -> Vec<u32> {
    let pids = plan.directories.first().map(|dir| processes(dir)).unwrap_or_default();
    pids.into_iter().map(|pid| pid.as_raw_nonzero().get().unsigned_abs()).collect()
}

/// The CPU time used.
pub(crate) fn cpu_time(plan: &Plan) -> Option<Duration> {
    match plan.cpu.as_ref()? {
        (file, CpuUnit::Nanoseconds) => number(file).map(Duration::from_nanos),
        (file, CpuUnit::UsageUsec) => {
            let text = fs::read_to_string(file).ok()?;
            counter(&text, "usage_usec").map(Duration::from_micros)
        }
    }
}

/// Ends every process in the groups of the engine with this tag and removes the groups. For what a
/// dead launcher left: a live one would be robbed of its instances.
///
/// Blocks for up to a few seconds while the kernel lets go.
///
/// # Errors
/// The kernel's, with the path, when something stays.
pub(crate) fn sweep(layout: &Layout, tag: &str) -> io::Result<()> {
    let parents = layout.parents(tag);
    // First: what version 1 has frozen does not end, whatever kills it.
    for name in parents.iter().filter_map(|parent| children(parent).ok()?).flatten() {
        thaw(&layout.plan(tag, &name));
    }
    for parent in parents {
        // Asking for the removal of what is not there is an error where nothing may be removed.
        let Some(children) = children(&parent)? else { continue };
        for child in children {
            empty(&parent.join(child))?;
        }
        empty(&parent)?;
    }
    Ok(())
}

/// The names of the groups below one; `None` when it is not there.
fn children(parent: &Path) -> io::Result<Option<Vec<String>>> {
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(named(parent, error)),
    };
    let dirs = entries.filter_map(Result::ok).filter(|entry| entry.path().is_dir());
    Ok(Some(dirs.filter_map(|dir| dir.file_name().into_string().ok()).collect()))
}

/// Ends every process in one group and removes it.
fn empty(dir: &Path) -> io::Result<()> {
    const ATTEMPTS: u32 = 2000;
    let mut last = io::Error::from(io::ErrorKind::ResourceBusy);
    for _ in 0..ATTEMPTS {
        for pid in processes(dir) {
            // It may have ended by itself meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
        match remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) => last = error,
        }
        thread::sleep(Duration::from_millis(2));
    }
    Err(last)
}

fn processes(dir: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
}

fn number(file: impl AsRef<Path>) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn make(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(named(dir, error)),
        _ => Ok(()),
    }
}

fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(named(dir, error)),
        _ => Ok(()),
    }
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    // Without O_CREAT: a missing file must not be mistaken for a directory that lacks permission.
    let mut open = fs::OpenOptions::new();
    let file_handle = open.write(true).open(file).map_err(|error| named(file, error))?;
    io::Write::write_all(&mut &file_handle, text.as_bytes()).map_err(|error| named(file, error))
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        process::{Command, Stdio},
    };

    use super::*;

    /// Each freezer that this host has, and so version 1's as well where the unified hierarchy would do.
    #[test]
    fn what_is_frozen_is_thawed_and_ended_by_a_sweep() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let found = layout().expect("/proc is there");
        assert!(!found.freezers.is_empty() || found.hierarchies.is_empty());
        for freezer in found.freezers {
            let tag = format!("frz{:x}", std::process::id());
            let layout = Layout { freezers: vec![freezer], ..Layout::default() };
            make_parents(&layout, &tag).expect("root may");
            let plan = layout.plan(&tag, "i");
            create(&plan).expect("root may");
            let mut child = Command::new("yes").stdout(Stdio::piped()).spawn().expect("coreutils are there");
            let pid = child.id().to_string();
            plan.directories.iter().for_each(|dir| write(&dir.join("cgroup.procs"), &pid).expect("it is alive"));
            let freezer = plan.freezer.clone().expect("there is one");
            let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
            for _ in 0..3 {
                write(&freezer.file, freezer.freeze).expect("it is alive");
                thaw(&plan);
                // More than a pipe holds: it has gone on.
                lines.by_ref().take(1 << 16).for_each(|line| assert_eq!(line.expect("text"), "y"));
            }
            write(&freezer.file, freezer.freeze).expect("it is alive");
            sweep(&layout, &tag).expect("nothing stays");
            assert!(!child.wait().expect("our own").success());
            assert!(layout.parents(&tag).iter().all(|parent| !parent.exists()));
        }
    }
}
