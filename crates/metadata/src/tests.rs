//! The whole server over real connections, in virtual time.

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use updraft_base::{OnFailure, VirtualClock};
use updraft_identity::CLOUD_PLATFORM;
use updraft_model::{
    Parent,
    account::{AccountEntry, Standing, default_email, default_unique_id},
    channel::Workload,
    name::project_number,
};

use super::*;

const RUNNER: &str = "runner@demo-project.iam.gserviceaccount.com";
const UNIQUE: &str = "123456789012345678901";
const ISSUER: &str = "http://updraft.example:8080";
const START: u64 = 1_767_225_600;
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    callers: mpsc::Sender<(TcpStream, InstanceId)>,
    instances: watch::Sender<Arc<InstanceBook>>,
    accounts: watch::Sender<Arc<AccountBook>>,
    tokens: Tokens,
    hand: Arc<VirtualClock>,
    tasks: Tasks,
    listener: TcpListener,
    _dir: TempDir,
}

/// What was answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

// === impl World ===

impl World {
    /// Instance `one` acts as the runner, `two` as the project's default account.
    async fn start() -> Self {
        let (clock, hand) = Clock::stopped_at(UNIX_EPOCH + Duration::from_secs(START));
        let dir = TempDir::new().expect("a directory");
        let (callers, calls) = mpsc::channel(8);
        let (instances, instances_seen) = watch::channel(Arc::default());
        let (accounts, accounts_seen) = watch::channel(Arc::default());
        let tokens = Tokens::open(dir.path(), ISSUER, accounts_seen.clone(), clock.clone()).expect("no keys yet");
        let tasks = Tasks::new();
        let metadata = Metadata::new(MetadataDeps {
            callers: calls,
            instances: instances_seen,
            accounts: accounts_seen,
            tokens: tokens.clone(),
            clock,
            tasks: tasks.clone(),
        });
        tasks.spawn("metadata server", OnFailure::Stop, metadata.serve());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let world = Self { callers, instances, accounts, tokens, hand, tasks, listener, _dir: dir };
        world.account(Standing::Active);
        world.enlist("one", "app", RUNNER);
        world.enlist("two", "other", &default_email("demo-project"));
        world
    }

    fn account(&self, standing: Standing) {
        let entry =
            AccountEntry { email: RUNNER.to_owned(), project: "demo-project".to_owned(), standing, keys: Vec::new() };
        self.accounts.send_modify(|book| Arc::make_mut(book).insert(UNIQUE.into(), entry));
    }

    fn enlist(&self, id: &str, service: &str, account: &str) {
        let revision = Parent::new("demo-project", "us-central1").service(service).revision(format!("{service}-1"));
        let workload = Arc::new(Workload { owner: revision.into(), account: account.to_owned() });
        self.instances
            .send_modify(|book| drop(Arc::make_mut(book).entries.insert(InstanceId(id.to_owned()), workload)));
    }

    /// A connection, as the engine hands it on.
    async fn connect(&self, id: &str) -> TcpStream {
        let address = self.listener.local_addr().expect("bound");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), self.listener.accept());
        let theirs = accepted.expect("accepted").0;
        self.callers.send((theirs, InstanceId(id.to_owned()))).await.expect("somebody answers");
        client.expect("connected")
    }

    async fn raw(&self, id: &str, request: &str) -> Answer {
        let mut stream = self.connect(id).await;
        stream.write_all(request.as_bytes()).await.expect("sent");
        read(stream).await
    }

    /// A GET below `/computeMetadata/v1/`, as libraries send it.
    async fn get(&self, id: &str, path: &str) -> Answer {
        let head = "Host: metadata.google.internal\r\nMetadata-Flavor: Google\r\nConnection: close\r\n\r\n";
        self.raw(id, &format!("GET /computeMetadata/v1/{path} HTTP/1.1\r\n{head}")).await
    }

    async fn token(&self, id: &str) -> Value {
        let answer = self.get(id, "instance/service-accounts/default/token").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_str(&answer.body).expect("JSON")
    }

    async fn end(self) {
        let Self { callers, tasks, .. } = self;
        drop(callers);
        tasks.shutdown().ask();
        tasks.drain().await;
    }
}

async fn read(mut stream: TcpStream) -> Answer {
    let mut text = String::new();
    Clock::system().timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("in time").expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// What an ID token says.
fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64")).expect("JSON")
}

#[tokio::test]
async fn every_path_has_its_form() {
    let world = World::start().await;
    let number = project_number("demo-project");
    let account = format!(r#"{{"aliases":["default"],"email":"{RUNNER}","scopes":["{CLOUD_PLATFORM}"]}}"#);
    let (json, text) = ("application/json", "application/text");
    let whole = format!(
        r#"{{"instance":{{"id":"one","region":"projects/{number}/regions/us-central1","serviceAccounts":{{"default":{account},"{RUNNER}":{account}}},"zone":"projects/{number}/zones/us-central1-1"}},"project":{{"numericProjectId":{number},"projectId":"demo-project"}},"universe":{{"universeDomain":"googleapis.com"}}}}"#
    );
    let paths = format!("aliases default\nemail {RUNNER}\nscopes {CLOUD_PLATFORM}\n");
    for (path, kind, body) in [
        ("", text, "instance/\nproject/\nuniverse/\n".to_owned()),
        ("instance/", text, "id\nregion\nservice-accounts/\nzone\n".to_owned()),
        ("instance/?alt=json", json, r#"["id","region","service-accounts/","zone"]"#.to_owned()),
        ("instance/id", text, "one".to_owned()),
        ("instance/id?alt=json", json, "\"one\"".to_owned()),
        ("instance/region", text, format!("projects/{number}/regions/us-central1")),
        ("instance/zone", text, format!("projects/{number}/zones/us-central1-1")),
        ("instance/service-accounts/", text, format!("default/\n{RUNNER}/\n")),
        ("instance/service-accounts/default/", text, "aliases\nemail\nidentity\nscopes\ntoken\n".to_owned()),
        ("instance/service-accounts/default/email", text, RUNNER.to_owned()),
        ("instance/service-accounts/default/aliases", text, "default\n".to_owned()),
        ("instance/service-accounts/default/scopes", text, format!("{CLOUD_PLATFORM}\n")),
        ("instance/service-accounts/default/scopes?alt=json", json, format!("[\"{CLOUD_PLATFORM}\"]")),
        ("instance/service-accounts/runner%40demo-project.iam.gserviceaccount.com/email", text, RUNNER.to_owned()),
        ("instance/service-accounts/default/?recursive=true", json, account.clone()),
        ("instance/service-accounts/default/?recursive=true&alt=text", text, paths),
        ("project/", text, "numeric-project-id\nproject-id\n".to_owned()),
        ("project/project-id", text, "demo-project".to_owned()),
        ("project/project-id?recursive=true", text, "demo-project".to_owned()),
        ("project/numeric-project-id", text, number.to_string()),
        ("project/numeric-project-id?alt=json", json, number.to_string()),
        ("universe/universe-domain", text, "googleapis.com".to_owned()),
        ("?recursive=true", json, whole),
    ] {
        let answer = world.get("one", path).await;
        assert_eq!((answer.status, &answer.body), (200, &body), "{path}");
        for header in [
            format!("content-type: {kind}"),
            "metadata-flavor: google".to_owned(),
            "server: metadata server for serverless".to_owned(),
        ] {
            assert!(answer.head.lines().any(|line| line == header), "{path}: {header} in {}", answer.head);
        }
    }
    world.end().await;
}

#[tokio::test]
async fn what_is_refused_says_why() {
    let world = World::start().await;
    let flavor = "Metadata-Flavor: Google";
    let v1 = "/computeMetadata/v1";
    let identity = format!("{v1}/instance/service-accounts/default/identity");
    let token = format!("{v1}/instance/service-accounts/default/token");
    let long = "a".repeat(2049);
    for (line, headers, status, said) in [
        (format!("GET {v1}/"), "", 403, "Missing Metadata-Flavor:Google header."),
        (format!("GET {token}"), "Metadata-Flavor: google\r\n", 403, "Missing Metadata-Flavor:Google header."),
        (format!("GET {token}"), "Metadata-Flavor: Google\r\nX-Forwarded-For: 10.64.0.2\r\n", 403, "X-Forwarded-For"),
        (format!("POST {token}"), flavor, 405, "inappropriate"),
        (format!("GET {v1}/a'b&c"), flavor, 404, "/a&#39;b&amp;c</code> was not found"),
        (format!("GET {v1}/instance/name"), flavor, 404, "was not found"),
        (format!("GET {v1}/instance/service-accounts/other@p.iam.gserviceaccount.com/token"), flavor, 404, "not found"),
        (format!("GET {v1}/instance/service-accounts//token"), flavor, 404, "not found"),
        (format!("GET {v1}/instance/../project/project-id"), flavor, 404, "not found"),
        (format!("GET {token}/"), flavor, 404, "not found"),
        ("GET /computeMetadata/v1beta1/instance/id".to_owned(), flavor, 404, "not found"),
        ("GET /0.1/meta-data/".to_owned(), flavor, 404, "not found"),
        ("GET /latest/meta-data/".to_owned(), flavor, 404, "not found"),
        (format!("GET {v1}/project/project-id?alt=yaml"), flavor, 400, "alt must be 'text' or 'json', not 'yaml'"),
        (identity.clone().replace("/compute", "GET /compute"), flavor, 400, "non-empty audience parameter required"),
        (format!("GET {identity}?audience="), flavor, 400, "non-empty audience parameter required"),
        (format!("GET {identity}?audience={long}"), flavor, 400, "audience may have 2048 bytes and has 2049"),
        (format!("GET {identity}?audience=a%00b"), flavor, 400, "control characters"),
        (format!("GET {identity}?audience=a&format=long"), flavor, 400, "format must be 'standard' or 'full'"),
        (format!("GET {token}?scopes=a%22b"), flavor, 400, "'a\"b' is not a scope"),
        (format!("GET {token}?scopes={long}"), flavor, 400, "scopes may have 2048 bytes"),
        (format!("GET {v1}/instance/id?wait_for_change=true&timeout_sec=x"), flavor, 400, "timeout_sec"),
    ] {
        let headers = headers.trim_end();
        let request = format!("{line} HTTP/1.1\r\nHost: metadata\r\n{headers}\r\nConnection: close\r\n\r\n");
        let request = request.replace("\r\n\r\nConnection", "\r\nConnection");
        let answer = world.raw("one", &request).await;
        assert_eq!(answer.status, status, "{line} {headers}: {answer:?}");
        assert!(answer.body.contains(said), "{line}: {}", answer.body);
        assert!(answer.head.contains("metadata-flavor: google"), "{line}: {}", answer.head);
    }
    world.end().await;
}

#[tokio::test]
async fn directories_are_asked_with_a_slash_and_the_root_without_a_word() {
    let world = World::start().await;
    for (path, location) in [
        ("instance", "instance/"),
        ("instance?recursive=true", "instance/?recursive=true"),
        ("instance/service-accounts/default?recursive=true", "instance/service-accounts/default/?recursive=true"),
    ] {
        let answer = world.get("one", path).await;
        assert_eq!(answer.status, 301, "{path}");
        let location = format!("location: http://metadata.google.internal/computemetadata/v1/{location}");
        assert!(answer.head.lines().any(|line| line == location), "{}", answer.head);
    }
    let answer = world.raw("one", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "computeMetadata/\n"));
    let head = "HEAD /computeMetadata/v1/instance/id HTTP/1.1\r\nHost: a\r\nMetadata-Flavor: Google\r\nConnection: close\r\n\r\n";
    let answer = world.raw("one", head).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert!(answer.head.contains("content-length: 3"), "{}", answer.head);
    world.end().await;
}

#[tokio::test]
async fn two_instances_each_get_their_own_identity_on_one_kept_connection_too() {
    let world = World::start().await;
    let mine = world.token("one").await;
    let theirs = world.token("two").await;
    let who = |token: &Value| {
        let text = token["access_token"].as_str().expect("a token");
        world.tokens.verify_access(text).expect("it is ours").who.email()
    };
    assert_eq!((who(&mine).as_str(), who(&theirs)), (RUNNER, default_email("demo-project")));
    assert_eq!((&mine["token_type"], &mine["expires_in"]), (&json!("Bearer"), &json!(3600)));

    let mut kept = world.connect("two").await;
    for _ in 0..3 {
        let request = "GET /computeMetadata/v1/instance/id HTTP/1.1\r\nHost: one\r\nMetadata-Flavor: Google\r\n\r\n";
        kept.write_all(request.as_bytes()).await.expect("sent");
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\ntwo") {
            assert_ne!(kept.read_buf(&mut seen).await.expect("an answer"), 0, "{}", String::from_utf8_lossy(&seen));
        }
    }
    drop(kept);
    world.end().await;
}

#[tokio::test]
async fn identity_tokens_say_who_for_whom_and_as_much_as_was_asked() {
    let world = World::start().await;
    let path = "instance/service-accounts/default/identity?audience=https%3A%2F%2Fapp.example%2F";
    for (more, email) in [("", Value::Null), ("&format=standard", Value::Null), ("&format=full", json!(RUNNER))] {
        let answer = world.get("one", &format!("{path}{more}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let claims = claims(&answer.body);
        assert_eq!(
            (&claims["iss"], &claims["aud"], &claims["sub"], &claims["azp"], &claims["email"]),
            (&json!(ISSUER), &json!("https://app.example/"), &json!(UNIQUE), &json!(UNIQUE), &email)
        );
        assert_eq!((&claims["iat"], &claims["exp"]), (&json!(START), &json!(START + 3600)));
        let verified = world.tokens.verify_id(&answer.body, &["https://app.example/"]).expect("it is ours");
        assert_eq!(verified.who.email(), RUNNER);
    }
    let of_default = world.get("two", path).await;
    assert_eq!(claims(&of_default.body)["sub"], json!(default_unique_id("demo-project")));
    world.end().await;
}

#[tokio::test]
async fn an_access_token_has_the_scopes_that_are_asked_for() {
    let world = World::start().await;
    for (query, scopes) in [
        ("", vec![CLOUD_PLATFORM]),
        ("?scopes=", vec![CLOUD_PLATFORM]),
        ("?scopes=https%3A%2F%2Fa%2Fb,c", vec!["https://a/b", "c"]),
        ("?scopes=c+d", vec!["c", "d"]),
    ] {
        let answer = world.get("one", &format!("instance/service-accounts/default/token{query}")).await;
        let token: Value = serde_json::from_str(&answer.body).expect("JSON");
        let verified = world.tokens.verify_access(token["access_token"].as_str().expect("a token")).expect("ours");
        assert_eq!(verified.scopes, scopes, "{query}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_token_is_kept_until_five_minutes_before_its_end() {
    let world = World::start().await;
    let first = world.token("one").await;
    world.hand.advance(Duration::from_secs(3299));
    let same = world.token("one").await;
    assert_eq!((&same["access_token"], &same["expires_in"]), (&first["access_token"], &json!(301)));
    world.hand.advance(Duration::from_secs(1));
    let next = world.token("one").await;
    assert_ne!(next["access_token"], first["access_token"]);
    assert_eq!(next["expires_in"], json!(3600));
    world.end().await;
}

#[tokio::test]
async fn an_account_that_is_switched_off_or_gone_gets_no_token_and_not_a_kept_one_either() {
    let world = World::start().await;
    world.token("one").await;
    let paths = ["token", "identity?audience=a"];
    for (standing, status, said) in [
        (Standing::Disabled, 403, "Service account runner@demo-project.iam.gserviceaccount.com is disabled."),
        (Standing::Gone, 404, "Gaia id not found for email runner@demo-project.iam.gserviceaccount.com"),
    ] {
        world.account(standing);
        for path in paths {
            let answer = world.get("one", &format!("instance/service-accounts/default/{path}")).await;
            assert_eq!(answer.status, status, "{answer:?}");
            assert!(answer.body.contains(said), "{}", answer.body);
        }
        let email = world.get("one", "instance/service-accounts/default/email").await;
        assert_eq!((email.status, email.body.as_str()), (200, RUNNER));
    }
    world.accounts.send_modify(|book| Arc::make_mut(book).remove(UNIQUE));
    assert_eq!(world.get("one", "instance/service-accounts/default/token").await.status, 404);
    world.account(Standing::Active);
    world.token("one").await;
    world.end().await;
}

#[tokio::test]
async fn an_instance_that_is_not_known_yet_waits_and_one_that_is_gone_is_cut_off() {
    let world = World::start().await;
    let get = world.get("late", "instance/id");
    let learn = async {
        tokio::task::yield_now().await;
        world.enlist("late", "app", RUNNER);
    };
    assert_eq!(tokio::join!(get, learn).0.body, "late");

    let never = world.get("never", "instance/id");
    let pass = async {
        loop {
            tokio::task::yield_now().await;
            world.hand.advance(Duration::from_millis(100));
        }
    };
    let answer = tokio::select! {
        answer = never => answer,
        () = pass => unreachable!("it never ends"),
    };
    assert_eq!(answer.status, 503, "{answer:?}");

    let kept = world.connect("two").await;
    // An answer, so that it is known who it is.
    world.get("two", "instance/id").await;
    world.instances.send_modify(|book| drop(Arc::make_mut(book).entries.remove(&InstanceId("two".to_owned()))));
    let mut kept = kept;
    let mut rest = Vec::new();
    Clock::system().timeout(PATIENCE, kept.read_to_end(&mut rest)).await.expect("in time").expect("it is closed");
    assert!(rest.is_empty());
    world.end().await;
}

#[tokio::test]
async fn one_instance_takes_neither_the_connections_nor_the_signers_of_others() {
    let world = World::start().await;
    let mut silent = Vec::new();
    for _ in 0..32 {
        silent.push(world.connect("one").await);
    }
    let mut refused = world.connect("one").await;
    let mut nothing = Vec::new();
    Clock::system().timeout(PATIENCE, refused.read_to_end(&mut nothing)).await.expect("in time").expect("closed");
    assert!(nothing.is_empty());
    world.token("two").await;
    drop(silent);

    let mut statuses = Vec::new();
    for number in 0..62 {
        let path = format!("instance/service-accounts/default/identity?audience=a{number}");
        statuses.push(world.get("two", &path).await.status);
    }
    // One went to the token.
    assert!(statuses[..59].iter().all(|&status| status == 200), "{statuses:?}");
    assert_eq!(statuses[59..], [429; 3]);
    let kept = world.get("two", "instance/service-accounts/default/identity?audience=a58").await;
    assert_eq!(kept.status, 200, "what is kept costs nothing");
    world.hand.advance(Duration::from_millis(200));
    let next = world.get("two", "instance/service-accounts/default/identity?audience=b").await;
    assert_eq!(next.status, 200);
    world.end().await;
}

#[tokio::test]
async fn a_change_is_waited_for_as_long_as_was_said() {
    let world = World::start().await;
    let now = world.get("one", "instance/id").await;
    let etag = now.head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("a name").to_owned();
    // Who knows something else is told at once: the clock stands still.
    let other = world.get("one", "instance/id?wait_for_change=true&last_etag=0").await;
    assert_eq!(other.body, "one");
    for query in [format!("&last_etag={etag}&timeout_sec=50"), "&timeout_sec=50".to_owned()] {
        let path = format!("instance/id?wait_for_change=true{query}");
        let mut waiting = Box::pin(world.get("one", &path));
        let begun = world.hand.elapsed();
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut waiting => break answer,
                () = tokio::task::yield_now() => world.hand.advance(Duration::from_millis(100)),
            }
        };
        assert_eq!((answer.status, answer.body.as_str()), (200, "one"));
        assert!(world.hand.elapsed() - begun >= Duration::from_secs(50));
    }
    world.end().await;
}

#[tokio::test]
async fn a_head_without_bounds_is_refused() {
    let world = World::start().await;
    let many: String = (0..70).map(|number| format!("A{number}: b\r\n")).collect();
    let long = format!("A: {}\r\n", "b".repeat(20 << 10));
    for headers in [many, long] {
        let request = format!("GET /computeMetadata/v1/instance/id HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let answer = world.raw("one", &request).await;
        assert_eq!(answer.status, 431, "{answer:?}");
    }
    world.end().await;
}
