//! What can be set.

use std::time::Duration;

/// Long enough for what programs do after an answer: exporters of traces and metrics send what they gathered after five
/// seconds by default (OpenTelemetry), and servers close connections that rest after as long (Node, uvicorn), which
/// they could not while they are frozen.
const FREEZE_AFTER: Duration = Duration::from_secs(10);

/// How the fleet keeps instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetConfig {
    /// How long an instance without requests is kept. Cloud Run keeps it up to 15 minutes.
    pub idle: Duration,
    /// How long an instance may be without requests before it is frozen, where only requests are paid for; `None`:
    /// for ever.
    pub freeze_after: Option<Duration>,
    /// The CPU of this machine, in thousandths: no start is boosted beyond it.
    pub machine_millis: u32,
    /// From SIGTERM to SIGKILL. Cloud Run: 10 s.
    pub stop_grace: Duration,
    /// How long [`crate::Fleet::drain`] lets requests in flight finish before it stops their
    /// instances.
    pub drain: Duration,
    /// Requests that may wait for one revision; each holds a connection. More are refused.
    pub queue: usize,
    /// Starts that fail one after the other before the waiting requests are refused, and
    /// before a check fails for a fault of the platform.
    pub attempts: u32,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(15 * 60),
            freeze_after: Some(FREEZE_AFTER),
            machine_millis: std::thread::available_parallelism()
                .ok()
                .and_then(|cpus| u32::try_from(cpus.get()).ok()?.checked_mul(1000))
                .unwrap_or(1000),
            stop_grace: Duration::from_secs(10),
            drain: Duration::from_secs(10),
            queue: 10_000,
            attempts: 2,
        }
    }
}
