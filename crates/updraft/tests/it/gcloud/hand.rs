//! What gcloud holds of an account: its key file, and the tokens that it got.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use updraft_identity::key::PrivateKey;
use updraft_testkit::World;

/// When worlds begin.
const BEGINNING: u64 = 1_767_225_600;

/// The last ones of each kind that answers told.
#[derive(Default)]
pub(super) struct Hand {
    /// A key file, as its holder reads it.
    key: Value,
    /// Of the account whose key it is.
    access: String,
    /// The same for acting as others alone, with which gcloud begins that.
    narrow: String,
    /// Of an account that is acted as.
    acting: String,
    /// An ID token.
    identity: String,
}

// === impl Hand ===

impl Hand {
    /// Keeps what an answer to this call has of it.
    pub(super) fn note(&mut self, call: &Value, answer: &Value) {
        if let Some(file) = answer["privateKeyData"].as_str() {
            let file = STANDARD.decode(file).expect("base64");
            self.key = serde_json::from_slice(&file).expect("JSON");
        }
        for field in ["access_token", "accessToken", "id_token", "token"] {
            let place = match (field, call["keeps"].as_str()) {
                ("access_token", Some("narrow")) => &mut self.narrow,
                ("access_token", _) => &mut self.access,
                ("accessToken", _) => &mut self.acting,
                _ => &mut self.identity,
            };
            if let Some(token) = answer[field].as_str() {
                token.clone_into(place);
            }
        }
    }

    pub(super) fn key_id(&self) -> String {
        self.key["private_key_id"].as_str().unwrap_or_default().to_owned()
    }

    /// The token that a request shows; `None`: the operator's.
    pub(super) fn token(&self, whose: Option<&str>) -> Option<&str> {
        match whose? {
            "account" => Some(&self.access),
            "narrow" => Some(&self.narrow),
            "acting" => Some(&self.acting),
            other => panic!("nobody is '{other}'"),
        }
    }

    /// What an assertion that says this gets at the address in the key file (RFC 7523).
    pub(super) async fn exchange(&self, world: &World, claims: &Value, status: u64, what: &str) -> Value {
        let said = |name: &str| self.key[name].as_str().unwrap_or_else(|| panic!("{what}: no {name} in the key file"));
        let now = BEGINNING + world.hand.elapsed().as_secs();
        let mut all = json!({"iat": now, "exp": now + 3600, "iss": said("client_email")});
        for (name, value) in claims.as_object().expect("claims") {
            all[name] = value.clone();
        }
        let header = json!({"typ": "JWT", "alg": "RS256", "kid": said("private_key_id")});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&all));
        let key = PrivateKey::from_pem(said("private_key")).expect("a key");
        let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()).expect("signs"));
        let grant = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
        let form = format!("assertion={signed}.{signature}&grant_type={grant}");
        let answer = world.form(said("token_uri"), form).await;
        assert_eq!(u64::from(answer.status), status, "{what}: {}", answer.body);
        serde_json::from_str(&answer.body).expect("JSON")
    }

    /// Calls a service, with the ID token, with one that was altered, or with none.
    pub(super) async fn ask(&self, world: &World, url: &str, call: &Value, what: &str) {
        let path = call["service"].as_str().expect("a path");
        let answer = match call["shown"].as_str() {
            None => world.get(url, path).await,
            Some("identity") => world.get_as(&self.identity, url, path).await,
            Some("altered") => world.get_as(&altered(&self.identity), url, path).await,
            Some("access") => world.get_as(&self.access, url, path).await,
            Some(other) => panic!("{what}: nothing is '{other}'"),
        };
        assert_eq!(Some(u64::from(answer.status)), call["status"].as_u64(), "{what}: {}", answer.body);
        if let Some(body) = call["says"].as_str() {
            assert_eq!(answer.body, body, "{what}");
        }
    }
}

/// The same token with another signature: its first character changes, since of the last one only some bits count.
fn altered(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{signed}.{first}{}", &signature[1..])
}
