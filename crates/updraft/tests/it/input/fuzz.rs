//! Anything at all: no panic, no 500, always an error of the API's form.

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use updraft_testkit::World;

use super::{
    SERVICES,
    case::Ask,
    wire::{self, Got},
};

/// A service with something in every corner.
fn rich() -> String {
    json!({
        "description": "says hello", "labels": {"team": "core"}, "annotations": {"example.com/note": "kept"},
        "ingress": "INGRESS_TRAFFIC_ALL", "launchStage": "GA", "customAudiences": ["https://a"],
        "scaling": {"minInstanceCount": 1, "maxInstanceCount": 2},
        "traffic": [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100, "tag": "next"}],
        "template": {
            "revision": "bad-v1", "timeout": "30s", "serviceAccount": "a@b.c", "maxInstanceRequestConcurrency": 8,
            "scaling": {"maxInstanceCount": 3}, "volumes": [{"name": "v", "emptyDir": {"medium": "MEMORY"}}],
            "containers": [{
                "name": "web", "image": "hello", "command": ["/a"], "args": ["b"], "workingDir": "/",
                "env": [{"name": "A", "value": "1"}, {"name": "B", "valueSource": {"secretKeyRef": {"secret": "s"}}}],
                "resources": {"limits": {"cpu": "1", "memory": "512Mi"}, "cpuIdle": true},
                "ports": [{"name": "http1", "containerPort": 8080}],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "startupProbe": {"httpGet": {"path": "/", "httpHeaders": [{"name": "a", "value": "b"}]}}
            }]
        }
    })
    .to_string()
}

/// JSON with some bytes replaced, put in or taken out; often still JSON.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let tokens = prop::sample::select(vec![
        "null",
        "-1",
        "1e308",
        "\"\"",
        "{}",
        "[]",
        "true",
        "99999999999",
        "\"\\u0000\"",
        "\"é\"",
        ",",
        ":",
        "\"",
        "{",
        "]",
        "\u{fffd}",
    ]);
    let change = (any::<prop::sample::Index>(), 0..12usize, tokens);
    prop::collection::vec(change, 1..4).prop_map(|changes| {
        let mut bytes = rich().into_bytes();
        for (place, taken, token) in changes {
            let from = place.index(bytes.len());
            let to = (from + taken).min(bytes.len());
            bytes.splice(from..to, token.bytes());
        }
        bytes
    })
}

/// The rich service with one of its values replaced by another.
fn replaced() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        "[a-z0-9./:_-]{0,70}".prop_map(Value::from),
        Just(json!({})),
        Just(json!([{}])),
    ];
    (any::<prop::sample::Index>(), leaf).prop_map(|(place, leaf)| {
        let mut service: Value = rich().parse().expect("JSON");
        let mut paths = Vec::new();
        pointers(&service, String::new(), &mut paths);
        if let Some(value) = service.pointer_mut(&paths[place.index(paths.len())]) {
            *value = leaf;
        }
        service.to_string().into_bytes()
    })
}

fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, inner)| pointers(inner, format!("{at}/{}", name.replace('/', "~1")), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, inner)| pointers(inner, format!("{at}/{n}"), found))
        }
        _ => {}
    }
    found.push(at);
}

fn request() -> impl Strategy<Value = Ask> {
    let body = prop_oneof![prop::collection::vec(any::<u8>(), 0..200), mutated(), replaced()];
    let verb = prop::sample::select(vec!["POST", "PATCH", "GET", "DELETE", "PUT"]);
    let target = prop::sample::select(vec![
        // Only checked: what happens to be fine is not carried out.
        format!("{SERVICES}?serviceId=bad&validateOnly=true"),
        format!("{SERVICES}/hello?validateOnly=true"),
        format!("{SERVICES}/bad?validateOnly=true&allowMissing=true"),
        format!("{SERVICES}/hello:testIamPermissions"),
        format!("{SERVICES}/hello/revisions/hello-v1?validateOnly=true"),
        "/v2/projects/demo-project/locations/us-central1/operations/x:wait".to_owned(),
    ]);
    let query = prop_oneof![
        Just(String::new()),
        "[a-zA-Z.$]{1,12}=[a-zA-Z0-9%.,*-]{0,12}".prop_map(|query| format!("&{query}"))
    ];
    (verb, target, query, body).prop_map(|(verb, target, query, body)| {
        let join = if target.contains('?') { query } else { query.replacen('&', "?", 1) };
        Ask::Rest { verb, target: format!("{target}{join}"), headers: Vec::new(), body }
    })
}

fn check(got: &Got) -> Result<(), TestCaseError> {
    prop_assert!(got.http != 0 && got.http < 500, "{got:?}");
    prop_assert!(got.http == 200 || !got.code.is_empty(), "an error of the API's form: {got:?}");
    prop_assert!(!["INTERNAL", "UNKNOWN", "DATA_LOSS"].contains(&got.code.as_str()), "no fault of its own: {got:?}");
    prop_assert!(got.http == 200 || !got.message.is_empty(), "with a message: {got:?}");
    Ok(())
}

fn run<S: Strategy<Value = Ask>>(cases: u32, strategy: &S) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let world = runtime.block_on(super::world());
    let before = runtime.block_on(super::everything(&world));
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(strategy, |ask| {
        // Time gives calls back.
        world.hand.advance(std::time::Duration::from_secs(1));
        let got = runtime.block_on(wire::send(&world, &ask));
        prop_assert!(matches!(ask, Ask::Rest { .. }) || !got.code.is_empty(), "gRPC always has a status: {got:?}");
        check(&got)
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(runtime.block_on(super::everything(&world)), before, "nothing was stored or changed");
    runtime.block_on(World::end(world));
}

#[test]
fn no_body_and_no_query_makes_the_api_panic_or_answer_500() {
    run(600, &request());
}

#[test]
fn no_message_by_grpc_makes_the_api_panic_or_answer_with_a_fault_of_its_own() {
    let path = prop::sample::select(vec![
        "/google.cloud.run.v2.Services/ListServices",
        "/google.cloud.run.v2.Services/GetService",
        "/google.cloud.run.v2.Services/TestIamPermissions",
        "/google.cloud.run.v2.Revisions/ListRevisions",
        "/google.longrunning.Operations/ListOperations",
        "/google.cloud.location.Locations/ListLocations",
    ]);
    let message = (path, prop::collection::vec(any::<u8>(), 0..60)).prop_map(|(path, bytes)| {
        let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
        Ask::Grpc { path, headers: Vec::new(), frames: [&[0][..], &length, &bytes].concat() }
    });
    run(150, &message);
}
