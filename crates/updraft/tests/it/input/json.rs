//! JSON: its syntax, and what of it fits which field.

use serde_json::json;

use super::case::{
    Case,
    Source::{Reference as R, Unconfirmed as U},
    container, service, template, text, update,
};

const JSON: &str = "admin-api-v2.md §1 JSON: proto3 JSON";
const DURATION: &str = "admin-api-v2.md §1 JSON: Duration \"300s\"";
const STAMP: &str = "admin-api-v2.md §1 JSON: Timestamp RFC 3339 UTC";
const ENUMS: &str = "admin-api-v2.md §1 JSON encoding switch: names or integers accepted in";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = syntax();
    cases.extend(shapes());
    cases.extend(scalars());
    cases.extend(enums());
    cases.extend(well_known());
    cases
}

fn syntax() -> Vec<Case> {
    let payload = ("", "Invalid JSON payload received.");
    let deep = |levels: usize| format!("{}{}", "{\"template\":".repeat(levels), "}".repeat(levels));
    let many = format!("{{\"customAudiences\": [{}\"\"]}}", "\"\",".repeat(200_001));
    vec![
        text("a body of spaces", " \n\t ", ("service", "must be set"), R("admin-api-v2.md §8.1 Service.template: REQ")),
        text("half of an object", "{\"template\": {\"containers\": [", payload, R(JSON)),
        text("a closing brace too many", "{}}", payload, R(JSON)),
        text("two objects", "{} {}", payload, R(JSON)),
        text("single quotes", "{'template': {}}", payload, R(JSON)),
        text("a name without quotes", "{template: {}}", payload, R(JSON)),
        text("a comma at the end", "{\"template\": {},}", payload, R(JSON)),
        text("a comment", "{/* x */}", payload, R(JSON)),
        text("not a number", "{\"generation\": NaN}", payload, R(JSON)),
        text("a number beyond all", "{\"generation\": 1e999}", payload, R(JSON)),
        text("a number with a zero first", "{\"generation\": 01}", payload, R(JSON)),
        text("a byte order mark", "\u{feff}{}", payload, U),
        text("bytes that are no UTF-8", b"{\"description\": \"\xff\xfe\"}".to_vec(), payload, R(JSON)),
        text("UTF-16", b"\xff\xfe{\0}\0".to_vec(), payload, R(JSON)),
        text("half of a surrogate pair", "{\"description\": \"\\ud800\"}", payload, R(JSON)),
        text("a control character in a text", "{\"description\": \"a\u{1}b\"}", payload, R(JSON)),
        text("NULs", vec![0; 100], payload, R(JSON)),
        text("101 levels", deep(101), ("", "Message too deep"), U),
        text("100000 levels", "[".repeat(100_000), ("", "Message too deep"), U),
        text("too many values", many, ("", "More than 200000 values"), U),
        text(
            "a name twice",
            "{\"description\": \"a\", \"description\": \"b\"}",
            ("", "Duplicate name \"description\""),
            U,
        ),
        text(
            "a name twice, deep inside",
            "{\"template\": {\"labels\": {\"a\": \"b\", \"a\": \"c\"}}}",
            ("", "Duplicate name \"a\""),
            U,
        ),
        text(
            "a name in both spellings",
            "{\"launchStage\": \"GA\", \"launch_stage\": \"BETA\"}",
            ("service", "The field is given twice"),
            R("admin-api-v2.md §1 JSON: accept snake_case on input"),
        ),
    ]
}

fn shapes() -> Vec<Case> {
    let root = ("service", "Invalid value at 'service' (type.googleapis.com/google.cloud.run.v2.Service)");
    let field = |name, body: &str, field: &str, says| text(name, body, (field, says), R(JSON));
    vec![
        field("a list as a service", "[]", root.0, root.1),
        field("a text as a service", "\"service\"", root.0, root.1),
        field("a number as a service", "7", root.0, root.1),
        field("null as a service", "null", root.0, root.1),
        field(
            "a field that there is not",
            "{\"tmplate\": {}}",
            "service",
            "Unknown name \"tmplate\" at 'service': Cannot find field.",
        ),
        field("a field in another case", "{\"Template\": {}}", "service", "Unknown name \"Template\""),
        field("a field of another message", "{\"image\": \"x\"}", "service", "Unknown name \"image\""),
        field(
            "an unknown field, deep inside",
            r#"{"template": {"containers": [{"imag": "x"}]}}"#,
            "service.template.containers[0]",
            "Unknown name \"imag\"",
        ),
        field(
            "a field of the API v1",
            r#"{"spec": {}, "apiVersion": "serving.knative.dev/v1"}"#,
            "service",
            "Unknown name \"spec\"",
        ),
        field("a text for a message", "{\"template\": \"x\"}", "service.template", "RevisionTemplate), \"x\""),
        field("a message for a text", "{\"description\": {}}", "service.description", "(TYPE_STRING)"),
        field(
            "a list for a message",
            "{\"template\": []}",
            "service",
            "Proto field is not repeating, cannot start list.",
        ),
        field(
            "a message for a list",
            r#"{"template": {"containers": {}}}"#,
            "service.template.containers",
            "Container), {}",
        ),
        field(
            "a null in a list",
            r#"{"template": {"containers": [null]}}"#,
            "service.template.containers[0]",
            "Container), null",
        ),
        field("a list for a map", "{\"labels\": []}", "service.labels", "Invalid value at 'service.labels'"),
        field("a number in a map of texts", "{\"labels\": {\"a\": 1}}", "service.labels[a]", "(TYPE_STRING), 1"),
        field("a null in a map", "{\"labels\": {\"a\": null}}", "service.labels[a]", "(TYPE_STRING), null"),
        container(
            "a value and its source",
            &json!({"env": [{"name": "A", "value": "x", "valueSource": {}}]}),
            ("env[0].value_source", "oneof field 'values' is already set by 'value'"),
            R("admin-api-v2.md §8.3 EnvVar: oneof values"),
        ),
        container(
            "two kinds of probe",
            &json!({"startupProbe": {"httpGet": {}, "tcpSocket": {}}}),
            ("startup_probe.tcp_socket", "oneof field 'probe_type' is already set"),
            R("admin-api-v2.md §8.3 Probe: oneof"),
        ),
    ]
}

fn scalars() -> Vec<Case> {
    vec![
        service("a number for a text", &json!({"description": 7}), ("description", "(TYPE_STRING), 7"), R(JSON)),
        service("a truth for a text", &json!({"client": true}), ("client", "(TYPE_STRING), true"), R(JSON)),
        service("a text for a truth", &json!({"iapEnabled": "perhaps"}), ("iap_enabled", "(TYPE_BOOL)"), R(JSON)),
        service("a number for a truth", &json!({"iapEnabled": 1}), ("iap_enabled", "(TYPE_BOOL), 1"), R(JSON)),
        template(
            "a fraction for a count",
            &json!({"maxInstanceRequestConcurrency": 1.5}),
            ("max_instance_request_concurrency", "(TYPE_INT32), 1.5"),
            R(JSON),
        ),
        template(
            "a word for a count",
            &json!({"maxInstanceRequestConcurrency": "many"}),
            ("max_instance_request_concurrency", "(TYPE_INT32)"),
            R(JSON),
        ),
        template(
            "a count beyond 32 bits",
            &json!({"maxInstanceRequestConcurrency": 2_147_483_648_u64}),
            ("max_instance_request_concurrency", "(TYPE_INT32)"),
            R(JSON),
        ),
        template(
            "infinity for a count",
            &json!({"maxInstanceRequestConcurrency": "Infinity"}),
            ("max_instance_request_concurrency", "(TYPE_INT32)"),
            R(JSON),
        ),
        service(
            "a number beyond 64 bits",
            &json!({"generation": "9223372036854775808"}),
            ("generation", "(TYPE_INT64)"),
            R("admin-api-v2.md §1 JSON: int64 as string"),
        ),
        service("a truth for a number", &json!({"generation": true}), ("generation", "(TYPE_INT64), true"), R(JSON)),
    ]
}

fn enums() -> Vec<Case> {
    let of = |name, value, says| service(name, &json!({"ingress": value}), ("ingress", says), R(ENUMS));
    let values = "admin-api-v2.md §8.11 enum values";
    vec![
        of(
            "an enum by a wrong name",
            json!("SIDEWAYS"),
            "(type.googleapis.com/google.cloud.run.v2.IngressTraffic), \"SIDEWAYS\"",
        ),
        of("an enum in lower case", json!("ingress_traffic_all"), "IngressTraffic)"),
        of("an enum by the name of another", json!("CONDITION_FAILED"), "IngressTraffic)"),
        of("an enum as a truth", json!(true), "IngressTraffic), true"),
        of("an enum as a fraction", json!(1.5), "IngressTraffic), 1.5"),
        of("an enum as an empty text", json!(""), "IngressTraffic), \"\""),
        of("an enum beyond 32 bits", json!(4_294_967_297_u64), "IngressTraffic)"),
        Case { source: R(values), ..of("an enum by a wrong number", json!(5), "has no value with the number 5") },
        Case { source: R(values), ..of("an enum below zero", json!(-1), "has no value with the number -1") },
        Case {
            source: R(values),
            ..of("an enum by the number of a text", json!("77"), "has no value with the number 77")
        },
        service(
            "a launch stage by a wrong number",
            &json!({"launchStage": 99}),
            ("launch_stage", "no value with the number 99"),
            U,
        ),
        service(
            "a launch stage that is none for input",
            &json!({"launchStage": "PRELAUNCH"}),
            ("launch_stage", "must be ALPHA, BETA or GA, got PRELAUNCH"),
            R("admin-api-v2.md §8.1 launchStage: input ALPHA/BETA/GA"),
        ),
        service(
            "a scaling mode by a wrong name",
            &json!({"scaling": {"scalingMode": "BY_HAND"}}),
            ("scaling.scaling_mode", "ScalingMode)"),
            R(values),
        ),
        service(
            "a scaling mode by a wrong number",
            &json!({"scaling": {"scalingMode": 3}}),
            ("scaling.scaling_mode", "number 3"),
            R(values),
        ),
        template(
            "a generation of sandboxes that there is not",
            &json!({"executionEnvironment": 3}),
            ("execution_environment", "number 3"),
            R(values),
        ),
        template(
            "a medium that there is not",
            &json!({"volumes": [{"name": "v", "emptyDir": {"medium": 9}}]}),
            ("volumes[0].empty_dir.medium", "number 9"),
            R(values),
        ),
    ]
}

fn well_known() -> Vec<Case> {
    let timeout = |name, value| template(name, &json!({"timeout": value}), ("timeout", ""), R(DURATION));
    let time = |name, value| service(name, &json!({"createTime": value}), ("create_time", "Timestamp"), R(STAMP));
    vec![
        timeout("a duration without a unit", json!("300")),
        timeout("a duration in minutes", json!("5m")),
        timeout("a duration as a number", json!(300)),
        timeout("a duration that is only a unit", json!("s")),
        timeout("a duration with an exponent", json!("3e2s")),
        timeout("a duration with ten digits of fraction", json!("1.0123456789s")),
        timeout("a duration beyond all", json!("315576000001s")),
        timeout("a duration that is empty", json!("")),
        time("a time that is none", json!("yesterday")),
        time("a time without a zone", json!("2026-01-01T00:00:00")),
        time("a month that there is not", json!("2026-13-01T00:00:00Z")),
        time("a time as a number", json!(1_767_225_600)),
        update(
            "a mask in the body",
            "?updateMask=",
            &json!({"updateMask": "labels"}),
            ("service", "Unknown name \"updateMask\""),
            R(JSON),
        ),
    ]
}
