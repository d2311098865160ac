//! Jobs, and the templates of their executions.

use serde_json::{Value, json};

use super::{JOB, RUN, condition, metadata, metadata::facts, take_map, template_json, time};
use crate::{
    run::{self, job::CreateExecution, task_template::Retries},
    v1::{
        Rest, Stored, Words, alike, keys,
        notice::of_job,
        show::annotations,
        tree::{number, object, short, sorted},
    },
};

/// A job in the v1 shape.
pub fn job_json(stored: &Stored<run::Job>) -> Value {
    let job = &stored.message;
    let mut shown = intent_of_job(job, &stored.rest);
    stored.rest.put_back(&mut shown);
    let outputs = [
        (keys::RUN_CREATOR, json!(job.creator)),
        (keys::RUN_LAST_MODIFIER, json!(job.last_modifier)),
        (keys::OPERATION, json!(stored.operation)),
    ];
    let metadata = facts!(job, "jobs").metadata(take_map(&mut shown, "metadata"), &outputs, job_labels(job));
    let warning = (of_job(job, (&stored.rest, Words::V1)), job.update_time.as_ref());
    let conditions = job.terminal_condition.iter().chain(&job.conditions);
    sorted(object(vec![
        ("apiVersion", json!(RUN)),
        ("kind", json!(JOB)),
        ("metadata", metadata),
        ("spec", shown["spec"].take()),
        (
            "status",
            object(vec![
                ("conditions", condition::in_order(conditions, warning)),
                ("executionCount", json!(job.execution_count)),
                ("latestCreatedExecution", job.latest_created_execution.as_ref().map(latest).unwrap_or_default()),
                ("observedGeneration", json!(job.generation)),
            ]),
        ),
    ]))
}

/// The labels of a job as v1 has them, which selectors look at.
pub fn job_labels(job: &run::Job) -> Vec<(String, String)> {
    let updated = job.update_time.as_ref().map(|stamp| (keys::LAST_UPDATED.to_owned(), stamp.to_string()));
    metadata::labels(&job.labels, &job.name).into_iter().chain(updated).collect()
}

/// What of a job's v1 object a client can set: the view that the rest is measured against.
pub(in crate::v1) fn intent_of_job(job: &run::Job, rest: &Rest) -> Value {
    let template = job.template.as_ref().map(|template| template_of_execution(template, rest));
    let (start, run) = match &job.create_execution {
        Some(CreateExecution::StartExecutionToken(token)) => (token.as_str(), ""),
        Some(CreateExecution::RunExecutionToken(token)) => ("", token.as_str()),
        None => ("", ""),
    };
    let metadata = object(vec![
        ("annotations", Value::Object(annotations::of_job(job))),
        ("labels", job.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect()),
        ("name", json!(short(&job.name))),
    ]);
    let spec = object(vec![
        ("runExecutionToken", json!(run)),
        ("startExecutionToken", json!(start)),
        ("template", template.unwrap_or_default()),
    ]);
    object(vec![("metadata", metadata), ("spec", spec)])
}

fn template_of_execution(template: &run::ExecutionTemplate, rest: &Rest) -> Value {
    let counts = (template.parallelism, template.task_count);
    let notes = (&template.labels, &template.annotations);
    match &template.template {
        Some(task) => execution_template_json((task, notes), counts, &rest.below(&["spec", "template"])),
        None => {
            let mut shown = execution_template_json((&run::TaskTemplate::default(), notes), counts, &Rest::default());
            if let Some(spec) = shown["spec"].as_object_mut() {
                spec.remove("template");
            }
            shown
        }
    }
}

/// What of an execution's template a client can set; of an execution, what became of it. `rest` is the template's.
pub(super) fn execution_template_json(
    (task, notes): (&run::TaskTemplate, alike::Notes<'_>),
    (parallelism, tasks): (i32, i32),
    rest: &Rest,
) -> Value {
    let mut shown = task_template_json(task, notes, rest);
    let spec = object(vec![
        ("parallelism", number(parallelism)),
        ("taskCount", number(tasks)),
        // Also an empty one: that it is there says that there is a template.
        ("template", json!({"spec": shown["spec"].take()})),
    ]);
    object(vec![("metadata", shown["metadata"].take()), ("spec", spec)])
}

/// What tasks are made from: labels and annotations, and the containers. `rest` knows how secrets are called.
pub(super) fn task_template_json(task: &run::TaskTemplate, notes: alike::Notes<'_>, rest: &Rest) -> Value {
    let mut shown = template_json(&alike::of_task(task, notes), rest);
    let mut spec = take_map(&mut shown, "spec");
    if let Some(Retries::MaxRetries(retries)) = task.retries {
        spec.insert("maxRetries".to_owned(), json!(retries));
    }
    if let Some(timeout) = &task.timeout {
        // A number of 64 bits, unlike a revision's: JSON has it as text.
        spec.insert("timeoutSeconds".to_owned(), json!(timeout.seconds.to_string()));
    }
    shown["spec"] = Value::Object(spec);
    shown
}

/// The execution that was made last.
fn latest(execution: &run::ExecutionReference) -> Value {
    let status = execution.completion_status();
    let known = status != run::execution_reference::CompletionStatus::Unspecified;
    object(vec![
        ("completionStatus", json!(known.then(|| status.as_str_name()))),
        ("completionTimestamp", time(execution.completion_time.as_ref())),
        ("creationTimestamp", time(execution.create_time.as_ref())),
        ("deletionTimestamp", time(execution.delete_time.as_ref())),
        ("name", json!(short(&execution.name))),
    ])
}
