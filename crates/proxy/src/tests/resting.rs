//! Connections to an instance between and beside its requests: who drives them, and when they end.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;
use crate::respond::Rejection;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// More than all buffers on a way hold.
const MUCH: usize = 16 << 20;

/// A server in the container's place, and a world before it.
async fn before() -> (TcpListener, World) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    let world = World::with(App { behind: Some(address), ..App::default() }).await;
    (listener, world)
}

/// The next connection, and the head of its first request.
async fn accepted(listener: &TcpListener) -> TcpStream {
    // The startup probe connects as well, and what it leaves unused is closed.
    loop {
        let (mut stream, _) = listener.accept().await.expect("it listens");
        if head(&mut stream).await {
            return stream;
        }
    }
}

/// Reads the head of a request; `false` at the end of the connection.
async fn head(stream: &mut TcpStream) -> bool {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return false };
        read.push(byte);
    }
    true
}

async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    Clock::system().timeout(DEADLINE, work).await.unwrap_or_else(|_| panic!("never happened: {what}"))
}

#[tokio::test]
async fn a_connection_that_the_instance_closes_while_it_rests_is_closed_here_too() {
    let (listener, world) = before().await;
    let serve = async {
        let mut stream = accepted(&listener).await;
        stream.write_all(ANSWER).await.expect("it is read");
        stream
    };
    let ((status, _), mut stream) = futures::join!(world.get("/"), serve);
    assert_eq!(status, 200);
    until("nobody has it", || world.engine.records().iter().all(|record| record.in_flight() == 0)).await;
    stream.shutdown().await.expect("it is open");
    let closed = async { stream.read(&mut [0]).await };
    let time = async {
        loop {
            world.hand.advance(Duration::from_millis(100));
            Clock::system().sleep(Duration::from_millis(1)).await;
        }
    };
    let closed = in_time("it is closed here", async {
        tokio::select! {
            closed = closed => closed,
            () = time => unreachable!("time goes on"),
        }
    });
    assert_eq!(closed.await.expect("in order"), 0);
    world.end().await;
}

#[tokio::test]
async fn the_next_request_is_not_sent_over_a_connection_that_was_closed_meanwhile() {
    let (listener, world) = before().await;
    let client = world.client();
    let serve = async {
        let mut stream = accepted(&listener).await;
        stream.write_all(ANSWER).await.expect("it is read");
        drop(stream);
        let mut stream = accepted(&listener).await;
        stream.write_all(ANSWER).await.expect("it is read");
        // The third comes over the same one.
        assert!(head(&mut stream).await);
        stream.write_all(ANSWER).await.expect("it is read");
        stream
    };
    let ask = async {
        for _ in 0..3 {
            assert_eq!(client.get("/").await, (StatusCode::OK, "ok".to_owned()));
        }
    };
    in_time("all are answered", async { futures::join!(ask, serve) }).await;
    world.end().await;
}

#[tokio::test]
async fn who_sends_everything_before_reading_anything_is_served_by_who_does_both_at_once() {
    let (listener, world) = before().await;
    let serve = async {
        let stream = accepted(&listener).await;
        let (mut read, mut write) = stream.into_split();
        let answer = async {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {MUCH}\r\n\r\n");
            write.write_all(head.as_bytes()).await.expect("it is read");
            write.write_all(&vec![b'a'; MUCH]).await.expect("it is read");
        };
        let body = async {
            let mut body = vec![0; MUCH];
            read.read_exact(&mut body).await.expect("all of it comes");
        };
        futures::join!(answer, body);
    };
    let ask = async {
        let mut stream = TcpStream::connect(world.address).await.expect("it listens");
        let head = format!("POST / HTTP/1.1\r\nhost: {APP}\r\ncontent-length: {MUCH}\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        stream.write_all(&vec![b'b'; MUCH]).await.expect("it reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("in order");
        assert!(answer.len() > MUCH && answer.starts_with(b"HTTP/1.1 200"), "{}", answer.len());
    };
    in_time("both are done", async { futures::join!(ask, serve) }).await;
    world.end().await;
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_at_the_time_limit() {
    let (listener, mut world) = before().await;
    let app = App { behind: listener.local_addr().ok(), timeout: Duration::from_secs(5), ..App::default() };
    world.serve(&app, &[(app.revision(2), 100)]);
    let written = std::cell::Cell::new(0);
    let serve = async {
        let mut stream = accepted(&listener).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("it is read");
        let chunk = vec![b'e'; 64 << 10];
        while let Ok(count) = stream.write(&chunk).await {
            written.set(written.get() + count);
        }
    };
    let ask = async {
        let mut stream = TcpStream::connect(world.address).await.expect("it listens");
        stream.write_all(format!("GET / HTTP/1.1\r\nhost: {APP}\r\n\r\n").as_bytes()).await.expect("it reads");
        let (mut before, mut still) = (0, 0);
        until("all buffers on the way are full", || {
            still = if written.get() == before { still + 1 } else { 0 };
            before = written.get();
            before > 0 && still == 100
        })
        .await;
        world.hand.advance(Duration::from_secs(5));
        stream
    };
    // The container's connection is closed, though the client has not read a byte.
    let (stream, ()) = in_time("it is cut", async { futures::join!(ask, serve) }).await;
    let record = world.logged().await;
    assert_eq!(record.status, 200, "as it was sent");
    assert!(record.note.is_some_and(|note| note.contains("maximum request timeout")), "{record:?}");
    drop(stream);
    world.end().await;
}

#[tokio::test]
async fn an_upload_that_goes_on_after_its_answer_is_let_go_after_a_while() {
    let (listener, world) = before().await;
    let serve = async {
        let mut stream = accepted(&listener).await;
        stream.write_all(ANSWER).await.expect("it is read");
        let mut rest = Vec::new();
        // It breaks off, in whatever way.
        let _ = stream.read_to_end(&mut rest).await;
        assert_eq!(rest, b"half");
    };
    let ask = async {
        let mut stream = TcpStream::connect(world.address).await.expect("it listens");
        let head = format!("POST / HTTP/1.1\r\nhost: {APP}\r\ncontent-length: 1000\r\n\r\nhalf");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.expect("it does not wait for the rest");
        assert_eq!(&status, b"HTTP/1.1 200");
        stream
    };
    let served = in_time("the upload is let go", async {
        let (stream, ()) = futures::join!(ask, async {
            tokio::select! {
                () = serve => {}
                () = pass(&world) => unreachable!("time goes on"),
            }
        });
        drop(stream);
    });
    served.await;
    world.end().await;
}

/// A second a millisecond, without end.
async fn pass(world: &World) {
    loop {
        world.hand.advance(Duration::from_secs(1));
        Clock::system().sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_new_connection_that_was_closed_before_anything_was_sent_is_not_the_last() {
    let (listener, world) = before().await;
    let app = App { behind: listener.local_addr().ok(), ..App::default() };
    let name = app.revision(1);
    let entry = BookEntry { min: 1, ..app.entry(&name) };
    let entries = [(Arc::new(name), Arc::new(entry))].into_iter().collect();
    world.book.send_replace(Arc::new(RevisionBook { entries, is_whole: true }));
    // The startup probe's: time stands still, so that it is kept for the first request.
    let (probe, _) = in_time("it is probed", listener.accept()).await.expect("it listens");
    until("it is up", || world.metric("updraft_instances{state=\"ready\"}") == 1).await;
    drop(probe);
    let serve = async {
        let mut stream = accepted(&listener).await;
        stream.write_all(ANSWER).await.expect("it is read");
        stream
    };
    let ((status, _), stream) = in_time("it is answered", async { futures::join!(world.get("/"), serve) }).await;
    assert_eq!(status, 200);
    drop(stream);
    world.end().await;
}

#[tokio::test]
async fn an_instance_is_not_ended_for_what_this_machine_lacks() {
    const EMFILE: i32 = 24;
    let mut world = World::with(App { max: 1, ..App::default() }).await;
    let client = world.client();
    let mut first = Box::pin(client.get("/hold"));
    tokio::select! {
        _ = &mut first => panic!("it is held"),
        () = until("it is there", || world.engine.records().iter().any(|record| record.in_flight() == 1)) => {}
    }
    world.engine.fail_connect(Some(EMFILE));
    assert_eq!(world.get("/").await.0, 503);
    assert_eq!(world.logged().await.note, Rejection::Broken.note());
    world.engine.fail_connect(None);
    assert_eq!(world.get("/").await.0, 200);
    world.engine.open_gate();
    assert_eq!(first.await.0, 200, "it was another's");
    assert_eq!(world.engine.records().len(), 1);
    world.end().await;
}
