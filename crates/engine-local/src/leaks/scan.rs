//! What is on the host, read from `/proc`, `/sys` and netlink. Nothing is decided here, and nothing changed.

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{Group, Holder, Link, Mount, Owner, Owners, Process, Role, Seen, is_tag, tag_in};
use crate::{
    net::traces::{self, Reader},
    sys::succession,
};

/// Chains of parents longer than this are none.
const GENERATIONS: usize = 1000;

/// A line of `/proc/PID/stat`.
struct Stat {
    pid: u32,
    name: String,
    parent: u32,
    started: u64,
}

/// Everything that may be an engine's.
pub(super) fn see(data_dir: &Path, tag: &str) -> io::Result<Seen> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
    let mut seen = Seen { groups: groups(&mountinfo), mounts: mounts(&mountinfo, data_dir, tag), ..Seen::default() };
    for stat in processes()? {
        let role = match inside(stat.pid) {
            Some((tag, instance)) => Some(Role::Inside(tag, instance)),
            None => tag_in(&stat.name).map(|tag| Role::Launcher(tag.to_owned())),
        };
        seen.parents.insert(stat.pid, stat.parent);
        seen.processes.extend(role.map(|role| Process { pid: stat.pid, started: stat.started, role }));
    }
    // Without the rights to ask there is nothing that an engine could have made either.
    if let Ok(mut reader) = Reader::open() {
        seen.links = links(&mut reader);
        seen.tables = reader.tables().unwrap_or_default();
    }
    seen.forwarding = traces::forwarding(&data_dir.join("run"), tag);
    Ok(seen)
}

/// The process that has the lock of the data directory; by the kernel's list, so that no lock has to be tried.
pub(super) fn holder(data_dir: &Path) -> io::Result<Option<Holder>> {
    let Ok(lock) = fs::metadata(data_dir.join("LOCK")) else { return Ok(None) };
    let locks = fs::read_to_string("/proc/locks")?;
    let Some(pid) = locks.lines().find_map(|line| locker(line, &lock)) else { return Ok(None) };
    Ok(Some(Holder { pid, open: descriptors(pid).into_iter().map(|(_, target)| target).collect() }))
}

/// Who lives for which tag: a launcher with somebody who has its lock file open as well and is none of its own, one
/// that says that it waits for a server, and the server that has the data directory in question (`serving`: tag and
/// process), also while it has no launcher.
pub(super) fn owners(seen: &Seen, serving: Option<(&str, u32)>) -> Owners {
    let mut owners = Owners::new();
    let mut holders: HashMap<String, Vec<u32>> = HashMap::new();
    if let Some((tag, server)) = serving {
        owners.insert(tag.to_owned(), Owner::default());
        holders.insert(tag.to_owned(), vec![server]);
    }
    for process in &seen.processes {
        let Role::Launcher(tag) = &process.role else { continue };
        let (server, waits) = (server_of(seen, tag, process.pid, serving), waits(process.pid));
        if server.is_some() || waits.is_some() {
            let owner = owners.entry(tag.clone()).or_default();
            owner.launcher = Some(process.pid);
            owner.waits = waits.filter(|_| server.is_none());
            holders.entry(tag.clone()).or_default().extend(server.into_iter().chain([process.pid]));
        }
    }
    for process in &seen.processes {
        if let Role::Inside(tag, _) = &process.role
            && let Some(holders) = holders.get_mut(tag)
        {
            holders.push(process.pid);
        }
    }
    if let Ok(mut reader) = Reader::open() {
        for (tag, owner) in &mut owners {
            let pids = holders.get(tag).into_iter().flatten();
            owner.namespaces =
                pids.flat_map(|&pid| namespaces(pid)).filter_map(|path| number(&mut reader, &path)).collect();
        }
    }
    owners
}

fn number(reader: &mut Reader, path: &Path) -> Option<i32> {
    let namespace = fs::File::open(path).ok()?;
    reader.number(namespace.as_fd())
}

/// Where the network namespaces that a process holds can be opened.
fn namespaces(pid: u32) -> BTreeSet<PathBuf> {
    let is_network = |target: &Path| target.to_str().is_some_and(|target| target.starts_with("net:["));
    let held = descriptors(pid).into_iter().filter(|(_, target)| is_network(target)).map(|(path, _)| path);
    held.chain([PathBuf::from(format!("/proc/{pid}/ns/net"))]).collect()
}

/// The server of a launcher: its parent, or another one that adopted it.
fn server_of(seen: &Seen, tag: &str, launcher: u32, serving: Option<(&str, u32)>) -> Option<u32> {
    let parent = *seen.parents.get(&launcher)?;
    let lock = lock_of(launcher);
    let has_lock = |pid: u32| lock.as_ref().is_some_and(|lock| descriptors(pid).iter().any(|(_, open)| open == lock));
    if let Some((serving, server)) = serving.filter(|(serving, _)| *serving == tag) {
        // Of a data directory there is one server.
        return (serving == tag && (parent == server || has_lock(server))).then_some(server);
    }
    if has_lock(parent) {
        return Some(parent);
    }
    // What the launcher made may have it open, too.
    let is_its_own = |pid: u32| {
        let ancestors = std::iter::successors(Some(pid), |pid| seen.parents.get(pid).copied());
        ancestors.take(GENERATIONS).any(|ancestor| ancestor == launcher)
    };
    seen.parents.keys().copied().find(|&pid| !is_its_own(pid) && has_lock(pid))
}

/// The lock that is the launcher's standard output.
fn lock_of(launcher: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{launcher}/fd/1")).ok().filter(|lock| lock.ends_with("run/launcher.lock"))
}

/// Until when the launcher waits for a server, if it says so.
fn waits(launcher: u32) -> Option<SystemTime> {
    succession::waits_until(lock_of(launcher)?.parent()?)
}

/// The open descriptors of a process and what they lead to; none when it is gone or not ours to see.
fn descriptors(pid: u32) -> Vec<(PathBuf, PathBuf)> {
    let dir = fs::read_dir(format!("/proc/{pid}/fd"));
    let paths = dir.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter_map(|path| Some((path.clone(), fs::read_link(path).ok()?))).collect()
}

/// The process of a line of `/proc/locks`, if it is of a lock on that file.
fn locker(line: &str, file: &fs::Metadata) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, _, pid, place, ..] = words[..] else { return None };
    let mut numbers = place.split(':');
    let (major, minor) =
        (u32::from_str_radix(numbers.next()?, 16).ok()?, u32::from_str_radix(numbers.next()?, 16).ok()?);
    let inode: u64 = numbers.next()?.parse().ok()?;
    let is_it = inode == file.ino() && (major, minor) == (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
    is_it.then(|| pid.parse().unwrap_or(0))
}

fn processes() -> io::Result<Vec<Stat>> {
    let entries = fs::read_dir("/proc")?.filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // One that ends meanwhile is none.
    Ok(pids.filter_map(|pid| stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)).collect())
}

/// Reads `PID (NAME) STATE PARENT … STARTED …`; a name may hold anything. One that only waits to be reaped is none.
fn stat(line: &str) -> Option<Stat> {
    let (pid, rest) = line.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let (state, parent, started) = (*fields.first()?, fields.get(1)?, fields.get(19)?);
    if matches!(state, "Z" | "X") {
        return None;
    }
    Some(Stat {
        pid: pid.parse().ok()?,
        name: name.to_owned(),
        parent: parent.parse().ok()?,
        started: started.parse().ok()?,
    })
}

/// Tag and instance of the control group that a process is in, if it is one of ours.
fn inside(pid: u32) -> Option<(String, String)> {
    innermost(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

/// Of all hierarchies: in that of devices all instances of an engine share a group.
fn innermost(text: &str) -> Option<(String, String)> {
    let groups = || text.lines().filter_map(|line| group_of(line.splitn(3, ':').nth(2)?));
    groups().find(|(_, instance)| !instance.is_empty()).or_else(|| groups().next())
}

fn group_of(path: &str) -> Option<(String, String)> {
    let mut parts = path.split('/');
    let tag = parts.find_map(tag_in)?;
    Some((tag.to_owned(), parts.next().unwrap_or_default().to_owned()))
}

/// The groups of engines and their instances, in every hierarchy.
fn groups(mountinfo: &str) -> Vec<Group> {
    let mut groups = Vec::new();
    for hierarchy in mountinfo.lines().filter_map(control_group_mount) {
        for (engine, name) in directories(&hierarchy) {
            let Some(tag) = tag_in(&name) else { continue };
            let group = |path: PathBuf, instance| {
                let inode = fs::metadata(&path).ok()?.ino();
                Some(Group { path, tag: tag.to_owned(), instance, inode })
            };
            groups.extend(group(engine.clone(), None));
            groups.extend(directories(&engine).into_iter().filter_map(|(path, name)| group(path, Some(name))));
        }
    }
    groups
}

fn control_group_mount(line: &str) -> Option<PathBuf> {
    let (left, right) = line.split_once(" - ")?;
    matches!(right.split(' ').next()?, "cgroup" | "cgroup2").then_some(())?;
    Some(PathBuf::from(left.split(' ').nth(4)?))
}

fn directories(dir: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    dirs.filter_map(|entry| Some((entry.path(), entry.file_name().into_string().ok()?))).collect()
}

/// Mounts below the run directory, and those that keep a network namespace under a name of ours.
fn mounts(mountinfo: &str, data_dir: &Path, tag: &str) -> Vec<Mount> {
    let run = data_dir.join("run");
    mountinfo.lines().filter_map(|line| mount(line, (&run, tag))).collect()
}

fn mount(line: &str, (run, own): (&Path, &str)) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let fields: Vec<&str> = left.split(' ').collect();
    let (id, point) = (fields.first()?.parse().ok()?, PathBuf::from(unescaped(fields.get(4)?)));
    let namespace = right.split(' ').next()? == "nsfs" && fields.get(3)?.starts_with("net:[");
    let named = point.file_name().and_then(|name| name.to_str()).filter(|_| namespace);
    let named = named.and_then(|name| tag_in(name).or_else(|| traces::tag_of_link(name).map(|(tag, _)| tag)));
    let tag = match named.filter(|tag| is_tag(tag)) {
        Some(tag) => tag,
        None if point.starts_with(run) => own,
        None => return None,
    };
    Some(Mount { id, tag: tag.to_owned(), point, namespace })
}

/// The kernel writes blanks and the like as `\040`.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

fn links(reader: &mut Reader) -> Vec<Link> {
    let link = |link: traces::TracedLink| {
        let (tag, role) = traces::tag_of_link(&link.name)?;
        let cable_to = match role {
            traces::Role::Gateway => None,
            traces::Role::Cable => Some(link.peer),
        };
        is_tag(tag).then(|| Link { tag: tag.to_owned(), index: link.index, cable_to, name: link.name.clone() })
    };
    reader.links().unwrap_or_default().into_iter().filter_map(link).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_be_called_anything() {
        let line = "77 (a) b (c) S 5 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 10 11";
        let found = stat(line).expect("well formed");
        assert_eq!((found.pid, found.name.as_str(), found.parent, found.started), (77, "a) b (c", 5, 4242));
        assert!(stat(&line.replace(" S ", " Z ")).is_none(), "what only waits to be reaped is gone");
    }

    #[test]
    fn a_process_is_of_its_instance_whichever_hierarchy_comes_first() {
        let devices = "9:devices:/updraft-ab12cd\n";
        let found = innermost(&format!("{devices}8:pids:/updraft-ab12cd/i1\n0::/\n"));
        assert_eq!(found, Some(("ab12cd".to_owned(), "i1".to_owned())));
        assert_eq!(innermost(devices), Some(("ab12cd".to_owned(), String::new())));
    }

    #[test]
    fn a_control_group_tells_engine_and_instance() {
        let group = |path| group_of(path);
        let own = |tag: &str, instance: &str| Some((tag.to_owned(), instance.to_owned()));
        assert_eq!(group("/updraft-0a1b2c/x1"), own("0a1b2c", "x1"));
        assert_eq!(group("/system.slice/updraft-0a1b2c"), own("0a1b2c", ""));
        for other in ["/", "/updraft-0A1B2C/x", "/updraft-0a1b2c3/x", "/updraft.service", "/myupdraft-0a1b2c"] {
            assert_eq!(group(other), None, "{other}");
        }
    }

    #[test]
    fn mounts_are_known_by_their_place_or_by_their_name() {
        let see =
            |line: &str| mount(line, (Path::new("/my data/run"), "aaaaaa")).map(|mount| (mount.tag, mount.namespace));
        let own = |tag: &str, namespace| Some((tag.to_owned(), namespace));
        assert_eq!(see("9 1 0:4 / /my\\040data/run/stage rw - tmpfs tmpfs rw"), own("aaaaaa", false));
        assert_eq!(see("9 1 0:4 net:[42] /run/netns/updraft-0a1b2c rw - nsfs nsfs rw"), own("0a1b2c", true));
        assert_eq!(see("9 1 0:4 net:[42] /run/netns/ud0a1b2c-1 rw - nsfs nsfs rw"), own("0a1b2c", true));
        for other in [
            "9 1 0:4 / /my\\040data rw - ext4 /dev/sdb rw",
            "9 1 0:4 / /my\\040data/running rw - tmpfs tmpfs rw",
            "9 1 0:4 net:[42] /run/netns/updraft-it-77 rw - nsfs nsfs rw",
            "9 1 0:4 / /mnt/updraft-0a1b2c rw - tmpfs tmpfs rw",
        ] {
            assert_eq!(see(other), None, "{other}");
        }
    }

    #[test]
    fn the_holder_of_a_lock_is_found_without_trying_it() {
        let dir = tempfile::tempdir().expect("a place for the test");
        assert_eq!(holder(dir.path()).expect("/proc"), None);
        let file = fs::File::create(dir.path().join("LOCK")).expect("writable");
        assert_eq!(holder(dir.path()).expect("/proc"), None);
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).expect("free");
        let found = holder(dir.path()).expect("/proc").expect("held");
        assert_eq!(found.pid, std::process::id());
        assert!(found.open.contains(&fs::canonicalize(dir.path().join("LOCK")).expect("there")));
    }
}
