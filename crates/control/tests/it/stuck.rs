//! Registries that never answer, and what goes on meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    net::TcpStream,
    sync::{broadcast, mpsc},
};
use updraft_api::{longrunning::Operation, run};
use updraft_engine::{Adopted, Engine, EngineError, EngineEvent, FakeEngine};
use updraft_model::{
    channel::CheckOutcome,
    instance::{Inspection, InstanceId, InstanceSpec, Secrets, Usage},
};
use updraft_store::{Change, Envelope, Key, Kind, MemoryStore, Page, Selection, Store, StoreError};

use crate::world::*;

/// A fake engine to which two registries do harm: one never answers, and one makes it panic.
pub(crate) struct StuckEngine {
    fake: Arc<FakeEngine>,
    stuck: AtomicUsize,
    /// Every registry is the one that never answers.
    is_holding: AtomicBool,
}

/// Counts while it lives.
struct Counted<'a>(&'a AtomicUsize);

// === impl StuckEngine ===

impl StuckEngine {
    pub(crate) fn over(fake: Arc<FakeEngine>) -> Self {
        Self { fake, stuck: AtomicUsize::new(0), is_holding: AtomicBool::new(false) }
    }

    /// From now on nothing that is to be prepared gets ready.
    pub(crate) fn hold(&self) {
        self.is_holding.store(true, Ordering::SeqCst);
    }

    pub(crate) fn stuck(&self) -> usize {
        self.stuck.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Engine for StuckEngine {
    async fn prepare(&self, spec: &InstanceSpec) -> Result<(), EngineError> {
        if self.is_holding.load(Ordering::SeqCst) || spec.ingress.image.starts_with("stuck.example/") {
            self.stuck.fetch_add(1, Ordering::SeqCst);
            let _counted = Counted(&self.stuck);
            std::future::pending::<()>().await;
        }
        assert!(!spec.ingress.image.starts_with("panic.example/"), "expected by the test");
        self.fake.prepare(spec).await
    }

    async fn start(&self, id: &InstanceId, spec: &InstanceSpec, secrets: &Secrets) -> Result<(), EngineError> {
        self.fake.start(id, spec, secrets).await
    }

    async fn show_secrets(&self, id: &InstanceId, spec: &InstanceSpec, secrets: &Secrets) -> Result<(), EngineError> {
        self.fake.show_secrets(id, spec, secrets).await
    }

    async fn start_container(
        &self,
        id: &InstanceId,
        spec: (&InstanceSpec, &Secrets),
        name: &str,
    ) -> Result<(), EngineError> {
        self.fake.start_container(id, spec, name).await
    }

    async fn stop(&self, id: &InstanceId, grace: Duration) {
        self.fake.stop(id, grace).await;
    }

    async fn connect(&self, id: &InstanceId, port: u16) -> std::io::Result<TcpStream> {
        self.fake.connect(id, port).await
    }

    async fn usage(&self, id: &InstanceId) -> Option<Usage> {
        self.fake.usage(id).await
    }

    async fn inspect(&self, id: &InstanceId) -> Option<Inspection> {
        self.fake.inspect(id).await
    }

    async fn inspect_container(&self, id: &InstanceId, sidecar: Option<&str>) -> Option<Inspection> {
        self.fake.inspect_container(id, sidecar).await
    }

    async fn adopted(&self) -> Vec<Adopted> {
        self.fake.adopted().await
    }

    async fn list(&self) -> Vec<InstanceId> {
        self.fake.list().await
    }

    fn events(&self) -> Option<mpsc::Receiver<EngineEvent>> {
        self.fake.events()
    }

    async fn shutdown(&self, grace: Duration) {
        self.fake.shutdown(grace).await;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A service whose image is in `registry`.
fn from(registry: &str) -> run::Service {
    let mut sent = service("app");
    let container = &mut sent.template.as_mut().expect("a template").containers[0];
    container.image = container.image.replace("localhost:5000", registry);
    sent
}

/// Lets the others work until `is_so`; nothing here waits for time to pass.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if is_so() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("not reached: {what}");
}

async fn until_done(world: &World, operation: &Operation) {
    for _ in 0..10_000 {
        if world.operation(operation).await.done {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{} does not end", operation.name);
}

async fn delete(world: &World, id: &str) -> Operation {
    let request = run::DeleteServiceRequest { name: format!("{PARENT}/services/{id}"), ..Default::default() };
    world.control.services_delete(&ME, request).await.expect("is deleted")
}

#[tokio::test]
async fn a_registry_that_never_answers_holds_up_only_its_own_revisions() {
    let world = World::new().await;
    let mut last = None;
    for number in 0..40 {
        last = Some(world.create(&format!("stuck-{number}"), from("stuck.example")).await);
    }
    until("some are being prepared", || world.stuck.stuck() > 0).await;
    let healthy = world.create("hello", service("app")).await;
    let created = id(&world.get("hello").await.latest_created_revision);
    until("the healthy one is offered", || world.booked("hello", &created).is_some()).await;
    world.tell(CheckOutcome::Passed);
    until_done(&world, &healthy).await;
    assert_eq!(world.targets(&host(&world.get("hello").await.uri)), [(created, 100)]);
    for number in 0..39 {
        let deletion = delete(&world, &format!("stuck-{number}")).await;
        until_done(&world, &deletion).await;
    }
    // What was deleted is not fetched any longer, and what is left ends in time.
    until("one is left", || world.stuck.stuck() == 1).await;
    world.hand.advance(Duration::from_secs(600));
    let last = last.expect("forty were made");
    until_done(&world, &last).await;
    let (_, message) = world.error(&last).await;
    assert!(message.contains("The image could not be made ready within 600 seconds"), "{message}");
    assert_eq!(world.stuck.stuck(), 0);
}

#[tokio::test]
async fn a_panic_while_an_image_is_prepared_fails_its_revision_and_nothing_else() {
    let world = World::new().await;
    let operation = world.create("bad", from("panic.example")).await;
    world.deploy("hello").await;
    for _ in 0..8 {
        world.advance(Duration::from_secs(10)).await;
    }
    let (_, message) = world.error(&operation).await;
    assert!(message.contains("Internal error while the image was fetched"), "{message}");
}

/// A store that makes the next list of revisions panic once it is armed, and shows nobody all services while it is shut.
#[derive(Default)]
struct Trap {
    store: MemoryStore,
    is_armed: AtomicBool,
    is_shut: AtomicBool,
}

#[async_trait]
impl Store for Trap {
    async fn get(&self, key: &Key) -> Result<Option<Envelope>, StoreError> {
        self.store.get(key).await
    }

    async fn list(&self, selection: &Selection, page: &Page) -> Result<Vec<Envelope>, StoreError> {
        let springs = selection.kind == Kind::Revision && self.is_armed.swap(false, Ordering::SeqCst);
        assert!(!springs, "expected by the test");
        self.store.list(selection, page).await
    }

    async fn scan(&self, kind: Kind, after: Option<&Key>, limit: usize) -> Result<Vec<Envelope>, StoreError> {
        if self.is_shut.load(Ordering::SeqCst) {
            return Err(StoreError::Medium { operation: "scan", cause: "expected by the test".to_owned() });
        }
        self.store.scan(kind, after, limit).await
    }

    async fn count(&self, selection: &Selection) -> Result<usize, StoreError> {
        self.store.count(selection).await
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<Vec<Envelope>, StoreError> {
        self.store.commit(changes).await
    }

    fn watch(&self) -> broadcast::Receiver<Key> {
        self.store.watch()
    }
}

#[tokio::test]
async fn a_panic_in_a_pass_is_repeated_later_and_stops_nothing() {
    let trap = Arc::new(Trap::default());
    let world = World::over(trap.clone()).await;
    trap.is_armed.store(true, Ordering::SeqCst);
    world.create("hello", service("app")).await;
    world.settle().await;
    assert!(!trap.is_armed.load(Ordering::SeqCst), "a pass has panicked");
    world.advance(Duration::from_secs(1)).await;
    world.pass().await;
    assert!(!world.get("hello").await.reconciling);
}

#[tokio::test]
async fn services_that_cannot_be_listed_at_a_start_are_not_told_to_be_gone() {
    let trap = Arc::new(Trap::default());
    let world = World::over(trap.clone()).await;
    world.deploy("hello").await;
    let address = host(&world.get("hello").await.uri);
    world.end().await;
    trap.is_shut.store(true, Ordering::SeqCst);
    let bed = Bed::new();
    let (hand, start) = (bed.hand.clone(), World::try_over(trap.clone(), bed));
    let time = async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        trap.is_shut.store(false, Ordering::SeqCst);
        loop {
            hand.advance(Duration::from_millis(100));
            tokio::task::yield_now().await;
        }
    };
    let world = tokio::select! {
        biased;
        world = start => world.expect("starts"),
        () = time => unreachable!("time goes on"),
    };
    assert!(!world.targets(&address).is_empty(), "the first whole table has it");
    world.end().await;
}
