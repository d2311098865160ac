//! Clients of WebSockets: over HTTP/1.1 on a connection of their own, over HTTP/2 in streams of one.

use std::collections::HashMap;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::{client::conn::http2, ext::Protocol};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use updraft_base::OnFailure;

use super::{
    super::{APP, World, until},
    frames::{Side, Socket},
    server::head,
};
use crate::websocket::accept;

/// How a client reaches the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Http1,
    Http2,
}

pub(super) const BOTH: [Over; 2] = [Over::Http1, Over::Http2];

pub(super) trait Bytestream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Bytestream for S {}

pub(super) type Open = Socket<Box<dyn Bytestream>>;

/// A client with one connection of HTTP/2, which it uses if it is to.
pub(super) struct Client<'a> {
    world: &'a World,
    over: Over,
    sender: http2::SendRequest<Empty<Bytes>>,
}

/// What the handshake came to.
pub(super) enum Answer {
    Open(Open, HeaderMap),
    Refused(StatusCode, String),
}

// === impl Client ===

impl<'a> Client<'a> {
    pub(super) async fn new(world: &'a World, over: Over) -> Self {
        Self { world, over, sender: tunnelling(world).await }
    }

    /// A WebSocket at `path`, which is expected to be agreed to.
    pub(super) async fn open(&self, path: &str) -> Open {
        self.offer(path, "").await.0
    }

    /// The same, offering subprotocols; with the headers of the answer.
    pub(super) async fn offer(&self, path: &str, subprotocols: &str) -> (Open, HeaderMap) {
        match self.ask(path, subprotocols).await {
            Answer::Open(socket, headers) => (socket, headers),
            Answer::Refused(status, text) => panic!("{:?} {path}: {status} {text}", self.over),
        }
    }

    pub(super) async fn refused(&self, path: &str) -> (StatusCode, String) {
        match self.ask(path, "").await {
            Answer::Open(..) => panic!("{:?} {path}: it is open", self.over),
            Answer::Refused(status, text) => (status, text),
        }
    }

    async fn ask(&self, path: &str, subprotocols: &str) -> Answer {
        match self.over {
            Over::Http1 => self.upgrade(path, subprotocols).await,
            Over::Http2 => {
                let mut request = Request::connect(format!("http://{APP}{path}")).header("sec-websocket-version", "13");
                if !subprotocols.is_empty() {
                    request = request.header("sec-websocket-protocol", subprotocols);
                }
                self.tunnel(request.extension(Protocol::from_static("websocket"))).await
            }
        }
    }

    async fn upgrade(&self, path: &str, subprotocols: &str) -> Answer {
        const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
        let mut stream = TcpStream::connect(self.world.address).await.expect("it listens");
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nhost: {APP}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-key: {KEY}\r\nsec-websocket-version: 13\r\n"
        );
        if !subprotocols.is_empty() {
            request += &format!("sec-websocket-protocol: {subprotocols}\r\n");
        }
        stream.write_all(format!("{request}\r\n").as_bytes()).await.expect("it reads");
        let (status, headers) = head(&mut stream).await.expect("it answers");
        let status: StatusCode = status.parse().expect("a status");
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let mut text = vec![0; headers["content-length"].parse().expect("a length")];
            stream.read_exact(&mut text).await.expect("the answer is whole");
            return Answer::Refused(status, String::from_utf8_lossy(&text).into_owned());
        }
        if headers["sec-websocket-accept"] != accept(KEY.as_bytes()) {
            return Answer::Refused(status, "the client refuses".to_owned());
        }
        Answer::Open(Socket { stream: Box::new(stream), side: Side::Client }, named(headers))
    }

    pub(super) async fn tunnel(&self, request: http::request::Builder) -> Answer {
        let request = request.body(Empty::new()).expect("well formed");
        let mut response = self.sender.clone().send_request(request).await.expect("it answers");
        let (status, headers) = (response.status(), response.headers().clone());
        if status != StatusCode::OK {
            let text = response.into_body().collect().await.expect("the answer is whole").to_bytes();
            return Answer::Refused(status, String::from_utf8_lossy(&text).into_owned());
        }
        let stream = hyper::upgrade::on(&mut response).await.expect("a tunnel");
        Answer::Open(Socket { stream: Box::new(TokioIo::new(stream)), side: Side::Client }, headers)
    }

    /// Any other `CONNECT`.
    pub(super) async fn connect(&self, uri: &str, protocol: Option<&'static str>) -> StatusCode {
        let mut request = Request::builder().method(Method::CONNECT).uri(uri);
        if let Some(protocol) = protocol {
            request = request.extension(Protocol::from_static(protocol));
        }
        match self.tunnel(request).await {
            Answer::Open(..) => StatusCode::OK,
            Answer::Refused(status, _) => status,
        }
    }
}

/// A connection of HTTP/2 on which the server has said that it gives tunnels: before that no client may ask for one.
async fn tunnelling(world: &World) -> http2::SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(world.address).await.expect("it listens");
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = handshake.expect("it speaks h2c");
    until("tunnels are offered", || connection.is_extended_connect_protocol_enabled()).await;
    world.tasks.spawn("client", OnFailure::Log, async move { drop(connection.await) });
    sender
}

fn named(headers: HashMap<String, String>) -> HeaderMap {
    let named =
        headers.into_iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
    named.collect()
}
