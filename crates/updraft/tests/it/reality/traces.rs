//! What a server leaves on the machine, found by its tag and its data directory: other servers live beside it.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use updraft_engine_local::tag_of;

use super::host::Host;

/// Where to look for the traces of one server.
pub(super) struct Traces {
    tag: String,
    data_dir: PathBuf,
}

// === impl Traces ===

impl Traces {
    /// Of this server, also once it is gone.
    pub(super) fn of(host: &Host) -> Self {
        let data_dir = fs::canonicalize(host.data_dir()).expect("a data directory");
        Self { tag: tag_of(&data_dir), data_dir }
    }

    /// Cgroups of single instances, each with its number: the next one of the same name has another. Sandboxes that
    /// wait for an instance are none.
    pub(super) fn instances(&self) -> Vec<String> {
        let cgroups = self.cgroups().into_iter().filter(|path| !path.ends_with(self.cgroup()) && !self.waits(path));
        let number = |path: &Path| fs::metadata(path).map_or(0, |found| found.ino());
        cgroups.map(|path| format!("{} ({})", path.display(), number(&path))).collect()
    }

    /// Is it the group of a sandbox that has not been used? Then nothing is in it but what the launcher made of itself.
    fn waits(&self, group: &Path) -> bool {
        let is_shell = group.file_name().is_some_and(|name| name.to_string_lossy().starts_with("shell."));
        let launcher = self.cgroup();
        let of_launcher = |pid: &str| {
            // The kernel keeps 15 bytes of a name. A process that has just ended is nobody's.
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            launcher.starts_with(name.trim_end())
        };
        let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        is_shell && members.lines().all(of_launcher)
    }

    /// Is any process left that names our data directory, or that has its root, its program or its directory there?
    pub(super) fn any_process(&self) -> bool {
        let ours = |pid: &str| {
            ["root", "exe", "cwd"].iter().any(|link| {
                fs::read_link(format!("/proc/{pid}/{link}")).is_ok_and(|path| path.starts_with(&self.data_dir))
            })
        };
        let all = fs::read_dir("/proc").expect("/proc").flatten();
        let names = all.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.parse::<u32>().is_ok()).any(|pid| ours(&pid)) || !self.processes().is_empty()
    }

    /// The processes of instances and of sandboxes that wait.
    pub(super) fn members(&self) -> Vec<u32> {
        let groups = self.cgroups().into_iter().filter(|path| !path.ends_with(self.cgroup()));
        let members = groups.map(|group| fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default());
        let mut pids: Vec<u32> =
            members.flat_map(|text| text.lines().flat_map(str::parse).collect::<Vec<_>>()).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Everything: processes, cgroups, mounts, links, network namespaces' links and tables.
    pub(super) fn left(&self) -> Vec<String> {
        let mut left: Vec<String> = self.cgroups().iter().map(|path| path.display().to_string()).collect();
        left.extend(self.processes());
        left.extend(self.mounts());
        left.extend(self.links());
        left.extend(self.tables());
        left
    }

    fn cgroup(&self) -> String {
        format!("updraft-{}", self.tag)
    }

    fn cgroups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let path = entry.path();
                    if path.iter().any(|part| part.to_string_lossy() == self.cgroup()) {
                        found.push(path.clone());
                    }
                    folders.push(path);
                }
            }
        }
        found
    }

    /// Processes in our cgroups, or that name our data directory.
    fn processes(&self) -> Vec<String> {
        let ours = |folder: &Path| {
            let read = |name: &str| fs::read(folder.join(name)).unwrap_or_default();
            // One that has ended is in its group of the unified hierarchy until it is waited for; if its parent was
            // killed, by the first process of the machine, which takes its time.
            if read("stat").rsplit(|&byte| byte == b')').next().is_some_and(|rest| rest.starts_with(b" Z")) {
                return false;
            }
            let (cgroup, line) = (read("cgroup"), read("cmdline"));
            let text = String::from_utf8_lossy(&cgroup).into_owned() + &String::from_utf8_lossy(&line);
            text.contains(&self.cgroup()) || text.contains(&self.data_dir.display().to_string())
        };
        let all = fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
        let numbered =
            all.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().parse::<u32>().is_ok()));
        numbered.filter(|path| ours(path)).map(|path| format!("process {}", path.display())).collect()
    }

    fn mounts(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/self/mounts").expect("/proc");
        let data_dir = self.data_dir.display().to_string();
        table.lines().filter(|line| line.contains(&data_dir)).map(|line| format!("mount {line}")).collect()
    }

    fn links(&self) -> Vec<String> {
        let prefix = format!("ud{}", self.tag);
        let all = fs::read_dir("/sys/class/net").expect("/sys").flatten();
        let names = all.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(&prefix)).map(|name| format!("link {name}")).collect()
    }

    /// Addresses whose egress is restricted, as the packet filter lists them, where `nft` is there to do so.
    pub(super) fn restricted(&self) -> Vec<String> {
        let Ok(listed) = Command::new("nft").args(["list", "table", "inet", &self.cgroup()]).output() else {
            return Vec::new();
        };
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        listed.lines().filter(|line| line.contains("elements = ")).map(|line| line.trim().to_owned()).collect()
    }

    /// Packet filter tables, where `nft` is there to list them.
    fn tables(&self) -> Vec<String> {
        let Ok(listed) = Command::new("nft").args(["list", "tables"]).output() else { return Vec::new() };
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        listed.lines().filter(|line| line.contains(&self.cgroup())).map(|line| format!("nft {line}")).collect()
    }
}
