//! The order of an exchange: 100 Continue and its like, HEAD, trailers of HTTP/1.1.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{heads::raw_path, *};

#[tokio::test]
async fn nobody_is_told_to_go_on_before_an_instance_takes_the_request() {
    let app = App { concurrency: 1, max: 1, ..App::default() };
    let world = World::with(app).await;
    let mut first = Box::pin(world.get("/hold"));
    tokio::select! {
        _ = &mut first => panic!("it is held"),
        () = until("the only place is taken", || world.engine.records().iter().any(|record| record.in_flight() == 1)) => {}
    }
    let mut stream = TcpStream::connect(world.address).await.expect("it listens");
    let head = format!(
        "POST /echo HTTP/1.1\r\nhost: {APP}\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("it reads");
    until("it waits", || world.metric("updraft_pending_requests") == 1).await;
    let mut told = [0; 25];
    let error = stream.try_read(&mut told).expect_err("nothing is said while it waits");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    world.engine.open_gate();
    assert_eq!(first.await.0, StatusCode::OK);
    stream.read_exact(&mut told).await.expect("it goes on");
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hi").await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it is text");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hi"), "{answer}");
    world.end().await;
}

#[tokio::test]
async fn who_is_refused_is_not_told_to_go_on() {
    let world = World::with(App { invokers: Some(&[]), ..App::default() }).await;
    let head = format!("POST /echo HTTP/1.1\r\nhost: {APP}\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n");
    let answer = world.raw(&head).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    world.end().await;
}

#[tokio::test]
async fn an_early_hint_of_a_container_is_dropped_and_its_answer_is_not() {
    let world = World::with(App::default()).await;
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n";
    let path = raw_path(&format!("{early}{early}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlast"));
    let answer = world.raw(&format!("GET {path} HTTP/1.1\r\nhost: {APP}\r\nconnection: close\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nlast"), "{answer}");
    assert!(!answer.contains(" 103 ") && !answer.contains("link:"), "{answer}");
    world.end().await;
}

#[tokio::test]
async fn a_container_that_upgrades_unasked_is_503() {
    let world = World::with(App::default()).await;
    let path = raw_path("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n");
    assert_eq!(world.get(&path).await.0, StatusCode::SERVICE_UNAVAILABLE);
    world.end().await;
}

#[tokio::test]
async fn head_gets_the_head_of_the_answer_and_the_connection_goes_on() {
    for protocol in [Protocol::Http1, Protocol::H2c] {
        let world = World::with(App { protocol, ..App::default() }).await;
        let head = format!("HEAD /bytes/7 HTTP/1.1\r\nhost: {APP}\r\n\r\n");
        let next = format!("GET / HTTP/1.1\r\nhost: {APP}\r\nconnection: close\r\n\r\n");
        let answer = world.raw(&format!("{head}{next}")).await;
        let (first, second) = answer.split_once("\r\n\r\n").expect("two answers");
        assert!(first.starts_with("HTTP/1.1 200") && first.contains("content-length: 7"), "{protocol:?}: {first}");
        assert!(second.starts_with("HTTP/1.1 200") && second.ends_with("app-1"), "{protocol:?}: {second}");
        world.end().await;
    }
}

#[tokio::test]
async fn head_of_a_refusal_has_no_page() {
    let world = World::with(App::default()).await;
    let answer = world.raw(&format!("HEAD /healthz HTTP/1.1\r\nhost: {APP}\r\nconnection: close\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 404") && answer.ends_with("\r\n\r\n"), "{answer}");
    world.end().await;
}

#[tokio::test]
async fn trailers_of_http1_pass_both_ways_when_both_sides_announce_them() {
    for protocol in [Protocol::Http1, Protocol::H2c] {
        let world = World::with(App { protocol, ..App::default() }).await;
        let head = format!(
            "POST /echo HTTP/1.1\r\nhost: {APP}\r\nte: trailers\r\ntrailer: x-checksum\r\nconnection: te, close\r\n\
             transfer-encoding: chunked\r\n\r\n"
        );
        let answer = world.raw(&format!("{head}4\r\ndata\r\n0\r\nx-checksum: 7\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{protocol:?}: {answer}");
        assert!(answer.ends_with("4\r\ndata\r\n0\r\nx-checksum: 7\r\n\r\n"), "{protocol:?}: {answer}");
        world.end().await;
    }
}
