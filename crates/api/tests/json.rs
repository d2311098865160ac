//! ProtoJSON against the static types: what goes in comes out, and what does not fit is named.

mod common;

use common::{rich, rich_json};
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};
use updraft_api::{
    Named,
    json::{EnumEncoding, from_json, parse, to_json},
    longrunning, pack, run,
};

fn refused(body: Value) -> updraft_model::Error {
    from_json::<run::Service>(&body, "service").expect_err("refused")
}

/// Compares without regard to the order of keys.
fn same(a: &Value, b: &Value) {
    assert_eq!(format!("{a:#}"), format!("{b:#}"));
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut pairs: Vec<_> = fields.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(pairs.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[test]
fn a_rich_service_comes_back_as_it_went_in() {
    let printed = to_json(&rich(), EnumEncoding::Names).expect("prints");
    let mut expected = rich_json();
    // One form of a fraction: three, six or nine digits.
    expected["conditions"][0]["lastTransitionTime"] = json!("2026-11-21T08:37:00.500Z");
    same(&sorted(&printed), &sorted(&expected));
}

#[test]
fn the_static_types_and_the_table_agree_on_the_bytes() {
    let message = rich();
    assert_eq!(message.template.as_ref().expect("set").containers[0].env.len(), 3);
    assert_eq!(message.scaling.expect("set").manual_instance_count, Some(0));
    let again = run::Service::decode(&message.encode_to_vec()[..]).expect("decodes");
    assert_eq!(again, message);
    let dynamic = updraft_api::json::to_dynamic(&message).expect("fits");
    assert_eq!(dynamic.unknown_fields().count(), 0);
}

#[test]
fn numbers_of_enums_are_written_on_demand_and_always_read() {
    let printed = to_json(&rich(), EnumEncoding::Numbers).expect("prints");
    assert_eq!(printed["ingress"], 1);
    assert_eq!(printed["traffic"][0]["type"], 2);
    assert_eq!(from_json::<run::Service>(&printed, "service").expect("reads"), rich());
}

#[test]
fn underscores_are_read_too() {
    let body = json!({"template": {"max_instance_request_concurrency": 7, "containers": [{"working_dir": "/x"}]}});
    let message: run::Service = from_json(&body, "service").expect("reads");
    let template = message.template.expect("set");
    assert_eq!((template.max_instance_request_concurrency, template.containers[0].working_dir.as_str()), (7, "/x"));
}

#[test]
fn null_means_not_set() {
    let message: run::Service = from_json(&json!({"template": null, "description": null}), "").expect("reads");
    assert_eq!(message, run::Service::default());
}

#[test]
fn any_is_written_inline_with_its_type() {
    let operation = longrunning::Operation {
        name: "projects/p/locations/l/operations/1".to_owned(),
        metadata: Some(pack(&run::Service { generation: 2, ..run::Service::default() })),
        done: true,
        result: Some(longrunning::operation::Result::Response(pack(&()))),
    };
    let printed = to_json(&operation, EnumEncoding::Names).expect("prints");
    let expected = json!({
        "name": "projects/p/locations/l/operations/1",
        "metadata": {"@type": "type.googleapis.com/google.cloud.run.v2.Service", "generation": "2"},
        "done": true,
        "response": {"@type": "type.googleapis.com/google.protobuf.Empty", "value": {}}
    });
    same(&printed, &expected);
    let again: longrunning::Operation = from_json(&printed, "").expect("reads");
    assert_eq!(again, operation);
}

#[test]
fn an_unknown_field_is_refused_in_googles_words() {
    let error = refused(json!({"foo": 1}));
    let sentence = "Invalid JSON payload received. Unknown name \"foo\" at 'service': Cannot find field.";
    assert_eq!(error.message(), sentence);
    assert_eq!((error.violations()[0].field.as_str(), error.violations()[0].rule.as_str()), ("service", sentence));
    let error = refused(json!({"template": {"containers": [{}, {"imagee": "x"}]}}));
    assert!(error.message().contains("Unknown name \"imagee\" at 'service.template.containers[1]'"), "{error}");
    let error = from_json::<run::GetServiceRequest>(&json!({"foo": 1}), "").expect_err("refused");
    assert_eq!(error.message(), "Invalid JSON payload received. Unknown name \"foo\": Cannot find field.");
}

#[test]
fn wrong_values_are_all_named_at_once() {
    let error = refused(json!({
        "ingress": "NOPE",
        "labels": {"a": 1},
        "template": {"timeout": "soon", "maxInstanceRequestConcurrency": 1.5, "containers": {}},
        "urls": "x",
        "invokerIamDisabled": "maybe",
        "description": ["x"]
    }));
    let fields: Vec<&str> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
    let expected = [
        "service.ingress",
        "service.labels[a]",
        "service.template.timeout",
        "service.template.max_instance_request_concurrency",
        "service.template.containers",
        "service.urls",
        "service.invoker_iam_disabled",
        "service",
    ];
    assert_eq!(fields, expected);
    let wrong = "Invalid value at 'service.ingress' (type.googleapis.com/google.cloud.run.v2.IngressTraffic), \"NOPE\"";
    assert!(error.message().starts_with(wrong), "{error}");
}

#[test]
fn two_members_of_a_oneof_are_refused() {
    let error = refused(json!({"template": {"containers": [{"env": [
        {"name": "A", "value": "1", "valueSource": {}}
    ]}]}}));
    assert!(error.message().contains("oneof field 'values' is already set by 'value'"), "{error}");
}

#[test]
fn nesting_is_bounded() {
    let deep = "[".repeat(100_000);
    assert!(parse(deep.as_bytes()).is_err());
    let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    assert!(parse(deep.as_bytes()).is_err());
}

#[test]
fn equal_messages_print_equally() {
    let labels = |order: &[usize]| run::Service {
        labels: order.iter().map(|n| (format!("k{n}"), "v".to_owned())).collect(),
        ..run::Service::default()
    };
    let forward: Vec<usize> = (0..50).collect();
    let backward: Vec<usize> = (0..50).rev().collect();
    let print = |message: &run::Service| to_json(message, EnumEncoding::Names).expect("prints").to_string();
    assert_eq!(print(&labels(&forward)), print(&labels(&backward)));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-zA-Z0-9_:. -]{0,12}".prop_map(Value::from),
        Just(json!("300s")),
        Just(json!("INGRESS_TRAFFIC_ALL")),
    ];
    let key = prop_oneof![
        Just("template".to_owned()),
        Just("containers".to_owned()),
        Just("labels".to_owned()),
        Just("env".to_owned()),
        Just("value".to_owned()),
        Just("timeout".to_owned()),
        Just("traffic".to_owned()),
        Just("percent".to_owned()),
        Just("ingress".to_owned()),
        Just("generation".to_owned()),
        "[a-z_A-Z]{0,8}".prop_map(|key| key),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// A service that the wire can carry.
fn any_service() -> impl Strategy<Value = run::Service> {
    let text = "[ -~é\u{1F600}]{0,8}";
    let env = (text, proptest::option::of(text))
        .prop_map(|(name, value)| run::EnvVar { name, values: value.map(run::env_var::Values::Value) });
    let container =
        (text, proptest::collection::vec(env, 0..3), any::<i32>()).prop_map(|(image, env, port)| run::Container {
            image,
            env,
            ports: vec![run::ContainerPort { name: String::new(), container_port: port }],
            ..run::Container::default()
        });
    let seconds = -315_576_000_000i64..=315_576_000_000;
    let labels = proptest::collection::hash_map(text, text, 0..4);
    (proptest::collection::vec(container, 0..3), proptest::option::of(seconds), labels, any::<i64>(), 0..9i32).prop_map(
        |(containers, seconds, labels, generation, ingress)| run::Service {
            labels,
            generation,
            ingress,
            template: seconds.map(|seconds| run::RevisionTemplate {
                timeout: Some(prost_types::Duration { seconds, nanos: 0 }),
                containers,
                ..run::RevisionTemplate::default()
            }),
            ..run::Service::default()
        },
    )
}

proptest! {
    #[test]
    fn messages_survive_json(service in any_service()) {
        for enums in [EnumEncoding::Names, EnumEncoding::Numbers] {
            let printed = to_json(&service, enums).expect("prints");
            let text = serde_json::to_vec(&printed).expect("prints");
            let again: run::Service = from_json(&parse(&text).expect("parses"), "service").expect("reads");
            prop_assert_eq!(&again, &service);
            prop_assert_eq!(to_json(&again, enums).expect("prints"), printed);
        }
    }

    #[test]
    fn any_json_is_read_or_refused_with_a_reason(body in any_json()) {
        match from_json::<run::Service>(&body, "service") {
            Ok(message) => {
                let printed = to_json(&message, EnumEncoding::Names).expect("prints");
                let again: run::Service = from_json(&printed, "service").expect("what was printed is read");
                prop_assert_eq!(to_json(&again, EnumEncoding::Names).expect("prints"), printed);
            }
            Err(error) => prop_assert!(!error.violations().is_empty() && !error.message().is_empty()),
        }
    }
}

#[test]
fn names_are_what_the_types_are_called() {
    assert_eq!(run::Service::NAME, "google.cloud.run.v2.Service");
}
