//! Jobs, and what a run of one asks for.

use serde_json::{Value, json};
use updraft_model::{Error, Violation};

use super::{Annotations, check_keys, container, own, service, template};
use crate::{
    run::{self, job::CreateExecution, run_job_request::overrides::ContainerOverride, task_template::Retries},
    run_job::{Overrides, RunJobRequest},
    v1::{
        alike,
        keys::{self, Scope},
        schema,
        tree::{integer, items, text, texts},
    },
};

/// The message of a job in its normal form; what is wrong with it goes to `found`.
pub(in crate::v1) fn job(object: &Value, found: &mut Vec<Violation>) -> run::Job {
    check_keys(Scope::Job, object, "", found);
    let spec = &object["spec"];
    check_keys(Scope::Execution, &spec["template"], "spec.template.", found);
    let template = spec.get("template").map(|template| execution_template(template, found));
    let create_execution = token(spec, found);
    let mut annotations = Annotations::of(object, "", found);
    run::Job {
        labels: own(object, "labels"),
        annotations: own(object, "annotations"),
        client: annotations.owned(keys::CLIENT_NAME),
        client_version: annotations.owned(keys::CLIENT_VERSION),
        launch_stage: annotations.word(keys::LAUNCH_STAGE, &service::STAGES).unwrap_or_default().into(),
        binary_authorization: service::binary_authorization(&annotations),
        template,
        create_execution,
        ..run::Job::default()
    }
}

/// The execution that is to begin with the write.
fn token(spec: &Value, found: &mut Vec<Violation>) -> Option<CreateExecution> {
    let (start, run) = (text(spec, "startExecutionToken"), text(spec, "runExecutionToken"));
    match (start.is_empty(), run.is_empty()) {
        (false, false) => {
            let rule = "must not be set together with spec.startExecutionToken";
            found.push(Violation::new("spec.runExecutionToken", rule));
            None
        }
        (false, true) => Some(CreateExecution::StartExecutionToken(start.to_owned())),
        (true, false) => Some(CreateExecution::RunExecutionToken(run.to_owned())),
        (true, true) => None,
    }
}

/// The message of an execution's template. Annotations about tasks are the execution's in v1.
fn execution_template(object: &Value, found: &mut Vec<Violation>) -> run::ExecutionTemplate {
    let spec = &object["spec"];
    let task = spec.get("template").map(|task| &task["spec"]).unwrap_or(&Value::Null);
    let alike = template::template(&json!({"metadata": object["metadata"], "spec": task}), found);
    let (labels, annotations) = (alike.labels.clone(), own(object, "annotations"));
    let retries = task["maxRetries"].as_i64().and_then(|retries| i32::try_from(retries).ok());
    let template = run::TaskTemplate { retries: retries.map(Retries::MaxRetries), ..alike::to_task(alike) };
    run::ExecutionTemplate {
        labels,
        annotations,
        parallelism: integer(spec, "parallelism"),
        task_count: integer(spec, "taskCount"),
        template: spec.get("template").is_some().then_some(template),
    }
}

/// What a run of a job asks for: the body of `jobs/{job}:run`. The name of the job is in the path.
///
/// # Errors
/// `InvalidArgument` with one violation per field that does not exist or does not fit.
pub fn run_job_request(object: &Value) -> Result<RunJobRequest, Error> {
    let normal = schema::normal(schema::RUN_JOB, object)?;
    let Some(overrides) = normal.get("overrides") else { return Ok(RunJobRequest::default()) };
    if overrides["delayExecution"] == true {
        return Err(Error::invalid_field("overrides.delayExecution", "must not be true: executions start at once"));
    }
    let names = std::collections::BTreeMap::new();
    let container = |value: &Value| ContainerOverride {
        name: text(value, "name").to_owned(),
        args: texts(value, "args"),
        env: items(value, "env").map(|env| container::variable(env, &names)).collect(),
        clear_args: value["clearArgs"] == true,
    };
    let overrides = Overrides {
        container_overrides: items(overrides, "containerOverrides").map(container).collect(),
        task_count: integer(overrides, "taskCount"),
        timeout: overrides["timeoutSeconds"].as_i64().map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        parallelism: overrides["parallelism"].as_i64().and_then(|tasks| i32::try_from(tasks).ok()),
    };
    Ok(RunJobRequest { overrides: Some(overrides), ..RunJobRequest::default() })
}
