//! A key that was made through the API, in the hands of a client that exchanges it as gcloud does, over real HTTP.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use updraft_identity::{
    account_key::{KeyFile, Want},
    key::PublicKey,
};
use updraft_testkit::World;

const ACCOUNTS: &str = "/v1/projects/demo-project/serviceAccounts";
const EMAIL: &str = "deployer@demo-project.iam.gserviceaccount.com";

/// What the key gets at the address that is written in its file.
async fn exchange(key: &KeyFile, token_uri: &str, want: Want<'_>, now: SystemTime) -> Value {
    let assertion = key.assertion(want, now).expect("signs");
    let form = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
    let request = reqwest::Client::new().post(token_uri).header("content-type", "application/x-www-form-urlencoded");
    let answer = request.body(form).send().await.expect("an answer");
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["cache-control"]),
        (200, &"no-store".parse().expect("valid"))
    );
    serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON")
}

#[tokio::test]
async fn a_key_file_leads_to_this_server_and_its_tokens_are_proved_by_the_keys_that_the_issuer_lists() {
    let world = World::start().await;
    let issuer = format!("http://{}", world.server.address);
    let account = world.ok("POST", ACCOUNTS, json!({"accountId": "deployer"})).await;
    let made = world.ok("POST", &format!("{ACCOUNTS}/{EMAIL}/keys"), json!({})).await;
    let text = STANDARD.decode(made["privateKeyData"].as_str().expect("a file")).expect("base64");
    let text = String::from_utf8(text).expect("text");
    let (key, file) = (KeyFile::parse(&text).expect("a key file"), text.parse::<Value>().expect("JSON"));
    let token_uri = file["token_uri"].as_str().expect("an address");
    assert_eq!((key.email(), token_uri), (EMAIL, format!("{issuer}/token").as_str()));

    // When worlds begin, and what has passed since.
    let now = UNIX_EPOCH + Duration::from_secs(1_767_225_600) + world.hand.elapsed();
    let audience = "32555940559.apps.googleusercontent.com";
    let answer = exchange(&key, token_uri, Want::Audience(audience), now).await;
    let token = answer["id_token"].as_str().expect("a token").to_owned();
    let found = world.ok("GET", "/.well-known/openid-configuration", Value::Null).await;
    assert_eq!(found["issuer"], issuer);
    let keys = found["jwks_uri"].as_str().expect("an address").trim_start_matches(&issuer).to_owned();
    let keys = world.ok("GET", &keys, Value::Null).await;
    let settings = updraft_identity::oidc::OidcSettings {
        issuer: issuer.clone(),
        audiences: vec![audience.to_owned(), account["uniqueId"].as_str().expect("an id").to_owned()],
        claims: updraft_identity::oidc::ClaimMapping::default(),
        trust: updraft_identity::oidc::EmailTrust::Verified,
        domains: Vec::new(),
    };
    let others = updraft_identity::oidc::ExternalIssuer::new(settings, &keys.to_string()).expect("keys");
    let verified = others.verify(&token, now).expect("whoever trusts the issuer trusts the token");
    assert_eq!(verified.who.email(), EMAIL);
    assert!(PublicKey::from_jwk(&keys["keys"][0]).is_ok());

    let scope = "openid https://www.googleapis.com/auth/userinfo.email https://www.googleapis.com/auth/cloud-platform";
    let answer = exchange(&key, token_uri, Want::Scope(scope), now).await;
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(3600)), "{answer:#}");
    assert!(answer["access_token"].as_str().is_some_and(|token| token.split('.').count() == 3));
    world.end().await;
}
