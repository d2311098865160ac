//! Instances to which nothing is sent, as those of worker pools.

use expect_test::expect;
use updraft_model::condition::Reason;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn workers() -> RevisionName {
    Parent::new("demo-project", "us-central1").worker_pool("consumer").revision("consumer-1")
}

/// So many workers that do these steps, and then wait for ever.
fn worker(count: u32, steps: &[&str]) -> BookEntry {
    let name = workers();
    let mut entry = BookEntry { min: count, max: count, startup_probe: None, ..entry(&name) };
    entry.targets = ScalingTargets { cpu: 0, concurrency: 0 };
    let spec = Arc::get_mut(&mut entry.spec).expect("ours alone");
    spec.port = 0;
    spec.ingress.args = steps.iter().map(|step| (*step).to_owned()).collect();
    entry
}

#[tokio::test]
async fn who_has_no_startup_probe_is_up_when_it_has_run_for_a_second() {
    let world = World::new();
    world.put(&workers(), BookEntry { check: Check::Wanted, ..worker(1, &["sleep"]) });
    until("it runs", || world.engine.live() == 1).await;
    world.pass(SECOND - Duration::from_millis(10), SECOND).await;
    assert_eq!(world.outcome(&workers()), Some(CheckOutcome::Pending));
    world.pass(Duration::from_millis(10), SECOND).await;
    until("the check passes", || world.outcome(&workers()) == Some(CheckOutcome::Passed)).await;
    assert_eq!(world.health(&workers()).map(|health| health.ready), Some(1));
    world.end().await;
}

#[tokio::test]
async fn who_ends_within_that_second_has_not_come_up() {
    let world = World::new();
    world.put(&workers(), BookEntry { check: Check::Wanted, ..worker(1, &["eprint=no queue", "exit=1"]) });
    until("the check fails", || matches!(world.outcome(&workers()), Some(CheckOutcome::Failed(_)))).await;
    let Some(CheckOutcome::Failed(failure)) = world.outcome(&workers()) else { panic!("just seen") };
    assert_eq!((failure.reason, failure.last_lines), (Reason::HealthCheckContainerError, vec!["no queue".to_owned()]));
    expect![
        "The user-provided container failed to start. Container called exit(1). Its output says more: the log shows all of it."
    ]
    .assert_eq(&failure.diagnosis.to_string());
    world.end().await;
}

#[tokio::test]
async fn a_startup_probe_is_asked_where_there_is_one() {
    let world = World::new();
    let mut entry = BookEntry { check: Check::Wanted, ..worker(1, &["serve=9000"]) };
    entry.startup_probe = Some(probe(ProbeKind::Tcp { port: 9000 }, 10, 1));
    world.put(&workers(), entry);
    until("the check passes", || world.outcome(&workers()) == Some(CheckOutcome::Passed)).await;
    world.end().await;
}

#[tokio::test]
async fn a_probe_that_fails_is_told_by_its_own_port() {
    let world = World::new();
    let mut entry = BookEntry { check: Check::Wanted, ..worker(1, &["serve=9000"]) };
    entry.startup_probe = Some(probe(ProbeKind::Tcp { port: 9001 }, 1, 1));
    world.put(&workers(), entry);
    until("it runs", || world.engine.live() == 1).await;
    world.pass(SECOND * 2, SECOND).await;
    until("the check fails", || matches!(world.outcome(&workers()), Some(CheckOutcome::Failed(_)))).await;
    let Some(CheckOutcome::Failed(failure)) = world.outcome(&workers()) else { panic!("just seen") };
    expect!["The user-provided container failed the configured startup probe checks. It listens on 0.0.0.0:9000, and nothing listens on port 9001. Make it listen on port 9001, or let its startup probe ask the port on which it does."].assert_eq(&failure.diagnosis.to_string());
    world.end().await;
}

#[tokio::test]
async fn so_many_are_kept_as_are_wanted_however_long_nothing_is_asked_of_them() {
    let mut world = World::new();
    world.put(&workers(), worker(3, &["sleep"]));
    until("all run", || world.engine.live() == 3).await;
    world.pass(SECOND * 7200, SECOND * 60).await;
    assert_eq!((world.engine.live(), world.engine.records().len()), (3, 3));
    let active = "updraft_container_instance_count{project_id=\"demo-project\",location=\"us-central1\",\
                  worker_pool_name=\"consumer\",revision_name=\"consumer-1\",state=\"active\"}";
    assert_eq!(world.metric(active), 3, "nobody is idle to whom nothing is sent");
    assert_eq!(world.decisions(), ["+3 (0 → 3): below the minimum"]);
    world.put(&workers(), worker(1, &["sleep"]));
    until("two are ended", || world.engine.live() == 1).await;
    world.put(&workers(), worker(0, &["sleep"]));
    until("the last is ended", || world.engine.live() == 0).await;
    world.end().await;
}

#[tokio::test]
async fn who_crashes_is_started_again_and_waits_longer_each_time_it_does_so_at_once() {
    let world = World::new();
    world.put(&workers(), worker(1, &["wait=2000", "exit=1"]));
    let mut starts = Vec::new();
    for _ in 0..120 {
        world.pass(Duration::from_millis(500), Duration::from_millis(500)).await;
        starts.push(world.engine.records().len());
    }
    let after_a_minute = *starts.last().expect("some");
    // Without a wait it would be thirty times.
    assert!((5..20).contains(&after_a_minute), "{starts:?}");
    world.end().await;
}
