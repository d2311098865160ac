//! SIGTERM, SIGINT and SIGHUP.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask a process to end, and the one that may.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    hangup: Hangup,
}

/// What SIGHUP means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hangup {
    /// The terminal is gone, and with it whoever wanted this.
    Ends,
    /// Somebody believes that settings are read again.
    Reloads,
}

// === impl Signals ===

impl Signals {
    /// From now on they are for us.
    pub(super) fn catch(hangup: Hangup) -> std::io::Result<Self> {
        let [term, int, hup] = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        Ok(Self { term: term?, int: int?, hup: hup?, hangup })
    }

    /// The next that asks for the end.
    pub(super) async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.term.recv() => return "SIGTERM",
                _ = self.int.recv() => return "SIGINT",
                _ = self.hup.recv() => match self.hangup {
                    Hangup::Ends => return "SIGHUP",
                    Hangup::Reloads => {
                        tracing::warn!("SIGHUP: settings are only read at the start, and logs go to stderr; nothing is done");
                    }
                }
            }
        }
    }
}
