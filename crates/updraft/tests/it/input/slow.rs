//! Clients that take their time, and clients that come too often.

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use updraft_testkit::World;

use super::{SERVICES, everything, world};

/// Sends a head and a part of a body, and reads what comes while time passes.
async fn begin(world: &World, rest: &str) -> String {
    let mut stream = TcpStream::connect(world.server.address).await.expect("it listens");
    let head =
        format!("POST {SERVICES}?serviceId=slow HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    stream.write_all(format!("{head}{rest}").as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    world
        .drive(async {
            while !String::from_utf8_lossy(&answer).contains("\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut answer).await.expect("an answer"), 0, "it answers");
            }
        })
        .await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_client_that_falls_silent_in_a_body_is_told_so_and_holds_nothing() {
    let world = world().await;
    let before = everything(&world).await;
    for rest in ["content-length: 1000\r\n\r\n{\"template\":", "transfer-encoding: chunked\r\n\r\n5\r\n{\"tem\r\n"] {
        let answer = begin(&world, rest).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{rest}: {answer}");
    }
    assert_eq!(everything(&world).await, before);
    world.end().await;
}

#[tokio::test]
async fn who_writes_too_often_is_told_when_to_try_again() {
    let world = World::start().await;
    let path = format!("{SERVICES}/nobody");
    let mut refused = None;
    for _ in 0..1300 {
        let answer = world.call("DELETE", &path, Value::Null).await;
        if answer.status != 404 {
            refused = Some(answer);
            break;
        }
    }
    let answer = refused.expect("1200 writes per minute are allowed");
    assert_eq!(answer.status, 429, "{}", answer.body);
    assert!(answer.body.contains("RESOURCE_EXHAUSTED") && answer.body.contains("retryDelay"), "{}", answer.body);
    assert_eq!(world.call("GET", &path, Value::Null).await.status, 404, "reads are counted apart");
    world.hand.advance(std::time::Duration::from_secs(1));
    assert_eq!(world.call("DELETE", &path, Value::Null).await.status, 404, "time gives writes back");
    world.end().await;
}
