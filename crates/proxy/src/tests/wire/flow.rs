//! Settings, windows, and how many streams there may be.

use super::*;
use Outcome::{GoAway, Nothing, Reset};

const INITIAL_WINDOW_SIZE: u16 = 4;
const LARGEST: u32 = (1 << 31) - 1;

#[tokio::test]
async fn settings_and_windows_have_bounds() {
    let world = World::with(App::default()).await;
    let asked = || get(1, "/hold");
    check(
        &world,
        vec![
            ("6.5.2: ENABLE_PUSH is 0 or 1", setting(2, 2), GoAway(PROTOCOL_ERROR)),
            ("6.5.2: the largest window", setting(INITIAL_WINDOW_SIZE, LARGEST), Nothing),
            ("6.5.2: a window too large", setting(INITIAL_WINDOW_SIZE, LARGEST + 1), ENDED),
            ("6.5.2: frames too small", setting(5, 16383), GoAway(PROTOCOL_ERROR)),
            ("6.5.2: frames too large", setting(5, 1 << 24), GoAway(PROTOCOL_ERROR)),
            ("6.9: no increment of the connection", window_update(0, 0), GoAway(PROTOCOL_ERROR)),
            ("6.9: no increment of a stream", [asked(), window_update(1, 0)].concat(), ENDED),
            ("6.9.1: a connection's window too large", window_update(0, LARGEST), GoAway(FLOW_CONTROL_ERROR)),
            (
                "6.9.1: a stream's window too large",
                [asked(), window_update(1, LARGEST)].concat(),
                Reset(1, FLOW_CONTROL_ERROR),
            ),
            (
                "6.9.2: a window that becomes too large",
                [asked(), window_update(1, 1), setting(INITIAL_WINDOW_SIZE, LARGEST)].concat(),
                GoAway(FLOW_CONTROL_ERROR),
            ),
        ],
    )
    .await;
    world.engine.open_gate();
    world.end().await;
}

/// Reads exactly `count` bytes of stream 1, and sees that there is no more to come.
async fn exactly(peer: &mut Peer, count: usize) {
    let mut read = 0;
    while read < count {
        read += peer.expect(DATA).await.payload.len();
    }
    assert_eq!(read, count);
    assert_eq!(peer.silence(b"").await, Nothing);
}

#[tokio::test]
async fn the_server_sends_no_more_than_the_client_has_room_for() {
    let world = World::with(App::default()).await;
    let mut peer = Peer::greeted(&world).await;
    // 6.9.2: the windows of new streams.
    peer.write(&[setting(INITIAL_WINDOW_SIZE, 10), get(1, "/endless")].concat()).await;
    exactly(&mut peer, 10).await;
    // 6.9: room is added.
    peer.write(&window_update(1, 7)).await;
    exactly(&mut peer, 7).await;
    // 6.9.2: a new initial size changes the streams that are there.
    peer.write(&setting(INITIAL_WINDOW_SIZE, 13)).await;
    exactly(&mut peer, 3).await;
    // 6.9.2: a window may become negative, and has to be filled up again.
    peer.write(&[setting(INITIAL_WINDOW_SIZE, 3), window_update(1, 10)].concat()).await;
    assert_eq!(peer.silence(b"").await, Nothing);
    peer.write(&window_update(1, 1)).await;
    exactly(&mut peer, 1).await;
    // 6.9.1: the connection has a window of its own.
    peer.write(&window_update(1, 1 << 20)).await;
    exactly(&mut peer, 65_535 - 21).await;
    // The stream is the client's to end.
    peer.write(&reset(1)).await;
    assert_eq!(peer.silence(b"").await, Nothing);
    world.until_idle().await;
    drop(peer);
    world.end().await;
}

#[tokio::test]
async fn a_client_that_sends_more_than_there_is_room_for_is_stopped() {
    /// More than any buffer on the way.
    const TOO_MUCH: usize = (256 << 20) / 16384;
    let world = World::with(App::default()).await;
    let mut peer = Peer::greeted(&world).await;
    peer.write(&post(1, "/hold")).await;
    let chunk = frame(DATA, 0, 1, &zeros(16384));
    for _ in 0..TOO_MUCH {
        peer.write(&chunk).await;
        if world.metric("updraft_requests_total{response_code_class=\"cancelled\"}") > 0 {
            break;
        }
    }
    let end = loop {
        let frame = peer.next().await.expect("an error, before the connection is closed");
        match frame.kind {
            GOAWAY => break frame.number(4),
            RST_STREAM => break frame.number(0),
            _ => {}
        }
    };
    // 6.9.1: of the stream or of the connection, whose windows are of one size here.
    assert_eq!(end, FLOW_CONTROL_ERROR);
    world.engine.open_gate();
    drop(peer);
    world.end().await;
}

#[tokio::test]
async fn a_client_may_have_a_hundred_streams_at_once_and_not_one_more() {
    let world = World::with(App { concurrency: 200, ..App::default() }).await;
    let mut peer = Peer::greeted(&world).await;
    let hundred: Vec<u8> = (0..100).flat_map(|number| get(number * 2 + 1, "/hold")).collect();
    // 5.1.2: refused, so that the client knows that it can try again.
    assert_eq!(peer.outcome(&[hundred, get(201, "/")].concat()).await, Reset(201, REFUSED_STREAM));
    super::super::until("all others are served", || world.engine.records().iter().any(|r| r.in_flight() == 100)).await;
    // One that ends makes room for another.
    peer.write(&[reset(1), get(203, "/")].concat()).await;
    assert_eq!(peer.expect(HEADERS).await.stream, 203);
    world.engine.open_gate();
    drop(peer);
    world.end().await;
}

#[tokio::test]
async fn a_client_that_gives_no_room_loses_its_place_at_the_time_limit_and_its_stream_alone() {
    use std::time::Duration;
    let app = App { concurrency: 1, max: 1, timeout: Duration::from_secs(5), ..App::default() };
    let mut world = World::with(app).await;
    let mut peer = Peer::greeted(&world).await;
    peer.write(&[setting(INITIAL_WINDOW_SIZE, 0), get(1, "/endless")].concat()).await;
    assert_eq!(peer.expect(HEADERS).await.stream, 1);
    assert_eq!(peer.silence(b"").await, Nothing);
    world.hand.advance(Duration::from_secs(5));
    let record = world.logged().await;
    assert_eq!(record.status, 200, "as it was sent");
    assert!(record.note.is_some_and(|note| note.contains("maximum request timeout")), "{record:?}");
    assert_eq!(peer.silence(b"").await, Reset(1, CANCEL));
    // The only place is free, and the connection goes on.
    peer.write(&get(3, "/")).await;
    assert_eq!(peer.expect(HEADERS).await.stream, 3);
    drop(peer);
    world.end().await;
}
