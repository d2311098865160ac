//! Why a start failed, in words.
//!
//! Google's sentence comes first because tools look for it; the true cause follows.

use updraft_engine::EngineError;
use updraft_model::{
    channel::{BookEntry, StartFailure},
    condition::Reason,
    instance::Exit,
};

use crate::instance::Instance;

/// What made a start fail.
#[derive(Debug)]
pub(crate) enum Cause {
    /// The engine could not start it.
    Engine(EngineError),
    /// It ended before it was ready.
    Exited(Exit),
    /// It did not pass its startup probe; what the log says of it.
    Probe(String),
}

/// Is another try worth the wait?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// The fault is the platform's: it says nothing of the revision, whose check stays open.
    Platform,
    MayHelp,
    Useless,
}

// === impl Cause ===

impl Cause {
    /// May another try help? An image that is missing is missing the next time too.
    pub(crate) fn retry(&self) -> Retry {
        match self {
            Self::Engine(EngineError::Unavailable { .. } | EngineError::Host { .. }) => Retry::Platform,
            Self::Exited(Exit::Lost) => Retry::Platform,
            Self::Engine(_) | Self::Exited(Exit::NotStarted { .. }) => Retry::Useless,
            Self::Exited(_) | Self::Probe(_) => Retry::MayHelp,
        }
    }

    pub(crate) fn into_failure(self, entry: &BookEntry, instance: &Instance) -> StartFailure {
        let platform = self.retry() == Retry::Platform;
        let (reason, cause) = match self {
            Self::Engine(error) if platform => (Reason::Internal, ours(&format!("{error}."))),
            Self::Exited(exit) if platform => (Reason::Internal, ours(&exit.to_string())),
            Self::Engine(error) => (engine_reason(&error), format!("{error}.")),
            Self::Exited(exit @ Exit::NotStarted { .. }) => {
                (Reason::HealthCheckContainerError, format!("The user-provided container failed to start. {exit}"))
            }
            Self::Exited(exit) => (Reason::HealthCheckContainerError, not_listening(entry, &exit.to_string())),
            Self::Probe(transcript) => (Reason::HealthCheckContainerError, not_listening(entry, &transcript)),
        };
        let cause = match instance.crowded() {
            Some(why) => format!("{cause} {why}"),
            None => cause,
        };
        StartFailure { reason, cause, last_lines: instance.last_lines() }
    }
}

fn ours(cause: &str) -> String {
    format!("The platform could not start an instance. {cause}")
}

fn not_listening(entry: &BookEntry, cause: &str) -> String {
    format!(
        "The user-provided container failed to start and listen on the port defined provided by the PORT={} \
         environment variable within the allocated timeout. {cause}",
        entry.spec.port
    )
}

fn engine_reason(error: &EngineError) -> Reason {
    match error {
        EngineError::ImageMissing { .. } | EngineError::ImageUnfit { .. } => Reason::ContainerMissing,
        EngineError::ImageDenied { .. } => Reason::ContainerPermissionDenied,
        _ => Reason::Internal,
    }
}
