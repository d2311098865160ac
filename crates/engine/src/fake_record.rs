//! What was seen of the instances of a [`crate::FakeEngine`].

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;
use updraft_model::{
    instance::{ContainerSpec, InstanceId, InstanceSpec, Usage},
    owner::Owner,
};

/// What was seen of one instance, kept after its end.
#[derive(Debug)]
pub struct Record {
    /// The instance.
    pub id: InstanceId,
    /// Whose it is.
    pub owner: Owner,
    now: AtomicU32,
    peak: AtomicU32,
    served: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) attempts: AtomicU64,
    state: watch::Sender<Motion>,
    freezes: AtomicU64,
    caught: AtomicU64,
    /// CPU time it has used, in microseconds.
    used: AtomicU64,
    /// What is answered instead, by path.
    answers: Mutex<BTreeMap<String, u16>>,
    /// Of the container that takes the traffic, which has no name here, and of each sidecar.
    cpu_millis: Mutex<BTreeMap<Option<String>, Vec<u32>>>,
}

/// Does it make progress?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Motion {
    Awake,
    Frozen,
    /// It is being stopped, and is not frozen any more.
    Leaving,
}

/// A request that is being served; counts until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Record>);

// === impl Record ===

impl Record {
    pub(crate) fn new(id: InstanceId, spec: &InstanceSpec) -> Self {
        Self {
            id,
            owner: spec.owner.clone(),
            now: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            served: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
            state: watch::Sender::new(Motion::Awake),
            freezes: AtomicU64::new(0),
            caught: AtomicU64::new(0),
            used: AtomicU64::new(0),
            answers: Mutex::default(),
            cpu_millis: Mutex::new(spec.containers().map(|container| limits_of(spec, container)).collect()),
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

    /// Times that somebody tried to connect to it, with those that found nobody.
    pub fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::SeqCst)
    }

    /// Is it frozen?
    pub fn is_frozen(&self) -> bool {
        *self.state.borrow() == Motion::Frozen
    }

    /// How often it was frozen.
    pub fn freezes(&self) -> u64 {
        self.freezes.load(Ordering::SeqCst)
    }

    /// Requests that reached it while it was frozen, and freezes while it had one: each would have had to wait.
    pub fn caught(&self) -> u64 {
        self.caught.load(Ordering::SeqCst)
    }

    /// It uses so much CPU time, from one moment to the next.
    pub fn use_cpu(&self, time: Duration) {
        self.used.fetch_add(time.as_micros().try_into().unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage { cpu: Duration::from_micros(self.used.load(Ordering::SeqCst)), ..Usage::default() }
    }

    /// The limits of CPU that a sidecar of it has had, or the container that takes the traffic: in thousandths, the
    /// first one first.
    pub fn cpu_millis(&self, sidecar: Option<&str>) -> Vec<u32> {
        let all = self.cpu_millis.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&sidecar.map(str::to_owned)).cloned().unwrap_or_default()
    }

    /// From now on every container of it answers requests for `path` with this status and nothing else, and its health
    /// service of gRPC, by that path, `NOT_SERVING`; `None` repairs it.
    pub fn answer(&self, path: &str, status: Option<u16>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        match status {
            Some(status) => answers.insert(path.to_owned(), status),
            None => answers.remove(path),
        };
    }

    pub(crate) fn answer_to(&self, path: &str) -> Option<u16> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(path).copied()
    }

    pub(crate) fn enter(self: &Arc<Self>) -> InFlight {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(now, Ordering::SeqCst);
        self.served.fetch_add(1, Ordering::SeqCst);
        if self.is_frozen() {
            self.caught.fetch_add(1, Ordering::SeqCst);
        }
        InFlight(self.clone())
    }

    pub(crate) fn freeze(&self) -> io::Result<()> {
        let was = self.change(Motion::Frozen);
        match was {
            Motion::Leaving => return Err(io::ErrorKind::NotFound.into()),
            Motion::Frozen => {}
            Motion::Awake => {
                self.freezes.fetch_add(1, Ordering::SeqCst);
                self.caught.fetch_add(u64::from(self.in_flight()), Ordering::SeqCst);
            }
        }
        Ok(())
    }

    pub(crate) fn thaw(&self) {
        self.change(Motion::Awake);
    }

    pub(crate) fn leave(&self) {
        self.change(Motion::Leaving);
    }

    pub(crate) fn limit_cpu(&self, sidecar: Option<&str>, millis: u32) -> io::Result<()> {
        let mut all = self.cpu_millis.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_mut(&sidecar.map(str::to_owned)).ok_or(io::ErrorKind::NotFound)?.push(millis);
        Ok(())
    }

    /// What a process does before each of its steps: nothing, while it is frozen.
    pub(crate) async fn until_awake(&self) {
        // An error cannot be: the sender is in `self`.
        let _ = self.state.subscribe().wait_for(|state| *state != Motion::Frozen).await;
    }

    /// Who leaves does not come back. Returns how it was before.
    fn change(&self, to: Motion) -> Motion {
        let mut was = Motion::Leaving;
        self.state.send_if_modified(|state| {
            was = *state;
            let changes = was != Motion::Leaving && was != to;
            if changes {
                *state = to;
            }
            changes
        });
        was
    }
}

fn limits_of(spec: &InstanceSpec, container: &ContainerSpec) -> (Option<String>, Vec<u32>) {
    let sidecar = spec.sidecar_name(container).map(str::to_owned);
    (sidecar, vec![container.limits.cpu_millis])
}

// === impl InFlight ===

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}
