//! The probes of an instance that is up: does it live, and may it have requests?
//!
//! What the results mean is decided in [`updraft_plan::health`]. Here they are got: attempt by attempt, each over a
//! connection of its own, beside the requests. A probe is no request: it takes no place, and an instance that is only
//! probed is idle and is frozen when its time has come. A frozen instance is not asked, and its time stands still: what
//! was under way when it was frozen counts for nothing and is asked again when a request has thawed it, and the wait for
//! the next attempt goes on from where it was. So no probe fails for the time that an instance could not answer in.
//!
//! What the log says of liveness is Cloud Run's sentence, path and port included. What it says of readiness there was
//! nowhere to be seen; that is in the same manner. So is what it says of a gRPC probe's service.

use std::{sync::Arc, time::Duration};

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use updraft_base::Clock;
use updraft_model::{
    channel::BookEntry,
    revision::{Probe, ProbeKind},
};
use updraft_plan::{
    diagnosis::Answer,
    health::{self, History, Kind, Outcome, Rules, Verdict},
};

use crate::{
    context::Context,
    instance::Instance,
    metrics::{ProbeKind as Counted, ProbeResult},
    probe::{self, Target},
    revision::Revision,
};

/// One probe of one container of an instance.
struct Watch<'a> {
    context: &'a Context,
    revision: &'a Arc<Revision>,
    instance: &'a Arc<Instance>,
    target: Target<'a>,
    probe: &'a Probe,
    rules: Rules,
}

/// The time in which an instance is not frozen.
struct Awake<'a> {
    clock: &'a Clock,
    /// Is it frozen?
    frozen: watch::Receiver<bool>,
    /// For how long it has been awake.
    time: Duration,
}

/// Probes an instance that has been up from this moment on. Ends when a liveness probe has decided that it must go, and
/// never if it has none.
pub(crate) async fn until_ill(
    context: &Context,
    revision: &Arc<Revision>,
    (instance, entry): (&Arc<Instance>, &BookEntry),
) {
    let mut watches = FuturesUnordered::new();
    for container in entry.spec.containers() {
        let Some(probes) = entry.health_probes.get(&container.name) else { continue };
        for (kind, probe) in [(Kind::Liveness, &probes.liveness), (Kind::Readiness, &probes.readiness)] {
            let Some(probe) = probe else { continue };
            let target = Target::new(context, instance, (&entry.spec, container));
            let rules = rules(kind, probe, probes.readiness_successes);
            watches.push(Watch { context, revision, instance, target, probe, rules }.until_ill());
        }
    }
    if watches.next().await.is_none() {
        std::future::pending().await
    }
}

fn rules(kind: Kind, probe: &Probe, successes: u32) -> Rules {
    let pace = probe::Pace::of(probe);
    Rules { kind, delay: pace.delay, period: pace.period, failures: pace.threshold, successes: successes.max(1) }
}

// === impl Watch ===

impl Watch<'_> {
    async fn until_ill(self) {
        let mut history = History::default();
        let frozen = self.instance.frost.watch();
        let mut awake = Awake { clock: &self.context.clock, frozen, time: Duration::ZERO };
        let mut cause = String::new();
        loop {
            let plan = health::plan(&self.rules, &history, awake.time);
            if let Some(verdict) = plan.verdict {
                history.follow(verdict);
                self.follow(verdict, &cause);
            }
            let Some(again) = plan.again_in else { return };
            awake.sleep(again).await;
            let begun = awake.time;
            // One that was cut short by the cold is due still.
            let Some(answer) = awake.during(self.target.ask(self.probe)).await else { continue };
            let outcome = match answer {
                Ok(()) => Outcome::Passed,
                Err(answer) => {
                    cause = words(&self.probe.kind, &answer);
                    Outcome::Failed
                }
            };
            self.context.metrics.probe_attempt(self.counted(), result(outcome));
            history.note(begun, outcome);
        }
    }

    /// Tells everybody what was found; that the instance is to end is what the end of the watch says.
    fn follow(&self, verdict: Verdict, cause: &str) {
        self.context.say(self.instance, self.sentence(verdict, cause));
        let outcome = match verdict {
            Verdict::Well { .. } | Verdict::Restore { .. } => Outcome::Passed,
            Verdict::Withhold { .. } | Verdict::Kill { .. } => Outcome::Failed,
        };
        self.context.metrics.probe_completed(self.counted(), result(outcome));
        match verdict {
            Verdict::Withhold { .. } => self.revision.became_unready(self.instance),
            Verdict::Restore { .. } => self.revision.became_ready(self.instance),
            Verdict::Well { .. } | Verdict::Kill { .. } => {}
        }
    }

    fn sentence(&self, verdict: Verdict, cause: &str) -> String {
        let (what, how) = match self.rules.kind {
            Kind::Liveness => ("LIVENESS", "The instance has been shut down."),
            Kind::Readiness => ("READINESS", "The instance gets no new requests until it succeeds again."),
        };
        let (what, whom) = (format!("{what} {} probe", protocol(&self.probe.kind)), self.whom());
        match verdict {
            Verdict::Well { attempts } | Verdict::Restore { attempts } => {
                format!("{what} succeeded after {} for container {whom}.", times(attempts, "attempt"))
            }
            Verdict::Withhold { failures } | Verdict::Kill { failures } => {
                format!("{what} failed {} consecutively for container {whom}. {how} {cause}", times(failures, "time"))
            }
        }
    }

    /// `"app" on port 8080 path "/healthz"`.
    fn whom(&self) -> String {
        let (container, port) = (self.target.container(), self.target.port_of(self.probe));
        let rest = match &self.probe.kind {
            ProbeKind::Http { path, .. } if path.is_empty() => " path \"/\"".to_owned(),
            ProbeKind::Http { path, .. } => format!(" path \"{path}\""),
            ProbeKind::Grpc { service, .. } if !service.is_empty() => format!(" service \"{service}\""),
            ProbeKind::Grpc { .. } | ProbeKind::Tcp { .. } | ProbeKind::Unset => String::new(),
        };
        format!("\"{container}\" on port {port}{rest}")
    }

    fn counted(&self) -> Counted {
        match self.rules.kind {
            Kind::Liveness => Counted::Liveness,
            Kind::Readiness => Counted::Readiness,
        }
    }
}

// === impl Awake ===

impl Awake<'_> {
    /// Waits until it has been awake for so much longer.
    async fn sleep(&mut self, time: Duration) {
        let end = self.time + time;
        while self.time < end {
            let clock = self.clock;
            self.during(clock.sleep(end - self.time)).await;
        }
    }

    /// Does something while it is awake, waiting until it is; `None` if it was frozen before that was done.
    async fn during<F: Future>(&mut self, work: F) -> Option<F::Output> {
        // An error cannot be: the sender is the instance's own.
        let _ = self.frozen.wait_for(|frozen| !frozen).await;
        let begun = self.clock.instant();
        let done = tokio::select! {
            biased;
            done = work => Some(done),
            _ = self.frozen.changed() => None,
        };
        self.time += self.clock.instant().saturating_duration_since(begun);
        done
    }
}

fn result(outcome: Outcome) -> ProbeResult {
    match outcome {
        Outcome::Passed => ProbeResult::Success,
        Outcome::Failed => ProbeResult::Failure,
    }
}

fn protocol(kind: &ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Http { .. } => "HTTP",
        ProbeKind::Grpc { .. } => "GRPC",
        ProbeKind::Tcp { .. } | ProbeKind::Unset => "TCP",
    }
}

/// `1 time`, `2 times`.
fn times(count: u32, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// What the log says of an attempt that failed. At a start it takes time until somebody listens; later nobody does.
fn words(kind: &ProbeKind, answer: &Answer) -> String {
    match answer {
        Answer::NotConnected => "Connection failed with status ERROR_CONNECTION_FAILED.".to_owned(),
        answer => probe::words(kind, answer),
    }
}
