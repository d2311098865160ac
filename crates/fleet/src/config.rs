//! What can be set.

use std::time::Duration;

/// How the fleet keeps instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetConfig {
    /// How long an instance without requests is kept. Cloud Run keeps it up to 15 minutes.
    pub idle: Duration,
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
            stop_grace: Duration::from_secs(10),
            drain: Duration::from_secs(10),
            queue: 10_000,
            attempts: 2,
        }
    }
}
