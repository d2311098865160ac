//! What the figures were measured on.

use std::fs;

use serde::Serialize;

/// The machine of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// Processors this process may use.
    pub(crate) cpus: usize,
    /// The processor's name.
    pub(crate) cpu: String,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The load of the last minute when the bench began; above the number of CPUs, doubt the figures.
    pub(crate) load: String,
}

// === impl Machine ===

impl Machine {
    /// This one.
    pub(crate) fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: model.trim_start_matches([':', '\t', ' ']).to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}
