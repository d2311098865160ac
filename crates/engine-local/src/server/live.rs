//! The instances that are there.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;
use updraft_model::instance::InstanceId;

use crate::{net::Attachment, protocol::Steps, sandbox::cgroups::Plan};

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
    pub(super) memory_limit: u64,
    hold: Mutex<Hold>,
}

/// What an instance holds on to.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// Its network; `None` before it has one and when it has ended.
    pub(super) attachment: Option<Attachment>,
    /// How long that took.
    pub(super) network: Duration,
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
    pub(super) fn new(network: Duration, steps: Steps) -> Self {
        Self {
            network,
            process: Duration::from_micros(steps.clone + steps.join),
            mounts: Duration::from_micros(steps.mounts),
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
    pub(super) fn new(groups: Plan, memory_limit: u64) -> Self {
        Self { phase: watch::Sender::new(Phase::Starting), groups, memory_limit, hold: Mutex::default() }
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
