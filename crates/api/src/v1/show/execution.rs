//! Executions and their tasks.

use serde_json::{Map, Value, json};

use super::{
    EXECUTION, JOB, RUN, TASK, condition,
    job::{execution_template_json, task_template_json},
    metadata,
    metadata::facts,
    take_map, time,
};
use crate::{
    run::{
        self, TaskTemplate,
        condition::{CommonReason, ExecutionReason, Reasons, State},
    },
    v1::{
        Stored, Words, alike, keys,
        notice::{of_execution, of_task},
        tree::{id_in, number, object, sorted},
    },
};

/// An execution in the v1 shape.
pub fn execution_json(stored: &Stored<run::Execution>) -> Value {
    let execution = &stored.message;
    let empty = TaskTemplate::default();
    let task = execution.template.as_ref().unwrap_or(&empty);
    let notes = (&execution.labels, &execution.annotations);
    let counts = (execution.parallelism, execution.task_count);
    let mut shown = execution_template_json((task, notes), counts, &stored.rest);
    stored.rest.put_back(&mut shown);
    let outputs = [(keys::RUN_CREATOR, json!(execution.creator)), (keys::OPERATION, json!(stored.operation))];
    let mut set = take_map(&mut shown, "metadata");
    let uid = kept_label(stored, keys::JOB_UID_LABEL);
    set.insert("ownerReferences".to_owned(), uid.map(|uid| owner(&execution.name, uid)).unwrap_or_default());
    let kept = [keys::JOB_UID_LABEL, keys::JOB_GENERATION_LABEL];
    let kept = kept.iter().filter_map(|key| Some(((*key).to_owned(), kept_label(stored, key)?.to_owned())));
    let labels = execution_labels(execution).into_iter().chain(kept).collect();
    let warning = (of_execution(execution, (&stored.rest, Words::V1)), execution.create_time.as_ref());
    sorted(object(vec![
        ("apiVersion", json!(RUN)),
        ("kind", json!(EXECUTION)),
        ("metadata", facts!(execution, "executions").metadata(set, &outputs, labels)),
        ("spec", shown["spec"].take()),
        (
            "status",
            object(vec![
                ("cancelledCount", number(execution.cancelled_count)),
                ("completionTime", time(execution.completion_time.as_ref())),
                ("conditions", condition::in_order(execution.conditions.iter(), warning)),
                ("failedCount", number(execution.failed_count)),
                ("logUri", json!(execution.log_uri)),
                ("observedGeneration", json!(execution.generation)),
                ("retriedCount", number(execution.retried_count)),
                ("runningCount", number(execution.running_count)),
                ("startTime", time(execution.start_time.as_ref())),
                ("succeededCount", number(execution.succeeded_count)),
            ]),
        ),
    ]))
}

/// The labels of an execution as v1 has them, which selectors look at.
pub fn execution_labels(execution: &run::Execution) -> Vec<(String, String)> {
    let job = id_in(&execution.name, "jobs").map(|job| (keys::JOB_LABEL.to_owned(), job.to_owned()));
    metadata::labels(&execution.labels, &execution.name).into_iter().chain(job).collect()
}

/// A task in the v1 shape. Its rest is what its execution says, see [`Stored::task_rest`].
pub fn task_json(stored: &Stored<run::Task>) -> Value {
    let task = &stored.message;
    let notes = (&task.labels, &task.annotations);
    let mut shown = task_template_json(&alike::template_of_task(task), notes, &stored.rest);
    stored.rest.put_back(&mut shown);
    let set = take_map(&mut shown, "metadata");
    let warning = (of_task(task, (&stored.rest, Words::V1)), task.create_time.as_ref());
    sorted(object(vec![
        ("apiVersion", json!(RUN)),
        ("kind", json!(TASK)),
        ("metadata", facts!(task, "tasks").metadata(set, &[], task_labels(task))),
        ("spec", shown["spec"].take()),
        (
            "status",
            object(vec![
                ("completionTime", time(task.completion_time.as_ref())),
                ("conditions", condition::in_order(task.conditions.iter(), warning)),
                // The first task has number 0, and one that was never tried again says so.
                ("index", json!(task.index)),
                ("lastAttemptResult", task.last_attempt_result.as_ref().map(attempt).unwrap_or_default()),
                ("logUri", json!(task.log_uri)),
                ("observedGeneration", json!(task.generation)),
                ("retried", json!(task.retried)),
                ("startTime", time(task.start_time.as_ref())),
            ]),
        ),
    ]))
}

/// The labels of a task as v1 has them, which selectors look at.
pub fn task_labels(task: &run::Task) -> Vec<(String, String)> {
    let mut labels = metadata::labels(&task.labels, &task.name);
    for (key, collection) in [(keys::JOB_LABEL, "jobs"), (keys::EXECUTION_LABEL, "executions")] {
        labels.extend(id_in(&task.name, collection).map(|id| (key.to_owned(), id.to_owned())));
    }
    labels.push((keys::STATE_LABEL.to_owned(), task_state(task).to_owned()));
    labels
}

/// The word for where a task stands: `Pending`, also between two attempts, `Running`, `Succeeded`, `Failed`, `Cancelled`, and `Abandoned` for one
/// that had not begun when its execution was cancelled.
pub fn task_state(task: &run::Task) -> &'static str {
    let find = |kind: &str| task.conditions.iter().find(|condition| condition.r#type == kind);
    let is_started = task.start_time.is_some()
        || find("Started").is_some_and(|condition| condition.state() == State::ConditionSucceeded);
    let Some(completed) = find("Completed") else { return if is_started { "Running" } else { "Pending" } };
    let later = Some(Reasons::Reason(CommonReason::PostponedRetry.into()));
    let cancelled = Some(Reasons::ExecutionReason(ExecutionReason::Cancelled.into()));
    match completed.state() {
        State::ConditionSucceeded => "Succeeded",
        State::ConditionFailed if completed.reasons == cancelled && is_started => "Cancelled",
        State::ConditionFailed if completed.reasons == cancelled => "Abandoned",
        State::ConditionFailed => "Failed",
        _ if is_started && completed.reasons != later => "Running",
        _ => "Pending",
    }
}

/// How the last attempt of a task ended.
fn attempt(result: &run::TaskAttemptResult) -> Value {
    let mut shown = Map::new();
    if let Some(status) = &result.status {
        let mut said = Map::from_iter([("code".to_owned(), json!(status.code))]);
        if !status.message.is_empty() {
            said.insert("message".to_owned(), json!(status.message));
        }
        shown.insert("status".to_owned(), Value::Object(said));
    }
    // At most one of the two: what was ended by a signal has no code.
    match result.term_signal {
        0 => shown.insert("exitCode".to_owned(), json!(result.exit_code)),
        signal => shown.insert("termSignal".to_owned(), json!(signal)),
    };
    Value::Object(shown)
}

/// The job that an execution is of.
fn owner(execution: &str, uid: &str) -> Value {
    json!([{
        "apiVersion": RUN,
        "blockOwnerDeletion": true,
        "controller": true,
        "kind": JOB,
        "name": id_in(execution, "jobs"),
        "uid": uid,
    }])
}

/// A label that the message has no place for.
fn kept_label<'a, M>(stored: &'a Stored<M>, key: &str) -> Option<&'a str> {
    stored.rest.value(&["metadata", "labels"], key).and_then(Value::as_str)
}
