//! One port for everything: HTTP/1.1 and h2c, services and the API, told apart by host.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc};

use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, join},
    net::{TcpListener, TcpStream, ToSocketAddrs},
    sync::Semaphore,
};
use updraft_base::{OnFailure, Shutdown, Tasks};

use crate::{
    body::Body,
    config::ProxyConfig,
    respond::Rejection,
    route::{host, is_addressed_once, is_under},
    serve::Proxy,
};

/// Streams one client may have open on one connection of HTTP/2; Cloud Run's limit.
const STREAMS: u32 = 100;
/// The wait after the system refused a connection, for want of file descriptors most likely.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// What a connection of HTTP/2 begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Answers what is not for a service.
pub trait Fallback: Send + Sync + 'static {
    /// Answers one request.
    fn call(&self, request: Request<Incoming>) -> BoxFuture<'static, Response<Body>>;
}

/// The listener.
#[derive(Debug)]
pub struct Front {
    listener: TcpListener,
}

/// What a connection works with.
struct Door {
    proxy: Proxy,
    domain: String,
    fallback: Arc<dyn Fallback>,
    /// Asks the connections to end after their requests.
    closing: Shutdown,
}

// === impl Front ===

impl Front {
    /// Listens at `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// Those of the socket, such as a port that is taken.
    pub async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await? })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the shutdown of `tasks` is asked for: hosts under `domain` by `proxy`, all
    /// others by `fallback`. Then no connection is accepted any more, requests in flight may finish
    /// within the proxy's drain time, and the rest is cut off.
    pub async fn run(self, proxy: Proxy, domain: String, fallback: Arc<dyn Fallback>, tasks: Tasks) {
        let connections = Tasks::new();
        let domain = domain.to_ascii_lowercase();
        let closing = tasks.shutdown().clone();
        let door = Arc::new(Door { proxy, domain, fallback, closing: closing.clone() });
        let seats = Arc::new(Semaphore::new(door.proxy.config().connections));
        loop {
            let accept = async {
                let seat = seats.clone().acquire_owned().await.map_err(io::Error::other)?;
                Ok::<_, io::Error>((self.listener.accept().await?, seat))
            };
            let accepted = tokio::select! {
                () = closing.asked() => break,
                accepted = accept => accepted,
            };
            match accepted {
                Ok(((stream, peer), seat)) => {
                    let door = door.clone();
                    connections.spawn("connection", OnFailure::Log, async move {
                        door.connection(stream, peer).await;
                        drop(seat);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    door.proxy.clock().sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        let lines = door.proxy.lines();
        let drained = async {
            connections.drain().await;
            lines.upgraded.drain().await;
        };
        // In time or not: the connections to instances, which rest when nobody asks, end as well.
        let _ = door.proxy.clock().timeout(door.proxy.config().drain, drained).await;
        lines.cut.ask();
        connections.drain().await;
        lines.upgraded.drain().await;
    }
}

// === impl Door ===

impl Door {
    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        // Nagle's algorithm would hold back the end of small answers. A socket that refuses is closed.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let config = self.proxy.config();
        let stream = tokio::select! {
            () = self.closing.asked() => return,
            begun = self.proxy.clock().timeout(config.header_timeout, begin(stream)) => match begun {
                Ok(Ok(stream)) => stream,
                // Silence, or its own end: nobody waits for an answer.
                _ => return,
            },
        };
        let builder = builder(&config);
        let service = service_fn(|request| {
            let door = self.clone();
            async move { Ok::<_, Infallible>(door.answer(request, peer).await) }
        });
        let mut connection = std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        tokio::select! {
            // How a client ends its connection is its own affair.
            _ = connection.as_mut() => return,
            () = self.closing.asked() => connection.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            _ = connection.as_mut() => {}
            () = self.proxy.lines().cut.asked() => {}
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        if !is_addressed_once(&request) {
            return Rejection::Host.respond("/");
        }
        let is_service = host(&request).is_some_and(|host| is_under(&host, &self.domain));
        match is_service {
            true => self.proxy.serve(request, peer).await,
            false => self.fallback.call(request).await,
        }
    }
}

/// Waits until a connection has shown which protocol it speaks. The library would wait for ever:
/// its time limits begin with the first byte of HTTP/1.1 and the last of HTTP/2's preface.
async fn begin(stream: TcpStream) -> io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static> {
    let (mut reader, writer) = stream.into_split();
    let mut first = Vec::with_capacity(PREFACE.len());
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        if (&mut reader).take((PREFACE.len() - first.len()) as u64).read_buf(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(join(io::Cursor::new(first).chain(reader), writer))
}

fn builder(config: &ProxyConfig) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_buf_size(config.header_bytes.max(64 << 10));
    builder
        .http2()
        .timer(TokioTimer::new())
        // Finds the clients that are gone without a word.
        .keep_alive_interval(config.header_timeout)
        .max_concurrent_streams(STREAMS)
        // The default of the library is 16 KiB, less than the metadata that gRPC allows itself.
        .max_header_list_size(u32::try_from(config.header_bytes).unwrap_or(u32::MAX).max(64 << 10));
    builder
}
