//! One door for everything: HTTP/1.1 and HTTP/2, services and the API, told apart by host; in the clear on one
//! port, over TLS on another.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use futures::future::BoxFuture;
use http::{Method, Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    net::{TcpListener, TcpStream, ToSocketAddrs},
    sync::{Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use updraft_base::{OnFailure, Seat, Shutdown, Tasks};
use updraft_engine::Visit;
use updraft_identity::Entrance;
use updraft_model::{audit::CallerAddress, instance::InstanceId};

use crate::{
    body::Body,
    client::{Client, OnBehalfOf, Scheme, begin},
    config::{ProxyConfig, list_bytes},
    limit::{Streams, limited},
    respond::{Asked, Rejection},
    route::{host, is_addressed_once, is_under},
    serve::Proxy,
};

/// Streams one client may have open on one connection of HTTP/2; Cloud Run's limit.
const STREAMS: u32 = 100;
/// The wait after the system refused a connection, for want of file descriptors most likely.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Answers what is not for a service.
pub trait Fallback: Send + Sync + 'static {
    /// Answers one request.
    fn call(&self, request: Request<Incoming>) -> BoxFuture<'static, Response<Body>>;
}

/// The listeners.
pub struct Front {
    clear: TcpListener,
    secure: Option<Secure>,
    /// Connections of instances, if they come.
    visits: Option<mpsc::Receiver<Visit>>,
    /// Connections of the server itself, if there are any.
    errands: Option<mpsc::Receiver<Errand>>,
}

/// A connection that the server opens to itself, on behalf of somebody who is not its owner.
#[derive(Debug)]
pub struct Errand {
    /// The server's end of it.
    pub stream: DuplexStream,
    /// Is it for `https`? There is nothing on the way that could listen, so there is no TLS.
    pub is_secure: bool,
    /// The project that it is on behalf of.
    pub project: String,
}

/// A listener for TLS.
struct Secure {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

/// A connection that was accepted, before the first byte.
struct Accepted {
    stream: TcpStream,
    address: SocketAddr,
    /// Makes the handshake, if there is to be one.
    acceptor: Option<TlsAcceptor>,
    entrance: Entrance,
    /// Of an instance: its place among the instance's own.
    seat: Option<Seat<InstanceId>>,
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
        Ok(Self { clear: TcpListener::bind(address).await?, secure: None, visits: None, errands: None })
    }

    /// Listens at `listener` as well, for TLS with these certificates.
    pub fn and_tls(self, listener: TcpListener, config: Arc<ServerConfig>) -> Self {
        Self { secure: Some(Secure { listener, acceptor: TlsAcceptor::from(config) }), ..self }
    }

    /// Takes these connections of instances as well, each as what comes in at the port that it means.
    pub fn and_visits(self, visits: mpsc::Receiver<Visit>) -> Self {
        Self { visits: Some(visits), ..self }
    }

    /// Takes these connections of the server itself as well. Like an instance, whoever comes this way is nobody without a
    /// token.
    pub fn and_errands(self, errands: mpsc::Receiver<Errand>) -> Self {
        Self { errands: Some(errands), ..self }
    }

    /// Where it listens in the clear.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.clear.local_addr()
    }

    /// Where it listens for TLS, if it does.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn tls_addr(&self) -> io::Result<Option<SocketAddr>> {
        self.secure.as_ref().map(|secure| secure.listener.local_addr()).transpose()
    }

    async fn accept(&mut self) -> io::Result<Accepted> {
        let secure = async {
            match &self.secure {
                Some(Secure { listener, acceptor }) => (listener.accept().await, Some(acceptor.clone())),
                None => std::future::pending().await,
            }
        };
        let (accepted, acceptor) = tokio::select! {
            accepted = self.clear.accept() => (accepted, None),
            accepted = secure => accepted,
            visit = next(&mut self.visits) => return self.receive(visit),
        };
        let (stream, address) = accepted?;
        Ok(Accepted { stream, address, acceptor, entrance: Entrance::Outside, seat: None })
    }

    fn receive(&self, visit: Visit) -> io::Result<Accepted> {
        let Visit { stream, port, seat, .. } = visit;
        let address = stream.peer_addr()?;
        let is_secure = |secure: &&Secure| secure.listener.local_addr().is_ok_and(|address| address.port() == port);
        let acceptor = self.secure.as_ref().filter(is_secure).map(|secure| secure.acceptor.clone());
        Ok(Accepted { stream, address, acceptor, entrance: Entrance::Inside, seat: Some(seat) })
    }

    /// Serves until the shutdown of `tasks` is asked for: hosts under `domain` by `proxy`, all
    /// others by `fallback`. Then no connection is accepted any more, requests in flight may finish
    /// within the proxy's drain time, and the rest is cut off.
    pub async fn run(mut self, proxy: Proxy, domain: String, fallback: Arc<dyn Fallback>, tasks: Tasks) {
        let connections = Tasks::new();
        let domain = domain.to_ascii_lowercase();
        let closing = tasks.shutdown().clone();
        let door = Arc::new(Door { proxy, domain, fallback, closing: closing.clone() });
        let seats = Arc::new(Semaphore::new(door.proxy.config().connections));
        let mut errands = self.errands.take();
        loop {
            let accept = async {
                let seat = seats.clone().acquire_owned().await.map_err(io::Error::other)?;
                Ok::<_, io::Error>((self.accept().await?, seat))
            };
            let accepted = tokio::select! {
                () = closing.asked() => break,
                errand = next(&mut errands) => {
                    connections.spawn("errand", OnFailure::Log, door.clone().errand(errand));
                    continue;
                }
                accepted = accept => accepted,
            };
            match accepted {
                Ok((accepted, seat)) => {
                    let door = door.clone();
                    connections.spawn("connection", OnFailure::Log, async move {
                        door.connection(accepted).await;
                        drop(seat);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    door.proxy.clock().sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self);
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
    async fn connection(self: Arc<Self>, accepted: Accepted) {
        let Accepted { stream, address, acceptor, entrance, seat: _seat } = accepted;
        // Nagle's algorithm would hold back the end of small answers. A socket that refuses is closed.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let Some(acceptor) = acceptor else {
            return limited(self.speak(stream, Client { address, scheme: Scheme::Http, entrance }, None)).await;
        };
        // Apart: a connection in the clear has no room for one over TLS, which is larger.
        let secure = async {
            if let Some(stream) = self.in_time(acceptor.accept(stream)).await {
                limited(self.speak(Box::new(stream), Client { address, scheme: Scheme::Https, entrance }, None)).await;
            }
        };
        Box::pin(secure).await;
    }

    async fn errand(self: Arc<Self>, errand: Errand) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let scheme = if errand.is_secure { Scheme::Https } else { Scheme::Http };
        let client = Client { address, scheme, entrance: Entrance::Inside };
        limited(self.speak(errand.stream, client, Some(OnBehalfOf(errand.project.into())))).await;
    }

    /// What a client has to do at first, unless it takes too long, it fails or the door closes: nobody waits for
    /// an answer yet.
    async fn in_time<T>(&self, work: impl Future<Output = io::Result<T>>) -> Option<T> {
        tokio::select! {
            () = self.closing.asked() => None,
            done = self.proxy.clock().timeout(self.proxy.config().header_timeout, work) => match done {
                Ok(Ok(done)) => Some(done),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a connection did not begin");
                    None
                }
                Err(_) => None,
            },
        }
    }

    async fn speak<S>(self: Arc<Self>, stream: S, client: Client, errand: Option<OnBehalfOf>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(stream) = self.in_time(begin(stream)).await else { return };
        let builder = builder(&self.proxy.config());
        let service = service_fn(|request| {
            let door = self.clone();
            // From here on it is passed from stop to stop, each of which would hold a copy of all of it.
            let mut request = Box::new(request);
            if let Some(errand) = &errand {
                request.extensions_mut().insert(errand.clone());
            }
            async move { Ok::<_, Infallible>(door.answer(request, client).await) }
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

    async fn answer(&self, mut request: Box<Request<Incoming>>, client: Client) -> Response<Body> {
        if !is_addressed_once(&request) {
            return Rejection::Host.respond(&Asked::of(&request));
        }
        let is_service = host(&request).is_some_and(|host| is_under(&host, &self.domain));
        match is_service {
            true => self.proxy.serve(request, client).await,
            // Any answer with success would open a tunnel that ends here.
            false if request.method() == Method::CONNECT => Rejection::Method.respond(&Asked::of(&request)),
            false => {
                request.extensions_mut().insert(client.entrance);
                request.extensions_mut().insert(CallerAddress(client.address.ip().to_canonical()));
                self.fallback.call(*request).await
            }
        }
    }
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").field("clear", &self.clear).field("tls", &self.secure.is_some()).finish()
    }
}

/// The next connection that comes this way; never, if there are none.
async fn next<T>(way: &mut Option<mpsc::Receiver<T>>) -> T {
    if let Some(receiver) = way
        && let Some(connection) = receiver.recv().await
    {
        return connection;
    }
    std::future::pending().await
}

fn builder(config: &ProxyConfig) -> Builder<Streams> {
    let mut builder = Builder::new(Streams::default());
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
        // For WebSockets (RFC 8441); what else it could be used for is refused.
        .enable_connect_protocol()
        .max_header_list_size(list_bytes(config.header_bytes));
    builder
}
