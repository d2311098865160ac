//! The end of an instance, as the engine tells it.

use std::{fmt, time::SystemTime};

use updraft_model::instance::Exit;

/// How an instance has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The sidecar that ended it; `None` is the container that takes the traffic.
    pub(crate) sidecar: Option<String>,
    /// How that ended.
    pub(crate) exit: Exit,
    /// When.
    pub(crate) time: SystemTime,
}

// === impl Ended ===

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.sidecar {
            write!(f, "Container \"{name}\" ended, and with it the instance. ")?;
        }
        self.exit.fmt(f)
    }
}
