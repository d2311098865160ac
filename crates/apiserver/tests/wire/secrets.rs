//! Secret Manager, as gcloud (REST) and Google's client libraries (gRPC) call it.

use http::{Method, StatusCode};
use prost::Message as _;
use serde_json::{Value, json};
use updraft_api::secretmanager::{
    AccessSecretVersionRequest, AddSecretVersionRequest, CreateSecretRequest, GetSecretRequest, Replication, Secret,
    SecretPayload, replication, secret_manager_service_client::SecretManagerServiceClient,
};
use updraft_identity::AuthMode;
use updraft_model::name::project_number;

use super::Server;

const SECRETS: &str = "/secretmanager/v1/projects/demo-project/secrets";
/// `hunter2`.
const VALUE: &str = "aHVudGVyMg==";

async fn ok(server: &Server, method: Method, path: &str, body: Value) -> Value {
    let (status, answer) = server.ask(method.clone(), path, body).await;
    assert_eq!(status, StatusCode::OK, "{method} {path}: {answer:#}");
    answer
}

async fn made(server: &Server) {
    let secret = json!({"replication": {"automatic": {}}, "labels": {"team": "blue"}});
    ok(server, Method::POST, &format!("{SECRETS}?secretId=db"), secret).await;
    let payload = json!({"payload": {"data": VALUE, "dataCrc32c": "1736498283"}});
    let added = ok(server, Method::POST, &format!("{SECRETS}/db:addVersion"), payload).await;
    assert_eq!(added["clientSpecifiedPayloadChecksum"], true, "{added:#}");
}

#[tokio::test]
async fn a_secret_lives_by_rest_as_gcloud_sends_it() {
    let server = Server::start(AuthMode::None).await;
    made(&server).await;
    let name = format!("projects/{}/secrets/db", project_number("demo-project"));
    let secret = ok(&server, Method::GET, &format!("{SECRETS}/db"), Value::Null).await;
    assert_eq!((&secret["name"], &secret["replication"]), (&json!(name), &json!({"automatic": {}})));
    let etag = secret["etag"].as_str().expect("an etag");
    assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag}");
    for path in [
        format!("{SECRETS}/db/versions/latest:access"),
        "/v1/projects/demo-project/secrets/db/versions/1:access".to_owned(),
        format!("/v1/{name}/versions/1:access"),
    ] {
        let read = ok(&server, Method::GET, &path, Value::Null).await;
        let expected =
            json!({"name": format!("{name}/versions/1"), "payload": {"data": VALUE, "dataCrc32c": "1736498283"}});
        assert_eq!(read, expected, "{path}");
    }
    let update = json!({"labels": {"team": "red"}, "etag": etag});
    let changed = ok(&server, Method::PATCH, &format!("{SECRETS}/db?updateMask=labels"), update.clone()).await;
    assert_eq!(changed["labels"]["team"], "red");
    let (status, answer) = server.ask(Method::PATCH, &format!("{SECRETS}/db?updateMask=labels"), update).await;
    assert_eq!((status, &answer["error"]["status"]), (StatusCode::CONFLICT, &json!("ABORTED")));
    let listed = ok(&server, Method::GET, &format!("{SECRETS}?pageSize=1&filter=labels.team%3Dred"), Value::Null).await;
    assert_eq!(listed["secrets"][0]["name"], name);
    let versions = ok(&server, Method::GET, &format!("{SECRETS}/db/versions"), Value::Null).await;
    assert_eq!((&versions["versions"][0]["state"], &versions["totalSize"]), (&json!("ENABLED"), &json!(1)));
    for (verb, state) in [("disable", "DISABLED"), ("enable", "ENABLED"), ("destroy", "DESTROYED")] {
        let path = format!("{SECRETS}/db/versions/1:{verb}");
        assert_eq!(ok(&server, Method::POST, &path, json!({})).await["state"], state, "{verb}");
    }
    let (status, answer) = server.ask(Method::GET, &format!("{SECRETS}/db/versions/1:access"), Value::Null).await;
    assert_eq!((status, &answer["error"]["status"]), (StatusCode::BAD_REQUEST, &json!("FAILED_PRECONDITION")));
    let info = answer["error"]["details"].as_array().and_then(|details| details.last()).expect("details");
    assert_eq!(info["domain"], "secretmanager.googleapis.com");
    let gone = ok(&server, Method::DELETE, &format!("{SECRETS}/db"), Value::Null).await;
    assert_eq!(gone, json!({}));
    let (status, answer) = server.ask(Method::GET, &format!("{SECRETS}/db"), Value::Null).await;
    assert_eq!(
        (status, &answer["error"]["message"]),
        (StatusCode::NOT_FOUND, &json!(format!("Secret [{name}] not found.")))
    );
}

#[tokio::test]
async fn a_policy_of_a_secret_is_set_and_read() {
    let server = Server::start(AuthMode::None).await;
    made(&server).await;
    let binding = json!({"role": "roles/secretmanager.secretAccessor", "members": ["user:me@example.com"]});
    let policy = json!({"policy": {"bindings": [binding]}});
    let set = ok(&server, Method::POST, &format!("{SECRETS}/db:setIamPolicy"), policy).await;
    let path = format!("{SECRETS}/db:getIamPolicy?options.requestedPolicyVersion=3");
    assert_eq!(ok(&server, Method::GET, &path, Value::Null).await, set);
    let ask = json!({"permissions": ["secretmanager.versions.access"]});
    let held = ok(&server, Method::POST, &format!("{SECRETS}/none:testIamPermissions"), ask.clone()).await;
    assert_eq!(held, ask, "the owner of the machine has all");
}

#[tokio::test]
async fn what_is_sent_for_a_value_is_not_repeated_whatever_is_wrong_with_it() {
    let server = Server::start(AuthMode::None).await;
    made(&server).await;
    for body in [
        json!({"payload": {"data": "hunter2!"}}),
        json!({"payload": {"data": VALUE, "dataCrc32c": "1"}}),
        json!({"payload": "hunter2"}),
        json!({"payload": {"data": {"hunter2": 1}}}),
        json!({"payload": {"data": ["hunter2"]}}),
        json!("hunter2"),
        json!(["hunter2"]),
        json!({"payload": {"data": "a".repeat(90_000)}}),
    ] {
        let (status, answer) = server.ask(Method::POST, &format!("{SECRETS}/db:addVersion"), body.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer:#}");
        let text = answer.to_string();
        assert!(!text.contains("hunter2") && !text.contains(VALUE) && !text.contains("aaaa"), "{body} led to {text}");
    }
    let (_, answer) =
        server.ask(Method::POST, &format!("{SECRETS}/db:addVersion"), json!({"payload": {"data": ""}})).await;
    assert_eq!(answer["error"]["message"], "Secret Payload cannot be empty.");
}

#[tokio::test]
async fn both_wires_reach_the_same_secret() {
    let server = Server::start(AuthMode::None).await;
    let address = server.listen().await;
    let channel =
        tonic::transport::Channel::from_shared(address).expect("an address").connect().await.expect("connects");
    let mut client = SecretManagerServiceClient::new(channel);
    let kind = replication::Replication::Automatic(replication::Automatic::default());
    let secret = Secret { replication: Some(Replication { replication: Some(kind) }), ..Secret::default() };
    let (parent, secret_id) = ("projects/demo-project".to_owned(), "db".to_owned());
    let request = CreateSecretRequest { parent, secret_id, secret: Some(secret) };
    let made = client.create_secret(request).await.expect("is made").into_inner();
    let payload = Some(SecretPayload { data: b"hunter2".to_vec(), data_crc32c: Some(1_736_498_283) });
    let added = client.add_secret_version(AddSecretVersionRequest { parent: made.name.clone(), payload }).await;
    let name = added.expect("is added").into_inner().name;
    let read = client.access_secret_version(AccessSecretVersionRequest { name }).await.expect("is read").into_inner();
    let payload = read.payload.expect("a value");
    assert_eq!((payload.data.as_slice(), payload.data_crc32c), (&b"hunter2"[..], Some(1_736_498_283)));
    let by_rest = ok(&server, Method::GET, &format!("/v1/{}", made.name), Value::Null).await;
    assert_eq!(by_rest["etag"], made.etag);
    let missing = GetSecretRequest { name: "projects/demo-project/secrets/none".to_owned() };
    let status = client.get_secret(missing).await.expect_err("is not there");
    assert_eq!(status.code(), tonic::Code::NotFound);
    let details = updraft_api::rpc::Status::decode(status.details()).expect("details");
    let info: updraft_api::rpc::ErrorInfo = updraft_api::unpack(&details.details[0]).expect("whose it is");
    assert_eq!(info.domain, "secretmanager.googleapis.com");
    server.tasks.shutdown().ask();
}

#[tokio::test]
async fn the_owner_changes_the_key_and_values_stay_readable() {
    let server = Server::start(AuthMode::None).await;
    made(&server).await;
    let rotated = ok(&server, Method::POST, "/updraft/v1/secrets:rotateKey", Value::Null).await;
    assert_eq!((&rotated["resealed"], &rotated["values"]), (&json!(1), &json!(1)), "{rotated:#}");
    let read = ok(&server, Method::GET, &format!("{SECRETS}/db/versions/1:access"), Value::Null).await;
    assert_eq!(read["payload"]["data"], VALUE);
    let keys = std::fs::read_to_string(server.dir.path().join("keys/installation.key")).expect("is there");
    assert_eq!(keys.lines().count(), 2);
    assert!(!rotated.to_string().contains(keys.lines().next().expect("a key")));
}

#[tokio::test]
async fn the_prefix_leads_to_secret_manager_only() {
    let server = Server::start(AuthMode::None).await;
    for path in [
        "/run/v1/projects/demo-project/secrets",
        "/secretmanager/v2/projects/demo-project/locations/us-central1/services",
    ] {
        assert_eq!(server.refusal(Method::GET, path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let (status, message) = server.refusal(Method::PUT, &format!("{SECRETS}/db")).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(message.ends_with("only GET, PATCH, DELETE"), "{message}");
}
