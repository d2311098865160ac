//! What a process uses, by the kernel's account.

use std::{fs, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use updraft_base::Clock;

/// What a process has and has had.
#[derive(Debug)]
pub(super) struct Usage {
    /// When that was.
    pub(super) at: std::time::Instant,
    /// Resident, in bytes.
    pub(super) memory: u64,
    pub(super) cpu: Duration,
    pub(super) descriptors: usize,
}

// === impl Usage ===

impl Usage {
    pub(super) fn of(pid: u32) -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let status = read("status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
        let stat = read("stat");
        // The name in parentheses may hold anything; user and system time are the 14th and 15th field, in 10 ms.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().skip(11).take(2);
        let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
        Self {
            at: Clock::system().instant(),
            memory: resident.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10,
            cpu: Duration::from_millis(10 * ticks),
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count),
        }
    }
}

/// Lets this process, and the server that it starts, have so many files open. Only root with `CAP_SYS_RESOURCE` may have
/// more than the hard limit.
pub(super) fn raise_open_files(wanted: u64) {
    let most = getrlimit(Resource::Nofile).maximum;
    let limit = most.map(|most| most.max(wanted));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit });
    assert!(
        raised.is_ok(),
        "{wanted} files have to be open, and {most:?} may: raise the hard limit, or take fewer streams"
    );
}
