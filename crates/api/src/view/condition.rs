//! Conditions: message ↔ model.

use std::time::UNIX_EPOCH;

use run::condition::{
    CommonReason, ExecutionReason, Reasons, RevisionReason, Severity as V2Severity, State as V2State,
};
use updraft_model::{
    Condition, Reason, Severity, State,
    condition::kind::{
        ACTIVE, COMPLETED, CONFIGURATIONS_READY, CONTAINER_HEALTHY, CONTAINER_READY, READY, RESOURCES_AVAILABLE,
        ROUTES_READY, STARTED,
    },
};

use super::{time, timestamp};
use crate::run;

/// Every kind of condition that this system writes.
const KINDS: [&str; 9] = [
    READY,
    CONFIGURATIONS_READY,
    ROUTES_READY,
    ACTIVE,
    CONTAINER_HEALTHY,
    CONTAINER_READY,
    RESOURCES_AVAILABLE,
    STARTED,
    COMPLETED,
];

/// The model's reasons beside v2's, once for both directions.
const REASONS: [(Reason, Reasons); 19] = [
    (Reason::RevisionFailed, common(CommonReason::RevisionFailed)),
    (Reason::ProgressDeadlineExceeded, common(CommonReason::ProgressDeadlineExceeded)),
    (Reason::ContainerMissing, common(CommonReason::ContainerMissing)),
    (Reason::ContainerPermissionDenied, common(CommonReason::ContainerPermissionDenied)),
    (Reason::SecretsAccessCheckFailed, common(CommonReason::SecretsAccessCheckFailed)),
    (Reason::WaitingForOperation, common(CommonReason::WaitingForOperation)),
    (Reason::PostponedRetry, common(CommonReason::PostponedRetry)),
    (Reason::Internal, common(CommonReason::Internal)),
    (Reason::Pending, revision(RevisionReason::Pending)),
    (Reason::Reserve, revision(RevisionReason::Reserve)),
    (Reason::Retired, revision(RevisionReason::Retired)),
    (Reason::Retiring, revision(RevisionReason::Retiring)),
    (Reason::HealthCheckContainerError, revision(RevisionReason::HealthCheckContainerError)),
    (Reason::HealthCheckSkipped, revision(RevisionReason::HealthCheckSkipped)),
    (Reason::MinInstancesNotProvisioned, revision(RevisionReason::MinInstancesNotProvisioned)),
    (Reason::NonZeroExitCode, execution(ExecutionReason::NonZeroExitCode)),
    (Reason::Cancelled, execution(ExecutionReason::Cancelled)),
    (Reason::Cancelling, execution(ExecutionReason::Cancelling)),
    (Reason::Deleted, execution(ExecutionReason::Deleted)),
];

/// The message of a condition.
pub fn from_model(condition: &Condition) -> run::Condition {
    let state = match condition.state {
        State::Pending => V2State::ConditionPending,
        State::Reconciling => V2State::ConditionReconciling,
        State::Failed => V2State::ConditionFailed,
        State::Succeeded => V2State::ConditionSucceeded,
    };
    // Google leaves the severity out where it is the weightiest.
    let severity = match condition.severity {
        Severity::Error => V2Severity::Unspecified,
        Severity::Warning => V2Severity::Warning,
        Severity::Info => V2Severity::Info,
    };
    run::Condition {
        r#type: condition.kind.to_owned(),
        state: state.into(),
        message: condition.message.clone(),
        last_transition_time: Some(timestamp(condition.since)),
        severity: severity.into(),
        reasons: condition.reason.map(reasons),
    }
}

/// Reads a condition that this system wrote; `None` for a kind it never writes.
pub fn to_model(message: &run::Condition) -> Option<Condition> {
    let kind = KINDS.into_iter().find(|kind| *kind == message.r#type)?;
    let state = match message.state() {
        V2State::ConditionSucceeded => State::Succeeded,
        V2State::ConditionFailed => State::Failed,
        V2State::ConditionReconciling => State::Reconciling,
        V2State::ConditionPending | V2State::Unspecified => State::Pending,
    };
    let severity = match message.severity() {
        V2Severity::Unspecified | V2Severity::Error => Severity::Error,
        V2Severity::Warning => Severity::Warning,
        V2Severity::Info => Severity::Info,
    };
    let since = message.last_transition_time.as_ref().and_then(time).unwrap_or(UNIX_EPOCH);
    let reason = message.reasons.and_then(reason);
    Some(Condition { kind, state, message: message.message.clone(), severity, reason, since })
}

/// Writes a service's conditions where v2 has them: `Ready` alone in `terminalCondition`.
pub fn write_to_service(message: &mut run::Service, conditions: &[Condition]) {
    let (ready, rest): (Vec<_>, Vec<_>) = conditions.iter().partition(|condition| condition.kind == READY);
    message.terminal_condition = ready.first().map(|condition| from_model(condition));
    message.conditions = rest.into_iter().map(from_model).collect();
}

/// Writes a revision's conditions where v2 has them: all in one list, `Ready` among them.
pub fn write_to_revision(message: &mut run::Revision, conditions: &[Condition]) {
    message.conditions = conditions.iter().map(from_model).collect();
}

fn reasons(reason: Reason) -> Reasons {
    let known = REASONS.iter().find(|(own, _)| *own == reason);
    known.map_or(common(CommonReason::Unknown), |(_, v2)| *v2)
}

fn reason(reasons: Reasons) -> Option<Reason> {
    REASONS.iter().find(|(_, v2)| *v2 == reasons).map(|(own, _)| *own)
}

const fn common(reason: CommonReason) -> Reasons {
    Reasons::Reason(reason as i32)
}

const fn revision(reason: RevisionReason) -> Reasons {
    Reasons::RevisionReason(reason as i32)
}

const fn execution(reason: ExecutionReason) -> Reasons {
    Reasons::ExecutionReason(reason as i32)
}
