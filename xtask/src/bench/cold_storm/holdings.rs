//! What a server has on the machine, counted: with its launchers, its instances and the sandboxes that wait, which are
//! as many before as after.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{
    Error,
    bench::{
        process::{entries, family},
        server::Server,
    },
};

/// How many there are of each kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holdings(BTreeMap<&'static str, u64>);

// === impl Holdings ===

impl Holdings {
    /// What it has now. Read in a moment that is not one: to be read again until it stays.
    pub(super) fn of(server: &Server) -> Result<Self, Error> {
        let processes = family(server.pid());
        let tag = processes.iter().find_map(|pid| tag(*pid)).ok_or("the server has no launcher")?;
        let open: Vec<PathBuf> = processes.iter().flat_map(|pid| descriptors(*pid)).collect();
        let own = processes.iter().flat_map(|pid| entries(&format!("/proc/{pid}/ns")));
        // A namespace lives on in a descriptor, too; in both places its inode is its identity.
        let held = open.iter().filter(|path| fs::read_link(path).is_ok_and(|to| is_namespace(&to)));
        let namespaces: BTreeSet<u64> =
            own.chain(held.cloned()).filter_map(|path| Some(fs::metadata(path).ok()?.ino())).collect();
        let spaces: BTreeMap<u64, u32> = processes
            .iter()
            .filter_map(|pid| Some((fs::metadata(format!("/proc/{pid}/ns/mnt")).ok()?.ino(), *pid)))
            .collect();
        let mounts = spaces.values().map(|pid| lines(&format!("/proc/{pid}/mountinfo"))).sum();
        let links = entries("/sys/class/net").iter().filter(|link| named(link, &format!("ud{tag}-"))).count();
        let groups =
            entries("/sys/fs/cgroup").iter().map(|root| directories(&root.join(format!("updraft-{tag}")))).sum();
        Ok(Self(BTreeMap::from([
            ("processes", processes.len() as u64),
            ("descriptors", open.len() as u64),
            ("namespaces", namespaces.len() as u64),
            ("mounts", mounts),
            ("links", links as u64),
            ("control groups", groups),
        ])))
    }

    /// What there is more of than before.
    pub(super) fn beyond(&self, before: &Self) -> BTreeMap<&'static str, u64> {
        let more = self.0.iter().map(|(what, count)| {
            let had = before.0.get(what).copied().unwrap_or(0);
            (*what, count.saturating_sub(had))
        });
        more.filter(|(_, count)| *count > 0).collect()
    }
}

/// The tag of the engine whose launcher this process is: its name tells.
fn tag(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let tag = name.trim().strip_prefix("updraft-")?;
    (tag.len() == 6 && tag.bytes().all(|c| c.is_ascii_hexdigit())).then(|| tag.to_owned())
}

fn descriptors(pid: u32) -> Vec<PathBuf> {
    entries(&format!("/proc/{pid}/fd"))
}

fn is_namespace(target: &Path) -> bool {
    target.to_str().is_some_and(|target| target.contains(":["))
        && !["socket:", "pipe:", "anon_inode:"].iter().any(|kind| target.to_string_lossy().starts_with(kind))
}

fn named(path: &Path, prefix: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
}

fn directories(root: &Path) -> u64 {
    let below = fs::read_dir(root).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
    u64::from(root.is_dir()) + below.map(|entry| directories(&entry.path())).sum::<u64>()
}

fn lines(file: &str) -> u64 {
    fs::read_to_string(file).unwrap_or_default().lines().count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_more_than_before_is_left() {
        let holdings = |counts: [(&'static str, u64); 3]| Holdings(counts.into());
        let before = holdings([("links", 4), ("mounts", 9), ("processes", 6)]);
        let after = holdings([("links", 6), ("mounts", 8), ("processes", 6)]);
        assert_eq!(after.beyond(&before), BTreeMap::from([("links", 2)]));
        assert!(before.beyond(&before).is_empty());
    }

    #[test]
    fn a_namespace_is_told_from_what_looks_like_one() {
        assert!(is_namespace(Path::new("net:[4026532001]")));
        for other in ["socket:[1]", "pipe:[1]", "anon_inode:[eventpoll]", "/proc"] {
            assert!(!is_namespace(Path::new(other)), "{other}");
        }
    }
}
