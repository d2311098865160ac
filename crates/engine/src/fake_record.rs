//! What was seen of the instances of a [`crate::FakeEngine`].

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use updraft_model::{instance::InstanceId, name::RevisionName};

/// What was seen of one instance, kept after its end.
#[derive(Debug)]
pub struct Record {
    /// The instance.
    pub id: InstanceId,
    /// Its revision.
    pub revision: RevisionName,
    now: AtomicU32,
    peak: AtomicU32,
    served: AtomicU64,
    pub(crate) connections: AtomicU64,
}

/// A request that is being served; counts until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Record>);

// === impl Record ===

impl Record {
    pub(crate) fn new(id: InstanceId, revision: RevisionName) -> Self {
        Self {
            id,
            revision,
            now: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            served: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        }
    }

    /// Requests it is serving now.
    pub fn in_flight(&self) -> u32 {
        self.now.load(Ordering::SeqCst)
    }

    /// The most requests it was serving at one time.
    pub fn peak(&self) -> u32 {
        self.peak.load(Ordering::SeqCst)
    }

    /// Requests that reached it.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::SeqCst)
    }

    /// Connections that were made to it.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn enter(self: &Arc<Self>) -> InFlight {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(now, Ordering::SeqCst);
        self.served.fetch_add(1, Ordering::SeqCst);
        InFlight(self.clone())
    }
}

// === impl InFlight ===

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}
