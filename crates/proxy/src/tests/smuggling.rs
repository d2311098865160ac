//! Requests and answers of HTTP/1.1 that two readers could read in two ways, and clients that mean harm.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{heads::raw_path, *};

/// What a smuggler hides: a request of its own.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: app-1.us-central1.run.localhost\r\n\r\n";

/// How many answers are in what a connection gave.
fn answers(text: &str) -> usize {
    text.matches("HTTP/1.1 ").count()
}

impl World {
    /// How many requests the instances have had.
    fn served(&self) -> u64 {
        self.engine.records().iter().map(|record| record.served()).sum()
    }
}

#[tokio::test]
async fn a_request_with_two_lengths_is_read_by_its_chunks_and_is_the_last_of_its_connection() {
    let world = World::with(App::default()).await;
    for head in [
        format!("POST /head HTTP/1.1\r\nhost: {APP}\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n"),
        format!("POST /head HTTP/1.1\r\nhost: {APP}\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n"),
    ] {
        let before = world.served();
        let answer = world.raw(&format!("{head}\r\n0\r\n\r\n{HIDDEN}")).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answers(&answer) == 1, "{answer}");
        let (answer_head, seen) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(answer_head.contains("connection: close"), "{answer_head}");
        assert!(!seen.contains("content-length"), "the container gets one length: {seen}");
        until("it is over", || world.served() == before + 1).await;
    }
    // With one length the connection goes on, and what follows is a request.
    let plain = format!("POST /head HTTP/1.1\r\nhost: {APP}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    let last = HIDDEN.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    let answer = world.raw(&format!("{plain}{last}")).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
    world.end().await;
}

#[tokio::test]
async fn lengths_that_can_be_read_in_two_ways_are_refused() {
    let world = World::with(App::default()).await;
    for lines in [
        "content-length: 3\r\ncontent-length: 4",
        "content-length: 3, 4",
        "content-length: 4, 4",
        "content-length: +4",
        "content-length: -4",
        "content-length: 0x4",
        "content-length: 4 4",
        "content-length: ",
        "content-length: 99999999999999999999",
        "content-length : 4",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding : chunked",
        "transfer-encoding\u{b}: chunked",
    ] {
        let answer = world.raw(&format!("POST / HTTP/1.1\r\nhost: {APP}\r\n{lines}\r\n\r\nbody{HIDDEN}")).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answers(&answer) == 1, "{lines}: {answer}");
    }
    let answer =
        world.raw(&format!("POST / HTTP/1.0\r\nhost: {APP}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.") && answer[8..].starts_with(" 400"), "chunks are of HTTP/1.1: {answer}");
    assert!(world.engine.records().is_empty());
    world.end().await;
}

#[tokio::test]
async fn the_same_length_said_twice_is_passed_on_once() {
    let world = World::with(App::default()).await;
    let head = format!("POST /head HTTP/1.1\r\nhost: {APP}\r\ncontent-length: 4\r\ncontent-length: 4\r\n");
    let answer = world.raw(&format!("{head}connection: close\r\n\r\nbody")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (_, seen) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert_eq!(seen.matches("content-length: 4").count(), 1, "{seen}");
    world.end().await;
}

#[tokio::test]
async fn chunks_that_can_be_read_in_two_ways_are_refused() {
    for chunks in
        ["4;\nx=y\r\nbody\r\n0\r\n\r\n", "4\nbody\r\n0\r\n\r\n", "-4\r\nbody\r\n0\r\n\r\n", "4\r\nbodyX\r\n0\r\n\r\n"]
    {
        let mut world = World::with(App::default()).await;
        let head = format!("POST /count HTTP/1.1\r\nhost: {APP}\r\ntransfer-encoding: chunked\r\n\r\n");
        let answer = world.raw(&format!("{head}{chunks}{HIDDEN}")).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answers(&answer) == 1, "{chunks:?}: {answer}");
        let record = world.logged().await;
        assert!(record.status == 400 && record.note.expect("a reason").contains("its body"), "{record:?}");
        world.until_idle().await;
        world.end().await;
    }
}

#[tokio::test]
async fn a_folded_header_and_a_stray_byte_in_the_head_are_refused() {
    let world = World::with(App::default()).await;
    for head in [
        format!("GET / HTTP/1.1\r\nhost: {APP}\r\nx-a: 1\r\n folded: 2\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: {APP}\r\nx-a: 1\r\n\tfolded: 2\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n host: {APP}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: {APP}\r\nx-a: 1\rx-b: 2\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: {APP}\r\nx-a: \0\r\n\r\n"),
        format!("GET  / HTTP/1.1\r\nhost: {APP}\r\n\r\n"),
        format!("GET /a b HTTP/1.1\r\nhost: {APP}\r\n\r\n"),
        format!("GET / HTTP/1.2\r\nhost: {APP}\r\n\r\n"),
        format!("GET /\r\nhost: {APP}\r\n\r\n"),
    ] {
        let answer = world.raw(&head).await;
        assert!(answer.starts_with("HTTP/1.1 4") && answers(&answer) == 1, "{head:?}: {answer}");
    }
    assert!(world.engine.records().is_empty());
    world.end().await;
}

#[tokio::test]
async fn lines_that_end_with_a_bare_line_feed_are_written_anew_for_the_container() {
    let world = World::with(App::default()).await;
    let answer = world.raw(&format!("GET /head HTTP/1.1\nhost: {APP}\nx-a: 1\nconnection: close\n\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "RFC 9112, 2.2 allows it: {answer}");
    assert!(answer.contains("x-a: 1") && answers(&answer) == 1, "{answer}");
    world.end().await;
}

#[tokio::test]
async fn a_head_that_is_too_long_or_has_too_many_lines_is_431() {
    let world = World::with(App::default()).await;
    let lines = |count: usize, length: usize| {
        let value = "v".repeat(length);
        (0..count).map(|number| format!("x-{number}: {value}\r\n")).collect::<String>()
    };
    // The library reads a head whole or not at all, so that the limit of 64 KiB is met some KiB above it.
    for bomb in [lines(200, 1), lines(90, 2 << 10), lines(1, 200 << 10)] {
        let mut stream = TcpStream::connect(world.address).await.expect("it listens");
        let head = format!("GET / HTTP/1.1\r\nhost: {APP}\r\n{bomb}\r\n");
        // It may hang up before it has read all of it.
        let _ = stream.write_all(head.as_bytes()).await;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.expect("an answer");
        assert_eq!(&status, b"HTTP/1.1 431", "{} bytes", head.len());
    }
    let answer = world.raw(&format!("GET /{} HTTP/1.1\r\nhost: {APP}\r\n\r\n", "u".repeat(65_535))).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert!(world.engine.records().is_empty());
    let many =
        world.raw(&format!("GET / HTTP/1.1\r\nhost: {APP}\r\nconnection: close\r\n{}\r\n", lines(50, 1 << 10))).await;
    assert!(many.starts_with("HTTP/1.1 200"), "{many}");
    world.end().await;
}

#[tokio::test]
async fn who_is_slow_with_a_head_is_hung_up_on() {
    // The library's clock is the real one.
    let config = ProxyConfig { header_timeout: Duration::from_millis(100), ..ProxyConfig::default() };
    let world = World::configured(config).await;
    let app = App::default();
    world.serve(&app, &[(app.revision(1), 100)]);
    let answer = world.raw(&format!("GET / HTTP/1.1\r\nhost: {APP}\r\nx-slow: ")).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(world.engine.records().is_empty());
    world.end().await;
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_503_and_nothing_of_it_reaches_the_client() {
    for answer in [
        "nonsense\r\n\r\n",
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nbody",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nbody",
        "HTTP/1.1 200 OK\r\nx y: z\r\n\r\nbody",
        "HTTP/1.1 2000 OK\r\n\r\n",
    ] {
        let world = World::with(App::default()).await;
        let asked = world.client();
        let asks = async { asked.get(&raw_path(answer)).await };
        let (status, page) = with_patience(&world, asks).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}: {page}");
        assert!(page.contains("HTTP response was malformed") && !page.contains("body</"), "{answer:?}: {page}");
        world.end().await;
    }
}

#[tokio::test]
async fn an_answer_with_two_lengths_is_passed_on_with_one() {
    let world = World::with(App::default()).await;
    let path = raw_path(
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    );
    let answer = world.raw(&format!("GET {path} HTTP/1.1\r\nhost: {APP}\r\nconnection: close\r\n\r\n")).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert_eq!((answers(&answer), body), (1, "5\r\nwhole\r\n0\r\n\r\n"));
    assert!(head.contains("transfer-encoding: chunked") && !head.contains("content-length"), "{head}");
    // What came behind the answer is nobody's: the next one has a connection of its own.
    assert_eq!(world.get("/").await, (StatusCode::OK, "app-1".to_owned()));
    world.end().await;
}

/// Lets virtual time run as far as whoever waits for the instance's end needs it.
async fn with_patience<T>(world: &World, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = Clock::system().sleep(Duration::from_millis(5)) => world.hand.advance(Duration::from_millis(100)),
        }
    }
}
