//! Why a start failed: from what the engine and the probe say to what is judged and told.

use std::time::Duration;

use updraft_engine::EngineError;
use updraft_model::{
    channel::{BookEntry, StartFailure},
    diagnosis::ImageFault,
    fault::StartFault,
    instance::Exit,
};
use updraft_plan::diagnosis::{self, Evidence, Happened, NotReady};

use crate::{ended::Ended, instance::Instance};

/// What made a start fail.
#[derive(Debug)]
pub(crate) enum Cause {
    /// The engine could not start it.
    Engine(EngineError),
    /// A secret of a variable cannot be read.
    Secrets(String),
    /// It ended before it was ready, so long after its start.
    Exited(Ended, Duration),
    /// This sidecar, or the container that takes the traffic, did not pass its startup probe within this time; what it
    /// looked like then.
    NotReady(Option<String>, Box<NotReady>, Duration),
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
            Self::Engine(EngineError::Unavailable { .. } | EngineError::Host { .. } | EngineError::NoSpace { .. }) => {
                Retry::Platform
            }
            Self::Exited(Ended { exit, .. }, _) => match exit {
                Exit::Lost | Exit::NotStarted { cause: StartFault::Sandbox(_) } => Retry::Platform,
                Exit::NotStarted { .. } => Retry::Useless,
                _ => Retry::MayHelp,
            },
            Self::Engine(_) => Retry::Useless,
            // As soon as somebody gives the right back, or enables the version.
            Self::NotReady(..) | Self::Secrets(_) => Retry::MayHelp,
        }
    }

    pub(crate) fn into_failure(self, entry: &BookEntry, instance: &Instance) -> StartFailure {
        let (sidecar, happened, ran_for) = match self {
            Self::Engine(error) => (None, of_engine(error), None),
            Self::Secrets(cause) => (None, Happened::Secrets { cause }, None),
            Self::Exited(Ended { sidecar, exit, .. }, after) => {
                let ran = !matches!(exit, Exit::NotStarted { .. });
                (sidecar, Happened::Exited(exit), ran.then_some(after))
            }
            Self::NotReady(sidecar, found, after) => (sidecar, Happened::NotReady(found), Some(after)),
        };
        let reason = diagnosis::reason(&happened);
        let last_lines = instance.last_lines(sidecar.as_ref());
        let evidence = Evidence {
            port: entry.spec.port,
            sidecar,
            happened,
            ran_for,
            crowded: instance.crowded().map(str::to_owned),
            last_lines,
        };
        let diagnosis = diagnosis::diagnose(&evidence);
        StartFailure { reason, diagnosis, last_lines: evidence.last_lines }
    }
}

fn of_engine(error: EngineError) -> Happened {
    let image = |fault, image, cause| Happened::Image { fault, image, cause };
    match error {
        EngineError::ImageMissing { image: name, cause } => image(ImageFault::Missing, name, cause),
        EngineError::ImageDenied { image: name, cause } => image(ImageFault::Denied, name, cause),
        EngineError::ImageUnfit { image: name, fault, cause } => image(fault, name, cause),
        EngineError::Unavailable { image: name, cause } => image(ImageFault::Unreachable, name, cause),
        EngineError::NoSpace { operation, cause } => Happened::NoSpace { operation, cause },
        EngineError::Unsupported { feature, cause } => Happened::Host { operation: feature, cause },
        EngineError::Host { operation, cause } => Happened::Host { operation, cause },
        other => Happened::Host { operation: "start an instance".to_owned(), cause: other.to_string() },
    }
}
