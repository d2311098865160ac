//! What is kept of a request: times and counts, and its entry in the log of the service.
//!
//! On its way a request only counts; what it took is told with its entry, and becomes histograms where entries are written.
//! Names begin with `updraft_`. Cloud Run's name of each is in its help text.

use std::{fmt, sync::Arc, time::Instant};

use http::StatusCode;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tokio::sync::mpsc;
use updraft_base::Clock;
use updraft_model::channel::{RequestRecord, Waits};

use crate::{
    access::{Access, AccessLog, Outcome, Place},
    admit::Admitted,
    respond::Rejection,
    waits::{self, Milestones},
};

/// A stop of the line, named as its file; as [`updraft_model::channel::STOPS`] has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Route,
    Authorise,
    Split,
    Admit,
    Forward,
    Respond,
}

/// The metrics of the line, looked up once.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// By the first digit of the status; 0 is for requests whose client went away before an answer.
    classes: [Counter; 6],
    log: AccessLog,
}

/// The times of one request. Recorded when it is dropped, so that no way out is forgotten.
pub(crate) struct Trip {
    metrics: Arc<Metrics>,
    clock: Clock,
    begun: Instant,
    last: Instant,
    status: Option<StatusCode>,
    access: Box<Access>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    response_code_class: &'static str,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new(log: mpsc::Sender<RequestRecord>, registry: &mut Registry) -> Self {
        let requests = Family::<Class, Counter>::default();
        let class = |response_code_class| requests.get_or_create(&Class { response_code_class }).clone();
        let metrics = Self {
            classes: ["cancelled", "1xx", "2xx", "3xx", "4xx", "5xx"].map(class),
            log: AccessLog::new(log, registry),
        };
        let scope = registry.sub_registry_with_prefix("updraft");
        scope.register("requests", "Requests to services (request_count)", requests);
        metrics
    }
}

// === impl Trip ===

impl Trip {
    pub(crate) fn begin(metrics: Arc<Metrics>, clock: &Clock, access: Access) -> Self {
        let now = clock.instant();
        Self { metrics, clock: clock.clone(), begun: now, last: now, status: None, access: Box::new(access) }
    }

    /// What the log is to say.
    pub(crate) fn access(&mut self) -> &mut Access {
        &mut self.access
    }

    /// A stop is done.
    pub(crate) fn pass(&mut self, stop: Stop) {
        let now = self.clock.instant();
        let spent = now.saturating_duration_since(std::mem::replace(&mut self.last, now));
        *self.access.stops[stop as usize].get_or_insert_default() += spent;
    }

    /// It has a place, as of the stop before.
    pub(crate) fn placed(&mut self, admitted: &Admitted) {
        self.access.admitted(admitted, self.last);
    }

    /// The head of the answer is here, as of the stop before. Returns where the time went.
    pub(crate) fn headed(&mut self) -> Option<Waits> {
        let Place { admitted, timing, has_waited } = self.access.place?;
        let waits = waits::split(Milestones { begun: self.begun, admitted, answered: self.last }, timing);
        // What did not have to wait has nothing to tell but its latency.
        self.access.waits = has_waited.then(|| Box::new(waits));
        Some(waits)
    }

    /// There is no answer of an instance. If that is because there was no place, all of its time was the wait for one.
    pub(crate) fn gave_up(&mut self, why: Rejection) {
        use Rejection as R;
        if self.access.place.is_none() && matches!(why, R::NoInstance | R::NotInTime | R::StartFailed | R::Timeout) {
            let queued = self.clock.instant().saturating_duration_since(self.begun);
            self.access.waits = Some(Box::new(Waits { queued, ..Waits::default() }));
        }
    }

    /// The answer has this status.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Trip {
    fn drop(&mut self) {
        self.pass(Stop::Respond);
        let class = self.status.map_or(0, |status| usize::from(status.as_u16() / 100));
        if let Some(counter) = self.metrics.classes.get(class) {
            counter.inc();
        }
        let latency = self.last.saturating_duration_since(self.begun);
        self.metrics.log.write(&self.access, Outcome { status: self.status, latency }, &self.clock);
    }
}

impl fmt::Debug for Trip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trip").field("status", &self.status).finish_non_exhaustive()
    }
}
