//! The embedded registry: the OCI distribution protocol over the image store.
//!
//! What `docker push`, `skopeo copy` and `buildah push` send lands in the store that deploys read
//! from. Blobs stream from the socket to the disk and back; nothing but manifests is held in memory.
//!
//! One file for each thing that has a URL: [`manifests`], [`blobs`], [`uploads`], [`referrers`],
//! [`listing`]; `route` tells them apart, `error` is the only place where a refusal becomes bytes.
//! Everything that comes from a client has a bound: connections, heads, manifests, the pace of bodies
//! ([`inbound`]) and of who reads ([`patient`]).
//!
//! The rules are those of the OCI distribution specification 1.1; docs/registry.md has the choices.

mod blobs;
mod error;
mod inbound;
mod listing;
mod manifests;
mod patient;
mod referrers;
mod respond;
mod route;
mod uploads;

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Method, request::Parts};
use http_body_util::BodyExt;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use updraft_base::{Clock, OnFailure, Tasks};
use updraft_identity::Authenticator;
use updraft_model::iam::Principal;
use updraft_oci::{ContentStore, ImageStore};

use self::{
    error::Refusal,
    patient::Patient,
    respond::Reply,
    route::{Route, Target},
};

/// How long a request under way may go on after the end was asked for.
const DRAIN: Duration = Duration::from_secs(10);
/// How much of a refused request is read and dropped, in bytes.
const MAX_DRAINED: usize = 64 << 20;
/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest head of a request, in bytes; also what a connection reads ahead of a body.
const MAX_HEAD: usize = 64 << 10;
/// How many connections are served at once; others wait. Each may hold a chunk of a blob in memory.
const MAX_CONNECTIONS: usize = 256;
/// How long to wait after the system refused a connection, out of file descriptors perhaps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The registry. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    content: ContentStore,
    auth: Authenticator,
    clock: Clock,
}

// === impl Registry ===

impl Registry {
    /// A registry over `images`, for whoever `auth` knows.
    pub fn new(images: ImageStore, auth: Authenticator, clock: Clock) -> Self {
        Self { content: images.content().clone(), auth, clock }
    }

    /// Serves until the end is asked for; requests under way have ten seconds then.
    pub async fn serve(self, listener: TcpListener, tasks: Tasks) {
        let shutdown = tasks.shutdown().clone();
        let expire = uploads::expire(self.content.clone(), self.clock.clone(), shutdown.clone());
        tasks.spawn("registry uploads", OnFailure::Log, expire);
        let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accept = async {
                let seat = seats.clone().acquire_owned().await.map_err(io::Error::other)?;
                Ok::<_, io::Error>((listener.accept().await?, seat))
            };
            let accepted = tokio::select! {
                accepted = accept => accepted,
                () = shutdown.asked() => return,
            };
            match accepted {
                Ok(((stream, peer), seat)) => {
                    let connection = self.clone().connection(stream, peer, tasks.clone());
                    tasks.spawn("registry connection", OnFailure::Log, async move {
                        connection.await;
                        drop(seat);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the registry could not be accepted");
                    self.clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, peer: SocketAddr, tasks: Tasks) {
        let clock = self.clock.clone();
        let service = service_fn(move |request| {
            let registry = self.clone();
            async move { Ok::<_, Infallible>(registry.answer(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(Patient::new(stream, clock.clone())), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = tasks.shutdown().asked() => {
                connection.as_mut().graceful_shutdown();
                clock.timeout(DRAIN, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            // Clients break off; what they sent stays for a while, in case they come back.
            tracing::debug!(%peer, %error, "registry connection broke");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Reply {
        let (head, mut body) = request.into_parts();
        let reply = match self.handle(&head, &mut body).await {
            Ok(reply) => reply,
            Err(refusal) => {
                let (method, path) = (&head.method, head.uri.path());
                if refusal.is_ours() {
                    tracing::error!(%method, path, error = refusal.cause(), "registry request failed");
                } else {
                    tracing::debug!(%method, path, error = refusal.cause(), "registry request refused");
                }
                // Slow clients get the reply they deserve, a broken connection.
                let _ = self.clock.timeout(DRAIN, drain(&mut body)).await;
                refusal.into_reply()
            }
        };
        if head.method == Method::HEAD { respond::without_body(reply) } else { reply }
    }

    async fn handle(&self, head: &Parts, body: &mut Incoming) -> Result<Reply, Refusal> {
        match self.auth.authenticate(&head.headers)? {
            Principal::Anonymous => return Err(Refusal::unauthorized("credentials are needed")),
            // Images are of no project, so no policy says yet what anybody but the owner may do with them.
            caller if !caller.is_owner_of_everything() => return Err(Refusal::denied()),
            _ => {}
        }
        let Route { target, query } = Route::of(&head.uri)?;
        let content = &self.content;
        match target {
            Target::Ping => respond::ping(&head.method),
            Target::Catalog => listing::catalog(content, &head.method, &query).await,
            Target::Tags { name } => listing::tags(content, &head.method, &name, &query).await,
            Target::Manifest { name, reference } => {
                manifests::handle(self, head, body, &manifests::Place { name, reference, query }).await
            }
            Target::Referrers { name, digest } => {
                referrers::list(content, &head.method, &referrers::Subject { name, digest, query }).await
            }
            Target::Blob { name, digest } => blobs::handle(content, head, &name, &digest).await,
            Target::Uploads { name } => uploads::start(self, &head.method, body, &uploads::Wish { name, query }).await,
            Target::Upload { name, id } => {
                uploads::handle(self, head, body, &uploads::Session { name, id, query }).await
            }
        }
    }
}

/// Reads what a refused request still sends, within bounds: a client that is cut off while it sends
/// sees a broken connection, not the reason.
async fn drain(body: &mut Incoming) {
    let mut size = 0;
    while let Some(Ok(frame)) = body.frame().await {
        size += frame.data_ref().map_or(0, |data| data.len());
        if size > MAX_DRAINED {
            return;
        }
    }
}
