//! Paths of v2's fields in v1's spelling, for the errors that callers of v1 see.

use updraft_model::{Error, ErrorKind, Violation};

use super::keys;

/// Fields of a template that are annotations in v1.
const TEMPLATE_ANNOTATIONS: [(&str, &str); 12] = [
    ("scaling.min_instance_count", keys::AUTOSCALING_MIN),
    ("scaling.max_instance_count", keys::AUTOSCALING_MAX),
    ("vpc_access.network_interfaces", keys::NETWORK_INTERFACES),
    ("vpc_access.egress", keys::VPC_EGRESS),
    ("vpc_access", keys::VPC_CONNECTOR),
    ("encryption_key_revocation_action", keys::REVOCATION),
    ("encryption_key_shutdown_duration", keys::SHUTDOWN_HOURS),
    ("encryption_key", keys::ENCRYPTION_KEY),
    ("service_mesh", keys::MESH),
    ("execution_environment", keys::EXECUTION_ENVIRONMENT),
    ("session_affinity", keys::SESSION_AFFINITY),
    ("health_check_disabled", keys::HEALTH_CHECK_DISABLED),
];

/// Fields of a service that are annotations in v1.
const SERVICE_ANNOTATIONS: [(&str, &str); 12] = [
    ("scaling.min_instance_count", keys::MIN),
    ("scaling.max_instance_count", keys::MAX),
    ("scaling.manual_instance_count", keys::MANUAL_COUNT),
    ("scaling.scaling_mode", keys::SCALING_MODE),
    ("ingress", keys::INGRESS),
    ("description", keys::DESCRIPTION),
    ("iap_enabled", keys::IAP),
    ("binary_authorization", keys::BINARY_AUTHORIZATION),
    ("multi_region_settings", keys::REGIONS),
    ("custom_audiences", keys::CUSTOM_AUDIENCES),
    ("invoker_iam_disabled", keys::INVOKER_IAM_DISABLED),
    ("build_config", keys::BUILD_SOURCE),
];

/// Fields of a job that are annotations in v1.
const JOB_ANNOTATIONS: [(&str, &str); 1] = [("binary_authorization", keys::BINARY_AUTHORIZATION)];

/// Fields of a worker pool that are annotations in v1.
const WORKER_POOL_ANNOTATIONS: [(&str, &str); 3] = [
    ("scaling.manual_instance_count", keys::MANUAL_COUNT),
    ("description", keys::DESCRIPTION),
    ("binary_authorization", keys::BINARY_AUTHORIZATION),
];

/// Names that differ by more than their spelling.
const NAMES: [(&str, &str); 7] = [
    ("value_source", "valueFrom"),
    ("size_limit", "sizeLimit"),
    ("empty_dir", "emptyDir"),
    ("timeout", "timeoutSeconds"),
    ("max_instance_request_concurrency", "containerConcurrency"),
    ("service_account", "serviceAccountName"),
    ("node_selector", "nodeSelector"),
];

/// An error about a v2 request as a caller of v1 should read it.
#[must_use]
pub fn in_v1_words(error: Error) -> Error {
    if error.kind() != ErrorKind::InvalidArgument || error.violations().is_empty() {
        return error;
    }
    let ours = error.violations().iter().any(|violation| violation.field.contains('_'));
    let named = error.message() == Error::invalid(error.violations().to_vec()).message();
    let translated: Vec<Violation> = error
        .violations()
        .iter()
        .map(|violation| Violation::new(path(&violation.field), violation.rule.clone()))
        .collect();
    match named || ours {
        true => Error::invalid(translated),
        false => Error::invalid(translated).with_message(error.message()),
    }
}

/// The path of a field: `service.template.containers[0].image` → `spec.template.spec.containers[0].image`.
fn path(field: &str) -> String {
    if let Some(rest) = field.strip_prefix("service.") {
        return in_resource(rest, &SERVICE_ANNOTATIONS);
    }
    if let Some(rest) = field.strip_prefix("worker_pool.") {
        return in_resource(rest, &WORKER_POOL_ANNOTATIONS);
    }
    if let Some(rest) = field.strip_prefix("job.template.") {
        return format!("spec.template.{}", in_execution(rest));
    }
    if let Some(rest) = field.strip_prefix("job.") {
        return in_resource(rest, &JOB_ANNOTATIONS);
    }
    match field {
        "service_id" | "job_id" | "worker_pool_id" | "name" => "metadata.name".to_owned(),
        "page_size" => "limit".to_owned(),
        "page_token" => "continue".to_owned(),
        other if other.starts_with("overrides.") => camel(other),
        other => other.to_owned(),
    }
}

/// In a resource whose template is a revision's, or outside its template.
fn in_resource(field: &str, annotations: &[(&str, &str)]) -> String {
    if let Some(rest) = field.strip_prefix("template.") {
        return format!("spec.template.{}", in_template(rest));
    }
    if let Some(annotation) = annotation(annotations, field) {
        return annotation;
    }
    match field {
        "name" => "metadata.name".to_owned(),
        field if field.starts_with("labels") || field.starts_with("annotations") => format!("metadata.{field}"),
        field if ["traffic", "instance_splits"].iter().any(|list| field.starts_with(list)) => {
            let named = if field.ends_with(".revision") { "Name" } else { "" };
            format!("spec.{}{named}", camel(field))
        }
        field => format!("spec.{}", camel(field)),
    }
}

/// In the template of an execution. What is about its tasks and is an annotation in v1 is one of the execution.
fn in_execution(field: &str) -> String {
    let Some(rest) = field.strip_prefix("template.") else {
        return match field.starts_with("labels") || field.starts_with("annotations") {
            true => format!("metadata.{field}"),
            false => format!("spec.{}", camel(field)),
        };
    };
    match in_template(rest) {
        annotation if annotation.starts_with("metadata.") => annotation,
        field => format!("spec.template.{field}"),
    }
}

fn in_template(field: &str) -> String {
    if let Some(annotation) = annotation(&TEMPLATE_ANNOTATIONS, field) {
        return annotation;
    }
    match field {
        "revision" => "metadata.name".to_owned(),
        field if field.starts_with("labels") || field.starts_with("annotations") => format!("metadata.{field}"),
        field if field.contains(".depends_on") => format!("metadata.annotations[{}]", keys::DEPENDENCIES),
        field if field.ends_with("cpu_idle") => format!("metadata.annotations[{}]", keys::CPU_THROTTLING),
        field => format!("spec.{}", camel(field)),
    }
}

fn annotation(table: &[(&str, &str)], field: &str) -> Option<String> {
    let found =
        table.iter().find(|(name, _)| field == *name || field.strip_prefix(name).is_some_and(|r| r.starts_with('.')));
    found.map(|(_, key)| format!("metadata.annotations[{key}]"))
}

/// Each name of a path in v1's spelling; what stands in brackets is left alone.
fn camel(field: &str) -> String {
    let name = |name: &str| {
        if let Some((_, other)) = NAMES.iter().find(|(own, _)| *own == name) {
            return (*other).to_owned();
        }
        let mut words = name.split('_');
        let first = words.next().unwrap_or_default().to_owned();
        words.fold(first, |mut text, word| {
            let mut letters = word.chars();
            text.extend(letters.next().map(|c| c.to_ascii_uppercase()));
            text.push_str(letters.as_str());
            text
        })
    };
    let mut shown = String::new();
    let mut rest = field;
    while !rest.is_empty() {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        shown.push_str(&name(&rest[..end]));
        rest = &rest[end..];
        if rest.starts_with('[') {
            let end = rest.find(']').map_or(rest.len(), |end| end + 1);
            shown.push_str(&rest[..end]);
            rest = &rest[end..];
        }
        if let Some(after) = rest.strip_prefix('.') {
            shown.push('.');
            rest = after;
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_as_v1_spells_them() {
        for (v2, v1) in [
            ("service.template.containers[0].image", "spec.template.spec.containers[0].image"),
            (
                "service.template.containers[1].ports[0].container_port",
                "spec.template.spec.containers[1].ports[0].containerPort",
            ),
            ("service.template.timeout", "spec.template.spec.timeoutSeconds"),
            (
                "service.template.scaling.min_instance_count",
                "spec.template.metadata.annotations[autoscaling.knative.dev/minScale]",
            ),
            ("service.template.labels[a_b]", "spec.template.metadata.labels[a_b]"),
            ("service.template.revision", "spec.template.metadata.name"),
            ("service.traffic[2].revision", "spec.traffic[2].revisionName"),
            ("service.traffic", "spec.traffic"),
            ("service.scaling.min_instance_count", "metadata.annotations[run.googleapis.com/minScale]"),
            (
                "service.template.containers[0].resources.limits[cpu]",
                "spec.template.spec.containers[0].resources.limits[cpu]",
            ),
            ("job.template.template.containers[0].image", "spec.template.spec.template.spec.containers[0].image"),
            ("job.template.template.timeout", "spec.template.spec.template.spec.timeoutSeconds"),
            ("job.template.template.max_retries", "spec.template.spec.template.spec.maxRetries"),
            (
                "job.template.template.execution_environment",
                "spec.template.metadata.annotations[run.googleapis.com/execution-environment]",
            ),
            ("job.template.task_count", "spec.template.spec.taskCount"),
            ("job.template.labels[a_b]", "spec.template.metadata.labels[a_b]"),
            ("job.template.template", "spec.template.spec.template"),
            ("job.template", "spec.template"),
            ("job.annotations[a_b]", "metadata.annotations[a_b]"),
            ("job.start_execution_token", "spec.startExecutionToken"),
            ("overrides.container_overrides[0].args", "overrides.containerOverrides[0].args"),
            ("overrides.timeout", "overrides.timeoutSeconds"),
            ("worker_pool.template.containers[0].image", "spec.template.spec.containers[0].image"),
            ("worker_pool.instance_splits[1].revision", "spec.instanceSplits[1].revisionName"),
            ("worker_pool.instance_splits", "spec.instanceSplits"),
            (
                "worker_pool.scaling.manual_instance_count",
                "metadata.annotations[run.googleapis.com/manualInstanceCount]",
            ),
            ("job_id", "metadata.name"),
            ("service_id", "metadata.name"),
            ("page_token", "continue"),
        ] {
            assert_eq!(path(v2), v1, "{v2}");
        }
        let error = in_v1_words(Error::invalid_field("service.template.timeout", "must be short"));
        assert_eq!(error.message(), "spec.template.spec.timeoutSeconds: must be short");
    }
}
