//! A server is killed, and the next one goes on with its instances.

use updraft_model::{cpu::StartupBoost, instance::Exit};

use super::*;

/// A world whose server had these revisions, each with an instance that serves, and was killed.
async fn after_a_kill(names: &[&str], config: FleetConfig) -> World {
    let world = World::new();
    for id in names {
        world.put(&name(id), entry(&name(id)));
        drop(world.fleet.admit(&name(id)).await.expect("it comes up"));
    }
    world.succeed(config).await
}

#[tokio::test]
async fn a_request_is_served_by_the_instance_that_was_there_and_none_is_started() {
    let mut world = after_a_kill(&["a"], FleetConfig::default()).await;
    let before = world.engine.records()[0].id.clone();
    world.put(&name("a"), entry(&name("a")));
    let slot = world.fleet.admit(&name("a")).await.expect("it is there");
    assert_eq!((slot.instance(), slot.timing()), (&before, None));
    assert_eq!(world.workload(&before).expect("as whom it acts is known again").account, ACCOUNT);
    assert_eq!((world.engine.records().len(), world.fleet.live_instances()), (1, 1));
    // It takes one request at a time, and this is one: the next needs another instance.
    let other = world.fleet.admit(&name("a")).await.expect("another comes up");
    assert_ne!(other.instance(), &before);
    drop((slot, other));
    let lines = world.lines();
    assert!(lines.starts_with("system: The server was restarted. The instance goes on.\n"), "{lines}");
    world.end().await;
}

#[tokio::test]
async fn idle_time_begins_anew_and_then_it_scales_to_zero() {
    let world = after_a_kill(&["a"], FleetConfig::default()).await;
    world.put(&name("a"), entry(&name("a")));
    until("it joins", || world.health(&name("a")).is_some_and(|health| health.ready == 1)).await;
    let idle = FleetConfig::default().idle;
    world.pass(idle - Duration::from_secs(10), Duration::from_secs(60)).await;
    assert_eq!(world.engine.live(), 1);
    world.pass(Duration::from_secs(30), Duration::from_secs(10)).await;
    until("it is stopped", || world.engine.live() == 0).await;
    world.end().await;
}

#[tokio::test]
async fn what_is_not_in_the_book_or_there_as_something_else_is_ended() {
    let world = after_a_kill(&["gone", "other"], FleetConfig::default()).await;
    let mut changed = entry(&name("other"));
    Arc::get_mut(&mut changed.spec).expect("ours alone").ingress.env.push(("NEW".to_owned(), "1".to_owned()));
    world.put(&name("other"), changed);
    until("the one of another spec is stopped", || world.engine.live() == 1).await;
    let slot = world.fleet.admit(&name("other")).await.expect("it comes up");
    assert_eq!(slot.instance(), &world.engine.records()[2].id);
    drop(slot);
    world.pass(Duration::from_secs(70), Duration::from_secs(5)).await;
    until("nobody asked for the other one", || world.engine.live() == 1).await;
    assert!(world.fleet.admit(&name("gone")).await.is_err());
    world.end().await;
}

#[tokio::test]
async fn one_that_died_meanwhile_is_told_of_and_gets_no_request() {
    let world = World::new();
    world.put(&name("a"), entry(&name("a")));
    drop(world.fleet.admit(&name("a")).await.expect("it comes up"));
    let dead = world.engine.records()[0].id.clone();
    assert!(world.engine.kill(&dead, Exit::Code(7)));
    until("it is dead", || world.engine.live() == 0).await;
    // Perhaps the server had heard of it, perhaps not; as SIGKILL finds it.
    let mut world = world.succeed(FleetConfig::default()).await;
    world.put(&name("a"), entry(&name("a")));
    let slot = world.fleet.admit(&name("a")).await.expect("another comes up");
    assert_ne!(slot.instance(), &dead);
    drop(slot);
    assert_eq!(world.fleet.live_instances(), 1);
    let lines = world.lines();
    assert!(lines.contains("Container called exit(7)."), "{lines}");
    world.end().await;
}

#[tokio::test]
async fn one_that_does_not_answer_its_probe_is_replaced_and_nobody_is_refused() {
    let world = World::new();
    world.engine.script(IMAGE, &["sleep"]);
    world.put(&name("a"), entry(&name("a")));
    let fleet = world.fleet.clone();
    let tasks = Tasks::new();
    tasks.spawn("a request", updraft_base::OnFailure::Log, async move { drop(fleet.admit(&name("a")).await) });
    until("one is on its way up", || world.engine.live() == 1).await;
    let world = world.succeed(FleetConfig::default()).await;
    world.engine.script(IMAGE, &["serve"]);
    let one = BookEntry { max: 1, startup_probe: Some(probe(ProbeKind::Tcp { port: 8080 }, 5, 1)), ..entry(&name("a")) };
    world.put(&name("a"), one);
    let app = name("a");
    let (admitted, ()) =
        tokio::join!(world.fleet.admit(&app), world.pass(Duration::from_secs(20), Duration::from_millis(200)));
    let slot = admitted.expect("another one came up");
    assert_eq!(slot.instance(), &world.engine.records()[1].id);
    assert_eq!(world.engine.peak_live(), 1, "at most one at a time");
    drop(slot);
    world.end().await;
}

#[tokio::test]
async fn one_that_was_frozen_is_awake_and_is_frozen_again_when_it_has_been_idle() {
    let world = after_a_kill(&["a"], FleetConfig::default()).await;
    let grace = FleetConfig::default().freeze_after.expect("it is on");
    let record = world.engine.records()[0].clone();
    world.put(&name("a"), entry(&name("a")));
    until("it joins", || world.health(&name("a")).is_some_and(|health| health.ready == 1)).await;
    world.pass(grace, grace / 2).await;
    until("it is frozen", || record.is_frozen()).await;
    // The next server finds it so.
    let world = world.succeed(FleetConfig::default()).await;
    assert!(!record.is_frozen());
    world.put(&name("a"), entry(&name("a")));
    drop(world.fleet.admit(&name("a")).await.expect("it is there"));
    assert_eq!(world.engine.records().len(), 1);
    world.pass(grace, grace / 2).await;
    until("it is frozen again", || record.freezes() == 2).await;
    world.end().await;
}

#[tokio::test]
async fn one_that_had_more_cpu_for_its_start_is_adopted_and_loses_it() {
    let machine = FleetConfig { machine_millis: 8000, ..FleetConfig::default() };
    let boosted = BookEntry { cpu: CpuTerms { boost: StartupBoost::On, ..CpuTerms::default() }, ..entry(&name("a")) };
    // It may also be that nothing is boosted any more, on a machine that has become smaller.
    for config in [machine, FleetConfig { machine_millis: 1000, ..machine }] {
        let world = World::with(machine);
        world.put(&name("a"), boosted.clone());
        drop(world.fleet.admit(&name("a")).await.expect("it comes up"));
        let record = world.engine.records()[0].clone();
        let world = world.succeed(config).await;
        world.put(&name("a"), boosted.clone());
        drop(world.fleet.admit(&name("a")).await.expect("it is there"));
        world.pass(Duration::from_secs(10), Duration::from_secs(1)).await;
        until("it has what it was given", || record.cpu_millis(None) == [2000, 1000]).await;
        assert_eq!(world.engine.records().len(), 1);
        world.end().await;
    }
}

#[tokio::test]
async fn a_server_that_ends_before_its_book_came_ends_what_it_took_over() {
    let world = after_a_kill(&["a", "b"], FleetConfig::default()).await;
    assert_eq!(world.fleet.live_instances(), 2);
    world.end().await;
}

#[tokio::test]
async fn lines_and_exits_that_were_not_written_down_are_told_to_the_next_server() {
    let mut world = World::new();
    let mut talker = entry(&name("a"));
    let spec = Arc::make_mut(&mut talker.spec);
    spec.ingress.args = ["print=one", "print=two", "serve"].map(str::to_owned).to_vec();
    world.put(&name("a"), talker);
    drop(world.fleet.admit(&name("a")).await.expect("it comes up"));
    // Read by this server, and in its hands when it is killed.
    let mut held = Vec::new();
    while held.len() < 2 {
        let line = world.logs.recv().await.expect("lines");
        held.extend(matches!(line.source, LogSource::Container(_)).then_some(line));
    }
    drop(held.remove(0));
    let mut world = world.succeed(FleetConfig::default()).await;
    drop(held);
    until("the book may come", || world.fleet.live_instances() == 1).await;
    let again = world.logs.recv().await.expect("lines");
    assert_eq!(again.text, "two", "the first was written down");
    world.end().await;
}
