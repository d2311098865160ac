//! What every part of the fleet works with.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};
use updraft_base::{Clock, Shutdown, Tasks};
use updraft_engine::Engine;
use updraft_model::{
    channel::{BookEntry, Check, InstanceBook, LogLine, LogSource, RevisionBook, Workload},
    cpu::CpuTerms,
    instance::InstanceId,
    name::RevisionName,
    receipt::Receipt,
};
use updraft_plan::cpu;

use crate::{
    adoption::Adoption, board::Board, config::FleetConfig, ended::Ended, instance::Instance, metrics::Metrics,
    revision::Revision,
};

/// Shared by the revisions and the tasks. Knows no revision, so that those can hold it.
pub(crate) struct Context {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) config: FleetConfig,
    pub(crate) metrics: Metrics,
    pub(crate) board: Board,
    /// Revisions that want to be looked at, and when.
    pub(crate) timer: mpsc::UnboundedSender<(Instant, Weak<Revision>)>,
    /// Instances by their id, for the events. Its length is the count of live instances.
    pub(crate) instances: Instances,
    /// Instances of a server before this one, until their revision is known.
    pub(crate) adoption: Adoption,
    /// Does nobody get in any more?
    pub(crate) closing: AtomicBool,
    /// Has the engine said that it cannot freeze?
    pub(crate) freezes_nothing: AtomicBool,
    /// Ends the tasks that are not instances.
    pub(crate) done: Shutdown,
    logs: mpsc::Sender<LogLine>,
}

/// The live instances.
pub(crate) struct Instances {
    by_id: Mutex<HashMap<InstanceId, Arc<Instance>>>,
    count: watch::Sender<usize>,
    /// As others know them.
    published: watch::Sender<Arc<InstanceBook>>,
}

/// The revisions that have, or had, something to do.
pub(crate) struct Revisions {
    context: Arc<Context>,
    book: watch::Receiver<Arc<RevisionBook>>,
    known: RwLock<Known>,
}

/// The revisions, and the book by which they are.
#[derive(Default)]
struct Known {
    by_name: HashMap<RevisionName, Arc<Revision>>,
    /// As it was followed last: of the next one only what is new in it is looked at.
    followed: Arc<RevisionBook>,
    /// Those that are out of the book, and go when they are empty.
    leaving: HashSet<RevisionName>,
}

/// The parts of a [`Context`] that come from outside.
pub(crate) struct Outside {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) config: FleetConfig,
    pub(crate) metrics: Metrics,
    pub(crate) logs: mpsc::Sender<LogLine>,
    pub(crate) instances: watch::Sender<Arc<InstanceBook>>,
}

// === impl Context ===

impl Context {
    pub(crate) fn new(outside: Outside, timer: mpsc::UnboundedSender<(Instant, Weak<Revision>)>) -> Self {
        let Outside { engine, clock, tasks, config, metrics, logs, instances } = outside;
        Self {
            engine,
            clock,
            tasks,
            config,
            metrics,
            board: Board::default(),
            timer,
            instances: Instances::new(instances),
            adoption: Adoption::default(),
            closing: AtomicBool::new(false),
            freezes_nothing: AtomicBool::new(false),
            done: Shutdown::default(),
            logs,
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// How long an instance on these terms may be idle before it is frozen; `None`: for ever.
    pub(crate) fn grace(&self, terms: CpuTerms) -> Option<Duration> {
        let after = self.config.freeze_after.filter(|_| !self.freezes_nothing.load(Ordering::Relaxed));
        cpu::grace(terms.billing, after)
    }

    /// A line of the platform about an instance.
    pub(crate) fn say(&self, instance: &Instance, text: impl Into<String>) {
        self.log(instance, (None, LogSource::System), (text.into(), Receipt::default()));
    }

    /// What was decided for a revision.
    pub(crate) fn decided(&self, revision: &RevisionName, text: String) {
        let line = LogLine {
            time: self.clock.now(),
            owner: revision.clone().into(),
            instance: None,
            container: None,
            source: LogSource::Scaling,
            text,
            receipt: Receipt::default(),
        };
        self.send(line);
    }

    /// How an instance has ended. Only when that is written down need the engine not keep it any more.
    pub(crate) fn say_end(&self, instance: &Instance, ended: &Ended) {
        self.log(instance, (None, LogSource::System), (ended.to_string(), instance.receipt()));
    }

    /// A line of a container of an instance, which has a name if there are several, or about an instance. Who reads the
    /// logs must not be able to hold up the events of the engine, so what finds no room is dropped and counted.
    pub(crate) fn log(
        &self,
        instance: &Instance,
        (container, source): (Option<String>, LogSource),
        (text, receipt): (String, Receipt),
    ) {
        let line = LogLine {
            time: self.clock.now(),
            owner: instance.owner.clone(),
            instance: Some(instance.id.clone()),
            container,
            source,
            text,
            receipt,
        };
        self.send(line);
    }

    fn send(&self, line: LogLine) {
        if self.logs.try_send(line).is_err() {
            self.metrics.log_lines_dropped.inc();
        }
    }
}

// === impl Instances ===

impl Instances {
    fn new(published: watch::Sender<Arc<InstanceBook>>) -> Self {
        Self { by_id: Mutex::default(), count: watch::Sender::new(0), published }
    }

    pub(crate) fn insert(&self, instance: Arc<Instance>) {
        let mut by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        by_id.insert(instance.id.clone(), instance);
        self.count.send_replace(by_id.len());
    }

    /// Says as whom it acts.
    pub(crate) fn enlist(&self, instance: &Instance, account: &str) {
        let workload = Workload { owner: instance.owner.clone(), account: account.to_owned() };
        self.published.send_modify(|book| {
            // Copied only while somebody has the last version in hand.
            Arc::make_mut(book).entries.insert(instance.id.clone(), Arc::new(workload));
        });
    }

    pub(crate) fn remove(&self, id: &InstanceId) {
        self.published.send_if_modified(|book| Arc::make_mut(book).entries.remove(id).is_some());
        let mut by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        by_id.remove(id);
        self.count.send_replace(by_id.len());
    }

    pub(crate) fn get(&self, id: &InstanceId) -> Option<Arc<Instance>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Instance>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Ends when there is an instance.
    pub(crate) async fn any(&self) {
        // The sender is in `self`, so this ends only when there is one.
        let _ = self.count.subscribe().wait_for(|count| *count > 0).await;
    }

    /// Ends when no instance is left.
    pub(crate) async fn none_left(&self) {
        // An error means that the sender is gone, and with it every instance.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }
}

// === impl Revisions ===

impl Revisions {
    pub(crate) fn new(context: Arc<Context>, book: watch::Receiver<Arc<RevisionBook>>) -> Self {
        Self { context, book, known: RwLock::default() }
    }

    /// The revision as the newest book has it, even if that has not been followed yet, so that no
    /// request is lost between a new route and a new book.
    pub(crate) fn newest(&self, name: &RevisionName) -> Option<Arc<Revision>> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        self.follow(&mut known);
        let entry = known.followed.entries.get(name)?.clone();
        let revision = known.revision(name, &self.context);
        revision.set_entry(Some(entry));
        Some(revision)
    }

    pub(crate) fn known(&self, name: &RevisionName) -> Option<Arc<Revision>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).by_name.get(name).cloned()
    }

    /// Makes the revisions what the newest book says.
    pub(crate) fn follow_book(&self) {
        self.follow(&mut self.known.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn follow(&self, known: &mut Known) {
        // Borrowed under the lock: whoever changes entries holds it and so sees this book or a newer one.
        let book = self.book.borrow().clone();
        let before = std::mem::replace(&mut known.followed, book.clone());
        for (name, entry) in book.entries.changes(&before.entries, Arc::ptr_eq) {
            let is_awaited = entry.is_some_and(|it| wants_instances(it) || self.context.adoption.has(name));
            let revision = match is_awaited {
                true => Some(known.revision(name, &self.context)),
                false => known.by_name.get(&**name).cloned(),
            };
            let Some(revision) = revision else { continue };
            revision.set_entry(entry.cloned());
            match entry {
                Some(_) => known.leaving.remove(&**name),
                None => known.leaving.insert(RevisionName::clone(name)),
            };
        }
        let Known { by_name, leaving, .. } = known;
        leaving.retain(|name| {
            let is_left = by_name.get(name).is_some_and(|revision| !revision.is_empty());
            if !is_left {
                by_name.remove(name);
            }
            is_left
        });
    }

    /// Those that have instances, whatever becomes of them.
    pub(crate) fn with_instances(&self) -> BTreeSet<RevisionName> {
        self.context.instances.all().iter().filter_map(|instance| instance.owner.revision().cloned()).collect()
    }

    /// Those that have requests without a place.
    pub(crate) fn waited_for(&self) -> Vec<RevisionName> {
        // There are none most of the time, and then not all that ever were asked for are gone through.
        if self.context.metrics.pending_requests.get() == 0 {
            return Vec::new();
        }
        self.all().iter().filter(|revision| revision.is_waited_for()).map(|revision| revision.name().clone()).collect()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Revision>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).by_name.values().cloned().collect()
    }

    pub(crate) fn book(&self) -> watch::Receiver<Arc<RevisionBook>> {
        self.book.clone()
    }
}

// === impl Known ===

impl Known {
    /// The revision, made if there is none.
    fn revision(&mut self, name: &RevisionName, context: &Arc<Context>) -> Arc<Revision> {
        let make = || Arc::new(Revision::new(context.clone(), name.clone()));
        self.by_name.entry(name.clone()).or_insert_with(make).clone()
    }
}

/// Does it want instances without a request?
fn wants_instances(entry: &BookEntry) -> bool {
    entry.min > 0 || entry.check == Check::Wanted
}
