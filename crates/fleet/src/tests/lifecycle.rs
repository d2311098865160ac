//! Instances after they are up: idle, minimum, crash, removal, drain.

use updraft_model::instance::Exit;

use super::*;
use crate::Refusal;

#[tokio::test]
async fn idle_instances_go_after_the_idle_time_and_not_before() {
    let mut world = World::new();
    let app = name("app-1");
    world.put(&app, entry(&app));
    drop(world.fleet.admit(&app).await.expect("an instance comes up"));
    world.pass(Duration::from_secs(600), Duration::from_secs(60)).await;
    drop(world.fleet.admit(&app).await.expect("it is there"));
    // The first request's quarter of an hour is over, the second's is not.
    world.pass(Duration::from_secs(899), Duration::from_secs(60)).await;
    assert_eq!(world.engine.live(), 1);
    world.pass(Duration::from_secs(2), Duration::from_secs(1)).await;
    until("it is gone", || world.engine.live() == 0).await;
    until("nothing is said of it any more", || world.health(&app).is_none()).await;
    assert!(world.lines().ends_with("system: Stopping instance. Reason: idle.\n"));
    world.end().await;
}

#[tokio::test]
async fn the_minimum_is_kept_up_and_replaced() {
    let world = World::new();
    let app = name("app-1");
    world.put(&app, BookEntry { min: 2, ..entry(&app) });
    until("the minimum is up", || world.health(&app).is_some_and(|health| health.ready == 2)).await;
    world.pass(Duration::from_secs(3600), Duration::from_secs(300)).await;
    assert_eq!(world.engine.records().len(), 2);
    let victim = world.engine.records()[0].id.clone();
    assert!(world.engine.kill(&victim, Exit::Code(1)));
    until("it is replaced", || world.engine.records().len() == 3).await;
    until("the minimum is up", || world.health(&app).is_some_and(|health| health.ready == 2)).await;
    world.put(&app, entry(&app));
    world.pass(Duration::from_secs(901), Duration::from_secs(60)).await;
    until("nothing is kept", || world.engine.live() == 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_crash_takes_only_its_own_requests() {
    let world = World::new();
    let app = name("app-1");
    world.put(&app, entry(&app));
    let (first, second) = tokio::join!(world.fleet.admit(&app), world.fleet.admit(&app));
    let (first, second) = (first.expect("there is room"), second.expect("there is room"));
    assert_ne!(first.instance(), second.instance());
    world.engine.kill(first.instance(), Exit::Signal(11));
    until("the crash is seen", || world.health(&app).is_some_and(|health| health.ready == 1)).await;
    assert!(first.connect().await.is_err() && second.connect().await.is_ok());
    let (third, ()) =
        tokio::join!(world.fleet.admit(&app), world.pass(Duration::from_secs(1), Duration::from_millis(100)));
    assert_ne!(third.expect("another one comes up").instance(), first.instance());
    drop((first, second));
    world.end().await;
}

#[tokio::test]
async fn an_instance_that_nobody_can_connect_to_is_replaced() {
    let mut world = World::new();
    let app = name("app-1");
    world.put(&app, BookEntry { max: 1, ..entry(&app) });
    let slot = world.fleet.admit(&app).await.expect("an instance comes up");
    let broken = slot.instance().clone();
    slot.give_up();
    let mut told = Vec::new();
    while let Ok(line) = world.logs.try_recv() {
        told.push(line.text);
    }
    for text in
        ["Stopping instance. Reason: it cannot be connected to any more.", "-1 (1 → 0): it cannot be connected to"]
    {
        assert!(told.iter().any(|line| line.starts_with(text)), "{text} in {told:?}");
    }
    let (next, ()) =
        tokio::join!(world.fleet.admit(&app), world.pass(Duration::from_secs(1), Duration::from_millis(100)));
    assert_ne!(*next.expect("another one comes up").instance(), broken);
    assert_eq!(world.engine.peak_live(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_removed_revision_finishes_what_it_has() {
    let world = World::new();
    let app = name("app-1");
    world.put(&app, entry(&app));
    let slot = world.fleet.admit(&app).await.expect("an instance comes up");
    world.remove(&app);
    until("it is not available", || world.health(&app).is_none()).await;
    assert_eq!(world.fleet.admit(&app).await.map(drop), Err(Refusal::Unavailable));
    slot.connect().await.expect("it is there until the request ends");
    drop(slot);
    until("it is gone", || world.engine.live() == 0).await;
    world.end().await;
}

#[tokio::test]
async fn what_belongs_to_an_instance_is_dropped_before_it_is_asked_to_end() {
    let world = World::new();
    let app = name("app-1");
    world.engine.script(IMAGE, &["ignore-term", "serve"]);
    world.put(&app, entry(&app));
    let slot = world.fleet.admit(&app).await.expect("an instance comes up");
    let pool = std::sync::Arc::downgrade(&slot.attached(|| "connections"));
    assert!(pool.upgrade().is_some_and(|same| std::sync::Arc::ptr_eq(&same, &slot.attached(|| "others"))));
    drop(slot);
    world.remove(&app);
    until("it is let go", || pool.upgrade().is_none()).await;
    assert_eq!(world.engine.live(), 1);
    // It ignores SIGTERM and has ten seconds.
    world.pass(Duration::from_secs(9), Duration::from_secs(1)).await;
    assert_eq!(world.engine.live(), 1);
    world.pass(Duration::from_secs(2), Duration::from_secs(1)).await;
    until("it is killed", || world.engine.live() == 0).await;
    world.end().await;
}

#[tokio::test]
async fn the_end_waits_for_requests_but_not_for_ever() {
    let world = World::new();
    let app = name("app-1");
    world.put(&app, BookEntry { max: 1, ..entry(&app) });
    let slot = world.fleet.admit(&app).await.expect("an instance comes up");
    let mut waiting = Box::pin(world.fleet.admit(&app));
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    let mut end = Box::pin(world.fleet.drain());
    assert!(futures::poll!(end.as_mut()).is_pending());
    assert_eq!(waiting.await.map(drop), Err(Refusal::ShuttingDown));
    assert_eq!(world.fleet.admit(&app).await.map(drop), Err(Refusal::ShuttingDown));
    breathe().await;
    assert_eq!(world.engine.live(), 1);
    world.hand.advance(Duration::from_secs(10));
    end.await;
    assert_eq!(world.engine.live(), 0);
    drop(slot);
    world.tasks.drain().await;
}

#[tokio::test]
async fn a_revision_out_of_the_book_is_known_as_long_as_it_has_a_request_and_forgotten_then() {
    let world = World::new();
    let (app, other) = (name("app-1"), name("app-2"));
    world.put(&app, entry(&app));
    let slot = world.fleet.admit(&app).await.expect("an instance comes up");
    world.remove(&app);
    until("it is out of the book", || !world.fleet.has(&app, slot.affinity())).await;
    assert!(world.fleet.timing(&app).is_some() && world.engine.live() == 1);
    drop(slot);
    until("it is empty", || world.engine.live() == 0 && world.fleet.live_instances() == 0).await;
    // Whatever is new in the book: who is left over is looked at then.
    world.put(&other, entry(&other));
    until("it is forgotten", || world.fleet.timing(&app).is_none()).await;
    world.end().await;
}

#[tokio::test]
async fn as_whom_an_instance_acts_is_known_from_before_it_runs_until_it_has_ended() {
    let world = World::new();
    let app = name("app-1");
    world.put(&app, entry(&app));
    let slot = world.fleet.admit(&app).await.expect("an instance comes up");
    let first = slot.instance().clone();
    assert_eq!(world.workload(&first), Some(Workload { owner: app.clone().into(), account: ACCOUNT.to_owned() }));
    // What a later entry says is for later instances.
    let other = BookEntry { account: "other@demo-project.iam.gserviceaccount.com".to_owned(), ..entry(&app) };
    world.put(&app, other);
    breathe().await;
    let second = world.fleet.admit(&app).await.expect("another one comes up");
    assert_eq!(world.workload(&first).expect("it is there").account, ACCOUNT);
    assert!(world.workload(second.instance()).expect("it is there").account.starts_with("other@"));
    drop(second);
    world.engine.kill(&first, Exit::Code(0));
    until("it is not known any more", || world.workload(&first).is_none()).await;
    drop(slot);
    let roll = world.roll.clone();
    world.end().await;
    assert!(roll.borrow().entries.is_empty());
}

#[tokio::test]
async fn how_an_instance_that_breaks_off_ended_is_told_also_when_that_is_seen_first() {
    let mut world = World::new();
    let app = name("app-1");
    world.put(&app, BookEntry { max: 1, ..entry(&app) });
    let slot = world.fleet.admit(&app).await.expect("an instance comes up");
    let id = slot.instance().clone();
    slot.give_up();
    assert!(world.engine.kill(&id, Exit::Code(3)));
    until("it is gone", || world.fleet.live_instances() == 0).await;
    let lines = world.lines();
    assert!(lines.contains("it cannot be connected to any more") && lines.contains("exit(3)"), "{lines}");
    world.end().await;
}
