//! The number of instances by what was measured, how long a request may wait, and what is said of it.

use updraft_model::revision::ScalingTargets;
use updraft_plan::scaling::law::TICK;

use super::*;
use crate::{Cause, Refusal, Slot};

/// So many places, taken at once.
async fn take(world: &World, app: &RevisionName, count: usize) -> Vec<Slot> {
    let mut slots = Vec::new();
    for _ in 0..count {
        slots.push(world.fleet.admit(app).await.expect("there is room"));
    }
    slots
}

/// What a request is told while so much time passes, if it is told anything; at the end of the time once more.
async fn passes_before(
    world: &World,
    time: Duration,
    request: impl Future<Output = Result<Slot, Refusal>>,
) -> Option<Result<Slot, Refusal>> {
    let mut request = std::pin::pin!(request);
    tokio::select! {
        biased;
        told = request.as_mut() => return Some(told),
        () = world.pass(time, Duration::from_millis(100)) => {}
    }
    tokio::select! {
        biased;
        told = request => Some(told),
        () = breathe() => None,
    }
}

#[tokio::test]
async fn when_requests_take_most_places_of_an_instance_for_a_minute_there_is_another() {
    let mut world = World::new();
    let app = name("app-1");
    world.put(&app, BookEntry { concurrency: 10, targets: ScalingTargets::default(), ..entry(&app) });
    let slots = take(&world, &app, 8).await;
    assert_eq!(world.engine.live(), 1);
    world.pass(Duration::from_secs(40), TICK).await;
    assert_eq!(world.engine.live(), 1, "5.3 of them on average over the minute, and 6 are fine");
    world.pass(Duration::from_secs(20), TICK).await;
    until("the second is up", || world.health(&app).is_some_and(|health| health.ready == 2)).await;
    let said = world.decisions();
    assert_eq!(said[0], "+1 (0 → 1): 1 request has no place");
    let wanted = " requests at a time over a minute, target 6 = 10 × 60 %";
    assert!(said[1].starts_with("+1 (1 → 2): 6.") && said[1].ends_with(wanted), "{said:?}");
    // What comes next goes to the one that has none, so that both have room.
    let next = world.fleet.admit(&app).await.expect("there is room");
    assert_ne!(next.instance(), slots[0].instance());
    drop((slots, next));
    world.end().await;
}

#[tokio::test]
async fn when_an_instance_uses_most_of_its_cpu_for_a_minute_there_is_another_and_its_start_does_not_count() {
    let mut world = World::new();
    let app = name("app-1");
    world.put(&app, BookEntry { concurrency: 10, targets: ScalingTargets::default(), ..entry(&app) });
    let slots = take(&world, &app, 1).await;
    let record = world.engine.records()[0].clone();
    record.use_cpu(Duration::from_secs(600));
    for _ in 0..12 {
        world.pass(TICK, TICK).await;
        record.use_cpu(TICK / 2);
    }
    assert_eq!(world.engine.live(), 1, "half of its CPU, and 60 % are fine");
    for _ in 0..12 {
        record.use_cpu(TICK);
        world.pass(TICK, TICK).await;
    }
    until("the second is up", || world.engine.live() == 2).await;
    let said = world.decisions();
    assert!(said[1].starts_with("+1 (1 → 2): CPU 0.6") && said[1].ends_with("target 0.6 = 1 × 60 %"), "{said:?}");
    drop(slots);
    world.end().await;
}

#[tokio::test]
async fn without_targets_only_requests_without_a_place_start_instances() {
    let world = World::new();
    let app = name("app-1");
    let targets = ScalingTargets { cpu: 95, concurrency: 0 };
    world.put(&app, BookEntry { concurrency: 10, targets, ..entry(&app) });
    let slots = take(&world, &app, 10).await;
    world.pass(Duration::from_secs(120), TICK).await;
    assert_eq!(world.engine.live(), 1);
    drop(slots);
    world.end().await;
}

#[tokio::test]
async fn what_the_load_asked_for_goes_when_it_has_been_idle_long_enough() {
    let mut world = World::new();
    let app = name("app-1");
    world.put(&app, BookEntry { concurrency: 10, targets: ScalingTargets::default(), ..entry(&app) });
    let mut slots = take(&world, &app, 8).await;
    world.pass(Duration::from_secs(60), TICK).await;
    until("the second is up", || world.engine.live() == 2).await;
    slots.truncate(1);
    world.pass(Duration::from_secs(16 * 60), Duration::from_secs(30)).await;
    until("the second is gone", || world.engine.live() == 1).await;
    assert_eq!(world.decisions().last().map(String::as_str), Some("-1 (2 → 1): idle"));
    drop(slots);
    world.end().await;
}

#[tokio::test]
async fn a_request_waits_ten_seconds_for_a_place_where_starts_are_quick_and_is_told_what_is_in_the_way() {
    let mut world = World::new();
    let app = name("app-1");
    world.put(&app, BookEntry { max: 1, ..entry(&app) });
    let slot = world.fleet.admit(&app).await.expect("an instance comes up");
    let since = world.now();
    {
        let mut second = std::pin::pin!(world.fleet.admit(&app));
        assert!(passes_before(&world, Duration::from_millis(9900), second.as_mut()).await.is_none());
        let refused = passes_before(&world, Duration::from_millis(100), second).await;
        let refused = refused.expect("it is told").expect_err("nobody left");
        assert_eq!((refused, world.now() - since), (Refusal::Overdue(Cause::Maximum), Duration::from_secs(10)));
    }
    // It is said once, and not at each request that comes meanwhile.
    for _ in 0..3 {
        let third = world.fleet.admit(&app);
        tokio::select! {
            biased;
            got = third => panic!("there is no place: {got:?}"),
            () = breathe() => {}
        }
    }
    let said = world.decisions();
    assert_eq!(said[1..], ["+0 (1): no more than the maximum of 1: 1 request has no place"]);
    drop(slot);
    world.end().await;
}

#[tokio::test]
async fn where_starts_are_slow_a_request_waits_longer() {
    let world = World::new();
    let app = name("app-1");
    world.engine.script(IMAGE, &["wait=20000", "serve"]);
    world.put(&app, BookEntry { max: 2, ..entry(&app) });
    // How long a start takes is not known yet: it waits as long as it takes.
    let first = passes_before(&world, Duration::from_secs(25), world.fleet.admit(&app)).await;
    let slot = first.expect("it is told").expect("an instance comes up");
    let second = passes_before(&world, Duration::from_secs(25), world.fleet.admit(&app)).await;
    drop((slot, second.expect("it is told").expect("70 s are enough")));
    world.end().await;
}

#[tokio::test]
async fn that_the_maximum_is_in_the_way_is_not_said_anew_each_time_the_queue_was_empty_for_a_moment() {
    let mut world = World::new();
    let app = name("app-1");
    world.put(&app, BookEntry { max: 1, ..entry(&app) });
    let mut slot = world.fleet.admit(&app).await.expect("an instance comes up");
    for _ in 0..5 {
        let fleet = world.fleet.clone();
        let mut next = std::pin::pin!(fleet.admit(&app));
        assert!(passes_before(&world, Duration::from_secs(1), next.as_mut()).await.is_none());
        drop(slot);
        slot = next.await.expect("it has the place that became free");
    }
    let hits = |said: Vec<String>| said.iter().filter(|line| line.starts_with("+0 (1): ")).count();
    assert_eq!(hits(world.decisions()), 1);
    // After a quiet minute it is news.
    world.pass(Duration::from_secs(61), Duration::from_secs(1)).await;
    assert!(passes_before(&world, Duration::from_secs(1), world.fleet.admit(&app)).await.is_none());
    assert_eq!(hits(world.decisions()), 1);
    drop(slot);
    world.end().await;
}

#[tokio::test]
async fn who_asks_for_a_service_that_is_switched_off_is_told_at_once_and_who_waits_when_it_is_too() {
    let world = World::new();
    let app = name("app-1");
    world.put(&app, BookEntry { max: 1, ..entry(&app) });
    let slot = world.fleet.admit(&app).await.expect("an instance comes up");
    {
        let mut waits = std::pin::pin!(world.fleet.admit(&app));
        assert!(passes_before(&world, Duration::from_secs(1), waits.as_mut()).await.is_none());
        world.put(&app, BookEntry { max: 0, ..entry(&app) });
        assert_eq!(waits.await.expect_err("there will be none"), Refusal::Overdue(Cause::Off));
    }
    drop(slot);
    until("the last one is gone", || world.engine.live() == 0).await;
    assert_eq!(world.fleet.admit(&app).await.expect_err("there may be none"), Refusal::Overdue(Cause::Off));
    world.end().await;
}

#[tokio::test]
async fn who_finds_instances_of_an_earlier_server_busy_waits_ten_seconds_though_no_start_was_seen() {
    let world = World::new();
    let app = name("app-1");
    world.put(&app, BookEntry { max: 1, ..entry(&app) });
    drop(world.fleet.admit(&app).await.expect("an instance comes up"));
    let world = world.succeed(FleetConfig::default()).await;
    world.put(&app, BookEntry { max: 1, ..entry(&app) });
    let slot = world.fleet.admit(&app).await.expect("it is taken over");
    let refused = passes_before(&world, Duration::from_secs(10), world.fleet.admit(&app)).await;
    assert_eq!(refused.expect("it is told").expect_err("nobody left"), Refusal::Overdue(Cause::Maximum));
    drop(slot);
    world.end().await;
}

#[tokio::test]
async fn while_the_only_instance_that_may_be_ends_a_request_waits_for_that_too() {
    let grace = Duration::from_secs(10);
    let world = World::with(FleetConfig { stop_grace: grace, ..FleetConfig::default() });
    let app = name("app-1");
    world.engine.script(IMAGE, &["ignore-term", "serve"]);
    world.put(&app, BookEntry { max: 1, ..entry(&app) });
    drop(world.fleet.admit(&app).await.expect("an instance comes up"));
    until("it is told to be up", || world.health(&app).is_some_and(|health| health.ready == 1)).await;
    world.pass(FleetConfig::default().idle, Duration::from_secs(60)).await;
    until("it is being ended", || {
        world.hand.advance(Duration::from_millis(100));
        world.health(&app).is_none_or(|health| health.ready == 0)
    })
    .await;
    assert_eq!(world.engine.live(), 1, "it does not go by itself");
    world.engine.script(IMAGE, &["serve"]);
    let told = passes_before(&world, grace + Duration::from_secs(5), world.fleet.admit(&app)).await;
    drop(told.expect("it is told").expect("the next one comes up when the last is gone"));
    world.end().await;
}
