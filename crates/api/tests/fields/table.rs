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
