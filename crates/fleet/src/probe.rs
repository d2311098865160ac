//! The startup probe: when is an instance up?
//!
//! Source: Cloud Run's health checks. The attempts are counted and limited as documented
//! (`failureThreshold` attempts, one each `period`), but within its period an attempt does not wait
//! for the next tick to see that the port is open: it looks again after 0.1 ms, and after
//! an eighth of the time so far, so that a fast application is known to be up within a fraction of its own start. To
//! look is to connect, or, where the engine can tell without, to ask whether that would do.
//!
//! The single attempts of the other probes are made here too ([`Target::ask`]); when, and what they mean, is
//! [`crate::health`]'s.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

mod ask;

use tokio::{net::TcpStream, sync::Notify};
use updraft_base::Clock;
use updraft_engine::Engine;
use updraft_model::{
    instance::{ContainerSpec, Inspection, InstanceId, InstanceSpec, Usage},
    revision::{Probe, ProbeKind},
};
use updraft_plan::diagnosis::{Answer, ProbeReport, Question};

use crate::{context::Context, instance::Instance};

/// The shortest wait between two looks.
const POLL_FIRST: Duration = Duration::from_micros(100);
/// The wait between two looks is such a part of the time so far: what is added to an application's own start is
/// at most that part of it, and an application that takes long is not asked often.
const POLL_SHARE: u32 = 8;
/// The longest wait between two looks, once an application has taken its time.
const POLL_CAP: Duration = Duration::from_millis(20);
/// How long a TCP port may take by default, in seconds.
const DEFAULT_SECONDS: i32 = 240;
/// So long before the last attempt ends, the use of CPU is read: what an instance does until then shows
/// whether it is at work.
const SAMPLE: Duration = Duration::from_secs(1);
/// Attempts that are kept for the report.
const TRANSCRIPT: usize = 5;

/// One container of an instance to probe.
pub(crate) struct Target<'a> {
    engine: &'a dyn Engine,
    clock: &'a Clock,
    id: &'a InstanceId,
    running: &'a Notify,
    container: &'a str,
    whose: Whose<'a>,
    /// The port of the container that takes the traffic, where the probe names none.
    port: u16,
}

/// Whose use of CPU and memory, and whose sockets, are those of a container?
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whose<'a> {
    /// The whole instance's: it has no other container.
    All,
    /// This sidecar's, or those of the container that takes the traffic.
    One(Option<&'a str>),
}

/// How a probe went: well, or why it failed.
pub(crate) type Verdict = Result<Passed, Box<Failed>>;

/// A probe that found the instance up.
#[derive(Debug)]
pub(crate) struct Passed {
    /// What the log says.
    pub(crate) log: String,
    /// The connection that it made to the container's port, if nothing was sent over it.
    pub(crate) connection: Option<TcpStream>,
}

/// A probe that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) report: ProbeReport,
    /// What had been used shortly before the end, and when that was read.
    pub(crate) sample: Option<(Instant, Usage)>,
}

/// The numbers of a probe, with their defaults.
pub(crate) struct Pace {
    pub(crate) delay: Duration,
    timeout: Duration,
    pub(crate) period: Duration,
    pub(crate) threshold: u32,
}

// === impl Whose ===

impl<'a> Whose<'a> {
    pub(crate) fn of(spec: &InstanceSpec, container: &'a ContainerSpec) -> Self {
        if spec.sidecars.is_empty() {
            return Self::All;
        }
        Self::One(spec.sidecar_name(container))
    }

    /// What is seen of it.
    pub(crate) async fn inspect(self, engine: &dyn Engine, id: &InstanceId) -> Option<Inspection> {
        match self {
            Self::All => engine.inspect(id).await,
            Self::One(sidecar) => engine.inspect_container(id, sidecar).await,
        }
    }

    async fn usage(self, engine: &dyn Engine, id: &InstanceId) -> Option<Usage> {
        match self {
            Self::All => engine.usage(id).await,
            Self::One(sidecar) => engine.inspect_container(id, sidecar).await.map(|seen| seen.usage),
        }
    }
}

// === impl Target ===

impl<'a> Target<'a> {
    pub(crate) fn new(
        context: &'a Context,
        instance: &'a Instance,
        (spec, container): (&InstanceSpec, &'a ContainerSpec),
    ) -> Self {
        Self {
            engine: &*context.engine,
            clock: &context.clock,
            id: &instance.id,
            running: &instance.running,
            container: &container.name,
            whose: Whose::of(spec, container),
            port: spec.port,
        }
    }

    /// Probes until the instance is up or the attempts are used up.
    pub(crate) async fn probe(&self, probe: &Probe) -> Verdict {
        let pace = Pace::of(probe);
        let port = self.port_of(probe);
        // A timer takes a millisecond even for nothing.
        if !pace.delay.is_zero() {
            self.clock.sleep(pace.delay).await;
        }
        let begun = self.clock.instant();
        let mut transcript = VecDeque::new();
        let (mut last, mut sample) = (Answer::NotConnected, None);
        for attempt in 1..=pace.threshold {
            let end = begun + pace.period.saturating_mul(attempt);
            let is_last = attempt == pace.threshold;
            let asked = async {
                let answer = self.attempt(&probe.kind, port, &pace, end).await;
                let at = self.clock.instant().saturating_duration_since(begun);
                if answer.is_err() {
                    self.clock.sleep_until(end).await;
                }
                (answer, at)
            };
            let reading = async {
                if is_last {
                    self.clock.sleep_until(end - SAMPLE.min(pace.period / 2)).await;
                    let usage = self.whose.usage(self.engine, self.id).await;
                    sample = usage.map(|usage| (self.clock.instant(), usage));
                }
                std::future::pending::<std::convert::Infallible>().await
            };
            let (answer, at) = tokio::select! {
                biased;
                asked = asked => asked,
                never = reading => match never {},
            };
            match answer {
                Ok(stream) => {
                    let connection = stream.filter(|_| port == self.port);
                    return Ok(Passed { log: self.succeeded(probe, port, attempt), connection });
                }
                Err(answer) => last = answer,
            }
            if transcript.len() == TRANSCRIPT {
                transcript.pop_front();
            }
            transcript.push_back((at, words(&probe.kind, &last)));
        }
        let report = ProbeReport {
            question: question(&probe.kind),
            port,
            timeout: pace.timeout,
            allowed: pace.delay + pace.period.saturating_mul(pace.threshold),
            log: self.failed(probe, port, pace.threshold, &words(&probe.kind, &last)),
            last,
            transcript: transcript.into(),
        };
        Err(Box::new(Failed { report, sample }))
    }

    /// Does the probe only ask whether somebody listens, from the first moment on? Then it can be asked before the
    /// process is known to run.
    pub(crate) fn only_connects(&self, probe: &Probe) -> bool {
        matches!(probe.kind, ProbeKind::Tcp { .. } | ProbeKind::Unset) && Pace::of(probe).delay.is_zero()
    }

    /// What the log says when the container ended while it was probed.
    pub(crate) fn cancelled(&self, probe: &Probe) -> String {
        self.failed(probe, self.port_of(probe), 1, "Connection failed with status CANCELLED.")
    }

    /// One attempt; `end` is when the next one is due. Returns a connection over which nothing was sent.
    async fn attempt(
        &self,
        kind: &ProbeKind,
        port: u16,
        pace: &Pace,
        end: Instant,
    ) -> Result<Option<TcpStream>, Answer> {
        let left = end.saturating_duration_since(self.clock.instant());
        let stream = self.clock.timeout(left, self.connect(port, pace.timeout)).await;
        let stream = stream.map_err(|_| Answer::NotConnected)?;
        match self.clock.timeout(pace.timeout, exchange(kind, stream)).await {
            Ok(answer) => answer,
            Err(_) => Err(Answer::Late),
        }
    }

    /// One attempt on a container that has been up: a new connection, the question and the answer, all within the
    /// probe's timeout. Nobody is waited for who does not listen.
    pub(crate) async fn ask(&self, probe: &Probe) -> Result<(), Answer> {
        let port = self.port_of(probe);
        let asked = async {
            let stream = self.engine.connect(self.id, port).await.map_err(|_| Answer::NotConnected)?;
            exchange(&probe.kind, stream).await.map(drop)
        };
        self.clock.timeout(Pace::of(probe).timeout, asked).await.unwrap_or(Err(Answer::Late))
    }

    /// The container's name.
    pub(crate) fn container(&self) -> &str {
        self.container
    }

    /// Connects as soon as somebody listens. The pause grows with the time that went by before the attempt.
    async fn connect(&self, port: u16, timeout: Duration) -> TcpStream {
        let begun = self.clock.instant();
        let mut sleeper = self.clock.precise_sleeper();
        loop {
            let so_far = self.clock.instant().saturating_duration_since(begun);
            let pause = (so_far / POLL_SHARE).clamp(POLL_FIRST, POLL_CAP);
            // What takes long is connected to whatever the engine says: the connection is what was promised, and a few
            // more cost nothing.
            let is_up = pause == POLL_CAP || self.engine.listens(self.id, port) != Some(false);
            if is_up && let Ok(Ok(stream)) = self.clock.timeout(timeout, self.engine.connect(self.id, port)).await {
                return stream;
            }
            tokio::select! {
                () = sleeper.sleep(pause) => {}
                () = self.running.notified() => {}
            }
        }
    }

    pub(crate) fn port_of(&self, probe: &Probe) -> u16 {
        let (ProbeKind::Http { port, .. } | ProbeKind::Tcp { port } | ProbeKind::Grpc { port, .. }) = probe.kind else {
            return self.port;
        };
        u16::try_from(port).ok().filter(|&port| port != 0).unwrap_or(self.port)
    }

    fn succeeded(&self, probe: &Probe, port: u16, attempts: u32) -> String {
        let (name, container) = (self.name(probe), self.container);
        let plural = if attempts == 1 { "" } else { "s" };
        format!("{name} probe succeeded after {attempts} attempt{plural} for container \"{container}\" on port {port}.")
    }

    fn failed(&self, probe: &Probe, port: u16, times: u32, cause: &str) -> String {
        let (name, container) = (self.name(probe), self.container);
        let plural = if times == 1 { "" } else { "s" };
        format!(
            "{name} probe failed {times} time{plural} consecutively for container \"{container}\" on port {port}. \
             The instance was not started. {cause}"
        )
    }

    /// `Default STARTUP TCP`, `STARTUP HTTP`, ….
    fn name(&self, probe: &Probe) -> &'static str {
        let is_default = probe.period == DEFAULT_SECONDS
            && probe.timeout == DEFAULT_SECONDS
            && probe.failure_threshold == 1
            && probe.initial_delay == 0
            && self.port_of(probe) == self.port;
        match probe.kind {
            ProbeKind::Unset => "Default STARTUP TCP",
            ProbeKind::Tcp { .. } if is_default => "Default STARTUP TCP",
            ProbeKind::Tcp { .. } => "STARTUP TCP",
            ProbeKind::Http { .. } => "STARTUP HTTP",
            ProbeKind::Grpc { .. } => "STARTUP GRPC",
        }
    }
}

// === impl Pace ===

impl Pace {
    pub(crate) fn of(probe: &Probe) -> Self {
        if probe.kind == ProbeKind::Unset {
            let whole = Duration::from_secs(240);
            return Self { delay: Duration::ZERO, timeout: whole, period: whole, threshold: 1 };
        }
        let seconds = |value: i32, default: u64| match u64::try_from(value) {
            Ok(0) | Err(_) => Duration::from_secs(default),
            Ok(value) => Duration::from_secs(value),
        };
        Self {
            delay: seconds(probe.initial_delay, 0),
            timeout: seconds(probe.timeout, 1),
            period: seconds(probe.period, 10),
            threshold: u32::try_from(probe.failure_threshold).ok().filter(|&times| times > 0).unwrap_or(3),
        }
    }
}

/// Asks over a new connection. Returns it if nothing was sent.
async fn exchange(kind: &ProbeKind, stream: TcpStream) -> Result<Option<TcpStream>, Answer> {
    match kind {
        ProbeKind::Tcp { .. } | ProbeKind::Unset => Ok(Some(stream)),
        ProbeKind::Http { path, headers, .. } => ask::http(stream, path, headers).await.map(|()| None),
        ProbeKind::Grpc { service, .. } => ask::grpc(stream, service).await.map(|()| None),
    }
}

fn question(kind: &ProbeKind) -> Question {
    match kind {
        ProbeKind::Tcp { .. } | ProbeKind::Unset => Question::Tcp,
        ProbeKind::Http { path, .. } if path.is_empty() => Question::Http("/".to_owned()),
        ProbeKind::Http { path, .. } => Question::Http(path.clone()),
        ProbeKind::Grpc { service, .. } => Question::Grpc(service.clone()),
    }
}

/// What the log says of an attempt that failed.
pub(crate) fn words(kind: &ProbeKind, answer: &Answer) -> String {
    let name = if matches!(kind, ProbeKind::Grpc { .. }) { "gRPC" } else { "HTTP" };
    match answer {
        Answer::NotConnected => "Connection failed with status DEADLINE_EXCEEDED.".to_owned(),
        Answer::Late => "The answer did not come in time (DEADLINE_EXCEEDED).".to_owned(),
        Answer::Status(status) => format!("HTTP probe failed with status code {status}."),
        Answer::Grpc(status) => format!("gRPC probe failed with status {status}."),
        Answer::NotServing => "gRPC probe failed: the service is not SERVING.".to_owned(),
        Answer::Broken(how) => format!("{name} probe failed: {how}."),
    }
}
