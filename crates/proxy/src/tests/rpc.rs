//! gRPC of every kind through the door, to a server of h2c.

mod calls;
mod grpcio;
mod server;

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue};
use updraft_base::Clock;
use updraft_model::revision::Protocol;

use super::{App, World, until};
use calls::{Rpc, framed, push};
use server::{MIB, Server};

/// What may be under way at a time, in either direction: the windows of both connections, what both libraries gather
/// before they write, and what the system's sockets hold. Far less than what passes in the tests.
const UNDER_WAY: usize = 24 * MIB;

async fn behind(server: &Server) -> World {
    World::with(App { behind: Some(server.address), protocol: Protocol::H2c, ..App::default() }).await
}

#[tokio::test]
async fn calls_of_all_four_kinds_pass() {
    let server = Server::start().await;
    let world = behind(&server).await;
    let rpc = Rpc::new(&world).await;
    for length in [0, 1, 100_000, 8 * MIB] {
        let message = vec![b'm'; length];
        let (answer, trailers) = rpc.unary("Unary", &message).await;
        assert!(answer == message && trailers["grpc-status"] == "0", "unary: {length}");
    }

    let mut call = rpc.call("Collect", &[]).await;
    for length in 0..100 {
        call.send(&vec![0; length]).await;
    }
    call.finish();
    let (_, mut messages) = call.answer().await;
    assert_eq!(messages.next().await.expect("whole").expect("a message"), "100 4950");
    assert_eq!(messages.trailers().await.expect("whole")["grpc-status"], "0");

    let mut call = rpc.call("Expand", &[]).await;
    call.send(b"100").await;
    call.finish();
    let (_, mut messages) = call.answer().await;
    for number in 0..100 {
        assert_eq!(messages.next().await.expect("whole").expect("a message"), number.to_string());
    }
    assert_eq!(messages.trailers().await.expect("whole")["grpc-status"], "0");

    // Each message is answered before the next one is sent: nothing is held back to wait for more.
    let mut call = rpc.call("Chat", &[]).await;
    let (_, mut messages) = call.answer().await;
    for number in 0..100 {
        call.send(format!("is {number} there?").as_bytes()).await;
        assert_eq!(messages.next().await.expect("whole").expect("a message"), format!("is {number} there?"));
    }
    call.finish();
    assert_eq!(messages.trailers().await.expect("whole")["grpc-status"], "0");
    drop((rpc, call, messages));
    world.end().await;
}

#[tokio::test]
async fn fifty_calls_share_a_connection_and_keep_their_answers_apart() {
    let server = Server::start().await;
    let world = behind(&server).await;
    let rpc = Rpc::new(&world).await;
    let calls = (0..50).map(|number| {
        let rpc = rpc.clone();
        async move {
            let message = vec![number; 10_000 * usize::from(number)];
            assert!(rpc.unary("Unary", &message).await.0 == message, "{number}");
        }
    });
    futures::future::join_all(calls).await;
    drop(rpc);
    world.end().await;
}

#[tokio::test]
async fn a_status_without_a_message_is_the_head_and_the_end() {
    let server = Server::start().await;
    let world = behind(&server).await;
    let rpc = Rpc::new(&world).await;
    // The server does not wait for the client's messages, of which there would be more.
    let mut call = rpc.call("Fail", &[]).await;
    let (head, mut messages) = call.answer().await;
    assert_eq!(head["grpc-status"], "5");
    assert_eq!(head["grpc-message"], "not here");
    assert_eq!(messages.next().await.expect("whole"), None);
    drop((rpc, call, messages));
    world.end().await;
}

#[tokio::test]
async fn a_stream_that_the_container_breaks_off_is_not_passed_off_as_whole() {
    let server = Server::start().await;
    let world = behind(&server).await;
    let rpc = Rpc::new(&world).await;
    let mut call = rpc.call("Break", &[]).await;
    let (_, mut messages) = call.answer().await;
    assert_eq!(messages.next().await.expect("whole").expect("a message"), "the first");
    call.send(b"go on").await;
    let end = messages.next().await;
    assert!(end.is_err(), "{end:?}");
    // Only that stream.
    assert_eq!(rpc.unary("Unary", b"still there").await.0, "still there");
    drop((rpc, call, messages));
    world.end().await;
}

#[tokio::test]
async fn a_deadline_is_passed_on_and_who_gives_up_is_told_to_the_container() {
    let server = Server::start().await;
    let world = behind(&server).await;
    let rpc = Rpc::new(&world).await;
    let mut call =
        rpc.call("Head", &[("grpc-timeout", "250m"), ("grpc-encoding", "identity"), ("x-mine-bin", "AAEC")]).await;
    call.finish();
    let (_, mut messages) = call.answer().await;
    let head = messages.next().await.expect("whole").expect("a message");
    let head = String::from_utf8_lossy(&head);
    for line in ["grpc-timeout: 250m\n", "grpc-encoding: identity\n", "x-mine-bin: AAEC\n", "te: trailers\n"] {
        assert!(head.contains(line), "{line} in {head}");
    }
    drop((call, messages));

    // Before the answer's head, as a client does whose deadline is over, and in the middle of a stream.
    for method in ["Silent", "Flood"] {
        let before = server.seen.calls.load(SeqCst);
        let mut call = rpc.call(method, &[("grpc-timeout", "1m")]).await;
        until("the call arrives", || server.seen.calls.load(SeqCst) > before).await;
        let answered = if method == "Flood" { Some(call.answer().await) } else { None };
        call.sink.send_reset(Reason::CANCEL);
        let resets = || server.seen.resets.lock().expect("not poisoned").len();
        until("the container is told", || resets() == 1).await;
        server.seen.resets.lock().expect("not poisoned").clear();
        drop((call, answered));
    }
    drop(rpc);
    world.end().await;
}

#[tokio::test]
async fn trailers_of_64_kib_pass_both_ways() {
    /// In one value, beside the other trailers.
    const ROOM: usize = 64 << 10;
    let server = Server::start().await;
    let world = behind(&server).await;
    let rpc = Rpc::new(&world).await;
    let mut call = rpc.call("Trailers", &[]).await;
    call.send(ROOM.to_string().as_bytes()).await;
    call.finish();
    let (_, mut messages) = call.answer().await;
    let trailers = messages.trailers().await.expect("whole");
    assert_eq!((trailers["x-large"].len(), &trailers["grpc-status"]), (ROOM, &HeaderValue::from_static("0")));

    let mut call = rpc.call("Head", &[]).await;
    call.send(b"a message").await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-large", HeaderValue::try_from("t".repeat(ROOM)).expect("valid"));
    call.sink.send_trailers(trailers).expect("it is open");
    let (_, mut messages) = call.answer().await;
    let seen = messages.next().await.expect("whole").expect("a message");
    let line = format!("x-large: {}\n", "t".repeat(ROOM));
    assert!(String::from_utf8_lossy(&seen).contains(&line));
    drop((rpc, call, messages));
    world.end().await;
}

/// Waits until `count` stands still.
async fn until_still(count: impl Fn() -> usize) -> usize {
    let clock = Clock::system();
    let (mut last, mut same) = (count(), 0);
    while same < 50 {
        clock.sleep(Duration::from_millis(2)).await;
        let now = count();
        (last, same) = if now == last { (last, same + 1) } else { (now, 0) };
    }
    last
}

#[tokio::test]
async fn a_client_that_reads_slowly_holds_the_container_back() {
    const READ: usize = 4 * UNDER_WAY;
    let server = Server::start().await;
    let world = behind(&server).await;
    let rpc = Rpc::new(&world).await;
    let mut call = rpc.call("Flood", &[]).await;
    let (_, mut messages) = call.answer().await;
    let sent = || server.seen.sent.load(SeqCst);
    let stuck = until_still(sent).await;
    assert!(stuck > 0 && stuck < UNDER_WAY, "{stuck} bytes, and nobody reads");
    let mut read = 0;
    while read < READ {
        read += messages.next().await.expect("whole").expect("there is more").len();
        assert!(sent() < read + UNDER_WAY, "{} sent, {read} read", sent());
    }
    call.sink.send_reset(Reason::CANCEL);
    drop((rpc, call, messages));
    world.end().await;
}

#[tokio::test]
async fn a_container_that_reads_slowly_holds_the_client_back() {
    const READ: usize = 4 * UNDER_WAY;
    let server = Server::start().await;
    let world = behind(&server).await;
    let rpc = Rpc::new(&world).await;
    let mut call = rpc.call("Sink", &[]).await;
    let (_, mut messages) = call.answer().await;
    let pushed = std::sync::atomic::AtomicUsize::new(0);
    let message = framed(&vec![0; MIB]);
    let push_all = async {
        while pushed.load(SeqCst) < READ {
            push(&mut call.sink, message.clone()).await.expect("it is taken");
            pushed.fetch_add(MIB, SeqCst);
        }
        call.sink.send_data(Bytes::new(), true).expect("it is open");
    };
    let read = || server.seen.read.load(SeqCst);
    let watch = async {
        let stuck = until_still(|| pushed.load(SeqCst)).await;
        assert!(stuck < UNDER_WAY, "{stuck} bytes, and nobody reads");
        while read() < READ {
            let before = read();
            server.seen.told.add_permits(1);
            until("a message is read", || read() > before).await;
            assert!(pushed.load(SeqCst) < read() + UNDER_WAY, "{} pushed, {} read", pushed.load(SeqCst), read());
        }
        // For the end of the stream.
        server.seen.told.add_permits(1);
    };
    futures::join!(push_all, watch);
    assert_eq!(messages.trailers().await.expect("whole")["grpc-status"], "0");
    drop((rpc, call, messages));
    world.end().await;
}
