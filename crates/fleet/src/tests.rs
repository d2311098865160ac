//! Worlds: a fleet over the fake engine, in virtual time.

mod admission;
mod adoption;
mod attempts;
mod containers;
mod cpu;
mod health;
mod lifecycle;
mod scaling;
mod secrets;
mod simulation;
mod starts;
mod workers;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use updraft_base::{Clock, Tasks, VirtualClock};
use updraft_engine::{Adopted, Engine as _, FakeEngine};
use updraft_model::{
    channel::{
        BookEntry, Check, CheckOutcome, Health, InstanceBook, LogLine, LogSource, RevisionBook, RevisionHealth,
        TaskBook, TaskEnd, Workload,
    },
    cpu::CpuTerms,
    instance::{ContainerSpec, Egress, InstanceId, InstanceSpec, Limits},
    name::{Parent, RevisionName},
    revision::{Probe, ProbeKind, ScalingTargets},
};

use crate::{Fleet, FleetConfig, FleetDeps};

const IMAGE: &str = "registry.test/app@sha256:00";
const ACCOUNT: &str = "runner@demo-project.iam.gserviceaccount.com";
/// How long a test waits, in real time, for what must happen.
const DEADLINE: Duration = Duration::from_secs(20);

struct World {
    clock: Clock,
    hand: Arc<VirtualClock>,
    engine: Arc<FakeEngine>,
    book: watch::Sender<Arc<RevisionBook>>,
    health: watch::Receiver<Arc<RevisionHealth>>,
    task_book: watch::Sender<Arc<TaskBook>>,
    ends: mpsc::Receiver<TaskEnd>,
    logs: mpsc::Receiver<LogLine>,
    roll: watch::Receiver<Arc<InstanceBook>>,
    fleet: Fleet,
    tasks: Tasks,
    registry: Registry,
}

impl World {
    fn new() -> Self {
        Self::with(FleetConfig::default())
    }

    fn with(config: FleetConfig) -> Self {
        let (clock, hand) = Clock::stopped_at(SystemTime::UNIX_EPOCH);
        let engine = FakeEngine::new(clock.clone());
        Self::beside(engine, (clock, hand), config, Vec::new())
    }

    /// The server is killed; another comes, with an empty book.
    async fn succeed(self, config: FleetConfig) -> Self {
        let engine = self.engine.successor();
        let adopted = engine.adopted().await;
        let clock = self.clock.clone();
        let hand = self.hand.clone();
        // What a killed process had in its hands tells nobody anything any more.
        std::mem::forget(self);
        Self::beside(engine, (clock, hand), config, adopted)
    }

    fn beside(
        engine: Arc<FakeEngine>,
        (clock, hand): (Clock, Arc<VirtualClock>),
        config: FleetConfig,
        adopted: Vec<Adopted>,
    ) -> Self {
        let tasks = Tasks::new();
        let (book, book_seen) = watch::channel(Arc::default());
        let (health_said, health) = watch::channel(Arc::default());
        let (task_book, task_book_seen) = watch::channel(Arc::default());
        let (task_ends, ends) = mpsc::channel(100);
        let (log, logs) = mpsc::channel(1000);
        let (instances, roll) = watch::channel(Arc::default());
        let deps = FleetDeps {
            engine: engine.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            config,
            book: book_seen,
            task_book: task_book_seen,
            task_ends,
            health: health_said,
            logs: log,
            instances,
            adopted,
        };
        let mut registry = Registry::default();
        let fleet = Fleet::start(deps, &mut registry);
        Self { clock, hand, engine, book, health, task_book, ends, logs, roll, fleet, tasks, registry }
    }

    /// Puts a revision into the book, or changes it there.
    fn put(&self, name: &RevisionName, entry: BookEntry) {
        self.book.send_modify(|book| {
            let mut entries = book.entries.clone();
            entries.insert(Arc::new(name.clone()), Arc::new(entry));
            *book = Arc::new(RevisionBook { entries, is_whole: true });
        });
    }

    fn remove(&self, name: &RevisionName) {
        self.book.send_modify(|book| {
            let mut entries = book.entries.clone();
            entries.remove(name);
            *book = Arc::new(RevisionBook { entries, is_whole: true });
        });
    }

    fn health(&self, name: &RevisionName) -> Option<Health> {
        self.health.borrow().entries.get(name).cloned()
    }

    /// What is said of an instance to those who have to know as whom it acts.
    fn workload(&self, id: &InstanceId) -> Option<Workload> {
        self.roll.borrow().entries.get(id).map(|workload| Workload::clone(workload))
    }

    fn outcome(&self, name: &RevisionName) -> Option<CheckOutcome> {
        self.health(name).map(|health| health.check)
    }

    /// Lets virtual time pass in steps, and in each of them everything happen that is due.
    async fn pass(&self, time: Duration, step: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let step = step.min(left);
            self.hand.advance(step);
            left -= step;
            breathe().await;
        }
    }

    /// Lets time pass in steps until this is so.
    async fn pass_until(&self, what: &str, step: Duration, mut predicate: impl FnMut() -> bool) {
        let clock = Clock::system();
        let begun = clock.instant();
        while !predicate() {
            assert!(clock.instant() - begun < DEADLINE, "never happened: {what}");
            self.pass(step, step).await;
        }
    }

    /// What time it is.
    fn now(&self) -> std::time::Instant {
        self.clock.instant()
    }

    /// The lines about instances so far, without the ids that chance made.
    fn lines(&mut self) -> String {
        let mut text = String::new();
        for line in self.said().into_iter().filter(|line| line.source != LogSource::Scaling) {
            let source = match line.source {
                LogSource::System => "system".to_owned(),
                LogSource::Scaling => "scaling".to_owned(),
                LogSource::Container(stream) => format!("{stream:?}").to_lowercase(),
            };
            text.push_str(&format!("{source}: {}\n", line.text));
        }
        text
    }

    /// The decisions so far.
    fn decisions(&mut self) -> Vec<String> {
        self.said().into_iter().filter(|line| line.source == LogSource::Scaling).map(|line| line.text).collect()
    }

    fn said(&mut self) -> Vec<LogLine> {
        std::iter::from_fn(|| self.logs.try_recv().ok()).collect()
    }

    /// The value of the metric lines that begin with `prefix`, summed.
    fn metric(&self, prefix: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("it is text");
        let lines = text.lines().filter(|line| line.starts_with(prefix));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// The server ends; nothing is left.
    async fn end(self) {
        self.fleet.drain().await;
        assert_eq!(self.engine.live(), 0);
        self.tasks.drain().await;
    }
}

/// Waits until `predicate` holds; time stands still meanwhile.
async fn until(what: &str, mut predicate: impl FnMut() -> bool) {
    let clock = Clock::system();
    let begun = clock.instant();
    while !predicate() {
        assert!(clock.instant() - begun < DEADLINE, "never happened: {what}");
        breathe().await;
    }
}

/// Lets other tasks and the network do what they can.
async fn breathe() {
    Clock::system().sleep(Duration::from_millis(1)).await;
}

fn name(id: &str) -> RevisionName {
    Parent::new("demo-project", "us-central1").service("app").revision(id)
}

/// A revision with concurrency 1 and at most 5 instances, checked before. One request, all the time, is no reason for a
/// second instance here.
fn entry(revision: &RevisionName) -> BookEntry {
    BookEntry {
        spec: Arc::new(InstanceSpec {
            owner: revision.clone().into(),
            ingress: ContainerSpec {
                name: "app-1".to_owned(),
                image: IMAGE.to_owned(),
                limits: Limits { cpu_millis: 1000, memory_bytes: 512 << 20, pids: 100 },
                ..ContainerSpec::default()
            },
            sidecars: Vec::new(),
            volumes: Vec::new(),
            port: 8080,
            egress: Egress::All,
        }),
        secrets: Arc::default(),
        concurrency: 1,
        min: 0,
        max: 5,
        targets: ScalingTargets { concurrency: 0, ..ScalingTargets::default() },
        startup_probe: Some(probe(ProbeKind::Tcp { port: 8080 }, 240, 1)),
        sidecar_probes: BTreeMap::new(),
        health_probes: BTreeMap::new(),
        cpu: CpuTerms::default(),
        check: Check::Done,
        account: ACCOUNT.to_owned(),
    }
}

fn probe(kind: ProbeKind, period: i32, threshold: i32) -> Probe {
    Probe { initial_delay: 0, timeout: period, period, failure_threshold: threshold, kind }
}
