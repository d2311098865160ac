//! Starts, probes, checks, and how they fail.

use expect_test::expect;
use updraft_engine::{EngineError, Hearing};
use updraft_model::{condition::Reason, instance::Exit};

use super::*;
use crate::Refusal;

fn checked(revision: &RevisionName) -> BookEntry {
    BookEntry { check: Check::Wanted, ..entry(revision) }
}

fn failure(outcome: Option<CheckOutcome>) -> String {
    match outcome {
        Some(CheckOutcome::Failed(failure)) => {
            let told = &failure.diagnosis;
            format!("{:?} {}\n{told}\n{}\n", failure.reason, told.code, failure.last_lines.join("\n"))
        }
        other => format!("not failed: {other:?}"),
    }
}

#[tokio::test]
async fn a_check_starts_one_instance_and_says_that_it_passed() {
    let mut world = World::new();
    let app = name("app-1");
    world.put(&app, checked(&app));
    until("the check passes", || world.outcome(&app) == Some(CheckOutcome::Passed)).await;
    assert_eq!(world.engine.live(), 1);
    expect![[r#"
        system: Starting new instance. Reason: DEPLOYMENT_ROLLOUT - Instance started due to traffic shifting between revisions due to deployment, traffic split adjustment, or deployment health check.
        system: Default STARTUP TCP probe succeeded after 1 attempt for container "app-1" on port 8080.
    "#]]
    .assert_eq(&world.lines());
    world.end().await;
}

#[tokio::test]
async fn a_container_that_exits_fails_the_check_with_its_last_lines() {
    let mut world = World::new();
    let app = name("app-1");
    world.engine.script(IMAGE, &["print=starting", "eprint=no database", "exit=3"]);
    world.put(&app, checked(&app));
    until("the check fails", || matches!(world.outcome(&app), Some(CheckOutcome::Failed(_)))).await;
    expect![[r#"
        HealthCheckContainerError exited
        The user-provided container failed to start and listen on the port defined provided by the PORT=8080 environment variable within the allocated timeout. Container called exit(3). Its output says more: 'updraft services logs' shows all of it.
        starting
        no database
    "#]]
    .assert_eq(&failure(world.outcome(&app)));
    expect![[r#"
        system: Starting new instance. Reason: DEPLOYMENT_ROLLOUT - Instance started due to traffic shifting between revisions due to deployment, traffic split adjustment, or deployment health check.
        stdout: starting
        stderr: no database
        system: Container called exit(3).
        system: Default STARTUP TCP probe failed 1 time consecutively for container "app-1" on port 8080. The instance was not started. Connection failed with status CANCELLED.
        system: Start failed [exited]. Container called exit(3). Its output says more: 'updraft services logs' shows all of it.
    "#]]
    .assert_eq(&world.lines());
    // It is not tried again by itself.
    world.pass(Duration::from_secs(100), Duration::from_secs(1)).await;
    assert_eq!(world.engine.records().len(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_container_that_never_listens_fails_after_240_seconds() {
    let world = World::new();
    let app = name("app-1");
    world.engine.script(IMAGE, &["sleep"]);
    world.put(&app, checked(&app));
    until("it starts", || world.engine.live() == 1).await;
    world.pass(Duration::from_secs(239), Duration::from_secs(1)).await;
    assert_eq!(world.outcome(&app), Some(CheckOutcome::Pending));
    world.pass(Duration::from_secs(2), Duration::from_secs(1)).await;
    until("the check fails", || matches!(world.outcome(&app), Some(CheckOutcome::Failed(_)))).await;
    expect![[r#"
        HealthCheckContainerError not-listening
        The user-provided container failed to start and listen on the port defined provided by the PORT=8080 environment variable within the allocated timeout. It listened on nothing after 240 s, and its process 'fake' sleeps. If it is a server, make it listen on 0.0.0.0 and the port that PORT names; its output may say what it waits for.

    "#]]
    .assert_eq(&failure(world.outcome(&app)));
    until("it is killed", || world.engine.live() == 0).await;
    world.end().await;
}

#[tokio::test]
async fn memory_and_missing_images_are_told_apart() {
    let world = World::new();
    let (fat, lost) = (name("app-1"), name("app-2"));
    world.engine.script(IMAGE, &["allocate=1024"]);
    world.put(&fat, checked(&fat));
    let mut missing = checked(&lost);
    let image = "registry.test/lost@sha256:01".to_owned();
    let fault = EngineError::ImageMissing { image: image.clone(), cause: "manifest unknown".to_owned() };
    world.engine.fail_prepare(&image, Some(fault));
    Arc::make_mut(&mut missing.spec).ingress.image = image;
    world.put(&lost, missing);
    for revision in [&fat, &lost] {
        until("the check fails", || matches!(world.outcome(revision), Some(CheckOutcome::Failed(_)))).await;
    }
    expect![[r#"
        HealthCheckContainerError out-of-memory
        The user-provided container failed to start and listen on the port defined provided by the PORT=8080 environment variable within the allocated timeout. Memory limit of 512 MiB exceeded with 512 MiB used. Consider increasing the memory limit with --memory, see https://cloud.google.com/run/docs/configuring/memory-limits

    "#]]
    .assert_eq(&failure(world.outcome(&fat)));
    expect![[r#"
        ContainerMissing image-missing
        Image 'registry.test/lost@sha256:01' not found. Manifest unknown. Check the name and the tag, and that the image has been pushed ('updraft images list' shows what the server's own registry has).

    "#]]
    .assert_eq(&failure(world.outcome(&lost)));
    world.end().await;
}

#[tokio::test]
async fn a_fault_of_the_platform_that_passes_fails_no_check() {
    let world = World::new();
    let app = name("app-1");
    world.engine.script(IMAGE, &["sleep"]);
    world.put(&app, checked(&app));
    until("it starts", || world.engine.live() == 1).await;
    world.engine.script(IMAGE, &["serve"]);
    world.engine.kill(&world.engine.records()[0].id, Exit::Lost);
    until("it is gone", || world.engine.live() == 0).await;
    world.pass(Duration::from_millis(300), Duration::from_millis(50)).await;
    until("the check passes", || world.outcome(&app) == Some(CheckOutcome::Passed)).await;
    world.end().await;
}

#[tokio::test]
async fn a_fault_of_the_platform_that_stays_is_not_called_the_users() {
    let world = World::new();
    let app = name("app-1");
    let fault = EngineError::Host { operation: "make a cgroup".to_owned(), cause: "no space".to_owned() };
    world.engine.fail_prepare(IMAGE, Some(fault));
    world.put(&app, checked(&app));
    until("the first start fails", || world.engine.prepares() == 1).await;
    world.pass(Duration::from_millis(100), Duration::from_millis(50)).await;
    assert_eq!(world.outcome(&app), Some(CheckOutcome::Pending));
    world.pass(Duration::from_millis(200), Duration::from_millis(50)).await;
    until("the check fails", || matches!(world.outcome(&app), Some(CheckOutcome::Failed(_)))).await;
    expect![[r#"
        Internal host-refused
        The platform could not start an instance. Make a cgroup: no space. This is no fault of the container: 'updraft doctor' on the host shows what it lacks.

    "#]]
    .assert_eq(&failure(world.outcome(&app)));
    assert_eq!(world.engine.prepares(), 2);
    world.end().await;
}

#[tokio::test]
async fn a_revision_made_anew_under_its_old_name_runs_its_own_spec() {
    let world = World::new();
    let app = name("app-1");
    world.put(&app, checked(&app));
    until("the check passes", || world.outcome(&app) == Some(CheckOutcome::Passed)).await;
    let slot = world.fleet.admit(&app).await.expect("it serves");
    let mut other = checked(&app);
    Arc::make_mut(&mut other.spec).ingress.args = vec!["exit=1".to_owned()];
    world.put(&app, other);
    until("the new check fails", || matches!(world.outcome(&app), Some(CheckOutcome::Failed(_)))).await;
    assert_eq!(world.engine.live(), 1, "a request in flight keeps its instance");
    drop(slot);
    until("the old instance is gone", || world.engine.live() == 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_request_is_refused_with_the_cause_when_starts_fail_again() {
    let world = World::new();
    let app = name("app-1");
    world.engine.script(IMAGE, &["print=bye", "exit=1"]);
    world.put(&app, entry(&app));
    let (refusal, ()) = tokio::join!(world.fleet.admit(&app), async {
        until("the first start fails", || world.engine.records().len() == 1 && world.engine.live() == 0).await;
        world.pass(Duration::from_millis(300), Duration::from_millis(50)).await;
    });
    let Err(Refusal::StartFailed(failure)) = refusal else { panic!("not refused for the start: {refusal:?}") };
    assert_eq!(failure.reason, Reason::HealthCheckContainerError);
    assert!(failure.diagnosis.cause.starts_with("Container called exit(1)."), "{:?}", failure.diagnosis);
    assert_eq!(failure.last_lines, ["bye"]);
    assert_eq!(world.engine.records().len(), 2);
    world.end().await;
}

#[tokio::test]
async fn starts_that_fail_are_tried_less_and_less_often() {
    let world = World::new();
    let app = name("app-1");
    world.engine.script(IMAGE, &["exit=1"]);
    world.put(&app, BookEntry { min: 1, ..entry(&app) });
    world.pass(Duration::from_secs(60), Duration::from_millis(200)).await;
    let starts = world.engine.records().len();
    // 0.2 + 0.4 + … up to 10 s between two of them: without a hold-back there would be thousands.
    assert!((9..=16).contains(&starts), "{starts} starts in a minute");
    world.engine.script(IMAGE, &["serve"]);
    world.pass(Duration::from_secs(11), Duration::from_millis(200)).await;
    until("the minimum is there", || world.health(&app).is_some_and(|health| health.ready == 1)).await;
    world.end().await;
}

#[tokio::test]
async fn a_slow_container_is_ready_as_soon_as_it_listens() {
    let world = World::new();
    let app = name("app-1");
    world.engine.script(IMAGE, &["wait=1000", "serve"]);
    world.put(&app, entry(&app));
    let (slot, ()) = tokio::join!(world.fleet.admit(&app), async {
        until("it starts", || world.engine.live() == 1).await;
        world.pass(Duration::from_millis(1100), Duration::from_millis(20)).await;
    });
    let timing = slot.expect("it comes up").timing().expect("it is up");
    let boot = timing.ready - timing.started;
    assert!(boot >= Duration::from_millis(980) && boot <= Duration::from_millis(1060), "{boot:?}");
    world.end().await;
}

/// The attempts to connect and the time of a start whose container listens after 100 ms, when the engine hears so.
async fn heard(hearing: Hearing) -> (u64, Duration) {
    let world = World::new();
    let app = name("app-1");
    world.engine.hear(hearing);
    world.engine.script(IMAGE, &["wait=100", "serve"]);
    world.put(&app, entry(&app));
    let (slot, ()) = tokio::join!(world.fleet.admit(&app), async {
        until("it starts", || world.engine.live() == 1).await;
        world.pass(Duration::from_millis(250), Duration::from_millis(1)).await;
    });
    let timing = slot.expect("it comes up").timing().expect("it is up");
    let attempts = world.engine.records()[0].attempts();
    world.end().await;
    (attempts, timing.ready - timing.started)
}

#[tokio::test]
async fn nobody_connects_to_an_application_of_which_it_is_known_that_it_does_not_listen() {
    let (attempts, boot) = heard(Hearing::Good).await;
    assert_eq!(attempts, 1);
    assert!(boot < Duration::from_millis(125), "{boot:?}");
}

#[tokio::test]
async fn where_nobody_knows_who_listens_connecting_tells() {
    let (attempts, boot) = heard(Hearing::None).await;
    assert!(attempts > 10, "{attempts}");
    assert!(boot < Duration::from_millis(125), "{boot:?}");
}

#[tokio::test]
async fn an_engine_that_is_wrong_about_who_listens_delays_a_start_and_no_more() {
    let (attempts, boot) = heard(Hearing::Wrong).await;
    assert_eq!(attempts, 1);
    assert!(boot >= Duration::from_millis(150) && boot < Duration::from_millis(200), "{boot:?}");
}

#[tokio::test]
async fn http_probes_count_answers_and_grpc_probes_ask_for_health() {
    let mut world = World::new();
    let http = |path: &str| ProbeKind::Http { path: path.to_owned(), headers: Vec::new(), port: 0 };
    let grpc = ProbeKind::Grpc { port: 0, service: "app".to_owned() };
    let revisions = [
        (name("app-1"), probe(http("/status/204"), 10, 3)),
        (name("app-2"), probe(grpc, 10, 3)),
        (name("app-3"), probe(http("/status/500"), 10, 3)),
    ];
    for (revision, startup_probe) in &revisions {
        world.put(revision, BookEntry { startup_probe: Some(startup_probe.clone()), ..checked(revision) });
    }
    for (revision, _) in &revisions[..2] {
        until("the check passes", || world.outcome(revision) == Some(CheckOutcome::Passed)).await;
    }
    world.pass(Duration::from_secs(31), Duration::from_secs(1)).await;
    let failing = &revisions[2].0;
    until("the check fails", || matches!(world.outcome(failing), Some(CheckOutcome::Failed(_)))).await;
    let lines = world.lines();
    let mut probes: Vec<&str> = lines.lines().filter(|line| line.contains("probe ")).collect();
    probes.sort_unstable();
    expect![[r#"
        system: STARTUP GRPC probe succeeded after 1 attempt for container "app-1" on port 8080.
        system: STARTUP HTTP probe failed 3 times consecutively for container "app-1" on port 8080. The instance was not started. HTTP probe failed with status code 500.
        system: STARTUP HTTP probe succeeded after 1 attempt for container "app-1" on port 8080.
        system: Start failed [probe-http-status]. It answered GET /status/500 on port 8080 with 500. See why it does, or let the startup probe ask a path that is answered with 2xx or 3xx."#]]
    .assert_eq(&probes.join("\n"));
    world.end().await;
}
