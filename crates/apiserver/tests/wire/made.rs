//! What the audit log says that a call made, and what it changed.

use http::{Method, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use updraft_model::iam::Principal;

use super::{
    SERVICES, Server,
    access::{CI_ACCOUNT, PROJECT, World, user},
    audit::{call, records},
};

/// The record of the last call.
async fn last(server: &Server) -> Value {
    records(server).await.pop().expect("a record")["protoPayload"].take()
}

#[tokio::test]
async fn a_key_and_a_version_are_on_record_by_their_names() {
    let World { server, .. } = &World::new().await;
    let keys = format!("/v1/{PROJECT}/serviceAccounts/{CI_ACCOUNT}/keys");
    let (status, made) = server.ask(Method::POST, &keys, json!({})).await;
    assert_eq!(status, StatusCode::OK, "{made:#}");
    assert!(made["name"].as_str().is_some_and(|name| name.contains("/keys/")));
    assert_eq!(last(server).await["resourceName"], made["name"]);
    let payload = json!({"payload": {"data": "aHVudGVyMg=="}});
    let (status, _) = server.ask(Method::POST, &format!("/v1/{PROJECT}/secrets/db:addVersion"), payload).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(last(server).await["resourceName"], format!("{PROJECT}/secrets/db/versions/2"));
}

/// A file of a tar archive.
fn member(name: &str, content: &Value) -> Vec<u8> {
    let content = content.to_string();
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    block[148..156].fill(b' ');
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let padding = vec![0; content.len().next_multiple_of(512) - content.len()];
    [&block[..], content.as_bytes(), &padding].concat()
}

#[tokio::test]
async fn images_are_on_record_by_the_names_that_their_archive_gives_them() {
    let World { server, .. } = &World::new().await;
    let config =
        json!({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}});
    let manifest = json!([{"Config": "config.json", "RepoTags": ["shop:v1", "shop:v2"], "Layers": []}]);
    let archive = [member("config.json", &config), member("manifest.json", &manifest), vec![0; 1024]].concat();
    let request = http::Request::post("/updraft/v1/images:load").body(Full::from(archive)).expect("valid");
    let (status, answer) = call(server, Principal::Local, request).await;
    assert_eq!(status, StatusCode::OK, "{answer:#}");
    let references = ["localhost/shop:v1", "localhost/shop:v2"];
    assert_eq!(answer["images"].as_array().expect("a list").len(), references.len(), "{answer:#}");
    assert_eq!(last(server).await["resourceName"], format!("{PROJECT}/images/{}", references.join(",")));
}

#[tokio::test]
async fn a_policy_that_is_set_is_on_record_with_what_it_changed() {
    let World { server, .. } = &World::new().await;
    let mut before: Option<Value> = None;
    // The owner of everything and somebody who has a role: about the one no policy is read.
    for (caller, member) in [(Principal::Local, "allUsers"), (user("owner"), "user:friend@example.com")] {
        let given = json!({"action": "ADD", "role": "roles/run.invoker", "member": member});
        let binding = json!({"role": "roles/run.invoker", "members": [member]});
        let body = Full::from(json!({"policy": {"bindings": [binding]}}).to_string());
        let request = http::Request::post(format!("{SERVICES}/hello:setIamPolicy")).body(body).expect("valid");
        assert_eq!(call(server, caller, request).await.0, StatusCode::OK);
        let deltas = last(server).await["serviceData"]["policyDelta"]["bindingDeltas"].take();
        let taken = before.unwrap_or_else(|| {
            json!({"action": "REMOVE", "role": "roles/run.viewer", "member": "serviceAccount:ci@demo-project.iam.gserviceaccount.com"})
        });
        assert_eq!(deltas, json!([given, taken]));
        before = Some(json!({"action": "REMOVE", "role": "roles/run.invoker", "member": member}));
    }
    let filter = "protoPayload.serviceData.policyDelta.bindingDeltas.member=\"user:friend@example.com\"";
    let asked = json!({"resourceNames": [PROJECT], "filter": filter});
    let (status, answer) = server.ask(Method::POST, "/v2/entries:list", asked).await;
    assert_eq!((status, answer["entries"].as_array().map_or(0, Vec::len)), (StatusCode::OK, 1), "{answer:#}");
}
