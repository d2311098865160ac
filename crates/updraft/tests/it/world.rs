//! Worlds: the whole server in this process, with a fake engine and virtual time.

use std::time::Duration;

use serde_json::{Value, json};
use updraft_testkit::World;

const SERVICES: &str = "/v2/projects/demo-project/locations/us-central1/services";

fn template(image: &str, args: &[&str]) -> Value {
    json!({"containers": [{"image": image, "args": args}]})
}

fn uri(service: &Value) -> String {
    service["uri"].as_str().expect("a URL").to_owned()
}

/// PATCHes a service and waits for the operation.
async fn patch(world: &World, service: &str, mask: &str, body: Value) -> Value {
    let path = format!("{SERVICES}/{service}?updateMask={mask}");
    let operation = world.ok("PATCH", &path, body).await;
    world.done(&operation).await
}

#[tokio::test]
async fn a_deployed_service_is_called_from_zero_and_goes_back_to_zero() {
    let world = World::start().await;
    let image = world.image("hello").await;
    let service = world.deploy("hello", template(&image, &["serve"])).await;
    world.until("the instance of the check is retired", || world.engine.live() == 0).await;

    let answer = world.get(&uri(&service), "/").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    assert_eq!(world.engine.live(), 1);
    world.hand.advance(Duration::from_secs(14 * 60));
    assert_eq!(world.engine.live(), 1, "an instance is kept for 15 minutes");
    world.until("zero again", || world.engine.live() == 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_failed_revision_leaves_the_old_one_serving_and_says_why() {
    let world = World::start().await;
    let image = world.image("hello").await;
    let service = world.deploy("hello", template(&image, &["serve"])).await;
    let broken = json!({"template": template(&image, &["eprint=no such table", "exit=3"])});
    let operation = patch(&world, "hello", "template", broken).await;

    assert_eq!(operation["error"]["code"], 9, "{operation:#}");
    let message = operation["error"]["message"].as_str().expect("a message");
    assert!(message.starts_with("Revision 'hello-00002-"), "{message}");
    assert!(message.contains("failed to start and listen on the port"), "{message}");
    assert!(message.contains("no such table"), "the last lines are told: {message}");
    let now = world.ok("GET", &format!("{SERVICES}/hello"), Value::Null).await;
    assert_eq!(now["terminalCondition"]["state"], "CONDITION_FAILED");
    assert_eq!(now["latestReadyRevision"], service["latestReadyRevision"]);
    assert_ne!(now["latestCreatedRevision"], service["latestReadyRevision"]);
    let told = world.ok("GET", "/updraft/v1/diagnosis?service=hello", Value::Null).await;
    assert_eq!((&told["state"], &told["diagnosis"]["code"]), (&"FAILED".into(), &"exited".into()), "{told:#}");
    assert_eq!(told["diagnosis"]["lastLines"], json!(["no such table"]));
    let serving = service["latestReadyRevision"].as_str().and_then(|name| name.rsplit('/').next()).expect("a name");
    assert_eq!(told["serving"], json!([serving]));
    let told = world.ok("GET", &format!("/updraft/v1/diagnosis?service=hello&revision={serving}"), Value::Null).await;
    assert_eq!((&told["state"], &told["diagnosis"]), (&"READY".into(), &Value::Null), "{told:#}");
    for query in ["service=nowhere", "service=hello&revision=hello-00009-abc"] {
        assert_eq!(world.call("GET", &format!("/updraft/v1/diagnosis?{query}"), Value::Null).await.status, 404);
    }
    assert_eq!(world.get(&uri(&service), "/").await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn once_split_a_later_deploy_keeps_the_split_and_latest_takes_it_back() {
    let world = World::start().await;
    let image = world.image("hello").await;
    let first = world.deploy("hello", template(&image, &["serve"])).await;
    let revision = first["latestReadyRevision"].as_str().and_then(|name| name.rsplit('/').next()).expect("a name");
    let pinned = json!({"traffic": [
        {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": revision, "percent": 100, "tag": "stable"},
    ]});
    patch(&world, "hello", "traffic", pinned).await;
    let env = json!({"template": {"containers": [{"image": image, "args": ["serve"], "env": [{"name": "ANSWER", "value": "two"}]}]}});
    let second = patch(&world, "hello", "template", env).await["response"].clone();
    assert_ne!(second["latestReadyRevision"], first["latestReadyRevision"]);
    assert_eq!(world.get(&uri(&first), "/").await.body, "ok", "the old revision still has all of the traffic");

    let latest = json!({"traffic": [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}]});
    patch(&world, "hello", "traffic", latest).await;
    assert_eq!(world.get(&uri(&first), "/").await.body, "two");
    world.end().await;
}

#[tokio::test]
async fn what_makes_no_revision_at_google_makes_none_here() {
    let world = World::start().await;
    let image = world.image("hello").await;
    let first = world.deploy("hello", template(&image, &["serve"])).await;
    for (mask, body) in [
        ("labels", json!({"labels": {"team": "a"}})),
        ("description", json!({"description": "new words"})),
        ("ingress", json!({"ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY"})),
        ("scaling", json!({"scaling": {"maxInstanceCount": 7}})),
        ("template", json!({"template": template(&image, &["serve"])})),
    ] {
        let now = patch(&world, "hello", mask, body).await["response"].clone();
        assert_eq!(now["latestCreatedRevision"], first["latestCreatedRevision"], "{mask}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_deleted_service_is_gone_from_the_api_and_from_the_front_door() {
    let world = World::start().await;
    let image = world.image("hello").await;
    let service = world.deploy("hello", template(&image, &["serve"])).await;
    let operation = world.ok("DELETE", &format!("{SERVICES}/hello"), Value::Null).await;
    let done = world.done(&operation).await;
    assert!(done["response"]["deleteTime"].is_string(), "{done:#}");
    assert_eq!(world.call("GET", &format!("{SERVICES}/hello"), Value::Null).await.status, 404);
    let answer = world.get(&uri(&service), "/").await;
    assert!(answer.status == 404 && answer.body.contains("Page not found"), "{answer:?}");
    world.until("its instances are stopped", || world.engine.live() == 0).await;
    world.end().await;
}

#[tokio::test]
async fn every_metric_is_told_once_and_documented() {
    const DOCUMENTED: &str = include_str!("../../../../docs/metrics.md");
    let world = World::start().await;
    let image = world.image("hello").await;
    let service = world.deploy("hello", template(&image, &["serve"])).await;
    assert_eq!(world.get(&uri(&service), "/").await.status, 200);
    let clock = updraft_base::Clock::system();
    let deadline = clock.instant() + Duration::from_secs(60);
    // Requests are counted a moment after they were answered.
    let text = loop {
        let text = world.call("GET", "/metrics", Value::Null).await.body;
        if text.contains("updraft_request_count_total{") {
            break text;
        }
        assert!(clock.instant() < deadline, "{text}");
        clock.sleep(Duration::from_millis(10)).await;
    };
    for metric in text.lines().filter_map(|line| line.strip_prefix("# TYPE updraft_")) {
        let (name, kind) = metric.split_once(' ').expect("a name and a kind");
        let total = if kind == "counter" { "_total" } else { "" };
        assert!(DOCUMENTED.contains(&format!("`updraft_{name}{total}`")), "updraft_{name}{total} is not documented");
    }
    let mut seen = std::collections::BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ") || !line.starts_with('#')) {
        let series = line.rsplit_once(' ').map_or(line, |(series, _)| series);
        assert!(seen.insert(series), "{series} twice in\n{text}");
    }
    assert!(seen.iter().any(|series| series.starts_with("updraft_instances{")), "{text}");
    world.end().await;
}

#[tokio::test]
async fn a_policy_is_in_force_when_it_has_been_set() {
    let world = World::start().await;
    let image = world.image("hello").await;
    let service = world.deploy("hello", template(&image, &["serve"])).await;
    patch(&world, "hello", "invokerIamDisabled", json!({"invokerIamDisabled": false})).await;
    for round in 0..10 {
        let (members, status) = if round % 2 == 0 { (json!(["allUsers"]), 200) } else { (json!([]), 403) };
        let policy = json!({"policy": {"bindings": [{"role": "roles/run.invoker", "members": members}]}});
        let path = format!("{SERVICES}/hello:setIamPolicy");
        world.drive(world.ok("POST", &path, policy)).await;
        assert_eq!(world.get(&uri(&service), "/").await.status, status, "round {round}");
    }
    world.end().await;
}

#[tokio::test]
async fn what_a_service_writes_and_is_asked_is_found_by_cloud_loggings_filter() {
    let world = World::start().await;
    let image = world.image("hello").await;
    let service = world
        .deploy("hello", template(&image, &["print={\"severity\":\"ERROR\",\"message\":\"no table\"}", "serve"]))
        .await;
    assert_eq!(world.get(&uri(&service), "/where?x=1").await.status, 200);
    let list = async |filter: &str| {
        let filter = format!("resource.labels.service_name=hello AND {filter}");
        let body = json!({"resourceNames": ["projects/demo-project"], "filter": filter, "orderBy": "timestamp desc"});
        let answer = world.ok("POST", "/v2/entries:list", body).await;
        answer["entries"].as_array().cloned().unwrap_or_default()
    };
    // Entries are written a moment after what they tell of.
    let clock = updraft_base::Clock::system();
    let deadline = clock.instant() + Duration::from_secs(60);
    let found = loop {
        let found = list("httpRequest.status=200 AND httpRequest.requestUrl:\"/where\"").await;
        if !found.is_empty() {
            break found;
        }
        assert!(clock.instant() < deadline, "no entry of the request");
    };
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["httpRequest"]["requestMethod"], "GET");
    assert_eq!(found[0]["resource"]["labels"]["revision_name"], revision_id(&service));
    let errors = list("severity>=ERROR AND log_id(\"run.googleapis.com/stdout\")").await;
    assert!(!errors.is_empty() && errors.iter().all(|entry| entry["textPayload"] == "no table"), "{errors:#?}");
    world.end().await;
}

fn revision_id(service: &Value) -> &str {
    service["latestReadyRevision"].as_str().and_then(|name| name.rsplit('/').next()).expect("a name")
}
