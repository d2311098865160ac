//! What one instance may use, as text for the files of its control groups.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::Limits;

/// How much an instance's CPU weighs beside that of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Priority {
    /// Somebody may be waiting for an answer: the whole weight.
    #[default]
    Serving,
    /// Tasks of jobs: a [`BATCH`]th of it, so that what computes all the time does not keep answers waiting. Where
    /// nobody else wants the CPU they have all of it, and they always get on.
    Batch,
}

/// So many tasks weigh as much as one instance that serves, with the same CPU.
const BATCH: u64 = 16;

/// What to write for one instance to be limited: can be done later, and waits for nothing in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Allowance {
    /// Wishes that come before everything else.
    pub(crate) first: Vec<(PathBuf, String)>,
    /// File, text; in this order.
    pub(crate) settings: Vec<(PathBuf, String)>,
    /// The same, where a host without the feature is no reason to refuse (such as swap accounting).
    pub(crate) wishes: Vec<(PathBuf, String)>,
}

const PERIOD_US: u64 = 100_000;

/// CPU, as control groups take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cpu {
    /// The share under contention; 1024 for a whole CPU of what serves.
    pub(crate) shares: u64,
    /// Time in each period, in microseconds.
    pub(crate) quota_us: u64,
    /// The period, in microseconds.
    pub(crate) period_us: u64,
}

// === impl Priority ===

impl Priority {
    /// What is left of a weight.
    fn of(self, weight: u64) -> u64 {
        match self {
            Self::Serving => weight,
            Self::Batch => weight / BATCH,
        }
    }
}

// === impl Allowance ===

impl Allowance {
    pub(super) fn cpu(&mut self, unified: bool, dir: &Path, (millis, priority): (u32, Priority)) {
        let quota = quota(millis);
        if unified {
            let weight = (priority.of(u64::from(millis)) / 10).clamp(1, 10_000);
            self.settings.push((dir.join("cpu.max"), format!("{quota} {PERIOD_US}")));
            self.wishes.push((dir.join("cpu.weight"), weight.to_string()));
        } else {
            self.settings.push((dir.join("cpu.cfs_period_us"), PERIOD_US.to_string()));
            self.settings.push((dir.join("cpu.cfs_quota_us"), quota.to_string()));
            self.wishes.push((dir.join("cpu.shares"), shares(millis, priority).to_string()));
        }
    }

    pub(super) fn v1(&mut self, controller: &str, dir: &Path, limits: Limits) {
        let bytes = limits.memory_bytes.to_string();
        match controller {
            "cpu" => self.cpu(false, dir, (limits.cpu_millis, limits.priority)),
            "memory" => {
                self.settings.push((dir.join("memory.limit_in_bytes"), bytes.clone()));
                self.wishes.push((dir.join("memory.memsw.limit_in_bytes"), bytes));
            }
            "pids" => self.settings.push((dir.join("pids.max"), limits.pids.to_string())),
            _ => {}
        }
    }

    pub(super) fn unified(&mut self, dir: &Path, limits: Limits) {
        self.cpu(true, dir, (limits.cpu_millis, limits.priority));
        self.settings.extend([
            (dir.join("memory.max"), limits.memory_bytes.to_string()),
            (dir.join("pids.max"), limits.pids.to_string()),
        ]);
        self.wishes
            .extend([(dir.join("memory.swap.max"), "0".to_owned()), (dir.join("memory.oom.group"), "1".to_owned())]);
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (file, text) in &self.first {
            writeln!(f, "first {} = {text}", file.display())?;
        }
        for (file, text) in &self.settings {
            writeln!(f, "limit {} = {text}", file.display())?;
        }
        for (file, text) in &self.wishes {
            writeln!(f, "wish {} = {text}", file.display())?;
        }
        Ok(())
    }
}

/// So much CPU as these limits say.
pub(crate) fn cpu_of(limits: Limits) -> Cpu {
    let Limits { cpu_millis, priority, .. } = limits;
    Cpu { shares: shares(cpu_millis, priority), quota_us: quota(cpu_millis), period_us: PERIOD_US }
}

/// CPU time per period; the kernel takes no less than a millisecond.
fn quota(cpu_millis: u32) -> u64 {
    (u64::from(cpu_millis) * PERIOD_US / 1000).max(1000)
}

/// The share under contention: 1024 for a whole CPU of what serves; the kernel takes no less than 2.
fn shares(cpu_millis: u32, priority: Priority) -> u64 {
    (priority.of(u64::from(cpu_millis) * 1024) / 1000).max(2)
}
