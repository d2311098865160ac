//! Jobs and their executions: message ↔ model.

use googleapis_tonic_google_api::google::api::LaunchStage;
use run::{job::CreateExecution, task_template::Retries};
use updraft_model::{
    Error, Violation,
    job::{ContainerOverride, ExecutionName, ExecutionTemplate, FirstExecution, Job, JobName, Overrides, TaskTemplate},
};

use super::{Issues, container, enums::unknown_values, proto_duration, revision};
use crate::{run, run_job};

/// Where a job stands in the requests that carry one.
const ROOT: &str = "job";

/// Reads a job.
///
/// # Errors
/// `InvalidArgument` with one violation per field that the model cannot hold.
pub fn to_model(name: &JobName, message: &run::Job) -> Result<Job, Error> {
    let mut issues = Issues::default();
    let empty = run::ExecutionTemplate::default();
    let template = message.template.as_ref().unwrap_or(&empty);
    let job = Job {
        name: name.clone(),
        labels: message.labels.clone().into_iter().collect(),
        annotations: message.annotations.clone().into_iter().collect(),
        template: read_template(&mut issues, &format!("{ROOT}.template"), template),
        first_execution: message.create_execution.as_ref().map(|first| match first {
            CreateExecution::StartExecutionToken(token) => FirstExecution::Start(token.clone()),
            CreateExecution::RunExecutionToken(token) => FirstExecution::Run(token.clone()),
        }),
        client: [message.client.clone(), message.client_version.clone()],
        unsupported: message.binary_authorization.iter().map(|_| "binary_authorization".to_owned()).collect(),
    };
    issues.finish(job)
}

/// What is wrong with the parts of a client's message that the model does not name.
///
/// # Errors
/// As [`unknown_values`].
pub fn check_unnamed(message: &run::Job) -> Result<Vec<Violation>, Error> {
    let mut found = unknown_values(message, ROOT)?;
    found.extend(super::stage_violation(ROOT, message.launch_stage));
    Ok(found)
}

/// Writes the defaults of a defaulted model into the message, field for field: what the client sent and what the model
/// does not name stays as it is.
pub fn write_defaults(message: &mut run::Job, job: &Job) {
    if message.launch_stage == i32::from(LaunchStage::Unspecified) {
        message.launch_stage = LaunchStage::Ga.into();
    }
    write_template(message.template.get_or_insert_default(), &job.template);
}

/// The same of the template alone.
pub fn write_template(message: &mut run::ExecutionTemplate, template: &ExecutionTemplate) {
    message.task_count = template.task_count;
    message.parallelism = template.parallelism;
    let task = message.template.get_or_insert_default();
    task.retries = template.template.max_retries.map(Retries::MaxRetries);
    task.timeout = template.template.timeout.map(proto_duration);
    task.service_account.clone_from(&template.template.service_account);
    if task.execution_environment == i32::from(run::ExecutionEnvironment::Unspecified) {
        // Google: jobs always have it.
        task.execution_environment = run::ExecutionEnvironment::Gen2.into();
    }
    for (message, container) in task.containers.iter_mut().zip(&template.template.containers) {
        container::write_defaults(message, container);
    }
}

/// Writes into the message what one execution has otherwise than its job ([`Overrides::apply`]).
pub fn write_overrides(message: &mut run::ExecutionTemplate, template: &ExecutionTemplate) {
    write_template(message, template);
    let containers = &mut message.template.get_or_insert_default().containers;
    for (message, container) in containers.iter_mut().zip(&template.template.containers) {
        message.args.clone_from(&container.args);
        message.env = container.env.iter().map(container::env_message).collect();
    }
}

/// The execution that a template, with its defaults, becomes under `name`: the spec, and none of the status.
pub fn from_template(name: &ExecutionName, job: &run::Job, template: &run::ExecutionTemplate) -> run::Execution {
    run::Execution {
        name: name.to_string(),
        generation: 1,
        labels: template.labels.clone(),
        annotations: template.annotations.clone(),
        launch_stage: job.launch_stage,
        job: name.job.job.clone(),
        parallelism: template.parallelism,
        task_count: template.task_count,
        template: template.template.clone(),
        ..run::Execution::default()
    }
}

/// The template that an execution was made from.
pub fn template_of(execution: &run::Execution) -> run::ExecutionTemplate {
    run::ExecutionTemplate {
        labels: execution.labels.clone(),
        annotations: execution.annotations.clone(),
        parallelism: execution.parallelism,
        task_count: execution.task_count,
        template: execution.template.clone(),
    }
}

/// Reads what an execution is made of.
///
/// # Errors
/// As [`to_model`].
pub fn execution_to_model(message: &run::Execution) -> Result<ExecutionTemplate, Error> {
    let mut issues = Issues::default();
    let template = read_template(&mut issues, "execution", &template_of(message));
    issues.finish(template)
}

/// Reads what one execution is to have otherwise than its job.
///
/// # Errors
/// As [`to_model`].
pub fn overrides_to_model(message: &run_job::Overrides) -> Result<Overrides, Error> {
    let mut issues = Issues::default();
    let containers = message.container_overrides.iter().enumerate().map(|(index, own)| {
        let path = format!("overrides.container_overrides[{index}]");
        ContainerOverride {
            name: own.name.clone(),
            args: own.args.clone(),
            env: container::read_env(&mut issues, &path, &own.env),
            clear_args: own.clear_args,
        }
    });
    let containers = containers.collect();
    let overrides = Overrides {
        containers,
        task_count: Some(message.task_count).filter(|count| *count != 0),
        timeout: message.timeout.as_ref().and_then(|timeout| issues.duration("overrides.timeout", timeout)),
        parallelism: message.parallelism,
    };
    issues.finish(overrides)
}

fn read_template(issues: &mut Issues, path: &str, message: &run::ExecutionTemplate) -> ExecutionTemplate {
    let empty = run::TaskTemplate::default();
    let task = message.template.as_ref().unwrap_or(&empty);
    let at = format!("{path}.template");
    ExecutionTemplate {
        labels: message.labels.clone().into_iter().collect(),
        annotations: message.annotations.clone().into_iter().collect(),
        parallelism: message.parallelism,
        task_count: message.task_count,
        template: TaskTemplate {
            containers: container::read_all(issues, &at, &task.containers),
            volumes: task.volumes.iter().map(revision::volume).collect(),
            max_retries: task.retries.map(|Retries::MaxRetries(count)| count),
            timeout: task.timeout.as_ref().and_then(|timeout| issues.duration(&format!("{at}.timeout"), timeout)),
            service_account: task.service_account.clone(),
            unsupported: unsupported(task),
        },
    }
}

/// Fields that are set and that nothing here acts on, by their path from the template.
fn unsupported(message: &run::TaskTemplate) -> Vec<String> {
    let set = [
        ("vpc_access", message.vpc_access.is_some()),
        ("encryption_key", !message.encryption_key.is_empty()),
        ("node_selector", message.node_selector.is_some()),
    ];
    let own = set.into_iter().filter(|(_, set)| *set).map(|(field, _)| field.to_owned());
    own.chain(revision::unsupported_of_containers(&message.containers)).collect()
}
