//! Keys and tokens of service accounts, as gcloud and Google's libraries ask for them.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use updraft_base::Clock;
use updraft_identity::{
    AuthMode,
    key::{PrivateKey, PublicKey},
    token_path,
};

use super::Server;

const ACCOUNTS: &str = "/v1/projects/demo-project/serviceAccounts";
const EMAIL: &str = "deployer@demo-project.iam.gserviceaccount.com";
const PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
const GOOGLE: &str = "https://oauth2.googleapis.com/token";
const SERVICES: &str = "/v2/projects/demo-project/locations/us-central1/services";

/// A server that asks for a token, and its operator.
struct Place {
    server: Server,
    admin: String,
}

/// A key file, as its holder reads it.
struct KeyFile {
    id: String,
    key: PrivateKey,
}

impl Place {
    /// With the account `deployer`.
    async fn new() -> Self {
        let server = Server::start(AuthMode::Token).await;
        let token = std::fs::read_to_string(token_path(server.dir.path())).expect("a token");
        let place = Self { server, admin: token.trim().to_owned() };
        place.ok(Method::POST, ACCOUNTS, json!({"accountId": "deployer"})).await;
        place
    }

    async fn ask_as(&self, token: &str, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let body = if body.is_null() { Full::default() } else { Full::from(body.to_string()) };
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.server.send(request.body(body).expect("valid")).await
    }

    async fn ok(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask_as(&self.admin, method.clone(), path, body).await;
        assert_eq!(status, StatusCode::OK, "{method} {path}: {answer:#}");
        answer
    }

    /// A call that must be refused: its status and message.
    async fn refused(&self, method: Method, path: &str, body: Value) -> (String, String) {
        let (status, answer) = self.ask_as(&self.admin, method, path, body).await;
        assert_ne!(status, StatusCode::OK, "{path}: {answer:#}");
        let text = |name: &str| answer["error"][name].as_str().unwrap_or_default().to_owned();
        (text("status"), text("message"))
    }

    /// Makes a key, and reads the file that the answer holds.
    async fn key(&self) -> KeyFile {
        let made = self.ok(Method::POST, &format!("{ACCOUNTS}/{EMAIL}/keys"), json!({})).await;
        let file = STANDARD.decode(made["privateKeyData"].as_str().expect("a file")).expect("base64");
        let file: Value = serde_json::from_slice(&file).expect("JSON");
        assert_eq!((&file["type"], &file["client_email"]), (&json!("service_account"), &json!(EMAIL)));
        assert_eq!(
            (&file["project_id"], &file["token_uri"]),
            (&json!("demo-project"), &json!("http://127.0.0.1:8080/token"))
        );
        let id = file["private_key_id"].as_str().expect("an id").to_owned();
        assert_eq!(made["name"], format!("projects/demo-project/serviceAccounts/{EMAIL}/keys/{id}"));
        KeyFile { id, key: PrivateKey::from_pem(file["private_key"].as_str().expect("a key")).expect("PKCS #8") }
    }

    /// Sends a form as gcloud does.
    async fn form(&self, path: &str, body: String) -> (StatusCode, Value) {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.server.send(request.body(Full::<Bytes>::from(body)).expect("valid")).await
    }

    async fn exchange(&self, key: &KeyFile, claims: Value) -> (StatusCode, Value) {
        let grant = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
        self.form("/token", format!("assertion={}&grant_type={grant}", key.assertion(claims))).await
    }

    /// The word and the sentence of a refusal.
    async fn no_exchange(&self, key: &KeyFile, claims: Value) -> (String, String) {
        let (status, answer) = self.exchange(key, claims).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer:#}");
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        (text("error"), text("error_description"))
    }

    /// The claims of a token that the installation signed.
    async fn proved(&self, keys: &str, token: &Value) -> Value {
        let (status, listed) = self.server.ask(Method::GET, keys, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "nobody is asked who they are: {listed:#}");
        let token = token.as_str().expect("a token");
        let (signed, signature) = token.rsplit_once('.').expect("dots");
        let (head, claims) = signed.split_once('.').expect("dots");
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).expect("base64url");
        let head: Value = serde_json::from_slice(&decoded(head)).expect("a header");
        let jwk = listed["keys"].as_array().and_then(|all| all.iter().find(|jwk| jwk["kid"] == head["kid"]));
        let key = PublicKey::from_jwk(jwk.expect("the key is listed")).expect("a key");
        assert!(key.verifies(signed.as_bytes(), &decoded(signature)), "{token}");
        serde_json::from_slice(&decoded(claims)).expect("claims")
    }
}

impl KeyFile {
    /// An assertion of now, for an hour, to Google's address unless `claims` say otherwise.
    fn assertion(&self, claims: Value) -> String {
        let now = now();
        let mut all = json!({"iat": now, "exp": now + 3600, "iss": EMAIL, "aud": GOOGLE});
        for (name, value) in claims.as_object().expect("claims") {
            all[name] = value.clone();
        }
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(json!({"alg": "RS256", "kid": self.id, "typ": "JWT"})), part(all));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()).expect("signs")))
    }
}

fn now() -> u64 {
    Clock::system().now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

#[tokio::test]
async fn gcloud_activates_a_service_account_and_its_token_is_taken_until_the_account_is_disabled() {
    let place = Place::new().await;
    let key = place.key().await;
    // The two exchanges of `gcloud auth activate-service-account`.
    let audience = "32555940559.apps.googleusercontent.com";
    let (status, answer) = place.exchange(&key, json!({"target_audience": audience})).await;
    assert_eq!(status, StatusCode::OK, "{answer:#}");
    let claims = place.proved("/oauth2/v3/certs", &answer["id_token"]).await;
    assert_eq!(
        (&claims["aud"], &claims["email"], &claims["email_verified"]),
        (&json!(audience), &json!(EMAIL), &json!(true))
    );
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("http://127.0.0.1:8080"), &claims["azp"]));
    assert_eq!(claims["exp"].as_u64().zip(claims["iat"].as_u64()).map(|(exp, iat)| exp - iat), Some(3600));
    let scope = format!("openid https://www.googleapis.com/auth/userinfo.email {PLATFORM}");
    let (status, answer) = place.exchange(&key, json!({"scope": scope})).await;
    assert_eq!((status, &answer["token_type"]), (StatusCode::OK, &json!("Bearer")), "{answer:#}");
    assert!((3599..=3600).contains(&answer["expires_in"].as_u64().expect("seconds")), "{answer:#}");
    let token = answer["access_token"].as_str().expect("a token").to_owned();

    // It is taken, and gives no rights: policies do not know service accounts yet.
    let (status, answer) = place.ask_as(&token, Method::GET, SERVICES, Value::Null).await;
    assert_eq!(
        (status, &answer["error"]["status"]),
        (StatusCode::FORBIDDEN, &json!("PERMISSION_DENIED")),
        "{answer:#}"
    );
    assert_eq!(place.ask_as(&token, Method::GET, "/updraft/v1/info", Value::Null).await.0, StatusCode::OK);
    for path in ["/metrics", "/updraft/v1/images", "/updraft/v1/logs?service=x", "/updraft/v1/backup"] {
        assert_eq!(place.ask_as(&token, Method::GET, path, Value::Null).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    let (_, narrow) = place.exchange(&key, json!({"scope": "openid"})).await;
    let narrow = narrow["access_token"].as_str().expect("a token").to_owned();
    let (status, answer) = place.ask_as(&narrow, Method::GET, SERVICES, Value::Null).await;
    assert_eq!(answer["error"]["message"], "Request had insufficient authentication scopes.", "{status}");

    // What Google's libraries send in its place, to save the exchange.
    let own = key.assertion(json!({"aud": "https://run.googleapis.com/", "sub": EMAIL}));
    assert_eq!(place.ask_as(&own, Method::GET, "/updraft/v1/info", Value::Null).await.0, StatusCode::OK);
    let assertion = key.assertion(json!({"scope": PLATFORM, "sub": EMAIL}));
    let (status, answer) = place.ask_as(&assertion, Method::GET, "/updraft/v1/info", Value::Null).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "what is meant for the token endpoint is no token: {answer:#}");

    place.ok(Method::POST, &format!("{ACCOUNTS}/{EMAIL}:disable"), json!({})).await;
    let (status, answer) = place.ask_as(&token, Method::GET, "/updraft/v1/info", Value::Null).await;
    let message = answer["error"]["message"].as_str().expect("a message");
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(message.ends_with(&format!("(the account {EMAIL} is disabled.)")), "{message}");
    let no_account = ("invalid_grant".to_owned(), "Invalid grant: account not found".to_owned());
    assert_eq!(place.no_exchange(&key, json!({"scope": PLATFORM})).await, no_account);
    place.ok(Method::POST, &format!("{ACCOUNTS}/{EMAIL}:enable"), json!({})).await;
    assert_eq!(place.ask_as(&token, Method::GET, "/updraft/v1/info", Value::Null).await.0, StatusCode::OK);
    place.ok(Method::DELETE, &format!("{ACCOUNTS}/{EMAIL}"), Value::Null).await;
    assert_eq!(place.ask_as(&token, Method::GET, "/updraft/v1/info", Value::Null).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(place.no_exchange(&key, json!({"scope": PLATFORM})).await, no_account);
    // Another account under the old address is another one.
    place.ok(Method::POST, ACCOUNTS, json!({"accountId": "deployer"})).await;
    assert_eq!(place.ask_as(&token, Method::GET, "/updraft/v1/info", Value::Null).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(place.no_exchange(&key, json!({"scope": PLATFORM})).await.0, "invalid_grant");
}

#[tokio::test]
async fn the_token_endpoint_refuses_in_the_words_of_the_rfc_and_of_google() {
    let place = Place::new().await;
    let key = place.key().await;
    let now = now();
    for (claims, code, begins) in [
        (json!({}), "invalid_scope", "Invalid OAuth scope or ID token audience provided."),
        (json!({"scope": "a", "target_audience": "b"}), "invalid_scope", "Invalid OAuth scope"),
        (
            json!({"scope": "a", "aud": "https://x.example"}),
            "invalid_grant",
            "Invalid JWT: Failed audience check. (the token's audience is 'https://x.example'",
        ),
        (
            json!({"scope": "a", "exp": now - 100, "iat": now - 200}),
            "invalid_grant",
            "Invalid JWT: Token must be a short-lived token (60 minutes)",
        ),
        (json!({"scope": "a", "exp": now + 7200}), "invalid_grant", "Invalid JWT: Token must be a short-lived token"),
        (
            json!({"scope": "a", "sub": "ann@example.com"}),
            "unauthorized_client",
            "Client is unauthorized to retrieve access tokens",
        ),
        (
            json!({"scope": "a", "iss": "nobody@demo-project.iam.gserviceaccount.com"}),
            "invalid_grant",
            "Invalid grant: account not found",
        ),
        (json!({"scope": "a", "iss": "../../x"}), "invalid_grant", "Invalid grant: account not found"),
    ] {
        let (got, said) = place.no_exchange(&key, claims.clone()).await;
        assert!(got == code && said.starts_with(begins), "{claims}: {got}: {said}");
    }
    let stranger = KeyFile { id: key.id.clone(), key: PrivateKey::generate().expect("a key") };
    let (code, said) = place.no_exchange(&stranger, json!({"scope": "a"})).await;
    assert!(code == "invalid_grant" && said.starts_with("Invalid JWT Signature."), "{said}");
    // Ours is an audience as well, the endpoint has several names, and an assertion may be shown again.
    let form = format!(
        "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion={}",
        key.assertion(json!({"scope": "a", "aud": "http://127.0.0.1:8080/token"}))
    );
    for path in ["/token", "/oauth2/token", "/oauth2/v4/token"] {
        let (status, answer) = place.form(path, form.clone()).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer:#}");
    }
    let (status, answer) = place.form("/token", format!("{form}{}", "A".repeat(64 << 10))).await;
    assert_eq!((status, &answer["error"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("invalid_request")), "{answer:#}");
    let (_, answer) = place.form("/token", "grant_type=password".to_owned()).await;
    assert_eq!(answer["error"], "unsupported_grant_type");
    assert_eq!(place.server.ask(Method::GET, "/token", Value::Null).await.0, StatusCode::METHOD_NOT_ALLOWED);
    let (_, found) = place.server.ask(Method::GET, "/.well-known/openid-configuration", Value::Null).await;
    assert_eq!(
        (&found["issuer"], &found["jwks_uri"], &found["token_endpoint"]),
        (
            &json!("http://127.0.0.1:8080"),
            &json!("http://127.0.0.1:8080/oauth2/v3/certs"),
            &json!("http://127.0.0.1:8080/token")
        )
    );
}

#[tokio::test]
async fn keys_are_listed_read_disabled_and_deleted_and_there_are_ten_at_most() {
    let place = Place::new().await;
    let path = format!("{ACCOUNTS}/{EMAIL}/keys");
    assert_eq!(place.ok(Method::GET, &path, Value::Null).await, json!({}));
    let key = place.key().await;
    let one = format!("{path}/{}", key.id);
    let shown = place.ok(Method::GET, &one, Value::Null).await;
    assert_eq!(
        (&shown["keyAlgorithm"], &shown["keyOrigin"], &shown["keyType"], &shown["validBeforeTime"]),
        (&json!("KEY_ALG_RSA_2048"), &json!("GOOGLE_PROVIDED"), &json!("USER_MANAGED"), &json!("9999-12-31T23:59:59Z"))
    );
    assert_eq!((shown.get("privateKeyData"), shown.get("publicKeyData")), (None, None), "the private half is gone");
    let pem = |answer: &Value| {
        let data = STANDARD.decode(answer["publicKeyData"].as_str().expect("data")).expect("base64");
        String::from_utf8(data).expect("text")
    };
    let certificate =
        pem(&place.ok(Method::GET, &format!("{one}?publicKeyType=TYPE_X509_PEM_FILE"), Value::Null).await);
    assert_eq!(PublicKey::from_certificate(&certificate).expect("a certificate"), *key.key.public());
    let raw = pem(&place.ok(Method::GET, &format!("{one}?publicKeyType=TYPE_RAW_PUBLIC_KEY"), Value::Null).await);
    assert!(raw.starts_with("-----BEGIN PUBLIC KEY-----"), "{raw}");
    let wrong = place.refused(Method::GET, &format!("{one}?publicKeyType=TYPE_X"), Value::Null).await;
    assert!(wrong.0 == "INVALID_ARGUMENT" && wrong.1.contains("publicKeyType"), "{wrong:?}");

    place.ok(Method::POST, &format!("{one}:disable"), json!({})).await;
    assert_eq!(place.ok(Method::GET, &one, Value::Null).await["disabled"], true);
    let (code, said) = place.no_exchange(&key, json!({"scope": "a"})).await;
    assert!(code == "disabled_client" && said.starts_with("The OAuth client was disabled."), "{said}");
    place.ok(Method::POST, &format!("{one}:enable"), json!({})).await;
    assert_eq!(place.exchange(&key, json!({"scope": "a"})).await.0, StatusCode::OK);

    // What somebody else made, brought along by its certificate; the same one twice is one too many.
    place.ok(Method::DELETE, &one, Value::Null).await;
    let (code, said) = place.no_exchange(&key, json!({"scope": "a"})).await;
    assert!(code == "invalid_grant" && said.contains("is not known"), "{said}");
    let body = json!({"publicKeyData": STANDARD.encode(&certificate)});
    let uploaded = place.ok(Method::POST, &format!("{path}:upload"), body.clone()).await;
    assert_eq!(
        (&uploaded["keyOrigin"], uploaded["name"].as_str().map(|name| name.ends_with(&key.id))),
        (&json!("USER_PROVIDED"), Some(true))
    );
    assert_eq!(place.exchange(&key, json!({"scope": "a"})).await.0, StatusCode::OK);
    assert_eq!(place.refused(Method::POST, &format!("{path}:upload"), body).await.0, "ALREADY_EXISTS");
    let wrong = place.refused(Method::POST, &format!("{path}:upload"), json!({"publicKeyData": "AAAA"})).await;
    assert!(wrong.0 == "INVALID_ARGUMENT" && wrong.1.contains("X.509"), "{wrong:?}");

    for _ in 1..10 {
        place.key().await;
    }
    let (status, message) = place.refused(Method::POST, &path, json!({})).await;
    assert!(status == "FAILED_PRECONDITION" && message.contains("has 10 keys"), "{message}");
    let count = |answer: Value| answer["keys"].as_array().map_or(0, Vec::len);
    assert_eq!(count(place.ok(Method::GET, &path, Value::Null).await), 10);
    assert_eq!(count(place.ok(Method::GET, &format!("{path}?keyTypes=SYSTEM_MANAGED"), Value::Null).await), 0);
    let both = format!("{path}?keyTypes=USER_MANAGED&keyTypes=SYSTEM_MANAGED");
    assert_eq!(count(place.ok(Method::GET, &both, Value::Null).await), 10);
    let missing = place.refused(Method::GET, &format!("{path}/none"), Value::Null).await;
    assert_eq!(missing.0, "NOT_FOUND");
    let wrong = place.refused(Method::POST, &path, json!({"privateKeyType": "TYPE_PKCS12_FILE"})).await;
    assert!(wrong.1.contains("privateKeyType"), "{wrong:?}");
}

#[tokio::test]
async fn who_may_act_as_an_account_gets_its_credentials_and_signatures() {
    let place = Place::new().await;
    let base = format!("/v1/projects/-/serviceAccounts/{EMAIL}");
    // As `gcloud --impersonate-service-account` sends it.
    let body = json!({"delegates": null, "scope": ["openid", PLATFORM], "lifetime": "3600s"});
    for prefix in ["", "/iamcredentials"] {
        let path = format!("{prefix}{base}:generateAccessToken");
        let made = place.ok(Method::POST, &path, body.clone()).await;
        let token = made["accessToken"].as_str().expect("a token");
        assert!(made["expireTime"].as_str().is_some_and(|time| time.ends_with('Z')), "{made:#}");
        assert_eq!(place.ask_as(token, Method::GET, "/updraft/v1/info", Value::Null).await.0, StatusCode::OK);
    }
    let body = json!({"audience": "https://x.run.app", "delegates": null, "includeEmail": false});
    let made = place.ok(Method::POST, &format!("{base}:generateIdToken"), body).await;
    let claims = place.proved("/oauth2/v3/certs", &made["token"]).await;
    assert_eq!((&claims["aud"], claims.get("email")), (&json!("https://x.run.app"), None));
    let body = json!({"audience": "a", "includeEmail": true});
    let made = place.ok(Method::POST, &format!("{base}:generateIdToken"), body).await;
    assert_eq!(place.proved("/oauth2/v3/certs", &made["token"]).await["email"], EMAIL);
    let unique_id = claims["sub"].as_str().expect("an id");
    // As Google's library for Node sends it.
    let body = json!({"audience": "a", "includeEmail": true, "useEmailAzp": true});
    let made = place.ok(Method::POST, &format!("{base}:generateIdToken"), body).await;
    assert_eq!(place.proved("/oauth2/v3/certs", &made["token"]).await["azp"], EMAIL);
    assert_eq!(claims["azp"], unique_id, "unless it asks");
    let by_id = format!("/v1/projects/-/serviceAccounts/{unique_id}:generateIdToken");
    place.ok(Method::POST, &by_id, json!({"audience": "a"})).await;

    let keys = format!("/service_accounts/v1/jwk/{EMAIL}");
    let payload = json!({"iss": "anybody", "exp": now() + 60}).to_string();
    let made = place.ok(Method::POST, &format!("{base}:signJwt"), json!({"payload": payload})).await;
    assert_eq!(place.proved(&keys, &made["signedJwt"]).await["iss"], "anybody");
    let (_, ours) = place.server.ask(Method::GET, "/oauth2/v3/certs", Value::Null).await;
    assert!(!ours.to_string().contains(made["keyId"].as_str().expect("an id")), "a key of the account alone");
    let blob = place.ok(Method::POST, &format!("{base}:signBlob"), json!({"payload": STANDARD.encode("bytes")})).await;
    assert_eq!(blob["keyId"], made["keyId"]);
    let (_, listed) = place.server.ask(Method::GET, &keys, Value::Null).await;
    let key = PublicKey::from_jwk(&listed["keys"][0]).expect("a key");
    let signature = STANDARD.decode(blob["signedBlob"].as_str().expect("a signature")).expect("base64");
    assert!(key.verifies(b"bytes", &signature));
    let system = format!("{ACCOUNTS}/{EMAIL}/keys?keyTypes=SYSTEM_MANAGED");
    assert_eq!(place.ok(Method::GET, &system, Value::Null).await["keys"][0]["keyType"], "SYSTEM_MANAGED");

    for (verb, body, status, said) in [
        (
            "generateAccessToken",
            json!({"scope": [PLATFORM], "lifetime": "43200s"}),
            "INVALID_ARGUMENT",
            "at most 3600s",
        ),
        ("generateAccessToken", json!({}), "INVALID_ARGUMENT", "scope"),
        (
            "generateAccessToken",
            json!({"scope": ["a"], "delegates": ["projects/-/serviceAccounts/x"]}),
            "INVALID_ARGUMENT",
            "delegates",
        ),
        ("generateIdToken", json!({}), "INVALID_ARGUMENT", "audience"),
        ("signJwt", json!({"payload": "no"}), "INVALID_ARGUMENT", "payload"),
        ("signBlob", json!({"payload": "?"}), "INVALID_ARGUMENT", "payload"),
    ] {
        let refused = place.refused(Method::POST, &format!("{base}:{verb}"), body).await;
        assert!(refused.0 == status && refused.1.contains(said), "{verb}: {refused:?}");
    }
    place.ok(Method::POST, &format!("{ACCOUNTS}/{EMAIL}:disable"), json!({})).await;
    let refused = place.refused(Method::POST, &format!("{base}:generateIdToken"), json!({"audience": "a"})).await;
    assert!(refused.0 == "FAILED_PRECONDITION" && refused.1.contains("is disabled"), "{refused:?}");
    // With the account go the keys that were kept for it.
    let kept = place.server.dir.path().join(format!("identity/accounts/{unique_id}.json"));
    assert!(kept.exists());
    place.ok(Method::DELETE, &format!("{ACCOUNTS}/{EMAIL}"), Value::Null).await;
    assert!(!kept.exists());
    assert_eq!(place.server.ask(Method::GET, &keys, Value::Null).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn without_credentials_nobody_gets_a_key_or_a_token() {
    let place = Place::new().await;
    let base = format!("/v1/projects/-/serviceAccounts/{EMAIL}");
    for path in [format!("{base}/keys"), format!("{base}:generateAccessToken"), format!("{base}:signJwt")] {
        assert_eq!(place.server.ask(Method::POST, &path, json!({})).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    let made = place.ok(Method::POST, &format!("{base}:generateAccessToken"), json!({"scope": [PLATFORM]})).await;
    let token = made["accessToken"].as_str().expect("a token");
    for (verb, body) in [
        ("/keys", json!({})),
        (":generateAccessToken", json!({"scope": [PLATFORM]})),
        (":signBlob", json!({"payload": "AAAA"})),
    ] {
        let (status, answer) = place.ask_as(token, Method::POST, &format!("{base}{verb}"), body).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{verb}: {answer:#}");
    }
}

#[tokio::test]
async fn a_token_for_iam_alone_acts_as_accounts_and_does_nothing_else() {
    let place = Place::new().await;
    let key = place.key().await;
    let runner = "runner@demo-project.iam.gserviceaccount.com";
    place.ok(Method::POST, ACCOUNTS, json!({"accountId": "runner"})).await;
    let creator =
        json!({"role": "roles/iam.serviceAccountTokenCreator", "members": [format!("serviceAccount:{EMAIL}")]});
    let policy = json!({"policy": {"bindings": [creator]}});
    place.ok(Method::POST, &format!("{ACCOUNTS}/{runner}:setIamPolicy"), policy).await;
    // What `gcloud --impersonate-service-account` gets first, for the account that is active.
    let (_, answer) = place.exchange(&key, json!({"scope": "https://www.googleapis.com/auth/iam"})).await;
    let narrow = answer["access_token"].as_str().expect("a token").to_owned();
    for path in ["/v1/projects/-", "/iamcredentials/v1/projects/-"] {
        let path = format!("{path}/serviceAccounts/{runner}:generateAccessToken");
        let (status, answer) = place.ask_as(&narrow, Method::POST, &path, json!({"scope": [PLATFORM]})).await;
        assert_eq!(status, StatusCode::OK, "{answer:#}");
        let token = answer["accessToken"].as_str().expect("a token");
        assert_eq!(place.ask_as(token, Method::GET, "/updraft/v1/info", Value::Null).await.0, StatusCode::OK);
    }
    for path in [SERVICES, ACCOUNTS, "/updraft/v1/info"] {
        let (status, answer) = place.ask_as(&narrow, Method::GET, path, Value::Null).await;
        assert_eq!(answer["error"]["message"], "Request had insufficient authentication scopes.", "{path}: {status}");
    }
    // Other narrow ones are for nothing here.
    let (_, answer) = place.exchange(&key, json!({"scope": "openid"})).await;
    let other = answer["access_token"].as_str().expect("a token");
    let path = format!("/v1/projects/-/serviceAccounts/{runner}:generateAccessToken");
    let (status, answer) = place.ask_as(other, Method::POST, &path, json!({"scope": [PLATFORM]})).await;
    assert_eq!(answer["error"]["message"], "Request had insufficient authentication scopes.", "{status}");
}
