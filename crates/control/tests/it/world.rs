//! What the tests share.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{sealer::TestSealer, stuck::StuckEngine};
use tokio::sync::{mpsc, watch};
use updraft_api::{
    Named,
    longrunning::{GetOperationRequest, Operation, operation},
    run, unpack,
};
use updraft_base::{Clock, Tasks, VirtualClock};
use updraft_control::{Control, ControlConfig, ControlDeps};
use updraft_engine::FakeEngine;
use updraft_model::{
    Parent, Reason, RevisionName, ServiceName,
    account::AccountBook,
    channel::{BookEntry, Check, CheckOutcome, Health, RevisionBook, RevisionHealth, StartFailure},
    diagnosis::{Code, Diagnosis},
    iam::{Principal, ProjectInvokers},
    level::Level,
    route::{Route, RouteTable},
    schedule::ScheduleBook,
};
use updraft_oci::{ImageStore, ImageStoreConfig};
use updraft_store::{Change, Envelope, Key, Kind, MemoryStore, Store};

/// Who calls in the tests.
pub(crate) const ME: Principal = Principal::Local;
/// When worlds begin: in November 2023.
const START: Duration = Duration::from_secs(1_700_000_000);
/// Where everything is.
pub(crate) const PARENT: &str = "projects/demo-project/locations/us-central1";

/// What a world lies on: time and images. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Bed {
    clock: Clock,
    pub(crate) hand: Arc<VirtualClock>,
    images: ImageStore,
    dir: Arc<tempfile::TempDir>,
    pub(crate) sealer: Arc<TestSealer>,
}

/// A control plane, and the test as its fleet and its proxy.
pub(crate) struct World {
    pub(crate) control: Control,
    pub(crate) hand: Arc<VirtualClock>,
    pub(crate) engine: Arc<FakeEngine>,
    pub(crate) stuck: Arc<StuckEngine>,
    pub(crate) dir: Arc<tempfile::TempDir>,
    pub(crate) store: Arc<dyn Store>,
    clock: Clock,
    tasks: Tasks,
    book: watch::Receiver<Arc<RevisionBook>>,
    routes: watch::Receiver<Arc<RouteTable>>,
    pub(crate) accounts: watch::Receiver<Arc<AccountBook>>,
    pub(crate) schedules: watch::Receiver<Arc<ScheduleBook>>,
    health: watch::Sender<Arc<RevisionHealth>>,
    pub(crate) deleted: mpsc::Receiver<ServiceName>,
}

/// A pinned image: nothing has to be pulled to know what it is.
pub(crate) fn image(name: &str) -> String {
    format!("localhost:5000/{name}@sha256:{}", "a".repeat(64))
}

/// A check that went wrong.
pub(crate) fn failed() -> CheckOutcome {
    CheckOutcome::Failed(StartFailure {
        reason: Reason::HealthCheckContainerError,
        diagnosis: Diagnosis {
            code: Code::Exited,
            sentence: "The user-provided container failed to start.".to_owned(),
            cause: "Container called exit(3).".to_owned(),
            advice: "Read its output.".to_owned(),
            facts: Vec::new(),
        },
        last_lines: vec!["boom".to_owned()],
    })
}

// === impl Bed ===

impl Bed {
    pub(crate) fn new() -> Self {
        let (clock, hand) = Clock::stopped_at(SystemTime::UNIX_EPOCH + START);
        let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        let images = ImageStore::open(ImageStoreConfig::new(dir.path()), clock.clone()).expect("an image store");
        images.set_local_names(vec!["localhost:5000".to_owned()]);
        Self { clock, hand, images, dir, sealer: Arc::new(TestSealer::new()) }
    }
}

/// A service made of an image.
pub(crate) fn service(image_name: &str) -> run::Service {
    let container = run::Container { image: image(image_name), ..Default::default() };
    let template = run::RevisionTemplate { containers: vec![container], ..Default::default() };
    run::Service { template: Some(template), ..Default::default() }
}

/// A line of traffic to the latest revision.
pub(crate) fn latest(percent: i32) -> run::TrafficTarget {
    let r#type = run::TrafficTargetAllocationType::Latest.into();
    run::TrafficTarget { r#type, percent, ..Default::default() }
}

/// A line of traffic to a certain revision.
pub(crate) fn to(revision: &str, percent: i32, tag: &str) -> run::TrafficTarget {
    let r#type = run::TrafficTargetAllocationType::Revision.into();
    run::TrafficTarget { r#type, revision: revision.to_owned(), percent, tag: tag.to_owned() }
}

/// The last part of a full name.
pub(crate) fn id(full: &str) -> String {
    full.rsplit('/').next().unwrap_or_default().to_owned()
}

// === impl World ===

impl World {
    pub(crate) async fn new() -> Self {
        Self::over(Arc::new(MemoryStore::new())).await
    }

    /// A world over a store that may have something in it.
    pub(crate) async fn over(store: Arc<dyn Store>) -> Self {
        Self::try_over(store, Bed::new()).await.expect("starts")
    }

    /// The same on a bed that is there already. A store that fails can keep a control plane from starting.
    pub(crate) async fn try_over(store: Arc<dyn Store>, bed: Bed) -> Result<Self, updraft_model::Error> {
        let Bed { clock, hand, images, dir, sealer } = bed;
        let engine = FakeEngine::new(clock.clone());
        let stuck = Arc::new(StuckEngine::over(engine.clone()));
        let tasks = Tasks::new();
        let (deleted_sender, deleted) = mpsc::channel(16);
        let (book_sender, book) = watch::channel(Arc::default());
        let (routes_sender, routes) = watch::channel(Arc::default());
        let (schedules_sender, schedules) = watch::channel(Arc::default());
        let (accounts_sender, accounts) = watch::channel(Arc::default());
        let (health, health_receiver) = watch::channel(Arc::default());
        let control = Control::start(ControlDeps {
            store: store.clone(),
            images,
            engine: stuck.clone(),
            sealer,
            clock: clock.clone(),
            tasks: tasks.clone(),
            config: ControlConfig::default(),
            book: book_sender,
            health: health_receiver,
            routes: routes_sender,
            accounts: accounts_sender,
            schedules: schedules_sender,
            task_book: watch::channel(Arc::default()).0,
            task_ends: mpsc::channel(16).1,
            deleted: deleted_sender,
        })
        .await?;
        let world = Self {
            control,
            hand,
            engine,
            store,
            clock,
            tasks,
            book,
            routes,
            accounts,
            schedules,
            health,
            deleted,
            stuck,
            dir,
        };
        world.control.settled().await;
        Ok(world)
    }

    /// Somebody else's creation of a project, which is in the store and not yet known here. `like` is any envelope.
    pub(crate) async fn project_is_made_elsewhere(&self, project: &str, like: Envelope) {
        let key = Key::new(Kind::Project, Parent::new(project, "global"), project);
        let project = Envelope { key, resource_version: 0, owner: String::new(), ..like };
        self.store.commit(vec![Change::Put(Box::new(project))]).await.expect("is stored");
    }

    /// Ends this control plane; what it had in memory is gone.
    pub(crate) async fn end(self) {
        self.tasks.shutdown().ask();
        self.tasks.drain().await;
    }

    /// Looks at what is published: a route must lead to what the fleet may start without a check.
    pub(crate) fn inspector(&self) -> impl Fn() + Send + Sync + use<> {
        let (book, routes) = (self.book.clone(), self.routes.clone());
        move || {
            let (routes, book) = (routes.borrow().clone(), book.borrow().clone());
            for (host, route) in routes.hosts.iter() {
                for target in &route.targets {
                    let entry = book.entries.get(&target.revision);
                    let check = entry.map(|entry| entry.check);
                    assert_eq!(check, Some(Check::Done), "{host} leads to {}", target.revision);
                }
            }
        }
    }

    /// Ends this control plane and starts another over the same store.
    pub(crate) async fn restart(self) -> Self {
        self.tasks.shutdown().ask();
        self.tasks.drain().await;
        let again = Self::over(self.store.clone()).await;
        again.hand.advance(self.clock.now().duration_since(again.clock.now()).unwrap_or_default());
        again
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    pub(crate) async fn settle(&self) {
        self.control.settled().await;
    }

    /// Moves time, and lets what was due happen.
    pub(crate) async fn advance(&self, duration: Duration) {
        self.hand.advance(duration);
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
        self.settle().await;
    }

    pub(crate) fn service_name(&self, id: &str) -> ServiceName {
        Parent::new("demo-project", "us-central1").service(id)
    }

    /// The fleet answers every check that is wanted.
    pub(crate) async fn answer(&self, outcome: CheckOutcome) {
        self.settle().await;
        self.tell(outcome);
        self.settle().await;
    }

    /// The fleet answers every check that is wanted by now.
    pub(crate) fn tell(&self, outcome: CheckOutcome) {
        self.tell_each(|_| outcome.clone());
    }

    /// The same, by what is to be run.
    pub(crate) fn tell_each(&self, outcome: impl Fn(&BookEntry) -> CheckOutcome) {
        let (health, book) = (self.health.borrow().clone(), self.book.borrow().clone());
        let booked = health.entries.iter().filter(|(name, _)| book.entries.contains_key(*name));
        let mut entries: Level<Arc<RevisionName>, Health> =
            booked.map(|(name, it)| (name.clone(), it.clone())).collect();
        for (name, entry) in book.entries.iter().filter(|(_, entry)| entry.check == Check::Wanted) {
            entries.insert(name.clone(), Health { check: outcome(entry), ready: 1, starting: 0, trouble: None });
        }
        self.health.send_replace(Arc::new(RevisionHealth { entries }));
    }

    pub(crate) async fn pass(&self) {
        self.answer(CheckOutcome::Passed).await;
    }

    pub(crate) async fn fail(&self) {
        self.answer(failed()).await;
    }

    pub(crate) async fn create(&self, id: &str, service: run::Service) -> Operation {
        let request = run::CreateServiceRequest {
            parent: PARENT.to_owned(),
            service_id: id.to_owned(),
            service: Some(service),
            validate_only: false,
        };
        self.control.services_create(&ME, request).await.expect("is created")
    }

    /// Creates a service and passes its check.
    pub(crate) async fn deploy(&self, id: &str) -> run::Service {
        self.create(id, service("app")).await;
        self.pass().await;
        self.get(id).await
    }

    pub(crate) async fn get(&self, id: &str) -> run::Service {
        let name = format!("{PARENT}/services/{id}");
        self.control.services_get(&ME, run::GetServiceRequest { name }).await.expect("exists")
    }

    pub(crate) async fn update(&self, service: run::Service) -> Operation {
        let request = run::UpdateServiceRequest { service: Some(service), ..Default::default() };
        self.control.services_update(&ME, request).await.expect("is updated")
    }

    /// Changes what runs, and passes the check.
    pub(crate) async fn redeploy(&self, id: &str, image_name: &str) -> run::Service {
        let mut changed = self.get(id).await;
        changed.template = service(image_name).template;
        self.update(changed).await;
        self.pass().await;
        self.get(id).await
    }

    pub(crate) async fn revisions(&self, id: &str) -> Vec<run::Revision> {
        let parent = format!("{PARENT}/services/{id}");
        let request = run::ListRevisionsRequest { parent, ..Default::default() };
        self.control.revisions_list(&ME, request).await.expect("lists").revisions
    }

    pub(crate) async fn operation(&self, operation: &Operation) -> Operation {
        let request = GetOperationRequest { name: operation.name.clone() };
        self.control.operations_get(&ME, request).await.expect("exists")
    }

    /// The service that an operation ended with.
    pub(crate) async fn response(&self, operation: &Operation) -> run::Service {
        self.response_of(operation).await
    }

    /// What an operation ended with.
    pub(crate) async fn response_of<M: Named>(&self, operation: &Operation) -> M {
        match self.operation(operation).await.result {
            Some(operation::Result::Response(any)) => unpack(&any).expect("of that type"),
            other => panic!("no response: {other:?}"),
        }
    }

    /// The fleet says how many instances of a revision are up.
    pub(crate) async fn tell_ready(&self, revision: &str, ready: u32) {
        let mut entries = self.health.borrow().entries.clone();
        let said = Health { check: CheckOutcome::Pending, ready, starting: 0, trouble: None };
        entries.insert(Arc::new(revision.parse().expect("a revision")), said);
        self.health.send_replace(Arc::new(RevisionHealth { entries }));
        self.settle().await;
    }

    /// Code and message of the error that an operation ended with.
    pub(crate) async fn error(&self, operation: &Operation) -> (i32, String) {
        match self.operation(operation).await.result {
            Some(operation::Result::Error(status)) => (status.code, status.message),
            other => panic!("no error: {other:?}"),
        }
    }

    pub(crate) fn route(&self, host: &str) -> Option<Arc<Route>> {
        self.routes.borrow().hosts.get(host).cloned()
    }

    /// What the front door is told of the default project.
    pub(crate) fn project_invokers(&self) -> Option<Arc<ProjectInvokers>> {
        self.routes.borrow().projects.get("demo-project").cloned()
    }

    /// `revision percent` of a host's targets, in the order of their ids.
    pub(crate) fn targets(&self, host: &str) -> Vec<(String, u32)> {
        let route = self.route(host).unwrap_or_else(|| panic!("no route for {host}"));
        let mut targets: Vec<_> =
            route.targets.iter().map(|target| (target.revision.revision.clone(), target.percent)).collect();
        targets.sort();
        targets
    }

    pub(crate) fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<String> = self.routes.borrow().hosts.keys().map(|host| host.to_string()).collect();
        hosts.sort();
        hosts
    }

    pub(crate) fn booked(&self, service: &str, revision: &str) -> Option<Arc<BookEntry>> {
        self.book.borrow().entries.get(&self.service_name(service).revision(revision)).cloned()
    }

    pub(crate) fn book_entry(&self, name: &RevisionName) -> Option<Arc<BookEntry>> {
        self.book.borrow().entries.get(name).cloned()
    }

    pub(crate) fn book_len(&self) -> usize {
        self.book.borrow().entries.len()
    }
}

/// The host of a URL.
pub(crate) fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(':').next().unwrap_or_default().to_owned()
}
