//! The control groups of an instance: where, with which limits, joined how.
//!
//! One directory per engine and hierarchy, `updraft-TAG`, one below it per instance. Version 1 has a hierarchy per
//! controller; version 2 has one for all and is written but unverified: the machines this was built on have version 1.
//!
//! A process is born inside that of version 2, and joins the others as a thread, while it has only one: to move a whole
//! process the kernel waits until all processors have seen that nobody forks (RCU), which takes it 10 ms on a quiet
//! machine.

mod allowance;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub(crate) use self::allowance::{Allowance, Priority, cpu_of};
use super::devices;

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
    /// Those whose controllers limit all instances alike, which share a group there: that of devices, on version 1.
    pub(crate) common: Vec<Hierarchy>,
    /// The one that counts CPU time, where version 2 does so too: of use only if that cannot be used.
    pub(crate) accounting: Option<Hierarchy>,
    /// The controllers that are nowhere.
    pub(crate) missing: Vec<&'static str>,
    /// Where instances can be frozen, the better way first: the unified hierarchy, also where version 1 limits the rest
    /// (it takes less time, and what is frozen can be killed), then the freezer of version 1. It is no loss where there
    /// is none.
    pub(crate) freezers: Vec<Hierarchy>,
}

/// The limits of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// CPU, in thousandths.
    pub(crate) cpu_millis: u32,
    /// Who gives way when there is less CPU than all of them would take. A launcher of before it was said has only the
    /// first kind.
    #[serde(default)]
    pub(crate) priority: Priority,
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
    /// To be joined only: those of all instances.
    pub(crate) shared: Vec<PathBuf>,
    /// The one of version 2, where there is one: a process can be born inside. The others it has to join.
    pub(crate) born: Option<PathBuf>,
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
    /// What freezes it.
    pub(crate) freezer: Option<Freezer>,
}

/// The file that freezes an instance, and what is written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Freezer {
    pub(crate) file: PathBuf,
    pub(crate) freeze: &'static str,
    pub(crate) thaw: &'static str,
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
const V1: [&str; 5] = ["cpu", ACCOUNTING, "memory", "pids", "devices"];
/// The controller of version 1 that only counts CPU time. Version 2 does so for every group (since Linux 4.15), so that
/// where both are mounted, this one, mounted alone, would be one more group to make for each instance.
const ACCOUNTING: &str = "cpuacct";
/// What version 2 must have; which devices may be used is said by a program there ([`Layout::asks_about_devices`]).
const V2: [&str; 3] = ["cpu", "memory", "pids"];

// === impl Hierarchy ===

impl Hierarchy {
    /// The directory of the engine with this tag.
    fn engine(&self, tag: &str) -> PathBuf {
        self.mount.join(format!("updraft-{tag}"))
    }
}

// === impl Layout ===

impl Layout {
    /// Reads the layout from `/proc/self/mountinfo`; `controllers` is `cgroup.controllers` of the
    /// unified hierarchy. Version 1 is used when it has the memory controller.
    pub(crate) fn parse(mountinfo: &str, controllers: &str) -> Self {
        let mut layout = Self::default();
        let mounts: Vec<Hierarchy> = mountinfo.lines().filter_map(hierarchy).collect();
        let freezer = |one: &&Hierarchy| one.unified || one.controllers.iter().any(|known| known == "freezer");
        layout.freezers = mounts.iter().filter(freezer).cloned().collect();
        layout.freezers.sort_by_key(|one| !one.unified);
        let has = |one: &Hierarchy, name: &str| !one.unified && one.controllers.iter().any(|known| known == name);
        if mounts.iter().any(|one| has(one, "memory")) {
            let is_counted = mounts.iter().any(|one| one.unified);
            for name in V1 {
                if name == ACCOUNTING && is_counted {
                    let apart =
                        |one: &&Hierarchy| has(one, name) && layout.hierarchies.iter().all(|it| it.mount != one.mount);
                    layout.accounting = mounts.iter().find(apart).cloned();
                    continue;
                }
                match mounts.iter().find(|one| has(one, name)) {
                    Some(found) if layout.hierarchies.iter().any(|one| one.mount == found.mount) => {}
                    Some(found) => layout.hierarchies.push(found.clone()),
                    None => layout.missing.push(name),
                }
            }
            layout.common = layout.hierarchies.extract_if(.., |one| one.controllers == ["devices"]).collect();
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

    /// With a controller that counts CPU time, if version 2 cannot be used after all.
    pub(crate) fn counted(mut self) -> Self {
        let is_unified = self.freezer().is_some_and(|one| one.unified);
        if !is_unified && let Some(accounting) = self.accounting.take() {
            self.hierarchies.push(accounting);
        }
        let counts = |one: &Hierarchy| one.unified || one.controllers.iter().any(|name| name == ACCOUNTING);
        if !is_unified && !self.hierarchies.is_empty() && !self.hierarchies.iter().any(counts) {
            self.missing.push(ACCOUNTING);
        }
        self
    }

    /// This one and every other hierarchy of `mountinfo`: an OCI runtime makes groups in all of them, for each instance.
    pub(crate) fn with_all_of(mut self, mountinfo: &str) -> Self {
        self.hierarchies.append(&mut self.common);
        for line in mountinfo.lines() {
            let Some((mount, name)) = mounted(line) else { continue };
            if self.hierarchies.iter().any(|one| one.mount == mount) {
                continue;
            }
            // A runtime need not put its processes into version 2, where their CPU time is counted otherwise.
            let counts = |one: &Hierarchy| one.controllers.iter().any(|name| name == ACCOUNTING);
            let accounting = hierarchy(line).filter(counts);
            let accounting = accounting.map(|one| Hierarchy { controllers: vec![ACCOUNTING.to_owned()], ..one });
            let bare = Hierarchy { mount, name, controllers: Vec::new(), unified: false };
            self.hierarchies.push(accounting.unwrap_or(bare));
        }
        self
    }

    /// Version 1 or 2.
    pub(crate) fn version(&self) -> u32 {
        if self.hierarchies.iter().any(|one| one.unified) { 2 } else { 1 }
    }

    /// The directories of the engine with this tag.
    pub(crate) fn parents(&self, tag: &str) -> Vec<PathBuf> {
        self.own().chain(&self.common).map(|one| one.engine(tag)).collect()
    }

    /// The hierarchies in which each instance has a group of its own: where it is limited, and where it is frozen.
    fn own(&self) -> impl Iterator<Item = &Hierarchy> {
        let apart = self.freezer().filter(|freezer| self.hierarchies.iter().all(|one| one.mount != freezer.mount));
        self.hierarchies.iter().chain(apart)
    }

    /// Where instances are frozen.
    pub(crate) fn freezer(&self) -> Option<&Hierarchy> {
        self.freezers.first()
    }

    /// What has to be written before instances can be made: version 2 hands controllers down only
    /// where it was told to.
    pub(crate) fn delegation(&self, tag: &str) -> Vec<(PathBuf, String)> {
        let Some(one) = self.hierarchies.iter().find(|one| one.unified) else { return Vec::new() };
        let wanted = V2.map(|name| format!("+{name}")).join(" ");
        [one.mount.clone(), one.engine(tag)].map(|dir| (dir.join("cgroup.subtree_control"), wanted.clone())).into()
    }

    /// What to write so that the instances of the engine with this tag have no other devices than theirs, where there
    /// is a controller: once, for each group is made with what the one above may.
    pub(crate) fn restriction(&self, tag: &str) -> Vec<(PathBuf, String)> {
        let has_list = |one: &&Hierarchy| !one.unified && one.controllers.iter().any(|name| name == "devices");
        let Some(one) = self.common.iter().chain(&self.hierarchies).find(has_list) else { return Vec::new() };
        let dir = one.engine(tag);
        let allowed = devices::allowed().map(|(major, minor)| {
            let minor = minor.map_or_else(|| "*".to_owned(), |minor| minor.to_string());
            (dir.join("devices.allow"), format!("c {major}:{minor} rwm"))
        });
        std::iter::once((dir.join("devices.deny"), "a".to_owned())).chain(allowed).collect()
    }

    /// The group of the engine with this tag that has to have a program for devices, where there is no controller.
    pub(crate) fn asks_about_devices(&self, tag: &str) -> Option<PathBuf> {
        let one = self.hierarchies.iter().find(|one| one.unified)?;
        Some(one.engine(tag))
    }

    /// What to do for the instance `id`.
    pub(crate) fn plan(&self, tag: &str, id: &str) -> Plan {
        let dir = |one: &Hierarchy| one.engine(tag).join(id);
        let directories: Vec<PathBuf> = self.own().map(dir).collect();
        let shared = self.common.iter().map(|one| one.engine(tag)).collect();
        let freezer = self.freezer().map(|one| Freezer::at(one, &dir(one)));
        let born = self.own().find(|one| one.unified).map(dir);
        let mut plan = Plan { directories, shared, born, freezer, ..Plan::default() };
        for (one, dir) in self.hierarchies.iter().zip(plan.directories.clone()) {
            if one.unified {
                plan.unified(&dir);
            } else {
                for controller in &one.controllers {
                    plan.v1(controller, &dir);
                }
            }
        }
        if let (None, Some(born)) = (&plan.cpu, &plan.born) {
            plan.cpu = Some((born.join("cpu.stat"), CpuUnit::UsageUsec));
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

    /// What to write so that the instance `id` keeps to `limits` when it keeps to `so_far` already.
    pub(crate) fn change(&self, (tag, id): (&str, &str), so_far: Limits, limits: Limits) -> Allowance {
        let mut change = self.allowance(tag, id, limits);
        let known = self.allowance(tag, id, so_far);
        change.settings.retain(|one| !known.settings.contains(one));
        change.wishes.retain(|one| !known.wishes.contains(one));
        if limits.memory_bytes > so_far.memory_bytes {
            // Version 1 takes no limit of memory that is above the one of memory and swap.
            let is_swap = |(file, _): &(PathBuf, String)| file.ends_with("memory.memsw.limit_in_bytes");
            change.first = change.wishes.extract_if(.., |one| is_swap(one)).collect();
        }
        change
    }

    /// What to write so that the instance `id` has so much CPU; `None` where that cannot be limited.
    pub(crate) fn cpu(&self, (tag, id): (&str, &str), (millis, priority): (u32, Priority)) -> Option<Allowance> {
        let one = self.hierarchies.iter().find(|one| one.controllers.iter().any(|name| name == "cpu"))?;
        let mut allowance = Allowance::default();
        allowance.cpu(one.unified, &one.engine(tag).join(id), (millis, priority));
        Some(allowance)
    }
}

// === impl Freezer ===

impl Freezer {
    fn at(hierarchy: &Hierarchy, dir: &Path) -> Self {
        if hierarchy.unified {
            Self { file: dir.join("cgroup.freeze"), freeze: "1", thaw: "0" }
        } else {
            Self { file: dir.join("freezer.state"), freeze: "FROZEN", thaw: "THAWED" }
        }
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
            _ => {}
        }
    }

    fn unified(&mut self, dir: &Path) {
        self.kills = Some((dir.join("memory.events"), "oom_kill"));
        self.peak = Some(dir.join("memory.peak"));
        self.memory = Some(dir.join("memory.current"));
        self.forks_refused = Some((dir.join("pids.events"), "max"));
        self.cpu = Some((dir.join("cpu.stat"), CpuUnit::UsageUsec));
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for dir in &self.directories {
            writeln!(f, "make {}", dir.display())?;
        }
        for dir in self.directories.iter().chain(&self.shared) {
            let how = if self.born.as_ref() == Some(dir) { "born inside" } else { "join" };
            writeln!(f, "{how} {}", dir.display())?;
        }
        Ok(())
    }
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
mod tests;
