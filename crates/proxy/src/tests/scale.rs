//! Many requests: from zero, at the maximum, while routes change.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_at_once_from_zero_are_all_answered_one_by_one_in_five_instances() {
    let app = App { concurrency: 1, max: 5, ..App::default() };
    let world = World::with(app).await;
    let requests = (0..100).map(|_| world.get("/"));
    for answer in futures::future::join_all(requests).await {
        assert_eq!(answer, (StatusCode::OK, "app-1".to_owned()));
    }
    let records = world.engine.records();
    assert_eq!(records.iter().map(|record| record.served()).sum::<u64>(), 100);
    assert!(records.iter().all(|record| record.peak() == 1), "{records:?}");
    assert!(world.engine.peak_live() <= 5);
    assert_eq!(world.metric("updraft_requests_total{response_code_class=\"2xx\"}"), 100);

    world.hand.advance(Duration::from_secs(15 * 60));
    until("everything is gone", || world.engine.live() == 0).await;
    assert_eq!(world.get("/").await.0, StatusCode::OK);
    world.end().await;
}

#[tokio::test]
async fn traffic_is_split_by_share() {
    let app = App::default();
    let world = World::new().await;
    world.serve(&app, &[(app.revision(1), 90), (app.revision(2), 10)]);
    let client = world.client();
    let mut second = 0u32;
    for _ in 0..1000 {
        second += u32::from(client.get("/").await.1 == "app-2");
    }
    // The standard deviation is 9.5; six of them are never exceeded in practice.
    assert!(second.abs_diff(100) <= 57, "{second} of 1000");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_revisions_roll() {
    let app = App { concurrency: 4, max: 10, ..App::default() };
    let world = World::with(app).await;
    let (over, answered) = (AtomicBool::new(false), AtomicU32::new(0));
    let load = async {
        let clients = (0..8).map(|_| async {
            let client = world.client();
            while !over.load(Ordering::Relaxed) {
                let (status, body) = client.get("/").await;
                assert_eq!(status, StatusCode::OK, "{body}");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
        futures::future::join_all(clients).await;
    };
    let some_more = || {
        let goal = answered.load(Ordering::Relaxed) + 8;
        let answered = &answered;
        until("requests are answered", move || answered.load(Ordering::Relaxed) >= goal)
    };
    let roll = async {
        for number in 2..40 {
            let (old, new) = (app.revision(number - 1), app.revision(number));
            world.serve(&app, &[(old, 50), (new.clone(), 50)]);
            some_more().await;
            world.serve(&app, &[(app.revision(number - 1), 0), (new, 100)]);
            some_more().await;
        }
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(load, roll);
    world.end().await;
}

#[tokio::test]
async fn who_waits_for_a_revision_that_is_removed_is_answered_by_its_successor() {
    let old = App { concurrency: 1, max: 1, ..App::default() };
    let world = World::with(old).await;
    let new = App { protocol: Protocol::H2c, ..old };
    let (held, waited, ()) = tokio::join!(world.get("/hold"), world.get("/"), async {
        until("one is served and one waits", || {
            world.metric("updraft_pending_requests") == 1 && world.engine.records().iter().any(|r| r.in_flight() == 1)
        })
        .await;
        world.serve(&new, &[(new.revision(2), 100)]);
        until("the successor has answered", || {
            world.engine.records().iter().any(|r| r.served() == 1 && r.in_flight() == 0)
        })
        .await;
        world.engine.open_gate();
    });
    assert_eq!(held, (StatusCode::OK, "app-1".to_owned()));
    assert_eq!(waited, (StatusCode::OK, "app-2".to_owned()));
    world.end().await;
}

#[tokio::test]
async fn a_client_that_goes_away_frees_the_queue_and_the_place() {
    let app = App { concurrency: 1, max: 1, ..App::default() };
    let world = World::with(app).await;
    {
        let mut held = Box::pin(world.get("/hold"));
        tokio::select! {
            _ = &mut held => panic!("it is held"),
            () = until("one is served", || {
                world.engine.records().first().is_some_and(|record| record.in_flight() == 1)
            }) => {}
        }
        let mut waits = Box::pin(world.get("/"));
        tokio::select! {
            _ = &mut waits => panic!("it waits"),
            () = until("one waits", || world.metric("updraft_pending_requests") == 1) => {}
        }
    }
    until("the queue is empty", || world.metric("updraft_pending_requests") == 0).await;
    assert_eq!(world.get("/").await.0, StatusCode::OK);
    world.until_idle().await;
    assert!(world.metric("updraft_requests_total{response_code_class=\"cancelled\"}") >= 1);
    world.end().await;
}

#[tokio::test]
async fn more_streams_than_a_connection_to_a_container_may_have_are_served_at_once() {
    // The fake's server has two hundred on one.
    const MANY: usize = 250;
    let world = World::with(App { protocol: Protocol::H2c, concurrency: 1000, max: 1, ..App::default() }).await;
    let mut answers = Vec::new();
    for _ in 0..MANY {
        let client = world.client();
        answers.push(async move { client.get("/hold").await.0 });
    }
    let all = futures::future::join_all(answers);
    let open = async {
        until("all have come there", || world.engine.records().iter().any(|it| it.in_flight() as usize == MANY)).await;
        world.engine.open_gate();
    };
    let (statuses, ()) = futures::join!(all, open);
    assert!(statuses.iter().all(|status| *status == StatusCode::OK), "{statuses:?}");
    assert_eq!(world.engine.records()[0].connections(), 3, "one for each hundred");
    world.end().await;
}
