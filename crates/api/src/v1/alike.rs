//! Templates of tasks and of worker pools in the words of a revision's template, which can say all that they say: one
//! reader and one view serve the three.
//!
//! Their containers have their CPU all the time and no boost at start, whatever a message says; v1 has no words for
//! it there.

use std::collections::HashMap;

use crate::run::{self, task_template::Retries};

/// Labels and annotations.
pub(super) type Notes<'a> = (&'a HashMap<String, String>, &'a HashMap<String, String>);

/// What the tasks of an execution are made from. The labels and annotations are the execution's, or its template's.
pub(super) fn of_task(template: &run::TaskTemplate, (labels, annotations): Notes<'_>) -> run::RevisionTemplate {
    run::RevisionTemplate {
        labels: labels.clone(),
        annotations: annotations.clone(),
        vpc_access: template.vpc_access.clone(),
        timeout: template.timeout,
        service_account: template.service_account.clone(),
        containers: plain(&template.containers),
        volumes: template.volumes.clone(),
        execution_environment: template.execution_environment,
        encryption_key: template.encryption_key.clone(),
        node_selector: template.node_selector.clone(),
        gpu_zonal_redundancy_disabled: template.gpu_zonal_redundancy_disabled,
        ..run::RevisionTemplate::default()
    }
}

/// The other way round; without the retries.
pub(super) fn to_task(revision: run::RevisionTemplate) -> run::TaskTemplate {
    run::TaskTemplate {
        containers: without_cpu(revision.containers),
        volumes: revision.volumes,
        timeout: revision.timeout,
        service_account: revision.service_account,
        execution_environment: revision.execution_environment,
        encryption_key: revision.encryption_key,
        vpc_access: revision.vpc_access,
        node_selector: revision.node_selector,
        gpu_zonal_redundancy_disabled: revision.gpu_zonal_redundancy_disabled,
        retries: None,
    }
}

/// The template that a task was made from.
pub(super) fn template_of_task(task: &run::Task) -> run::TaskTemplate {
    let task = task.clone();
    run::TaskTemplate {
        containers: task.containers,
        volumes: task.volumes,
        timeout: task.timeout,
        service_account: task.service_account,
        execution_environment: task.execution_environment,
        encryption_key: task.encryption_key,
        vpc_access: task.vpc_access,
        node_selector: task.node_selector,
        gpu_zonal_redundancy_disabled: task.gpu_zonal_redundancy_disabled,
        retries: Some(Retries::MaxRetries(task.max_retries)),
    }
}

/// What the instances of a worker pool are made from.
pub(super) fn of_worker(template: &run::WorkerPoolRevisionTemplate) -> run::RevisionTemplate {
    let worker = template.clone();
    run::RevisionTemplate {
        revision: worker.revision,
        labels: worker.labels,
        annotations: worker.annotations,
        vpc_access: worker.vpc_access,
        service_account: worker.service_account,
        containers: plain(&worker.containers),
        volumes: worker.volumes,
        encryption_key: worker.encryption_key,
        service_mesh: worker.service_mesh,
        encryption_key_revocation_action: worker.encryption_key_revocation_action,
        encryption_key_shutdown_duration: worker.encryption_key_shutdown_duration,
        node_selector: worker.node_selector,
        gpu_zonal_redundancy_disabled: worker.gpu_zonal_redundancy_disabled,
        ..run::RevisionTemplate::default()
    }
}

/// The other way round.
pub(super) fn to_worker(revision: run::RevisionTemplate) -> run::WorkerPoolRevisionTemplate {
    run::WorkerPoolRevisionTemplate {
        revision: revision.revision,
        labels: revision.labels,
        annotations: revision.annotations,
        vpc_access: revision.vpc_access,
        service_account: revision.service_account,
        containers: without_cpu(revision.containers),
        volumes: revision.volumes,
        encryption_key: revision.encryption_key,
        service_mesh: revision.service_mesh,
        encryption_key_revocation_action: revision.encryption_key_revocation_action,
        encryption_key_shutdown_duration: revision.encryption_key_shutdown_duration,
        node_selector: revision.node_selector,
        gpu_zonal_redundancy_disabled: revision.gpu_zonal_redundancy_disabled,
    }
}

/// Containers about whose CPU a revision's template says nothing.
fn plain(containers: &[run::Container]) -> Vec<run::Container> {
    let mut containers = containers.to_vec();
    for resources in containers.iter_mut().filter_map(|container| container.resources.as_mut()) {
        (resources.cpu_idle, resources.startup_cpu_boost) = (true, false);
    }
    containers
}

/// Containers as v2's clients send them for tasks and workers: with limits, or nothing.
fn without_cpu(mut containers: Vec<run::Container>) -> Vec<run::Container> {
    for container in &mut containers {
        let limits = container.resources.take().unwrap_or_default().limits;
        let resources = run::ResourceRequirements { limits, ..run::ResourceRequirements::default() };
        container.resources = (!resources.limits.is_empty()).then_some(resources);
    }
    containers
}
