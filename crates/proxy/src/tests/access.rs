//! What the log of the requests gets.

use std::{cell::Cell, time::Duration};

use http::Request;
use updraft_model::channel::{RequestRecord, STOPS};

use super::{APP, App, LOG_ROOM, Protocol, World, until};
use crate::{ProxyConfig, ServerTiming, respond::Rejection};

#[tokio::test]
async fn a_request_leaves_one_entry_at_its_end_with_all_that_is_known_of_it() {
    let mut world = World::with(App::default()).await;
    let request = Request::get(format!("http://{}/wait/0?q=1", world.address))
        .header("host", APP)
        .header("user-agent", "tester/1")
        .header("referer", "http://a.test/")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-000000000000000a-01");
    let (status, body) = world.client().send(request).await;
    let record = world.requests.recv().await.expect("an entry");
    assert_eq!((record.status, &*record.method), (status.as_u16(), "GET"));
    assert_eq!(record.url, format!("http://{APP}/wait/0?q=1"));
    assert_eq!((record.service().service.as_str(), record.revision()), ("app", Some("app-1")));
    assert_eq!(record.response_bytes, body.len() as u64);
    assert_eq!((record.user_agent.as_deref(), record.referer.as_deref()), (Some("tester/1"), Some("http://a.test/")));
    assert_eq!((record.protocol, record.request_bytes, record.note), ("HTTP/1.1", Some(0), None));
    assert!(record.instance.is_some() && record.remote.is_loopback());
    let trace = record.trace.expect("the client named one");
    assert_eq!((trace.trace, trace.span, trace.sampled), (0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, 10, true));
    assert!(world.requests.try_recv().is_err(), "one entry, not two");
    world.end().await;
}

#[tokio::test]
async fn a_refused_request_says_why_and_one_for_nobody_is_not_logged() {
    let mut world = World::with(App { invokers: Some(&[]), ..App::default() }).await;
    let nobody = Request::get(format!("http://{}/", world.address)).header("host", "nobody.run.localhost");
    assert_eq!(world.client().send(nobody).await.0, 404);
    let (status, body) = world.get("/").await;
    assert_eq!(status, 403);
    let record = world.requests.recv().await.expect("an entry");
    assert_eq!((record.status, record.revision(), record.instance.as_ref()), (403, None, None));
    assert_eq!(record.response_bytes, body.len() as u64);
    assert!(record.note.expect("a reason").contains("not authenticated"));
    assert!(record.trace.is_none());
    world.end().await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_logged_as_504_with_its_time() {
    let mut world = World::with(App { timeout: Duration::from_secs(5), ..App::default() }).await;
    let asked = world.client();
    let answer = async { asked.get("/hold").await };
    let late = async {
        until("the request is in flight", || world.engine.records().iter().any(|record| record.in_flight() == 1)).await;
        world.hand.advance(Duration::from_secs(5));
    };
    let ((status, _), ()) = futures::join!(answer, late);
    assert_eq!(status, 504);
    let record = world.requests.recv().await.expect("an entry");
    assert_eq!((record.status, record.revision()), (504, Some("app-1")));
    assert!(record.latency >= Duration::from_secs(5) && record.note.is_some());
    world.end().await;
}

#[tokio::test]
async fn a_log_that_cannot_keep_up_is_told_and_costs_no_request() {
    let mut world = World::with(App::default()).await;
    for _ in 0..LOG_ROOM + 2 {
        assert_eq!(world.get("/").await.0, 200);
    }
    until("two are lost", || world.metric("updraft_request_log_lost_total") == 2).await;
    for _ in 0..LOG_ROOM {
        world.requests.recv().await.expect("an entry");
    }
    world.end().await;
}

/// A world whose application takes two seconds to start, and the head of the answer to its first request.
async fn slow_from_zero(config: ProxyConfig) -> (World, http::HeaderMap) {
    let world = World::configured(config).await;
    let app = App { script: &["wait=2000", "serve"], ..App::default() };
    world.serve(&app, &[(app.revision(1), 100)]);
    let answer = async { world.head_of("/").await };
    let time = until("it is served", || {
        world.hand.advance(Duration::from_millis(10));
        world.engine.records().iter().any(|record| record.served() > 0)
    });
    let ((status, headers), ()) = futures::join!(answer, time);
    assert_eq!(status, 200);
    (world, headers)
}

#[tokio::test]
async fn the_entry_of_a_request_that_waited_says_where_its_time_went_and_that_of_another_does_not() {
    let (mut world, headers) = slow_from_zero(ProxyConfig::default()).await;
    assert!(!headers.contains_key("server-timing"), "nobody asked for it");
    let record = world.requests.recv().await.expect("an entry");
    let waits = record.waits.as_deref().expect("it waited");
    assert!(waits.app >= Duration::from_secs(2), "{waits:?}");
    assert!(waits.queued + waits.sandbox + waits.app + waits.first_byte <= record.latency, "{record:?}");
    assert_eq!(world.get("/").await.0, 200);
    assert_eq!(world.requests.recv().await.expect("an entry").waits, None);
    world.end().await;
}

#[tokio::test]
async fn clients_are_told_where_their_time_went_if_that_is_set() {
    let config = ProxyConfig { server_timing: ServerTiming::Shown, ..ProxyConfig::default() };
    let (world, headers) = slow_from_zero(config).await;
    let told = headers["server-timing"].to_str().expect("ASCII");
    let app: f64 = told.split("app;dur=").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok()).expect(told);
    assert!(app >= 2000.0 && told.starts_with("queued;dur=") && told.contains("first_byte;dur="), "{told}");
    world.end().await;
}

#[tokio::test]
async fn the_entry_of_a_request_that_got_no_place_says_that_all_of_it_was_the_wait_for_one() {
    let mut world = World::with(App { concurrency: 1, max: 1, ..App::default() }).await;
    let (first, second) = (world.client(), world.client());
    let told = Cell::new(false);
    let refused = async {
        until("the place is taken", || world.engine.records().iter().any(|record| record.in_flight() == 1)).await;
        let (status, _) = second.get("/").await;
        told.set(true);
        status
    };
    let time = until("it is told", || {
        world.hand.advance(Duration::from_millis(100));
        told.get()
    });
    let status = tokio::select! {
        _ = first.get("/hold") => panic!("that is never answered"),
        (status, ()) = async { futures::join!(refused, time) } => status,
    };
    assert_eq!(status, 429);
    let record = world.requests.recv().await.expect("an entry");
    let waits = record.waits.as_deref().expect("it waited");
    assert_eq!((record.status, waits.queued), (429, record.latency));
    assert_eq!((waits.sandbox, waits.app, waits.first_byte), Default::default());
    world.end().await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_says_so_under_the_status_that_it_had() {
    for protocol in [Protocol::Http1, Protocol::H2c] {
        let mut world = World::with(App { protocol, ..App::default() }).await;
        let answer = world.raw(&format!("GET /cut HTTP/1.1\r\nhost: {APP}\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let record = world.logged().await;
        assert_eq!((record.status, record.note), (200, Rejection::Broken.note()), "{protocol:?}");
        world.end().await;
    }
}

/// Which of the stops took how many seconds, for a request that was measured at all.
fn seconds(record: &RequestRecord) -> [u64; STOPS.len()] {
    let stops = record.stops.map(Option::unwrap_or_default);
    assert_eq!(stops.iter().sum::<Duration>(), record.latency, "the parts are the whole");
    stops.map(|stop| stop.as_secs())
}

#[tokio::test]
async fn a_client_that_leaves_the_queue_has_waited_until_then() {
    let mut world = World::with(App { concurrency: 1, max: 1, ..App::default() }).await;
    let (first, second) = (world.client(), world.client());
    let leaves = async {
        until("the place is taken", || world.engine.records().iter().any(|record| record.in_flight() == 1)).await;
        tokio::select! {
            _ = second.get("/") => panic!("there is no place"),
            () = async {
                until("it waits", || world.metric("updraft_pending_requests") == 1).await;
                world.hand.advance(Duration::from_secs(9));
            } => {}
        }
        // Its connection is closed with it.
        drop(second);
    };
    tokio::select! {
        _ = first.get("/hold") => panic!("that is never answered"),
        () = leaves => {}
    }
    let record = world.logged().await;
    let waits = record.waits.as_deref().expect("it waited");
    assert_eq!((record.status, waits.queued, record.latency.as_secs()), (499, record.latency, 9), "{record:?}");
    assert_eq!(seconds(&record), [0, 0, 0, 9, 0, 0]);
    world.end().await;
}

#[tokio::test]
async fn a_request_that_has_waited_for_a_start_and_is_then_too_late_says_what_it_waited_for() {
    let app = App { script: &["wait=2000", "serve"], timeout: Duration::from_secs(5), ..App::default() };
    let mut world = World::with(app).await;
    let answer = async { world.get("/hold").await };
    let time = async {
        until("it starts", || world.engine.records().len() == 1).await;
        until("it is placed", || {
            world.hand.advance(Duration::from_millis(10));
            world.engine.records()[0].in_flight() == 1
        })
        .await;
        world.hand.advance(Duration::from_secs(3));
    };
    let ((status, _), ()) = futures::join!(answer, time);
    assert_eq!(status, 504);
    let record = world.logged().await;
    let waits = record.waits.as_deref().expect("it waited");
    assert!(waits.app >= Duration::from_secs(2) && waits.first_byte >= Duration::from_secs(2), "{waits:?}");
    assert_eq!(waits.queued + waits.sandbox + waits.app + waits.first_byte, record.latency);
    let [.., admit, forward, respond] = seconds(&record);
    assert!(admit >= 2 && forward >= 2 && respond == 0, "{record:?}");
    world.end().await;
}
