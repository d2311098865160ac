//! gRPC by hand, over a bare library of HTTP/2: messages, calls, trailers, windows.

use std::future::poll_fn;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream, client::SendRequest};
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use updraft_base::{Clock, OnFailure};

use super::super::{APP, DEADLINE, World};

/// The messages of one direction.
#[derive(Debug)]
pub(super) struct Messages {
    body: RecvStream,
    buffer: BytesMut,
}

/// A client with one connection.
#[derive(Debug, Clone)]
pub(super) struct Rpc {
    sender: SendRequest<Bytes>,
}

/// A call whose answer has not come yet.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) sink: SendStream<Bytes>,
    answer: h2::client::ResponseFuture,
}

/// A message as it goes over the wire.
pub(super) fn framed(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(5 + message.len());
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).expect("small"));
    bytes.put_slice(message);
    bytes.freeze()
}

/// Sends `bytes` as far as the other side has room, and waits for more.
pub(super) async fn push(sink: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        sink.reserve_capacity(bytes.len());
        while sink.capacity() == 0 {
            poll_fn(|cx| sink.poll_capacity(cx)).await.ok_or(Reason::STREAM_CLOSED)??;
        }
        let room = sink.capacity().min(bytes.len());
        sink.send_data(bytes.split_to(room), false)?;
    }
    Ok(())
}

// === impl Messages ===

impl Messages {
    pub(super) fn new(body: RecvStream) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// The next message; nothing at the end of the stream.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, h2::Error> {
        loop {
            if let Some(head) = self.buffer.get(..5) {
                let length = (&head[1..]).get_u32() as usize;
                if self.buffer.len() >= 5 + length {
                    self.buffer.advance(5);
                    return Ok(Some(self.buffer.split_to(length).freeze()));
                }
            }
            let Some(data) = self.body.data().await else { return Ok(None) };
            let data = data?;
            self.body.flow_control().release_capacity(data.len())?;
            self.buffer.extend_from_slice(&data);
        }
    }

    pub(super) async fn trailers(&mut self) -> Result<HeaderMap, h2::Error> {
        assert_eq!(self.next().await?, None, "there are more messages");
        Ok(self.body.trailers().await?.unwrap_or_default())
    }
}

// === impl Rpc ===

impl Rpc {
    pub(super) async fn new(world: &World) -> Self {
        let stream = TcpStream::connect(world.address).await.expect("it listens");
        let (sender, connection) = h2::client::handshake(stream).await.expect("it speaks h2c");
        world.tasks.spawn("client", OnFailure::Log, async move { drop(connection.await) });
        Self { sender }
    }

    /// Begins a call of `method`.
    pub(super) async fn call(&self, method: &str, metadata: &[(&str, &str)]) -> Call {
        let mut request = Request::post(format!("http://{APP}/test.Echo/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in metadata {
            request = request.header(*name, *value);
        }
        let mut sender = self.sender.clone().ready().await.expect("it is open");
        let (answer, sink) = sender.send_request(request.body(()).expect("well formed"), false).expect("it is sent");
        Call { sink, answer }
    }

    /// A call with one message and one answer.
    pub(super) async fn unary(&self, method: &str, message: &[u8]) -> (Bytes, HeaderMap) {
        let mut call = self.call(method, &[]).await;
        call.send(message).await;
        call.finish();
        let (_, mut messages) = call.answer().await;
        let answer = messages.next().await.expect("it is whole").expect("a message");
        (answer, messages.trailers().await.expect("it is whole"))
    }
}

// === impl Call ===

impl Call {
    pub(super) async fn send(&mut self, message: &[u8]) {
        push(&mut self.sink, framed(message)).await.expect("it is taken");
    }

    /// No more messages.
    pub(super) fn finish(&mut self) {
        self.sink.send_data(Bytes::new(), true).expect("it is open");
    }

    /// The head of the answer, and its messages. The sink goes on as long as it is kept.
    pub(super) async fn answer(&mut self) -> (HeaderMap, Messages) {
        let answer = Clock::system().timeout(DEADLINE, &mut self.answer).await.expect("it answers");
        let (head, body) = answer.expect("an answer").into_parts();
        assert_eq!(head.status, 200);
        (head.headers, Messages::new(body))
    }
}
