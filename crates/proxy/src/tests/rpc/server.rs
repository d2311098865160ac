//! A server of gRPC over h2c for the tests, behaviour by method.
//!
//! | method | behaviour |
//! |--|--|
//! | `Unary` | the message back |
//! | `Collect` | reads all messages, then says how many there were and how many bytes |
//! | `Expand` | as many messages as the message says |
//! | `Chat` | every message back as it comes, then a status |
//! | `Head` | the headers of the request, and those of its trailers, one per line |
//! | `Fail` | a status without a message and without waiting for one |
//! | `Trailers` | trailers of as many bytes as the message says |
//! | `Silent` | nothing, until the client goes |
//! | `Flood` | messages without end, as fast as they are taken |
//! | `Sink` | reads a MiB each time that it is told to, and no more |
//! | `Break` | one message, and when one comes back it resets the stream |

use std::{
    future::poll_fn,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use updraft_base::{OnFailure, Tasks};

use super::calls::{Messages, framed, push};

pub(super) const MIB: usize = 1 << 20;

/// Serves until the test ends.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) seen: Arc<Seen>,
    tasks: Tasks,
}

#[derive(Debug)]
pub(super) struct Seen {
    /// Calls that were begun.
    pub(super) calls: AtomicUsize,
    /// Why clients went.
    pub(super) resets: Mutex<Vec<Reason>>,
    /// Bytes that `Flood` has sent.
    pub(super) sent: AtomicUsize,
    /// Bytes that `Sink` has read.
    pub(super) read: AtomicUsize,
    /// MiB that `Sink` may read.
    pub(super) told: Semaphore,
}

// === impl Server ===

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let seen = Seen {
            calls: AtomicUsize::new(0),
            resets: Mutex::default(),
            sent: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
            told: Semaphore::new(0),
        };
        let server = Self { address, seen: Arc::new(seen), tasks: Tasks::new() };
        let accepting = server.clone();
        server.tasks.spawn("server", OnFailure::Log, async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = accepting.clone();
                accepting.tasks.spawn("connection", OnFailure::Log, async move { serving.connection(stream).await });
            }
        });
        server
    }

    async fn connection(self, stream: TcpStream) {
        // The probe only connects.
        let Ok(mut connection) = h2::server::Builder::new().max_header_list_size(1 << 20).handshake(stream).await
        else {
            return;
        };
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            self.seen.calls.fetch_add(1, SeqCst);
            let seen = self.seen.clone();
            self.tasks.spawn("call", OnFailure::Log, async move {
                let answered = answer(request, &mut respond, &seen).await;
                if let Err(error) = answered {
                    let reason = error.reason().unwrap_or(Reason::INTERNAL_ERROR);
                    seen.resets.lock().expect("not poisoned").push(reason);
                }
            });
        }
    }
}

async fn answer(request: Request<RecvStream>, respond: &mut SendResponse<Bytes>, seen: &Seen) -> Result<(), h2::Error> {
    let (head, body) = request.into_parts();
    let method = head.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    let mut messages = Messages::new(body);
    match &*method {
        "Fail" => {
            let head = begin().header("grpc-status", "5").header("grpc-message", "not here");
            respond.send_response(head.body(()).expect("valid"), true)?;
            return Ok(());
        }
        "Silent" => return Err(poll_fn(|cx| respond.poll_reset(cx)).await?.into()),
        _ => {}
    }
    let mut sink = respond.send_response(begin().body(()).expect("valid"), false)?;
    match &*method {
        "Collect" => {
            let (mut count, mut bytes) = (0, 0);
            while let Some(message) = messages.next().await? {
                (count, bytes) = (count + 1, bytes + message.len());
            }
            push(&mut sink, framed(format!("{count} {bytes}").as_bytes())).await?;
        }
        "Head" => {
            while messages.next().await?.is_some() {}
            let lines = lines(&head.headers) + &lines(&messages.trailers().await?);
            push(&mut sink, framed(lines.as_bytes())).await?;
        }
        "Expand" => {
            for number in 0..number(&mut messages).await? {
                push(&mut sink, framed(number.to_string().as_bytes())).await?;
            }
        }
        "Trailers" => {
            let length = number(&mut messages).await?;
            return end(&mut sink, Some("t".repeat(length)));
        }
        "Flood" => loop {
            let message = framed(&vec![0; 64 << 10]);
            let length = message.len();
            push(&mut sink, message).await?;
            seen.sent.fetch_add(length, SeqCst);
        },
        "Sink" => drain(&mut messages, seen).await?,
        "Break" => {
            push(&mut sink, framed(b"the first")).await?;
            messages.next().await?;
            sink.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        }
        _ => {
            while let Some(message) = messages.next().await? {
                push(&mut sink, framed(&message)).await?;
            }
        }
    }
    end(&mut sink, None)
}

async fn drain(messages: &mut Messages, seen: &Seen) -> Result<(), h2::Error> {
    loop {
        let told = seen.told.acquire().await.map_err(|_| Reason::CANCEL)?;
        told.forget();
        let Some(message) = messages.next().await? else { return Ok(()) };
        seen.read.fetch_add(message.len(), SeqCst);
    }
}

async fn number(messages: &mut Messages) -> Result<usize, h2::Error> {
    let message = messages.next().await?.unwrap_or_default();
    Ok(std::str::from_utf8(&message).ok().and_then(|text| text.parse().ok()).unwrap_or_default())
}

fn begin() -> http::response::Builder {
    Response::builder().header("content-type", "application/grpc")
}

fn end(sink: &mut SendStream<Bytes>, large: Option<String>) -> Result<(), h2::Error> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    if let Some(value) = large.and_then(|text| HeaderValue::try_from(text).ok()) {
        trailers.insert("x-large", value);
    }
    sink.send_trailers(trailers)
}

fn lines(headers: &HeaderMap) -> String {
    headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap_or("?"))).collect()
}
