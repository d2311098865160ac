//! The application inside the fake's instances: HTTP/1.1 and h2c on one port, behaviour by path.
//!
//! | path | answer |
//! |--|--|
//! | `/echo` | the request's body and trailers, announced by its `Trailer` if it has one |
//! | `/count` | how many bytes the request's body has, once it has ended |
//! | `/bytes/N` | so many bytes, with their length |
//! | `/raw/HEX` | these bytes and the end of the connection; only as the first request of it |
//! | `/head` | the request's line and headers, one per line |
//! | `/hold` | like `/`, but not before [`crate::FakeEngine::open_gate`] |
//! | `/wait/MS` | like `/`, after so many milliseconds of the clock |
//! | `/status/N` | the status |
//! | `/file/PATH` | the content of the file, or 404 |
//! | `/exit/N` | none: the process ends with the code |
//! | `/cut` | the head and a part of the body, then the process ends |
//! | `/endless` | a body that does not end |
//! | `/upgrade` | 101, then every byte back |
//! | `/trailers` | a body and gRPC trailers |
//! | `/trailers-only` | gRPC's answer without a body: the status is in the head |
//! | `/grpc.health.v1.Health/Check` | `SERVING` |
//! | else | 200 and the container's `ANSWER` |
//!
//! What [`crate::Record::answer`] says of a path goes first.

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt as _, Stream, StreamExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::{rt::TokioIo, server::conn::auto::Builder};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
};
use updraft_base::Clock;
use updraft_model::instance::Exit;

use crate::{fake::Gate, fake_record::Record};

type Body = BoxBody<Bytes, hyper::Error>;

/// What the handler of one instance knows.
pub(crate) struct App {
    pub(crate) answer: String,
    pub(crate) record: Arc<Record>,
    pub(crate) clock: Clock,
    pub(crate) gate: watch::Receiver<Gate>,
    pub(crate) exit: Box<dyn Fn(Exit) + Send + Sync>,
    pub(crate) read: Reader,
}

/// Says what is in a file, if there is one.
pub(crate) type Reader = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Puts tasks into the instance's own set, so that they end with it.
#[derive(Clone)]
struct Spawner(mpsc::UnboundedSender<BoxFuture<'static, ()>>);

// === impl App ===

impl App {
    /// Serves until dropped; with it every connection breaks off, as with a process that is killed.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let (sender, mut born) = mpsc::unbounded_channel();
        let spawner = Spawner(sender);
        let mut set = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    set.spawn(self.clone().connection(stream, spawner.clone()).boxed());
                }
                Some(task) = born.recv() => { set.spawn(task); }
                Some(_) = set.join_next() => {}
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, spawner: Spawner) {
        // Without it the tests would measure Nagle's algorithm.
        let _ = stream.set_nodelay(true);
        let Some(stream) = raw(stream).await else { return };
        let service = hyper::service::service_fn(|request| {
            let (app, spawner) = (self.clone(), spawner.clone());
            async move {
                let _in_flight = app.record.enter();
                app.record.until_awake().await;
                let answer = app.answer(request, &spawner).await;
                app.record.until_awake().await;
                Ok::<_, Infallible>(answer)
            }
        });
        let mut builder = Builder::new(spawner.clone());
        // Large metadata is for the proxy to pass on, not for this server to refuse.
        builder.http2().max_header_list_size(1 << 20);
        // A connection that breaks is the client's end of it.
        let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>, spawner: &Spawner) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if let Some(status) = self.record.answer_to(&path) {
            return instead(&path, status);
        }
        if let Some(file) = path.strip_prefix("/file") {
            let found = (self.read)(file).map(|content| text(StatusCode::OK, content));
            return found.unwrap_or_else(|| text(StatusCode::NOT_FOUND, String::new()));
        }
        match path.split('/').skip(1).collect::<Vec<_>>()[..] {
            ["echo"] => echo(request),
            ["count"] => match request.into_body().collect().await {
                Ok(body) => text(StatusCode::OK, body.to_bytes().len().to_string()),
                Err(_) => text(StatusCode::BAD_REQUEST, String::new()),
            },
            ["bytes", count] => Response::new(whole(vec![b'.'; count.parse().unwrap_or(0)].into())),
            ["head"] => text(StatusCode::OK, describe(&request)),
            ["hold"] => {
                // An error means that the engine is gone.
                let _ = self.gate.clone().wait_for(|gate| *gate == Gate::Open).await;
                text(StatusCode::OK, self.answer.clone())
            }
            ["wait", ms] => {
                self.clock.sleep(Duration::from_millis(ms.parse().unwrap_or(0))).await;
                text(StatusCode::OK, self.answer.clone())
            }
            ["status", code] => text(code.parse().unwrap_or(StatusCode::BAD_REQUEST), String::new()),
            ["exit", code] => {
                (self.exit)(Exit::Code(code.parse().unwrap_or(1)));
                std::future::pending().await
            }
            ["cut"] => self.cut(),
            ["endless"] => endless(),
            ["upgrade"] => upgrade(request, spawner),
            ["trailers"] => grpc(Bytes::from_static(b"\0\0\0\0\x02hi")),
            ["trailers-only"] => trailers_only(),
            ["grpc.health.v1.Health", "Check"] => grpc(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1])),
            _ => text(StatusCode::OK, self.answer.clone()),
        }
    }

    fn cut(self: &Arc<Self>) -> Response<Body> {
        let app = self.clone();
        let rest = async move {
            // Lets the connection write what it has before it goes.
            tokio::task::yield_now().await;
            (app.exit)(Exit::Code(1));
            std::future::pending().await
        };
        let first = futures::stream::iter([Ok(Frame::data(Bytes::from_static(b"the first part")))]);
        let mut response = stream(first.chain(rest.into_stream()));
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("1000"));
        response
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("answer", &self.answer).finish_non_exhaustive()
    }
}

// === impl Spawner ===

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        // Without a receiver the instance has ended, and its tasks with it.
        let _ = self.0.send(task.boxed());
    }
}

/// Answers `/raw/HEX`, which no library would write; gives back the connection if its first request is for something else.
async fn raw(mut stream: TcpStream) -> Option<TcpStream> {
    const START: &[u8] = b"GET /raw/";
    let mut head = vec![0; 16 << 10];
    let length = stream.peek(&mut head).await.ok()?;
    if !head[..length].starts_with(START) {
        return Some(stream);
    }
    // All of it is read: a connection that is closed with something unread is reset, and the answer with it.
    let mut length = 0;
    while !head[..length].ends_with(b"\r\n\r\n") {
        match stream.read(head.get_mut(length..)?).await.ok()? {
            0 => return None,
            read => length += read,
        }
    }
    let digits = head[START.len()..].chunks(2).map_while(|pair| std::str::from_utf8(pair).ok());
    let answer: Vec<u8> = digits.map_while(|pair| u8::from_str_radix(pair, 16).ok()).collect();
    // Whoever asked may be gone.
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
    None
}

fn echo(request: Request<Incoming>) -> Response<Body> {
    let announced = request.headers().get(header::TRAILER).cloned();
    let mut response = Response::new(BodyExt::boxed(request.into_body()));
    if let Some(names) = announced {
        response.headers_mut().insert(header::TRAILER, names);
    }
    response
}

fn text(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(whole(text.into()));
    *response.status_mut() = status;
    response
}

/// Another answer than that of the path.
fn instead(path: &str, status: u16) -> Response<Body> {
    const NOT_SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 2];
    if path == "/grpc.health.v1.Health/Check" {
        return grpc(Bytes::from_static(NOT_SERVING));
    }
    text(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), String::new())
}

fn whole(bytes: Bytes) -> Body {
    BodyExt::boxed(Full::new(bytes).map_err(|never: Infallible| match never {}))
}

fn stream(frames: impl Stream<Item = Result<Frame<Bytes>, hyper::Error>> + Send + Sync + 'static) -> Response<Body> {
    Response::new(BodyExt::boxed(StreamBody::new(frames)))
}

fn describe(request: &Request<Incoming>) -> String {
    let mut lines = vec![format!("{} {} {:?}", request.method(), request.uri(), request.version())];
    lines.extend(request.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?"))));
    lines.join("\n")
}

fn endless() -> Response<Body> {
    const CHUNK: Bytes = Bytes::from_static(&[b'.'; 16 << 10]);
    stream(futures::stream::repeat_with(|| Ok(Frame::data(CHUNK))))
}

fn upgrade(mut request: Request<Incoming>, spawner: &Spawner) -> Response<Body> {
    let Some(protocol) = request.headers().get(header::UPGRADE).cloned() else {
        return text(StatusCode::UPGRADE_REQUIRED, String::new());
    };
    let upgraded = hyper::upgrade::on(&mut request);
    let echo = async move {
        let Ok(stream) = upgraded.await else { return };
        let (mut from, mut to) = tokio::io::split(TokioIo::new(stream));
        // The client ends it.
        let _ = tokio::io::copy(&mut from, &mut to).await;
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut to).await;
    };
    let _ = spawner.0.send(echo.boxed());
    let mut response = Response::new(BodyExt::boxed(Empty::new().map_err(|never: Infallible| match never {})));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::UPGRADE, protocol);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response
}

fn grpc(message: Bytes) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let mut response = stream(futures::stream::iter([Ok(Frame::data(message)), Ok(Frame::trailers(trailers))]));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn trailers_only() -> Response<Body> {
    let mut response = Response::new(BodyExt::boxed(Empty::new().map_err(|never: Infallible| match never {})));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response.headers_mut().insert("grpc-status", HeaderValue::from_static("5"));
    response
}
