//! How executions and tasks stand, out of their conditions.

use updraft_api::run::{
    Condition, Execution, Task,
    condition::{CommonReason, ExecutionReason, Reasons, State},
};

use crate::output::{FAILED, PENDING, READY};

/// How a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TaskState {
    /// It has not started yet, or is to be tried again later.
    Pending,
    /// It runs.
    Running,
    /// It ended well.
    Succeeded,
    /// It failed as often as it may.
    Failed,
    /// Its execution was cancelled while it ran.
    Cancelled,
    /// Its execution was cancelled before it ran.
    Abandoned,
}

/// How an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No task of it runs yet.
    Waiting,
    /// It has started.
    Started,
    /// All tasks ended well.
    Succeeded,
    /// It ended otherwise.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

/// How many tasks of an execution stand how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Tasks in all.
    pub(crate) tasks: u32,
    /// Those that run.
    pub(crate) running: u32,
    /// Those that ended well.
    pub(crate) succeeded: u32,
    /// Those that failed for good.
    pub(crate) failed: u32,
    /// Those that were cancelled, or abandoned.
    pub(crate) cancelled: u32,
    /// Those that were tried more than once, however they stand.
    pub(crate) retried: u32,
}

// === impl TaskState ===

impl TaskState {
    /// What a task's conditions say: what its label `run.googleapis.com/runningState` says in v1.
    pub(crate) fn of(task: &Task) -> Self {
        let completed = condition(&task.conditions, "Completed");
        let started = condition(&task.conditions, "Started").map(Condition::state);
        let is_started = task.start_time.is_some() || started == Some(State::ConditionSucceeded);
        match completed.map(Condition::state) {
            Some(State::ConditionSucceeded) => Self::Succeeded,
            Some(State::ConditionFailed) if !completed.is_some_and(is_cancelled) => Self::Failed,
            Some(State::ConditionFailed) if is_started => Self::Cancelled,
            Some(State::ConditionFailed) => Self::Abandoned,
            _ if is_started && !completed.is_some_and(is_postponed) => Self::Running,
            _ => Self::Pending,
        }
    }

    /// The word that gcloud has for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::Abandoned => "Abandoned",
        }
    }

    /// The mark that gcloud has for it.
    pub(crate) fn mark(self) -> &'static str {
        match self {
            Self::Pending => ".",
            Self::Running => PENDING,
            Self::Succeeded => READY,
            Self::Failed => FAILED,
            Self::Cancelled => "!",
            Self::Abandoned => "-",
        }
    }
}

// === impl Phase ===

impl Phase {
    /// What an execution's conditions say.
    pub(crate) fn of(execution: &Execution) -> Self {
        let completed = condition(&execution.conditions, "Completed");
        let started = condition(&execution.conditions, "Started").map(Condition::state);
        match completed.map(Condition::state) {
            Some(State::ConditionSucceeded) => Self::Succeeded,
            Some(State::ConditionFailed) if completed.is_some_and(is_cancelled) => Self::Cancelled,
            Some(State::ConditionFailed) => Self::Failed,
            _ if started == Some(State::ConditionSucceeded) => Self::Started,
            _ => Self::Waiting,
        }
    }

    /// Has it ended, one way or another?
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

// === impl Counts ===

impl Counts {
    /// What an execution says. It never says more than it has tasks.
    pub(crate) fn of(execution: &Execution) -> Self {
        let count = |count: i32| u32::try_from(count).unwrap_or(0);
        let tasks = count(execution.task_count);
        let mut left = tasks;
        let mut part = |said: i32| {
            let part = count(said).min(left);
            left -= part;
            part
        };
        let (succeeded, failed) = (part(execution.succeeded_count), part(execution.failed_count));
        let (cancelled, running) = (part(execution.cancelled_count), part(execution.running_count));
        // What has not begun never will, and the API counts it nowhere.
        let is_ending = condition(&execution.conditions, "Completed").is_some_and(is_cancelled);
        let abandoned = if is_ending || Phase::of(execution).is_over() { left } else { 0 };
        let cancelled = cancelled + abandoned;
        Self { tasks, running, succeeded, failed, cancelled, retried: count(execution.retried_count) }
    }

    /// Tasks that have not started yet.
    pub(crate) fn pending(self) -> u32 {
        self.tasks.saturating_sub(self.ended() + self.running)
    }

    /// Tasks that have ended, one way or another.
    pub(crate) fn ended(self) -> u32 {
        self.succeeded + self.failed + self.cancelled
    }
}

/// A condition by its type.
pub(crate) fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.r#type == kind)
}

fn is_cancelled(condition: &Condition) -> bool {
    let of = |number| ExecutionReason::try_from(number).unwrap_or_default();
    match condition.reasons {
        Some(Reasons::ExecutionReason(number)) => {
            matches!(of(number), ExecutionReason::Cancelled | ExecutionReason::Cancelling)
        }
        _ => false,
    }
}

/// Is it to be tried again, but later?
fn is_postponed(condition: &Condition) -> bool {
    condition.reasons == Some(Reasons::Reason(CommonReason::PostponedRetry.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::decode;

    #[test]
    fn a_task_stands_as_its_conditions_say() {
        let started = "2026-11-21T08:00:00Z";
        let completed = |state: &str| json!([{ "type": "Completed", "state": state }]);
        let cancelled = json!([{ "type": "Completed", "state": "CONDITION_FAILED", "executionReason": "CANCELLED" }]);
        let again = json!([{ "type": "Completed", "state": "CONDITION_RECONCILING", "reason": "POSTPONED_RETRY" }]);
        for (task, expected) in [
            (json!({}), TaskState::Pending),
            (json!({ "conditions": completed("CONDITION_PENDING") }), TaskState::Pending),
            (json!({ "startTime": started, "conditions": completed("CONDITION_RECONCILING") }), TaskState::Running),
            (json!({ "startTime": started, "conditions": completed("CONDITION_SUCCEEDED") }), TaskState::Succeeded),
            (json!({ "startTime": started, "conditions": completed("CONDITION_FAILED") }), TaskState::Failed),
            (json!({ "startTime": started, "conditions": cancelled }), TaskState::Cancelled),
            (json!({ "conditions": cancelled }), TaskState::Abandoned),
            (json!({ "startTime": started, "conditions": again }), TaskState::Pending),
        ] {
            assert_eq!(TaskState::of(&decode(&task).unwrap()), expected, "{task}");
        }
    }

    #[test]
    fn an_execution_has_started_or_ended_when_its_conditions_say_so() {
        let one = |kind: &str, state: &str| json!({ "type": kind, "state": state });
        let started = one("Started", "CONDITION_SUCCEEDED");
        let cancelled = json!({ "type": "Completed", "state": "CONDITION_FAILED", "executionReason": "CANCELLED" });
        let lost = json!({ "type": "Completed", "state": "CONDITION_FAILED", "executionReason": "NON_ZERO_EXIT_CODE" });
        for (conditions, expected) in [
            (json!([]), Phase::Waiting),
            (
                json!([one("Completed", "CONDITION_RECONCILING"), one("Started", "CONDITION_RECONCILING")]),
                Phase::Waiting,
            ),
            (json!([one("Completed", "CONDITION_RECONCILING"), started]), Phase::Started),
            (json!([one("Completed", "CONDITION_SUCCEEDED"), started]), Phase::Succeeded),
            (json!([lost, started]), Phase::Failed),
            (json!([cancelled, started]), Phase::Cancelled),
        ] {
            assert_eq!(Phase::of(&decode(&json!({ "conditions": conditions })).unwrap()), expected, "{conditions}");
        }
    }

    #[test]
    fn counts_never_make_more_than_there_are_tasks() {
        let counts = |execution| Counts::of(&decode(&execution).unwrap());
        let half = counts(
            json!({ "taskCount": 10, "runningCount": 2, "succeededCount": 3, "failedCount": 1, "retriedCount": 2 }),
        );
        assert_eq!((half.pending(), half.ended(), half.retried), (4, 4, 2));
        let torn = counts(json!({ "taskCount": 3, "runningCount": 2, "succeededCount": 2 }));
        assert_eq!((torn.succeeded, torn.running, torn.pending()), (2, 1, 0));
        assert_eq!(counts(json!({ "runningCount": 1 })), Counts::default());
        for (state, reason) in [("CONDITION_RECONCILING", "CANCELLING"), ("CONDITION_FAILED", "CANCELLED")] {
            let completed = json!({ "type": "Completed", "state": state, "executionReason": reason });
            let ended = counts(
                json!({ "taskCount": 10, "runningCount": 2, "succeededCount": 3, "cancelledCount": 1, "conditions": [completed] }),
            );
            assert_eq!((ended.pending(), ended.cancelled), (0, 5), "{state}: the others are abandoned");
        }
    }
}
