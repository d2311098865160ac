//! WebSockets through the door, over HTTP/1.1 and over HTTP/2, against a server of RFC 6455.

mod client;
mod frames;
mod server;

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::io::AsyncWriteExt as _;
use updraft_base::Clock;
use updraft_model::revision::Protocol;

use super::{APP, App, DEADLINE, ProxyConfig, World, until};
use client::{BOTH, Client, Open, Over};
use frames::{BINARY, CONTINUATION, Frame, PING, PONG, TEXT};
use server::{SUBPROTOCOL, Server};

const MIB: usize = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);
const WAITING: &str = "updraft_pending_requests";

impl Open {
    async fn ask(&mut self, frame: Frame) -> Frame {
        self.send(&frame).await.expect("it is open");
        self.next().await.expect("it goes on")
    }

    async fn next(&mut self) -> Option<Frame> {
        let frame = Clock::system().timeout(DEADLINE, self.receive()).await;
        frame.expect("something comes").expect("the frame is whole")
    }
}

/// A world whose only place is taken by whoever has a WebSocket open.
async fn narrow(server: &Server) -> World {
    World::with(App { behind: Some(server.address), concurrency: 1, max: 1, ..App::default() }).await
}

async fn wide(server: &Server) -> World {
    World::with(App { behind: Some(server.address), concurrency: 200, ..App::default() }).await
}

#[tokio::test]
async fn messages_of_every_kind_and_size_come_back_as_they_were() {
    let server = Server::start().await;
    let world = wide(&server).await;
    for over in BOTH {
        let mut socket = Client::new(&world, over).await.open("/echo").await;
        // Around every length at which the frame's head changes its form.
        for length in [0, 1, 125, 126, 127, 0xffff, 0x1_0000, MIB] {
            for (opcode, byte) in [(TEXT, b'a'), (BINARY, 0xff)] {
                let frame = Frame::whole(opcode, vec![byte; length]);
                assert!(socket.ask(frame.clone()).await == frame, "{over:?}: {length} bytes of {byte}");
            }
        }
    }
    world.end().await;
}

#[tokio::test]
async fn fragments_stay_fragments_and_a_ping_between_them_is_answered_in_between() {
    let server = Server::start().await;
    let world = wide(&server).await;
    for over in BOTH {
        let mut socket = Client::new(&world, over).await.open("/echo").await;
        for (sent, expected) in [
            (Frame::part(TEXT, "one "), Frame::part(TEXT, "one ")),
            (Frame::part(CONTINUATION, "two "), Frame::part(CONTINUATION, "two ")),
            (Frame::whole(PING, "there?"), Frame::whole(PONG, "there?")),
            (Frame::whole(CONTINUATION, "three"), Frame::whole(CONTINUATION, "three")),
            (Frame::whole(PING, ""), Frame::whole(PONG, "")),
        ] {
            assert_eq!(socket.ask(sent).await, expected, "{over:?}");
        }
    }
    world.end().await;
}

#[tokio::test]
async fn the_closing_handshake_passes_with_its_codes_whoever_begins_it() {
    let server = Server::start().await;
    let world = wide(&server).await;
    for over in BOTH {
        let client = Client::new(&world, over).await;
        for code in [1000, 1001, 3000, 4999] {
            let mut socket = client.open("/echo").await;
            let close = Frame::close(code, "goodbye");
            assert_eq!(socket.ask(close.clone()).await, close, "{over:?}");
            assert_eq!(socket.next().await, None, "{over:?}: the server ends the connection");
            let mut socket = client.open(&format!("/close/{code}")).await;
            let close = socket.next().await.expect("the server closes");
            assert_eq!(close, Frame::close(code, "enough"), "{over:?}");
            socket.send(&close).await.expect("it is open");
            assert_eq!(socket.next().await, None, "{over:?}: the server ends the connection");
        }
        until("every place is free", || server.open() == 0).await;
    }
    world.end().await;
}

#[tokio::test]
async fn a_client_that_has_ended_its_side_still_gets_what_is_said_to_it() {
    let server = Server::start().await;
    let world = narrow(&server).await;
    for over in BOTH {
        let mut socket = Client::new(&world, over).await.open("/count").await;
        socket.send(&Frame::whole(BINARY, vec![0; MIB])).await.expect("it is open");
        socket.stream.shutdown().await.expect("it is open");
        assert_eq!(socket.next().await, Some(Frame::whole(TEXT, MIB.to_string())), "{over:?}");
        assert_eq!(socket.next().await, None, "{over:?}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_at_once_do_not_hear_each_other() {
    let server = Server::start().await;
    let world = wide(&server).await;
    for over in BOTH {
        let client = Client::new(&world, over).await;
        let client = &client;
        let opened = (0..100).map(|number| async move { (number, client.open("/echo").await) });
        let mut sockets = futures::future::join_all(opened).await;
        assert_eq!(server.open(), 100, "{over:?}");
        for round in 0..3 {
            let asked = sockets.iter_mut().map(|(number, socket)| async move {
                let frame = Frame::whole(TEXT, format!("{number} in {round}").repeat(100));
                assert_eq!(socket.ask(frame.clone()).await, frame, "{over:?}");
            });
            futures::future::join_all(asked).await;
        }
        drop(sockets);
        until("all are over", || server.open() == 0).await;
    }
    world.end().await;
}

#[tokio::test]
async fn the_subprotocol_is_what_the_container_chose() {
    let server = Server::start().await;
    let world = wide(&server).await;
    for over in BOTH {
        let client = Client::new(&world, over).await;
        for (offered, chosen) in [("v1.echo, v2.echo", Some(SUBPROTOCOL)), ("v1.echo", None), ("", None)] {
            let (_socket, headers) = client.offer("/echo", offered).await;
            let answered = headers.get("sec-websocket-protocol").map(|value| value.to_str().expect("text"));
            assert_eq!(answered, chosen, "{over:?}: {offered}");
            assert_eq!(headers.contains_key("upgrade"), over == Over::Http1);
            assert_eq!(headers.contains_key("sec-websocket-accept"), over == Over::Http1);
        }
    }
    world.end().await;
}

#[tokio::test]
async fn a_refused_handshake_is_told_and_a_wrong_one_never_opens_a_tunnel() {
    let server = Server::start().await;
    let world = narrow(&server).await;
    for over in BOTH {
        let client = Client::new(&world, over).await;
        assert_eq!(client.refused("/refuse").await, (StatusCode::FORBIDDEN, "not you".to_owned()), "{over:?}");
        // What a client of HTTP/1.1 looks at for itself, we have to look at for one of HTTP/2.
        let (page, wrong) = (client.refused("/page").await, client.refused("/wrong").await);
        match over {
            Over::Http1 => {
                assert_eq!(page, (StatusCode::OK, "a page".to_owned()));
                assert_eq!(wrong.0, StatusCode::SWITCHING_PROTOCOLS);
            }
            Over::Http2 => {
                assert_eq!((page.0, wrong.0), (StatusCode::SERVICE_UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE));
            }
        }
        until("the wrong one is over", || server.open() == 0).await;
    }
    world.end().await;
}

#[tokio::test]
async fn a_tunnel_keeps_the_place_until_it_ends_and_is_logged_as_an_upgrade() {
    let server = Server::start().await;
    let mut world = narrow(&server).await;
    let mut log = std::mem::replace(&mut world.requests, tokio::sync::mpsc::channel(1).1);
    let client = Client::new(&world, Over::Http2).await;
    let mut socket = client.open("/echo?q").await;
    let mut waits = Box::pin(client.open("/echo"));
    tokio::select! {
        _ = &mut waits => panic!("the only place is taken"),
        () = until("it waits", || world.metric(WAITING) == 1) => {}
    }
    let close = Frame::close(1000, "");
    assert_eq!(socket.ask(close.clone()).await, close);
    drop(socket);
    drop(waits.await);
    let record = log.recv().await.expect("an entry");
    assert_eq!((&*record.method, record.status, record.protocol), ("GET", 101, "HTTP/2"));
    assert_eq!(record.url, format!("http://{APP}/echo?q"));
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn a_tunnel_that_its_client_resets_frees_the_place_even_of_a_container_that_does_not_care() {
    let server = Server::start().await;
    let world = narrow(&server).await;
    let client = Client::new(&world, Over::Http2).await;
    for reason in [h2::Reason::CANCEL, h2::Reason::NO_ERROR, h2::Reason::INTERNAL_ERROR] {
        for first in [None, Some("the end of what it says")] {
            let ended = server.ended();
            let mut stream = silent_tunnel(&world, &server).await;
            if first.is_some() {
                stream.send_data(Bytes::new(), true).expect("it is open");
                until("the container sees it", || server.ended() > ended).await;
                // The server looks, and the client is still there.
                until("it is looked at", || world.hand.next_timer().is_some_and(|left| left <= SECOND)).await;
                world.hand.advance(SECOND);
            }
            stream.send_reset(reason);
            until("the container sees the end", || server.ended() > ended).await;
            until_free(&world, &client).await;
        }
    }
    drop(client);
    world.end().await;
}

/// Far less than the time limit passes, which would free the place as well.
async fn until_free(world: &World, client: &Client<'_>) {
    const LOOKS: u32 = 60;
    let looks = async {
        for _ in 0..LOOKS {
            Clock::system().sleep(Duration::from_millis(5)).await;
            world.hand.advance(SECOND);
        }
    };
    tokio::select! {
        next = client.open("/echo") => drop(next),
        () = looks => panic!("the place is not free"),
    }
}

/// A tunnel to a container that says nothing, as a bare stream. Its connection lives as long.
async fn silent_tunnel(world: &World, server: &Server) -> h2::SendStream<Bytes> {
    let stream = tokio::net::TcpStream::connect(world.address).await.expect("it listens");
    let (sender, mut connection) = h2::client::Builder::new().handshake(stream).await.expect("it speaks h2c");
    std::future::poll_fn(|cx| {
        assert!(std::pin::Pin::new(&mut connection).poll(cx).is_pending(), "the connection ends");
        match sender.is_extended_connect_protocol_enabled() {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    world.tasks.spawn("client", updraft_base::OnFailure::Log, async move { drop(connection.await) });
    let mut sender = sender.ready().await.expect("it is open");
    let request = http::Request::connect(format!("http://{APP}/silent"));
    let request = request.extension(h2::ext::Protocol::from_static("websocket")).body(()).expect("well formed");
    let (answer, stream) = sender.send_request(request, false).expect("it is sent");
    assert_eq!(answer.await.expect("it is answered").status(), StatusCode::OK);
    until("the tunnel is open", || server.open() >= 1).await;
    stream
}

#[tokio::test]
async fn a_tunnel_is_cut_at_the_time_limit() {
    let server = Server::start().await;
    let timeout = Duration::from_secs(5);
    let app = App { behind: Some(server.address), concurrency: 1, max: 1, timeout, ..App::default() };
    let mut world = World::with(app).await;
    let mut log = std::mem::replace(&mut world.requests, tokio::sync::mpsc::channel(1).1);
    for over in BOTH {
        let mut socket = Client::new(&world, over).await.open("/echo").await;
        assert_eq!(socket.ask(Frame::whole(TEXT, "there")).await, Frame::whole(TEXT, "there"));
        world.hand.advance(timeout);
        let end = Clock::system().timeout(DEADLINE, socket.receive()).await.expect("it is cut");
        assert!(!matches!(end, Ok(Some(_))), "{over:?}: {end:?}");
        let record = log.recv().await.expect("an entry");
        assert!(record.note.expect("a reason").contains("maximum request timeout"), "{over:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn an_open_tunnel_is_waited_for_at_the_end_and_cut_when_the_drain_is_over() {
    let server = Server::start().await;
    let world = narrow(&server).await;
    let client = Client::new(&world, Over::Http2).await;
    let mut socket = client.open("/echo").await;
    world.server.shutdown().ask();
    until("the door is closed", || std::net::TcpStream::connect(world.address).is_err()).await;
    let frame = Frame::whole(TEXT, "still there");
    assert_eq!(socket.ask(frame.clone()).await, frame);
    world.hand.advance(ProxyConfig::default().drain);
    let ended = Clock::system().timeout(DEADLINE, world.server.drain()).await;
    ended.expect("nobody keeps the server from its end");
    assert!(!matches!(socket.receive().await, Ok(Some(_))));
    drop((socket, client));
    world.end().await;
}

#[tokio::test]
async fn every_other_connect_is_refused_and_starts_nothing() {
    let server = Server::start().await;
    let world = narrow(&server).await;
    let client = Client::new(&world, Over::Http2).await;
    let (service, api) = (format!("http://{APP}/"), "http://localhost/".to_owned());
    for (uri, protocol) in [
        (APP, None),
        ("localhost:80", None),
        (&service, Some("connect-udp")),
        (&api, Some("websocket")),
        (&api, Some("connect-ip")),
    ] {
        assert_eq!(client.connect(uri, protocol).await, StatusCode::METHOD_NOT_ALLOWED, "{uri} {protocol:?}");
    }
    // A container of HTTP/2 is not asked: see `Outgoing::leads_nowhere`.
    let app = App { protocol: Protocol::H2c, ..App::default() };
    world.serve(&app, &[(app.revision(2), 100)]);
    assert_eq!(client.connect(&service, Some("websocket")).await, StatusCode::METHOD_NOT_ALLOWED);
    assert!(world.engine.records().is_empty(), "nothing was started");
    let answer = world.raw(&format!("CONNECT {APP}:80 HTTP/1.1\r\nhost: {APP}\r\nconnection: close\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    drop(client);
    world.end().await;
}
