//! The public verbs.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use updraft_base::{Clock, OnFailure, Tasks};
use updraft_engine::{Adopted, Engine};
use updraft_model::{
    channel::{InstanceBook, LogLine, RevisionBook, RevisionHealth, TaskBook, TaskEnd},
    name::RevisionName,
};

use crate::{
    adoption,
    affinity::Affinity,
    attempts::{self, Attempts},
    config::FleetConfig,
    context::{Context, Outside, Revisions},
    events,
    instance::{Order, Timing},
    meter,
    metrics::Metrics,
    revision::Admission,
    series::Series,
    slot::{Refusal, Slot},
    timer,
};

/// What a fleet works with.
pub struct FleetDeps {
    /// Runs the instances. Its events are taken by the fleet.
    pub engine: Arc<dyn Engine>,
    /// Time.
    pub clock: Clock,
    /// Where the tasks live.
    pub tasks: Tasks,
    /// Settings.
    pub config: FleetConfig,
    /// What must be startable.
    pub book: watch::Receiver<Arc<RevisionBook>>,
    /// Which attempts at tasks are to run.
    pub task_book: watch::Receiver<Arc<TaskBook>>,
    /// Where it is told how they ended. Whoever listens must do so to the end of the fleet.
    pub task_ends: mpsc::Sender<TaskEnd>,
    /// Where it is told how the revisions fare.
    pub health: watch::Sender<Arc<RevisionHealth>>,
    /// Where lines go. One that finds no room is dropped and counted.
    pub logs: mpsc::Sender<LogLine>,
    /// Where it is told which instances there are.
    pub instances: watch::Sender<Arc<InstanceBook>>,
    /// What the engine took over ([`Engine::adopted`]).
    pub adopted: Vec<Adopted>,
}

/// The instances of this server. Cheap to clone.
#[derive(Clone)]
pub struct Fleet {
    context: Arc<Context>,
    revisions: Arc<Revisions>,
    attempts: Arc<Attempts>,
}

// === impl Fleet ===

impl Fleet {
    /// Starts the fleet's tasks. It follows the book from now on until [`Fleet::drain`].
    pub fn start(deps: FleetDeps, registry: &mut Registry) -> Self {
        let FleetDeps { engine, clock, tasks, config, book, task_book, task_ends, .. } = deps;
        let (health, logs, instances, adopted) = (deps.health, deps.logs, deps.instances, deps.adopted);
        let events = engine.events();
        let (timer, wishes) = mpsc::unbounded_channel();
        let outside = Outside { engine, clock, tasks, config, metrics: Metrics::new(registry), logs, instances };
        let context = Arc::new(Context::new(outside, timer));
        let revisions = Arc::new(Revisions::new(context.clone(), book));
        registry.register_collector(Box::new(Series::new(&revisions)));
        let attempts = Arc::new(Attempts::new(context.clone(), task_ends));
        adoption::enrol(&context, &attempts, adopted);
        let tasks = &context.tasks;
        match events {
            Some(events) => tasks.spawn("fleet events", OnFailure::Stop, events::run(context.clone(), events)),
            None => tracing::error!("the engine's events are read by somebody else; exits will not be seen"),
        }
        tasks.spawn("fleet timer", OnFailure::Stop, timer::run(context.clone(), wishes));
        tasks.spawn("fleet meter", OnFailure::Stop, meter::run(context.clone(), revisions.clone()));
        tasks.spawn("fleet book", OnFailure::Stop, follow_book(context.clone(), revisions.clone()));
        tasks.spawn("fleet attempts", OnFailure::Stop, attempts::follow(attempts.clone(), task_book));
        let publisher = context.clone();
        tasks.spawn("fleet health", OnFailure::Stop, async move {
            tokio::select! {
                () = publisher.board.publish(health) => {}
                () = publisher.done.asked() => {}
            }
        });
        Self { context, revisions, attempts }
    }

    /// A place for one request to `revision`: at once if one is free, else first come first served
    /// as instances come up or have room, but no longer than a request may wait
    /// ([`updraft_plan::patience`]).
    /// Dropping the future leaves the queue.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn admit(&self, revision: &RevisionName) -> Result<Slot, Refusal> {
        self.admit_to(revision, None).await
    }

    /// The same, in the instance that is `wanted` if that has room.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn admit_to(&self, revision: &RevisionName, wanted: Option<Affinity>) -> Result<Slot, Refusal> {
        if self.context.is_closing() {
            return Err(Refusal::ShuttingDown);
        }
        let admission = match self.revisions.known(revision).map(|known| known.admit(wanted)) {
            None | Some(Err(Refusal::Unavailable)) => {
                self.revisions.newest(revision).ok_or(Refusal::Unavailable)?.admit(wanted)
            }
            Some(admission) => admission,
        };
        match admission? {
            Admission::Now(slot) => Ok(slot),
            Admission::Queued(ticket) => ticket.wait().await,
        }
    }

    /// Has the revision such an instance, that takes requests?
    pub fn has(&self, revision: &RevisionName, wanted: Affinity) -> bool {
        self.revisions.known(revision).is_some_and(|known| known.has(wanted))
    }

    /// How many instances there are, those that start and drain included.
    pub fn live_instances(&self) -> usize {
        self.context.instances.all().len()
    }

    /// Where the time went in the newest start of `revision` that succeeded.
    pub fn timing(&self, revision: &RevisionName) -> Option<Timing> {
        self.revisions.known(revision)?.timing()
    }

    /// Lets nobody in any more, waits for the requests in flight (see [`FleetConfig::drain`]), stops
    /// every instance and ends the fleet's tasks.
    pub async fn drain(&self) {
        self.context.closing.store(true, Ordering::Release);
        self.context.adoption.dismiss();
        self.attempts.close();
        for revision in self.revisions.all() {
            revision.close();
        }
        let patience = self.context.config.drain;
        if self.context.clock.timeout(patience, self.context.instances.none_left()).await.is_err() {
            for instance in self.context.instances.all() {
                instance.order(Order::Stop);
            }
            self.context.instances.none_left().await;
        }
        self.context.done.ask();
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fleet")
    }
}

impl fmt::Debug for FleetDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetDeps").field("config", &self.config).finish_non_exhaustive()
    }
}

async fn follow_book(context: Arc<Context>, revisions: Arc<Revisions>) {
    let mut book = revisions.book();
    loop {
        if !context.is_closing() {
            // Marked as seen before it is read: a change in between is seen again, not missed.
            book.mark_unchanged();
            revisions.follow_book();
        }
        tokio::select! {
            () = context.done.asked() => return,
            changed = book.changed() => match changed {
                // Before everything was looked at, one that is missing may come yet.
                Ok(()) if book.borrow().is_whole => context.adoption.book_came(),
                Ok(()) => {}
                Err(_) => return,
            },
        }
    }
}
