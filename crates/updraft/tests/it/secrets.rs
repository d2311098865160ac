//! Secrets in containers, through the whole server: from a version that is added to what an instance answers.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use updraft_testkit::World;

const SECRETS: &str = "/secretmanager/v1/projects/demo-project/secrets";
const SERVICES: &str = "/v2/projects/demo-project/locations/us-central1/services";
const RUNNER: &str = "runner@demo-project.iam.gserviceaccount.com";

const ACCOUNTS: &str = "/v1/projects/demo-project/serviceAccounts";

async fn account(world: &World, id: &str) {
    world.ok("POST", ACCOUNTS, json!({"accountId": id})).await;
}

async fn secret(world: &World, id: &str, value: &str) {
    world.ok("POST", &format!("{SECRETS}?secretId={id}"), json!({"replication": {"automatic": {}}})).await;
    let accessor =
        json!({"role": "roles/secretmanager.secretAccessor", "members": [format!("serviceAccount:{RUNNER}")]});
    let policy = json!({"policy": {"bindings": [accessor]}});
    world.ok("POST", &format!("{SECRETS}/{id}:setIamPolicy"), policy).await;
    add(world, id, value).await;
}

async fn add(world: &World, id: &str, value: &str) {
    let payload = json!({"payload": {"data": STANDARD.encode(value)}});
    world.ok("POST", &format!("{SECRETS}/{id}:addVersion"), payload).await;
}

fn template(image: &str) -> Value {
    json!({
        "serviceAccount": RUNNER,
        "maxInstanceRequestConcurrency": 1,
        "scaling": {"maxInstanceCount": 2},
        "containers": [{
            "image": image,
            "args": ["serve"],
            "env": [{"name": "ANSWER", "valueSource": {"secretKeyRef": {"secret": "db", "version": "latest"}}}],
            "volumeMounts": [{"name": "creds", "mountPath": "/secrets"}],
        }],
        "volumes": [{"name": "creds", "secret": {"secret": "db", "items": [{"path": "a/db", "version": "latest"}]}}],
    })
}

/// Asks until the answer is this one.
async fn until(world: &World, uri: &str, path: &str, body: &str) {
    let begun = updraft_base::Clock::system().instant();
    loop {
        let answer = world.get(uri, path).await;
        if answer.body == body {
            return;
        }
        let waited = updraft_base::Clock::system().instant() - begun;
        assert!(waited < Duration::from_secs(30), "{path}: never '{body}', but {answer:?}");
    }
}

#[tokio::test]
async fn instances_of_a_revision_agree_on_a_variable_whatever_was_added_and_their_files_follow() {
    let world = World::start().await;
    let image = world.image("hello").await;
    account(&world, "runner").await;
    secret(&world, "db", "one").await;
    let service = world.deploy("hello", template(&image)).await;
    let uri = service["uri"].as_str().expect("a URL").to_owned();
    assert_eq!(world.get(&uri, "/").await.body, "one");
    assert_eq!(world.get(&uri, "/file/secrets/a/db").await.body, "one");
    add(&world, "db", "two").await;
    until(&world, &uri, "/file/secrets/a/db", "two").await;
    // One that is started now, from zero and beside the first, has what the first one has.
    let (held, beside) = tokio::join!(world.get(&uri, "/wait/2000"), world.get(&uri, "/wait/2000"));
    assert_eq!((held.body.as_str(), beside.body.as_str()), ("one", "one"));
    assert_eq!(world.engine.peak_live(), 2);
    world.until("zero again", || world.engine.live() == 0).await;
    assert_eq!(world.get(&uri, "/").await.body, "one");
    // The next rollout has the new one.
    let again = json!({"template": template(&image), "labels": {"again": "1"}, "invokerIamDisabled": true});
    let path = format!("{SERVICES}/hello?updateMask=template,labels");
    let mut changed = again;
    changed["template"]["annotations"] = json!({"again": "1"});
    let operation = world.done(&world.ok("PATCH", &path, changed).await).await;
    assert!(operation["error"].is_null(), "{operation:#}");
    until(&world, &uri, "/", "two").await;
    world.end().await;
}

#[tokio::test]
async fn without_the_right_a_deploy_fails_and_names_it_and_no_answer_has_a_value() {
    let world = World::start().await;
    let image = world.image("hello").await;
    account(&world, "runner").await;
    secret(&world, "db", "a-value-of-its-own").await;
    let mut other = template(&image);
    account(&world, "another").await;
    other["serviceAccount"] = json!("another@demo-project.iam.gserviceaccount.com");
    let path = format!("{SERVICES}?serviceId=hello");
    let operation = world.done(&world.ok("POST", &path, json!({"template": other})).await).await;
    let message = operation["error"]["message"].as_str().expect("a message");
    assert!(
        message.contains("Permission denied on secret: ") && message.contains("for Revision service account another@"),
        "{message}"
    );
    world.deploy("fine", template(&image)).await;
    for path in [
        format!("{SERVICES}/fine"),
        format!("{SERVICES}/fine/revisions"),
        "/updraft/v1/diagnosis?service=fine".to_owned(),
        "/apis/serving.knative.dev/v1/namespaces/demo-project/services/fine".to_owned(),
    ] {
        let answer = world.call("GET", &path, Value::Null).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(!answer.body.contains("a-value-of-its-own"), "{path}: {}", answer.body);
    }
    world.end().await;
}
