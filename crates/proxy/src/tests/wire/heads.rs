//! Heads: how they are cut into frames, and what may be in them.

use updraft_model::revision::Protocol;

use super::*;
use Outcome::{Answer, GoAway, Reset};

#[tokio::test]
async fn a_head_may_be_cut_into_frames_but_nothing_comes_between_them() {
    let world = World::with(App::default()).await;
    let fields = head("GET", "/");
    let (first, rest) = fields.split_at(7);
    let begin = || frame(HEADERS, END_STREAM, 1, first);
    let end = |stream| frame(CONTINUATION, END_HEADERS, stream, rest);
    // A head is bounded in frames as in bytes; in how many it may come is for the server to say.
    let in_pieces = fields
        .chunks(fields.len().div_ceil(3))
        .map(|piece| frame(CONTINUATION, 0, 1, piece))
        .collect::<Vec<_>>()
        .concat();
    let in_pieces = [frame(HEADERS, END_STREAM, 1, &[]), in_pieces, frame(CONTINUATION, END_HEADERS, 1, &[])].concat();
    check(
        &world,
        vec![
            ("6.10: in two", [begin(), end(1)].concat(), Answer(1, 200)),
            ("6.10: in many", in_pieces, Answer(1, 200)),
            ("6.10: on another stream", [begin(), end(3)].concat(), GoAway(PROTOCOL_ERROR)),
            ("6.10: on stream 0", [begin(), end(0)].concat(), GoAway(PROTOCOL_ERROR)),
            ("6.10: without a head", end(1), GoAway(PROTOCOL_ERROR)),
            ("6.10: after the end of the head", [get(1, "/hold"), end(1)].concat(), GoAway(PROTOCOL_ERROR)),
            ("6.10: after DATA", [post(1, "/hold"), frame(DATA, 0, 1, b"x"), end(1)].concat(), GoAway(PROTOCOL_ERROR)),
            ("6.2: a PING between", [begin(), frame(PING, 0, 0, &zeros(8)), end(1)].concat(), GoAway(PROTOCOL_ERROR)),
            ("6.2: another head between", [begin(), get(3, "/"), end(1)].concat(), GoAway(PROTOCOL_ERROR)),
        ],
    )
    .await;
    world.engine.open_gate();
    world.end().await;
}

#[tokio::test]
async fn padding_is_taken_off_and_must_fit() {
    let world = World::with(App::default()).await;
    let fields = head("GET", "/");
    let padded = |length: u8| [&[length], &*fields, &[0; 9]].concat();
    let flags = END_STREAM | END_HEADERS | PADDED;
    let body =
        |length: u8| [post(1, "/echo"), frame(DATA, END_STREAM | PADDED, 1, &[length, b'h', b'i', 0, 0])].concat();
    check(
        &world,
        vec![
            ("6.2: a head with padding", frame(HEADERS, flags, 1, &padded(9)), Answer(1, 200)),
            ("6.2: padding longer than the head", frame(HEADERS, flags, 1, &padded(255)), GoAway(PROTOCOL_ERROR)),
            ("6.1: padding longer than the body", body(5), GoAway(PROTOCOL_ERROR)),
        ],
    )
    .await;
    let mut peer = Peer::greeted(&world).await;
    peer.write(&body(2)).await;
    assert_eq!(peer.expect(DATA).await.payload, b"hi", "6.1: without its padding");
    drop(peer);
    world.end().await;
}

#[tokio::test]
async fn a_head_that_cannot_be_decoded_ends_the_connection() {
    let world = World::with(App::default()).await;
    let broken = |bytes: &[u8]| frame(HEADERS, END_HEADERS | END_STREAM, 1, bytes);
    check(
        &world,
        vec![
            ("4.3: index 0 (RFC 7541, 6.1)", broken(&[0x80]), ENDED),
            ("4.3: an index beyond the table (2.3.3)", broken(&[0xfe]), ENDED),
            ("4.3: an integer without end (5.1)", broken(&[0xff; 12]), ENDED),
            ("4.3: a text longer than the block (5.2)", broken(&[0, 9, b'a']), ENDED),
            ("4.3: padding of a code that is none (5.2)", broken(&[0x44, 0x81, 0x00]), ENDED),
            ("4.3: a table larger than was offered (6.3)", broken(&[0x3f, 0xe2, 0x1f]), ENDED),
        ],
    )
    .await;
    world.end().await;
}

/// A GET with these fields after the pseudo headers.
fn with(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &[head("GET", "/"), block(fields)].concat())
}

/// A head of these fields only.
fn of(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))
}

#[tokio::test]
async fn a_malformed_head_is_an_error_of_its_stream() {
    const BAD: Outcome = Reset(1, PROTOCOL_ERROR);
    let (method, scheme, authority, path) =
        ((":method", "GET"), (":scheme", "http"), (":authority", APP), (":path", "/"));
    let world = World::with(App::default()).await;
    check(
        &world,
        vec![
            ("8.3.1: all that is needed", of(&[method, scheme, authority, path]), Answer(1, 200)),
            ("8.3.1: host in place of :authority", of(&[method, scheme, path, ("host", APP)]), Answer(1, 200)),
            ("8.2: a name in upper case", with(&[("X-Upper", "1")]), ENDED),
            ("8.2.1: a name with a space", with(&[("a b", "1")]), ENDED),
            ("8.2.1: an empty name", with(&[("", "1")]), ENDED),
            ("8.2.1: a line feed in a value", with(&[("a", "b\nc")]), ENDED),
            ("8.2.1: a zero in a value", with(&[("a", "b\0c")]), ENDED),
            ("8.2.2: connection", with(&[("connection", "keep-alive")]), BAD),
            ("8.2.2: keep-alive", with(&[("keep-alive", "5")]), BAD),
            ("8.2.2: proxy-connection", with(&[("proxy-connection", "close")]), BAD),
            ("8.2.2: transfer-encoding", with(&[("transfer-encoding", "chunked")]), BAD),
            ("8.2.2: upgrade", with(&[("upgrade", "websocket")]), BAD),
            ("8.2.2: te: trailers", with(&[("te", "trailers")]), Answer(1, 200)),
            ("8.2.2: te: anything else", with(&[("te", "gzip")]), BAD),
            ("8.3: a pseudo header after others", of(&[method, scheme, authority, ("a", "b"), path]), BAD),
            ("8.3: an unknown pseudo header", of(&[method, scheme, authority, path, (":x", "y")]), ENDED),
            ("8.3: that of an answer", of(&[method, scheme, authority, path, (":status", "200")]), BAD),
            ("8.3.1: no :method", of(&[scheme, authority, path]), BAD),
            ("8.3.1: no :scheme", of(&[method, authority, path]), BAD),
            ("8.3.1: no :path", of(&[method, scheme, authority]), BAD),
            ("8.3.1: an empty :path", of(&[method, scheme, authority, (":path", "")]), BAD),
            ("8.3.1: :method twice", of(&[method, method, scheme, authority, path]), BAD),
            ("8.3.1: :path twice", of(&[method, scheme, authority, path, path]), BAD),
            (
                "8.3.1: :authority with a user",
                of(&[method, scheme, (":authority", &format!("me@{APP}")), path]),
                Answer(1, 400),
            ),
            ("8.3.1: host beside another :authority", with(&[("host", "other.test")]), Answer(1, 400)),
            ("8.5: CONNECT with a path", of(&[(":method", "CONNECT"), scheme, authority, path]), BAD),
            (
                "RFC 8441, 4: :protocol without CONNECT",
                of(&[method, scheme, authority, path, (":protocol", "websocket")]),
                BAD,
            ),
            ("8.1.1: a length of what is not there", with(&[("content-length", "1")]), BAD),
        ],
    )
    .await;
    world.end().await;
}

#[tokio::test]
async fn a_value_that_would_be_a_second_line_in_http1_reaches_nobody() {
    let world = World::with(App::default()).await;
    let (method, scheme, authority, path) =
        ((":method", "GET"), (":scheme", "http"), (":authority", APP), (":path", "/"));
    for bad in [("x-a", "1\r\nx-b: 2"), ("x-a", "1\nx-b: 2"), ("x-a", "\0"), ("x-a: 1\r\nx-b", "2"), ("x a", "1")] {
        let got = Peer::greeted(&world).await.outcome(&with(&[bad])).await;
        assert!(matches!(got, Reset(1, _) | GoAway(_)), "{bad:?}: {got:?}");
    }
    for bad in [
        [method, scheme, authority, (":path", "/ HTTP/1.1\r\nx: y")],
        [method, scheme, authority, (":path", "/a b")],
        [method, scheme, (":authority", "a b"), path],
        [(":method", "GET /x"), scheme, authority, path],
    ] {
        let got = Peer::greeted(&world).await.outcome(&of(&bad)).await;
        assert!(matches!(got, Reset(1, _) | GoAway(_) | Answer(1, 400)), "{bad:?}: {got:?}");
    }
    assert!(world.engine.records().is_empty(), "nobody was started for it");
    world.end().await;
}

#[tokio::test]
async fn a_length_that_is_no_number_or_said_twice_reaches_nobody() {
    let world = World::with(App::default()).await;
    for lengths in [&[""][..], &["0", "0"], &["", "0"], &["0", "00"]] {
        let lengths: Vec<_> = lengths.iter().map(|&length| ("content-length", length)).collect();
        assert_eq!(Peer::greeted(&world).await.outcome(&with(&lengths)).await, Answer(1, 400), "{lengths:?}");
    }
    assert!(world.engine.records().is_empty(), "nobody was started for it");
    assert_eq!(Peer::greeted(&world).await.outcome(&with(&[("content-length", "0")])).await, Answer(1, 200));
    world.end().await;
}

#[tokio::test]
async fn trace_and_connect_are_refused_over_both_protocols() {
    let world = World::with(App::default()).await;
    let trace = frame(HEADERS, END_HEADERS | END_STREAM, 1, &head("TRACE", "/"));
    let connect = of(&[(":method", "CONNECT"), (":authority", APP)]);
    check(&world, vec![("TRACE", trace, Answer(1, 405)), ("CONNECT", connect, Answer(1, 405))]).await;
    for head in
        [format!("TRACE / HTTP/1.1\r\nhost: {APP}\r\n"), format!("CONNECT {APP}:80 HTTP/1.1\r\nhost: {APP}:80\r\n")]
    {
        let answer = world.raw(&format!("{head}connection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{head}: {answer}");
    }
    assert!(world.engine.records().is_empty(), "nobody was started for it");
    world.end().await;
}

#[tokio::test]
async fn a_body_and_what_follows_it_have_to_fit_the_head() {
    const BAD: Outcome = Reset(1, PROTOCOL_ERROR);
    let world = World::with(App::default()).await;
    let long = || frame(HEADERS, END_HEADERS, 1, &[head("POST", "/hold"), block(&[("content-length", "3")])].concat());
    let trailers =
        |flags, fields: &[(&str, &str)]| [post(1, "/hold"), frame(HEADERS, flags, 1, &block(fields))].concat();
    check(
        &world,
        vec![
            ("8.1.1: less than was announced", [long(), frame(DATA, END_STREAM, 1, b"12")].concat(), BAD),
            ("8.1.1: more than was announced", [long(), frame(DATA, 0, 1, b"1234")].concat(), BAD),
            ("8.1: trailers that do not end the stream", trailers(END_HEADERS, &[("a", "b")]), BAD),
            ("8.2: trailers in upper case", trailers(END_HEADERS | END_STREAM, &[("A", "b")]), ENDED),
        ],
    )
    .await;
    world.engine.open_gate();
    world.end().await;
}

#[tokio::test]
async fn a_pseudo_header_in_trailers_reaches_nobody() {
    let world = World::with(App { protocol: Protocol::H2c, ..App::default() }).await;
    let mut peer = Peer::greeted(&world).await;
    // 8.1 calls it malformed; the library drops it, and the rest passes.
    let trailers = block(&[(":path", "/other"), ("x-checksum", "7")]);
    peer.write(&[post(1, "/echo"), frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers)].concat()).await;
    assert_eq!(peer.expect(HEADERS).await.stream, 1);
    let back = peer.expect(HEADERS).await;
    assert!(back.flags & END_STREAM != 0 && !back.payload.contains(&b'/'), "{back:?}");
    drop(peer);
    world.end().await;
}

#[tokio::test]
async fn a_cookie_in_crumbs_is_one_header_for_a_container_of_http1() {
    for (protocol, expected) in [
        (Protocol::Http1, vec!["cookie: a=1; b=2; c=3"]),
        (Protocol::H2c, vec!["cookie: a=1", "cookie: b=2", "cookie: c=3"]),
    ] {
        let world = World::with(App { protocol, ..App::default() }).await;
        let mut peer = Peer::greeted(&world).await;
        // 8.2.3: browsers cut it up so that it is compressed better.
        let crumbs = block(&[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]);
        peer.write(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &[head("GET", "/head"), crumbs].concat())).await;
        let seen = peer.expect(DATA).await.payload;
        let seen = String::from_utf8_lossy(&seen).into_owned();
        assert_eq!(
            seen.lines().filter(|line| line.starts_with("cookie")).collect::<Vec<_>>(),
            expected,
            "{protocol:?}"
        );
        drop(peer);
        world.end().await;
    }
}
