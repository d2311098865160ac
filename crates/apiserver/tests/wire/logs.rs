//! A log that is followed, and its end.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures::FutureExt as _;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use updraft_apiserver::BoxBody;
use updraft_base::{Clock, VirtualClock};
use updraft_identity::AuthMode;
use updraft_model::iam::{Account, Principal};

use super::{SERVICES, Server, access::user, of_image};

const FOLLOW: &str = "/updraft/v1/logs?service=hello&follow=true";

#[tokio::test]
async fn a_log_that_is_followed_ends_with_the_server() {
    let server = Server::start(AuthMode::None).await;
    let request =
        Request::get("/updraft/v1/logs?service=hello&follow=true").body(Full::<Bytes>::default()).expect("valid");
    let answer = server.api.call(request).await;
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/x-ndjson");
    server.tasks.shutdown().ask();
    assert!(answer.into_body().collect().await.expect("ends").to_bytes().is_empty());
}

/// A server with the service `hello`, and its time.
async fn with_service() -> (Server, Arc<VirtualClock>) {
    let (clock, hand) = Clock::stopped_at(UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let server = Server::start_at(clock, tempfile::tempdir().expect("a directory"), AuthMode::None).await;
    let (status, answer) = server.ask(Method::POST, &format!("{SERVICES}?serviceId=hello"), of_image()).await;
    assert_eq!(status, StatusCode::OK, "{answer:#}");
    (server, hand)
}

async fn let_in(server: &Server, members: &[&str]) {
    let bindings = json!([{"role": "roles/logging.viewer", "members": members}]);
    let policy = json!({"policy": {"bindings": bindings}});
    let (status, answer) = server.ask(Method::POST, "/v1/projects/demo-project:setIamPolicy", policy).await;
    assert_eq!(status, StatusCode::OK, "{answer:#}");
}

async fn followed(server: &Server, caller: Principal) -> BoxBody {
    followed_with(server, caller, "").await
}

async fn followed_with(server: &Server, caller: Principal, token: &str) -> BoxBody {
    let request = Request::get(FOLLOW).header(header::AUTHORIZATION, format!("Bearer {token}"));
    let request = request.body(Full::<Bytes>::default()).expect("valid");
    let answer = server.api.call_as(caller, request).await;
    assert_eq!(answer.status(), StatusCode::OK);
    answer.into_body()
}

/// Lets minutes pass until a stream has said something, which is at most so many.
async fn said(body: &mut BoxBody, hand: &VirtualClock, minutes: u32) -> Option<Value> {
    for _ in 0..minutes {
        // What a minute wakes has its turn before the next one.
        for _ in 0..100 {
            if let Some(frame) = body.frame().now_or_never() {
                let frame = frame?.expect("whole").into_data().expect("data");
                return Some(serde_json::from_slice(&frame).expect("a line"));
            }
            tokio::task::yield_now().await;
        }
        hand.advance(Duration::from_secs(60));
    }
    Some(Value::Null)
}

#[tokio::test]
async fn a_log_is_followed_for_as_long_as_that_is_permitted() {
    let (server, hand) = with_service().await;
    let_in(&server, &["user:ann@example.com"]).await;
    let mut body = followed(&server, user("ann")).await;
    assert_eq!(said(&mut body, &hand, 10).await, Some(Value::Null), "it goes on");
    let_in(&server, &["user:bob@example.com"]).await;
    let last = said(&mut body, &hand, 3).await.expect("why it ends");
    assert_eq!((&last["error"]["code"], &last["error"]["status"]), (&json!(403), &json!("PERMISSION_DENIED")));
    let why = last["error"]["message"].as_str().expect("a text");
    assert!(why.starts_with("Permission 'logging.logEntries.list' denied on resource"), "{why}");
    assert_eq!(said(&mut body, &hand, 1).await, None, "it ends");
}

#[tokio::test]
async fn a_log_is_followed_until_the_token_ends_that_it_was_asked_for_with() {
    let (server, hand) = with_service().await;
    let_in(&server, &["user:ann@example.com"]).await;
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    // Who calls is known already: only when the token ends is read of it.
    let token = format!("{}.{}.c2ln", part(json!({"alg": "RS256"})), part(json!({"exp": 1_800_000_000 + 300})));
    let mut body = followed_with(&server, user("ann"), &token).await;
    assert_eq!(said(&mut body, &hand, 4).await, Some(Value::Null), "it goes on");
    let last = said(&mut body, &hand, 3).await.expect("why it ends");
    assert_eq!(last["error"]["status"], "UNAUTHENTICATED", "{last}");
    assert!(last["error"]["message"].as_str().is_some_and(|why| why.contains("has ended")), "{last}");
}

#[tokio::test]
async fn an_account_that_is_disabled_follows_no_log() {
    let (server, hand) = with_service().await;
    let accounts = "/v1/projects/demo-project/serviceAccounts";
    let (_, made) = server.ask(Method::POST, accounts, json!({"accountId": "watcher"})).await;
    let text = |name: &str| made[name].as_str().expect("a text").to_owned();
    let (email, unique_id) = (text("email"), text("uniqueId"));
    let_in(&server, &[&format!("serviceAccount:{email}")]).await;
    let account = Account { email: email.clone(), unique_id, project: "demo-project".to_owned() };
    let mut body = followed(&server, Principal::ServiceAccount(account)).await;
    assert_eq!(said(&mut body, &hand, 3).await, Some(Value::Null), "it goes on");
    let (status, _) = server.ask(Method::POST, &format!("{accounts}/{email}:disable"), json!({})).await;
    assert_eq!(status, StatusCode::OK);
    let last = said(&mut body, &hand, 3).await.expect("why it ends");
    assert_eq!(last["error"]["status"], "UNAUTHENTICATED", "{last}");
    assert!(last["error"]["message"].as_str().is_some_and(|why| why.contains("is disabled")), "{last}");
}
