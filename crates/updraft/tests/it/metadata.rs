//! The metadata server in a world: from the account of a deploy to the token in an instance, and back.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use updraft_model::instance::InstanceId;
use updraft_testkit::{Answer, World};

const ACCOUNTS: &str = "/v1/projects/demo-project/serviceAccounts";
const EMAIL: &str = "runner@demo-project.iam.gserviceaccount.com";

/// What the metadata server tells an instance.
async fn ask(world: &World, id: &InstanceId, path: &str) -> Answer {
    let mut stream = world.engine.ask_metadata(id).await.expect("somebody answers");
    let head = "Host: metadata.google.internal\r\nMetadata-Flavor: Google\r\nConnection: close\r\n\r\n";
    let request = format!("GET /computeMetadata/v1/{path} HTTP/1.1\r\n{head}");
    let text = world.drive(async {
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("an answer");
        text
    });
    let text = text.await;
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, body: body.to_owned() }
}

/// Deploys a service that keeps one instance; returns that.
async fn deploy(world: &World, service: &str, account: Option<&str>) -> InstanceId {
    let image = world.image(service).await;
    let mut template = json!({"containers": [{"image": image}], "scaling": {"minInstanceCount": 1}});
    if let Some(account) = account {
        template["serviceAccount"] = account.into();
    }
    world.deploy(service, template).await;
    let is_of = |record: &std::sync::Arc<updraft_engine::Record>| record.owner.resource().service == service;
    world.engine.records().iter().rev().find(|record| is_of(record)).expect("it was started").id.clone()
}

#[tokio::test]
async fn an_instance_acts_as_the_account_of_its_revision_as_long_as_that_may_be_used() {
    let world = World::start().await;
    let account = world.ok("POST", ACCOUNTS, json!({"accountId": "runner"})).await;
    let one = deploy(&world, "one", Some(EMAIL)).await;
    let two = deploy(&world, "two", None).await;
    let path = |what: &str| format!("instance/service-accounts/default/{what}");
    assert_eq!(ask(&world, &one, &path("email")).await.body, EMAIL);
    let default = ask(&world, &two, &path("email")).await.body;
    assert!(default.ends_with("-compute@developer.gserviceaccount.com"), "{default}");
    for (id, email) in [(&one, EMAIL), (&two, default.as_str())] {
        let token: Value = serde_json::from_str(&ask(&world, id, &path("token")).await.body).expect("JSON");
        let token = token["access_token"].as_str().expect("a token");
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("a payload")).expect("base64");
        assert_eq!(serde_json::from_slice::<Value>(&claims).expect("JSON")["email"], email);
    }
    assert_eq!(ask(&world, &one, "project/project-id").await.body, "demo-project");
    assert_eq!(ask(&world, &one, "instance/id").await.body, one.0);

    // Switched off, it is so at the next question; switched on, the same.
    for (verb, status) in [("disable", 403), ("enable", 200)] {
        world.ok("POST", &format!("{ACCOUNTS}/{EMAIL}:{verb}"), json!({})).await;
        assert_eq!(ask(&world, &one, &path("token")).await.status, status);
        assert_eq!(ask(&world, &two, &path("token")).await.status, 200);
    }
    world.ok("DELETE", &format!("{ACCOUNTS}/{EMAIL}"), Value::Null).await;
    assert_eq!(ask(&world, &one, &path("token")).await.status, 404);
    // Made again it is another account under the same address, and the one that the revision names.
    let again = world.ok("POST", ACCOUNTS, json!({"accountId": "runner"})).await;
    assert_ne!(again["uniqueId"], account["uniqueId"]);
    let identity = ask(&world, &one, &path("identity?audience=a&format=full")).await;
    let claims = URL_SAFE_NO_PAD.decode(identity.body.split('.').nth(1).expect("a payload")).expect("base64");
    assert_eq!(serde_json::from_slice::<Value>(&claims).expect("JSON")["sub"], again["uniqueId"]);
    world.end().await;
}
