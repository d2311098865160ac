//! SIGTERM, SIGINT and SIGHUP.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask a process to end, and the one that asks it to read its settings again.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

// === impl Signals ===

impl Signals {
    /// From now on they are for us.
    pub(super) fn catch() -> std::io::Result<Self> {
        let [term, int, hup] = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        Ok(Self { term: term?, int: int?, hup: hup? })
    }

    /// The next that asks for the end. SIGHUP does not: nothing can be read again yet, and a terminal that is closed
    /// is no reason to end what others use.
    pub(super) async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.term.recv() => return "SIGTERM",
                _ = self.int.recv() => return "SIGINT",
                _ = self.hup.recv() => {
                    tracing::warn!("SIGHUP: settings are only read at the start, and logs go to stderr; nothing is done");
                }
            }
        }
    }
}
