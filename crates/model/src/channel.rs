//! What domains tell each other, as types. The binary joins the ends.
//!
//! [`RevisionBook`], [`TaskBook`], [`RevisionHealth`], [`InstanceBook`] and [`crate::route::RouteTable`] are levels: the latest
//! snapshot is the whole truth; what is new in it a reader learns from [`Level::changes`]. [`LogLine`]s and
//! [`RequestRecord`]s are streams: counted, never silently lost. [`TaskEnd`]s are a stream whose items are acknowledged.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    condition::Reason,
    cpu::CpuTerms,
    diagnosis::Diagnosis,
    instance::{InstanceId, InstanceSpec, Secrets, Stream},
    job::{AttemptEnd, AttemptName},
    level::Level,
    name::{RevisionName, ServiceName},
    owner::Owner,
    receipt::Receipt,
    revision::{Probe, ScalingTargets},
    route::Route,
};

/// What must be startable. control → fleet.
#[derive(Debug, Clone, Default)]
pub struct RevisionBook {
    /// Every revision that may be asked for; what is not here has no instances.
    pub entries: Level<Arc<RevisionName>, Arc<BookEntry>>,
    /// Has everything been looked at that could be in it? As in [`crate::route::RouteTable`].
    pub is_whole: bool,
}

/// How one revision runs. Immutable as the revision itself, but for `secrets`, `min`, `max` and `check`.
#[derive(Debug, Clone, PartialEq)]
pub struct BookEntry {
    /// What to start.
    pub spec: Arc<InstanceSpec>,
    /// The values that go with it, as they are now: other ones reach instances that run by their volumes.
    pub secrets: Arc<Secrets>,
    /// Requests one instance takes at a time, 1 to 1000.
    pub concurrency: u32,
    /// Instances kept.
    pub min: u32,
    /// Instances allowed.
    pub max: u32,
    /// Of its CPU and of its places for requests, how much an instance is to use before there is another one.
    pub targets: ScalingTargets,
    /// When an instance has its CPU.
    pub cpu: CpuTerms,
    /// What ends the start of the container that takes the traffic; defaults filled in. Without one it is up when it
    /// runs, as what takes no traffic is: worker pools and tasks.
    pub startup_probe: Option<Probe>,
    /// The same for the sidecars that have one, by their names.
    pub sidecar_probes: BTreeMap<String, Probe>,
    /// What its containers are asked once they are up, by their names; that of the container that takes the traffic is
    /// among them. Only those that have such a probe.
    pub health_probes: BTreeMap<String, HealthProbes>,
    /// Is an instance to be started and probed now, to learn whether the revision works?
    pub check: Check,
    /// The address of the service account that its instances act as.
    pub account: String,
}

/// Which attempts at tasks are to run. control → fleet.
///
/// An attempt is in it from when it is written down that it has begun until it is written down how it ended. Once a
/// [`RevisionBook`] is whole, the attempts that a server before had begun have been looked at as well.
#[derive(Debug, Clone, Default)]
pub struct TaskBook {
    /// By their names; what is not here does not run, and what ran is ended.
    pub entries: Level<Arc<AttemptName>, Arc<TaskEntry>>,
}

/// How one attempt runs.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskEntry {
    /// What to start; of the rest only what is about starts has a meaning.
    pub runs: Arc<BookEntry>,
    /// Who has begun it.
    pub begun: Begun,
    /// What is to become of it.
    pub wish: Wish,
}

/// Who has begun an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// Nobody yet: it is to be started.
    Now,
    /// A server before this one. It runs and was taken over, or it is lost; it is never started again.
    Before,
}

/// What is to become of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It runs to its end.
    Run,
    /// It is to end, as its execution is cancelled.
    Cancel,
    /// It is to end, as it takes longer than it may.
    TimeOut,
}

/// How an attempt has ended. fleet → control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskEnd {
    /// Which.
    pub name: AttemptName,
    /// How.
    pub end: AttemptEnd,
    /// When.
    pub time: SystemTime,
    /// Dropped once it is written down: until then a successor of this server is told it again.
    pub receipt: Receipt,
}

/// Which instances there are, and as whom each acts. fleet → metadata.
///
/// An instance is in it before its program runs, and until it has ended; one that another server had started is in it
/// from when it belongs to a revision again.
#[derive(Debug, Clone, Default)]
pub struct InstanceBook {
    /// By their ids.
    pub entries: Level<InstanceId, Arc<Workload>>,
}

/// What an instance is of the rest of the world: the same for all instances of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Whose it is.
    pub owner: Owner,
    /// The address of the service account that it acts as.
    pub account: String,
}

/// What one container is asked once it is up. Defaults are filled in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HealthProbes {
    /// Its failure ends the instance.
    pub liveness: Option<Probe>,
    /// Its failure keeps new requests away until it succeeds again.
    pub readiness: Option<Probe>,
    /// Successes in a row of `readiness`, after it has failed, that let requests in again; at least 1.
    pub readiness_successes: u32,
}

/// Is a revision to be checked before it is called ready?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// Start one instance and say how it went.
    Wanted,
    /// It was checked before, or need not be.
    Done,
}

/// How the revisions of the book fare. fleet → control.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RevisionHealth {
    /// One entry per revision of the book that has something to say.
    pub entries: Level<Arc<RevisionName>, Health>,
}

/// How one revision fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The outcome of the check, once there is one.
    pub check: CheckOutcome,
    /// Instances that are up.
    pub ready: u32,
    /// Instances on their way up.
    pub starting: u32,
    /// Why the latest start failed, if none has succeeded since.
    pub trouble: Option<Arc<StartFailure>>,
}

/// The outcome of the check before ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckOutcome {
    /// None was asked for, or it is still under way.
    Pending,
    /// An instance came up and passed its startup probe.
    Passed,
    /// It did not.
    Failed(StartFailure),
}

/// Why an instance did not come up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartFailure {
    /// For programs.
    pub reason: Reason,
    /// For people: the whole text of the condition but for the revision's name, which the condition
    /// adds.
    pub diagnosis: Diagnosis,
    /// The container's last lines, oldest first.
    pub last_lines: Vec<String>,
}

/// One line of output, or of the platform about an instance. fleet, proxy → telemetry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was read.
    pub time: SystemTime,
    /// Whose it is.
    pub owner: Owner,
    /// Which instance wrote it, if one did.
    pub instance: Option<InstanceId>,
    /// Which container of it, if it has several.
    pub container: Option<String>,
    /// Where it came from.
    pub source: LogSource,
    /// The line, without its end.
    pub text: String,
    /// Dropped once the line has been written down, or given up.
    pub receipt: Receipt,
}

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogSource {
    /// The container.
    Container(Stream),
    /// The platform (`varlog/system`).
    System,
    /// The scaler: what it decided for a revision, and why (`varlog/scaling`).
    Scaling,
}

/// The stops of a request in the front door, in their order: its time is the sum of them. At `admit` it waits for a place
/// in an instance, at `forward` for the head of the answer, at `respond` for the end of it.
pub const STOPS: [&str; 6] = ["route", "authorise", "split", "admit", "forward", "respond"];

/// One request to a service, as its log has it. proxy → telemetry.
///
/// Source: the request log of Cloud Run (`google.logging.type.HttpRequest`).
#[derive(Debug, Clone, PartialEq)]
pub struct RequestRecord {
    /// When its head was here.
    pub time: SystemTime,
    /// Where its host led: counted, not copied, as one request is like the next.
    pub route: Arc<Route>,
    /// Which target of the route was chosen, if it came that far.
    pub target: Option<usize>,
    /// The instance that took it, if one did.
    pub instance: Option<InstanceId>,
    /// `GET` and its like.
    pub method: Cow<'static, str>,
    /// Whole, with scheme and host.
    pub url: String,
    /// `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'static str,
    /// Bytes of the request's body, as far as it was announced.
    pub request_bytes: Option<u64>,
    /// The code of the answer; 499 when the client went away before there was one.
    pub status: u16,
    /// Bytes of the answer's body that were passed on.
    pub response_bytes: u64,
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// Where it says it comes from.
    pub referer: Option<String>,
    /// Its address.
    pub remote: IpAddr,
    /// From the head of the request to the end of the answer.
    pub latency: Duration,
    /// Where the time until the first byte of the answer went, if the request had to wait for a place.
    pub waits: Option<Box<Waits>>,
    /// How long each of the [`STOPS`] took, if it was come to.
    pub stops: [Option<Duration>; STOPS.len()],
    /// The trace it belongs to.
    pub trace: Option<TraceContext>,
    /// Why there was no answer of the container's own.
    pub note: Option<&'static str>,
    /// What more there is to say about that: which rule a token breaks, which permission nobody grants.
    pub detail: Option<Box<str>>,
}

// === impl RequestRecord ===

impl RequestRecord {
    /// Whose it is.
    pub fn service(&self) -> &ServiceName {
        &self.route.service
    }

    /// The id of the revision that was chosen, if it came that far.
    pub fn revision(&self) -> Option<&str> {
        Some(&self.route.targets.get(self.target?)?.revision.revision)
    }
}

/// Where the time of a request went until the first byte of its answer; the parts are the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waits {
    /// It waited for a place, and not for the start of the instance that it got one in.
    pub queued: Duration,
    /// It waited for the sandbox of that instance.
    pub sandbox: Duration,
    /// It waited for the application in it.
    pub app: Duration,
    /// It had a place, and waited for the head of the answer.
    pub first_byte: Duration,
}

// === impl Waits ===

impl Waits {
    /// How long it waited for a place.
    pub fn pending(&self) -> Duration {
        self.queued + self.starting()
    }

    /// How much of that was the start of an instance.
    pub fn starting(&self) -> Duration {
        self.sandbox + self.app
    }
}

/// A trace, and the span of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never zero.
    pub trace: u128,
    /// The span; never zero.
    pub span: u64,
    /// Did the client ask for the trace to be kept?
    pub sampled: bool,
}
