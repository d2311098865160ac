//! The line of a request, top to bottom.

use std::{fmt, sync::Arc, time::Duration};

use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use updraft_base::{Clock, Shutdown, Sleep, Tasks};
use updraft_fleet::Fleet;
use updraft_identity::Authenticator;
use updraft_model::{
    channel::RequestRecord,
    route::{RouteTable, SessionAffinity},
};

use crate::{
    access::Access,
    admit::admit,
    affinity,
    authorise::{Caller, Measure, authorise},
    body::Body,
    client::Client,
    config::{ProxyConfig, ServerTiming},
    forward::{Answered, Failure, Outgoing, Upstream, forward},
    headers::{self, Upgrade},
    pool::Pool,
    record::{Metrics, Stop, Trip},
    respond::{Asked, Rejection},
    route::route,
    screen::screen,
    split::{Chosen, split},
    upgrade::{self, Bond},
    websocket,
};

/// How often a request is offered to an instance; more than once only if nothing of it was sent.
const OFFERS: u32 = 3;

/// How long a request waits for its host after a start.
const OPENING_PATIENCE: Duration = Duration::from_secs(60);

/// How long the table may lag behind the book.
const TABLE_PATIENCE: Duration = Duration::from_secs(1);

/// What a proxy works with.
pub struct ProxyDeps {
    /// Has the instances.
    pub fleet: Fleet,
    /// Where hosts lead.
    pub routes: watch::Receiver<Arc<RouteTable>>,
    /// Time.
    pub clock: Clock,
    /// Who calls.
    pub auth: Authenticator,
    /// Where connections live.
    pub tasks: Tasks,
    /// To the log: every request that was for a service, at its end. What finds no room is counted.
    pub requests: mpsc::Sender<RequestRecord>,
    /// Settings.
    pub config: ProxyConfig,
}

/// Answers requests to services. Cheap to clone.
#[derive(Clone)]
pub struct Proxy(Arc<Shared>);

struct Shared {
    deps: ProxyDeps,
    lines: Lines,
    metrics: Arc<Metrics>,
}

/// What the front door has to wait for, or to cut, beside its own connections.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Connections that are not HTTP any more.
    pub(crate) upgraded: Tasks,
    /// Ends every connection, whatever it does.
    pub(crate) cut: Shutdown,
}

// === impl Proxy ===

impl Proxy {
    /// A proxy; it has no task of its own.
    pub fn new(deps: ProxyDeps, registry: &mut Registry) -> Self {
        let metrics = Arc::new(Metrics::new(deps.requests.clone(), registry));
        Self(Arc::new(Shared { deps, lines: Lines::default(), metrics }))
    }

    pub(crate) fn config(&self) -> ProxyConfig {
        self.0.deps.config
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.deps.clock
    }

    pub(crate) fn lines(&self) -> &Lines {
        &self.0.lines
    }

    /// Answers one request of `client`.
    pub(crate) async fn serve(&self, mut request: Box<Request<Incoming>>, client: Client) -> Response<Body> {
        let asked = Asked::of(&request);
        websocket::translate(&mut request);
        let access = Access::new(&request, client);
        let mut trip = Trip::begin(self.0.metrics.clone(), &self.0.deps.clock, access);
        match self.line(request, client, &mut trip).await {
            Ok((answered, timer)) => match self.pass_on(answered, timer, trip) {
                Ok(response) => response,
                Err((rejection, trip)) => refuse(rejection, &asked, trip),
            },
            Err(rejection) => refuse(rejection, &asked, trip),
        }
    }

    /// The line: every stop takes what the stop before gave.
    async fn line(
        &self,
        mut request: Box<Request<Incoming>>,
        client: Client,
        trip: &mut Trip,
    ) -> Result<(Answered, Sleep), Rejection> {
        let caller = Caller::recognise(request.headers_mut(), &self.0.deps.auth);
        let chosen = match self.choose(&request, &caller, trip) {
            Err(Rejection::NotFound) if !self.0.deps.routes.borrow().is_whole => {
                self.opening(&request).await?;
                self.choose(&request, &caller, trip)?
            }
            chosen => chosen?,
        };
        caller.cover(request.headers_mut(), chosen.access(), &self.0.deps.auth);
        // The time limit is of the whole request: the wait for an instance and its start included.
        let mut timer = self.0.deps.clock.sleep(chosen.timeout());
        let outgoing = Box::new(Outgoing::new(*request, client, chosen.protocol())?);
        trip.access().prepared(&outgoing.request);
        tokio::select! {
            biased;
            answered = self.exchange(chosen, outgoing, (&caller, trip)) => Ok((answered?, timer)),
            () = &mut timer => Err(Rejection::Timeout),
        }
    }

    /// Waits for the host, or for a table that is whole: before it, a host that is missing may be a service that was there
    /// before the server was started anew, and "not found" would tell its clients that it is gone.
    async fn opening<B>(&self, request: &Request<B>) -> Result<(), Rejection> {
        let deps = &self.0.deps;
        let mut routes = deps.routes.clone();
        let opened = async { routes.wait_for(|table| table.is_whole || route(table, request).is_ok()).await.map(drop) };
        match deps.clock.timeout(OPENING_PATIENCE, opened).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Rejection::NoRevision),
        }
    }

    /// The stops that only think, over one snapshot of the table.
    fn choose<B>(&self, request: &Request<B>, caller: &Caller, trip: &mut Trip) -> Result<Chosen, Rejection> {
        let table = self.0.deps.routes.borrow().clone();
        let routed = route(&table, request)?;
        trip.pass(Stop::Route);
        trip.access().routed(routed.shared());
        let screened = screen(routed, request, self.0.deps.config.reserved_paths)?;
        let deps = &self.0.deps;
        let measure = Measure { auth: &deps.auth, table: &table, now: deps.clock.now() };
        let permitted = authorise(screened, caller, measure).map_err(|denied| {
            trip.access().detail = denied.detail;
            denied.rejection
        })?;
        trip.pass(Stop::Authorise);
        let keeps = permitted.routed().route().targets.iter().any(|target| target.affinity == SessionAffinity::Client);
        let wanted = if keeps { affinity::wanted(request.headers()) } else { None };
        let fleet = &self.0.deps.fleet;
        let chosen = split(permitted, wanted, |revision, wanted| fleet.has(revision, wanted), rand::random())?;
        trip.pass(Stop::Split);
        trip.access().chosen(chosen.place());
        Ok(chosen)
    }

    /// Chooses after the revision that was chosen has been removed. The book is published a moment
    /// before the table: in that moment the table still leads to what is not there any more.
    async fn choose_anew<B>(
        &self,
        before: &Chosen,
        request: &Request<B>,
        caller: &Caller,
        trip: &mut Trip,
    ) -> Result<Chosen, Rejection> {
        let deps = &self.0.deps;
        let mut routes = deps.routes.clone();
        routes.mark_unchanged();
        let chosen = self.choose(request, caller, trip)?;
        if chosen.revision() != before.revision() {
            return Ok(chosen);
        }
        // Whether it changed or not, the next answer is the last word.
        let _ = deps.clock.timeout(TABLE_PATIENCE, routes.changed()).await;
        self.choose(request, caller, trip)
    }

    /// Admit and forward; again if the instance turns out to be gone before anything was sent, or
    /// if the revision was removed while the request waited: then the newest table knows another.
    async fn exchange(
        &self,
        mut chosen: Chosen,
        mut outgoing: Box<Outgoing>,
        (caller, trip): (&Caller, &mut Trip),
    ) -> Result<Answered, Rejection> {
        let deps = &self.0.deps;
        let mut refused = Rejection::Broken;
        for _ in 0..OFFERS {
            if outgoing.leads_nowhere() {
                return Err(Rejection::Method);
            }
            trip.waits();
            let admitted = admit(&deps.fleet, &chosen).await;
            trip.pass(Stop::Admit);
            let admitted = match admitted {
                Ok(admitted) => admitted,
                Err(Rejection::NoRevision) => {
                    refused = Rejection::NoRevision;
                    chosen = self.choose_anew(&chosen, &outgoing.request, caller, trip).await?;
                    caller.cover(outgoing.request.headers_mut(), chosen.access(), &deps.auth);
                    *outgoing = outgoing.retarget(chosen.protocol())?;
                    continue;
                }
                Err(rejection) => return Err(rejection),
            };
            trip.placed(&admitted);
            let (cut, bytes) = (self.0.lines.cut.clone(), deps.config.header_bytes);
            let pool = || Pool::new(deps.tasks.clone(), cut, deps.clock.clone(), bytes);
            let news = chosen.news(admitted.affinity());
            let answered = forward(admitted, outgoing, pool).await;
            trip.pass(Stop::Forward);
            match answered {
                Ok(answered) => return Ok(Answered { affinity: news, ..answered }),
                Err(Failure::Unreachable(back)) => outgoing = back,
                Err(Failure::Final(rejection)) => return Err(rejection),
            }
        }
        Err(refused)
    }

    /// The head of the answer is here; its body follows as it comes.
    fn pass_on(&self, answered: Answered, timer: Sleep, mut trip: Trip) -> Result<Response<Body>, (Rejection, Trip)> {
        let is_upgrade = answered.is_upgrade();
        let Answered { mut response, client, tunnel, held, affinity } = answered;
        if let Some(affinity) = affinity {
            affinity::tell(response.headers_mut(), affinity, trip.access().scheme());
        }
        // As the container says it: the log tells of a WebSocket in one way, however it came.
        let status = response.status();
        if let (Some(waits), ServerTiming::Shown) = (trip.headed(), self.0.deps.config.server_timing) {
            headers::time(response.headers_mut(), waits);
        }
        if let Some(Err(rejection)) = tunnel.map(|tunnel| tunnel.answer(&mut response)) {
            return Err((rejection, trip));
        }
        if !is_upgrade {
            trip.answered(status);
            headers::clean(response.headers_mut(), Upgrade::No);
            headers::sign(response.headers_mut(), trip.access().cloud_trace.take());
            return Ok(response.map(|body| Body::upstream(Upstream::new(body, timer, held, trip))));
        }
        // Without a client that asked, nobody could read what comes.
        let Some(client) = client else { return Err((Rejection::Broken, trip)) };
        trip.answered(status);
        headers::clean(response.headers_mut(), Upgrade::Wanted);
        headers::sign(response.headers_mut(), trip.access().cloud_trace.take());
        let bond = Bond { client, held, trip, timer };
        upgrade::join(&mut response, bond, &self.0.lines, &self.0.deps.clock);
        Ok(response.map(|_| Body::empty()))
    }
}

/// The answer that no instance gave. A client of gRPC is told 200 whatever happened; what is kept is what happened.
fn refuse(rejection: Rejection, asked: &Asked, mut trip: Trip) -> Response<Body> {
    let mut response = rejection.respond(asked);
    trip.answered(rejection.status());
    trip.access().note = rejection.note();
    trip.access().response_bytes = response.body().size_hint().exact().unwrap_or_default();
    headers::sign(response.headers_mut(), trip.access().cloud_trace.take());
    response
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxy")
    }
}

impl fmt::Debug for ProxyDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyDeps").field("config", &self.config).finish_non_exhaustive()
    }
}
