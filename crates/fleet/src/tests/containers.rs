//! Instances with several containers.

use expect_test::expect;
use updraft_model::instance::Exit;

use super::*;

const SIDE: &str = "registry.test/side@sha256:01";
const DB: &str = "registry.test/db@sha256:02";

/// A revision that is checked, whose containers are `app` and two sidecars. The sidecars have startup probes.
fn several(revision: &RevisionName, depends_on: &[(&str, &[&str])]) -> BookEntry {
    let mut entry = BookEntry { check: Check::Wanted, ..entry(revision) };
    let spec = Arc::make_mut(&mut entry.spec);
    let sidecar = |name: &str, image: &str, port: u16| ContainerSpec {
        name: name.to_owned(),
        image: image.to_owned(),
        env: vec![("PORT".to_owned(), port.to_string())],
        ..spec.ingress.clone()
    };
    spec.sidecars = vec![sidecar("side", SIDE, 9000), sidecar("db", DB, 5432)];
    for (name, before) in depends_on {
        let mut all = std::iter::once(&mut spec.ingress).chain(&mut spec.sidecars);
        let container = all.find(|container| container.name == *name).expect("one of the containers");
        container.depends_on = before.iter().map(|&name| name.to_owned()).collect();
    }
    for (name, port) in [("side", 9000), ("db", 5432)] {
        entry.sidecar_probes.insert(name.to_owned(), probe(ProbeKind::Tcp { port }, 10, 3));
    }
    entry
}

impl World {
    /// Lines with the container that wrote them.
    fn labelled(&mut self) -> Vec<String> {
        let lines = self.said().into_iter().filter(|line| line.source != LogSource::Scaling);
        lines.map(|line| format!("{}: {}", line.container.as_deref().unwrap_or("-"), line.text)).collect()
    }

    fn failed(&self, revision: &RevisionName) -> String {
        match self.outcome(revision) {
            Some(CheckOutcome::Failed(failure)) => {
                format!("{}\n{}\n{}\n", failure.diagnosis.code, failure.diagnosis, failure.last_lines.join("\n"))
            }
            other => format!("not failed: {other:?}"),
        }
    }
}

#[tokio::test]
async fn containers_start_one_after_the_other_as_they_depend_on_each_other() {
    let mut world = World::new();
    let app = name("app-1");
    world.engine.script(IMAGE, &["print=app starts", "serve"]);
    world.engine.script(SIDE, &["print=side starts", "serve"]);
    world.engine.script(DB, &["print=db starts", "serve"]);
    world.put(&app, several(&app, &[("app-1", &["side"]), ("side", &["db"])]));
    until("the check passes", || world.outcome(&app) == Some(CheckOutcome::Passed)).await;
    let lines = world.labelled();
    expect![[r#"
        db: db starts
        -: STARTUP TCP probe succeeded after 1 attempt for container "db" on port 5432.
        side: side starts
        -: STARTUP TCP probe succeeded after 1 attempt for container "side" on port 9000.
        app-1: app starts
        -: Default STARTUP TCP probe succeeded after 1 attempt for container "app-1" on port 8080."#]]
    .assert_eq(&lines[1..].join("\n"));
    world.end().await;
}

#[tokio::test]
async fn an_instance_is_up_when_all_of_its_containers_are() {
    let world = World::new();
    let app = name("app-1");
    world.engine.script(SIDE, &["wait=5000", "serve"]);
    world.put(&app, several(&app, &[]));
    until("it starts", || world.engine.live() == 1).await;
    world.pass(Duration::from_secs(4), Duration::from_secs(1)).await;
    assert_eq!(world.outcome(&app), Some(CheckOutcome::Pending));
    world.pass(Duration::from_secs(2), Duration::from_millis(100)).await;
    until("the check passes", || world.outcome(&app) == Some(CheckOutcome::Passed)).await;
    world.end().await;
}

#[tokio::test]
async fn a_sidecar_without_a_probe_counts_as_up_when_it_runs() {
    let world = World::new();
    let app = name("app-1");
    world.engine.script(SIDE, &["sleep"]);
    let mut entry = several(&app, &[("app-1", &["side"])]);
    entry.sidecar_probes.remove("side");
    world.put(&app, entry);
    until("the check passes", || world.outcome(&app) == Some(CheckOutcome::Passed)).await;
    world.end().await;
}

#[tokio::test]
async fn a_sidecar_that_does_not_pass_its_probe_is_named_and_nobody_after_it_starts() {
    let mut world = World::new();
    let app = name("app-1");
    world.engine.script(IMAGE, &["print=never", "serve"]);
    world.engine.script(SIDE, &["print=waiting for godot", "sleep"]);
    world.put(&app, several(&app, &[("app-1", &["side"])]));
    until("it starts", || world.engine.live() == 1).await;
    world.pass(Duration::from_secs(31), Duration::from_secs(1)).await;
    until("the check fails", || matches!(world.outcome(&app), Some(CheckOutcome::Failed(_)))).await;
    expect![[r#"
        not-listening
        The user-provided container 'side' failed the configured startup probe checks. Container 'side': It listened on nothing after 30 s, and its process 'fake' sleeps. If it is a server, make it listen on 0.0.0.0 and port 9000; its output may say what it waits for.
        waiting for godot
    "#]]
    .assert_eq(&world.failed(&app));
    assert!(!world.labelled().iter().any(|line| line.contains("never")));
    until("it is killed", || world.engine.live() == 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_sidecar_that_ends_during_the_start_is_the_reason() {
    let world = World::new();
    let app = name("app-1");
    world.engine.script(IMAGE, &["print=fine", "sleep"]);
    world.engine.script(SIDE, &["print=no config", "exit=4"]);
    world.put(&app, several(&app, &[]));
    until("the check fails", || matches!(world.outcome(&app), Some(CheckOutcome::Failed(_)))).await;
    expect![[r#"
        exited
        The user-provided container 'side' failed to start. Container 'side': Container called exit(4). Its output says more: 'updraft services logs' shows all of it.
        no config
    "#]]
    .assert_eq(&world.failed(&app));
    world.end().await;
}

#[tokio::test]
async fn a_crash_of_a_sidecar_ends_the_instance_and_the_next_request_gets_another() {
    let mut world = World::new();
    let app = name("app-1");
    world.put(&app, several(&app, &[]));
    until("the check passes", || world.outcome(&app) == Some(CheckOutcome::Passed)).await;
    let first = world.engine.records()[0].id.clone();
    assert!(world.engine.kill_sidecar(&first, "side", Exit::Code(1)));
    until("it is gone", || world.engine.live() == 0).await;
    // After a crash the next start waits a little.
    let passing = world.pass(Duration::from_secs(1), Duration::from_millis(100));
    let (slot, ()) = tokio::join!(world.fleet.admit(&app), passing);
    let slot = slot.expect("another instance");
    assert_eq!(world.engine.records().len(), 2);
    drop(slot);
    let told = "-: Container \"side\" ended, and with it the instance. Container called exit(1).".to_owned();
    assert!(world.labelled().contains(&told));
    world.end().await;
}
