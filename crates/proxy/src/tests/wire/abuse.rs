//! Clients that mean harm: what they can make the server do and keep is bounded (RFC 9113, 10.5).

use std::time::Duration;

use super::*;
use Outcome::{Answer, GoAway};

/// Sends more and more until the server has had enough; with what it says then.
async fn until_enough(world: &World, begin: Vec<u8>, next: impl FnMut(u32) -> Vec<u8>) -> Outcome {
    let mut peer = Peer::greeted(world).await;
    peer.write(&begin).await;
    peer.flood(next).await
}

async fn still_answers(world: &World) {
    let mut peer = Peer::greeted(world).await;
    assert_eq!(peer.outcome(&get(1, "/")).await, Answer(1, 200));
}

#[tokio::test]
async fn a_rapid_reset_ends_the_connection_and_keeps_nothing() {
    let world = World::with(App::default()).await;
    // CVE-2023-44487: streams that are reset as soon as they are asked for count against no limit of streams.
    let pair = |number| [get(number * 2 + 1, "/hold"), reset(number * 2 + 1)].concat();
    assert_eq!(until_enough(&world, Vec::new(), pair).await, GoAway(ENHANCE_YOUR_CALM));
    still_answers(&world).await;
    world.until_idle().await;
    assert!(world.metric("updraft_requests_total{response_code_class=\"cancelled\"}") < 1000);
    world.end().await;
}

#[tokio::test]
async fn a_client_that_makes_the_server_reset_its_streams_is_stopped() {
    let world = World::with(App::default()).await;
    // CVE-2025-8671: the same, but it is the server that resets, for an error of the client's.
    let pair = |number| [get(number * 2 + 1, "/hold"), window_update(number * 2 + 1, (1 << 31) - 1)].concat();
    assert_eq!(until_enough(&world, Vec::new(), pair).await, GoAway(ENHANCE_YOUR_CALM));
    still_answers(&world).await;
    world.until_idle().await;
    world.end().await;
}

#[tokio::test]
async fn a_head_without_end_is_not_collected() {
    let world = World::with(App::default()).await;
    let begin = || frame(HEADERS, END_STREAM, 1, &head("GET", "/"));
    // CVE-2024-27316: small pieces, and large ones; 10.5.1 leaves it to the server how much it takes.
    for piece in [block(&[("a", "b")]), block(&[("a", &"b".repeat(16_000))]), Vec::new()] {
        let flood = |_| frame(CONTINUATION, 0, 1, &piece);
        let end = until_enough(&world, begin(), flood).await;
        assert!(matches!(end, GoAway(ENHANCE_YOUR_CALM | COMPRESSION_ERROR | PROTOCOL_ERROR)), "{end:?}");
    }
    assert!(world.engine.records().is_empty(), "nobody was started for it");
    still_answers(&world).await;
    world.end().await;
}

#[tokio::test]
async fn a_head_larger_than_the_limit_is_refused_and_its_small_neighbour_is_not() {
    let world = World::with(App::default()).await;
    let large: Vec<(String, String)> = (0..11).map(|number| (format!("x-{number}"), "v".repeat(8000))).collect();
    let fields: Vec<(&str, &str)> = large.iter().map(|(name, value)| (&**name, &**value)).collect();
    let bytes = [head("GET", "/"), block(&fields)].concat();
    let mut pieces = bytes.chunks(16_000).peekable();
    let mut frames = frame(HEADERS, END_STREAM, 1, pieces.next().expect("there is one"));
    while let Some(piece) = pieces.next() {
        frames.extend(frame(CONTINUATION, if pieces.peek().is_none() { END_HEADERS } else { 0 }, 1, piece));
    }
    let mut peer = Peer::greeted(&world).await;
    assert_eq!(peer.outcome(&frames).await, Answer(1, 431), "10.5.1");
    assert!(world.engine.records().is_empty(), "nobody was started for it");
    peer.write(&get(3, "/")).await;
    loop {
        let frame = peer.expect(HEADERS).await;
        if frame.stream == 3 {
            break;
        }
    }
    drop(peer);
    world.end().await;
}

#[tokio::test]
async fn floods_of_small_frames_are_stopped_or_cost_nothing() {
    const STALLED: Duration = Duration::from_secs(1);
    /// More than the sockets on the way hold.
    const TOO_MUCH: usize = 64 << 20;
    let world = World::with(App::default()).await;
    // CVE-2019-9518: frames that carry nothing.
    let empty = until_enough(&world, post(1, "/hold"), |_| frame(DATA, 0, 1, &[])).await;
    assert_eq!(empty, GoAway(ENHANCE_YOUR_CALM));
    // CVE-2019-9512, 9515: answers that are owed to a client which does not read are not collected without end: it is
    // not read from either.
    for flood in [frame(PING, 0, 0, &zeros(8)), frame(SETTINGS, 0, 0, &[])] {
        let mut peer = Peer::greeted(&world).await;
        let chunk = flood.repeat(4096);
        let (clock, mut taken) = (updraft_base::Clock::system(), 0);
        // A write that waits for so long waits for the server, which waits for us.
        while clock.timeout(STALLED, peer.write(&chunk)).await.is_ok() {
            taken += chunk.len();
            assert!(taken < TOO_MUCH, "it is all taken");
        }
    }
    still_answers(&world).await;
    world.engine.open_gate();
    world.end().await;
}
