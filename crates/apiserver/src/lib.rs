//! Hosting of the API: REST (ProtoJSON) and gRPC from one handler per method, on one port.
//!
//! A call is told apart by its content type, gets its `Principal`, finds its row in the method table and
//! goes to the one use case of the control plane behind it ([`methods`]); [`rest`] and [`grpc`] only turn
//! bytes into requests and answers into bytes. Beside the API there are paths of our own ([`own`]).

mod around;
mod audit;
mod backup;
mod body;
mod call;
mod diagnosis;
mod grpc;
mod guarded;
mod images;
mod logs;
mod methods;
mod oauth;
mod own;
mod rates;
mod respond;
mod rest;
mod v1;

use std::{fmt, path::PathBuf, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::Body;
use serde::Serialize;
use tokio::sync::Semaphore;
use updraft_base::{Clock, Shutdown};
use updraft_control::Control;
use updraft_identity::{Authenticator, Tokens};
use updraft_model::iam::Principal;
use updraft_oci::ImageStore;
use updraft_telemetry::{LogStore, Metrics};

use crate::{
    body::{Allowance, Bounded, IN_FLIGHT_MAX, Memory},
    call::AnyBody,
    guarded::Guarded,
    rates::Buckets,
};

pub use backup::{Backups, Logs, Pieces};
pub use own::{OWN_CALLS, On, OwnCall};
pub use rates::CallRates;
pub use respond::{BoxBody, BoxError};

/// What the API hosts.
#[expect(missing_debug_implementations, reason = "what takes backups cannot be printed")]
pub struct ApiDeps {
    /// The use cases.
    pub control: Control,
    /// Who calls.
    pub auth: Authenticator,
    /// Makes tokens.
    pub tokens: Tokens,
    /// What containers and the platform wrote.
    pub logs: LogStore,
    /// The embedded store of images.
    pub images: ImageStore,
    /// What the server says about itself.
    pub info: ServerInfo,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whom clients are to trust at the TLS port, in PEM; none when there is no port or the certificate is the
    /// operator's.
    pub authority: Option<Arc<str>>,
    /// Takes backups; none where the state is not kept in files.
    pub backups: Option<Arc<dyn Backups>>,
    /// Time.
    pub clock: Clock,
    /// Ends what would otherwise go on for ever.
    pub shutdown: Shutdown,
    /// A directory for uploads that are under way, of this server alone: files of uploads that are found
    /// there at the start are removed.
    pub scratch: PathBuf,
}

/// What the server says about itself, at `/updraft/v1/info`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerInfo {
    /// The version.
    pub version: String,
    /// The project that clients take when none is given.
    pub default_project: String,
    /// The location that clients take when none is given.
    pub default_location: String,
    /// `host:port` of the embedded registry; absent when it is switched off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// `host:port` of API and services over TLS; absent when it is switched off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// What the hosts of services end with, such as `run.localhost`.
    pub service_domain: String,
}

/// The API. Clones are the same one.
#[derive(Clone)]
pub struct Api {
    inner: Arc<Inner>,
    mixins: grpc::Mixins,
}

/// The same as handlers have it: what belongs to somebody opens only for who was permitted.
struct Served {
    control: Control,
    auth: Authenticator,
    tokens: Tokens,
    logs: Guarded<LogStore>,
    images: Guarded<ImageStore>,
    info: ServerInfo,
    metrics: Guarded<Arc<Metrics>>,
    authority: Option<Arc<str>>,
    backups: Option<Arc<dyn Backups>>,
    clock: Clock,
    shutdown: Shutdown,
    scratch: PathBuf,
}

struct Inner {
    deps: Served,
    /// Only for writing records: whoever reads needs a permission.
    audit: LogStore,
    memory: Memory,
    buckets: Buckets,
    /// Turns of archives that come in.
    loads: Semaphore,
}

// === impl Api ===

impl Api {
    /// An API on these. Removes what uploads left behind when the server was killed.
    ///
    /// # Errors
    /// When the descriptors do not make a reflection service, which the tests rule out.
    pub fn new(deps: ApiDeps) -> Result<Self, BoxError> {
        Self::with_rates(deps, CallRates::default())
    }

    /// The same, with other rates than the usual ones.
    ///
    /// # Errors
    /// As [`Api::new`].
    pub fn with_rates(deps: ApiDeps, rates: CallRates) -> Result<Self, BoxError> {
        images::sweep(&deps.scratch);
        let buckets = Buckets::new(rates, deps.clock.clone());
        let loads = Semaphore::new(images::LOADS_MAX);
        let audit = deps.logs.clone();
        let deps = Served::of(deps);
        let inner = Inner { deps, audit, memory: Memory::new(IN_FLIGHT_MAX), buckets, loads };
        Ok(Self { inner: Arc::new(inner), mixins: grpc::Mixins::new()? })
    }

    /// Answers one call. Never fails: what goes wrong is the answer.
    pub async fn call<B>(&self, mut request: Request<B>) -> Response<BoxBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        name_the_host(&mut request);
        let is_grpc = grpc::is_grpc(request.headers());
        if is_grpc && grpc::is_health(&request) {
            return self.mixins.serve(request).await;
        }
        if !is_grpc && let Some(answer) = own::probe(self, &request).await {
            return answer;
        }
        let request = match oauth::serve(self, request).await {
            Ok(answer) => return answer,
            Err(request) => request,
        };
        let entrance = request.extensions().get().copied().unwrap_or_default();
        match self.deps().auth.authenticate_at(entrance, request.headers(), around::purpose(&request)) {
            Ok(caller) => self.call_as(caller, request).await,
            Err(error) => {
                let refused = async {
                    match is_grpc {
                        true => grpc::refuse(&error),
                        false => rest::Format::default().error(&error),
                    }
                };
                audit::Witness::of(self, &Principal::Anonymous, &request).see(refused).await
            }
        }
    }

    /// Answers a call of `caller`, for whoever found out before who calls.
    pub async fn call_as<B>(&self, caller: Principal, mut request: Request<B>) -> Response<BoxBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        name_the_host(&mut request);
        let witness = audit::Witness::of(self, &caller, &request);
        // In a box: it is large, and would be held several times over.
        witness.see(Box::pin(self.dispatch(caller, request))).await
    }

    async fn dispatch<B: AnyBody>(&self, caller: Principal, request: Request<B>) -> Response<BoxBody> {
        if grpc::is_grpc(request.headers()) {
            return grpc::serve(self, caller, request).await;
        }
        if own::is_own(request.uri().path()) {
            return own::serve(self, caller, request).await;
        }
        match around::serve(self, &caller, request).await {
            Ok(answer) => answer,
            Err(request) => rest::serve(self, caller, request).await,
        }
    }

    fn deps(&self) -> &Served {
        &self.inner.deps
    }

    /// `body` within the bounds of `allowance`.
    fn bound<B: AnyBody>(&self, body: B, allowance: Allowance) -> Bounded<B> {
        Bounded::new(body, allowance, (&self.inner.memory, &self.inner.deps.clock))
    }

    fn buckets(&self) -> &Buckets {
        &self.inner.buckets
    }

    fn loads(&self) -> &Semaphore {
        &self.inner.loads
    }
}

// === impl Served ===

impl Served {
    fn of(deps: ApiDeps) -> Self {
        let ApiDeps {
            control,
            auth,
            tokens,
            logs,
            images,
            info,
            metrics,
            authority,
            backups,
            clock,
            shutdown,
            scratch,
        } = deps;
        let (logs, images, metrics) = (Guarded::new(logs), Guarded::new(images), Guarded::new(metrics));
        Self { control, auth, tokens, logs, images, info, metrics, authority, backups, clock, shutdown, scratch }
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("info", &self.inner.deps.info).finish_non_exhaustive()
    }
}

/// HTTP/2 has the host in `:authority`; whoever compares it with `Origin` looks at `Host`.
fn name_the_host<B>(request: &mut Request<B>) {
    if request.headers().contains_key(header::HOST) {
        return;
    }
    let host = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(host) = host {
        request.headers_mut().insert(header::HOST, host);
    }
}
