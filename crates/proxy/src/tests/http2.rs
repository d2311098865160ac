//! Frames of HTTP/2 that no decent client writes.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;

/// Frame types and flags of RFC 9113, section 6.
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// A client that writes frames by hand.
struct Raw(TcpStream);

/// What the server did with a stream.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It was answered with this status, of those that HPACK has a number for.
    Status(u16),
    /// It was answered in some other way.
    Answered,
    /// It was reset with this error.
    Reset(u32),
    /// The connection was ended with this error, or without a word.
    Gone(Option<u32>),
}

impl Raw {
    async fn new(world: &World) -> Self {
        let mut stream = TcpStream::connect(world.address).await.expect("it listens");
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("it reads");
        let mut raw = Self(stream);
        // No table of fields: the second answer of a connection would be numbers out of the first.
        raw.write(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]).await;
        raw
    }

    /// Whether the server still reads is for [`Raw::fate`] to say.
    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = (u32::try_from(payload.len()).expect("small")).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        let _ = self.0.write_all(&frame).await;
    }

    /// Sends a request that has these fields and no body.
    async fn ask(&mut self, stream: u32, fields: &[(&str, &str)]) -> Fate {
        self.write(HEADERS, END_STREAM | END_HEADERS, stream, &block(fields)).await;
        self.fate(stream).await
    }

    /// Reads until something is said about the stream.
    async fn fate(&mut self, wanted: u32) -> Fate {
        let read = async {
            loop {
                let mut head = [0; 9];
                if self.0.read_exact(&mut head).await.is_err() {
                    return Fate::Gone(None);
                }
                let [a, b, c, kind, flags, s @ ..] = head;
                let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
                if self.0.read_exact(&mut payload).await.is_err() {
                    return Fate::Gone(None);
                }
                let word = |at: usize| payload.get(at..at + 4).and_then(|w| w.try_into().ok()).map(u32::from_be_bytes);
                match (kind, u32::from_be_bytes(s) & !(1 << 31)) {
                    (SETTINGS, _) if flags & ACK == 0 => self.write(SETTINGS, ACK, 0, &[]).await,
                    (GOAWAY, _) => return Fate::Gone(word(4)),
                    (RST_STREAM, stream) if stream == wanted => return Fate::Reset(word(0).expect("an error")),
                    (HEADERS, stream) if stream == wanted => return status(&payload),
                    _ => {}
                }
            }
        };
        Clock::system().timeout(DEADLINE, read).await.expect("something is said about the stream")
    }
}

/// The status at the begin of a block of fields: an entry of HPACK's table (RFC 7541, appendix A), or a literal of its name.
fn status(block: &[u8]) -> Fate {
    // The table's size, if it changed, stands before it.
    match block.strip_prefix(&[0x20]).unwrap_or(block) {
        [0x88, ..] => Fate::Status(200),
        [0x8c, ..] => Fate::Status(400),
        [0x8d, ..] => Fate::Status(404),
        [0x8e, ..] => Fate::Status(500),
        // Three digits in Huffman's code, as the server's library writes them.
        [0x48 | 0x08, 0x83, 0x68, 0x0d, 0xff, ..] => Fate::Status(405),
        [0x48 | 0x08, 0x83, 0x69, 0x90, 0xff, ..] => Fate::Status(431),
        _ => Fate::Answered,
    }
}

/// Fields of HPACK, all literal: nothing is remembered, nothing is checked.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    let text = |text: &str, block: &mut Vec<u8>| {
        let mut rest = text.len();
        if rest < 127 {
            block.push(u8::try_from(rest).expect("small"));
        } else {
            block.push(127);
            rest -= 127;
            while rest >= 128 {
                block.push(u8::try_from(rest % 128).expect("small") | 128);
                rest /= 128;
            }
            block.push(u8::try_from(rest).expect("small"));
        }
        block.extend_from_slice(text.as_bytes());
    };
    for (name, value) in fields {
        block.push(0);
        text(name, &mut block);
        text(value, &mut block);
    }
    block
}

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", APP)];

#[tokio::test]
async fn headers_of_a_connection_have_no_place_in_http2() {
    /// RFC 9113, 8.1.1: what a malformed request is answered with.
    const PROTOCOL_ERROR: u32 = 1;
    let world = World::with(App::default()).await;
    for field in [
        ("connection", "close"),
        ("keep-alive", "1"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("X-Upper", "1"),
        (":path", "/second"),
        (":unknown", "1"),
    ] {
        let mut raw = Raw::new(&world).await;
        let fields: Vec<_> = GET.into_iter().chain([field]).collect();
        let fate = raw.ask(1, &fields).await;
        assert!(matches!(fate, Fate::Reset(PROTOCOL_ERROR) | Fate::Gone(Some(PROTOCOL_ERROR))), "{field:?}: {fate:?}");
    }
    assert!(world.engine.records().is_empty());
    let fields: Vec<_> = GET.into_iter().chain([("te", "trailers")]).collect();
    assert_eq!(Raw::new(&world).await.ask(1, &fields).await, Fate::Status(200));
    world.end().await;
}

#[tokio::test]
async fn a_value_that_would_be_a_second_line_in_http1_reaches_nobody() {
    let world = World::with(App::default()).await;
    for field in [("x-a", "1\r\nx-b: 2"), ("x-a", "1\nx-b: 2"), ("x-a", "\0"), ("x-a: 1\r\nx-b", "2"), ("x a", "1")] {
        let mut raw = Raw::new(&world).await;
        let fields: Vec<_> = GET.into_iter().chain([field]).collect();
        let fate = raw.ask(1, &fields).await;
        assert!(matches!(fate, Fate::Reset(_) | Fate::Gone(Some(_))), "{field:?}: {fate:?}");
    }
    for (name, value) in [
        (":path", "/ HTTP/1.1\r\nx: y"),
        (":path", "/a b"),
        (":path", ""),
        (":authority", "a b"),
        (":method", "GET /x"),
    ] {
        let mut raw = Raw::new(&world).await;
        let fields: Vec<_> = GET.iter().map(|&field| if field.0 == name { (name, value) } else { field }).collect();
        let fate = raw.ask(1, &fields).await;
        assert!(matches!(fate, Fate::Reset(_) | Fate::Gone(Some(_)) | Fate::Status(400)), "{name} {value:?}: {fate:?}");
    }
    assert!(world.engine.records().is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_says_is_reset() {
    let world = World::with(App::default()).await;
    let mut raw = Raw::new(&world).await;
    let fields: Vec<_> = GET.into_iter().chain([("content-length", "5")]).collect();
    let fate = raw.ask(1, &fields).await;
    assert!(matches!(fate, Fate::Reset(1)), "the head ended the request: {fate:?}");
    drop(raw);
    world.end().await;
}

#[tokio::test]
async fn a_length_that_is_no_number_or_said_twice_reaches_nobody() {
    let world = World::with(App::default()).await;
    for lengths in [&[""][..], &["0", "0"], &["", "0"], &["0", "00"]] {
        let mut raw = Raw::new(&world).await;
        let lengths = lengths.iter().map(|&length| ("content-length", length));
        let fate = raw.ask(1, &GET.into_iter().chain(lengths.clone()).collect::<Vec<_>>()).await;
        assert_eq!(fate, Fate::Status(400), "{:?}", lengths.collect::<Vec<_>>());
    }
    assert!(world.engine.records().is_empty());
    let fields: Vec<_> = GET.into_iter().chain([("content-length", "0")]).collect();
    assert_eq!(Raw::new(&world).await.ask(1, &fields).await, Fate::Status(200));
    world.end().await;
}

#[tokio::test]
async fn trace_and_connect_are_refused_over_both_protocols() {
    let world = World::with(App::default()).await;
    let mut raw = Raw::new(&world).await;
    let trace = [(":method", "TRACE"), (":scheme", "http"), (":path", "/"), (":authority", APP)];
    assert_eq!(raw.ask(1, &trace).await, Fate::Status(405));
    assert_eq!(raw.ask(3, &[(":method", "CONNECT"), (":authority", APP)]).await, Fate::Status(405));
    // Of the extended ones (RFC 8441) WebSockets are all there is.
    let extended = [
        (":method", "CONNECT"),
        (":protocol", "connect-udp"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", APP),
    ];
    let fate = raw.ask(5, &extended).await;
    assert!(matches!(fate, Fate::Status(405) | Fate::Reset(_)), "{fate:?}");
    drop(raw);
    for head in
        [format!("TRACE / HTTP/1.1\r\nhost: {APP}\r\n"), format!("CONNECT {APP}:80 HTTP/1.1\r\nhost: {APP}:80\r\n")]
    {
        let answer = world.raw(&format!("{head}connection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{head}: {answer}");
    }
    assert!(world.engine.records().is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_head_above_the_limit_is_431_and_the_connection_goes_on() {
    let world = World::with(App::default()).await;
    let mut raw = Raw::new(&world).await;
    let value = "v".repeat(8 << 10);
    let fields: Vec<_> = GET.into_iter().chain(std::iter::repeat_n(("x-bomb", &*value), 10)).collect();
    let bomb = block(&fields);
    let mut parts = bomb.chunks(16 << 10).peekable();
    raw.write(HEADERS, END_STREAM, 1, parts.next().expect("there is one")).await;
    while let Some(part) = parts.next() {
        let flags = if parts.peek().is_none() { END_HEADERS } else { 0 };
        raw.write(CONTINUATION, flags, 1, part).await;
    }
    assert_eq!(raw.fate(1).await, Fate::Status(431));
    assert!(world.engine.records().is_empty());
    assert_eq!(raw.ask(3, &GET).await, Fate::Status(200));
    drop(raw);
    world.end().await;
}

#[tokio::test]
async fn a_head_without_end_ends_the_connection() {
    let world = World::with(App::default()).await;
    let mut raw = Raw::new(&world).await;
    raw.write(HEADERS, END_STREAM, 1, &block(&GET)).await;
    let part = block(&[("x-bomb", &"v".repeat(1 << 10))]);
    for _ in 0..2_000 {
        raw.write(CONTINUATION, 0, 1, &part).await;
    }
    let fate = raw.fate(1).await;
    assert!(matches!(fate, Fate::Gone(_)), "{fate:?}");
    assert!(world.engine.records().is_empty());
    world.end().await;
}

#[tokio::test]
async fn who_resets_streams_as_fast_as_they_open_them_is_hung_up_on() {
    let world = World::with(App::default()).await;
    let mut raw = Raw::new(&world).await;
    let head = block(&GET);
    for number in 0..5_000_u32 {
        let stream = 2 * number + 1;
        raw.write(HEADERS, END_STREAM | END_HEADERS, stream, &head).await;
        raw.write(RST_STREAM, 0, stream, &8_u32.to_be_bytes()).await;
    }
    // A stream that was never opened: only the end of the connection is an answer.
    assert!(matches!(raw.fate(20_001).await, Fate::Gone(_)));
    world.until_idle().await;
    world.end().await;
}

#[tokio::test]
async fn a_connection_has_a_hundred_streams_at_a_time() {
    let world = World::with(App::default()).await;
    let mut raw = Raw::new(&world).await;
    let hold: Vec<_> = GET.iter().map(|&(name, value)| (name, if name == ":path" { "/hold" } else { value })).collect();
    let head = block(&hold);
    for number in 0..101_u32 {
        raw.write(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, &head).await;
    }
    // RFC 9113, 5.1.2: REFUSED_STREAM, which a client may send again.
    assert_eq!(raw.fate(201).await, Fate::Reset(7));
    until("the others are served", || {
        world.engine.records().iter().map(|record| record.in_flight()).sum::<u32>() == 100
    })
    .await;
    world.engine.open_gate();
    drop(raw);
    world.end().await;
}
