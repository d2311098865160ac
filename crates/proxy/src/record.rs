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
use updraft_model::channel::{RequestRecord, STOPS, Waits};

use crate::{
    access::{Access, AccessLog, Outcome, Place},
    admit::Admitted,
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
    /// Where it is, since `last`.
    at: Stop,
    status: Option<StatusCode>,
    /// Was the head of an answer here, and is said where the time until then went?
    is_headed: bool,
    access: Box<Access>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    response_code_class: &'static str,
}

// === impl Stop ===

impl Stop {
    const ALL: [Self; STOPS.len()] =
        [Self::Route, Self::Authorise, Self::Split, Self::Admit, Self::Forward, Self::Respond];

    fn next(self) -> Self {
        Self::ALL.get(self as usize + 1).copied().unwrap_or(self)
    }
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
        Self {
            metrics,
            clock: clock.clone(),
            begun: now,
            last: now,
            at: Stop::Route,
            status: None,
            is_headed: false,
            access: Box::new(access),
        }
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
        self.at = stop.next();
    }

    /// It waits for a place, perhaps once more: the one that it had before was none.
    pub(crate) fn waits(&mut self) {
        self.at = Stop::Admit;
        self.access.place = None;
    }

    /// It has a place, as of the stop before.
    pub(crate) fn placed(&mut self, admitted: &Admitted) {
        self.access.admitted(admitted, self.last);
    }

    /// The head of the answer is here, as of the stop before. Returns where the time went.
    pub(crate) fn headed(&mut self) -> Option<Waits> {
        self.is_headed = true;
        let Place { admitted, timing, has_waited } = self.access.place?;
        let waits = waits::split(Milestones { begun: self.begun, admitted, answered: self.last }, timing);
        // What did not have to wait has nothing to tell but its latency.
        self.access.waits = has_waited.then(|| Box::new(waits));
        Some(waits)
    }

    /// Where its time went that has ended before there was an answer: refused, too late, or left by its client. If it
    /// never had a place, all of it was the wait for one.
    fn waited(&self) -> Option<Waits> {
        match self.access.place {
            Some(Place { has_waited: false, .. }) => None,
            Some(Place { admitted, timing, .. }) => {
                Some(waits::split(Milestones { begun: self.begun, admitted, answered: self.last }, timing))
            }
            None => {
                self.access.stops[Stop::Admit as usize]?;
                Some(Waits { queued: self.last.saturating_duration_since(self.begun), ..Waits::default() })
            }
        }
    }

    /// The answer has this status.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Trip {
    fn drop(&mut self) {
        self.pass(self.at);
        if !self.is_headed {
            self.access.waits = self.waited().map(Box::new);
        }
        // A container may say 600 and above, which is no success either.
        let last = self.metrics.classes.len() - 1;
        self.metrics.classes[self.status.map_or(0, |status| usize::from(status.as_u16() / 100).min(last))].inc();
        let latency = self.last.saturating_duration_since(self.begun);
        self.metrics.log.write(&self.access, Outcome { status: self.status, latency }, &self.clock);
    }
}

impl fmt::Debug for Trip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trip").field("status", &self.status).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stops_are_those_that_their_times_are_named_after() {
        for (index, (stop, name)) in Stop::ALL.into_iter().zip(STOPS).enumerate() {
            assert_eq!((stop as usize, format!("{stop:?}").to_lowercase()), (index, name.to_owned()));
        }
    }
}
