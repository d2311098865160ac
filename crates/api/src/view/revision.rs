//! A revision and its template: message ↔ model.

use googleapis_tonic_google_api::google::api::LaunchStage;
use updraft_model::{
    Error, RevisionName,
    revision::{RevisionScaling, RevisionTemplate, SecretItem, SecretSource, Volume, VolumeKind},
};

use super::{Issues, container, proto_duration};
use crate::run;

/// Reads a template that stands at `path` in its request, such as `service.template`.
///
/// # Errors
/// `InvalidArgument` with one violation per field that the model cannot hold.
pub fn template_to_model(path: &str, message: &run::RevisionTemplate) -> Result<RevisionTemplate, Error> {
    let mut issues = Issues::default();
    let template = read_template(&mut issues, path, message);
    issues.finish(template)
}

/// Reads what a revision is made of.
///
/// # Errors
/// As [`template_to_model`].
pub fn to_model(message: &run::Revision) -> Result<RevisionTemplate, Error> {
    template_to_model("revision", &template_of(message))
}

/// The revision that a template becomes under `name`: the spec, and none of the status.
pub fn from_template(name: &RevisionName, template: &run::RevisionTemplate) -> run::Revision {
    let template = template.clone();
    run::Revision {
        name: name.to_string(),
        generation: 1,
        labels: template.labels,
        annotations: template.annotations,
        launch_stage: LaunchStage::Ga.into(),
        service: name.service.service.clone(),
        scaling: template.scaling,
        vpc_access: template.vpc_access,
        max_instance_request_concurrency: template.max_instance_request_concurrency,
        timeout: template.timeout,
        service_account: template.service_account,
        containers: template.containers,
        volumes: template.volumes,
        execution_environment: template.execution_environment,
        encryption_key: template.encryption_key,
        service_mesh: template.service_mesh,
        encryption_key_revocation_action: template.encryption_key_revocation_action,
        encryption_key_shutdown_duration: template.encryption_key_shutdown_duration,
        session_affinity: template.session_affinity,
        node_selector: template.node_selector,
        gpu_zonal_redundancy_disabled: template.gpu_zonal_redundancy_disabled,
        ..run::Revision::default()
    }
}

/// The template that a revision was made from. `health_check_disabled` is lost: the message `Revision`
/// has no such field.
pub fn template_of(revision: &run::Revision) -> run::RevisionTemplate {
    let revision = revision.clone();
    run::RevisionTemplate {
        revision: revision.name.rsplit('/').next().unwrap_or_default().to_owned(),
        labels: revision.labels,
        annotations: revision.annotations,
        scaling: revision.scaling,
        vpc_access: revision.vpc_access,
        timeout: revision.timeout,
        service_account: revision.service_account,
        containers: revision.containers,
        volumes: revision.volumes,
        execution_environment: revision.execution_environment,
        encryption_key: revision.encryption_key,
        max_instance_request_concurrency: revision.max_instance_request_concurrency,
        service_mesh: revision.service_mesh,
        encryption_key_revocation_action: revision.encryption_key_revocation_action,
        encryption_key_shutdown_duration: revision.encryption_key_shutdown_duration,
        session_affinity: revision.session_affinity,
        health_check_disabled: false,
        node_selector: revision.node_selector,
        gpu_zonal_redundancy_disabled: revision.gpu_zonal_redundancy_disabled,
    }
}

/// Writes the defaults of a defaulted template into the message.
pub fn write_defaults(message: &mut run::RevisionTemplate, template: &RevisionTemplate) {
    let scaling = message.scaling.get_or_insert_default();
    scaling.min_instance_count = number(template.scaling.min);
    scaling.max_instance_count = number(template.scaling.max);
    message.timeout = template.timeout.map(proto_duration);
    message.service_account.clone_from(&template.service_account);
    message.max_instance_request_concurrency = number(template.concurrency);
    for (message, container) in message.containers.iter_mut().zip(&template.containers) {
        container::write_defaults(message, container);
    }
}

pub(super) fn read_template(issues: &mut Issues, path: &str, message: &run::RevisionTemplate) -> RevisionTemplate {
    let scaling = message.scaling.unwrap_or_default();
    RevisionTemplate {
        revision: Some(message.revision.clone()).filter(|name| !name.is_empty()),
        labels: message.labels.clone().into_iter().collect(),
        annotations: message.annotations.clone().into_iter().collect(),
        scaling: RevisionScaling {
            min: issues.count(&format!("{path}.scaling.min_instance_count"), scaling.min_instance_count),
            max: issues.count(&format!("{path}.scaling.max_instance_count"), scaling.max_instance_count),
        },
        timeout: message.timeout.as_ref().and_then(|timeout| issues.duration(&format!("{path}.timeout"), timeout)),
        service_account: message.service_account.clone(),
        containers: container::read_all(issues, path, &message.containers),
        volumes: message.volumes.iter().map(volume).collect(),
        concurrency: issues
            .count(&format!("{path}.max_instance_request_concurrency"), message.max_instance_request_concurrency),
        session_affinity: message.session_affinity,
        health_check_disabled: message.health_check_disabled,
        unsupported: unsupported(message),
    }
}

pub(super) fn volume(message: &run::Volume) -> Volume {
    use run::volume::VolumeType as V2;
    let kind = match &message.volume_type {
        None => VolumeKind::Unset,
        Some(V2::Secret(secret)) => VolumeKind::Secret(secret_source(secret)),
        Some(V2::CloudSqlInstance(_)) => VolumeKind::CloudSql,
        Some(V2::EmptyDir(dir)) => VolumeKind::EmptyDir { size_limit: dir.size_limit.clone() },
        Some(V2::Nfs(_)) => VolumeKind::Nfs,
        Some(V2::Gcs(_)) => VolumeKind::Gcs,
    };
    Volume { name: message.name.clone(), kind }
}

fn secret_source(message: &run::SecretVolumeSource) -> SecretSource {
    let item = |item: &run::VersionToPath| SecretItem {
        path: item.path.clone(),
        version: item.version.clone(),
        mode: item.mode,
    };
    SecretSource {
        secret: message.secret.clone(),
        items: message.items.iter().map(item).collect(),
        default_mode: message.default_mode,
    }
}

/// Fields that are set and that nothing here acts on, by their path from the template.
fn unsupported(message: &run::RevisionTemplate) -> Vec<String> {
    let set = [
        ("vpc_access", message.vpc_access.is_some()),
        ("encryption_key", !message.encryption_key.is_empty()),
        ("service_mesh", message.service_mesh.is_some()),
        ("encryption_key_revocation_action", message.encryption_key_revocation_action != 0),
        ("encryption_key_shutdown_duration", message.encryption_key_shutdown_duration.is_some()),
        ("node_selector", message.node_selector.is_some()),
    ];
    let own = set.into_iter().filter(|(_, set)| *set).map(|(field, _)| field.to_owned());
    own.chain(unsupported_of_containers(&message.containers)).collect()
}

/// The same of containers, whatever the template.
pub(super) fn unsupported_of_containers(messages: &[run::Container]) -> Vec<String> {
    let containers = messages.iter().enumerate();
    let sources = containers
        .filter(|(_, container)| container.source_code.is_some())
        .map(|(index, _)| format!("containers[{index}].source_code"));
    let mounts = messages.iter().enumerate().flat_map(|(index, container)| {
        let parts = container.volume_mounts.iter().enumerate().filter(|(_, mount)| !mount.sub_path.is_empty());
        parts.map(move |(place, _)| format!("containers[{index}].volume_mounts[{place}].sub_path"))
    });
    sources.chain(mounts).collect()
}

fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
