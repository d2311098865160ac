//! Which of the logs of a service.

use crate::entry::LogEntry;

/// What the entries of a query are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Which {
    /// Everything but the scaler's decisions, which are for those who ask why.
    #[default]
    Output,
    /// What the scaler decided, and why (`varlog/scaling`).
    Decisions,
}

/// How the name of the log of decisions ends.
pub(crate) const SCALING: &str = "varlog%2Fscaling";

// === impl Which ===

impl Which {
    pub(crate) fn holds(self, entry: &LogEntry) -> bool {
        entry.log_name.ends_with(SCALING) == (self == Self::Decisions)
    }
}
