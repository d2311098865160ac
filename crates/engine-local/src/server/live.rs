//! The instances that are there.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;
use updraft_model::{
    instance::{InstanceId, Usage},
    name::RevisionName,
};

use super::{footing::Footing, freezer::Switch};
use crate::{net::Attachment, protocol::Steps, sandbox::cgroups::Plan, sys};

/// Where the time of a start went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StartTiming {
    /// The network namespace with its address.
    pub network: Duration,
    /// The process in its control groups and namespaces.
    pub process: Duration,
    /// The file system.
    pub mounts: Duration,
    /// User, capabilities, system call filter.
    pub confine: Duration,
    /// Until the program was known to run.
    pub exec: Duration,
}

/// How far an instance has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has been asked for.
    Starting,
    /// Its program runs.
    Running(StartTiming),
    /// The host refused it.
    Refused(String),
    /// It is over.
    Ended,
}

/// An instance.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) phase: watch::Sender<Phase>,
    pub(super) groups: Plan,
    /// What its control groups are called.
    pub(super) leaf: String,
    pub(super) freezer: Switch,
    pub(super) memory_limit: u64,
    pub(super) revision: RevisionName,
    /// The highest use of memory that was seen, where the kernel does not keep it.
    peak: AtomicU64,
    hold: Mutex<Hold>,
}

/// What is known of an instance from the beginning.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    /// What its control groups are called.
    pub(super) leaf: &'a str,
    pub(super) groups: Plan,
    pub(super) revision: RevisionName,
    /// In bytes.
    pub(super) memory_limit: u64,
}

/// Where an instance stands.
#[derive(Debug)]
pub(super) enum Ground {
    /// In a network of its own.
    Own(Attachment),
    /// In the host's network, with a copy of its image.
    Shared(Arc<Footing>),
}

/// What an instance holds on to.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// Where it stands; `None` before it does and when it has ended.
    pub(super) ground: Option<Ground>,
    /// How long the network took.
    pub(super) network: Duration,
    /// How long the copy of its image took, where there is one.
    pub(super) copy: Duration,
    /// The process that all of its processes descend from, where no PID namespace holds them.
    pub(super) keeper: Option<u32>,
    /// Has the launcher been told of it?
    pub(super) sent: bool,
    /// Was its end asked for before the launcher was told?
    pub(super) unwanted: bool,
}

/// All of them. Cheap to share; the lock is never held across an await.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Mutex<HashMap<InstanceId, Arc<Live>>>,
    count: watch::Sender<usize>,
}

/// A place in the table that is given back unless it is kept.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    table: &'a Table,
    id: InstanceId,
    pub(super) live: Arc<Live>,
    kept: bool,
}

// === impl StartTiming ===

impl StartTiming {
    pub(super) fn new(hold: &Hold, steps: Steps) -> Self {
        Self {
            network: hold.network,
            process: Duration::from_micros(steps.clone + steps.join),
            mounts: hold.copy + Duration::from_micros(steps.mounts),
            confine: Duration::from_micros(steps.confine),
            exec: Duration::from_micros(steps.exec),
        }
    }

    /// All but the exec: what the sandbox costs.
    pub fn sandbox(&self) -> Duration {
        self.network + self.process + self.mounts + self.confine
    }
}

// === impl Live ===

impl Live {
    /// An instance that is to start, or was adopted.
    pub(super) fn new(subject: Subject<'_>) -> Self {
        let Subject { leaf, groups, revision, memory_limit } = subject;
        Self {
            phase: watch::Sender::new(Phase::Starting),
            leaf: leaf.to_owned(),
            freezer: Switch::new(groups.freezer.clone()),
            groups,
            memory_limit,
            revision,
            peak: AtomicU64::new(0),
            hold: Mutex::default(),
        }
    }

    /// Its processes. Reads `/proc`.
    pub(super) fn members(&self) -> Vec<u32> {
        match self.hold().keeper {
            Some(keeper) => sys::tree::descendants(keeper).into_iter().map(|member| member.pid).collect(),
            None => sys::cgroups::members(&self.groups),
        }
    }

    /// What it has used: by its control groups, or by its processes where there are none.
    pub(super) fn usage(&self) -> Option<Usage> {
        let counted = self.groups.memory.is_some() && self.groups.cpu.is_some();
        if counted || self.hold().keeper.is_none() {
            return Some(Usage {
                cpu: sys::cgroups::cpu_time(&self.groups)?,
                memory_bytes: sys::cgroups::memory_now(&self.groups)?,
                memory_peak_bytes: sys::cgroups::memory_peak(&self.groups),
            });
        }
        let members = self.members();
        let memory = members.iter().map(|&pid| sys::tree::memory(pid)).sum();
        let peak = self.peak.fetch_max(memory, Ordering::Relaxed).max(memory);
        let cpu = members.iter().map(|&pid| sys::tree::cpu_time(pid)).sum();
        Some(Usage { cpu, memory_bytes: memory, memory_peak_bytes: peak })
    }

    /// Where it stands in the host's network, if it does.
    pub(super) fn footing(&self) -> Option<Arc<Footing>> {
        match self.hold().ground.as_ref()? {
            Ground::Own(_) => None,
            Ground::Shared(footing) => Some(footing.clone()),
        }
    }

    pub(super) fn hold(&self) -> MutexGuard<'_, Hold> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Table ===

impl Table {
    /// Takes the place of `id`; `None` if it is taken.
    pub(super) fn reserve(&self, id: &InstanceId, live: Live) -> Option<Reservation<'_>> {
        let live = Arc::new(live);
        let mut entries = self.lock();
        if entries.contains_key(id) {
            return None;
        }
        entries.insert(id.clone(), live.clone());
        self.count.send_replace(entries.len());
        Some(Reservation { table: self, id: id.clone(), live, kept: false })
    }

    pub(super) fn get(&self, id: &InstanceId) -> Option<Arc<Live>> {
        self.lock().get(id).cloned()
    }

    pub(super) fn remove(&self, id: &InstanceId) -> Option<Arc<Live>> {
        let mut entries = self.lock();
        let removed = entries.remove(id);
        self.count.send_replace(entries.len());
        removed
    }

    /// An instance that stands where `is_it` says.
    pub(super) fn find(&self, is_it: impl Fn(&Ground) -> bool) -> Option<InstanceId> {
        let entries = self.lock();
        entries.iter().find(|(_, live)| live.hold().ground.as_ref().is_some_and(&is_it)).map(|(id, _)| id.clone())
    }

    pub(super) fn ids(&self) -> Vec<InstanceId> {
        self.lock().keys().cloned().collect()
    }

    /// Resolves when there is no instance.
    pub(super) async fn empty(&self) {
        // The sender is ours: the wait cannot fail.
        let _ = self.count.subscribe().wait_for(|&count| count == 0).await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceId, Arc<Live>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Reservation ===

impl Reservation<'_> {
    /// The launcher knows of it now: its end will be reported.
    pub(super) fn keep(mut self) -> Arc<Live> {
        self.kept = true;
        self.live.clone()
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.live.phase.send_replace(Phase::Ended);
            self.table.remove(&self.id);
        }
    }
}
