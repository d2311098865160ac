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
    owner::Owner,
};

use super::{company::Company, footing::Footing, freezer::Switch};
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
    /// Those of the container that takes the traffic, as are phase and limit.
    pub(super) groups: Plan,
    /// What they are called.
    pub(super) leaf: String,
    pub(super) freezer: Switch,
    pub(super) memory_limit: u64,
    /// The other containers, if there are some.
    pub(super) company: Option<Box<Company>>,
    pub(super) owner: Owner,
    /// The highest use of memory that was seen, where the kernel does not keep it.
    peak: AtomicU64,
    hold: Mutex<Hold>,
}

/// Which containers of an instance are meant?
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whose {
    /// All of them.
    All,
    /// This sidecar, or the container that takes the traffic.
    One(Option<String>),
}

/// What is known of an instance from the beginning.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    /// What its control groups are called.
    pub(super) leaf: &'a str,
    pub(super) groups: Plan,
    pub(super) owner: Owner,
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
        let Subject { leaf, groups, owner, memory_limit } = subject;
        Self {
            phase: watch::Sender::new(Phase::Starting),
            leaf: leaf.to_owned(),
            freezer: Switch::new(groups.freezer.iter().cloned().collect()),
            groups,
            memory_limit,
            company: None,
            owner,
            peak: AtomicU64::new(0),
            hold: Mutex::default(),
        }
    }

    /// With other containers beside the one that takes the traffic.
    pub(super) fn several(subject: Subject<'_>, company: Company) -> Self {
        let of_sidecars = company.sidecars.iter().map(|sidecar| &sidecar.groups);
        let freezers =
            std::iter::once(&subject.groups).chain(of_sidecars).filter_map(|plan| plan.freezer.clone()).collect();
        Self { freezer: Switch::new(freezers), company: Some(Box::new(company)), ..Self::new(subject) }
    }

    /// How far the sidecar of this name has come, or the container that takes the traffic.
    pub(super) fn phase_of(&self, sidecar: Option<&str>) -> Option<&watch::Sender<Phase>> {
        match sidecar {
            None => Some(&self.phase),
            Some(name) => self.company.as_ref()?.sidecar(name).map(|sidecar| &sidecar.phase),
        }
    }

    /// What the control groups of the sidecar of this name are called, or of the container that takes the traffic.
    pub(super) fn leaf_of(&self, sidecar: Option<&str>) -> Option<&str> {
        match sidecar {
            None => Some(&self.leaf),
            Some(name) => self.company.as_ref()?.sidecar(name).map(|sidecar| sidecar.leaf.as_str()),
        }
    }

    /// Do the programs of all of its containers run?
    pub(super) fn all_run(&self) -> bool {
        let of_sidecars = self.company.iter().flat_map(|company| &company.sidecars).map(|sidecar| &sidecar.phase);
        std::iter::once(&self.phase).chain(of_sidecars).all(|phase| matches!(*phase.borrow(), Phase::Running(_)))
    }

    /// The memory of the sidecar of this name, or of the container that takes the traffic; 0 when it is not there.
    pub(super) fn memory_limit_of(&self, sidecar: Option<&str>) -> u64 {
        match sidecar {
            None => self.memory_limit,
            Some(name) => {
                self.company.as_ref().and_then(|company| company.sidecar(name)).map_or(0, |found| found.memory_limit)
            }
        }
    }

    /// The control groups of its containers.
    pub(super) fn groups_of(&self, whose: &Whose) -> Vec<&Plan> {
        let sidecars = self.company.iter().flat_map(|company| &company.sidecars);
        match whose {
            Whose::All => std::iter::once(&self.groups).chain(sidecars.map(|sidecar| &sidecar.groups)).collect(),
            Whose::One(None) => vec![&self.groups],
            Whose::One(Some(name)) => {
                sidecars.filter(|sidecar| sidecar.name == *name).map(|sidecar| &sidecar.groups).collect()
            }
        }
    }

    /// Its processes. Reads `/proc`.
    pub(super) fn members(&self, whose: &Whose) -> Vec<u32> {
        match self.hold().keeper {
            // Several containers, each with its keeper, have control groups anyway.
            Some(keeper) if self.company.is_none() => {
                sys::tree::descendants(keeper).into_iter().map(|member| member.pid).collect()
            }
            _ => self.groups_of(whose).into_iter().flat_map(sys::cgroups::members).collect(),
        }
    }

    /// What it has used: by its control groups, or by its processes where there are none.
    pub(super) fn usage(&self, whose: &Whose) -> Option<Usage> {
        let counted = self.groups.memory.is_some() && self.groups.cpu.is_some();
        if counted || self.hold().keeper.is_none() {
            // Containers that have not been started yet have used nothing.
            return self.groups_of(whose).into_iter().filter_map(used).reduce(|sum, one| Usage {
                cpu: sum.cpu + one.cpu,
                memory_bytes: sum.memory_bytes + one.memory_bytes,
                memory_peak_bytes: sum.memory_peak_bytes + one.memory_peak_bytes,
            });
        }
        let members = self.members(whose);
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

fn used(groups: &Plan) -> Option<Usage> {
    Some(Usage {
        cpu: sys::cgroups::cpu_time(groups)?,
        memory_bytes: sys::cgroups::memory_now(groups)?,
        memory_peak_bytes: sys::cgroups::memory_peak(groups),
    })
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
