//! How a revision fares, and the conditions that say so.
//!
//! Source: Cloud Run Admin API v2, conditions of `Revision`; the sentence of a failed start.

use std::time::SystemTime;

use super::{Container, RevisionTemplate, Volume, VolumeKind};
use crate::{
    channel::StartFailure,
    condition::{Condition, Reason, Severity, State, kind},
    diagnosis::{Diagnosis, printable},
};

/// How far a revision has come. `Ready` and `Failed` are for ever: a revision is immutable.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Phase {
    /// Its image is being resolved.
    #[default]
    Resolving,
    /// Its image is pinned; it is being prepared and checked.
    Checking,
    /// It can serve.
    Ready,
    /// It cannot serve, and never will.
    Failed(Failure),
}

/// Why a revision failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For programs.
    pub reason: Reason,
    /// For people, without the revision's name.
    pub message: String,
    /// What was found out about it, if that was looked for.
    pub diagnosis: Option<Box<Diagnosis>>,
    /// The container's last lines, oldest first.
    pub last_lines: Vec<String>,
}

/// Does traffic go to a revision?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Activity {
    /// By share or by tag.
    Active,
    /// None, but it is the latest ready one.
    Reserve,
    /// None.
    #[default]
    Retired,
}

/// The sentence that begins the message of every revision that cannot serve.
pub fn not_ready(revision: &str, message: &str) -> String {
    format!("Revision '{revision}' is not ready and cannot serve traffic. {message}")
}

/// What a template asks for and this version cannot give: field paths within the template.
pub fn unsupported(template: &RevisionTemplate) -> Vec<String> {
    let mut fields = template.unsupported.clone();
    fields.extend(unsupported_parts(&template.containers, &template.volumes));
    fields
}

/// The same of containers and volumes, whatever the template.
pub(crate) fn unsupported_parts(containers: &[Container], volumes: &[Volume]) -> Vec<String> {
    let mut fields = Vec::new();
    for (index, volume) in volumes.iter().enumerate() {
        let kind = match volume.kind {
            VolumeKind::EmptyDir { .. } | VolumeKind::Secret(_) => continue,
            VolumeKind::Unset => "",
            VolumeKind::CloudSql => ".cloud_sql_instance",
            VolumeKind::Nfs => ".nfs",
            VolumeKind::Gcs => ".gcs",
        };
        fields.push(format!("volumes[{index}]{kind}"));
    }
    for (index, container) in containers.iter().enumerate() {
        let at = format!("containers[{index}]");
        if container.resources.limits.contains_key("nvidia.com/gpu") {
            fields.push(format!("{at}.resources.limits[nvidia.com/gpu]"));
        }
    }
    fields
}

/// The conditions of the revision `id`, `Ready` first.
pub fn conditions(id: &str, phase: &Phase, activity: Activity, now: SystemTime) -> Vec<Condition> {
    match phase {
        Phase::Resolving => waiting([State::Pending, State::Reconciling, State::Pending], now),
        Phase::Checking => waiting([State::Reconciling, State::Succeeded, State::Reconciling], now),
        Phase::Ready => ready(activity, now),
        Phase::Failed(failure) => failed(id, failure, now),
    }
}

/// The same of a revision that is ready, and of which no instance can be started now, for `cause`: requests find the
/// instances that run, and no others.
pub fn without_starts(mut conditions: Vec<Condition>, cause: &str, now: SystemTime) -> Vec<Condition> {
    for condition in conditions.iter_mut().filter(|condition| condition.kind == kind::RESOURCES_AVAILABLE) {
        *condition = Condition::failed(kind::RESOURCES_AVAILABLE, Reason::SecretsAccessCheckFailed, cause, now)
            .weighing(Severity::Warning);
    }
    conditions
}

fn waiting([health, image, resources]: [State; 3], now: SystemTime) -> Vec<Condition> {
    vec![
        Condition::new(kind::READY, State::Reconciling, now),
        Condition::new(kind::ACTIVE, State::Pending, now).with_reason(Reason::Pending).weighing(Severity::Info),
        Condition::new(kind::CONTAINER_HEALTHY, health, now),
        Condition::new(kind::CONTAINER_READY, image, now),
        Condition::new(kind::RESOURCES_AVAILABLE, resources, now),
    ]
}

fn ready(activity: Activity, now: SystemTime) -> Vec<Condition> {
    let holds = |kind| Condition::new(kind, State::Succeeded, now);
    let idle = |reason| Condition::failed(kind::ACTIVE, reason, "", now).weighing(Severity::Info);
    let (active, resources) = match activity {
        Activity::Active => (holds(kind::ACTIVE), holds(kind::RESOURCES_AVAILABLE)),
        Activity::Reserve => (idle(Reason::Reserve), holds(kind::RESOURCES_AVAILABLE)),
        Activity::Retired => {
            let resources = Condition::new(kind::RESOURCES_AVAILABLE, State::Reconciling, now);
            (idle(Reason::Retired), resources.with_reason(Reason::Retired).weighing(Severity::Info))
        }
    };
    vec![holds(kind::READY), active, holds(kind::CONTAINER_HEALTHY), holds(kind::CONTAINER_READY), resources]
}

fn failed(id: &str, failure: &Failure, now: SystemTime) -> Vec<Condition> {
    let message = not_ready(id, &failure.message);
    let culprit = match failure.reason {
        Reason::HealthCheckContainerError => kind::CONTAINER_HEALTHY,
        // What takes too long before a container exists is its image.
        Reason::ContainerMissing | Reason::ContainerPermissionDenied | Reason::ProgressDeadlineExceeded => {
            kind::CONTAINER_READY
        }
        _ => kind::RESOURCES_AVAILABLE,
    };
    // What came before the culprit held; what comes after it was never tried.
    let order = [kind::CONTAINER_READY, kind::RESOURCES_AVAILABLE, kind::CONTAINER_HEALTHY];
    let place = order.iter().position(|kind| *kind == culprit).unwrap_or(0);
    let of = |index: usize| match index.cmp(&place) {
        std::cmp::Ordering::Less => Condition::new(order[index], State::Succeeded, now),
        std::cmp::Ordering::Equal => Condition::failed(culprit, failure.reason, message.clone(), now),
        std::cmp::Ordering::Greater => Condition::new(order[index], State::Pending, now),
    };
    vec![
        Condition::failed(kind::READY, failure.reason, message.clone(), now),
        Condition::failed(kind::ACTIVE, Reason::Retired, "", now).weighing(Severity::Info),
        of(2),
        of(0),
        of(1),
    ]
}

// === impl Failure ===

impl Failure {
    /// A failure with its message.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), diagnosis: None, last_lines: Vec::new() }
    }

    /// A failure whose cause was looked for. The message has the diagnosis and the container's last lines.
    pub fn diagnosed(reason: Reason, diagnosis: Diagnosis, last_lines: Vec<String>) -> Self {
        let mut message = diagnosis.to_string();
        if !last_lines.is_empty() {
            message.push_str("\nLast lines of the container's output:\n");
            let shown: Vec<_> = last_lines.iter().map(|line| printable(line)).collect();
            message.push_str(&shown.join("\n"));
        }
        Self { reason, message, diagnosis: Some(Box::new(diagnosis)), last_lines }
    }

    /// The template asks for what this version cannot give.
    pub fn unsupported(fields: &[String]) -> Self {
        let message = format!("This version of Updraft does not support: {}.", fields.join(", "));
        Self::new(Reason::Internal, message)
    }
}

impl From<&StartFailure> for Failure {
    fn from(failure: &StartFailure) -> Self {
        Self::diagnosed(failure.reason, failure.diagnosis.clone(), failure.last_lines.clone())
    }
}

// === impl Phase ===

impl Phase {
    /// Is it decided whether the revision can serve?
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Ready | Self::Failed(_))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::diagnosis::Code;

    fn check(phase: &Phase, activity: Activity, expected: Expect) {
        let conditions = conditions("hello-00001-abc", phase, activity, SystemTime::UNIX_EPOCH);
        let lines: Vec<String> = conditions.iter().map(|condition| format!("{condition}\n")).collect();
        expected.assert_eq(&lines.concat());
    }

    #[test]
    fn a_revision_on_its_way_is_reconciling() {
        check(
            &Phase::Checking,
            Activity::Retired,
            expect![[r#"
                Ready: reconciling
                Active: pending [Pending] (info)
                ContainerHealthy: reconciling
                ContainerReady: succeeded
                ResourcesAvailable: reconciling
            "#]],
        );
    }

    #[test]
    fn a_retired_revision_is_still_ready() {
        check(
            &Phase::Ready,
            Activity::Retired,
            expect![[r#"
                Ready: succeeded
                Active: failed [Retired] (info)
                ContainerHealthy: succeeded
                ContainerReady: succeeded
                ResourcesAvailable: reconciling [Retired] (info)
            "#]],
        );
    }

    #[test]
    fn a_failed_start_says_googles_sentence_and_then_what_the_container_said() {
        let failure = StartFailure {
            reason: Reason::HealthCheckContainerError,
            diagnosis: Diagnosis {
                code: Code::Exited,
                sentence: "The container failed.".to_owned(),
                cause: "It exited.".to_owned(),
                advice: "Read on.".to_owned(),
                facts: vec!["Not in the message.".to_owned()],
            },
            last_lines: vec!["boom".to_owned(), "\u{7f}ELF\u{1b}[2J".to_owned()],
        };
        check(
            &Phase::Failed(Failure::from(&failure)),
            Activity::Retired,
            expect![[r#"
                Ready: failed [HealthCheckContainerError] Revision 'hello-00001-abc' is not ready and cannot serve traffic. The container failed. It exited. Read on.
                Last lines of the container's output:
                boom
                \u{7f}ELF\u{1b}[2J
                Active: failed [Retired] (info)
                ContainerHealthy: failed [HealthCheckContainerError] Revision 'hello-00001-abc' is not ready and cannot serve traffic. The container failed. It exited. Read on.
                Last lines of the container's output:
                boom
                \u{7f}ELF\u{1b}[2J
                ContainerReady: succeeded
                ResourcesAvailable: succeeded
            "#]],
        );
    }

    #[test]
    fn a_missing_image_stops_everything_after_it() {
        check(
            &Phase::Failed(Failure::new(Reason::ContainerMissing, "Image 'x' not found.")),
            Activity::Retired,
            expect![[r#"
                Ready: failed [ContainerMissing] Revision 'hello-00001-abc' is not ready and cannot serve traffic. Image 'x' not found.
                Active: failed [Retired] (info)
                ContainerHealthy: pending
                ContainerReady: failed [ContainerMissing] Revision 'hello-00001-abc' is not ready and cannot serve traffic. Image 'x' not found.
                ResourcesAvailable: pending
            "#]],
        );
    }
}
