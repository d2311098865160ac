//! The v1 shape: Knative-like JSON of a service and a revision, as `gcloud run services describe
//! --format=json` prints it. A view of the v2 message; keys are sorted as gcloud sorts them.
//!
//! Source: the v1 API as gcloud 578 reads and prints it.

mod container;

use prost_types::Timestamp;
use serde_json::{Map, Value, json};
use updraft_model::{RevisionName, ServiceName, name::project_number};

use crate::run::{
    self, ExecutionEnvironment, IngressTraffic, TrafficTargetAllocationType as Allocation,
    condition::{CommonReason, ExecutionReason, Reasons, RevisionReason, Severity, State},
    service_scaling::ScalingMode,
};
use googleapis_tonic_google_api::google::api::LaunchStage;

/// Pairs of which only those with something in them become keys.
type Pairs = Vec<(&'static str, Value)>;

/// A service in the v1 shape.
pub fn service_json(service: &run::Service) -> Value {
    let name = service.name.parse::<ServiceName>().ok();
    let template = service.template.as_ref();
    let mut annotations = strings(&service.annotations);
    annotations.extend(service_annotations(service).into_iter().filter(|(_, value)| !is_empty(value)));
    let mut labels = strings(&service.labels);
    if let Some(name) = &name {
        labels.insert("cloud.googleapis.com/location".to_owned(), json!(name.parent.location));
    }
    sorted(object(vec![
        ("apiVersion", json!("serving.knative.dev/v1")),
        ("kind", json!("Service")),
        (
            "metadata",
            object(vec![
                ("annotations", Value::Object(annotations)),
                ("labels", Value::Object(labels)),
                ("name", json!(name.as_ref().map(|name| &name.service))),
                ("namespace", json!(name.as_ref().map(|name| namespace(&name.parent.project)))),
                (
                    "selfLink",
                    json!(name.as_ref().map(|name| self_link(&name.parent.project, "services", &name.service))),
                ),
                ("uid", json!(service.uid)),
                ("resourceVersion", json!(service.etag)),
                ("generation", json!(service.generation)),
                ("creationTimestamp", time(service.create_time.as_ref())),
                ("deletionTimestamp", time(service.delete_time.as_ref())),
            ]),
        ),
        (
            "spec",
            object(vec![
                ("template", template.map(template_json).unwrap_or_default()),
                ("traffic", service.traffic.iter().map(target_json).collect()),
            ]),
        ),
        ("status", service_status(service)),
    ]))
}

/// A revision in the v1 shape.
pub fn revision_json(revision: &run::Revision) -> Value {
    let name = revision.name.parse::<RevisionName>().ok();
    let template = crate::view::revision::template_of(revision);
    let mut annotations = template_annotations(&template);
    put(&mut annotations, "serving.knative.dev/creator", &revision.creator);
    let mut labels = template_labels(&template);
    if let Some(RevisionName { service, .. }) = &name {
        put(&mut labels, "cloud.googleapis.com/location", &service.parent.location);
        put(&mut labels, "serving.knative.dev/configuration", &service.service);
        put(&mut labels, "serving.knative.dev/service", &service.service);
    }
    let project = name.as_ref().map(|name| name.service.parent.project.as_str());
    let digest = revision.containers.first().map(|container| &container.image).filter(|image| image.contains('@'));
    sorted(object(vec![
        ("apiVersion", json!("serving.knative.dev/v1")),
        ("kind", json!("Revision")),
        (
            "metadata",
            object(vec![
                ("annotations", Value::Object(annotations)),
                ("labels", Value::Object(labels)),
                ("name", json!(template.revision)),
                ("namespace", json!(project.map(namespace))),
                ("selfLink", json!(project.map(|project| self_link(project, "revisions", &template.revision)))),
                ("uid", json!(revision.uid)),
                ("resourceVersion", json!(revision.etag)),
                ("generation", json!(revision.generation)),
                ("creationTimestamp", time(revision.create_time.as_ref())),
                ("deletionTimestamp", time(revision.delete_time.as_ref())),
            ]),
        ),
        ("spec", spec_json(&template)),
        (
            "status",
            object(vec![
                ("conditions", revision.conditions.iter().map(condition_json).collect()),
                ("desiredReplicas", json!(revision.scaling_status.map(|status| status.desired_min_instance_count))),
                ("imageDigest", json!(digest)),
                ("logUrl", json!(revision.log_uri)),
                ("observedGeneration", json!(revision.observed_generation)),
            ]),
        ),
    ]))
}

fn service_annotations(service: &run::Service) -> Vec<(String, Value)> {
    let ingress = match service.ingress() {
        IngressTraffic::Unspecified => "",
        IngressTraffic::All => "all",
        IngressTraffic::InternalOnly => "internal",
        IngressTraffic::InternalLoadBalancer => "internal-and-cloud-load-balancing",
        IngressTraffic::None => "none",
    };
    let stage = match service.launch_stage() {
        LaunchStage::Alpha => "ALPHA",
        LaunchStage::Beta => "BETA",
        _ => "",
    };
    let scaling = service.scaling.unwrap_or_default();
    let manual = scaling.scaling_mode() == ScalingMode::Manual;
    let named = [
        ("run.googleapis.com/client-name", json!(service.client)),
        ("run.googleapis.com/client-version", json!(service.client_version)),
        ("run.googleapis.com/custom-audiences", json_list(&service.custom_audiences)),
        ("run.googleapis.com/default-url-disabled", flag(service.default_uri_disabled)),
        ("run.googleapis.com/description", json!(service.description)),
        ("run.googleapis.com/ingress", json!(ingress)),
        ("run.googleapis.com/ingress-status", json!(ingress)),
        ("run.googleapis.com/invoker-iam-disabled", flag(service.invoker_iam_disabled)),
        ("run.googleapis.com/launch-stage", json!(stage)),
        ("run.googleapis.com/manualInstanceCount", json!(scaling.manual_instance_count.map(|n| n.to_string()))),
        ("run.googleapis.com/maxScale", count(scaling.max_instance_count)),
        ("run.googleapis.com/minScale", count(scaling.min_instance_count)),
        ("run.googleapis.com/scalingMode", json!(if manual { "manual" } else { "" })),
        ("run.googleapis.com/urls", json_list(&service.urls)),
        ("serving.knative.dev/creator", json!(service.creator)),
        ("serving.knative.dev/lastModifier", json!(service.last_modifier)),
    ];
    named.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn service_status(service: &run::Service) -> Value {
    let conditions = service.terminal_condition.iter().chain(&service.conditions);
    // In v1 it says which intent was dealt with, well or badly: clients wait until it is the generation. In
    // v2 it says which one serves, and `reconciling` that the last one is not dealt with yet.
    let observed = if service.reconciling { service.observed_generation } else { service.generation };
    object(vec![
        ("address", object(vec![("url", json!(service.uri))])),
        ("conditions", conditions.map(condition_json).collect()),
        ("latestCreatedRevisionName", json!(short(&service.latest_created_revision))),
        ("latestReadyRevisionName", json!(short(&service.latest_ready_revision))),
        ("observedGeneration", json!(observed)),
        ("traffic", service.traffic_statuses.iter().map(target_status_json).collect()),
        ("url", json!(service.uri)),
    ])
}

fn template_json(template: &run::RevisionTemplate) -> Value {
    object(vec![
        (
            "metadata",
            object(vec![
                ("annotations", Value::Object(template_annotations(template))),
                ("labels", Value::Object(template_labels(template))),
                ("name", json!(template.revision)),
            ]),
        ),
        ("spec", spec_json(template)),
    ])
}

fn template_annotations(template: &run::RevisionTemplate) -> Map<String, Value> {
    let scaling = template.scaling.unwrap_or_default();
    let resources = template.containers.iter().filter_map(|container| container.resources.as_ref());
    let (mut boost, mut always) = (false, false);
    for resources in resources {
        boost |= resources.startup_cpu_boost;
        always |= !resources.cpu_idle;
    }
    let environment = match template.execution_environment() {
        ExecutionEnvironment::Unspecified => "",
        ExecutionEnvironment::Gen1 => "gen1",
        ExecutionEnvironment::Gen2 => "gen2",
    };
    let mut annotations = strings(&template.annotations);
    for (key, value) in [
        ("autoscaling.knative.dev/maxScale", count(scaling.max_instance_count)),
        ("autoscaling.knative.dev/minScale", count(scaling.min_instance_count)),
        ("run.googleapis.com/cloudsql-instances", container::cloud_sql(&template.volumes)),
        ("run.googleapis.com/container-dependencies", container::dependencies(&template.containers)),
        ("run.googleapis.com/cpu-throttling", json!(if always { "false" } else { "" })),
        ("run.googleapis.com/encryption-key", json!(template.encryption_key)),
        ("run.googleapis.com/execution-environment", json!(environment)),
        ("run.googleapis.com/health-check-disabled", flag(template.health_check_disabled)),
        ("run.googleapis.com/sessionAffinity", flag(template.session_affinity)),
        ("run.googleapis.com/startup-cpu-boost", flag(boost)),
    ] {
        if !is_empty(&value) {
            annotations.insert(key.to_owned(), value);
        }
    }
    annotations
}

fn template_labels(template: &run::RevisionTemplate) -> Map<String, Value> {
    let mut labels = strings(&template.labels);
    let probe = template.containers.iter().find(|container| !container.ports.is_empty());
    if let Some(probe) = probe.and_then(|container| container.startup_probe.as_ref()) {
        let kind = if container::is_default_startup(probe) { "Default" } else { "Custom" };
        put(&mut labels, "run.googleapis.com/startupProbeType", kind);
    }
    labels
}

fn spec_json(template: &run::RevisionTemplate) -> Value {
    let accelerator = template.node_selector.as_ref().map(|selector| &selector.accelerator);
    let selector = accelerator.map(|kind| json!({"run.googleapis.com/accelerator": kind}));
    object(vec![
        ("containerConcurrency", number(template.max_instance_request_concurrency)),
        ("containers", template.containers.iter().map(container::container_json).collect()),
        ("nodeSelector", json!(selector)),
        ("serviceAccountName", json!(template.service_account)),
        ("timeoutSeconds", json!(template.timeout.map(|timeout| timeout.seconds))),
        ("volumes", template.volumes.iter().filter_map(container::volume_json).collect()),
    ])
}

fn target_json(target: &run::TrafficTarget) -> Value {
    let named = target.r#type() == Allocation::Revision;
    object(vec![
        ("latestRevision", if named { Value::Null } else { json!(true) }),
        ("percent", number(target.percent)),
        ("revisionName", json!(if named { short(&target.revision) } else { "" })),
        ("tag", json!(target.tag)),
    ])
}

fn target_status_json(target: &run::TrafficTargetStatus) -> Value {
    let latest = target.r#type() == Allocation::Latest;
    object(vec![
        ("latestRevision", if latest { json!(true) } else { Value::Null }),
        ("percent", number(target.percent)),
        ("revisionName", json!(short(&target.revision))),
        ("tag", json!(target.tag)),
        ("url", json!(target.uri)),
    ])
}

fn condition_json(condition: &run::Condition) -> Value {
    let status = match condition.state() {
        State::ConditionSucceeded => "True",
        State::ConditionFailed => "False",
        State::ConditionPending | State::ConditionReconciling | State::Unspecified => "Unknown",
    };
    let severity = match condition.severity() {
        Severity::Unspecified | Severity::Error => "",
        Severity::Warning => "Warning",
        Severity::Info => "Info",
    };
    object(vec![
        ("lastTransitionTime", time(condition.last_transition_time.as_ref())),
        ("message", json!(condition.message)),
        ("reason", json!(condition.reasons.map(reason))),
        ("severity", json!(severity)),
        ("status", json!(status)),
        ("type", json!(condition.r#type)),
    ])
}

/// `HEALTH_CHECK_CONTAINER_ERROR` → `HealthCheckContainerError`.
fn reason(reasons: Reasons) -> String {
    let name = match reasons {
        Reasons::Reason(number) => CommonReason::try_from(number).map(|reason| reason.as_str_name()),
        Reasons::RevisionReason(number) => RevisionReason::try_from(number).map(|reason| reason.as_str_name()),
        Reasons::ExecutionReason(number) => ExecutionReason::try_from(number).map(|reason| reason.as_str_name()),
    };
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().into_iter().chain(letters.map(|c| c.to_ascii_lowercase())).collect::<String>()
    };
    name.unwrap_or("UNKNOWN").split('_').map(capital).collect()
}

/// An object of the pairs that have something in them: gcloud shows no empty fields.
fn object(pairs: Pairs) -> Value {
    let filled = pairs.into_iter().filter(|(_, value)| !is_empty(value));
    Value::Object(filled.map(|(key, value)| (key.to_owned(), value)).collect())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> =
                fields.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

fn strings(map: &std::collections::HashMap<String, String>) -> Map<String, Value> {
    map.iter().map(|(key, value)| (key.clone(), json!(value))).collect()
}

fn put(map: &mut Map<String, Value>, key: &str, value: &str) {
    if !value.is_empty() {
        map.insert(key.to_owned(), json!(value));
    }
}

/// A count that 0 stands for "not set" in, as annotations write it.
fn count(count: i32) -> Value {
    if count == 0 { Value::Null } else { json!(count.to_string()) }
}

/// A number that 0 stands for "not set" in.
fn number(number: i32) -> Value {
    if number == 0 { Value::Null } else { json!(number) }
}

fn flag(set: bool) -> Value {
    if set { json!("true") } else { Value::Null }
}

/// A list as annotations hold it: JSON in a string.
fn json_list(items: &[String]) -> Value {
    if items.is_empty() { Value::Null } else { json!(json!(items).to_string()) }
}

fn time(stamp: Option<&Timestamp>) -> Value {
    json!(stamp.map(ToString::to_string))
}

fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn namespace(project: &str) -> String {
    project_number(project).to_string()
}

fn self_link(project: &str, collection: &str, name: &str) -> String {
    format!("/apis/serving.knative.dev/v1/namespaces/{}/{collection}/{name}", namespace(project))
}
