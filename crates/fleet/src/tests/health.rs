//! Instances that are probed after they are up: liveness, readiness, and neither while they are frozen.

use futures::FutureExt as _;
use updraft_engine::Record;
use updraft_model::{channel::HealthProbes, cpu::Billing};

use super::*;

const PERIOD: Duration = Duration::from_secs(10);
const HEALTH_SERVICE: &str = "/grpc.health.v1.Health/Check";

fn http(path: &str) -> ProbeKind {
    ProbeKind::Http { path: path.to_owned(), headers: Vec::new(), port: 8080 }
}

/// Every ten seconds with a second for the answer; three failures decide.
fn every_ten(kind: ProbeKind) -> Probe {
    Probe { timeout: 1, ..probe(kind, 10, 3) }
}

fn liveness(kind: ProbeKind) -> HealthProbes {
    HealthProbes { liveness: Some(every_ten(kind)), ..HealthProbes::default() }
}

fn readiness(kind: ProbeKind) -> HealthProbes {
    HealthProbes { readiness: Some(every_ten(kind)), readiness_successes: 2, ..HealthProbes::default() }
}

/// Never frozen, unless a test says so.
fn probed(revision: &RevisionName, probes: HealthProbes) -> BookEntry {
    let cpu = CpuTerms { billing: Billing::Instance, ..CpuTerms::default() };
    BookEntry { health_probes: [("app-1".to_owned(), probes)].into(), cpu, ..entry(revision) }
}

impl World {
    fn attempts(&self) -> u64 {
        self.metric("updraft_completed_probe_attempts_total{")
    }

    /// Waits until so many attempts of probes have been dealt with since `before`; time stands still meanwhile.
    async fn attempted(&self, before: u64, count: u64) {
        until("an attempt is over", || self.attempts() >= before + count).await;
        // What follows from it is done in the same breath.
        breathe().await;
    }

    /// Lets so many attempts fall due, one after the other, each dealt with before the next.
    async fn probe(&self, count: u32) {
        for _ in 0..count {
            let before = self.attempts();
            self.hand.advance(PERIOD);
            self.attempted(before, 1).await;
        }
    }

    fn record(&self, index: usize) -> Arc<Record> {
        self.engine.records()[index].clone()
    }
}

#[tokio::test]
async fn an_instance_that_fails_its_liveness_probe_is_killed_and_replaced() {
    let mut world = World::new();
    let app = name("app-1");
    world.engine.script(IMAGE, &["ignore-term", "serve"]);
    world.put(&app, BookEntry { min: 1, ..probed(&app, liveness(http("/live"))) });
    world.attempted(0, 1).await;
    world.engine.script(IMAGE, &["serve"]);
    let slot = world.fleet.admit(&app).await.expect("it is there");
    world.record(0).answer("/live", Some(500));
    world.probe(2).await;
    world.record(0).answer("/live", None);
    world.probe(1).await;
    world.record(0).answer("/live", Some(500));
    world.probe(2).await;
    assert_eq!(world.engine.live(), 1, "two failures, a success and two failures are no three in a row");
    world.lines();
    world.probe(1).await;
    // Though it heeds no SIGTERM, and without a moment's grace.
    until("it is gone with its request", || world.engine.live() == 0).await;
    assert!(slot.connect().await.is_err());
    assert_eq!(
        world.lines(),
        "system: LIVENESS HTTP probe failed 3 times consecutively for container \"app-1\" on port 8080 path \"/live\". \
         The instance has been shut down. HTTP probe failed with status code 500.\n"
    );
    drop(slot);
    world.pass(Duration::from_millis(200), Duration::from_millis(200)).await;
    until("another one is up", || world.engine.records().len() == 2 && world.engine.live() == 1).await;
    let is_well =
        |world: &mut World| world.lines().contains("LIVENESS HTTP probe succeeded after 1 attempt for container");
    until("and well", || is_well(&mut world)).await;
    world.end().await;
}

#[tokio::test]
async fn one_that_is_never_well_is_started_again_ever_more_slowly_however_long_each_lives() {
    let world = World::new();
    let app = name("app-1");
    let kind = ProbeKind::Http { path: "/status/500".to_owned(), headers: Vec::new(), port: 0 };
    world.put(&app, BookEntry { min: 1, ..probed(&app, liveness(kind)) });
    let mut waits = Vec::new();
    for round in 1..=8 {
        until("it is up and asked", || world.attempts() == 3 * (round - 1) + 1).await;
        // It lives for longer than one that crashes early, each time.
        world.probe(2).await;
        until("it is killed", || world.engine.live() == 0).await;
        let killed = world.now();
        while world.engine.live() == 0 {
            world.pass(Duration::from_millis(100), Duration::from_millis(100)).await;
        }
        waits.push(world.now() - killed);
    }
    assert!(waits[0] <= Duration::from_millis(200), "{waits:?}");
    assert!(waits[7] >= Duration::from_secs(7) && waits[7] <= Duration::from_secs(10), "{waits:?}");
    world.end().await;
}

#[tokio::test]
async fn one_that_was_well_for_long_is_replaced_at_once_when_it_is_not() {
    let world = World::new();
    let app = name("app-1");
    world.put(&app, BookEntry { min: 1, ..probed(&app, liveness(http("/live"))) });
    for round in 0..5 {
        until("it is up", || world.engine.records().len() == round + 1).await;
        let before = world.attempts();
        world.attempted(before, u64::from(before == 0)).await;
        world.probe(60).await;
        world.record(round).answer("/live", Some(500));
        world.probe(3).await;
        world.pass(Duration::from_millis(200), Duration::from_millis(100)).await;
    }
    until("the last one is up too", || world.engine.records().len() == 6).await;
    world.end().await;
}

#[tokio::test]
async fn the_delay_is_kept_and_an_answer_that_takes_too_long_is_none() {
    let mut world = World::new();
    let app = name("app-1");
    let late = Probe { initial_delay: 30, failure_threshold: 1, ..every_ten(http("/wait/1500")) };
    let probes = HealthProbes { liveness: Some(late), ..HealthProbes::default() };
    world.put(&app, BookEntry { max: 1, ..probed(&app, probes) });
    drop(world.fleet.admit(&app).await.expect("an instance comes up"));
    world.pass(Duration::from_millis(29_900), Duration::from_secs(5)).await;
    assert_eq!((world.record(0).served(), world.attempts()), (0, 0));
    world.hand.advance(Duration::from_millis(100));
    until("it is asked", || world.record(0).served() == 1).await;
    world.pass(Duration::from_millis(900), Duration::from_millis(300)).await;
    assert_eq!(world.attempts(), 0, "it has a second for the answer");
    world.pass(Duration::from_millis(100), Duration::from_millis(100)).await;
    until("it is gone", || world.engine.live() == 0).await;
    assert!(world.lines().contains("shut down. The answer did not come in time (DEADLINE_EXCEEDED).\n"));
    world.pass(Duration::from_secs(60), Duration::from_secs(10)).await;
    assert_eq!(world.engine.records().len(), 1, "there is neither a request nor a minimum");
    world.end().await;
}

#[tokio::test]
async fn an_instance_that_is_not_ready_keeps_its_requests_gets_no_new_ones_and_comes_back() {
    let mut world = World::new();
    let app = name("app-1");
    world.put(&app, BookEntry { max: 1, concurrency: 10, ..probed(&app, readiness(http("/ready"))) });
    // It gets requests before its readiness was asked for the first time.
    let first = world.fleet.admit(&app).await.expect("an instance comes up");
    world.attempted(0, 1).await;
    world.lines();
    world.record(0).answer("/ready", Some(503));
    world.probe(3).await;
    assert_eq!(
        world.lines(),
        "system: READINESS HTTP probe failed 3 times consecutively for container \"app-1\" on port 8080 path \"/ready\". \
         The instance gets no new requests until it succeeds again. HTTP probe failed with status code 503.\n"
    );
    assert_eq!(world.metric("updraft_unready_instances "), 1);
    first.connect().await.expect("the request that it has goes on");
    // Each asks anew: a request does not wait as long as this takes.
    let has_room = || world.fleet.admit(&app).now_or_never().is_some();
    assert!(!has_room());
    world.probe(6).await;
    assert!(!has_room());
    world.record(0).answer("/ready", None);
    world.probe(1).await;
    assert!(!has_room(), "one success is not enough");
    world.probe(1).await;
    let second = world.fleet.admit(&app).await.expect("it is ready again");
    assert_eq!(first.instance(), second.instance());
    let again = "system: READINESS HTTP probe succeeded after 8 attempts for container \"app-1\" on port 8080 path \"/ready\".\n";
    assert_eq!(world.lines(), again);
    assert_eq!(
        (world.engine.records().len(), world.metric("updraft_unready_instances ")),
        (1, 0),
        "nothing was restarted"
    );
    drop((first, second));
    world.end().await;
}

#[tokio::test]
async fn others_get_the_requests_of_one_that_is_not_ready_and_are_started_for_them_within_the_maximum() {
    let world = World::new();
    let app = name("app-1");
    world.put(&app, BookEntry { max: 2, concurrency: 10, ..probed(&app, readiness(http("/ready"))) });
    let first = world.fleet.admit(&app).await.expect("an instance comes up");
    world.attempted(0, 1).await;
    world.record(0).answer("/ready", Some(503));
    world.probe(3).await;
    let second = world.fleet.admit(&app).await.expect("another one comes up");
    assert_ne!(first.instance(), second.instance());
    let third = world.fleet.admit(&app).await.expect("that has room");
    assert_eq!(third.instance(), second.instance());
    until("it was asked", || world.attempts() == 5).await;
    world.record(1).answer("/ready", Some(503));
    for _ in 0..3 {
        let before = world.attempts();
        world.hand.advance(PERIOD);
        world.attempted(before, 2).await;
    }
    let mut waiting = Box::pin(world.fleet.admit(&app));
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    breathe().await;
    assert_eq!(world.engine.peak_live(), 2, "not more than the maximum, though none is ready");
    drop((waiting, first, second, third));
    world.end().await;
}

#[tokio::test]
async fn who_is_ready_again_is_not_retired_for_the_time_that_it_could_have_no_requests() {
    let world = World::new();
    let app = name("app-1");
    world.put(&app, probed(&app, readiness(http("/ready"))));
    drop(world.fleet.admit(&app).await.expect("an instance comes up"));
    world.attempted(0, 1).await;
    world.record(0).answer("/ready", Some(503));
    world.probe(80).await;
    world.record(0).answer("/ready", None);
    world.probe(2).await;
    world.pass(Duration::from_secs(890), PERIOD).await;
    assert_eq!(world.engine.live(), 1);
    // How much more than that it takes is the machine's: answers to probes may be heard some periods later.
    world.pass_until("its idle time is over", PERIOD, || world.engine.live() == 0).await;
    // One that stays unready has an idle time too.
    drop(world.fleet.admit(&app).await.expect("an instance comes up"));
    world.record(1).answer("/ready", Some(503));
    world.pass(Duration::from_secs(899), PERIOD).await;
    assert_eq!(world.engine.live(), 1);
    world.pass_until("its idle time is over", PERIOD, || world.engine.live() == 0).await;
    world.end().await;
}

#[tokio::test]
async fn grpc_asks_the_health_service() {
    let mut world = World::new();
    let app = name("app-1");
    let kind = ProbeKind::Grpc { port: 0, service: "shop".to_owned() };
    let probes = HealthProbes { liveness: Some(every_ten(kind.clone())), ..readiness(kind) };
    world.put(&app, BookEntry { min: 1, ..probed(&app, probes) });
    world.attempted(0, 2).await;
    world.lines();
    world.record(0).answer(HEALTH_SERVICE, Some(503));
    for _ in 0..3 {
        let before = world.attempts();
        world.hand.advance(PERIOD);
        // Once it is killed nobody waits for the other answer.
        world.attempted(before, 1).await;
    }
    until("it is killed", || world.engine.live() == 0).await;
    let killed = "LIVENESS GRPC probe failed 3 times consecutively for container \"app-1\" on port 8080 service \"shop\". \
                  The instance has been shut down. gRPC probe failed: the service is not SERVING.\n";
    let lines = world.lines();
    assert!(lines.contains(killed), "{lines}");
    world.end().await;
}

#[tokio::test]
async fn a_sidecar_is_probed_by_its_own_rules_and_its_end_is_the_instances() {
    let mut world = World::new();
    let app = name("app-1");
    let mut one = probed(&app, readiness(http("/ready")));
    let mut spec = (*one.spec).clone();
    spec.sidecars =
        vec![ContainerSpec { name: "side".to_owned(), args: vec!["serve=9000".to_owned()], ..spec.ingress.clone() }];
    one.spec = Arc::new(spec);
    let side = ProbeKind::Http { path: "/side".to_owned(), headers: Vec::new(), port: 9000 };
    let both = HealthProbes { liveness: Some(every_ten(side.clone())), ..readiness(side) };
    one.health_probes.insert("side".to_owned(), both);
    world.put(&app, BookEntry { max: 1, ..one });
    drop(world.fleet.admit(&app).await.expect("an instance comes up"));
    world.attempted(0, 3).await;
    world.record(0).answer("/ready", Some(503));
    for _ in 0..3 {
        let before = world.attempts();
        world.hand.advance(PERIOD);
        world.attempted(before, 3).await;
    }
    assert_eq!(world.metric("updraft_unready_instances "), 1, "all of its containers have to be ready");
    world.lines();
    world.record(0).answer("/side", Some(500));
    world.pass(PERIOD * 3, Duration::from_secs(5)).await;
    until("it is gone", || world.engine.live() == 0).await;
    let lines = world.lines();
    assert!(
        lines.contains("LIVENESS HTTP probe failed 3 times consecutively for container \"side\" on port 9000"),
        "{lines}"
    );
    world.end().await;
}

#[tokio::test]
async fn nothing_is_asked_of_an_instance_that_is_frozen_and_no_time_passes_for_it() {
    let world = World::new();
    let app = name("app-1");
    let soon = Probe { failure_threshold: 1, period: 25, timeout: 5, ..every_ten(http("/live")) };
    let probes = HealthProbes { liveness: Some(soon), ..HealthProbes::default() };
    world.put(&app, BookEntry { cpu: CpuTerms::default(), ..probed(&app, probes) });
    drop(world.fleet.admit(&app).await.expect("an instance comes up"));
    world.attempted(0, 1).await;
    let record = world.record(0);
    world.pass(PERIOD, Duration::from_secs(5)).await;
    until("that it is probed does not keep it awake", || record.is_frozen()).await;
    world.pass(Duration::from_secs(600), PERIOD).await;
    assert_eq!(world.attempts(), 1);
    // Fifteen seconds of its own time are left, from when it is awake.
    let slot = world.fleet.admit(&app).await.expect("it is there");
    breathe().await;
    world.pass(Duration::from_secs(14), Duration::from_secs(2)).await;
    assert_eq!(world.attempts(), 1);
    world.hand.advance(Duration::from_secs(1));
    world.attempted(1, 1).await;
    drop(slot);
    assert_eq!((world.engine.live(), record.caught(), record.peak()), (1, 0, 1));
    world.end().await;
}

#[tokio::test]
async fn an_attempt_that_the_cold_cut_short_counts_for_nothing_and_is_made_again() {
    let world = World::new();
    let app = name("app-1");
    // It takes four seconds for its answer, and may take five.
    let slow = Probe { initial_delay: 8, failure_threshold: 1, timeout: 5, ..every_ten(http("/wait/4000")) };
    let probes = HealthProbes { liveness: Some(slow), ..HealthProbes::default() };
    world.put(&app, BookEntry { cpu: CpuTerms::default(), ..probed(&app, probes) });
    drop(world.fleet.admit(&app).await.expect("an instance comes up"));
    let record = world.record(0);
    world.hand.advance(Duration::from_secs(8));
    until("it is asked", || record.served() == 1).await;
    world.hand.advance(Duration::from_secs(2));
    until("it is frozen", || record.is_frozen()).await;
    world.pass(Duration::from_secs(300), PERIOD).await;
    let slot = world.fleet.admit(&app).await.expect("it is there");
    until("it is asked again at once", || record.served() == 2).await;
    assert_eq!(world.attempts(), 0);
    world.hand.advance(Duration::from_secs(4));
    world.attempted(0, 1).await;
    assert_eq!(world.metric("updraft_completed_probe_attempts_total{kind=\"liveness\",result=\"success\"}"), 1);
    drop(slot);
    assert_eq!(world.engine.live(), 1);
    world.end().await;
}

#[tokio::test]
async fn who_is_not_ready_stays_awake_or_nobody_would_ever_ask_again() {
    let world = World::new();
    let app = name("app-1");
    let config = Probe { period: 2, ..every_ten(http("/ready")) };
    let probes = HealthProbes { readiness: Some(config), readiness_successes: 1, ..HealthProbes::default() };
    world.put(&app, BookEntry { max: 1, cpu: CpuTerms::default(), ..probed(&app, probes) });
    drop(world.fleet.admit(&app).await.expect("an instance comes up"));
    world.attempted(0, 1).await;
    let record = world.record(0);
    record.answer("/ready", Some(503));
    let step = Duration::from_secs(2);
    for _ in 0..60 {
        let before = world.attempts();
        world.hand.advance(step);
        world.attempted(before, 1).await;
    }
    assert_eq!(record.freezes(), 0);
    let waiting = world.fleet.admit(&app);
    record.answer("/ready", None);
    let before = world.attempts();
    world.hand.advance(step);
    world.attempted(before, 1).await;
    drop(waiting.await.expect("it is ready again"));
    world.pass(PERIOD, step).await;
    until("and is frozen like any other", || record.is_frozen()).await;
    world.end().await;
}
