//! The rules, field by field.

use serde_json::{Value, json};

/// What holds for a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Some values are refused, with the field's path.
    Refused,
    /// It is refused when it is set.
    Unsupported,
    /// The revision that has it set does not become ready, and names this path.
    NotReady(&'static str),
    /// There is no wrong value of its type.
    Free,
    /// Only the server writes it.
    Output,
}

/// A field.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) path: String,
    pub(super) rule: Rule,
    /// The rule, for people.
    pub(super) says: &'static str,
    /// Values that show that it holds.
    pub(super) with: Vec<(String, Value)>,
}

fn refused(path: &str, says: &'static str, value: Value) -> Row {
    Row { path: path.to_owned(), rule: Rule::Refused, says, with: vec![(path.to_owned(), value)] }
}

fn free(path: &str, says: &'static str, value: Value) -> Row {
    Row { rule: Rule::Free, ..refused(path, says, value) }
}

fn unsupported(path: &str, value: Value) -> Row {
    Row { rule: Rule::Unsupported, ..refused(path, "", value) }
}

fn not_ready(path: &str, named: &'static str, value: Value) -> Row {
    Row { rule: Rule::NotReady(named), ..refused(path, "", value) }
}

fn output(path: &str) -> Row {
    Row { path: path.to_owned(), rule: Rule::Output, says: "", with: Vec::new() }
}

// === impl Row ===

impl Row {
    fn and(mut self, path: &str, value: Value) -> Self {
        self.with.push((path.to_owned(), value));
        self
    }
}

const LABELS: &str = "at most 64; keys [prefix/]name, lower case, 63 characters, reserved namespaces refused; values 63 characters, lower case";
const ANNOTATIONS: &str =
    "256 KiB in all; keys [prefix/]name, 63 characters, reserved namespaces and updraft.dev refused";
const TEMPLATE_ANNOTATIONS: &str = "as a service's; of the namespace updraft.dev only egress (none, private, all), scaling-cpu-target and scaling-concurrency-target (0, or 0.1 to 0.95; not both 0)";
const INSTANCES: &str = "0 to 10000";
const CONTAINER: &str = "template.containers[]";

/// Every field of a service.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = service();
    rows.extend(template());
    rows.extend(container());
    for (probe, tcp) in [("startup_probe", true), ("liveness_probe", false), ("readiness_probe", false)] {
        rows.extend(self::probe(&format!("{CONTAINER}.{probe}"), tcp));
    }
    rows
}

fn service() -> Vec<Row> {
    let mut rows = vec![
        free("name", "the path has the name; ignored in a creation", json!("x")),
        refused("description", "at most 512 characters", json!("x".repeat(513))),
        refused("labels", LABELS, json!({"run.googleapis.com/x": "v"})),
        refused("annotations", ANNOTATIONS, json!({"a b": "v"})),
        refused("client", "at most 256 bytes", json!("x".repeat(257))),
        refused("client_version", "at most 256 bytes", json!("x".repeat(257))),
        refused("ingress", "a value of the enum", json!(99)),
        refused("launch_stage", "ALPHA, BETA or GA", json!("EARLY_ACCESS")),
        unsupported("binary_authorization", json!({"useDefault": true})),
        refused("traffic[].type", "a value of the enum", json!(99)),
        refused(
            "traffic[].revision",
            "the id or name of a revision of the service that is there; empty with LATEST",
            json!("Up"),
        ),
        refused("traffic[].percent", "0 to 100; all together 100; at most 1000 lines", json!(101)),
        refused("traffic[].tag", "at most 46 of [a-z0-9-] with the service id, each once", json!("-x")),
        refused("scaling.min_instance_count", "0 to 10000, not above the maximum", json!(-1)),
        refused("scaling.scaling_mode", "a value of the enum", json!(9)),
        refused("scaling.max_instance_count", INSTANCES, json!(10_001)),
        refused("scaling.manual_instance_count", "0 to 10000, with MANUAL and only then", json!(1)),
        free("invoker_iam_disabled", "needs the right to set the policy", json!(true)),
        free("default_uri_disabled", "a switch", json!(true)),
        unsupported("iap_enabled", json!(true)),
        unsupported("multi_region_settings", json!({"regions": ["us-central1"]})),
        refused("custom_audiences", "at most 100 of 1 to 2048 bytes without spaces", json!(["a b"])),
        free(
            "build_config",
            "at most 256 KiB; without effect, which a condition says",
            json!({"sourceLocation": "gs://x"}),
        ),
        free("etag", "compared with the current one: ABORTED", json!("x")),
    ];
    let outputs = [
        "uid",
        "generation",
        "create_time",
        "update_time",
        "delete_time",
        "expire_time",
        "creator",
        "last_modifier",
        "urls",
        "observed_generation",
        "terminal_condition",
        "conditions",
        "latest_ready_revision",
        "latest_created_revision",
        "traffic_statuses",
        "uri",
        "satisfies_pzs",
        "threat_detection_enabled",
        "reconciling",
    ];
    rows.extend(outputs.map(output));
    rows
}

fn template() -> Vec<Row> {
    let at = |field: &str| format!("template.{field}");
    let volume = |kind: &str, value: Value| {
        let named = match kind {
            "cloud_sql_instance" => "volumes[0].cloud_sql_instance",
            "nfs" => "volumes[0].nfs",
            _ => "volumes[0].gcs",
        };
        not_ready(&at(&format!("volumes[].{kind}")), named, value).and(&at("volumes[].name"), json!("v"))
    };
    let secret = |field: &str, says, value: Value| {
        let path = format!("volumes[].secret.{field}");
        let row = refused(&at(&path), says, value).and(&at("volumes[].name"), json!("v"));
        if field == "secret" { row } else { row.and(&at("volumes[].secret.secret"), json!("s")) }
    };
    vec![
        refused(&at("revision"), "{service}-…, at most 63 of [a-z0-9-]", json!("other-1")),
        refused(&at("labels"), LABELS, json!({"Team": "a"})),
        refused(&at("annotations"), TEMPLATE_ANNOTATIONS, json!({"updraft.dev/egress": "vpc"})),
        refused(&at("scaling.min_instance_count"), "0 to 10000, not above the maximum", json!(-1)),
        refused(&at("scaling.max_instance_count"), "0 to 10000; 0 is 100", json!(-1)),
        not_ready(&at("vpc_access"), "vpc_access", json!({"connector": "x"})),
        refused(&at("timeout"), "1s to 3600s", json!("3601s")),
        refused(&at("service_account"), "an e-mail", json!("nobody")),
        refused(&at("volumes[].name"), "a DNS label of its own; at most 32 volumes", json!("A")),
        secret("secret", "a name or projects/…/secrets/…", json!("a/b")),
        secret(
            "items[].path",
            "relative, of its own, without empty parts, '.' and parts that begin with '..'; at most 100 items",
            json!("../x"),
        ),
        secret("items[].version", "latest, a number or an alias; must be set", json!("a b")),
        secret("items[].mode", "0 to 0777 (511); 0 is the volume's; nobody may write", json!(512)),
        secret("default_mode", "0 to 0777 (511); 0 is 0444; nobody may write", json!(-1)),
        volume("cloud_sql_instance", json!({"instances": ["a:b:c"]})),
        refused(&at("volumes[].empty_dir.medium"), "a value of the enum: MEMORY, which unset is as well", json!(9)),
        refused(
            &at("volumes[].empty_dir.size_limit"),
            "a quantity above 0; empty is half of the memory, and more than all of it is all",
            json!("0"),
        )
        .and(&at("volumes[].name"), json!("v")),
        volume("nfs", json!({"server": "s", "path": "/"})),
        volume("gcs", json!({"bucket": "b"})),
        refused(&at("execution_environment"), "a value of the enum", json!(9)),
        not_ready(&at("encryption_key"), "encryption_key", json!("k")),
        refused(&at("max_instance_request_concurrency"), "0 to 1000; 1 with less than a CPU", json!(1001)),
        not_ready(&at("service_mesh"), "service_mesh", json!({"mesh": "m"})),
        not_ready(&at("encryption_key_revocation_action"), "encryption_key_revocation_action", json!("PREVENT_NEW")),
        not_ready(&at("encryption_key_shutdown_duration"), "encryption_key_shutdown_duration", json!("3600s")),
        free(&at("session_affinity"), "a switch", json!(true)),
        free(&at("health_check_disabled"), "a switch", json!(true)),
        not_ready(&at("node_selector"), "node_selector", json!({"accelerator": "nvidia-l4"})),
        free(&at("gpu_zonal_redundancy_disabled"), "a switch, without effect", json!(true)),
    ]
}

fn container() -> Vec<Row> {
    let at = |field: &str| format!("{CONTAINER}.{field}");
    let secret = at("env[].value_source.secret_key_ref");
    vec![
        refused(&at("name"), "a DNS label of its own; at most 10 containers", json!("A b")),
        refused(&at("image"), "a reference to an image, at most 2048 bytes", json!("no image")),
        refused(&at("command"), "at most 1000 of 128 KiB, no NUL; with args and env 1 MiB", json!(["\u{0}"])),
        refused(&at("args"), "at most 1000 of 128 KiB, no NUL; with command and env 1 MiB", json!(["\u{0}"])),
        refused(&at("env[].name"), "1 to 32768 bytes without '=' and NUL, not reserved; at most 1000", json!("PORT")),
        refused(&at("env[].value"), "at most 32768 bytes without NUL", json!("\u{0}"))
            .and(&at("env[].name"), json!("A")),
        refused(&format!("{secret}.secret"), "a name or projects/…/secrets/…", json!("a/b")),
        refused(&format!("{secret}.version"), "latest, a number or an alias; empty is latest", json!("a b")),
        refused(&at("resources.limits"), "cpu, memory, nvidia.com/gpu, by Cloud Run's table", json!({"cpu": "3"})),
        refused(&at("resources.cpu_idle"), "true with less than a CPU", json!(false))
            .and(&at("resources.limits"), json!({"cpu": "500m"})),
        free(&at("resources.startup_cpu_boost"), "a switch", json!(true)),
        refused(&at("ports[].name"), "http1 or h2c", json!("grpc")),
        refused(&at("ports[].container_port"), "1 to 65535; at most one port", json!(65_536)),
        refused(&at("volume_mounts[].name"), "a volume of the template", json!("v")),
        refused(
            &at("volume_mounts[].mount_path"),
            "absolute, without ':' and '..', of its own; not in /dev, /proc, /sys or another mount; at most 32",
            json!("/a:b"),
        ),
        not_ready(&at("volume_mounts[].sub_path"), "containers[0].volume_mounts[0].sub_path", json!("x"))
            .and("template.volumes[].name", json!("v"))
            .and("template.volumes[].empty_dir.medium", json!("MEMORY"))
            .and(&at("volume_mounts[].name"), json!("v"))
            .and(&at("volume_mounts[].mount_path"), json!("/v")),
        refused(&at("working_dir"), "absolute, at most 4096 bytes", json!("here")),
        refused(&at("depends_on"), "names of other containers of the template, not in a circle", json!(["x"])),
        refused(&at("base_image_uri"), "a reference to an image; without effect", json!("a b")),
        output(&at("build_info")),
        not_ready(&at("source_code"), "containers[0].source_code", json!({"cloudStorageSource": {"bucket": "b"}})),
    ]
}

fn probe(at: &str, tcp: bool) -> Vec<Row> {
    let field = |name: &str| format!("{at}.{name}");
    let http = |row: Row| row.and(&field("http_get.port"), json!(80));
    let mut rows = vec![
        http(refused(&field("initial_delay_seconds"), "0 to 240 (startup), 3600 (liveness), 0 (readiness)", json!(-1))),
        http(refused(&field("timeout_seconds"), "1 to period_seconds", json!(-1))),
        http(refused(
            &field("period_seconds"),
            "1 to 240 (startup), 3600 (liveness), 300 (readiness); startup: times failure_threshold at most 240",
            json!(-1),
        )),
        http(refused(&field("failure_threshold"), "at least 1", json!(-1))),
        refused(&field("http_get.path"), "absolute, at most 2048 bytes, no spaces", json!("x")),
        refused(
            &field("http_get.http_headers"),
            "at most 100; names and values that HTTP allows",
            json!(vec![json!({"name": "a"}); 101]),
        ),
        refused(&field("http_get.port"), "1 to 65535", json!(65_536)),
        refused(&field("grpc.port"), "1 to 65535", json!(65_536)),
        refused(&field("grpc.service"), "at most 2048 bytes, no control characters", json!("\u{1}")),
    ];
    rows.push(match tcp {
        true => refused(&field("tcp_socket.port"), "1 to 65535", json!(65_536)),
        false => refused(&field("tcp_socket"), "a startup probe's only", json!({"port": 80})),
    });
    rows
}

/// Every field of the requests but those of the service itself.
pub(super) const REQUESTS: &[(&str, &str)] = &[
    ("CreateServiceRequest.parent", "projects/…/locations/…; a project id or number; a location that is served"),
    ("CreateServiceRequest.service", "must be set; field by field above"),
    ("CreateServiceRequest.service_id", "1 to 49 of [a-z0-9-], a letter first, no hyphen last, no ---"),
    ("CreateServiceRequest.validate_only", "any value: nothing is stored"),
    ("GetServiceRequest.name", "projects/…/locations/…/services/…"),
    ("ListServicesRequest.parent", "projects/…/locations/…; the location must not be -"),
    ("ListServicesRequest.page_size", "not negative; 0 is 100, above 1000 is 1000"),
    ("ListServicesRequest.page_token", "one that this list gave out"),
    ("ListServicesRequest.show_deleted", "any value"),
    (
        "UpdateServiceRequest.update_mask",
        "fields of a service, or *; at most 500 paths; what only the server writes is ignored",
    ),
    ("UpdateServiceRequest.service", "must be set; field by field above"),
    ("UpdateServiceRequest.validate_only", "any value: nothing is stored"),
    ("UpdateServiceRequest.allow_missing", "any value: needs the right to create"),
    ("DeleteServiceRequest.name", "projects/…/locations/…/services/…"),
    ("DeleteServiceRequest.validate_only", "any value: nothing is deleted"),
    ("DeleteServiceRequest.etag", "the current one, or none: ABORTED"),
    ("GetIamPolicyRequest.resource", "projects/…/locations/…/services/…, or jobs/… or workerPools/…"),
    ("GetIamPolicyRequest.options.requested_policy_version", "0, 1 or 3"),
    ("SetIamPolicyRequest.resource", "projects/…/locations/…/services/…, or jobs/… or workerPools/…"),
    ("SetIamPolicyRequest.policy.version", "0, 1 or 3; 3 with conditions"),
    ("SetIamPolicyRequest.policy.bindings[].role", "roles/… or projects/…/roles/…; at most 1500 bindings"),
    ("SetIamPolicyRequest.policy.bindings[].members", "allUsers, allAuthenticatedUsers, type:id; at most 1500 in all"),
    (
        "SetIamPolicyRequest.policy.bindings[].condition",
        "needs version 3 and a title; an expression in CEL that is true or false",
    ),
    ("SetIamPolicyRequest.policy.audit_configs", "any value: stored, without effect"),
    ("SetIamPolicyRequest.policy.etag", "the current one, or none: ABORTED"),
    ("SetIamPolicyRequest.update_mask", "fields of a policy, or *; at most 500 paths"),
    ("TestIamPermissionsRequest.resource", "projects/…/locations/…/services/…, or jobs/… or workerPools/…"),
    ("TestIamPermissionsRequest.permissions", "at most 100 permissions that there are; no wildcards"),
    ("GetRevisionRequest.name", "projects/…/locations/…/services/…/revisions/…, or workerPools/…/revisions/…"),
    ("ListRevisionsRequest.parent", "projects/…/locations/…/services/… or workerPools/…; may be -"),
    ("ListRevisionsRequest.page_size", "not negative; 0 is 100, above 1000 is 1000"),
    ("ListRevisionsRequest.page_token", "one that this list gave out"),
    ("ListRevisionsRequest.show_deleted", "any value"),
    ("DeleteRevisionRequest.name", "projects/…/locations/…/services/…/revisions/…; retired: FAILED_PRECONDITION"),
    ("DeleteRevisionRequest.validate_only", "any value: nothing is deleted"),
    ("DeleteRevisionRequest.etag", "the current one, or none: ABORTED"),
    ("CreateJobRequest.parent", "projects/…/locations/…; a project id or number; a location that is served"),
    ("CreateJobRequest.job", "must be set"),
    ("CreateJobRequest.job_id", "1 to 49 of [a-z0-9-], a letter first, no hyphen last"),
    ("CreateJobRequest.validate_only", "any value: nothing is stored"),
    ("GetJobRequest.name", "projects/…/locations/…/jobs/…"),
    ("ListJobsRequest.parent", "projects/…/locations/…; the location must not be -"),
    ("ListJobsRequest.page_size", "not negative; 0 is 100, above 1000 is 1000"),
    ("ListJobsRequest.page_token", "one that this list gave out"),
    ("ListJobsRequest.show_deleted", "any value"),
    ("UpdateJobRequest.job", "must be set; all of it replaces all of the job"),
    ("UpdateJobRequest.validate_only", "any value: nothing is stored"),
    ("UpdateJobRequest.allow_missing", "any value: needs the right to create"),
    ("DeleteJobRequest.name", "projects/…/locations/…/jobs/…"),
    ("DeleteJobRequest.validate_only", "any value: nothing is deleted"),
    ("DeleteJobRequest.etag", "the current one, or none: ABORTED"),
    ("RunJobRequest.name", "projects/…/locations/…/jobs/…"),
    ("RunJobRequest.validate_only", "any value: nothing is run"),
    ("RunJobRequest.etag", "the current one, or none: ABORTED"),
    ("RunJobRequest.overrides.container_overrides[].name", "a container of the job; may be empty when there is one"),
    ("RunJobRequest.overrides.container_overrides[].args", "as a container's; must be empty with clear_args"),
    (
        "RunJobRequest.overrides.container_overrides[].env",
        "as a container's; beside the container's own, or instead of one of the same name",
    ),
    ("RunJobRequest.overrides.container_overrides[].clear_args", "any value"),
    ("RunJobRequest.overrides.task_count", "1 to 10000; 0 leaves it to the template"),
    ("RunJobRequest.overrides.timeout", "1 s to 168 h, whole seconds"),
    ("RunJobRequest.overrides.parallelism", "not negative; 0 is as many as there is room for; not in Google's API"),
    ("GetExecutionRequest.name", "projects/…/locations/…/jobs/…/executions/…"),
    ("ListExecutionsRequest.parent", "projects/…/locations/…/jobs/…; the job may be -"),
    ("ListExecutionsRequest.page_size", "not negative; 0 is 100, above 1000 is 1000"),
    ("ListExecutionsRequest.page_token", "one that this list gave out"),
    ("ListExecutionsRequest.show_deleted", "any value"),
    ("DeleteExecutionRequest.name", "projects/…/locations/…/jobs/…/executions/…"),
    ("DeleteExecutionRequest.validate_only", "any value: nothing is deleted"),
    ("DeleteExecutionRequest.etag", "the current one, or none: ABORTED"),
    ("CancelExecutionRequest.name", "projects/…/locations/…/jobs/…/executions/…"),
    ("CancelExecutionRequest.validate_only", "any value: nothing is cancelled"),
    ("CancelExecutionRequest.etag", "the current one, or none: ABORTED"),
    ("GetTaskRequest.name", "projects/…/locations/…/jobs/…/executions/…/tasks/…"),
    ("ListTasksRequest.parent", "projects/…/locations/…/jobs/…/executions/…; the job and the execution may be -"),
    ("ListTasksRequest.page_size", "not negative; 0 is 100, above 1000 is 1000"),
    ("ListTasksRequest.page_token", "one that this list gave out"),
    ("ListTasksRequest.show_deleted", "any value"),
    ("CreateWorkerPoolRequest.parent", "projects/…/locations/…; a project id or number; a location that is served"),
    ("CreateWorkerPoolRequest.worker_pool", "must be set"),
    ("CreateWorkerPoolRequest.worker_pool_id", "1 to 49 of [a-z0-9-], a letter first, no hyphen last"),
    ("CreateWorkerPoolRequest.validate_only", "any value: nothing is stored"),
    ("GetWorkerPoolRequest.name", "projects/…/locations/…/workerPools/…"),
    ("ListWorkerPoolsRequest.parent", "projects/…/locations/…; the location must not be -"),
    ("ListWorkerPoolsRequest.page_size", "not negative; 0 is 100, above 1000 is 1000"),
    ("ListWorkerPoolsRequest.page_token", "one that this list gave out"),
    ("ListWorkerPoolsRequest.show_deleted", "any value"),
    ("UpdateWorkerPoolRequest.worker_pool", "must be set"),
    (
        "UpdateWorkerPoolRequest.update_mask",
        "fields of a worker pool, or *; at most 500 paths; what only the server writes is ignored",
    ),
    ("UpdateWorkerPoolRequest.validate_only", "any value: nothing is stored"),
    ("UpdateWorkerPoolRequest.allow_missing", "any value: needs the right to create"),
    ("UpdateWorkerPoolRequest.force_new_revision", "any value"),
    ("DeleteWorkerPoolRequest.name", "projects/…/locations/…/workerPools/…"),
    ("DeleteWorkerPoolRequest.validate_only", "any value: nothing is deleted"),
    ("DeleteWorkerPoolRequest.etag", "the current one, or none: ABORTED"),
    ("ListOperationsRequest.name", "projects/…/locations/…"),
    ("ListOperationsRequest.filter", "empty, done:true or done:false"),
    ("ListOperationsRequest.page_size", "not negative; 0 and above 100 is 100"),
    ("ListOperationsRequest.page_token", "one that this list gave out"),
    ("ListOperationsRequest.return_partial_success", "any value: there is one server"),
    ("GetOperationRequest.name", "projects/…/locations/…/operations/…"),
    ("DeleteOperationRequest.name", "projects/…/locations/…/operations/…"),
    ("WaitOperationRequest.name", "projects/…/locations/…/operations/…"),
    ("WaitOperationRequest.timeout", "not negative; above 30s is 30s"),
    ("ListLocationsRequest.name", "projects/…"),
    ("ListLocationsRequest.filter", "empty"),
    ("ListLocationsRequest.page_size", "not negative; all locations fit"),
    ("ListLocationsRequest.page_token", "empty: there is one page"),
    ("GetLocationRequest.name", "projects/…/locations/…"),
    ("ListSecretsRequest.parent", "projects/… or projects/…/locations/…; a project id or number"),
    ("ListSecretsRequest.page_size", "not negative; 0 is 100, above 1000 is 1000"),
    ("ListSecretsRequest.page_token", "one that this list gave out"),
    (
        "ListSecretsRequest.filter",
        "at most 2048 bytes; about name, create_time, expire_time, labels.KEY, annotations.KEY",
    ),
    ("CreateSecretRequest.parent", "projects/… or projects/…/locations/…; a project id or number"),
    ("CreateSecretRequest.secret_id", "1 to 255 letters, digits, hyphens and underscores"),
    ("CreateSecretRequest.secret.name", "written by the server: ignored"),
    ("CreateSecretRequest.secret.create_time", "written by the server: ignored"),
    (
        "CreateSecretRequest.secret.etag",
        "written by the server: ignored; of an update, the current one, or none: ABORTED",
    ),
    (
        "CreateSecretRequest.secret.replication.automatic.customer_managed_encryption",
        "not supported: refused when it is set",
    ),
    (
        "CreateSecretRequest.secret.replication.user_managed.replicas[].location",
        "the id of a location, each once; 1 to 50; kept, without effect",
    ),
    (
        "CreateSecretRequest.secret.replication.user_managed.replicas[].customer_managed_encryption",
        "not supported: refused when it is set",
    ),
    (
        "CreateSecretRequest.secret.labels",
        "at most 64; keys of 1 to 63, values of at most 63 lowercase letters, digits, - and _",
    ),
    ("CreateSecretRequest.secret.topics", "not supported: refused when it is set"),
    ("CreateSecretRequest.secret.expire_time", "in the future, within 100 years"),
    ("CreateSecretRequest.secret.ttl", "more than nothing, at most 100 years"),
    ("CreateSecretRequest.secret.rotation", "not supported: refused when it is set"),
    (
        "CreateSecretRequest.secret.version_aliases",
        "at most 50; 1 to 63 letters, digits, - and _, a letter first, not latest or NEW; a version that there is",
    ),
    ("CreateSecretRequest.secret.annotations", "less than 16 KiB; keys of 1 to 63 letters, digits, -, _ and ."),
    ("CreateSecretRequest.secret.version_destroy_ttl", "1 to 1000 days"),
    ("CreateSecretRequest.secret.customer_managed_encryption", "not supported: refused when it is set"),
    ("CreateSecretRequest.secret.tags", "not supported: refused when it is set"),
    ("AddSecretVersionRequest.parent", "projects/…/secrets/…"),
    ("AddSecretVersionRequest.payload.data", "1 byte to 64 KiB; never repeated in an error"),
    ("AddSecretVersionRequest.payload.data_crc32c", "the CRC32C of the data, or none"),
    ("GetSecretRequest.name", "projects/…/secrets/… or projects/…/locations/…/secrets/…"),
    ("UpdateSecretRequest.secret", "as to create one, as far as the mask names it"),
    (
        "UpdateSecretRequest.update_mask",
        "must be set: labels, annotations, version_aliases, expire_time, ttl, version_destroy_ttl; at most 500 paths",
    ),
    ("DeleteSecretRequest.name", "projects/…/secrets/…"),
    ("DeleteSecretRequest.etag", "the current one, or none: ABORTED"),
    ("ListSecretVersionsRequest.parent", "projects/…/secrets/…"),
    ("ListSecretVersionsRequest.page_size", "not negative; 0 is 100, above 1000 is 1000"),
    ("ListSecretVersionsRequest.page_token", "one that this list gave out"),
    ("ListSecretVersionsRequest.filter", "at most 2048 bytes; about name, state, create_time"),
    ("GetSecretVersionRequest.name", "projects/…/secrets/…/versions/…; a number, latest or an alias"),
    ("AccessSecretVersionRequest.name", "projects/…/secrets/…/versions/…; a number, latest or an alias"),
    ("DisableSecretVersionRequest.name", "projects/…/secrets/…/versions/…; a number"),
    ("DisableSecretVersionRequest.etag", "the current one, or none: ABORTED"),
    ("EnableSecretVersionRequest.name", "projects/…/secrets/…/versions/…; a number"),
    ("EnableSecretVersionRequest.etag", "the current one, or none: ABORTED"),
    ("DestroySecretVersionRequest.name", "projects/…/secrets/…/versions/…; a number"),
    ("DestroySecretVersionRequest.etag", "the current one, or none: ABORTED"),
    ("scheduler.ListJobsRequest.parent", "projects/…/locations/…"),
    ("scheduler.ListJobsRequest.page_size", "not negative; 0 and above 500 is 500"),
    ("scheduler.ListJobsRequest.page_token", "one that this list gave out"),
    ("scheduler.GetJobRequest.name", "projects/…/locations/…/jobs/…"),
    ("scheduler.CreateJobRequest.parent", "projects/…/locations/…"),
    (
        "scheduler.CreateJobRequest.job.name",
        "in the parent; the id has 1 to 500 letters, digits, hyphens and underscores; empty is one of chance",
    ),
    ("scheduler.CreateJobRequest.job.description", "at most 500 characters"),
    ("scheduler.CreateJobRequest.job.pubsub_target", "not supported: refused when it is set"),
    ("scheduler.CreateJobRequest.job.app_engine_http_target", "not supported: refused when it is set"),
    (
        "scheduler.CreateJobRequest.job.http_target.uri",
        "http:// or https://, a host, no user name; at most 2083 characters",
    ),
    ("scheduler.CreateJobRequest.job.http_target.http_method", "one that there is; none is POST"),
    (
        "scheduler.CreateJobRequest.job.http_target.headers",
        "names are tokens, each once; values without control characters; less than 80 KiB; those that deliveries write themselves are ignored",
    ),
    (
        "scheduler.CreateJobRequest.job.http_target.body",
        "for POST, PUT and PATCH only; the whole job has at most 1 MiB",
    ),
    (
        "scheduler.CreateJobRequest.job.http_target.oauth_token.service_account_email",
        "an account of the job's project that the caller may act as",
    ),
    ("scheduler.CreateJobRequest.job.http_target.oauth_token.scope", "any value; for APIs only"),
    (
        "scheduler.CreateJobRequest.job.http_target.oidc_token.service_account_email",
        "an account of the job's project that the caller may act as",
    ),
    ("scheduler.CreateJobRequest.job.http_target.oidc_token.audience", "any value; empty is the URI"),
    (
        "scheduler.CreateJobRequest.job.schedule",
        "five fields of unix-cron or the form of App Engine, at most 1000 bytes; never empty, nothing that never happens",
    ),
    ("scheduler.CreateJobRequest.job.time_zone", "a name of the tz database; empty is Etc/UTC"),
    ("scheduler.CreateJobRequest.job.user_update_time", "written by the server: ignored"),
    ("scheduler.CreateJobRequest.job.state", "written by the server: ignored"),
    ("scheduler.CreateJobRequest.job.status", "written by the server: ignored"),
    ("scheduler.CreateJobRequest.job.schedule_time", "written by the server: ignored"),
    ("scheduler.CreateJobRequest.job.last_attempt_time", "written by the server: ignored"),
    ("scheduler.CreateJobRequest.job.retry_config.retry_count", "0 to 5"),
    ("scheduler.CreateJobRequest.job.retry_config.max_retry_duration", "not negative; none is 0s, without a limit"),
    (
        "scheduler.CreateJobRequest.job.retry_config.min_backoff_duration",
        "not negative, not longer than max_backoff_duration; none is 5s",
    ),
    ("scheduler.CreateJobRequest.job.retry_config.max_backoff_duration", "not negative; none is 3600s"),
    ("scheduler.CreateJobRequest.job.retry_config.max_doublings", "not negative; 0 is 5"),
    ("scheduler.CreateJobRequest.job.attempt_deadline", "15s to 1800s; none is 180s"),
    ("scheduler.UpdateJobRequest.job", "as to create one, as far as the mask names it"),
    (
        "scheduler.UpdateJobRequest.update_mask",
        "description, schedule, time_zone, http_target, retry_config, attempt_deadline; empty is all; what the server writes is ignored; at most 500 paths",
    ),
    ("scheduler.DeleteJobRequest.name", "projects/…/locations/…/jobs/…"),
    ("scheduler.PauseJobRequest.name", "projects/…/locations/…/jobs/…; not ENABLED: FAILED_PRECONDITION"),
    ("scheduler.ResumeJobRequest.name", "projects/…/locations/…/jobs/…; not PAUSED: FAILED_PRECONDITION"),
    ("scheduler.RunJobRequest.name", "projects/…/locations/…/jobs/…"),
];
