//! The control plane: intent is written down here, and made true.
//!
//! * Use cases (`services`, `pools`, `revisions`, `jobs`, `operations`, `locations`, `secrets`, `scheduler`): authorise → normalise → default →
//!   validate → diff → one atomic commit of resource and operation. They decide nothing about traffic and
//!   start nothing; they wake a key. What they may see and change they get from `access`, the one place that
//!   authorises: without its [`Permitted`] the store does not open.
//! * Reconcilers (`reconcile`): wake → observe → plan → apply → report, per key, fenced by version. What
//!   is to be done is decided by `updraft-plan`; what was found out goes into the status, which nobody
//!   else writes.
//! * What comes out is published through channels ([`ControlDeps`]): the books, the routes. What comes in
//!   from the fleet is its health, and how tasks ended.
//!
//! Tasks: `reconcile` (several workers on one keyed queue), `task-ends`, `pull` (one per revision whose image is being
//! fetched), `store-watch`, `health-watch`, `resync`, `images` (removes what no revision needs),
//! `secrets` (removes those whose time is over, seals values with the current key).
//! A crash between any two steps is repaired by running the same steps again.

mod access;
pub mod around;
pub mod audit;
mod backup;
mod board;
mod deployed;
mod diagnosis;
mod executions;
mod failure;
mod fault;
mod guard;
mod jobs;
mod locations;
mod operations;
mod page;
mod place;
mod policies;
mod pools;
mod pull;
mod queue;
mod reconcile;
mod record;
mod revisions;
mod scheduler;
mod secrets;
mod series;
mod services;
mod v1;
mod view;

pub use access::Permitted;
pub use backup::images_of;
pub use diagnosis::{Report, Standing};
pub use jobs::Running;
pub use secrets::Rotated;
pub use services::Mode;
pub use updraft_plan::{hosts::UrlConfig, room::Machine};
pub use v1::{Found, Place, Wanted};

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::registry::Registry;
use tokio::sync::{Notify, mpsc, watch};
use updraft_base::{Clock, Tasks};
use updraft_engine::Engine;
use updraft_model::{
    Error, RevisionName, ServiceName,
    account::AccountBook,
    channel::{RevisionBook, RevisionHealth, TaskBook, TaskEnd},
    route::RouteTable,
    schedule::ScheduleBook,
    secret::Sealer,
};
use updraft_oci::ImageStore;
use updraft_store::{Envelope, Key, Kind, Store};

use crate::{
    access::{Proof, Vault},
    around::AccountsBook,
    board::Board,
    executions::Executions,
    failure::of_store,
    place::Places,
    pull::Pulls,
    queue::{Queue, Work},
    scheduler::Schedules,
    series::{Series, Tallies},
};

/// What the control plane works with.
pub struct ControlDeps {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// Where tags are resolved.
    pub images: ImageStore,
    /// What gets revisions ready.
    pub engine: Arc<dyn Engine>,
    /// What keeps values of secrets unreadable in the store.
    pub sealer: Arc<dyn Sealer>,
    /// Time.
    pub clock: Clock,
    /// Where tasks are born.
    pub tasks: Tasks,
    /// Settings.
    pub config: ControlConfig,
    /// To the fleet: what must be startable.
    pub book: watch::Sender<Arc<RevisionBook>>,
    /// From the fleet: how it fares.
    pub health: watch::Receiver<Arc<RevisionHealth>>,
    /// To the fleet: which attempts at tasks are to run.
    pub task_book: watch::Sender<Arc<TaskBook>>,
    /// From the fleet: how they ended.
    pub task_ends: mpsc::Receiver<TaskEnd>,
    /// To the proxy: where hosts lead.
    pub routes: watch::Sender<Arc<RouteTable>>,
    /// To whoever checks tokens: which service accounts may be used.
    pub accounts: watch::Sender<Arc<AccountBook>>,
    /// To whoever makes the requests of scheduled jobs: which there are.
    pub schedules: watch::Sender<Arc<ScheduleBook>>,
    /// To whoever keeps something of services, worker pools or jobs elsewhere: this one is deleted. What finds no room is
    /// lost.
    pub deleted: mpsc::Sender<ServiceName>,
}

/// Settings of the control plane.
#[derive(Debug, Clone)]
pub struct ControlConfig {
    /// The project that exists from the beginning.
    pub default_project: String,
    /// The locations that are served; at least one.
    pub locations: Vec<String>,
    /// How URLs are written.
    pub url: UrlConfig,
    /// Where the server listens: a URL of this machine with one of these ports means the server itself.
    pub own_ports: Vec<u16>,
    /// The longest that one call of `operations_wait` holds on.
    pub wait_max: Duration,
    /// What of this machine tasks may have.
    pub machine: Machine,
    /// How long a finished operation can be read.
    pub operations_kept: Duration,
}

/// A handle on the control plane. Clones are the same one.
#[derive(Clone)]
pub struct Control {
    inner: Arc<Inner>,
}

struct Inner {
    store: Vault,
    images: ImageStore,
    engine: Arc<dyn Engine>,
    sealer: Arc<dyn Sealer>,
    clock: Clock,
    tasks: Tasks,
    config: ControlConfig,
    health: watch::Receiver<Arc<RevisionHealth>>,
    health_seen: Mutex<Arc<RevisionHealth>>,
    /// What instances of services and worker pools are promised of the machine's memory, in bytes, and by whose account.
    memory_of_services: Mutex<Option<(Arc<RevisionHealth>, u64)>>,
    places: Places,
    accounts: AccountsBook,
    schedules: Schedules,
    board: Board,
    executions: Executions,
    tallies: Tallies,
    queue: Queue,
    pulls: Pulls,
    /// Told that everything is to be looked at.
    resync: Notify,
    /// Held while what projects say is read and published: who comes later has read later, or a right that was taken
    /// back would come back with what somebody read before.
    projects: tokio::sync::Mutex<()>,
    deleted: mpsc::Sender<ServiceName>,
}

// === impl ControlConfig ===

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            default_project: "demo-project".to_owned(),
            locations: vec!["us-central1".to_owned()],
            url: UrlConfig { scheme: "http".to_owned(), domain: "run.localhost".to_owned(), port: 8080 },
            wait_max: Duration::from_secs(30),
            machine: Machine { memory: 8 << 30, tasks: 16 },
            own_ports: vec![8080],
            operations_kept: Duration::from_secs(24 * 3600),
        }
    }
}

// === impl Control ===

impl Control {
    /// Starts the reconcilers on everything that is stored. What is published says when every service was looked at;
    /// [`Control::settled`] waits for that.
    ///
    /// # Errors
    /// `Internal` when the store cannot be read.
    pub async fn start(deps: ControlDeps) -> Result<Self, Error> {
        let config = deps.config;
        let places = Places::load(&*deps.store, config.locations.clone(), &config.default_project).await?;
        let accounts = AccountsBook::load(&*deps.store, deps.accounts).await?;
        let schedules = Schedules::load(&*deps.store, deps.schedules).await?;
        let seen = deps.health.borrow().clone();
        let machine = config.machine;
        let inner = Arc::new(Inner {
            store: Vault::new(deps.store),
            images: deps.images,
            engine: deps.engine,
            sealer: deps.sealer,
            clock: deps.clock,
            tasks: deps.tasks,
            config,
            health: deps.health,
            health_seen: Mutex::new(seen),
            memory_of_services: Mutex::default(),
            places,
            accounts,
            schedules,
            board: Board::new(deps.book, deps.routes),
            executions: Executions::new(machine, deps.task_book),
            tallies: Tallies::default(),
            queue: Queue::new(),
            pulls: Pulls::new(),
            resync: Notify::new(),
            projects: tokio::sync::Mutex::default(),
            deleted: deps.deleted,
        });
        reconcile::start(&inner, deps.task_ends);
        Ok(Self { inner })
    }

    /// Adds what there is of jobs to what is told Prometheus.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Series(Arc::downgrade(&self.inner))));
    }

    /// The server is going to end: no task begins any more. Those that run are the fleet's to end.
    pub fn begin_no_tasks(&self) {
        self.inner.executions.close();
    }

    /// Ends when no reconcile work is queued or under way, the latest health was taken in and what
    /// is published is whole. Work that waits for the fleet or for a retry counts as settled.
    pub async fn settled(&self) {
        loop {
            self.inner.idle().await;
            // Lets the tasks that listen to the channels take in what was sent before this call.
            for _ in 0..16 {
                tokio::task::yield_now().await;
            }
            // In this order: what was taken in is in the queue by then.
            let is_quiet = self.inner.has_seen_latest_health() && self.inner.is_idle();
            if is_quiet && (self.inner.board.is_open() || self.inner.tasks.shutdown().is_asked()) {
                return;
            }
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

// === impl ControlDeps ===

impl fmt::Debug for ControlDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlDeps").field("config", &self.config).finish_non_exhaustive()
    }
}

// === impl Inner ===

impl Inner {
    async fn get(&self, proof: &impl Proof, key: &Key) -> Result<Option<Envelope>, Error> {
        self.store.open(proof).get(key).await.map_err(of_store)
    }

    /// The envelope of a revision, if it belongs to the service that its name says.
    async fn get_revision(&self, proof: &impl Proof, name: &RevisionName) -> Result<Option<Envelope>, Error> {
        let key = Key::new(Kind::Revision, name.service.parent.clone(), &name.revision);
        Ok(self.get(proof, &key).await?.filter(|envelope| record::owned_by(envelope) == name.service))
    }

    /// Ends when nothing is queued, worked on or pulled.
    async fn idle(&self) {
        while !self.is_idle() {
            self.queue.idle().await;
            self.pulls.idle().await;
        }
    }

    fn is_idle(&self) -> bool {
        self.queue.is_idle() && self.pulls.is_idle()
    }

    /// Forgets everything of a revision that is gone, and ends the pull for it.
    fn forget(&self, revision: &RevisionName) {
        self.pulls.forget(&Work::Revision(revision.clone()));
        self.board.forget(revision);
    }

    fn has_seen_latest_health(&self) -> bool {
        let seen = self.health_seen.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::ptr_eq(&seen, &self.health.borrow())
    }
}
