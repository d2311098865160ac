//! The CPU of instances: taken away while there are no requests, more of it at the start.

use futures::FutureExt as _;
use updraft_model::cpu::{Billing, StartupBoost};

use super::*;

const GRACE: Duration = Duration::from_secs(10);

/// A world whose only instance, of `app`, is idle; and its record.
async fn resting(world: &World, app: &RevisionName) -> Arc<updraft_engine::Record> {
    world.put(app, entry(app));
    drop(world.fleet.admit(app).await.expect("an instance comes up"));
    world.engine.records()[0].clone()
}

#[tokio::test]
async fn an_idle_instance_is_frozen_after_the_grace_and_awake_for_every_request() {
    let world = World::new();
    let app = name("app-1");
    let record = resting(&world, &app).await;
    for round in 1..=3 {
        world.pass(GRACE - Duration::from_secs(1), Duration::from_secs(3)).await;
        assert_eq!(record.freezes(), round - 1, "not before its time");
        world.pass(Duration::from_secs(1), Duration::from_secs(1)).await;
        until("it is frozen", || record.is_frozen()).await;
        let slot = world.fleet.admit(&app).await.expect("it is there");
        assert!(!record.is_frozen(), "who has a place finds it awake");
        assert_eq!(slot.thawed(), Some(world.now()));
        world.pass(GRACE * 2, Duration::from_secs(5)).await;
        assert!(!record.is_frozen(), "a request is in flight");
        drop(slot);
    }
    assert_eq!(world.engine.records().len(), 1);
    world.end().await;
}

#[tokio::test]
async fn what_is_paid_for_all_the_time_is_never_frozen_nor_is_any_where_that_is_off() {
    let always = CpuTerms { billing: Billing::Instance, ..CpuTerms::default() };
    let never = FleetConfig { freeze_after: None, ..FleetConfig::default() };
    for (config, cpu) in [(FleetConfig::default(), always), (never, CpuTerms::default())] {
        let world = World::with(config);
        let app = name("app-1");
        world.put(&app, BookEntry { cpu, min: 1, ..entry(&app) });
        drop(world.fleet.admit(&app).await.expect("an instance comes up"));
        world.pass(Duration::from_secs(3600), Duration::from_secs(60)).await;
        assert_eq!(world.engine.records()[0].freezes(), 0);
        world.end().await;
    }
}

#[tokio::test]
async fn the_minimum_is_frozen_too_and_kept() {
    let world = World::new();
    let app = name("app-1");
    world.put(&app, BookEntry { min: 2, ..entry(&app) });
    until("the minimum is up", || world.health(&app).is_some_and(|health| health.ready == 2)).await;
    world.pass(Duration::from_secs(3600), Duration::from_secs(300)).await;
    let records = world.engine.records();
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|record| record.is_frozen() && record.freezes() == 1));
    // One that is awake is preferred to one that is not.
    let first = world.fleet.admit(&app).await.expect("it is there");
    let awake = first.instance().clone();
    drop(first);
    let again = world.fleet.admit(&app).await.expect("it is there");
    assert_eq!(*again.instance(), awake);
    assert_eq!(records.iter().filter(|record| record.is_frozen()).count(), 1);
    drop(again);
    world.end().await;
}

#[tokio::test]
async fn a_frozen_instance_ends_when_its_time_is_over_and_when_it_is_removed() {
    for removed in [false, true] {
        let world = World::new();
        let app = name("app-1");
        let record = resting(&world, &app).await;
        world.pass(GRACE, Duration::from_secs(5)).await;
        until("it is frozen", || record.is_frozen()).await;
        if removed {
            world.remove(&app);
        } else {
            world.pass(Duration::from_secs(15 * 60), Duration::from_secs(60)).await;
        }
        until("it is gone", || world.engine.live() == 0).await;
        assert!(!record.is_frozen());
        world.end().await;
    }
}

#[tokio::test]
async fn the_server_ends_with_frozen_instances() {
    let world = World::new();
    let app = name("app-1");
    let record = resting(&world, &app).await;
    world.pass(GRACE, Duration::from_secs(5)).await;
    until("it is frozen", || record.is_frozen()).await;
    // Checks that none is left.
    world.end().await;
}

#[tokio::test]
async fn a_host_that_cannot_freeze_serves_as_ever() {
    let world = World::new();
    world.engine.never_freeze();
    let app = name("app-1");
    let record = resting(&world, &app).await;
    for _ in 0..3 {
        world.pass(GRACE * 2, Duration::from_secs(5)).await;
        let slot = world.fleet.admit(&app).await.expect("it is there");
        slot.connect().await.expect("it listens");
        assert_eq!(slot.thawed(), None);
    }
    assert_eq!((world.engine.records().len(), record.freezes()), (1, 0));
    world.end().await;
}

#[tokio::test]
async fn a_frozen_instance_that_dies_is_forgotten_and_replaced() {
    let world = World::new();
    let app = name("app-1");
    let record = resting(&world, &app).await;
    world.pass(GRACE, Duration::from_secs(5)).await;
    until("it is frozen", || record.is_frozen()).await;
    world.engine.kill(&record.id, updraft_model::instance::Exit::Signal(9));
    until("its end is seen", || world.fleet.live_instances() == 0).await;
    let slot = world.fleet.admit(&app).await.expect("another one comes up");
    assert_ne!(*slot.instance(), record.id);
    drop(slot);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn however_requests_and_freezes_meet_who_has_a_place_finds_its_instance_awake() {
    const TASKS: usize = 4;
    const EACH: usize = 500;
    let world = World::with(FleetConfig { freeze_after: Some(Duration::ZERO), ..FleetConfig::default() });
    let app = name("app-1");
    world.put(&app, BookEntry { max: 2, concurrency: 2, ..entry(&app) });
    drop(world.fleet.admit(&app).await.expect("an instance comes up"));
    let requests = Tasks::new();
    for task in 0..TASKS {
        let (fleet, engine, app) = (world.fleet.clone(), world.engine.clone(), app.clone());
        requests.spawn("request", updraft_base::OnFailure::Stop, async move {
            for round in 0..EACH {
                let slot = fleet.admit(&app).await.expect("everybody gets a place");
                let record = engine.records().into_iter().find(|record| record.id == *slot.instance());
                let record = record.expect("it was started");
                assert!(!record.is_frozen(), "at the beginning");
                tokio::task::yield_now().await;
                assert!(!record.is_frozen(), "while it has a request");
                drop(slot);
                if (round + task) % 8 == 0 {
                    breathe().await;
                }
            }
        });
    }
    requests.drain().await;
    assert!(!requests.shutdown().is_failure());
    let freezes: u64 = world.engine.records().iter().map(|record| record.freezes()).sum();
    assert!(freezes > 10, "they met: {freezes}");
    until("all rest", || world.engine.records().iter().all(|record| record.is_frozen())).await;
    world.end().await;
}

#[tokio::test]
async fn a_start_has_more_cpu_until_ten_seconds_after_it_is_ready_and_then_what_was_asked_for() {
    let world = World::with(FleetConfig { machine_millis: 8000, ..FleetConfig::default() });
    let app = name("app-1");
    let cpu = CpuTerms { boost: StartupBoost::On, ..CpuTerms::default() };
    world.put(&app, BookEntry { cpu, ..entry(&app) });
    drop(world.fleet.admit(&app).await.expect("an instance comes up"));
    let record = world.engine.records()[0].clone();
    world.pass(Duration::from_secs(9), Duration::from_secs(1)).await;
    assert_eq!(record.cpu_millis(None), [2000]);
    world.pass(Duration::from_secs(1), Duration::from_secs(1)).await;
    until("it has what it was given", || record.cpu_millis(None) == [2000, 1000]).await;
    world.pass(Duration::from_secs(60), Duration::from_secs(10)).await;
    assert_eq!(record.cpu_millis(None), [2000, 1000]);
    world.end().await;
}

#[tokio::test]
async fn a_start_that_is_not_boosted_is_limited_once() {
    let small = FleetConfig { machine_millis: 1000, ..FleetConfig::default() };
    let boost = CpuTerms { boost: StartupBoost::On, ..CpuTerms::default() };
    for (config, cpu) in [(FleetConfig::default(), CpuTerms::default()), (small, boost)] {
        let world = World::with(config);
        let app = name("app-1");
        world.put(&app, BookEntry { cpu, ..entry(&app) });
        drop(world.fleet.admit(&app).await.expect("an instance comes up"));
        world.pass(Duration::from_secs(60), Duration::from_secs(10)).await;
        assert_eq!(world.engine.records()[0].cpu_millis(None), [1000]);
        world.end().await;
    }
}

#[tokio::test]
async fn every_container_of_a_boosted_start_has_more_by_what_it_is_given_and_then_that() {
    let world = World::with(FleetConfig { machine_millis: 8000, ..FleetConfig::default() });
    let app = name("app-1");
    let mut entry = entry(&app);
    entry.cpu.boost = StartupBoost::On;
    let mut spec = (*entry.spec).clone();
    let mut side = ContainerSpec { name: "side".to_owned(), ..spec.ingress.clone() };
    (side.limits.cpu_millis, side.args) = (1500, vec!["sleep".to_owned()]);
    let late = ContainerSpec { name: "late".to_owned(), depends_on: vec!["side".to_owned()], ..side.clone() };
    let full =
        ContainerSpec { name: "full".to_owned(), limits: Limits { cpu_millis: 8000, ..side.limits }, ..side.clone() };
    spec.sidecars = vec![side, late, full];
    world.put(&app, BookEntry { spec: Arc::new(spec), ..entry });
    drop(world.fleet.admit(&app).await.expect("an instance comes up"));
    let record = world.engine.records()[0].clone();
    let had = || [None, Some("side"), Some("late"), Some("full")].map(|sidecar| record.cpu_millis(sidecar));
    world.pass(Duration::from_secs(9), Duration::from_secs(1)).await;
    assert_eq!(had(), [vec![2000], vec![4000], vec![4000], vec![8000]]);
    world.pass(Duration::from_secs(1), Duration::from_secs(1)).await;
    let given = [vec![2000, 1000], vec![4000, 1500], vec![4000, 1500], vec![8000]];
    until("each has what it was given", || had() == given).await;
    world.end().await;
}

#[tokio::test]
async fn of_revisions_with_instances_is_told_what_they_do_and_of_others_nothing() {
    let world = World::new();
    let (app, other) = (name("app-1"), name("app-2"));
    world.put(&other, entry(&other));
    world.put(&app, BookEntry { concurrency: 10, ..entry(&app) });
    let series = |name: &str| world.metric(&format!("updraft_{name}{{project_id=\"demo-project\","));
    assert_eq!(series("container_instance_count"), 0);
    let slots = [world.fleet.admit(&app).await, world.fleet.admit(&app).await];
    assert!(slots.iter().all(Result::is_ok));
    until("it is ready", || world.health(&app).is_some_and(|health| health.ready == 1)).await;
    let most = || series("container_max_request_concurrencies");
    assert_eq!((series("container_instance_count"), most()), (1, 2));
    world.engine.records()[0].use_cpu(Duration::from_secs(3));
    world.pass(Duration::from_secs(5), Duration::from_secs(1)).await;
    let seconds = |name: &str, value: &str| {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &world.registry).expect("it is text");
        text.lines().any(|line| line.contains(&format!("_{name}_seconds_total{{")) && line.ends_with(value))
    };
    until("it was measured", || seconds("cpu_usage", "} 3.0")).await;
    assert!(seconds("cpu_allocation_time", "} 5.0"), "one CPU for five seconds");
    assert!(series("container_memory_allocation_bytes") > 0);
    drop(slots);
    world.pass(Duration::from_secs(5), Duration::from_secs(1)).await;
    assert_eq!(most(), 2, "a moment after a measurement, too");
    let idle = "updraft_container_instance_count{project_id=\"demo-project\",location=\"us-central1\",\
                service_name=\"app\",revision_name=\"app-1\",state=\"idle\"}";
    assert_eq!(world.metric(idle), 1);
    assert_eq!(world.metric("updraft_container_instance_count{"), 1, "and none of the other revision");
    world.end().await;
}

#[tokio::test]
async fn requests_that_wait_for_a_revision_without_an_instance_are_told_too() {
    let world = World::new();
    let app = name("app-1");
    world.put(&app, entry(&app));
    let fault = updraft_engine::EngineError::Host { operation: "start".to_owned(), cause: "no memory".to_owned() };
    world.engine.fail_start(IMAGE, Some(fault));
    let mut waits = Box::pin(world.fleet.admit(&app));
    let pending = "updraft_pending_queue_pending_requests{project_id=\"demo-project\",";
    tokio::select! {
        _ = &mut waits => panic!("nothing starts"),
        () = until("the start has failed", || world.engine.records().is_empty() && world.metric("updraft_instance_start_failures_total") == 1) => {}
    }
    until("nothing is left of it", || world.metric("updraft_instances{state=\"starting\"}") == 0).await;
    assert_eq!(world.metric(pending), 1);
    drop(waits);
    assert_eq!(world.metric(pending), 0);
    world.end().await;
}

#[tokio::test]
async fn no_instance_uses_more_cpu_than_it_is_given_also_while_it_starts() {
    let world = World::with(FleetConfig { machine_millis: 8000, ..FleetConfig::default() });
    let app = name("app-1");
    let mut entry = entry(&app);
    entry.cpu.boost = StartupBoost::On;
    world.engine.script(IMAGE, &["wait=4000", "serve"]);
    world.put(&app, entry);
    let mut slot = Box::pin(world.fleet.admit(&app).fuse());
    tokio::select! {
        _ = &mut slot => panic!("it takes four seconds"),
        () = until("it starts", || world.engine.records().len() == 1) => {}
    }
    let seconds = |name: &str| -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &world.registry).expect("it is text");
        let line = text.lines().find(|line| line.starts_with(&format!("updraft_container_cpu_{name}_seconds_total{{")));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
    };
    let mut slots = Vec::new();
    // Two CPUs while it starts, which takes four seconds, and ten seconds longer; one then.
    for (used, least) in [(8, 10.0), (10, 20.0), (9, 29.0), (5_u32, 34.0)] {
        let is_due = seconds("usage") + f64::from(used);
        world.engine.records()[0].use_cpu(Duration::from_secs(used.into()));
        world.pass(Duration::from_secs(5), Duration::from_millis(500)).await;
        slots.extend((&mut slot).now_or_never().map(|slot| slot.expect("it has come up")));
        until("it is measured", || seconds("usage") == is_due).await;
        let given = seconds("allocation_time");
        // A little more: it is ready a moment after it listens.
        assert!((least..least + 1.0).contains(&given) && is_due <= given, "{is_due} of {given}");
    }
    drop((slot, slots));
    world.end().await;
}
