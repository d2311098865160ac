//! Where the keys of an issuer are fetched from.

#[path = "../../outbound/tests/peers/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the client itself, which need more of it")]
mod peers;

use std::time::{Duration, UNIX_EPOCH};

use peers::{Heads, Internet, always, ok};
use updraft_base::{Clock, OnFailure, Tasks};
use updraft_identity::{
    Issuer,
    key::PrivateKey,
    oidc::{ClaimMapping, EmailTrust, OidcSettings},
};

const URL: &str = "https://login.example";

/// A public issuer whose document says that its keys are there.
async fn issuer(net: &Internet, keys: &str) -> Heads {
    let document = serde_json::json!({"issuer": URL, "jwks_uri": keys}).to_string();
    net.host("login.example", "11.0.0.1", Box::new(move |_| ok("", &document))).await
}

/// How long an issuer in this network waits after it has asked once.
async fn pause(net: &Internet) -> Duration {
    let settings = OidcSettings {
        issuer: URL.to_owned(),
        audiences: vec!["updraft".to_owned()],
        claims: ClaimMapping::default(),
        trust: EmailTrust::Verified,
        domains: Vec::new(),
    };
    let (clock, hand) = Clock::stopped_at(UNIX_EPOCH);
    let tasks = Tasks::new();
    // What users may reach, and nobody on the internet may send us to.
    tasks.spawn("issuer", OnFailure::Log, Issuer::new(settings, clock).keep_fresh(net.client("loopback, private")));
    let waits = async {
        loop {
            match hand.next_timer() {
                Some(pause) => return pause,
                None => tokio::task::yield_now().await,
            }
        }
    };
    Clock::system().timeout(Duration::from_secs(30), waits).await.expect("it asks and waits")
}

#[tokio::test]
async fn the_keys_of_a_public_issuer_are_fetched_from_the_internet_and_from_nowhere_else() {
    let jwks = serde_json::json!({"keys": [PrivateKey::generate().expect("a key").public().to_jwk("k")]}).to_string();
    let jwks: &'static str = jwks.leak();
    let net = Internet::new();
    let public = net.host("keys.example", "11.0.0.2", always(jwks)).await;
    let inside = net.host("keys.lan", "10.0.0.5", always(jwks)).await;
    let (place, own) = net.plain(always(jwks)).await;

    issuer(&net, "https://keys.example/").await;
    assert!(pause(&net).await > Duration::from_secs(60), "it has the keys");
    assert_eq!(public.count(), 1);
    for keys in ["https://keys.lan/".to_owned(), "https://10.0.0.5/".to_owned(), format!("http://{place}/")] {
        let asked = issuer(&net, &keys).await;
        assert!(pause(&net).await < Duration::from_secs(60), "{keys}: it tries again soon");
        assert_eq!((asked.count(), inside.count(), own.count()), (1, 0, 0), "{keys}");
    }
}
