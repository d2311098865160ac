//! A worker pool: message ↔ model.
//!
//! Its template is read in the words of a revision's, which can say all that it says, and its revisions are kept so:
//! there is one message for both kinds.

use googleapis_tonic_google_api::google::api::LaunchStage;
use run::InstanceSplitAllocationType as Type;
use updraft_model::{
    Error, ServiceName, Violation,
    pool::{InstanceSplit, WorkerPool},
    service::Allocation,
};

use super::{Issues, container, enums::unknown_values, revision, traffic::short};
use crate::run;

/// Where a worker pool stands in the requests that carry one.
const ROOT: &str = "worker_pool";

/// Reads a worker pool.
///
/// # Errors
/// `InvalidArgument` with one violation per field that the model cannot hold.
pub fn to_model(name: &ServiceName, message: &run::WorkerPool) -> Result<WorkerPool, Error> {
    let mut issues = Issues::default();
    let template = message.template.as_ref().map(template_of).unwrap_or_default();
    let count = message.scaling.as_ref().and_then(|scaling| scaling.manual_instance_count);
    let splits = message.instance_splits.iter().enumerate();
    let pool = WorkerPool {
        name: name.clone(),
        description: message.description.clone(),
        labels: message.labels.clone().into_iter().collect(),
        annotations: message.annotations.clone().into_iter().collect(),
        template: revision::read_template(&mut issues, &format!("{ROOT}.template"), &template),
        count: count.map(|count| issues.count(&format!("{ROOT}.scaling.manual_instance_count"), count)),
        splits: splits.map(|(index, split)| read_split(&mut issues, index, split)).collect(),
        client: [message.client.clone(), message.client_version.clone()],
        unsupported: message.binary_authorization.iter().map(|_| "binary_authorization".to_owned()).collect(),
    };
    issues.finish(pool)
}

/// What is wrong with the parts of a client's message that the model does not name.
///
/// # Errors
/// As [`unknown_values`].
pub fn check_unnamed(message: &run::WorkerPool) -> Result<Vec<Violation>, Error> {
    let mut found = unknown_values(message, ROOT)?;
    found.extend(super::stage_violation(ROOT, message.launch_stage));
    Ok(found)
}

/// Writes the defaults of a defaulted model into the message, field for field: what the client sent and what the model
/// does not name stays as it is.
pub fn write_defaults(message: &mut run::WorkerPool, pool: &WorkerPool) {
    if message.launch_stage == i32::from(LaunchStage::Unspecified) {
        message.launch_stage = LaunchStage::Ga.into();
    }
    let count = i32::try_from(pool.instances()).unwrap_or(i32::MAX);
    message.scaling.get_or_insert_default().manual_instance_count = Some(count);
    message.instance_splits = pool.splits.iter().map(split_message).collect();
    let template = message.template.get_or_insert_default();
    template.service_account.clone_from(&pool.template.service_account);
    for (message, container) in template.containers.iter_mut().zip(&pool.template.containers) {
        container::write_defaults(message, container);
    }
}

/// The template in the words of a revision's.
pub fn template_of(template: &run::WorkerPoolRevisionTemplate) -> run::RevisionTemplate {
    let worker = template.clone();
    run::RevisionTemplate {
        revision: worker.revision,
        labels: worker.labels,
        annotations: worker.annotations,
        vpc_access: worker.vpc_access,
        service_account: worker.service_account,
        containers: worker.containers,
        volumes: worker.volumes,
        // Google: worker pools always have it.
        execution_environment: run::ExecutionEnvironment::Gen2.into(),
        encryption_key: worker.encryption_key,
        service_mesh: worker.service_mesh,
        encryption_key_revocation_action: worker.encryption_key_revocation_action,
        encryption_key_shutdown_duration: worker.encryption_key_shutdown_duration,
        node_selector: worker.node_selector,
        gpu_zonal_redundancy_disabled: worker.gpu_zonal_redundancy_disabled,
        ..run::RevisionTemplate::default()
    }
}

/// What is observed of one line: LATEST comes with the revision it is resolved to.
pub fn split_status(allocation: &Allocation, revision: &str, percent: i32) -> run::InstanceSplitStatus {
    run::InstanceSplitStatus { r#type: allocation_type(allocation), revision: revision.to_owned(), percent }
}

fn read_split(issues: &mut Issues, index: usize, message: &run::InstanceSplit) -> InstanceSplit {
    let path = format!("{ROOT}.instance_splits[{index}]");
    let allocation = match issues.enumeration(&format!("{path}.type"), message.r#type) {
        Type::Latest if !message.revision.is_empty() => {
            issues.add(format!("{path}.revision"), "must be empty when type is INSTANCE_SPLIT_ALLOCATION_TYPE_LATEST");
            Allocation::Latest
        }
        Type::Unspecified if message.revision.is_empty() => Allocation::Latest,
        Type::Latest => Allocation::Latest,
        Type::Revision | Type::Unspecified => Allocation::Revision(short(&message.revision)),
    };
    InstanceSplit { allocation, percent: message.percent }
}

fn split_message(split: &InstanceSplit) -> run::InstanceSplit {
    let revision = match &split.allocation {
        Allocation::Latest => String::new(),
        Allocation::Revision(id) => id.clone(),
    };
    run::InstanceSplit { r#type: allocation_type(&split.allocation), revision, percent: split.percent }
}

fn allocation_type(allocation: &Allocation) -> i32 {
    let value = match allocation {
        Allocation::Latest => Type::Latest,
        Allocation::Revision(_) => Type::Revision,
    };
    value.into()
}
