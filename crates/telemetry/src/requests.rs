//! What requests amount to, revision by revision, for Prometheus.
//!
//! Counted where requests are entered in their log, and not on their way. The names are those of Cloud Run's metrics under
//! `updraft_`, the labels those of its monitored resource. A revision that nobody has asked for an hour has no series any
//! more, and begins anew: what is remembered is bounded by what is in use, not by what was ever deployed.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use updraft_model::{
    channel::{RequestRecord, STOPS},
    name::ServiceName,
};

/// A revision without requests for so long has no series.
const FORGOTTEN: Duration = Duration::from_secs(3600);
/// How often those are looked for.
const PRUNE: Duration = Duration::from_secs(60);
/// So many revisions have series, those asked last. Each has some 65 lines of 170 bytes when it is asked for, so that all of
/// them are some 20 MB.
const REVISIONS: usize = 2_000;
/// So many more may have some before those asked longest ago go: to look for them takes longer than to count a request.
/// Whoever asks for many hosts at once, in vain even, so makes no more than these.
const SURPLUS: usize = REVISIONS / 8;
/// By the first digit of a status; 499 is the client's doing, as in the log.
const CLASSES: [&str; 6] = ["0xx", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The metrics of requests.
#[derive(Debug)]
pub(crate) struct RequestMetrics {
    known: Mutex<Known>,
    counts: Family<Code, Counter>,
    latencies: Family<Class, Histogram>,
    whole: Family<Whose, Histogram>,
    pending: Family<Whose, Histogram>,
    execution: Family<Whose, Histogram>,
    stops: [Histogram; STOPS.len()],
}

#[derive(Debug)]
struct Known {
    /// By service, then by the id of the revision; it is empty for requests that no revision was chosen for.
    series: HashMap<ServiceName, HashMap<String, Series>>,
    /// How many there are.
    count: usize,
    /// How many requests there were: the last of each revision says which were asked last, also of one moment.
    turns: u64,
    pruned: Instant,
}

/// Those of one revision, looked up once.
#[derive(Debug)]
struct Series {
    whose: Whose,
    counts: Vec<(u16, Counter)>,
    latencies: [Option<Histogram>; CLASSES.len()],
    whole: Histogram,
    pending: Histogram,
    execution: Histogram,
    seen: Instant,
    turn: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Whose {
    project_id: String,
    location: String,
    service_name: String,
    revision_name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    #[prometheus(flatten)]
    whose: Whose,
    response_code_class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    #[prometheus(flatten)]
    class: Class,
    response_code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Name {
    stop: &'static str,
}

// === impl RequestMetrics ===

impl RequestMetrics {
    pub(crate) fn new(registry: &mut Registry, now: Instant) -> Self {
        let stops = Family::<Name, Histogram>::new_with_constructor(stop_histogram);
        let metrics = Self {
            known: Mutex::new(Known { series: HashMap::new(), count: 0, turns: 0, pruned: now }),
            counts: Family::default(),
            latencies: Family::new_with_constructor(histogram),
            whole: Family::new_with_constructor(histogram),
            pending: Family::new_with_constructor(histogram),
            execution: Family::new_with_constructor(histogram),
            stops: STOPS.map(|stop| stops.get_or_create(&Name { stop }).clone()),
        };
        let scope = registry.sub_registry_with_prefix("updraft");
        scope.register("request_count", "Requests, by revision (request_count)", metrics.counts.clone());
        scope.register(
            "request_latencies_seconds",
            "Requests without the start of an instance (request_latencies)",
            metrics.latencies.clone(),
        );
        scope.register(
            "request_latency_e2e_latencies_seconds",
            "From the head of a request to the end of its answer (request_latency/e2e_latencies)",
            metrics.whole.clone(),
        );
        scope.register(
            "request_latency_pending_seconds",
            "What requests waited for a place in an instance, starts included (request_latency/pending)",
            metrics.pending.clone(),
        );
        scope.register(
            "request_latency_user_execution_seconds",
            "From the place in an instance to the end of the answer (request_latency/user_execution)",
            metrics.execution.clone(),
        );
        scope.register("request_stop_seconds", "Where the time of requests went in the front door", stops);
        metrics
    }

    /// Counts one request, at `now`.
    pub(crate) fn count(&self, request: &RequestRecord, now: Instant) {
        for (stop, took) in self.stops.iter().zip(request.stops) {
            took.inspect(|took| stop.observe(took.as_secs_f64()));
        }
        let mut known = self.known();
        known.turns += 1;
        let turn = known.turns;
        if now.saturating_duration_since(known.pruned) >= PRUNE {
            self.prune(&mut known, now);
        }
        let revision = request.revision().unwrap_or_default();
        let service = request.service();
        let has = known.series.get(service).is_some_and(|series| series.contains_key(revision));
        if !has {
            known.count += 1;
            let series = self.series(service, revision, now);
            known.series.entry(service.clone()).or_default().insert(revision.to_owned(), series);
        }
        if let Some(series) = known.series.get_mut(service).and_then(|series| series.get_mut(revision)) {
            (series.seen, series.turn) = (now, turn);
            series.count(self, request);
        }
        if known.count > REVISIONS + SURPLUS {
            self.prune(&mut known, now);
        }
    }

    fn series(&self, service: &ServiceName, revision: &str, now: Instant) -> Series {
        let whose = Whose {
            project_id: service.parent.project.clone(),
            location: service.parent.location.clone(),
            service_name: service.service.clone(),
            revision_name: revision.to_owned(),
        };
        Series {
            counts: Vec::new(),
            latencies: [const { None }; CLASSES.len()],
            whole: self.whole.get_or_create(&whose).clone(),
            pending: self.pending.get_or_create(&whose).clone(),
            execution: self.execution.get_or_create(&whose).clone(),
            seen: now,
            turn: 0,
            whose,
        }
    }

    fn prune(&self, known: &mut Known, now: Instant) {
        known.pruned = now;
        let mut turns: Vec<u64> = known.series.values().flat_map(HashMap::values).map(|series| series.turn).collect();
        turns.sort_unstable();
        // The last of those that are too many.
        let overflow = turns.len().checked_sub(REVISIONS + 1).map(|index| turns[index]);
        let goes = |series: &Series| {
            now.saturating_duration_since(series.seen) >= FORGOTTEN || overflow.is_some_and(|last| series.turn <= last)
        };
        for revisions in known.series.values_mut() {
            for (_, series) in revisions.extract_if(|_, series| goes(series)) {
                self.forget(&series);
                known.count -= 1;
            }
        }
        known.series.retain(|_, revisions| !revisions.is_empty());
    }

    fn forget(&self, series: &Series) {
        let whose = &series.whose;
        let class = |response_code_class| Class { whose: whose.clone(), response_code_class };
        for (response_code, _) in &series.counts {
            let class = class(class_of(*response_code));
            self.counts.remove(&Code { class, response_code: *response_code });
        }
        for name in CLASSES {
            self.latencies.remove(&class(name));
        }
        for family in [&self.whole, &self.pending, &self.execution] {
            family.remove(whose);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Series ===

impl Series {
    fn count(&mut self, metrics: &RequestMetrics, request: &RequestRecord) {
        let code = request.status;
        match self.counts.iter().find(|(known, _)| *known == code) {
            Some((_, counter)) => drop(counter.inc()),
            None => {
                let class = self.class(code);
                let counter = metrics.counts.get_or_create(&Code { class, response_code: code }).clone();
                counter.inc();
                self.counts.push((code, counter));
            }
        }
        // Without them it did not wait for a place.
        let waits = request.waits.as_deref().copied().unwrap_or_default();
        let (starting, pending) = (waits.starting(), waits.pending());
        let latency = request.latency;
        let served = latency.saturating_sub(starting).as_secs_f64();
        match &self.latencies[class_index(code)] {
            Some(histogram) => histogram.observe(served),
            None => {
                let histogram = metrics.latencies.get_or_create(&self.class(code)).clone();
                histogram.observe(served);
                self.latencies[class_index(code)] = Some(histogram);
            }
        }
        self.whole.observe(latency.as_secs_f64());
        self.pending.observe(pending.as_secs_f64());
        // What no instance took was not executed.
        if request.instance.is_some() {
            self.execution.observe(latency.saturating_sub(pending).as_secs_f64());
        }
    }

    fn class(&self, code: u16) -> Class {
        Class { whose: self.whose.clone(), response_code_class: class_of(code) }
    }
}

fn class_index(code: u16) -> usize {
    usize::from(code / 100).min(CLASSES.len() - 1)
}

fn class_of(code: u16) -> &'static str {
    CLASSES[class_index(code)]
}

/// Half a millisecond to 4 and a half minutes.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_5, 3.0, 13))
}

/// 10 µs to 5 minutes.
fn stop_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_01, 3.0, 17))
}

#[cfg(test)]
mod tests;
