//! What passes through: bodies, trailers, upgrades, both protocols.

use http::HeaderMap;
use http_body_util::{Full, StreamBody};
use hyper::{
    body::Frame,
    client::conn::{http1, http2},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use updraft_model::instance::Exit;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

pub(super) type Stream = StreamBody<futures::channel::mpsc::Receiver<Result<Frame<Bytes>, std::io::Error>>>;

impl World {
    pub(super) async fn h2c<B>(&self) -> http2::SendRequest<B>
    where
        B: http_body::Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<crate::BoxError>,
    {
        let stream = TcpStream::connect(self.address).await.expect("it listens");
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let builder = builder.max_header_list_size(128 << 10);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.expect("it speaks h2c");
        self.tasks.spawn("client", OnFailure::Log, connection.map(drop));
        sender
    }

    pub(super) async fn http1<B>(&self) -> http1::SendRequest<B>
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<crate::BoxError>,
    {
        let stream = TcpStream::connect(self.address).await.expect("it listens");
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("it speaks HTTP");
        self.tasks.spawn("client", OnFailure::Log, connection.map(drop));
        sender
    }

    /// A client whose connection the instance has taken over.
    async fn upgraded(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        let head = format!("GET /upgrade HTTP/1.1\r\nhost: {APP}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.expect("the head comes"));
        }
        let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 101") && answer.contains("upgrade: websocket"), "{answer}");
        stream
    }

    fn is_listening(&self) -> bool {
        std::net::TcpStream::connect(self.address).is_ok()
    }

    /// Writes `request` as it stands and reads until the server closes.
    pub(super) async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = Vec::new();
        let read = Clock::system().timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
        read.expect("the answer ends").expect("the connection is closed in order");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

pub(super) fn grpc(path: &str) -> http::request::Builder {
    Request::post(format!("http://{APP}{path}")).header("content-type", "application/grpc").header("te", "trailers")
}

pub(super) async fn read(mut body: Incoming) -> (Bytes, Option<HeaderMap>) {
    let (mut bytes, mut trailers) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        match frame.expect("the body is whole").into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    (bytes.into(), trailers)
}

#[tokio::test]
async fn the_container_sees_the_host_the_client_and_a_trace_and_no_headers_of_the_connection() {
    let world = World::with(App::default()).await;
    let request = Request::get(format!("http://{}/head?a=b", world.address))
        .header("host", APP)
        .header("x-forwarded-for", "10.0.0.9")
        .header("connection", "x-secret")
        .header("x-secret", "1")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-00000000000000ff-01");
    let (_, head) = world.client().send(request).await;
    let mut lines: Vec<&str> = head.lines().collect();
    lines[1..].sort_unstable();
    expect_test::expect![[r#"
        GET /head?a=b HTTP/1.1
        forwarded: for="127.0.0.1";proto=http
        host: app-1.us-central1.run.localhost
        traceparent: 00-0af7651916cd43dd8448eb211c80319c-00000000000000ff-01
        x-cloud-trace-context: 0af7651916cd43dd8448eb211c80319c/255;o=1
        x-forwarded-for: 10.0.0.9, 127.0.0.1
        x-forwarded-proto: http"#]]
    .assert_eq(&lines.join("\n"));
    world.end().await;
}

#[tokio::test]
async fn absolute_targets_and_old_clients_are_understood() {
    let world = World::with(App::default()).await;
    let answer = world.raw(&format!("GET http://{APP}/ HTTP/1.1\r\nhost: other\r\nconnection: close\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("app-1"), "{answer}");
    let answer = world.raw(&format!("GET / HTTP/1.0\r\nhost: {APP}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("app-1"), "{answer}");
    let answer = world.raw(&format!("HEAD / HTTP/1.1\r\nhost: {APP}\r\nconnection: close\r\n\r\n")).await;
    assert!(answer.contains("content-length: 5") && answer.ends_with("\r\n\r\n"), "{answer}");
    world.end().await;
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_is_told_to_go_on() {
    let world = World::with(App::default()).await;
    let mut stream = TcpStream::connect(world.address).await.expect("it listens");
    let head = format!(
        "POST /echo HTTP/1.1\r\nhost: {APP}\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.expect("it goes on");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hi").await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it is text");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hi"), "{answer}");
    world.end().await;
}

#[tokio::test]
async fn bodies_stream_both_ways_at_the_same_time() {
    for protocol in [Protocol::Http1, Protocol::H2c] {
        let world = World::with(App { protocol, ..App::default() }).await;
        let (mut sender, receiver) = futures::channel::mpsc::channel(1);
        let body: Stream = StreamBody::new(receiver);
        let request = Request::post(format!("http://{APP}/echo")).body(body).expect("well formed");
        let mut client = world.h2c().await;
        let mut echo = client.send_request(request).await.expect("the head comes before the body ends").into_body();
        for part in ["one", "two", "three"] {
            sender.try_send(Ok(Frame::data(Bytes::from(part)))).expect("it is read");
            let frame = echo.frame().await.expect("it goes on").expect("it is whole");
            assert_eq!(frame.into_data().expect("it is data"), part);
        }
        drop(sender);
        assert_eq!(read(echo).await, (Bytes::new(), None));
        drop(client);
        world.end().await;
    }
}

#[tokio::test]
async fn who_does_not_read_holds_the_sender_back() {
    /// More than the sockets on the way hold by themselves.
    const TOO_MUCH: usize = 128 << 20;
    let world = World::with(App::default()).await;
    let (mut sender, receiver) = futures::channel::mpsc::channel(1);
    let body: Stream = StreamBody::new(receiver);
    let request = Request::post("/hold").header("host", APP).body(body).expect("well formed");
    let mut client = world.http1().await;
    let mut answer = Box::pin(client.send_request(request));
    let chunk = Bytes::from(vec![b'.'; 256 << 10]);
    let (mut pushed, mut refused) = (0, 0);
    // The sender stands still when it was refused for so long; a memory without end never refuses it.
    while refused < 200 {
        match sender.try_send(Ok(Frame::data(chunk.clone()))) {
            Ok(()) => (pushed, refused) = (pushed + chunk.len(), 0),
            Err(error) => {
                assert!(error.is_full(), "{error}");
                refused += 1;
                tokio::select! {
                    answer = &mut answer => panic!("it is held: {answer:?}"),
                    () = Clock::system().sleep(Duration::from_millis(1)) => {}
                }
            }
        }
        assert!(pushed < TOO_MUCH, "nobody holds the sender back");
    }
    assert_eq!(world.engine.records()[0].in_flight(), 1);
    world.engine.open_gate();
    drop((sender, answer, client));
    world.end().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_passed_off_as_whole() {
    let world = World::with(App::default()).await;
    let mut client = world.http1().await;
    let request = Request::get("/cut").header("host", APP).body(Empty::<Bytes>::new()).expect("well formed");
    let response = client.send_request(request).await.expect("it begins");
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.into_body().collect().await.is_err());
    world.end().await;
}

#[tokio::test]
async fn a_stream_is_cut_at_the_time_limit() {
    let world = World::with(App { timeout: Duration::from_secs(5), ..App::default() }).await;
    let mut client = world.http1().await;
    let request = Request::get("/endless").header("host", APP).body(Empty::<Bytes>::new()).expect("well formed");
    let mut body = client.send_request(request).await.expect("it begins").into_body();
    body.frame().await.expect("it goes on").expect("it is whole");
    world.hand.advance(Duration::from_secs(5));
    assert!(body.collect().await.is_err());
    world.end().await;
}

#[tokio::test]
async fn grpc_passes_with_its_trailers_and_with_trailers_only() {
    let world = World::with(App { protocol: Protocol::H2c, ..App::default() }).await;
    let mut client = world.h2c().await;
    let large = "m".repeat(40 << 10);
    let request = grpc("/trailers").header("x-large", &large).body(Full::new(Bytes::from("ask"))).expect("well formed");
    let response = client.send_request(request).await.expect("it is answered");
    let (message, trailers) = read(response.into_body()).await;
    assert_eq!(&message[..], b"\0\0\0\0\x02hi");
    assert_eq!(trailers.expect("gRPC has trailers")["grpc-status"], "0");

    let request = grpc("/trailers-only").body(Full::new(Bytes::from("ask"))).expect("well formed");
    let response = client.send_request(request).await.expect("it is answered");
    assert_eq!(response.headers()["grpc-status"], "5");
    assert!(http_body::Body::is_end_stream(response.body()), "the head ends the stream");
    assert_eq!(read(response.into_body()).await, (Bytes::new(), None));

    let request = grpc("/head").body(Full::new(Bytes::new())).expect("well formed");
    let response = client.send_request(request).await.expect("it is answered");
    let head = String::from_utf8_lossy(&read(response.into_body()).await.0).into_owned();
    assert!(head.starts_with(&format!("POST http://{APP}/head HTTP/2.0")) && head.contains("te: trailers"), "{head}");
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn trailers_of_a_request_arrive_too() {
    let world = World::with(App { protocol: Protocol::H2c, ..App::default() }).await;
    let mut client = world.h2c().await;
    let mut sent = HeaderMap::new();
    sent.insert("x-checksum", "7".parse().expect("well formed"));
    let frames = [Ok::<_, std::io::Error>(Frame::data(Bytes::from("data"))), Ok(Frame::trailers(sent))];
    let body = StreamBody::new(futures::stream::iter(frames));
    let request = Request::post(format!("http://{APP}/echo")).body(body).expect("well formed");
    let response = client.send_request(request).await.expect("it is answered");
    let (data, trailers) = read(response.into_body()).await;
    assert_eq!(
        (&data[..], &trailers.expect("they came back")["x-checksum"]),
        (&b"data"[..], &"7".parse().expect("ok"))
    );
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn an_http2_client_reaches_an_http1_container() {
    let world = World::with(App::default()).await;
    let mut client = world.h2c().await;
    let request = Request::get(format!("http://{APP}/head")).body(Empty::<Bytes>::new()).expect("well formed");
    let response = client.send_request(request).await.expect("it is answered");
    let head = String::from_utf8_lossy(&read(response.into_body()).await.0).into_owned();
    assert!(head.starts_with("GET /head HTTP/1.1\n") && head.contains(&format!("host: {APP}")), "{head}");
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn an_upgrade_passes_bytes_both_ways_and_keeps_the_place() {
    let app = App { concurrency: 1, max: 1, ..App::default() };
    let world = World::with(app).await;
    let mut stream = world.upgraded().await;
    let mut echo = [0; 4];
    for word in [b"ping", b"pong"] {
        stream.write_all(word).await.expect("it reads");
        stream.read_exact(&mut echo).await.expect("it comes back");
        assert_eq!(&echo, word);
    }
    let mut waits = Box::pin(world.get("/"));
    tokio::select! {
        _ = &mut waits => panic!("the only place is taken"),
        () = until("it waits", || world.metric("updraft_pending_requests") == 1) => {}
    }
    drop(stream);
    assert_eq!(waits.await.0, StatusCode::OK);
    world.end().await;
}

#[tokio::test]
async fn an_upgraded_connection_is_cut_at_the_time_limit_of_its_request() {
    let world = World::with(App { timeout: 5 * SECOND, ..App::default() }).await;
    let mut stream = world.upgraded().await;
    stream.write_all(b"x").await.expect("it reads");
    assert_eq!(stream.read_u8().await.expect("it comes back"), b'x');
    world.hand.advance(5 * SECOND);
    let read = Clock::system().timeout(DEADLINE, stream.read(&mut [0])).await;
    assert_eq!(read.expect("it is closed").unwrap_or(0), 0);
    world.until_idle().await;
    world.end().await;
}

#[tokio::test]
async fn a_silent_upgraded_client_does_not_outlive_its_instance() {
    let world = World::with(App::default()).await;
    let mut stream = world.upgraded().await;
    world.engine.kill(&world.engine.records()[0].id, Exit::Code(1));
    assert_eq!(stream.read(&mut [0]).await.expect("it is closed in order"), 0);
    until("the rest of the way is waited for", || world.hand.next_timer().is_some_and(|left| left <= SECOND)).await;
    world.hand.advance(SECOND);
    world.until_idle().await;
    until("the place is free", || world.metric("updraft_instances{state=\"ready\"}") == 0).await;
    world.server.shutdown().ask();
    world.server.drain().await;
    drop(stream);
    world.end().await;
}

#[tokio::test]
async fn a_silent_upgraded_client_is_cut_when_the_drain_is_over() {
    let world = World::with(App::default()).await;
    let mut stream = world.upgraded().await;
    world.server.shutdown().ask();
    until("the door is closed", || !world.is_listening()).await;
    world.hand.advance(ProxyConfig::default().drain);
    let ended = Clock::system().timeout(DEADLINE, world.server.drain()).await;
    ended.expect("nobody keeps the server from its end");
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    world.end().await;
}

#[tokio::test]
async fn who_says_nothing_or_half_a_preface_is_hung_up_on() {
    for words in ["", "PRI * HT"] {
        let world = World::with(App::default()).await;
        let mut stream = TcpStream::connect(world.address).await.expect("it listens");
        stream.write_all(words.as_bytes()).await.expect("it reads");
        until("it is waited for", || world.hand.next_timer().is_some()).await;
        world.hand.advance(ProxyConfig::default().header_timeout);
        let read = Clock::system().timeout(DEADLINE, stream.read(&mut [0])).await;
        assert_eq!(read.expect("it is closed").unwrap_or(0), 0);
        world.end().await;
    }
}

#[tokio::test]
async fn above_the_limit_the_next_connection_waits_until_one_is_closed() {
    let world = World::configured(ProxyConfig { connections: 1, ..ProxyConfig::default() }).await;
    let app = App::default();
    world.serve(&app, &[(app.revision(1), 100)]);
    let first = world.client();
    assert_eq!(first.get("/").await.0, StatusCode::OK);
    let mut waits = Box::pin(world.get("/"));
    tokio::select! {
        _ = &mut waits => panic!("the only seat is taken"),
        () = async { for _ in 0..5 { assert_eq!(first.get("/").await.0, StatusCode::OK); } } => {}
    }
    drop(first);
    assert_eq!(waits.await.0, StatusCode::OK);
    world.end().await;
}

#[tokio::test]
async fn connections_to_an_instance_are_used_again() {
    let world = World::with(App::default()).await;
    for _ in 0..20 {
        assert_eq!(world.get("/").await.0, StatusCode::OK);
    }
    assert_eq!(world.engine.records()[0].connections(), 1, "the probe's, for all requests");
    world.end().await;
}
