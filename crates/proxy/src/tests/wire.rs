//! What the listener makes of HTTP/2 as bytes: each row names the section of RFC 9113 that it is about.
//!
//! A stream error leaves the connection as it was, and a connection error ends it; both are looked at.

mod abuse;
mod flow;
mod frames;
mod heads;

use super::{APP, App, World};
use frames::*;

/// What is done, what comes of it, and where it is written.
type Row = (&'static str, Vec<u8>, Outcome);

/// The connection is ended, as it may be for any error (5.4.1), but under the name of all errors: the RFC has a closer
/// one (FRAME_SIZE_ERROR, STREAM_CLOSED, COMPRESSION_ERROR, FLOW_CONTROL_ERROR) or an end of the stream alone. It is what
/// the library does; a row that fails because it has learned better is a good sign.
const ENDED: Outcome = Outcome::GoAway(PROTOCOL_ERROR);

/// Sends each row on a connection of its own.
async fn check(world: &World, rows: Vec<Row>) {
    let mut wrong = Vec::new();
    for (what, bytes, expected) in rows {
        let mut peer = Peer::greeted(world).await;
        let got = match expected {
            Outcome::Nothing => peer.silence(&bytes).await,
            _ => peer.outcome(&bytes).await,
        };
        if got != expected {
            wrong.push(format!("{what}: {got:?} instead of {expected:?}"));
        }
        let end = match expected {
            Outcome::GoAway(_) => (peer.next().await, None),
            // The other streams of the connection go on.
            _ => (None, Some(peer.silence(b"").await)),
        };
        if end != (None, None) && end != (None, Some(Outcome::Nothing)) {
            wrong.push(format!("{what}: and then {end:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn zeros(count: usize) -> Vec<u8> {
    vec![0; count]
}

#[tokio::test]
async fn a_connection_begins_with_preface_and_settings() {
    let world = World::with(App::default()).await;
    let mut peer = Peer::bare(&world).await;
    peer.write(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
    // 3.4: the server's own come first; 6.5.3: the client's are acknowledged.
    let first = peer.next().await.expect("settings");
    assert_eq!((first.kind, first.flags, first.stream), (SETTINGS, 0, 0));
    let told: Vec<(u32, u32)> =
        (0..first.payload.len() / 6).map(|at| (first.number(at * 6) >> 16, first.number(at * 6 + 2))).collect();
    // MAX_CONCURRENT_STREAMS (Cloud Run's), MAX_HEADER_LIST_SIZE, ENABLE_CONNECT_PROTOCOL (RFC 8441, 3).
    for setting in [(3, 100), (6, 80 << 10), (8, 1)] {
        assert!(told.contains(&setting), "{setting:?} in {told:?}");
    }
    let acknowledged = peer.expect(SETTINGS).await;
    assert_eq!((acknowledged.flags, &acknowledged.payload[..]), (ACK, &[][..]));

    // 3.4: what is no preface is HTTP/1.1, and not a good one.
    assert!(world.raw("PRI * HTTP/2.0\r\n\r\nNO\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    assert!(world.engine.records().is_empty());
    drop(peer);
    world.end().await;
}

#[tokio::test]
async fn frames_have_the_size_that_their_kind_has() {
    use Outcome::{GoAway, Nothing};
    let world = World::with(App::default()).await;
    let open = || post(1, "/hold");
    check(
        &world,
        vec![
            ("4.2: DATA of the largest size", [open(), frame(DATA, 0, 1, &zeros(16384))].concat(), Nothing),
            ("4.2: DATA too large", [open(), frame(DATA, 0, 1, &zeros(16385))].concat(), GoAway(FRAME_SIZE_ERROR)),
            ("4.2: HEADERS too large", frame(HEADERS, 5, 1, &zeros(16385)), GoAway(FRAME_SIZE_ERROR)),
            ("4.2: unknown and too large", frame(77, 0, 0, &zeros(16385)), GoAway(FRAME_SIZE_ERROR)),
            ("6.3: PRIORITY of 4", frame(PRIORITY, 0, 1, &zeros(4)), ENDED),
            ("6.4: RST_STREAM of 3", [open(), frame(RST_STREAM, 0, 1, &zeros(3))].concat(), ENDED),
            ("6.5: SETTINGS of 5", frame(SETTINGS, 0, 0, &zeros(5)), ENDED),
            ("6.5: SETTINGS ACK with settings", frame(SETTINGS, ACK, 0, &zeros(6)), ENDED),
            ("6.7: PING of 7", frame(PING, 0, 0, &zeros(7)), ENDED),
            ("6.8: GOAWAY of 7", frame(GOAWAY, 0, 0, &zeros(7)), ENDED),
            ("6.9: WINDOW_UPDATE of 3", frame(WINDOW_UPDATE, 0, 0, &zeros(3)), ENDED),
        ],
    )
    .await;
    world.engine.open_gate();
    world.end().await;
}

#[tokio::test]
async fn what_is_not_known_is_ignored() {
    use Outcome::{Answer, GoAway, Nothing};
    let world = World::with(App::default()).await;
    let fields = head("GET", "/");
    let (first, rest) = fields.split_at(5);
    let unknown_between = [frame(HEADERS, END_STREAM, 1, first), frame(77, 0, 1, &[]), frame(CONTINUATION, 4, 1, rest)];
    check(
        &world,
        vec![
            ("4.1: an unknown frame", frame(77, 0xff, 0, b"what?"), Nothing),
            ("4.1: an unknown frame on a stream", [frame(77, 0, 1, b"what?"), get(1, "/")].concat(), Answer(1, 200)),
            ("4.1: unknown flags", frame(PING, 0xfe, 0, &zeros(8)), Nothing),
            ("4.1: the reserved bit of a stream", frame(PING, 0, 1 << 31, &zeros(8)), Nothing),
            ("5.5: an unknown frame within a head", unknown_between.concat(), GoAway(PROTOCOL_ERROR)),
            ("6.5.2: an unknown setting", setting(0xf000, 7), Nothing),
            ("6.7: a PING ACK that nobody waits for", frame(PING, ACK, 0, &zeros(8)), Nothing),
            ("5.3.2: priorities", frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 9]), Nothing),
            (
                "6.2: a head with a priority",
                frame(HEADERS, PRIORITISED | 5, 1, &[&[0, 0, 0, 9, 9], &*fields].concat()),
                Answer(1, 200),
            ),
        ],
    )
    .await;
    world.end().await;
}

#[tokio::test]
async fn frames_come_only_where_their_stream_lets_them() {
    use Outcome::{GoAway, Nothing};
    let world = World::with(App::default()).await;
    let asked = || get(1, "/hold");
    check(
        &world,
        vec![
            ("5.1: DATA on an idle stream", frame(DATA, 0, 1, b"x"), GoAway(PROTOCOL_ERROR)),
            ("5.1: RST_STREAM on an idle stream", reset(1), GoAway(PROTOCOL_ERROR)),
            ("5.1: WINDOW_UPDATE on an idle stream", window_update(1, 1), GoAway(PROTOCOL_ERROR)),
            ("5.1: DATA after END_STREAM", [asked(), frame(DATA, 0, 1, b"x")].concat(), ENDED),
            ("5.1: HEADERS after END_STREAM", [asked(), get(1, "/")].concat(), ENDED),
            ("5.1: PRIORITY after END_STREAM", [asked(), frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 9])].concat(), Nothing),
            ("5.1: RST_STREAM twice", [asked(), reset(1), reset(1)].concat(), Nothing),
            ("5.1: WINDOW_UPDATE after RST_STREAM", [asked(), reset(1), window_update(1, 1)].concat(), Nothing),
            ("5.1.1: an even stream", get(2, "/"), GoAway(PROTOCOL_ERROR)),
            ("5.1.1: a smaller stream than before", [get(5, "/hold"), get(3, "/")].concat(), GoAway(PROTOCOL_ERROR)),
            ("6.1: DATA on stream 0", frame(DATA, 0, 0, b"x"), GoAway(PROTOCOL_ERROR)),
            ("6.2: HEADERS on stream 0", get(0, "/"), GoAway(PROTOCOL_ERROR)),
            ("6.3: PRIORITY on stream 0", frame(PRIORITY, 0, 0, &zeros(5)), GoAway(PROTOCOL_ERROR)),
            ("6.4: RST_STREAM on stream 0", reset(0), GoAway(PROTOCOL_ERROR)),
            ("6.5: SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), GoAway(PROTOCOL_ERROR)),
            ("6.6: PUSH_PROMISE by a client", frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2]), GoAway(PROTOCOL_ERROR)),
            ("6.7: PING on a stream", frame(PING, 0, 1, &zeros(8)), GoAway(PROTOCOL_ERROR)),
            ("6.8: GOAWAY on a stream", frame(GOAWAY, 0, 1, &zeros(8)), GoAway(PROTOCOL_ERROR)),
        ],
    )
    .await;
    world.engine.open_gate();
    world.end().await;
}

#[tokio::test]
async fn a_ping_comes_back_and_the_end_of_a_client_waits_for_its_answers() {
    let world = World::with(App::default()).await;
    let mut peer = Peer::greeted(&world).await;
    // 6.7: with its payload, and not on a stream.
    peer.write(&frame(PING, 0, 0, b"12345678")).await;
    let pong = peer.expect(PING).await;
    assert_eq!((pong.flags, pong.stream, &pong.payload[..]), (ACK, 0, &b"12345678"[..]));
    // 6.8: what was asked for before GOAWAY is answered.
    peer.write(&[get(1, "/"), frame(GOAWAY, 0, 0, &zeros(8))].concat()).await;
    assert_eq!(peer.expect(HEADERS).await.stream, 1);
    assert_eq!(peer.expect(DATA).await.payload, b"app-1");
    drop(peer);
    world.end().await;
}

#[tokio::test]
async fn the_server_says_goodbye_and_answers_what_it_had_begun() {
    let world = World::with(App::default()).await;
    let mut peer = Peer::greeted(&world).await;
    peer.write(&get(1, "/hold")).await;
    super::until("it is held", || world.engine.records().first().is_some_and(|record| record.in_flight() == 1)).await;
    world.server.shutdown().ask();
    // 6.8: first with the largest stream, so that what is under way is not lost.
    let goodbye = loop {
        let frame = peer.next().await.expect("a GOAWAY");
        if frame.kind == GOAWAY {
            break frame;
        }
    };
    assert_eq!((goodbye.number(0), goodbye.number(4)), (u32::MAX >> 1, 0));
    world.engine.open_gate();
    let mut kinds = Vec::new();
    while let Some(frame) = peer.next().await {
        if frame.kind == PING && frame.flags & ACK == 0 {
            peer.write(&frame_again(&frame)).await;
        }
        kinds.push(frame.kind);
    }
    assert!(kinds.contains(&HEADERS) && kinds.contains(&DATA) && kinds.contains(&GOAWAY), "{kinds:?}");
    world.end().await;
}

/// The answer to a PING.
fn frame_again(ping: &Frame) -> Vec<u8> {
    frame(PING, ACK, 0, &ping.payload)
}
