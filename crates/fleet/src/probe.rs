//! The startup probe: when is an instance up?
//!
//! Source: Cloud Run's health checks. The attempts are counted and limited as documented
//! (`failureThreshold` attempts, one each `period`), but within its period an attempt does not wait
//! for the next tick to see that the port is open: it tries to connect again after 0.1 ms, 0.2 ms,
//! … so that a fast application is known to be up within a fraction of its own start.

use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use updraft_base::{Backoff, Clock};
use updraft_engine::Engine;
use updraft_model::{
    instance::InstanceId,
    revision::{Probe, ProbeKind},
};

/// The wait after the first refused connection; it doubles up to [`POLL_CAP`].
const POLL_FIRST: Duration = Duration::from_micros(100);
/// The longest wait between two connections, once an application has taken its time.
const POLL_CAP: Duration = Duration::from_millis(20);
/// How long a TCP port may take by default, in seconds.
const DEFAULT_SECONDS: i32 = 240;
/// The most of a probe's answer that is read.
const ANSWER_MAX: usize = 64 << 10;

/// One instance to probe.
pub(crate) struct Target<'a> {
    pub(crate) engine: &'a dyn Engine,
    pub(crate) clock: &'a Clock,
    pub(crate) id: &'a InstanceId,
    pub(crate) container: &'a str,
    /// The container's port, where the probe names none.
    pub(crate) port: u16,
}

/// How a probe went, as the log says it.
pub(crate) type Verdict = Result<String, String>;

/// The numbers of a probe, with their defaults.
struct Pace {
    delay: Duration,
    timeout: Duration,
    period: Duration,
    threshold: u32,
}

// === impl Target ===

impl Target<'_> {
    /// Probes until the instance is up or the attempts are used up.
    pub(crate) async fn probe(&self, probe: &Probe) -> Verdict {
        let pace = Pace::of(probe);
        let port = self.port_of(probe);
        self.clock.sleep(pace.delay).await;
        let begun = self.clock.instant();
        let mut last = String::new();
        for attempt in 1..=pace.threshold {
            let end = begun + pace.period.saturating_mul(attempt);
            match self.attempt(&probe.kind, port, &pace, end).await {
                Ok(()) => return Ok(self.succeeded(probe, port, attempt)),
                Err(cause) => last = cause,
            }
            self.clock.sleep_until(end).await;
        }
        Err(self.failed(probe, port, pace.threshold, &last))
    }

    /// What the log says when the container ended while it was probed.
    pub(crate) fn cancelled(&self, probe: &Probe) -> String {
        self.failed(probe, self.port_of(probe), 1, "Connection failed with status CANCELLED.")
    }

    /// One attempt; `end` is when the next one is due.
    async fn attempt(&self, kind: &ProbeKind, port: u16, pace: &Pace, end: std::time::Instant) -> Result<(), String> {
        let left = end.saturating_duration_since(self.clock.instant());
        let stream = self.clock.timeout(left, self.connect(port, pace.timeout)).await;
        let stream = stream.map_err(|_| "Connection failed with status DEADLINE_EXCEEDED.".to_owned())?;
        let asked = async {
            match kind {
                ProbeKind::Tcp { .. } | ProbeKind::Unset => Ok(()),
                ProbeKind::Http { path, headers, .. } => ask_http(stream, path, headers).await,
                ProbeKind::Grpc { service, .. } => ask_grpc(stream, service).await,
            }
        };
        match self.clock.timeout(pace.timeout, asked).await {
            Ok(answer) => answer,
            Err(_) => Err("The answer did not come in time (DEADLINE_EXCEEDED).".to_owned()),
        }
    }

    /// Connects as soon as somebody listens.
    async fn connect(&self, port: u16, timeout: Duration) -> TcpStream {
        let mut backoff = Backoff::new(POLL_FIRST, POLL_CAP);
        loop {
            if let Ok(Ok(stream)) = self.clock.timeout(timeout, self.engine.connect(self.id, port)).await {
                return stream;
            }
            self.clock.sleep(backoff.next_exact()).await;
        }
    }

    fn port_of(&self, probe: &Probe) -> u16 {
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
    fn of(probe: &Probe) -> Self {
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

/// GET over HTTP/1.1; 2xx and 3xx pass.
async fn ask_http(stream: TcpStream, path: &str, headers: &[(String, String)]) -> Result<(), String> {
    let path = if path.is_empty() { "/" } else { path };
    let mut request =
        Request::get(path).header(header::USER_AGENT, "updraft-probe").header(header::CONNECTION, "close");
    let own_host = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    if !own_host {
        request = request.header(header::HOST, "localhost");
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| format!("The probe is malformed: {error}."))?;
    let broken = |error: hyper::Error| format!("HTTP probe failed: {error}.");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let exchange = std::pin::pin!(sender.send_request(request));
    let status = beside(exchange, std::pin::pin!(connection)).await.map_err(broken)?.status();
    match status {
        status if status.is_success() || status.is_redirection() => Ok(()),
        status => Err(format!("HTTP probe failed with status code {}.", status.as_u16())),
    }
}

/// `grpc.health.v1.Health/Check` over h2c; `SERVING` passes.
async fn ask_grpc(stream: TcpStream, service: &str) -> Result<(), String> {
    const SERVING: &[u8] = &[8, 1];
    let request = Request::post("http://localhost/grpc.health.v1.Health/Check")
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::new(health_request(service)))
        .map_err(|error| format!("The probe is malformed: {error}."))?;
    let broken = |error: hyper::Error| format!("gRPC probe failed: {error}.");
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let handshake = builder.max_header_list_size(64 << 10).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(broken)?;
    let exchange = std::pin::pin!(async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let head = response.headers().get("grpc-status").cloned();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let body = body.map_err(|error| format!("gRPC probe failed: {error}."))?;
        let status = head.or_else(|| body.trailers().and_then(|trailers| trailers.get("grpc-status").cloned()));
        Ok::<_, String>((status, body.to_bytes()))
    });
    let (status, message) = beside(exchange, std::pin::pin!(connection)).await?;
    match status.as_ref().map(|status| status.as_bytes()) {
        Some(b"0") if message.get(5..) == Some(SERVING) => Ok(()),
        Some(b"0") => Err("gRPC probe failed: the service is not SERVING.".to_owned()),
        Some(code) => Err(format!("gRPC probe failed with status {}.", String::from_utf8_lossy(code))),
        None => Err("gRPC probe failed: the answer has no status.".to_owned()),
    }
}

/// `HealthCheckRequest { service }` in a gRPC frame.
fn health_request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
            length >>= 7;
        }
        message.push(u8::try_from(length).unwrap_or(0));
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    frame.extend_from_slice(&message);
    frame.into()
}

/// Runs an exchange and the connection it needs in one task.
async fn beside<E, C>(exchange: E, connection: C) -> E::Output
where
    E: Future + Unpin,
    C: Future + Unpin,
{
    match select(exchange, connection).await {
        Either::Left((output, _)) => output,
        // The connection is closed; what was read before is still there.
        Either::Right((_, exchange)) => exchange.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_request_is_a_grpc_frame() {
        assert_eq!(&health_request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&health_request("ab")[..], [0, 0, 0, 0, 4, 10, 2, b'a', b'b']);
        let long = health_request(&"x".repeat(200));
        assert_eq!((&long[5..8], long.len()), (&[10, 0xc8, 1][..], 5 + 3 + 200));
    }
}
