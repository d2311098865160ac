//! Messages → v1 objects. Keys are sorted as gcloud sorts them.

mod annotations;
mod condition;
mod container;
mod execution;
mod job;
mod metadata;
mod service;
mod template;
mod worker_pool;

use prost_types::Timestamp;
use serde_json::{Map, Value, json};
use updraft_model::{RevisionName, name::project_number};

use super::{
    Stored, keys,
    tree::{self, object, put, short, sorted},
};
use crate::run::{self, TrafficTargetAllocationType as Allocation};

pub(in crate::v1) use container::SOCKETS;
pub use execution::{execution_json, execution_labels, task_json, task_labels, task_state};
pub(super) use job::intent_of_job;
pub use job::{job_json, job_labels};
pub(super) use service::intent_of_service;
pub use service::{configuration_json, route_json, service_json, service_labels};
pub(super) use template::template_json;
pub(super) use worker_pool::intent_of_worker_pool;
pub use worker_pool::{worker_pool_json, worker_pool_labels};

/// The kind of services.
pub const SERVICE: &str = "Service";
/// The kind of configurations.
pub const CONFIGURATION: &str = "Configuration";
/// The kind of routes.
pub const ROUTE: &str = "Route";
/// The kind of revisions.
pub const REVISION: &str = "Revision";
/// The kind of jobs.
pub const JOB: &str = "Job";
/// The kind of executions.
pub const EXECUTION: &str = "Execution";
/// The kind of tasks.
pub const TASK: &str = "Task";
/// The kind of worker pools.
pub const WORKER_POOL: &str = "WorkerPool";

/// Cloud Run's group, with its version.
pub const RUN: &str = "run.googleapis.com/v1";
/// Knative's group, with its version.
pub(super) const SERVING: &str = "serving.knative.dev/v1";

/// A revision in the v1 shape.
pub fn revision_json(stored: &Stored<run::Revision>) -> Value {
    let revision = &stored.message;
    let name = revision.name.parse::<RevisionName>().ok();
    let template = crate::view::revision::template_of(revision);
    let mut shown = template_json(&template, &stored.rest);
    stored.rest.put_back(&mut shown);
    let project = name.as_ref().map(|name| name.service.parent.project.as_str());
    let several = revision.containers.iter().find(|container| !container.ports.is_empty());
    let ingress = several.or_else(|| revision.containers.first());
    let digest = ingress.map(|container| &container.image).filter(|image| image.contains('@'));
    let mut metadata = take_map(&mut shown, "metadata");
    let mut annotations = take_map_of(&mut metadata, "annotations");
    put(&mut annotations, keys::CREATOR, json!(revision.creator));
    let mut labels = take_map_of(&mut metadata, "labels");
    labels.extend(revision_labels(revision).into_iter().map(|(key, value)| (key, json!(value))));
    for (key, value) in [
        ("annotations", Value::Object(annotations)),
        ("labels", Value::Object(labels)),
        ("namespace", json!(project.map(namespace))),
        ("selfLink", json!(project.map(|project| self_link(project, "revisions", &template.revision)))),
        ("uid", json!(revision.uid)),
        ("resourceVersion", json!(version(&revision.etag))),
        ("generation", json!(revision.generation)),
        ("creationTimestamp", time(revision.create_time.as_ref())),
        ("deletionTimestamp", time(revision.delete_time.as_ref())),
    ] {
        put(&mut metadata, key, value);
    }
    let status = object(vec![
        ("conditions", condition::of_revision(stored)),
        ("desiredReplicas", json!(revision.scaling_status.map(|status| status.desired_min_instance_count))),
        ("imageDigest", json!(digest)),
        ("logUrl", json!(revision.log_uri)),
        ("observedGeneration", json!(revision.observed_generation)),
    ]);
    sorted(object(vec![
        ("apiVersion", json!(SERVING)),
        ("kind", json!(REVISION)),
        ("metadata", Value::Object(metadata)),
        ("spec", shown["spec"].take()),
        ("status", status),
    ]))
}

/// The labels of a revision as v1 has them, which selectors look at.
pub fn revision_labels(revision: &run::Revision) -> Vec<(String, String)> {
    let mut labels: Vec<(String, String)> =
        revision.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    if let Ok(RevisionName { service, .. }) = revision.name.parse::<RevisionName>() {
        for (key, value) in [
            (keys::LOCATION_LABEL, &service.parent.location),
            ("serving.knative.dev/configuration", &service.service),
            ("serving.knative.dev/route", &service.service),
            ("serving.knative.dev/service", &service.service),
        ] {
            labels.push((key.to_owned(), value.clone()));
        }
    } else if let Some(pool) = tree::id_in(&revision.name, "workerPools") {
        labels.push((keys::WORKER_POOL_LABEL.to_owned(), pool.to_owned()));
        labels.extend(metadata::location(&revision.name));
    }
    labels
}

/// A list of objects of one kind; `token` is where the next page begins, empty at the end.
pub fn list_json(api_version: &str, kind: &str, items: Vec<Value>, token: &str) -> Value {
    json!({
        "apiVersion": api_version,
        "kind": format!("{kind}List"),
        "metadata": object(vec![("continue", json!(token))]),
        "items": items,
    })
}

/// The version of a resource that a client may send back: the etag without its quotes.
pub(super) fn version(etag: &str) -> &str {
    etag.trim_matches('"')
}

pub(super) fn target_json(target: &run::TrafficTarget) -> Value {
    let named = target.r#type() == Allocation::Revision;
    object(vec![
        ("latestRevision", if named { Value::Null } else { json!(true) }),
        ("percent", tree::number(target.percent)),
        ("revisionName", json!(if named { short(&target.revision) } else { "" })),
        ("tag", json!(target.tag)),
    ])
}

fn target_status_json(target: &run::TrafficTargetStatus) -> Value {
    let latest = target.r#type() == Allocation::Latest;
    object(vec![
        ("latestRevision", if latest { json!(true) } else { Value::Null }),
        ("percent", tree::number(target.percent)),
        ("revisionName", json!(short(&target.revision))),
        ("tag", json!(target.tag)),
        ("url", json!(target.uri)),
    ])
}

/// The map in a field, which is taken out; an empty one when there is none.
fn take_map(value: &mut Value, field: &str) -> Map<String, Value> {
    value.as_object_mut().map(|fields| take_map_of(fields, field)).unwrap_or_default()
}

fn take_map_of(fields: &mut Map<String, Value>, field: &str) -> Map<String, Value> {
    match fields.remove(field) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

pub(super) fn time(stamp: Option<&Timestamp>) -> Value {
    json!(stamp.map(ToString::to_string))
}

pub(super) fn namespace(project: &str) -> String {
    project_number(project).to_string()
}

fn self_link(project: &str, collection: &str, name: &str) -> String {
    format!("/apis/{SERVING}/namespaces/{}/{collection}/{name}", namespace(project))
}
