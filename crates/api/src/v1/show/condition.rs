//! Conditions.

use serde_json::{Value, json};

use super::{object, time};
use crate::{
    run::{
        self,
        condition::{CommonReason, ExecutionReason, Reasons, RevisionReason, Severity, State},
    },
    v1::{NOTICE, Stored, Words, notice},
};

/// The order in which gcloud shows what a resource waits for. Each kind has some of them.
const ORDER: [&str; 8] = [
    "Ready",
    "ConfigurationsReady",
    "RoutesReady",
    "ResourcesAvailable",
    "Started",
    "Completed",
    "ContainerReady",
    "Retry",
];

/// The conditions of a service, and what it says about settings that nothing acts on.
pub(super) fn of_service(stored: &Stored<run::Service>) -> Value {
    let service = &stored.message;
    let template = service.template.clone().unwrap_or_default();
    let warning = notice(Some(service), &template, (&stored.rest, Words::V1));
    in_order(service.terminal_condition.iter().chain(&service.conditions), (warning, service.update_time.as_ref()))
}

/// Conditions of a resource as gcloud shows them, and at their end what it says about settings that nothing acts on,
/// with the time since which it is so.
pub(super) fn in_order<'a>(
    conditions: impl Iterator<Item = &'a run::Condition>,
    (warning, since): (Option<String>, Option<&prost_types::Timestamp>),
) -> Value {
    let place =
        |condition: &run::Condition| ORDER.iter().position(|kind| *kind == condition.r#type).unwrap_or(ORDER.len());
    let mut conditions: Vec<&run::Condition> = conditions.filter(|condition| condition.r#type != NOTICE).collect();
    conditions.sort_by_key(|condition| place(condition));
    let shown = conditions.into_iter().map(condition_json);
    shown.chain(warning.map(|message| warning_json(message, since))).collect()
}

/// The one condition of a part of a service.
pub(super) fn of_part(service: &run::Service, kind: &str) -> Value {
    let found = service.conditions.iter().find(|condition| condition.r#type == kind);
    let ready = found.map(|condition| run::Condition { r#type: "Ready".to_owned(), ..condition.clone() });
    ready.iter().map(condition_json).collect()
}

/// The conditions of a revision.
pub(super) fn of_revision(stored: &Stored<run::Revision>) -> Value {
    let revision = &stored.message;
    let shown = revision.conditions.iter().filter(|condition| condition.r#type != NOTICE).map(condition_json);
    let template = crate::view::revision::template_of(revision);
    let warning = notice(None, &template, (&stored.rest, Words::V1));
    shown.chain(warning.map(|message| warning_json(message, revision.create_time.as_ref()))).collect()
}

fn warning_json(message: String, since: Option<&prost_types::Timestamp>) -> Value {
    object(vec![
        ("lastTransitionTime", time(since)),
        ("message", json!(message)),
        ("severity", json!("Warning")),
        ("status", json!("Unknown")),
        ("type", json!(NOTICE)),
    ])
}

fn condition_json(condition: &run::Condition) -> Value {
    let status = match condition.state() {
        State::ConditionSucceeded => "True",
        State::ConditionFailed => "False",
        State::ConditionPending | State::ConditionReconciling | State::Unspecified => "Unknown",
    };
    let severity = match condition.severity() {
        Severity::Unspecified | Severity::Error => "",
        Severity::Warning => "Warning",
        Severity::Info => "Info",
    };
    object(vec![
        ("lastTransitionTime", time(condition.last_transition_time.as_ref())),
        ("message", json!(condition.message)),
        ("reason", json!(condition.reasons.map(reason))),
        ("severity", json!(severity)),
        ("status", json!(status)),
        ("type", json!(condition.r#type)),
    ])
}

/// `HEALTH_CHECK_CONTAINER_ERROR` → `HealthCheckContainerError`.
fn reason(reasons: Reasons) -> String {
    let name = match reasons {
        Reasons::Reason(number) => CommonReason::try_from(number).map(|reason| reason.as_str_name()),
        Reasons::RevisionReason(number) => RevisionReason::try_from(number).map(|reason| reason.as_str_name()),
        Reasons::ExecutionReason(number) => ExecutionReason::try_from(number).map(|reason| reason.as_str_name()),
    };
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().into_iter().chain(letters.map(|c| c.to_ascii_lowercase())).collect::<String>()
    };
    name.unwrap_or("UNKNOWN").split('_').map(capital).collect()
}
