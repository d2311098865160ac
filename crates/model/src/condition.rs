//! Conditions: what a resource says about itself.
//!
//! Source: Cloud Run Admin API v2, message `Condition` and its reason enums.

use std::{fmt, time::SystemTime};

/// One statement about a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The statement: `Ready`, `ContainerHealthy`, ….
    pub kind: &'static str,
    /// How true it is.
    pub state: State,
    /// For people.
    pub message: String,
    /// Does it count towards `Ready`?
    pub severity: Severity,
    /// For programs; never on success.
    pub reason: Option<Reason>,
    /// When `state` last changed.
    pub since: SystemTime,
}

/// The state of a condition. `Pending → Reconciling → Succeeded | Failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Not begun.
    Pending,
    /// Under way.
    Reconciling,
    /// Ended badly; stays so until the next change of intent.
    Failed,
    /// Holds.
    Succeeded,
}

/// How much a condition weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Severity {
    /// Counts towards `Ready`.
    #[default]
    Error,
    /// Is shown, does not count.
    Warning,
    /// Is told, does not count.
    Info,
}

/// The closed set of reasons this system gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    // CommonReason
    /// The latest revision of the service failed.
    RevisionFailed,
    /// It took longer than it may.
    ProgressDeadlineExceeded,
    /// The image, or the platform in it, does not exist.
    ContainerMissing,
    /// The registry refused our credentials.
    ContainerPermissionDenied,
    /// The account it runs as may not read a secret that it names, or the secret is not there.
    SecretsAccessCheckFailed,
    /// Waits for another operation on the same resource.
    WaitingForOperation,
    /// Failed for a passing cause; tried again after a while.
    PostponedRetry,
    /// A fault of ours.
    Internal,
    // RevisionReason
    /// Not begun.
    Pending,
    /// Ready, and no traffic goes to it.
    Reserve,
    /// No traffic goes to it and it is not kept warm.
    Retired,
    /// On its way to `Retired`.
    Retiring,
    /// The container did not pass its startup check.
    HealthCheckContainerError,
    /// The startup check was not made, on demand.
    HealthCheckSkipped,
    /// Fewer instances than the minimum.
    MinInstancesNotProvisioned,
    // ExecutionReason
    /// A task has used its retries, and its container failed the last time too.
    NonZeroExitCode,
    /// It was cancelled.
    Cancelled,
    /// It is being cancelled.
    Cancelling,
    /// It was deleted.
    Deleted,
}

/// The condition kinds of a service, a route, a revision, a job, an execution and a task.
pub mod kind {
    /// Everything that counts holds.
    pub const READY: &str = "Ready";
    /// The latest template has a ready revision.
    pub const CONFIGURATIONS_READY: &str = "ConfigurationsReady";
    /// Traffic goes where the spec says.
    pub const ROUTES_READY: &str = "RoutesReady";
    /// Takes, or could take, traffic.
    pub const ACTIVE: &str = "Active";
    /// The container passed its startup check.
    pub const CONTAINER_HEALTHY: &str = "ContainerHealthy";
    /// The image is here and fits the machine.
    pub const CONTAINER_READY: &str = "ContainerReady";
    /// What the revision or execution needs of the machine is there.
    pub const RESOURCES_AVAILABLE: &str = "ResourcesAvailable";
    /// The first attempt has begun.
    pub const STARTED: &str = "Started";
    /// All is done, one way or the other.
    pub const COMPLETED: &str = "Completed";
}

// === impl Condition ===

impl Condition {
    /// A condition in `state` since `now`, without message or reason.
    pub fn new(kind: &'static str, state: State, now: SystemTime) -> Self {
        Self { kind, state, message: String::new(), severity: Severity::Error, reason: None, since: now }
    }

    /// A failed condition with its reason and message.
    pub fn failed(kind: &'static str, reason: Reason, message: impl Into<String>, now: SystemTime) -> Self {
        Self { message: message.into(), reason: Some(reason), ..Self::new(kind, State::Failed, now) }
    }

    /// With a message.
    #[must_use]
    pub fn with_message(self, message: impl Into<String>) -> Self {
        Self { message: message.into(), ..self }
    }

    /// With a reason.
    #[must_use]
    pub fn with_reason(self, reason: Reason) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// With another severity.
    #[must_use]
    pub fn weighing(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }

    /// Keeps the earlier time if the state did not change: `lastTransitionTime` is about the state.
    #[must_use]
    pub fn carried_over(self, before: &[Condition]) -> Self {
        match before.iter().find(|old| old.kind == self.kind && old.state == self.state) {
            Some(old) => Self { since: old.since, ..self },
            None => self,
        }
    }
}

/// For logs and tests: `Ready: failed [RevisionFailed] why`.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, format!("{:?}", self.state).to_lowercase())?;
        if let Some(reason) = self.reason {
            write!(f, " [{}]", reason.as_str())?;
        }
        if !self.message.is_empty() {
            write!(f, " {}", self.message)?;
        }
        match self.severity {
            Severity::Error => Ok(()),
            Severity::Warning => f.write_str(" (warning)"),
            Severity::Info => f.write_str(" (info)"),
        }
    }
}

// === impl Reason ===

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 19] = [
        Self::RevisionFailed,
        Self::ProgressDeadlineExceeded,
        Self::ContainerMissing,
        Self::ContainerPermissionDenied,
        Self::SecretsAccessCheckFailed,
        Self::WaitingForOperation,
        Self::PostponedRetry,
        Self::Internal,
        Self::Pending,
        Self::Reserve,
        Self::Retired,
        Self::Retiring,
        Self::HealthCheckContainerError,
        Self::HealthCheckSkipped,
        Self::MinInstancesNotProvisioned,
        Self::NonZeroExitCode,
        Self::Cancelled,
        Self::Cancelling,
        Self::Deleted,
    ];

    /// The word in the store, which is also v1's. Never change one.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RevisionFailed => "RevisionFailed",
            Self::ProgressDeadlineExceeded => "ProgressDeadlineExceeded",
            Self::ContainerMissing => "ContainerMissing",
            Self::ContainerPermissionDenied => "ContainerPermissionDenied",
            Self::SecretsAccessCheckFailed => "SecretsAccessCheckFailed",
            Self::WaitingForOperation => "WaitingForOperation",
            Self::PostponedRetry => "PostponedRetry",
            Self::Internal => "Internal",
            Self::Pending => "Pending",
            Self::Reserve => "Reserve",
            Self::Retired => "Retired",
            Self::Retiring => "Retiring",
            Self::HealthCheckContainerError => "HealthCheckContainerError",
            Self::HealthCheckSkipped => "HealthCheckSkipped",
            Self::MinInstancesNotProvisioned => "MinInstancesNotProvisioned",
            Self::NonZeroExitCode => "NonZeroExitCode",
            Self::Cancelled => "Cancelled",
            Self::Cancelling => "Cancelling",
            Self::Deleted => "Deleted",
        }
    }

    /// The reason of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

// === impl State ===

impl State {
    /// Is the condition settled, one way or the other?
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}
