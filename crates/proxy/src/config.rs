//! What can be set.

use std::time::Duration;

/// How the front door treats connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Connections of clients that may be open at a time; above it the next ones wait to be accepted.
    /// An upgraded one counts as a request of its instance instead.
    pub connections: usize,
    /// How long a client may take for the head of a request, and for its first bytes before that.
    pub header_timeout: Duration,
    /// The largest head of a request or an answer, in bytes. At least 64 KiB: gRPC metadata and
    /// cookies are large.
    pub header_bytes: usize,
    /// How long requests in flight may take to finish once the server is asked to end.
    pub drain: Duration,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            connections: 20_000,
            header_timeout: Duration::from_secs(30),
            header_bytes: 64 << 10,
            drain: Duration::from_secs(10),
        }
    }
}
