//! Places and queues.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use updraft_base::{OnFailure, Tasks};

use super::*;
use crate::Refusal;

#[tokio::test]
async fn a_request_from_zero_is_held_until_an_instance_is_up() {
    let world = World::new();
    let app = name("app-1");
    world.put(&app, entry(&app));
    assert_eq!(world.engine.live(), 0);
    let slot = world.fleet.admit(&app).await.expect("an instance comes up");
    slot.connect().await.expect("it listens");
    let timing = slot.timing().expect("it is up");
    assert!(timing.asked <= timing.started && timing.started <= timing.ready);
    assert_eq!(world.fleet.timing(&app), Some(timing));
    drop(slot);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_at_once_never_share_an_instance_and_never_have_more_than_the_maximum() {
    let world = World::new();
    let app = name("app-1");
    world.put(&app, entry(&app));
    let (busy, most) = (Arc::new(Mutex::new(HashMap::new())), Arc::new(Mutex::new(0u32)));
    let requests = Tasks::new();
    for _ in 0..100 {
        let (fleet, app, busy, most) = (world.fleet.clone(), app.clone(), busy.clone(), most.clone());
        requests.spawn("request", OnFailure::Stop, async move {
            let slot = fleet.admit(&app).await.expect("everybody gets a place");
            let id = slot.instance().clone();
            let now = {
                let mut busy = busy.lock().expect("no panic");
                let now = busy.entry(id.clone()).or_insert(0);
                *now += 1;
                *now
            };
            {
                let mut most = most.lock().expect("no panic");
                *most = now.max(*most);
            }
            breathe().await;
            *busy.lock().expect("no panic").get_mut(&id).expect("it was counted") -= 1;
            drop(slot);
        });
    }
    requests.drain().await;
    assert!(!requests.shutdown().is_failure());
    assert_eq!(*most.lock().expect("no panic"), 1);
    assert_eq!(world.engine.peak_live(), 5);

    world.pass(Duration::from_secs(15 * 60), Duration::from_secs(60)).await;
    until("all instances are gone", || world.engine.live() == 0).await;
    world.end().await;
}

#[tokio::test]
async fn more_places_are_used_before_more_instances_are_started() {
    let world = World::new();
    let app = name("app-1");
    world.put(&app, BookEntry { concurrency: 3, ..entry(&app) });
    let mut slots = Vec::new();
    for _ in 0..4 {
        slots.push(world.fleet.admit(&app).await.expect("there is room"));
    }
    assert_eq!(world.engine.live(), 2);
    // The one with two requests is preferred to the one with one, so that one can run dry.
    drop(slots.remove(0));
    let next = world.fleet.admit(&app).await.expect("there is room");
    assert_eq!(next.instance(), slots[0].instance());
    drop((slots, next));
    world.end().await;
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_the_queue() {
    let world = World::new();
    let app = name("app-1");
    world.put(&app, BookEntry { max: 1, ..entry(&app) });
    let first = world.fleet.admit(&app).await.expect("an instance comes up");
    let mut gone = Box::pin(world.fleet.admit(&app));
    let mut stays = Box::pin(world.fleet.admit(&app));
    assert!(futures::poll!(gone.as_mut()).is_pending() && futures::poll!(stays.as_mut()).is_pending());
    drop(gone);
    drop(first);
    stays.await.expect("it is the next one");
    world.end().await;
}

#[tokio::test]
async fn who_leaves_when_the_place_is_already_given_gives_it_back() {
    let world = World::new();
    let app = name("app-1");
    world.put(&app, BookEntry { max: 1, ..entry(&app) });
    let first = world.fleet.admit(&app).await.expect("an instance comes up");
    let mut gone = Box::pin(world.fleet.admit(&app));
    assert!(futures::poll!(gone.as_mut()).is_pending());
    drop(first);
    drop(gone);
    world.fleet.admit(&app).await.expect("the place is free again");
    world.end().await;
}

#[tokio::test]
async fn the_queue_is_first_come_first_served_and_bounded() {
    let world = World::with(FleetConfig { queue: 2, ..FleetConfig::default() });
    let app = name("app-1");
    world.put(&app, BookEntry { max: 1, ..entry(&app) });
    let busy = world.fleet.admit(&app).await.expect("an instance comes up");
    let (mut first, mut second) = (Box::pin(world.fleet.admit(&app)), Box::pin(world.fleet.admit(&app)));
    assert!(futures::poll!(first.as_mut()).is_pending() && futures::poll!(second.as_mut()).is_pending());
    assert_eq!(world.fleet.admit(&app).await.map(drop), Err(Refusal::QueueFull));
    drop(busy);
    assert!(futures::poll!(second.as_mut()).is_pending());
    let slot = first.await.expect("it is the first");
    drop(slot);
    second.await.expect("it is the next");
    world.end().await;
}

#[tokio::test]
async fn what_is_not_in_the_book_is_not_available() {
    let world = World::new();
    assert_eq!(world.fleet.admit(&name("app-9")).await.map(drop), Err(Refusal::Unavailable));
    world.end().await;
}
