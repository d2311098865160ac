//! Uploads that outlive what they came over, and clients that do not do their part.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use updraft_base::{Clock, VirtualClock};
use updraft_oci::Digest;

use crate::{
    conformance::{NO_HEADERS, Peer},
    world::World,
};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn bytes(size: usize) -> Vec<u8> {
    (0..size as u32).map(|n| (n ^ (n >> 8)) as u8).collect()
}

fn sessions(world: &World) -> usize {
    std::fs::read_dir(world.dir.path().join("images/sessions")).expect("sessions").count()
}

fn uploads(world: &World) -> usize {
    std::fs::read_dir(world.dir.path().join("images/uploads")).expect("uploads").count()
}

#[tokio::test]
async fn an_upload_goes_on_after_a_restart_of_the_server() {
    let peer = Peer::start().await;
    let whole = bytes(1_000_000);
    let place = peer.begin("team/app").await;
    peer.ask(Method::PATCH, &place, &NO_HEADERS, whole[..400_001].to_vec()).await;
    let peer = Peer::of(peer.world.restart(Clock::system()).await);
    assert_eq!(peer.get(&place).await.header("range"), "0-400000");
    let again = peer.patch(&place, "0-400000", whole[..400_001].to_vec()).await;
    assert_eq!((again.status.as_u16(), again.header("range")), (416, "0-400000"));
    let more = peer.patch(&place, "400001-699999", whole[400_001..700_000].to_vec()).await;
    assert_eq!((more.status, more.header("range")), (StatusCode::ACCEPTED, "0-699999"));
    // And once more, with nothing but the closing request for the next server.
    peer.patch(&place, "700000-999999", whole[700_000..].to_vec()).await;
    let peer = Peer::of(peer.world.restart(Clock::system()).await);
    let done = peer.put(&format!("{place}?digest={}", Digest::of(&whole)), "").await;
    assert_eq!(done.status, StatusCode::CREATED);
    assert_eq!(peer.get(done.header("location")).await.body, whole);
    assert_eq!((sessions(&peer.world), uploads(&peer.world)), (0, 0));
    peer.world.stop().await;
}

#[tokio::test]
async fn bytes_that_a_crash_spoiled_do_not_become_a_blob() {
    let peer = Peer::start().await;
    let whole = bytes(100_000);
    let place = peer.begin("app").await;
    peer.patch(&place, "0-99999", whole.clone()).await;
    let id = place.rsplit('/').next().expect("an id");
    let file = peer.world.dir.path().join("images/sessions").join(id);
    let world = peer.world;
    world.stop().await;
    let mut spoiled = whole.clone();
    spoiled[50_000] ^= 1;
    std::fs::write(&file, spoiled).expect("write");
    let peer = Peer::of(world.restart(Clock::system()).await);
    let digest = Digest::of(&whole);
    let refused = peer.put(&format!("{place}?digest={digest}"), "").await;
    assert_eq!(refused.refusal(), (400, "DIGEST_INVALID".to_owned()));
    assert_eq!(peer.get(&format!("/v2/app/blobs/{digest}")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(sessions(&peer.world), 0);
    peer.world.stop().await;
}

#[tokio::test]
async fn an_idle_upload_is_removed_and_a_dead_servers_too() {
    let (world, hand) = World::by_hand().await;
    let peer = Peer::of(world);
    let (idle, kept) = (peer.begin("app").await, peer.begin("app").await);
    peer.patch(&idle, "0-2", "abc").await;
    // Half an hour passes when the sweep waits for it, twice.
    eventually(|| hand.next_timer().is_some()).await;
    hand.advance(HOUR / 2);
    peer.patch(&kept, "0-2", "abc").await;
    eventually(|| hand.next_timer().is_some()).await;
    hand.advance(HOUR / 2);
    eventually(|| sessions(&peer.world) == 2).await;
    assert_eq!(peer.get(&idle).await.refusal(), (404, "BLOB_UPLOAD_UNKNOWN".to_owned()));
    assert_eq!(peer.get(&kept).await.header("range"), "0-2");

    // The next server goes by the file; a name without bytes, or bytes without a name, is nothing.
    let dir = peer.world.dir.path().join("images/sessions");
    std::fs::write(dir.join("half.repository"), "app").expect("write");
    std::fs::write(dir.join("other-half"), "bytes").expect("write");
    let now = peer.world.clock.now();
    let peer = Peer::of(peer.world.restart(Clock::stopped_at(now).0).await);
    assert_eq!(sessions(&peer.world), 2);
    assert_eq!(peer.get(&kept).await.header("range"), "0-2");
    let peer = Peer::of(peer.world.restart(Clock::stopped_at(now + 3 * HOUR).0).await);
    assert_eq!(sessions(&peer.world), 0);
    assert_eq!(peer.get(&kept).await.refusal(), (404, "BLOB_UPLOAD_UNKNOWN".to_owned()));
    peer.world.stop().await;
}

#[tokio::test]
async fn what_came_before_the_connection_broke_is_kept() {
    let peer = Peer::start().await;
    let whole = bytes(800_000);
    let place = peer.begin("app").await;
    let mut stream = TcpStream::connect(peer.world.direct).await.expect("connected");
    stream.write_all(head("PATCH", &place, whole.len()).as_bytes()).await.expect("sent");
    stream.write_all(&whole[..500_000]).await.expect("sent");
    // While the request hangs, its upload can be asked for.
    eventually_async(|| async { end_of(&peer.get(&place).await) >= 262_143 }).await;
    drop(stream);
    // Whoever goes on waits until the broken request has let go.
    let digest = Digest::of(&whole);
    loop {
        let have = end_of(&peer.get(&place).await) + 1;
        assert!((262_144..=500_000).contains(&have), "{have}");
        let rest = whole[have..].to_vec();
        let sent = peer.patch(&place, &format!("{have}-{}", whole.len() - 1), rest).await;
        match sent.status.as_u16() {
            202 => break,
            // More had come than was in the file when we asked.
            416 => {}
            other => panic!("{other}: {:?}", sent.body),
        }
    }
    let done = peer.put(&format!("{place}?digest={digest}"), "").await;
    assert_eq!(done.status, StatusCode::CREATED, "{:?}", done.body);
    peer.world.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_next_to_nothing_is_told_to_leave() {
    let (world, hand) = World::by_hand().await;
    let peer = Peer::of(world);
    let place = peer.begin("app").await;
    let mut stream = TcpStream::connect(peer.world.direct).await.expect("connected");
    stream.write_all(head("PATCH", &place, 10_000_000).as_bytes()).await.expect("sent");
    stream.write_all(&bytes(300_000)).await.expect("sent");
    eventually_async(|| async { end_of(&peer.get(&place).await) >= 262_143 }).await;
    hand.advance(Duration::from_secs(60));
    let answer = answer_while_time_passes(&mut stream, &hand).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("BLOB_UPLOAD_INVALID"), "{answer}");
    assert_eq!(end_of(&peer.get(&place).await), 299_999, "what came is kept");
    peer.world.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let (world, hand) = World::by_hand().await;
    let peer = Peer::of(world);
    let whole = bytes(24 << 20);
    peer.blob("app", "", &whole).await;
    let mut stream = TcpStream::connect(peer.world.direct).await.expect("connected");
    let path = format!("/v2/app/blobs/{}", Digest::of(&whole));
    stream.write_all(head("GET", &path, 0).as_bytes()).await.expect("sent");
    // The buffers of both sides are full: a timer that is not that of the sweep runs.
    eventually(|| hand.next_timer().is_some_and(|next| next <= Duration::from_secs(60))).await;
    hand.advance(Duration::from_secs(60));
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read).await;
    assert!(read.len() < whole.len(), "{} bytes came", read.len());
    assert_eq!(peer.get(&path).await.body.len(), whole.len(), "others are served");
    peer.world.stop().await;
}

#[tokio::test]
async fn more_connections_than_there_are_places_wait_for_one() {
    let peer = Peer::start().await;
    let mut silent = Vec::new();
    for _ in 0..256 {
        silent.push(TcpStream::connect(peer.world.direct).await.expect("connected"));
    }
    let mut late = TcpStream::connect(peer.world.direct).await.expect("connected");
    late.write_all(head("GET", "/v2/", 0).as_bytes()).await.expect("sent");
    let mut answer = String::new();
    {
        let reading = late.read_to_string(&mut answer);
        tokio::pin!(reading);
        for _ in 0..1000 {
            assert!(futures::poll!(reading.as_mut()).is_pending(), "there is no place");
            tokio::task::yield_now().await;
        }
        drop(silent.pop());
        reading.await.expect("an answer");
    }
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(silent);
    peer.world.stop().await;
}

#[tokio::test]
async fn a_head_has_a_bound() {
    let peer = Peer::start().await;
    for size in [1 << 10, 80 << 10] {
        let mut stream = TcpStream::connect(peer.world.direct).await.expect("connected");
        let head = head("GET", &format!("/v2/{}", "a".repeat(size)), 0);
        let _ = stream.write_all(head.as_bytes()).await;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        let expected = if size < 64 << 10 { "404" } else { "4" };
        // Too large a head ends the connection, with a status if it is still read.
        assert!(
            answer.is_empty() && size > 64 << 10 || answer.starts_with(&format!("HTTP/1.1 {expected}")),
            "{answer}"
        );
    }
    assert_eq!(peer.get("/v2/").await.status, StatusCode::OK);
    peer.world.stop().await;
}

#[tokio::test]
async fn there_is_a_bound_on_uploads_under_way() {
    let peer = Peer::start().await;
    let content = peer.world.images.content();
    let mut first = None;
    for _ in 0..1024 {
        first = Some(content.begin_upload("app").await.expect("begun"));
    }
    let refused = peer.post("/v2/app/blobs/uploads/", "").await;
    assert_eq!(refused.refusal(), (429, "TOOMANYREQUESTS".to_owned()));
    assert_eq!(refused.header("retry-after"), "60");
    content.cancel_upload("app", &first.expect("an id")).await.expect("cancelled");
    peer.begin("app").await;
    peer.world.stop().await;
}

fn head(method: &str, path: &str, length: usize) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n")
}

/// The position of the last byte that the registry says it has.
fn end_of(answer: &crate::conformance::Answer) -> usize {
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{:?}", answer.body);
    answer.header("range").strip_prefix("0-").and_then(|end| end.parse().ok()).expect("a range")
}

/// Reads to the end, while time goes on as far as short waits of the server need it.
async fn answer_while_time_passes(stream: &mut TcpStream, hand: &VirtualClock) -> String {
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    tokio::pin!(reading);
    loop {
        tokio::select! {
            biased;
            read = &mut reading => break drop(read),
            () = tokio::task::yield_now() => {
                if let Some(next) = hand.next_timer().filter(|next| *next <= Duration::from_secs(10)) {
                    hand.advance(next);
                }
            }
        }
    }
    answer
}

async fn eventually(mut condition: impl FnMut() -> bool) {
    eventually_async(|| std::future::ready(condition())).await;
}

/// Asks until it is so, for at most a minute.
async fn eventually_async<F: Future<Output = bool>>(mut condition: impl FnMut() -> F) {
    let clock = Clock::system();
    let deadline = clock.instant() + Duration::from_secs(60);
    while !condition().await {
        assert!(clock.instant() < deadline, "not within a minute");
        tokio::task::yield_now().await;
    }
}
