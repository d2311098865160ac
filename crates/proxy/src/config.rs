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
    /// What becomes of requests to the paths that Cloud Run reserves.
    pub reserved_paths: ReservedPaths,
    /// Are clients told where the time of their requests went?
    pub server_timing: ServerTiming,
}

/// Are clients told, by `Server-Timing`, where the time until the first byte of an answer went? It tells whoever may call
/// a service how busy that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServerTiming {
    /// They are not.
    #[default]
    Hidden,
    /// They are, beside what the container says itself.
    Shown,
}

/// What becomes of requests to `/eventlog`, `/healthz` and everything below `/_ah/`. Source: Cloud Run's known issues,
/// "reserved URL paths".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReservedPaths {
    /// They are answered with 404, as at Cloud Run: what relies on such a path fails here too, and not first there.
    #[default]
    Refused,
    /// They reach the container like any other path.
    PassedOn,
}

/// The limit of HTTP/2's lists of headers for heads of so many bytes: each header counts 32 bytes more than it has (RFC
/// 9113, 6.5.2), trailers are such a list as well, and the library loses without a word what is above the limit in those.
/// Its default is 16 KiB, less than the metadata that gRPC allows itself.
pub(crate) fn list_bytes(header_bytes: usize) -> u32 {
    u32::try_from(header_bytes).unwrap_or(u32::MAX).max(64 << 10).saturating_add(16 << 10)
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            connections: 20_000,
            header_timeout: Duration::from_secs(30),
            header_bytes: 64 << 10,
            drain: Duration::from_secs(10),
            reserved_paths: ReservedPaths::default(),
            server_timing: ServerTiming::default(),
        }
    }
}
