//! Processes and the processors they run on.

use std::{collections::HashMap, fs, path::PathBuf};

use rustix::{
    process::{Pid, Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use crate::Error;

/// Which processors are whose, so that what is measured does not share one with what measures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Processors {
    /// For what is measured; `None` where there is only one processor, which all have to share.
    apart: Option<(CpuSet, CpuSet)>,
}

// === impl Processors ===

impl Processors {
    /// The last processor that this process may use is for what is measured, the others for the rest.
    pub(crate) fn divide() -> Result<Self, Error> {
        let allowed = sched_getaffinity(None)?;
        let mut all: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
        let last = all.pop().filter(|_| !all.is_empty());
        let set = |cpus: &[usize]| {
            let mut set = CpuSet::new();
            cpus.iter().for_each(|&cpu| set.set(cpu));
            set
        };
        Ok(Self { apart: last.map(|last| (set(&[last]), set(&all))) })
    }

    /// Are there two sides?
    pub(crate) fn are_apart(&self) -> bool {
        self.apart.is_some()
    }

    /// Puts all threads of a process that is measured where it belongs; those that it will start come after.
    pub(crate) fn measured(&self, pid: u32) {
        self.apart.iter().for_each(|(measured, _)| place(pid, measured));
    }

    /// Puts all threads of any other process where they belong.
    pub(crate) fn rest(&self, pid: u32) {
        self.apart.iter().for_each(|(_, rest)| place(pid, rest));
    }
}

/// A thread that has ended meanwhile needs no place.
fn place(pid: u32, cpus: &CpuSet) {
    for thread in entries(&format!("/proc/{pid}/task")) {
        let id = thread.file_name().and_then(|id| id.to_str()?.parse().ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            let _ = sched_setaffinity(Some(id), cpus);
        }
    }
}

/// A process and all that descend from it.
pub(crate) fn family(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in entries("/proc").iter().filter_map(|path| path.file_name()?.to_str()?.parse::<u32>().ok()) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name in parentheses may hold anything.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        children.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    let (mut found, mut at) = (vec![root], 0);
    while let Some(pid) = found.get(at) {
        found.extend(children.remove(pid).unwrap_or_default());
        at += 1;
    }
    found
}

/// What is in a directory; nothing where there is none.
pub(crate) fn entries(dir: &str) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// As many open files as this process may have; what it starts inherits that.
pub(crate) fn raise_open_files() -> Result<(), Error> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}
