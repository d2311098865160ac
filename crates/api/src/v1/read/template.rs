//! Templates of revisions.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use updraft_model::Violation;

use super::{Annotations, aliases, container, is_map, own};
use crate::{
    run::{
        self, EncryptionKeyRevocationAction as Revocation, ExecutionEnvironment, source_code::CloudStorageSource,
        source_code::SourceType, vpc_access::VpcEgress,
    },
    v1::{
        keys, show,
        tree::{integer, items, pairs, text, texts},
    },
};

/// Where the template stands in its service.
const AT: &str = "spec.template.";
/// The name of the volume that v1 has an annotation for.
const SOCKETS: &str = "cloudsql";

/// The message of a template.
pub(super) fn template(object: &Value, found: &mut Vec<Violation>) -> run::RevisionTemplate {
    let mut annotations = Annotations::of(object, AT, found);
    let spec = &object["spec"];
    let environments = [("gen1", ExecutionEnvironment::Gen1), ("gen2", ExecutionEnvironment::Gen2)];
    let actions = [("prevent-new", Revocation::PreventNew), ("shut-down", Revocation::Shutdown)];
    let hours = annotations.count(keys::SHUTDOWN_HOURS);
    let scaling = run::RevisionScaling {
        min_instance_count: annotations.count(keys::AUTOSCALING_MIN).unwrap_or_default(),
        max_instance_count: annotations.count(keys::AUTOSCALING_MAX).unwrap_or_default(),
    };
    let mut template = run::RevisionTemplate {
        revision: text(&object["metadata"], "name").to_owned(),
        labels: own(object, "labels"),
        annotations: with_targets(own(object, "annotations"), &annotations),
        scaling: (scaling != run::RevisionScaling::default()).then_some(scaling),
        vpc_access: vpc_access(&mut annotations),
        timeout: spec["timeoutSeconds"].as_i64().map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        service_account: text(spec, "serviceAccountName").to_owned(),
        encryption_key: annotations.owned(keys::ENCRYPTION_KEY),
        max_instance_request_concurrency: integer(spec, "containerConcurrency"),
        service_mesh: annotations
            .text(keys::MESH)
            .filter(|mesh| !mesh.is_empty())
            .map(|mesh| run::ServiceMesh { mesh: mesh.to_owned() }),
        execution_environment: annotations.word(keys::EXECUTION_ENVIRONMENT, &environments).unwrap_or_default().into(),
        encryption_key_revocation_action: annotations.word(keys::REVOCATION, &actions).unwrap_or_default().into(),
        encryption_key_shutdown_duration: hours
            .map(|hours| prost_types::Duration { seconds: i64::from(hours) * 3600, nanos: 0 }),
        session_affinity: annotations.switch(keys::SESSION_AFFINITY).unwrap_or_default(),
        health_check_disabled: annotations.switch(keys::HEALTH_CHECK_DISABLED).unwrap_or_default(),
        node_selector: spec["nodeSelector"][keys::ACCELERATOR]
            .as_str()
            .map(|kind| run::NodeSelector { accelerator: kind.to_owned() }),
        gpu_zonal_redundancy_disabled: annotations.switch(keys::ZONAL_REDUNDANCY_DISABLED),
        containers: Vec::new(),
        volumes: Vec::new(),
    };
    contents(spec, &mut annotations, &mut template);
    template
}

/// The annotations with the targets of scaling, which v2 has no fields for.
fn with_targets(mut own: HashMap<String, String>, annotations: &Annotations<'_>) -> HashMap<String, String> {
    for (key, kept) in keys::TARGETS {
        if let Some(target) = annotations.text(key).filter(|target| !target.is_empty()) {
            own.insert(kept.to_owned(), target.to_owned());
        }
    }
    own
}

/// Containers and volumes, with what annotations say about them.
fn contents(spec: &Value, annotations: &mut Annotations<'_>, template: &mut run::RevisionTemplate) {
    let names: BTreeMap<&str, &str> = aliases(annotations.text(keys::SECRETS).unwrap_or_default()).collect();
    template.containers = items(spec, "containers").map(|value| container::container(value, &names)).collect();
    template.volumes = items(spec, "volumes").map(|value| container::volume(value, &names)).collect();
    let boost = annotations.switch(keys::STARTUP_BOOST).unwrap_or_default();
    let throttling = annotations.switch(keys::CPU_THROTTLING).unwrap_or(true);
    let instances = annotations.text(keys::CLOUD_SQL).filter(|instances| !instances.is_empty());
    for container in &mut template.containers {
        // Without the message the model would decide; v1 throttles unless told otherwise.
        let resources = container.resources.get_or_insert_default();
        (resources.cpu_idle, resources.startup_cpu_boost) = (throttling, boost);
        if instances.is_some() {
            let mount_path = show::SOCKETS.to_owned();
            container.volume_mounts.push(run::VolumeMount {
                name: SOCKETS.to_owned(),
                mount_path,
                ..run::VolumeMount::default()
            });
        }
    }
    if let Some(instances) = instances {
        let instances = instances.split(',').map(|instance| instance.trim().to_owned()).collect();
        let source = run::volume::VolumeType::CloudSqlInstance(run::CloudSqlInstance { instances });
        template.volumes.push(run::Volume { name: SOCKETS.to_owned(), volume_type: Some(source) });
    }
    dependencies(annotations, &mut template.containers);
    by_container(annotations, keys::BASE_IMAGES, &mut template.containers, |container, image| {
        image.clone_into(&mut container.base_image_uri);
    });
    by_container(annotations, keys::SOURCES, &mut template.containers, |container, url| {
        container.source_code = source(url);
    });
}

/// `{"after": ["before"]}`.
fn dependencies(annotations: &mut Annotations<'_>, containers: &mut [run::Container]) {
    let fits = |value: &Value| value.as_object().is_some_and(|map| map.values().all(super::is_list));
    let map = annotations.json(keys::DEPENDENCIES, fits, r#"{"container":["container before it"]}"#);
    for (name, _) in map.iter().filter_map(Value::as_object).flatten() {
        let before = map.as_ref().map(|map| texts(map, name)).unwrap_or_default();
        match containers.iter_mut().find(|container| container.name == *name) {
            Some(container) => container.depends_on = before,
            None => {
                annotations.refuse(keys::DEPENDENCIES, format!("must name containers of the template, got '{name}'"))
            }
        }
    }
}

/// A text for each of some containers; an empty name means the only one.
fn by_container(
    annotations: &mut Annotations<'_>,
    key: &str,
    containers: &mut [run::Container],
    set: impl Fn(&mut run::Container, &str),
) {
    let map = annotations.json(key, is_map, r#"{"container":"text"}"#).unwrap_or_default();
    let map = serde_json::json!({ "map": map });
    for (name, text) in pairs(&map, "map") {
        let alone = containers.len() == 1 && name.is_empty();
        match containers.iter_mut().find(|container| alone || container.name == *name) {
            Some(container) => set(container, text),
            None => annotations.refuse(key, format!("must name containers of the template, got '{name}'")),
        }
    }
}

/// `gs://bucket/object`, with `#generation` or without.
fn source(url: &str) -> Option<run::SourceCode> {
    let (bucket, object) = url.strip_prefix("gs://")?.split_once('/')?;
    let (object, generation) = match object.rsplit_once('#') {
        Some((object, number)) if number.parse::<i64>().is_ok() => (object, number.parse().unwrap_or_default()),
        _ => (object, 0),
    };
    let source = CloudStorageSource { bucket: bucket.to_owned(), object: object.to_owned(), generation };
    Some(run::SourceCode { source_type: Some(SourceType::CloudStorageSource(source)) })
}

fn vpc_access(annotations: &mut Annotations<'_>) -> Option<run::VpcAccess> {
    let egresses = [
        ("all-traffic", VpcEgress::AllTraffic),
        ("private-ranges-only", VpcEgress::PrivateRangesOnly),
        ("all", VpcEgress::AllTraffic),
    ];
    let form = r#"[{"network":"…","subnetwork":"…","tags":["…"]}]"#;
    let fits = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_object));
    let interfaces = annotations.json(keys::NETWORK_INTERFACES, fits, form).unwrap_or_default();
    let interface = |value: &Value| run::vpc_access::NetworkInterface {
        network: text(value, "network").to_owned(),
        subnetwork: text(value, "subnetwork").to_owned(),
        tags: texts(value, "tags"),
    };
    let access = run::VpcAccess {
        connector: annotations.owned(keys::VPC_CONNECTOR),
        egress: annotations.word(keys::VPC_EGRESS, &egresses).unwrap_or_default().into(),
        network_interfaces: interfaces.as_array().into_iter().flatten().map(interface).collect(),
    };
    (access != run::VpcAccess::default()).then_some(access)
}
