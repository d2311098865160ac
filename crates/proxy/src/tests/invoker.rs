//! Who may call a private service, by which token.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;
use updraft_base::Clock;
use updraft_identity::{
    CLOUD_PLATFORM, EmailClaim, Issuer, LIFETIME, Tokens,
    oidc::{ClaimMapping, EmailTrust, OidcSettings},
};
use updraft_model::{
    account::{AccountBook, AccountEntry, Standing},
    iam::{Account, Binding, Policy, ProjectInvokers, ROLE_INVOKER},
    route::RouteTable,
};

use super::{APP, App, World};

const MEMBER: &str = "serviceAccount:caller@demo-project.iam.gserviceaccount.com";
const URL: &str = "https://app-1.us-central1.run.localhost";

fn account(name: &str) -> Account {
    let (email, unique_id) = (format!("{name}@demo-project.iam.gserviceaccount.com"), format!("1{name}"));
    Account { email, unique_id, project: "demo-project".to_owned() }
}

/// The accounts that every world has: `caller`, `stranger`, and `former`, which is switched off.
pub(super) fn accounts() -> AccountBook {
    let mut book = AccountBook::default();
    for (name, standing) in
        [("caller", Standing::Active), ("stranger", Standing::Active), ("former", Standing::Disabled)]
    {
        let Account { email, unique_id, project } = account(name);
        book.insert(unique_id.into(), AccountEntry { email, project, standing, keys: Vec::new() });
    }
    book
}

/// The issuer of people that every world trusts; nobody has fetched its keys.
pub(super) fn people(clock: &Clock) -> Arc<Issuer> {
    let settings = OidcSettings {
        issuer: "https://login.example.com".to_owned(),
        audiences: vec!["updraft".to_owned()],
        claims: ClaimMapping::default(),
        trust: EmailTrust::Verified,
        domains: Vec::new(),
    };
    Issuer::new(settings, clock.clone())
}

/// A token of this type with these claims, which nobody signed.
fn unproved(kind: &str, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2lnbmF0dXJl", part(&json!({"alg": "RS256", "kid": "k", "typ": kind})), part(claims))
}

fn id_token(tokens: &Tokens, name: &str, audience: &str) -> String {
    tokens.id_token(&account(name), audience, EmailClaim::Told).expect("a token").token
}

/// The same token with other words in one of its parts.
fn altered(token: &str, part: usize, change: impl Fn(&mut Value)) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let mut read: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&parts[part]).expect("base64")).expect("JSON");
    change(&mut read);
    parts[part] = URL_SAFE_NO_PAD.encode(read.to_string());
    parts.join(".")
}

impl World {
    /// Status and answer of a call that shows these headers, and what the log says of it.
    async fn called(&mut self, shown: &[(&str, String)]) -> (StatusCode, String, Option<String>) {
        let request = Request::get(format!("http://{}/head", self.address)).header("host", APP);
        let request = shown.iter().fold(request, |request, (name, value)| request.header(*name, value));
        let (status, body) = self.client().send(request).await;
        let record = self.logged().await;
        let why = record.note.map(|note| format!("{note} ({})", record.detail.as_deref().unwrap_or("-")));
        (status, body, why)
    }

    async fn called_with(&mut self, token: &str) -> (StatusCode, String, Option<String>) {
        self.called(&[("authorization", format!("Bearer {token}"))]).await
    }
}

#[tokio::test]
async fn a_private_service_is_called_by_its_members_with_a_token_that_is_for_it() {
    let mut world = World::with(App { invokers: Some(&[MEMBER]), ..App::default() }).await;
    for audience in
        [URL, "http://app-1.us-central1.run.localhost:8080/", "the-app", "32555940559.apps.googleusercontent.com"]
    {
        let token = id_token(&world.tokens, "caller", audience);
        let (status, head, why) = world.called_with(&token).await;
        assert_eq!((status, why), (StatusCode::OK, None), "{audience}: {head}");
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        assert!(!head.contains(signature), "the container could go on with it: {head}");
        assert!(head.contains(&format!("Bearer {signed}.SIGNATURE_REMOVED_BY_GOOGLE")), "{head}");
    }
    let token = id_token(&world.tokens, "caller", URL);
    // The application's own credentials pass untouched beside those for the front door.
    let both = [
        ("x-serverless-authorization", format!("bearer {token}")),
        ("authorization", "Bearer its.own.token".to_owned()),
    ];
    let (status, head, _) = world.called(&both).await;
    assert!(status == StatusCode::OK && head.contains("Bearer its.own.token"), "{head}");
    assert!(!head.contains(token.rsplit('.').next().expect("a signature")), "{head}");
    world.end().await;
}

#[tokio::test]
async fn an_open_service_leaves_tokens_to_the_application() {
    let mut world = World::with(App::default()).await;
    let (status, head, _) = world.called_with("any.token.atall").await;
    assert!(status == StatusCode::OK && head.contains("Bearer any.token.atall"), "{head}");
    world.end().await;
}

#[tokio::test]
async fn an_open_service_gets_no_token_that_the_api_would_take() {
    let mut world = World::with(App::default()).await;
    let account = account("caller");
    let access = world.tokens.access_token(&account, CLOUD_PLATFORM, LIFETIME).expect("a token").token;
    let of_a_person = |audience: Value| unproved("JWT", &json!({"iss": "https://login.example.com", "aud": audience}));
    let signed_itself = |audience: &str| unproved("JWT", &json!({"iss": account.email, "aud": audience}));
    let taken = [
        access,
        of_a_person(json!("updraft")),
        of_a_person(json!(["shop", "updraft"])),
        signed_itself("https://run.googleapis.com/"),
        signed_itself("https://oauth2.googleapis.com/token"),
        unproved("JWT", &json!({"iss": account.email, "scope": CLOUD_PLATFORM})),
    ];
    for token in &taken {
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        for name in ["authorization", "x-serverless-authorization"] {
            // The other header, and another value of the same one, are nobody's cover.
            let other = if name == "authorization" { "x-serverless-authorization" } else { "authorization" };
            let shown = [(other, "Bearer its.own.token".to_owned()), (name, "Bearer a.b.c".to_owned())];
            let shown = [&shown[..], &[(name, format!("bearer  {token}"))]].concat();
            let (status, head, _) = world.called(&shown).await;
            assert_eq!(status, StatusCode::OK, "{head}");
            assert!(!head.contains(&format!(".{signature}")), "{name}: {head}");
            assert!(head.contains(&format!("{signed}.SIGNATURE_REMOVED_BY_GOOGLE")), "{name}: {head}");
            assert!(head.contains("its.own.token") && head.contains("a.b.c"), "{name}: {head}");
        }
        let basic = format!("Basic {}", STANDARD.encode(format!("oauth2accesstoken:{token}")));
        let (_, head, _) = world.called(&[("authorization", basic)]).await;
        assert!(!head.to_ascii_lowercase().contains("basic"), "{head}");
    }
    world.end().await;
}

#[tokio::test]
async fn an_open_service_gets_its_own_tokens_whole_whoever_issued_them() {
    let mut world = World::with(App::default()).await;
    let person = |issuer: &str, audience: &str| unproved("JWT", &json!({"iss": issuer, "aud": audience}));
    for token in [
        // Of the issuer that is trusted here, and for an application that is a client of its own there.
        person("https://login.example.com", "shop"),
        person("https://securetoken.google.com/shop", "shop"),
        person("https://login.example.com.evil.example", "updraft"),
        person(&account("caller").email, "https://identitytoolkit.googleapis.com/google.identity.v1.IdentityToolkit"),
        unproved("at+jwt", &json!({"iss": "https://elsewhere.example", "aud": "shop"})),
        id_token(&world.tokens, "caller", URL),
        "opaque".to_owned(),
        "a.b.c".to_owned(),
    ] {
        let (status, head, _) = world.called_with(&token).await;
        assert!(status == StatusCode::OK && head.contains(&format!("Bearer {token}\n")), "{token}: {head}");
        let basic = format!("Basic {}", STANDARD.encode(format!("me:{token}")));
        let (_, head, _) = world.called(&[("authorization", basic.clone())]).await;
        assert!(head.contains(&basic), "{head}");
    }
    world.end().await;
}

#[tokio::test]
async fn each_bad_token_is_refused_and_the_log_tells_why() {
    let mut world = World::with(App { invokers: Some(&[MEMBER]), ..App::default() }).await;
    let good = id_token(&world.tokens, "caller", URL);
    let elsewhere = tempfile::tempdir().expect("a directory");
    let foreign = Tokens::open(
        elsewhere.path(),
        "https://accounts.google.com",
        watch::channel(Arc::new(accounts())).1,
        Clock::stopped_at(SystemTime::UNIX_EPOCH).0,
    )
    .expect("opens");
    let access =
        world.tokens.access_token(&account("caller"), "https://www.googleapis.com/auth/cloud-platform", LIFETIME);
    let (unsigned, _) = good.rsplit_once('.').expect("three parts");
    let cases = [
        (id_token(&world.tokens, "caller", "https://other.run.localhost"), "audience is 'https://other.run.localhost'"),
        (id_token(&world.tokens, "caller", "https://v1---app-1.us-central1.run.localhost"), "audience"),
        (id_token(&foreign, "caller", URL), "is not known"),
        (
            altered(&good, 1, |claims| claims["email"] = json!("owner@demo-project.iam.gserviceaccount.com")),
            "signature",
        ),
        (altered(&good, 1, |claims| claims["exp"] = json!(4_000_000_000_u64)), "signature"),
        (altered(&good, 0, |header| header["alg"] = json!("none")), "none"),
        (altered(&format!("{unsigned}."), 0, |header| header["alg"] = json!("none")), "none"),
        (altered(&good, 0, |header| header["alg"] = json!("HS256")), "HS256"),
        (format!("{unsigned}."), "signature"),
        (unsigned.to_owned(), "dot"),
        (access.expect("a token").token, "at+jwt"),
        (id_token(&world.tokens, "former", URL), "is disabled"),
        ("abc".to_owned(), "dots"),
    ];
    for (token, cause) in cases {
        let (status, body, why) = world.called_with(&token).await;
        let why = why.expect("a reason");
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{cause}: {body}");
        let said = "The request was not authorized to invoke this service. The access token could not be verified. (";
        assert!(why.starts_with(said) && why.contains(cause), "{cause}: {why}");
        assert!(!body.contains(cause) && !why.contains(&good[good.len() - 20..]), "{body} {why}");
    }
    world.hand.advance(Duration::from_secs(3600 + 60));
    let (status, _, why) = world.called_with(&good).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(why.as_deref().is_some_and(|why| why.contains("expired")), "{why:?}");
    assert!(world.engine.records().is_empty(), "none of them started anything");
    world.end().await;
}

#[tokio::test]
async fn who_is_no_member_is_forbidden_until_the_project_lets_them() {
    let mut world = World::with(App { invokers: Some(&[MEMBER]), ..App::default() }).await;
    let token = id_token(&world.tokens, "stranger", URL);
    let (status, body, why) = world.called_with(&token).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{body}");
    let why = why.expect("a reason");
    assert!(why.starts_with("The request was not authorized to invoke this service. ("), "{why}");
    assert!(why.contains("no binding grants run.routes.invoke to stranger@demo-project"), "{why}");
    let (status, _, why) = world.called(&[]).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(why.as_deref().is_some_and(|why| why.contains("was not authenticated")), "{why:?}");

    let member = MEMBER.replace("caller", "stranger");
    let binding = Binding { role: ROLE_INVOKER.to_owned(), members: vec![member], condition: None };
    let said = ProjectInvokers { policy: Policy { bindings: vec![binding] }, ..ProjectInvokers::default() };
    world.routes.send_modify(|table| {
        let mut projects = table.projects.clone();
        projects.insert("demo-project".into(), Arc::new(said));
        *table = Arc::new(RouteTable { projects, ..RouteTable::clone(table) });
    });
    assert_eq!(world.called_with(&token).await.0, StatusCode::OK);
    world.end().await;
}
