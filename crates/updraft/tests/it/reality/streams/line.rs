//! One stream as its client has it: a WebSocket on a connection of its own, one that shares a connection of HTTP/2 with
//! others, or a call of gRPC.

use std::{future::poll_fn, io, pin::Pin, task::Poll};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::{RecvStream, SendStream, client::SendRequest, ext::Protocol};
use http::Request;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use updraft_base::{OnFailure, Tasks};

/// How many calls, or WebSockets, a connection of HTTP/2 may have.
pub(super) const CALLS: usize = 100;

/// Frames of WebSockets: the last part of a message, and its kind.
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
/// Any will do; the server has to undo it.
const MASK: [u8; 4] = [0x5a, 1, 0xc3, 0x77];

/// An open stream.
#[derive(Debug)]
pub(super) enum Line {
    WebSocket(TcpStream),
    Tunnel(Both),
    Call(Both),
}

/// A stream of HTTP/2.
#[derive(Debug)]
pub(super) struct Both {
    sink: SendStream<Bytes>,
    body: RecvStream,
    /// What came and is not read yet.
    buffer: BytesMut,
}

// === impl Line ===

impl Line {
    /// A WebSocket to `host`.
    pub(super) async fn websocket(address: &str, host: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET / HTTP/1.1\r\nhost: {host}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        // The answer to that key in RFC 6455, 1.3.
        if head.starts_with("http/1.1 101 ") && head.contains("s3pplmbitxaq9kygzzhzrbk+xoo=") {
            return Ok(Self::WebSocket(stream));
        }
        Err(io::Error::other(head))
    }

    /// A WebSocket to `host` on a connection that is there (RFC 8441).
    pub(super) async fn tunnel(sender: SendRequest<Bytes>, host: &str) -> io::Result<Self> {
        let request = Request::connect(format!("http://{host}/"))
            .extension(Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13");
        Both::open(sender, request).await.map(Self::Tunnel)
    }

    /// A call to `host` on a connection that is there.
    pub(super) async fn call(sender: SendRequest<Bytes>, host: &str) -> io::Result<Self> {
        let request = Request::post(format!("http://{host}/streams.Echo/Chat"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        Both::open(sender, request).await.map(Self::Call)
    }

    /// Sends a message and returns what comes back.
    pub(super) async fn say(&mut self, message: &str) -> io::Result<String> {
        let answer = match self {
            Self::WebSocket(stream) => {
                stream.write_all(&masked(TEXT, message.as_bytes())).await?;
                text(frame(stream).await?)?
            }
            Self::Tunnel(both) => {
                both.send(masked(TEXT, message.as_bytes()).into())?;
                text(both.next(framed).await?.ok_or(io::ErrorKind::UnexpectedEof)?)?
            }
            Self::Call(both) => {
                let mut framed = BytesMut::new();
                framed.put_u8(0);
                framed.put_u32(u32::try_from(message.len()).map_err(io::Error::other)?);
                framed.put_slice(message.as_bytes());
                both.send(framed.freeze())?;
                both.next(called).await?.ok_or(io::ErrorKind::UnexpectedEof)?
            }
        };
        String::from_utf8(answer).map_err(io::Error::other)
    }

    /// Ends it as it should be, and looks that the other side does, too.
    pub(super) async fn close(self) -> io::Result<()> {
        let going = 1001u16.to_be_bytes();
        let end = (CLOSE, going.to_vec());
        match self {
            Self::WebSocket(mut stream) => {
                stream.write_all(&masked(CLOSE, &going)).await?;
                let answer = frame(&mut stream).await?;
                match stream.read(&mut [0]).await? {
                    0 if answer == end => Ok(()),
                    rest => Err(io::Error::other(format!("closed by {answer:?}, and then {rest} bytes"))),
                }
            }
            Self::Tunnel(mut both) => {
                both.send(masked(CLOSE, &going).into())?;
                let answer = both.next(framed).await?;
                match both.next(framed).await? {
                    None if answer == Some(end) => Ok(()),
                    more => Err(io::Error::other(format!("closed by {answer:?}, and then {more:?}"))),
                }
            }
            Self::Call(mut both) => {
                both.sink.send_data(Bytes::new(), true).map_err(io::Error::other)?;
                let more = both.next(called).await?;
                let trailers = both.body.trailers().await.map_err(io::Error::other)?.unwrap_or_default();
                if more.is_none() && trailers.get("grpc-status").is_some_and(|status| status == "0") {
                    return Ok(());
                }
                Err(io::Error::other(format!("ended with {more:?} and {trailers:?}")))
            }
        }
    }
}

// === impl Both ===

impl Both {
    async fn open(sender: SendRequest<Bytes>, request: http::request::Builder) -> io::Result<Self> {
        let request = request.body(()).map_err(io::Error::other)?;
        let mut sender = sender.ready().await.map_err(io::Error::other)?;
        let (answer, sink) = sender.send_request(request, false).map_err(io::Error::other)?;
        let answer = answer.await.map_err(io::Error::other)?;
        if answer.status() == 200 && !answer.headers().contains_key("grpc-status") {
            return Ok(Self { sink, body: answer.into_body(), buffer: BytesMut::new() });
        }
        Err(io::Error::other(format!("{answer:?}")))
    }

    /// Sends what is small: the answer to it is awaited, so that what is on its way never fills a window.
    fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        self.sink.send_data(bytes, false).map_err(io::Error::other)
    }

    /// The next piece that `take` finds at the beginning of what came; nothing at the end.
    async fn next<T>(&mut self, take: fn(&mut BytesMut) -> io::Result<Option<T>>) -> io::Result<Option<T>> {
        loop {
            if let Some(piece) = take(&mut self.buffer)? {
                return Ok(Some(piece));
            }
            let Some(data) = self.body.data().await else { return Ok(None) };
            let data = data.map_err(io::Error::other)?;
            self.body.flow_control().release_capacity(data.len()).map_err(io::Error::other)?;
            self.buffer.extend_from_slice(&data);
        }
    }
}

/// A connection of HTTP/2 for [`CALLS`] calls or WebSockets.
pub(super) async fn connection(address: &str, tasks: &Tasks) -> io::Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, mut connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
    // A client may not ask for a WebSocket before the server has said that it may.
    poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(ended) => Poll::Ready(Err(io::Error::other(format!("it ended: {ended:?}")))),
        Poll::Pending if sender.is_extended_connect_protocol_enabled() => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    // Its calls tell how it ends.
    tasks.spawn("connection", OnFailure::Log, async move { drop(connection.await) });
    Ok(sender)
}

/// A small frame of a client.
fn masked(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0x80 | u8::try_from(payload.len()).expect("small")];
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// What a message says.
fn text((kind, payload): (u8, Vec<u8>)) -> io::Result<Vec<u8>> {
    match kind {
        TEXT => Ok(payload),
        kind => Err(io::Error::other(format!("a frame {kind:#x} {payload:?}"))),
    }
}

/// A small frame of a server.
async fn frame(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await?;
    let mut payload = vec![0; length(head[1])?];
    stream.read_exact(&mut payload).await?;
    Ok((head[0], payload))
}

/// The same from what came, if it is whole.
fn framed(buffer: &mut BytesMut) -> io::Result<Option<(u8, Vec<u8>)>> {
    let &[kind, said, ..] = &buffer[..] else { return Ok(None) };
    let length = length(said)?;
    if buffer.len() < 2 + length {
        return Ok(None);
    }
    buffer.advance(2);
    Ok(Some((kind, buffer.split_to(length).to_vec())))
}

fn length(said: u8) -> io::Result<usize> {
    match said {
        0..126 => Ok(usize::from(said)),
        _ => Err(io::Error::other("a frame that is masked or too long")),
    }
}

/// A message of gRPC from what came, if it is whole.
fn called(buffer: &mut BytesMut) -> io::Result<Option<Vec<u8>>> {
    let Some(head) = buffer.get(..5) else { return Ok(None) };
    let length = (&head[1..]).get_u32() as usize;
    if buffer.len() < 5 + length {
        return Ok(None);
    }
    buffer.advance(5);
    Ok(Some(buffer.split_to(length).to_vec()))
}
