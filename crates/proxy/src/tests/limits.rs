//! How large requests and answers may be.

use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{connections::read, *};
use crate::inbound::HTTP1_MAX;

const CHUNK: usize = 1 << 20;

/// A body that does not say how long it is.
fn streamed(bytes: u64) -> StreamBody<impl futures::Stream<Item = Result<Frame<Bytes>, std::io::Error>>> {
    let chunk = Bytes::from(vec![b'.'; CHUNK]);
    let whole = (0..bytes / CHUNK as u64).map({
        let chunk = chunk.clone();
        move |_| chunk.clone()
    });
    let rest = chunk.slice(..(bytes % CHUNK as u64) as usize);
    let frames = whole.chain([rest]).filter(|data| !data.is_empty()).map(|data| Ok(Frame::data(data)));
    StreamBody::new(futures::stream::iter(frames.collect::<Vec<_>>()))
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_refused_at_once_and_starts_nothing() {
    let mut world = World::with(App::default()).await;
    let head = format!("POST /count HTTP/1.1\r\nhost: {APP}\r\nexpect: 100-continue\r\n");
    let answer = world.raw(&format!("{head}content-length: {}\r\n\r\n", HTTP1_MAX + 1)).await;
    assert!(answer.starts_with("HTTP/1.1 413 Payload Too Large"), "no 100 before it: {answer}");
    let record = world.logged().await;
    assert_eq!((record.status, record.request_bytes), (413, Some(HTTP1_MAX + 1)));
    assert!(record.note.expect("a reason").contains("32 MiB"));
    assert!(world.engine.records().is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_chunked_body_is_counted_on_its_way() {
    let mut world = World::with(App::default()).await;
    let stream = TcpStream::connect(world.address).await.expect("it listens");
    let (mut from, mut to) = stream.into_split();
    let send = async {
        let head = format!("POST /count HTTP/1.1\r\nhost: {APP}\r\ntransfer-encoding: chunked\r\n\r\n");
        let mut chunk = format!("{CHUNK:x}\r\n").into_bytes();
        chunk.resize(chunk.len() + CHUNK, b'.');
        chunk.extend_from_slice(b"\r\n");
        to.write_all(head.as_bytes()).await.expect("it reads");
        // The server stops reading at some point, and says why.
        for _ in 0..64 {
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        let _ = to.write_all(b"0\r\n\r\n").await;
    };
    let receive = async {
        let mut answer = [0; 12];
        let read = Clock::system().timeout(DEADLINE, from.read_exact(&mut answer)).await;
        read.expect("an answer in time").expect("an answer");
        answer
    };
    let (_, answer) = tokio::join!(send, receive);
    assert_eq!(&answer, b"HTTP/1.1 413");
    let record = world.logged().await;
    assert_eq!((record.status, record.request_bytes), (413, None));
    world.end().await;
}

#[tokio::test]
async fn a_streamed_body_of_http2_is_counted_for_an_http1_container_and_not_for_one_of_h2c() {
    for (protocol, bytes, status) in [
        (Protocol::Http1, HTTP1_MAX, StatusCode::OK),
        (Protocol::Http1, HTTP1_MAX + 1, StatusCode::PAYLOAD_TOO_LARGE),
        (Protocol::H2c, HTTP1_MAX + 1, StatusCode::OK),
    ] {
        let world = World::with(App { protocol, ..App::default() }).await;
        let mut client = world.h2c().await;
        let request = Request::post(format!("http://{APP}/count")).body(streamed(bytes)).expect("well formed");
        let answer = client.send_request(request).await.expect("it is answered");
        assert_eq!(answer.status(), status, "{protocol:?} {bytes}");
        let body = read(answer.into_body()).await.0;
        assert!(status != StatusCode::OK || body == bytes.to_string(), "{protocol:?}: {body:?}");
        drop(client);
        world.end().await;
    }
}

#[tokio::test]
async fn an_answer_that_says_it_is_too_large_is_500_and_the_log_says_why() {
    let mut world = World::with(App::default()).await;
    let (status, body) = world.get(&format!("/bytes/{HTTP1_MAX}")).await;
    assert_eq!((status, body.len() as u64), (StatusCode::OK, HTTP1_MAX));
    world.logged().await;
    let (status, page) = world.get(&format!("/bytes/{}", HTTP1_MAX + 1)).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(page.contains("<title>500 Server Error</title>"), "{page}");
    let record = world.logged().await;
    assert_eq!(record.note, Some("Response size was too large. Please consider reducing response size."));
    // The place is free, and the next one is not answered by what was left of this one.
    assert_eq!(world.get("/").await, (StatusCode::OK, "app-1".to_owned()));
    world.end().await;
}

#[tokio::test]
async fn the_answer_to_head_may_speak_of_any_length() {
    let world = World::with(App::default()).await;
    let request = Request::head(format!("http://{}/bytes/{}", world.address, HTTP1_MAX + 1)).header("host", APP);
    assert_eq!(world.client().send(request).await, (StatusCode::OK, String::new()));
    world.end().await;
}

#[tokio::test]
async fn a_streamed_answer_and_one_of_an_h2c_container_may_be_larger() {
    let world = World::with(App::default()).await;
    let mut client = world.http1().await;
    let request = Request::get("/endless").header("host", APP).body(Empty::<Bytes>::new()).expect("well formed");
    let mut body = client.send_request(request).await.expect("it begins").into_body();
    let mut seen = 0;
    while seen <= HTTP1_MAX {
        let frame = body.frame().await.expect("it goes on").expect("it is whole");
        seen += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    drop((body, client));
    world.end().await;

    let world = World::with(App { protocol: Protocol::H2c, ..App::default() }).await;
    let (status, body) = world.get(&format!("/bytes/{}", HTTP1_MAX + 1)).await;
    assert_eq!((status, body.len() as u64), (StatusCode::OK, HTTP1_MAX + 1));
    world.end().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_bounded_by_the_time_of_the_request() {
    let world = World::with(App { timeout: Duration::from_secs(5), ..App::default() }).await;
    let mut stream = TcpStream::connect(world.address).await.expect("it listens");
    let head = format!("POST /count HTTP/1.1\r\nhost: {APP}\r\ncontent-length: 10\r\n\r\nslow");
    stream.write_all(head.as_bytes()).await.expect("it reads");
    until("it has arrived", || world.engine.records().iter().any(|record| record.in_flight() == 1)).await;
    world.hand.advance(Duration::from_secs(5));
    let mut answer = String::new();
    let read = Clock::system().timeout(DEADLINE, stream.read_to_string(&mut answer)).await;
    read.expect("it is closed").expect("in order");
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    world.until_idle().await;
    world.end().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_blamed_on_the_container() {
    let mut world = World::with(App::default()).await;
    let mut stream = TcpStream::connect(world.address).await.expect("it listens");
    let head = format!("POST /count HTTP/1.1\r\nhost: {APP}\r\ncontent-length: 10\r\n\r\nhalf");
    stream.write_all(head.as_bytes()).await.expect("it reads");
    until("it has arrived", || world.engine.records().iter().any(|record| record.in_flight() == 1)).await;
    stream.shutdown().await.expect("it is open");
    let record = world.logged().await;
    assert_eq!(record.status, 400);
    assert!(record.note.expect("a reason").contains("its body broke off"), "{record:?}");
    world.until_idle().await;
    world.end().await;
}
