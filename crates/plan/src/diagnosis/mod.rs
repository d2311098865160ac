//! From what was seen of a start that failed to why it failed and what to do.
//!
//! The cause never says more than the evidence shows; where it is a guess, it is worded as one. What it
//! says is listed, with a container for nearly each of them, in docs/doctor.md.

mod exits;
mod facts;
mod images;
mod portless;
mod programs;
mod shells;
mod sidecars;
mod waiting;
mod words;

use std::time::Duration;

use updraft_model::{
    Reason,
    diagnosis::{Code, Diagnosis, ImageFault, printable},
    fault::StartFault,
    instance::{Exit, Inspection, Limits, Usage},
};

const MIB: u64 = 1 << 20;
/// Google's advice.
const MORE_MEMORY: &str = "Consider increasing the memory limit with --memory, see https://cloud.google.com/run/docs/configuring/memory-limits";

/// What is known of a start that failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// The port in `PORT`.
    pub port: u16,
    /// The sidecar that failed; `None` is the container that takes the traffic, and mostly the only one.
    pub sidecar: Option<String>,
    /// What ended the start.
    pub happened: Happened,
    /// How long its process ran, if it did.
    pub ran_for: Option<Duration>,
    /// Who has the port that it wanted, in a sentence, where instances share one network.
    pub crowded: Option<String>,
    /// The container's last lines, oldest first.
    pub last_lines: Vec<String>,
}

/// What ended a start.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// Its image is not here.
    Image {
        /// What is wrong.
        fault: ImageFault,
        /// Which image.
        image: String,
        /// What the registry, or who looked, said.
        cause: String,
    },
    /// What it gets from secrets cannot be read.
    Secrets {
        /// Which, and why, in sentences: a line for each.
        cause: String,
    },
    /// The disk of the host is full.
    NoSpace {
        /// What was tried.
        operation: String,
        /// What the host said.
        cause: String,
    },
    /// The host refused something else.
    Host {
        /// What was tried.
        operation: String,
        /// What the host said.
        cause: String,
    },
    /// It ended, or never ran.
    Exited(Exit),
    /// It runs and did not pass its startup probe.
    NotReady(Box<NotReady>),
}

/// An instance that did not pass its startup probe, as it was at that moment.
#[derive(Debug, Clone, PartialEq)]
pub struct NotReady {
    /// What was asked, and how that went.
    pub probe: ProbeReport,
    /// What it looked like; `None` when it had gone by then.
    pub seen: Option<Inspection>,
    /// What it used shortly before.
    pub recent: Option<Recent>,
    /// What it says to a plain HTTP/1.1 request, if that was tried.
    pub greeting: Option<Greeting>,
    /// What it may use.
    pub limits: Limits,
}

/// How a startup probe went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// What was asked.
    pub question: Question,
    /// On which port.
    pub port: u16,
    /// How long one answer may take.
    pub timeout: Duration,
    /// How long the instance had in all.
    pub allowed: Duration,
    /// What came of the last attempt.
    pub last: Answer,
    /// The last attempts, oldest first: when, counted from the first, and what came of it.
    pub transcript: Vec<(Duration, String)>,
    /// What the log says of it, in Google's words.
    pub log: String,
}

/// What a startup probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// A connection.
    Tcp,
    /// `GET` of this path.
    Http(String),
    /// The health of this service; empty for the whole server.
    Grpc(String),
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nobody took a connection.
    NotConnected,
    /// A connection was taken, and no answer came in time.
    Late,
    /// This HTTP status, and it is no success.
    Status(u16),
    /// This gRPC status, and it is not `OK`.
    Grpc(String),
    /// The health service says that it does not serve.
    NotServing,
    /// The connection broke off, or what came was not in the probe's language; how.
    Broken(String),
}

/// What a server says to a plain HTTP/1.1 request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Greeting {
    /// HTTP/1.1 with this status.
    Http1(u16),
    /// A frame of HTTP/2.
    Http2,
    /// A record of TLS.
    Tls,
    /// The end of the connection, without a word.
    Closed,
    /// Nothing, within the time that was given.
    Silence,
    /// This, which is none of these.
    Other(String),
}

/// CPU time used within a short time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recent {
    /// CPU time.
    pub cpu: Duration,
    /// Within this time.
    pub within: Duration,
}

/// A code with its cause and its advice.
struct Told {
    code: Code,
    cause: String,
    advice: String,
}

/// What is written for the container that takes the traffic.
const NAMED_PORT: &str = "the port that PORT names";

/// Finds out why a start failed.
pub fn diagnose(evidence: &Evidence) -> Diagnosis {
    let told = match &evidence.happened {
        Happened::Image { fault, image, cause } => images::image(*fault, image, cause),
        Happened::Secrets { cause } => told(Code::SecretUnreadable, cause, ""),
        Happened::NoSpace { operation, cause } => images::no_space(operation, cause),
        Happened::Host { operation, cause } => images::host(operation, cause),
        Happened::Exited(Exit::NotStarted { cause }) => programs::not_started(cause),
        Happened::Exited(exit) => exits::exited(exit, &evidence.last_lines),
        // A sidecar has no port but the one that it is asked on.
        Happened::NotReady(found) if evidence.sidecar.is_some() || evidence.port == 0 => {
            waiting::not_ready(found.probe.port, found)
        }
        Happened::NotReady(found) => waiting::not_ready(evidence.port, found),
    };
    let told = match &evidence.sidecar {
        Some(name) if !told.code.is_platform() => sidecars::of(name, evidence, told),
        None if evidence.port == 0 => portless::of(evidence, told),
        _ => told,
    };
    let Told { code, cause, advice } = match &evidence.crowded {
        Some(by) => crowded(&told.cause, by),
        None => told,
    };
    // Much of it quotes a container, a registry or names that a container gave itself.
    let shown = |text: String| printable(&text).into_owned();
    let facts = facts::of(evidence).into_iter().map(shown).collect();
    // Of secrets nothing is quoted but names of ours; and each has a line of its own.
    let cause = if code == Code::SecretUnreadable { cause } else { shown(cause) };
    Diagnosis { code, sentence: sentence(evidence, code), cause, advice: shown(advice), facts }
}

/// It ended because another instance of this machine, or another program, has its port.
fn crowded(ended: &str, by: &str) -> Told {
    Told {
        code: Code::PortTaken,
        cause: format!("{ended} {by}"),
        advice: "Listen on the port that PORT names, or deploy where instances have networks of their own.".to_owned(),
    }
}

/// The reason for programs that goes with what happened.
pub fn reason(happened: &Happened) -> Reason {
    match happened {
        Happened::Image { fault, .. } => match fault {
            ImageFault::Denied | ImageFault::Forbidden => Reason::ContainerPermissionDenied,
            ImageFault::TooSlow => Reason::ProgressDeadlineExceeded,
            ImageFault::Unreachable => Reason::Internal,
            ImageFault::Missing
            | ImageFault::Platform
            | ImageFault::NoCommand
            | ImageFault::Corrupt
            | ImageFault::Unfit => Reason::ContainerMissing,
        },
        Happened::Secrets { .. } => Reason::SecretsAccessCheckFailed,
        Happened::NoSpace { .. } | Happened::Host { .. } => Reason::Internal,
        Happened::Exited(Exit::Lost | Exit::NotStarted { cause: StartFault::Sandbox(_) }) => Reason::Internal,
        Happened::Exited(_) | Happened::NotReady(_) => Reason::HealthCheckContainerError,
    }
}

/// What happened: Google's sentence wherever it is the container that failed.
fn sentence(evidence: &Evidence, code: Code) -> String {
    match &evidence.happened {
        Happened::Image { fault, image, .. } => images::sentence(*fault, image),
        // Google has none of its own before the secrets.
        Happened::Secrets { .. } => String::new(),
        _ if code.is_platform() => "The platform could not start an instance.".to_owned(),
        happened if let Some(name) = &evidence.sidecar => sidecars::sentence(name, happened),
        happened if evidence.port == 0 => portless::sentence(happened).to_owned(),
        _ => format!(
            "The user-provided container failed to start and listen on the port defined provided by the PORT={} \
             environment variable within the allocated timeout.",
            evidence.port
        ),
    }
}

fn told(code: Code, cause: impl Into<String>, advice: impl Into<String>) -> Told {
    Told { code, cause: cause.into(), advice: advice.into() }
}

/// A cause of somebody else as a sentence.
fn as_sentence(text: &str) -> String {
    let mut letters = text.trim().chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

/// `0.12 s`, `240 s`.
fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(10) && time.subsec_millis() > 0 {
        format!("{:.2} s", time.as_secs_f64())
    } else {
        format!("{} s", time.as_secs())
    }
}

/// `a`, `a and b`, `a, b and c`.
fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

// === impl Recent ===

impl Recent {
    /// Which part of what its limit allows it used, in percent.
    fn percent(&self, limits: &Limits) -> u32 {
        let allowed = self.within.as_secs_f64() * f64::from(limits.cpu_millis) / 1000.0;
        if allowed <= 0.0 {
            return 0;
        }
        (self.cpu.as_secs_f64() / allowed * 100.0).round().clamp(0.0, 100.0) as u32
    }
}

// === impl Evidence ===

impl Evidence {
    /// For what happens before there is a process.
    pub fn of(port: u16, happened: Happened) -> Self {
        Self { port, sidecar: None, happened, ran_for: None, crowded: None, last_lines: Vec::new() }
    }

    fn usage(&self) -> Option<(Usage, Limits)> {
        match &self.happened {
            Happened::NotReady(found) => found.seen.as_ref().map(|seen| (seen.usage, found.limits)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
