//! One stream as its client has it: a WebSocket on a connection of its own, or a call of gRPC.

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::{RecvStream, SendStream, client::SendRequest};
use http::Request;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use updraft_base::{OnFailure, Tasks};

/// How many calls a connection may have.
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
    Call { sink: SendStream<Bytes>, body: RecvStream, buffer: BytesMut },
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

    /// A call to `host` on a connection that is there.
    pub(super) async fn call(sender: SendRequest<Bytes>, host: &str) -> io::Result<Self> {
        let request = Request::post(format!("http://{host}/streams.Echo/Chat"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .map_err(io::Error::other)?;
        let mut sender = sender.ready().await.map_err(io::Error::other)?;
        let (answer, sink) = sender.send_request(request, false).map_err(io::Error::other)?;
        let answer = answer.await.map_err(io::Error::other)?;
        if answer.status() == 200 && !answer.headers().contains_key("grpc-status") {
            return Ok(Self::Call { sink, body: answer.into_body(), buffer: BytesMut::new() });
        }
        Err(io::Error::other(format!("{answer:?}")))
    }

    /// Sends a message and returns what comes back.
    pub(super) async fn say(&mut self, message: &str) -> io::Result<String> {
        let answer = match self {
            Self::WebSocket(stream) => {
                stream.write_all(&masked(TEXT, message.as_bytes())).await?;
                let (kind, answer) = frame(stream).await?;
                if kind != TEXT {
                    return Err(io::Error::other(format!("a frame {kind:#x} {answer:?}")));
                }
                answer
            }
            Self::Call { sink, body, buffer } => {
                let mut framed = BytesMut::new();
                framed.put_u8(0);
                framed.put_u32(u32::try_from(message.len()).map_err(io::Error::other)?);
                framed.put_slice(message.as_bytes());
                // Small, and the answer is awaited: what is on its way never fills a window.
                sink.send_data(framed.freeze(), false).map_err(io::Error::other)?;
                message_of(body, buffer).await?.ok_or(io::ErrorKind::UnexpectedEof)?
            }
        };
        String::from_utf8(answer).map_err(io::Error::other)
    }

    /// Ends it as it should be, and looks that the other side does, too.
    pub(super) async fn close(self) -> io::Result<()> {
        match self {
            Self::WebSocket(mut stream) => {
                let going = 1001u16.to_be_bytes();
                stream.write_all(&masked(CLOSE, &going)).await?;
                let answer = frame(&mut stream).await?;
                let rest = stream.read(&mut [0]).await?;
                if answer == (CLOSE, going.to_vec()) && rest == 0 {
                    return Ok(());
                }
                Err(io::Error::other(format!("closed by {answer:?}, and then {rest} bytes")))
            }
            Self::Call { mut sink, mut body, mut buffer } => {
                sink.send_data(Bytes::new(), true).map_err(io::Error::other)?;
                let more = message_of(&mut body, &mut buffer).await?;
                let trailers = body.trailers().await.map_err(io::Error::other)?.unwrap_or_default();
                if more.is_none() && trailers.get("grpc-status").is_some_and(|status| status == "0") {
                    return Ok(());
                }
                Err(io::Error::other(format!("ended with {more:?} and {trailers:?}")))
            }
        }
    }
}

/// A connection for [`CALLS`] calls.
pub(super) async fn connection(address: &str, tasks: &Tasks) -> io::Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
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

/// A small frame of a server.
async fn frame(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await?;
    if head[1] >= 126 {
        return Err(io::Error::other("a frame that is masked or too long"));
    }
    let mut payload = vec![0; usize::from(head[1])];
    stream.read_exact(&mut payload).await?;
    Ok((head[0], payload))
}

/// The next message; nothing at the end.
async fn message_of(body: &mut RecvStream, buffer: &mut BytesMut) -> io::Result<Option<Vec<u8>>> {
    loop {
        if let Some(head) = buffer.get(..5) {
            let length = (&head[1..]).get_u32() as usize;
            if buffer.len() >= 5 + length {
                buffer.advance(5);
                return Ok(Some(buffer.split_to(length).to_vec()));
            }
        }
        let Some(data) = body.data().await else { return Ok(None) };
        let data = data.map_err(io::Error::other)?;
        body.flow_control().release_capacity(data.len()).map_err(io::Error::other)?;
        buffer.extend_from_slice(&data);
    }
}
