//! The entry of a request in the log of its service.
//!
//! On the way a request only keeps what it has at hand, by counting references. The entry is put together at its end,
//! and only if there is room for it: a log that cannot keep up costs requests nothing, and what it misses is counted.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, Request, StatusCode, Uri, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::sync::mpsc;
use updraft_base::Clock;
use updraft_fleet::Timing;
use updraft_model::{
    channel::{RequestRecord, STOPS, Waits},
    instance::InstanceId,
    route::Route,
};

use crate::{
    admit::Admitted,
    client::{Client, Scheme},
    trace,
};

/// Cloud Run's code for a client that went away.
const CLIENT_LEFT: u16 = 499;
/// What the log keeps of a text that a client made up, in bytes.
const TEXT_MAX: usize = 2 << 10;

/// Where entries go.
#[derive(Debug)]
pub(crate) struct AccessLog {
    sender: mpsc::Sender<RequestRecord>,
    lost: Counter,
}

/// What is known of a request so far.
#[derive(Debug)]
pub(crate) struct Access {
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    version: Version,
    request_bytes: Option<u64>,
    client: Client,
    /// Nothing is logged before there is a service that it is for.
    route: Option<Arc<Route>>,
    target: Option<usize>,
    instance: Option<InstanceId>,
    trace: Option<HeaderValue>,
    /// The same in Cloud Run's form, which the client is told.
    pub(crate) cloud_trace: Option<HeaderValue>,
    /// Where its time went, if it had to wait for a place.
    pub(crate) waits: Option<Box<Waits>>,
    pub(crate) place: Option<Place>,
    /// Has it waited for a place, that it has now or one before it?
    has_waited: bool,
    /// What each stop took, as in [`RequestRecord::stops`].
    pub(crate) stops: [Option<Duration>; STOPS.len()],
    pub(crate) response_bytes: u64,
    pub(crate) note: Option<&'static str>,
    /// Why this caller may not call.
    pub(crate) detail: Option<Box<str>>,
}

/// The place that a request got.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) admitted: Instant,
    /// Of the start of its instance, if this server started it.
    pub(crate) timing: Option<Timing>,
    /// Was there none at once, this time or before?
    pub(crate) has_waited: bool,
}

/// The end of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) status: Option<StatusCode>,
    pub(crate) latency: Duration,
}

// === impl AccessLog ===

impl AccessLog {
    pub(crate) fn new(sender: mpsc::Sender<RequestRecord>, registry: &mut Registry) -> Self {
        let lost = Counter::default();
        let scope = registry.sub_registry_with_prefix("updraft");
        scope.register("request_log_lost", "Requests that the log had no room for", lost.clone());
        Self { sender, lost }
    }

    /// Hands over the entry of a request that has ended.
    pub(crate) fn write(&self, access: &Access, outcome: Outcome, clock: &Clock) {
        let Some(route) = &access.route else { return };
        match self.sender.try_reserve() {
            Ok(room) => room.send(access.record(route, outcome, clock)),
            Err(_) => drop(self.lost.inc()),
        }
    }
}

// === impl Access ===

impl Access {
    pub(crate) fn new(request: &Request<Incoming>, client: Client) -> Self {
        let header = |name| request.headers().get(name).cloned();
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            host: header(header::HOST),
            user_agent: header(header::USER_AGENT),
            referer: header(header::REFERER),
            version: request.version(),
            request_bytes: request.body().size_hint().exact(),
            client,
            route: None,
            target: None,
            instance: None,
            trace: trace::header(request.headers()).cloned(),
            cloud_trace: None,
            waits: None,
            place: None,
            has_waited: false,
            stops: [None; STOPS.len()],
            response_bytes: 0,
            note: None,
            detail: None,
        }
    }

    /// How the client speaks to us.
    pub(crate) fn scheme(&self) -> Scheme {
        self.client.scheme
    }

    /// It is for this service.
    pub(crate) fn routed(&mut self, route: Arc<Route>) {
        (self.route, self.target) = (Some(route), None);
    }

    /// It goes to this target.
    pub(crate) fn chosen(&mut self, (route, target): (Arc<Route>, usize)) {
        (self.route, self.target) = (Some(route), Some(target));
    }

    /// An instance takes it, from this moment on.
    pub(crate) fn admitted(&mut self, admitted: &Admitted, at: Instant) {
        self.instance = Some(admitted.instance().clone());
        self.has_waited |= admitted.has_waited();
        self.place = Some(Place { admitted: at, timing: admitted.timing(), has_waited: self.has_waited });
    }

    /// It is passed on as this.
    pub(crate) fn prepared<B>(&mut self, request: &Request<B>) {
        self.trace = trace::header(request.headers()).cloned();
        self.cloud_trace = trace::cloud_header(request.headers()).cloned();
    }

    fn record(&self, route: &Arc<Route>, outcome: Outcome, clock: &Clock) -> RequestRecord {
        RequestRecord {
            time: clock.now().checked_sub(outcome.latency).unwrap_or(std::time::SystemTime::UNIX_EPOCH),
            route: route.clone(),
            target: self.target,
            instance: self.instance.clone(),
            method: method(&self.method),
            url: self.url(),
            protocol: protocol(self.version),
            request_bytes: self.request_bytes,
            status: outcome.status.map_or(CLIENT_LEFT, |status| status.as_u16()),
            response_bytes: self.response_bytes,
            user_agent: text(self.user_agent.as_ref()),
            referer: text(self.referer.as_ref()),
            remote: self.client.address.ip().to_canonical(),
            latency: outcome.latency,
            waits: self.waits.clone(),
            stops: self.stops,
            trace: self.trace.as_ref().and_then(trace::context),
            note: self.note,
            detail: self.detail.clone(),
        }
    }

    fn url(&self) -> String {
        let host = match self.uri.authority() {
            Some(authority) => authority.as_str(),
            None => self.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default(),
        };
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut url = format!("{}://{host}{path}", self.client.scheme.as_str());
        url.truncate(url.floor_char_boundary(TEXT_MAX));
        url
    }
}

/// Without a copy where there is no need for one.
fn method(method: &Method) -> Cow<'static, str> {
    match method {
        &Method::GET => Cow::Borrowed("GET"),
        &Method::HEAD => Cow::Borrowed("HEAD"),
        &Method::POST => Cow::Borrowed("POST"),
        &Method::PUT => Cow::Borrowed("PUT"),
        &Method::DELETE => Cow::Borrowed("DELETE"),
        &Method::PATCH => Cow::Borrowed("PATCH"),
        &Method::OPTIONS => Cow::Borrowed("OPTIONS"),
        other => Cow::Owned(clipped(other.as_str())),
    }
}

fn text(value: Option<&HeaderValue>) -> Option<String> {
    value.map(|value| clipped(&String::from_utf8_lossy(value.as_bytes())))
}

/// The beginning of a text, if it is long.
fn clipped(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_MAX)].to_owned()
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}
