//! The keys that tokens are signed with change while clients take and show tokens, and nobody notices.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use updraft_identity::{
    KEYS_MAX_AGE,
    oidc::{ClaimMapping, EmailTrust, ExternalIssuer, OidcSettings},
};
use updraft_testkit::World;

const PROJECT: &str = "/v1/projects/demo-project";
const ACCOUNT: &str = "/v1/projects/-/serviceAccounts/caller@demo-project.iam.gserviceaccount.com";
const MEMBER: &str = "serviceAccount:caller@demo-project.iam.gserviceaccount.com";
const PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long a key signs.
const TERM: Duration = Duration::from_secs(14 * 24 * 3600);
/// Time passes in steps of this: what a client took before one is good after it.
const STEP: Duration = Duration::from_secs(30 * 60);

/// A place where the clients are at work.
struct Place {
    world: World,
    admin: String,
    uri: String,
    /// The account's id: its tokens name it as the party they were made for.
    unique_id: String,
}

/// A client: what it took in its last round, and what it keeps of the lists of keys.
#[derive(Default)]
struct Client {
    taken: Option<(String, String)>,
    lists: VecDeque<(SystemTime, String)>,
    /// The keys that signed its tokens.
    signers: BTreeSet<String>,
}

// === impl Place ===

impl Place {
    /// A private service, and an account that may call it.
    async fn new() -> Self {
        let world = World::start_with(&[("auth", "token"), ("issuer", "http://updraft.example:8080")]).await;
        let admin = world.token();
        let place = Self { world, admin, uri: String::new(), unique_id: String::new() };
        let account = place.ok("POST", &format!("{PROJECT}/serviceAccounts"), json!({"accountId": "caller"})).await;
        let image = place.world.image("hello").await;
        let services = format!("/v2/{}/services", place.world.server.default_parent());
        let body = json!({"template": {"containers": [{"image": image, "args": ["serve"]}]}});
        let made = place.ok("POST", &format!("{services}?serviceId=hello"), body).await;
        let wait = format!("/v2/{}:wait", made["name"].as_str().expect("an operation"));
        let done = place.world.drive(place.ok("POST", &wait, json!({"timeout": "60s"}))).await;
        let uri = done["response"]["uri"].as_str().unwrap_or_else(|| panic!("no URL: {done:#}")).to_owned();
        let policy = |role: &str| json!({"policy": {"bindings": [{"role": role, "members": [MEMBER]}]}});
        place.ok("POST", &format!("{services}/hello:setIamPolicy"), policy("roles/run.invoker")).await;
        place.ok("POST", &format!("{PROJECT}:setIamPolicy"), policy("roles/run.viewer")).await;
        let unique_id = account["uniqueId"].as_str().expect("an id").to_owned();
        Self { uri, unique_id, ..place }
    }

    async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.world.call_as(&self.admin, method, path, body).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
        serde_json::from_str(&answer.body).expect("JSON")
    }

    fn now(&self) -> SystemTime {
        // When worlds begin, and what has passed since.
        UNIX_EPOCH + Duration::from_secs(1_767_225_600) + self.world.hand.elapsed()
    }

    /// Both tokens are shown where they are for.
    async fn show(&self, (access, id): &(String, String)) {
        let services = format!("/v2/{}/services", self.world.server.default_parent());
        let answer = self.world.call_as(access, "GET", &services, Value::Null).await;
        assert_eq!(answer.status, 200, "at {:?}: {}", self.world.hand.elapsed(), answer.body);
        let answer = self.world.get_as(id, &self.uri, "/").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "at {:?}", self.world.hand.elapsed());
    }
}

// === impl Client ===

impl Client {
    /// Shows the tokens of the round before, takes new ones, shows these, and has a third party verify one by the list of
    /// keys that it fetched as long ago as it may keep it.
    async fn round(&mut self, place: &Place) {
        if let Some(taken) = &self.taken {
            place.show(taken).await;
        }
        let access = place.ok("POST", &format!("{ACCOUNT}:generateAccessToken"), json!({"scope": [PLATFORM]})).await;
        let id = json!({"audience": place.uri, "includeEmail": true});
        let id = place.ok("POST", &format!("{ACCOUNT}:generateIdToken"), id).await;
        let text = |value: &Value| value.as_str().expect("a token").to_owned();
        let taken = (text(&access["accessToken"]), text(&id["token"]));
        place.show(&taken).await;

        let now = place.now();
        self.lists.push_back((now, place.ok("GET", "/oauth2/v3/certs", Value::Null).await.to_string()));
        while self.lists.get(1).is_some_and(|(fetched, _)| *fetched + KEYS_MAX_AGE <= now) {
            self.lists.pop_front();
        }
        let settings = OidcSettings {
            issuer: "http://updraft.example:8080".to_owned(),
            audiences: vec![place.uri.clone(), place.unique_id.clone()],
            claims: ClaimMapping::default(),
            trust: EmailTrust::Verified,
            domains: Vec::new(),
        };
        let elsewhere = ExternalIssuer::new(settings, &self.lists[0].1).expect("a list of keys");
        if let Err(error) = elsewhere.verify(&taken.1, now) {
            panic!("by the list of {:?}, at {now:?}: {error}", self.lists[0].0);
        }
        self.signers.insert(signer(&taken.1));
        self.taken = Some(taken);
    }
}

/// The id of the key that signed a token.
fn signer(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap_or_default()).expect("base64");
    let header: Value = serde_json::from_slice(&header).expect("JSON");
    header["kid"].as_str().expect("a key's id").to_owned()
}

#[tokio::test]
async fn the_signing_key_changes_under_load_and_no_token_is_refused_on_the_way() {
    let place = Place::new().await;
    // The first key is made for the first token.
    Client::default().round(&place).await;
    let mut clients: [Client; 3] = Default::default();
    // Until half a day before the first key has signed for as long as it does.
    place.world.hand.advance(TERM - Duration::from_secs(12 * 3600));
    for _ in 0..48 {
        let [one, two, three] = &mut clients;
        tokio::join!(one.round(&place), two.round(&place), three.round(&place));
        place.world.hand.advance(STEP);
    }
    for client in &clients {
        assert_eq!(client.signers.len(), 2, "the key changed once: {:?}", client.signers);
    }
    place.world.end().await;
}
