//! What is counted.
//!
//! Names begin with `updraft_`; times are in seconds. Nothing here is labelled with a revision: a hundred thousand of them
//! must not make a hundred thousand series. What those that run are doing is in [`crate::series`].

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// The fleet's metrics. Cloud Run's name of each is in its help text.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) starting: Gauge,
    pub(crate) ready: Gauge,
    pub(crate) draining: Gauge,
    pub(crate) unready: Gauge,
    pub(crate) pending_requests: Gauge,
    pub(crate) starts: Counter,
    pub(crate) start_failures: Counter,
    pub(crate) start_seconds: Histogram,
    pub(crate) frozen: Gauge,
    pub(crate) freezes: Counter,
    pub(crate) thaw_seconds: Histogram,
    pub(crate) log_lines_dropped: Counter,
    completed_probes: Family<Probed, Counter>,
    probe_attempts: Family<Probed, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

/// How a probe, or an attempt of one, went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProbeResult {
    Success,
    Failure,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Probed {
    kind: &'static str,
    result: &'static str,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let instances = Family::<State, Gauge>::default();
        let of = |state| instances.get_or_create(&State { state }).clone();
        let metrics = Self {
            starting: of("starting"),
            ready: of("ready"),
            draining: of("draining"),
            unready: Gauge::default(),
            pending_requests: Gauge::default(),
            starts: Counter::default(),
            start_failures: Counter::default(),
            start_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 18)),
            frozen: Gauge::default(),
            freezes: Counter::default(),
            thaw_seconds: Histogram::new(exponential_buckets(0.000_01, 2.0, 14)),
            log_lines_dropped: Counter::default(),
            completed_probes: Family::default(),
            probe_attempts: Family::default(),
        };
        let scope = registry.sub_registry_with_prefix("updraft");
        scope.register("instances", "Live instances, of all revisions together", instances);
        scope.register(
            "pending_requests",
            "Requests that wait for an instance, to all revisions together",
            metrics.pending_requests.clone(),
        );
        scope.register("instance_starts", "Instances that were started", metrics.starts.clone());
        scope.register("instance_start_failures", "Starts that failed", metrics.start_failures.clone());
        scope.register(
            "instance_start_seconds",
            "From the decision to ready (container/startup_latencies)",
            metrics.start_seconds.clone(),
        );
        scope.register("frozen_instances", "Instances that are ready, idle and frozen", metrics.frozen.clone());
        scope.register("instance_freezes", "Idle instances that were frozen", metrics.freezes.clone());
        scope.register(
            "instance_thaw_seconds",
            "What requests waited for frozen instances to be thawed",
            metrics.thaw_seconds.clone(),
        );
        metrics.register_probes(scope);
        scope.register("log_lines_dropped", "Lines for which the log had no room", metrics.log_lines_dropped.clone());
        metrics
    }

    fn register_probes(&self, scope: &mut Registry) {
        scope.register(
            "unready_instances",
            "Instances that are ready but for a readiness probe that has failed: they get no new requests",
            self.unready.clone(),
        );
        scope.register(
            "completed_probes",
            "Probes that came to a result: one for each row of attempts (container/completed_probe_count)",
            self.completed_probes.clone(),
        );
        scope.register(
            "completed_probe_attempts",
            "Single attempts of liveness and readiness probes (container/completed_probe_attempt_count)",
            self.probe_attempts.clone(),
        );
    }

    /// A probe has decided something.
    pub(crate) fn probe_completed(&self, kind: ProbeKind, result: ProbeResult) {
        self.completed_probes.get_or_create(&Probed::of(kind, result)).inc();
    }

    /// A liveness or readiness probe has got an answer, or none.
    pub(crate) fn probe_attempt(&self, kind: ProbeKind, result: ProbeResult) {
        self.probe_attempts.get_or_create(&Probed::of(kind, result)).inc();
    }
}

// === impl Probed ===

impl Probed {
    fn of(kind: ProbeKind, result: ProbeResult) -> Self {
        let kind = match kind {
            ProbeKind::Startup => "startup",
            ProbeKind::Liveness => "liveness",
            ProbeKind::Readiness => "readiness",
        };
        let result = match result {
            ProbeResult::Success => "success",
            ProbeResult::Failure => "failure",
        };
        Self { kind, result }
    }
}
