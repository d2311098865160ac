//! The control groups of an instance: where, with which limits, joined how.
//!
//! One directory per engine and hierarchy, `updraft-TAG`, one below it per instance. Version 1 has a
//! hierarchy per controller; version 2 has one for all and is written but unverified: the machines
//! this was built on have version 1.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// A mounted hierarchy that we use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
    /// The last part of that path: what it is called inside a container, too.
    pub(crate) name: String,
    /// The controllers it has; for version 2 all there are.
    pub(crate) controllers: Vec<String>,
    /// Is it version 2?
    pub(crate) unified: bool,
}

/// What a host offers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Layout {
    /// The hierarchies that hold the controllers we need, each once.
    pub(crate) hierarchies: Vec<Hierarchy>,
    /// The controllers that are nowhere.
    pub(crate) missing: Vec<&'static str>,
}

/// The limits of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// CPU, in thousandths.
    pub(crate) cpu_millis: u32,
    /// Memory, in bytes.
    pub(crate) memory_bytes: u64,
    /// Processes and threads.
    pub(crate) pids: u32,
}

/// What to do for one instance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Plan {
    /// To be made, and to be removed in the end.
    pub(crate) directories: Vec<PathBuf>,
    /// What is the same for every instance: file, text; in this order.
    pub(crate) settings: Vec<(PathBuf, String)>,
    /// Are processes born inside (version 2), or do they have to join (version 1)?
    pub(crate) born_inside: bool,
    /// Where the kernel counts the processes that it killed for memory, and under which key.
    pub(crate) kills: Option<(PathBuf, &'static str)>,
    /// Where the highest use of memory is.
    pub(crate) peak: Option<PathBuf>,
    /// Where the present use of memory is.
    pub(crate) memory: Option<PathBuf>,
    /// Where the kernel counts the processes and threads that it refused, and under which key.
    pub(crate) forks_refused: Option<(PathBuf, &'static str)>,
    /// Where the CPU time is, and how it is written.
    pub(crate) cpu: Option<(PathBuf, CpuUnit)>,
}

/// What to write for one instance to be limited: can be done later, and waits for nothing in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Allowance {
    /// File, text; in this order.
    pub(crate) settings: Vec<(PathBuf, String)>,
    /// The same, where a host without the feature is no reason to refuse (such as swap accounting).
    pub(crate) wishes: Vec<(PathBuf, String)>,
}

/// How a kernel writes CPU time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CpuUnit {
    /// One number, nanoseconds.
    Nanoseconds,
    /// A line `usage_usec N` among others.
    UsageUsec,
}

/// What version 1 must have.
const V1: [&str; 5] = ["cpu", "cpuacct", "memory", "pids", "devices"];
/// What version 2 must have; devices are a matter of capabilities there.
const V2: [&str; 3] = ["cpu", "memory", "pids"];

// === impl Layout ===

impl Layout {
    /// Reads the layout from `/proc/self/mountinfo`; `controllers` is `cgroup.controllers` of the
    /// unified hierarchy. Version 1 is used when it has the memory controller.
    pub(crate) fn parse(mountinfo: &str, controllers: &str) -> Self {
        let mut layout = Self::default();
        let mounts: Vec<Hierarchy> = mountinfo.lines().filter_map(hierarchy).collect();
        let has = |one: &Hierarchy, name: &str| !one.unified && one.controllers.iter().any(|known| known == name);
        if mounts.iter().any(|one| has(one, "memory")) {
            for name in V1 {
                match mounts.iter().find(|one| has(one, name)) {
                    Some(found) if layout.hierarchies.iter().any(|one| one.mount == found.mount) => {}
                    Some(found) => layout.hierarchies.push(found.clone()),
                    None => layout.missing.push(name),
                }
            }
            return layout;
        }
        let offered: Vec<&str> = controllers.split_whitespace().collect();
        layout.missing = V2.into_iter().filter(|name| !offered.contains(name)).collect();
        if let Some(mut unified) = mounts.into_iter().find(|one| one.unified) {
            unified.controllers = offered.iter().map(|&name| name.to_owned()).collect();
            layout.hierarchies.push(unified);
        }
        layout
    }

    /// This one and every other hierarchy of `mountinfo`: an OCI runtime makes groups in all of them.
    pub(crate) fn with_all_of(mut self, mountinfo: &str) -> Self {
        for (mount, name) in mountinfo.lines().filter_map(mounted) {
            if !self.hierarchies.iter().any(|one| one.mount == mount) {
                self.hierarchies.push(Hierarchy { mount, name, controllers: Vec::new(), unified: false });
            }
        }
        self
    }

    /// Version 1 or 2.
    pub(crate) fn version(&self) -> u32 {
        if self.hierarchies.iter().any(|one| one.unified) { 2 } else { 1 }
    }

    /// The directories of the engine with this tag.
    pub(crate) fn parents(&self, tag: &str) -> Vec<PathBuf> {
        self.hierarchies.iter().map(|one| one.mount.join(format!("updraft-{tag}"))).collect()
    }

    /// What has to be written before instances can be made: version 2 hands controllers down only
    /// where it was told to.
    pub(crate) fn delegation(&self, tag: &str) -> Vec<(PathBuf, String)> {
        let Some(one) = self.hierarchies.iter().find(|one| one.unified) else { return Vec::new() };
        let wanted = V2.map(|name| format!("+{name}")).join(" ");
        [one.mount.clone(), one.mount.join(format!("updraft-{tag}"))]
            .map(|dir| (dir.join("cgroup.subtree_control"), wanted.clone()))
            .into()
    }

    /// What to do for the instance `id`.
    pub(crate) fn plan(&self, tag: &str, id: &str) -> Plan {
        let mut plan = Plan::default();
        for (one, parent) in self.hierarchies.iter().zip(self.parents(tag)) {
            let dir = parent.join(id);
            if one.unified {
                plan.unified(&dir);
            } else {
                for controller in &one.controllers {
                    plan.v1(controller, &dir);
                }
            }
            plan.directories.push(dir);
        }
        plan
    }

    /// What to write so that the instance `id` keeps to `limits`.
    pub(crate) fn allowance(&self, tag: &str, id: &str, limits: Limits) -> Allowance {
        let mut allowance = Allowance::default();
        for (one, parent) in self.hierarchies.iter().zip(self.parents(tag)) {
            let dir = parent.join(id);
            if one.unified {
                allowance.unified(&dir, limits);
            } else {
                for controller in &one.controllers {
                    allowance.v1(controller, &dir, limits);
                }
            }
        }
        allowance
    }
}

// === impl Plan ===

impl Plan {
    fn v1(&mut self, controller: &str, dir: &Path) {
        match controller {
            "cpuacct" => self.cpu = Some((dir.join("cpuacct.usage"), CpuUnit::Nanoseconds)),
            "memory" => {
                self.kills = Some((dir.join("memory.oom_control"), "oom_kill"));
                self.peak = Some(dir.join("memory.max_usage_in_bytes"));
                self.memory = Some(dir.join("memory.usage_in_bytes"));
            }
            "pids" => self.forks_refused = Some((dir.join("pids.events"), "max")),
            "devices" => {
                self.settings.push((dir.join("devices.deny"), "a".to_owned()));
                let nodes = super::mounts::DEVICES.map(|(_, major, minor)| format!("c {major}:{minor} rwm"));
                let terminals = ["c 5:2 rwm".to_owned(), "c 136:* rwm".to_owned()];
                self.settings.extend(nodes.into_iter().chain(terminals).map(|rule| (dir.join("devices.allow"), rule)));
            }
            _ => {}
        }
    }

    fn unified(&mut self, dir: &Path) {
        self.born_inside = true;
        self.kills = Some((dir.join("memory.events"), "oom_kill"));
        self.peak = Some(dir.join("memory.peak"));
        self.memory = Some(dir.join("memory.current"));
        self.forks_refused = Some((dir.join("pids.events"), "max"));
        self.cpu = Some((dir.join("cpu.stat"), CpuUnit::UsageUsec));
    }
}

// === impl Allowance ===

impl Allowance {
    fn v1(&mut self, controller: &str, dir: &Path, limits: Limits) {
        let bytes = limits.memory_bytes.to_string();
        match controller {
            "cpu" => {
                self.settings.push((dir.join("cpu.cfs_period_us"), PERIOD_US.to_string()));
                self.settings.push((dir.join("cpu.cfs_quota_us"), quota(limits.cpu_millis).to_string()));
                self.wishes.push((dir.join("cpu.shares"), shares(limits.cpu_millis).to_string()));
            }
            "memory" => {
                self.settings.push((dir.join("memory.limit_in_bytes"), bytes.clone()));
                self.wishes.push((dir.join("memory.memsw.limit_in_bytes"), bytes));
            }
            "pids" => self.settings.push((dir.join("pids.max"), limits.pids.to_string())),
            _ => {}
        }
    }

    fn unified(&mut self, dir: &Path, limits: Limits) {
        let weight = (limits.cpu_millis / 10).clamp(1, 10_000);
        self.settings.extend([
            (dir.join("cpu.max"), format!("{} {PERIOD_US}", quota(limits.cpu_millis))),
            (dir.join("memory.max"), limits.memory_bytes.to_string()),
            (dir.join("pids.max"), limits.pids.to_string()),
        ]);
        self.wishes.extend([
            (dir.join("cpu.weight"), weight.to_string()),
            (dir.join("memory.swap.max"), "0".to_owned()),
            (dir.join("memory.oom.group"), "1".to_owned()),
        ]);
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for dir in &self.directories {
            writeln!(f, "make {}", dir.display())?;
        }
        for (file, text) in &self.settings {
            writeln!(f, "set {} = {text}", file.display())?;
        }
        writeln!(f, "{}", if self.born_inside { "born inside" } else { "join" })
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (file, text) in &self.settings {
            writeln!(f, "limit {} = {text}", file.display())?;
        }
        for (file, text) in &self.wishes {
            writeln!(f, "wish {} = {text}", file.display())?;
        }
        Ok(())
    }
}

const PERIOD_US: u64 = 100_000;

/// CPU, as control groups take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cpu {
    /// The share under contention; 1024 for a whole CPU.
    pub(crate) shares: u64,
    /// Time in each period, in microseconds.
    pub(crate) quota_us: u64,
    /// The period, in microseconds.
    pub(crate) period_us: u64,
}

/// So many thousandths of a CPU.
pub(crate) fn cpu_of(cpu_millis: u32) -> Cpu {
    Cpu { shares: shares(cpu_millis), quota_us: quota(cpu_millis), period_us: PERIOD_US }
}

/// CPU time per period; the kernel takes no less than a millisecond.
fn quota(cpu_millis: u32) -> u64 {
    (u64::from(cpu_millis) * PERIOD_US / 1000).max(1000)
}

/// The share under contention: 1024 for a whole CPU; the kernel takes no less than 2.
fn shares(cpu_millis: u32) -> u64 {
    (u64::from(cpu_millis) * 1024 / 1000).max(2)
}

/// The number after `key` in a file of `key number` lines.
pub(crate) fn counter(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// A line of mountinfo, if it is any control group hierarchy: where it is, and what it is called there.
fn mounted(line: &str) -> Option<(PathBuf, String)> {
    let (left, right) = line.split_once(" - ")?;
    let mount = PathBuf::from(left.split(' ').nth(4)?);
    let name = mount.file_name()?.to_str()?.to_owned();
    matches!(right.split(' ').next()?, "cgroup" | "cgroup2").then_some((mount, name))
}

/// A line of mountinfo, if it is a control group hierarchy with controllers (or the unified one).
fn hierarchy(line: &str) -> Option<Hierarchy> {
    let (left, right) = line.split_once(" - ")?;
    let mount = PathBuf::from(left.split(' ').nth(4)?);
    let name = mount.file_name()?.to_str()?.to_owned();
    let mut right = right.split(' ');
    let kind = right.next()?;
    let options = right.nth(1)?;
    match kind {
        "cgroup2" => Some(Hierarchy { mount, name, controllers: Vec::new(), unified: true }),
        "cgroup" => {
            let known = |option: &&str| V1.contains(option) || OTHER_V1.contains(option);
            let controllers: Vec<String> = options.split(',').filter(known).map(str::to_owned).collect();
            (!controllers.is_empty()).then_some(Hierarchy { mount, name, controllers, unified: false })
        }
        _ => None,
    }
}

/// Controllers that may be mounted together with ours; a mount has to name all of a hierarchy.
const OTHER_V1: [&str; 8] = ["cpuset", "blkio", "freezer", "net_cls", "net_prio", "perf_event", "hugetlb", "rdma"];

#[cfg(test)]
mod tests {
    use super::*;

    const V1_HOST: &str = "\
30 24 0:26 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu
31 24 0:27 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
32 24 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 24 0:29 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
34 24 0:30 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
35 24 0:31 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
36 24 0:32 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const SYSTEMD_V1_HOST: &str = "\
30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
32 24 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
";
    const V2_HOST: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const LIMITS: Limits = Limits { cpu_millis: 1500, memory_bytes: 1 << 29, pids: 1024 };

    #[test]
    fn a_hybrid_host_is_used_through_version_1() {
        let layout = Layout::parse(V1_HOST, "");
        assert_eq!((layout.version(), layout.missing.len(), layout.hierarchies.len()), (1, 0, 5));
        assert_eq!(layout.parents("ab12")[2], Path::new("/sys/fs/cgroup/memory/updraft-ab12"));
    }

    #[test]
    fn with_all_hierarchies_there_is_a_directory_in_each_and_limits_where_they_were() {
        let (some, all) = (Layout::parse(V1_HOST, ""), Layout::parse(V1_HOST, "").with_all_of(V1_HOST));
        assert_eq!((some.hierarchies.len(), all.hierarchies.len(), all.version()), (5, 7, 1));
        assert_eq!(all.plan("t", "i").settings, some.plan("t", "i").settings);
        assert_eq!(all.allowance("t", "i", LIMITS), some.allowance("t", "i", LIMITS));
        assert!(all.plan("t", "i").directories.contains(&PathBuf::from("/sys/fs/cgroup/systemd/updraft-t/i")));
        let unified = Layout::parse(V2_HOST, "cpu memory pids");
        assert_eq!(unified.clone().with_all_of(V2_HOST), unified);
    }

    #[test]
    fn controllers_that_share_a_hierarchy_share_a_directory_and_gaps_are_named() {
        let layout = Layout::parse(SYSTEMD_V1_HOST, "");
        assert_eq!(layout.hierarchies.len(), 2);
        assert_eq!(layout.hierarchies[0].controllers, ["cpu", "cpuacct"]);
        assert_eq!(layout.missing, ["pids", "devices"]);
        assert_eq!(layout.plan("t", "i").directories.len(), 2);
    }

    #[test]
    fn version_1_plan_as_text() {
        let layout = Layout::parse(V1_HOST, "");
        let text = format!("{}{}", layout.plan("ab12", "i1"), layout.allowance("ab12", "i1", LIMITS));
        assert_eq!(
            text,
            "\
make /sys/fs/cgroup/cpu/updraft-ab12/i1
make /sys/fs/cgroup/cpuacct/updraft-ab12/i1
make /sys/fs/cgroup/memory/updraft-ab12/i1
make /sys/fs/cgroup/pids/updraft-ab12/i1
make /sys/fs/cgroup/devices/updraft-ab12/i1
set /sys/fs/cgroup/devices/updraft-ab12/i1/devices.deny = a
set /sys/fs/cgroup/devices/updraft-ab12/i1/devices.allow = c 1:3 rwm
set /sys/fs/cgroup/devices/updraft-ab12/i1/devices.allow = c 1:5 rwm
set /sys/fs/cgroup/devices/updraft-ab12/i1/devices.allow = c 1:7 rwm
set /sys/fs/cgroup/devices/updraft-ab12/i1/devices.allow = c 1:8 rwm
set /sys/fs/cgroup/devices/updraft-ab12/i1/devices.allow = c 1:9 rwm
set /sys/fs/cgroup/devices/updraft-ab12/i1/devices.allow = c 5:0 rwm
set /sys/fs/cgroup/devices/updraft-ab12/i1/devices.allow = c 5:2 rwm
set /sys/fs/cgroup/devices/updraft-ab12/i1/devices.allow = c 136:* rwm
join
limit /sys/fs/cgroup/cpu/updraft-ab12/i1/cpu.cfs_period_us = 100000
limit /sys/fs/cgroup/cpu/updraft-ab12/i1/cpu.cfs_quota_us = 150000
limit /sys/fs/cgroup/memory/updraft-ab12/i1/memory.limit_in_bytes = 536870912
limit /sys/fs/cgroup/pids/updraft-ab12/i1/pids.max = 1024
wish /sys/fs/cgroup/cpu/updraft-ab12/i1/cpu.shares = 1536
wish /sys/fs/cgroup/memory/updraft-ab12/i1/memory.memsw.limit_in_bytes = 536870912
"
        );
    }

    #[test]
    fn version_2_plan_as_text() {
        let layout = Layout::parse(V2_HOST, "cpuset cpu io memory pids\n");
        assert_eq!((layout.version(), layout.missing.len()), (2, 0));
        let delegation: Vec<String> =
            layout.delegation("ab12").iter().map(|(file, text)| format!("{} = {text}", file.display())).collect();
        assert_eq!(
            delegation,
            [
                "/sys/fs/cgroup/cgroup.subtree_control = +cpu +memory +pids",
                "/sys/fs/cgroup/updraft-ab12/cgroup.subtree_control = +cpu +memory +pids"
            ]
        );
        assert_eq!(
            format!("{}{}", layout.plan("ab12", "i1"), layout.allowance("ab12", "i1", LIMITS)),
            "\
make /sys/fs/cgroup/updraft-ab12/i1
born inside
limit /sys/fs/cgroup/updraft-ab12/i1/cpu.max = 150000 100000
limit /sys/fs/cgroup/updraft-ab12/i1/memory.max = 536870912
limit /sys/fs/cgroup/updraft-ab12/i1/pids.max = 1024
wish /sys/fs/cgroup/updraft-ab12/i1/cpu.weight = 150
wish /sys/fs/cgroup/updraft-ab12/i1/memory.swap.max = 0
wish /sys/fs/cgroup/updraft-ab12/i1/memory.oom.group = 1
"
        );
        assert_eq!(Layout::parse(V2_HOST, "cpu").missing, ["memory", "pids"]);
    }

    #[test]
    fn tiny_shares_of_a_cpu_stay_within_what_the_kernel_takes() {
        assert_eq!((quota(1), shares(1)), (1000, 2));
        assert_eq!((quota(80), shares(80)), (8000, 81));
    }

    #[test]
    fn counters_are_found_by_their_whole_name() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(counter(text, "oom_kill"), Some(3));
        assert_eq!(counter(text, "oom"), None);
    }
}
