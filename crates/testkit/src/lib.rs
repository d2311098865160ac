//! The whole server in this process, for tests: real HTTP, real store, real registry; virtual time, fake engine.
//!
//! A [`World`] runs on the current-thread runtime of its test, so that everything it logs on the way is seen:
//! it fails on any WARN or ERROR that the test did not list with [`World::allow`].

mod log;

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use tempfile::TempDir;
use updraft::{
    config::{Config, Layer, combine},
    image::{File, Process, archive},
    server::{EngineChoice, Options, Server},
};
use updraft_base::{Clock, VirtualClock};
use updraft_engine::FakeEngine;

use log::Log;

/// How long a test may take in real time before something must hang.
const PATIENCE: Duration = Duration::from_secs(60);
/// Virtual time that passes in one real millisecond while [`World::drive`] waits: what is on its way through real
/// sockets must not meet a deadline on the way.
const STEP: Duration = Duration::from_millis(20);
/// The same while [`World::until`] waits: nothing is on its way then, and idle times are long.
const STRIDE: Duration = Duration::from_millis(250);

/// A server with a fake engine, and the hand on its clock.
pub struct World {
    /// The server.
    pub server: Server,
    /// What runs its containers.
    pub engine: Arc<FakeEngine>,
    /// Its time.
    pub hand: Arc<VirtualClock>,
    client: reqwest::Client,
    log: Log,
    dir: TempDir,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

// === impl World ===

impl World {
    /// A new world at the beginning of 2026.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with other settings than the usual ones.
    pub async fn start_with(others: &[(&'static str, &str)]) -> Self {
        let log = Log::capture();
        let dir = TempDir::with_prefix("updraft-world-").expect("a temporary directory");
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        let (clock, hand) = Clock::stopped_at(start);
        let engine = FakeEngine::new(clock.clone());
        let text = |value: String| (value, None);
        let settings = [
            ("data-dir", text(dir.path().join("data").display().to_string())),
            ("listen", text("127.0.0.1:0".to_owned())),
            ("registry-listen", text("127.0.0.1:0".to_owned())),
        ];
        let others = others.iter().map(|(key, value)| (*key, text((*value).to_owned()))).collect();
        let layers = [Layer(settings.into()), Layer(others)];
        let config = Config::from_resolved(&combine(&layers)).expect("a valid configuration");
        let options = Options { config, engine: EngineChoice::Given(engine.clone()), clock };
        let server = Server::start(options).await.expect("the server starts");
        Self { server, engine, hand, client: reqwest::Client::new(), log, dir }
    }

    /// Lists a WARN or ERROR that this test expects, by a part of its text, with the reason why.
    pub fn allow(&self, part: &'static str, _reason: &'static str) {
        self.log.allow(part);
    }

    /// Waits for `work` while virtual time flows, 20 ms in each real millisecond.
    pub async fn drive<F: Future>(&self, work: F) -> F::Output {
        let real = Clock::system();
        let deadline = real.instant() + PATIENCE;
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                output = &mut work => return output,
                () = real.sleep(Duration::from_millis(1)) => self.hand.advance(STEP),
            }
            assert!(real.instant() < deadline, "not within {PATIENCE:?}; {}", self.log.all());
        }
    }

    /// Lets virtual time flow until `condition` holds.
    pub async fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let real = Clock::system();
        let deadline = real.instant() + PATIENCE;
        while !condition() {
            assert!(real.instant() < deadline, "{what}: not within {PATIENCE:?}; {}", self.log.all());
            real.sleep(Duration::from_millis(1)).await;
            self.hand.advance(STRIDE);
        }
    }

    /// Puts an image of one file into the registry, as `localhost/{name}:latest`.
    pub async fn image(&self, name: &str) -> String {
        let reference = format!("localhost/{name}:latest");
        let files = [File { path: "app", contents: name.as_bytes(), mode: 0o755 }];
        let process = Process { entrypoint: &["/app"], ..Process::default() };
        let bytes = archive(&reference, &files, &process).expect("in memory");
        let mut request = self.client.post(self.url("/updraft/v1/images:load")).body(bytes);
        if let Some(token) = self.kept_token() {
            request = request.bearer_auth(token);
        }
        let answer = self.send(request).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        reference
    }

    /// A form that is sent to an address of the API, as it was told.
    pub async fn form(&self, url: &str, body: String) -> Answer {
        let form = "application/x-www-form-urlencoded";
        self.send(self.client.post(url).header("content-type", form).body(body)).await
    }

    /// A call of the API.
    pub async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        let method = method.parse().expect("a method");
        let mut request = self.client.request(method, self.url(path));
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        self.send(request).await
    }

    /// A call of the API by who shows a bearer token.
    pub async fn call_as(&self, token: &str, method: &str, path: &str, body: Value) -> Answer {
        let method = method.parse().expect("a method");
        let mut request = self.client.request(method, self.url(path)).bearer_auth(token);
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        self.send(request).await
    }

    /// The token of its operator, with `auth = token`.
    pub fn token(&self) -> String {
        self.kept_token().expect("a token")
    }

    /// The same, if there is one.
    fn kept_token(&self) -> Option<String> {
        let path = updraft_identity::token_path(&self.dir.path().join("data"));
        Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
    }

    /// A call of the API that must succeed, with its answer as JSON.
    pub async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.call(method, path, body).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
        serde_json::from_str(&answer.body).expect("JSON")
    }

    /// Waits until the operation `operation` is done; returns it.
    pub async fn done(&self, operation: &Value) -> Value {
        let name = operation["name"].as_str().expect("an operation").to_owned();
        self.drive(async {
            loop {
                let now = self.ok("POST", &format!("/v2/{name}:wait"), serde_json::json!({"timeout": "5s"})).await;
                if now["done"] == true {
                    return now;
                }
            }
        })
        .await
    }

    /// Creates a service and waits until it serves; everybody may call it.
    pub async fn deploy(&self, service: &str, template: Value) -> Value {
        let body = serde_json::json!({"template": template, "invokerIamDisabled": true});
        let path = format!("/v2/{}/services?serviceId={service}", self.server.default_parent());
        let operation = self.done(&self.ok("POST", &path, body).await).await;
        assert!(operation["error"].is_null(), "{operation:#}");
        operation["response"].clone()
    }

    /// A request to a service, by the host of its URL.
    pub async fn get(&self, url: &str, path: &str) -> Answer {
        self.drive(self.send(self.to_service(url, path))).await
    }

    /// The same by who shows a token.
    pub async fn get_as(&self, token: &str, url: &str, path: &str) -> Answer {
        self.drive(self.send(self.to_service(url, path).bearer_auth(token))).await
    }

    fn to_service(&self, url: &str, path: &str) -> reqwest::RequestBuilder {
        let host = url.trim_start_matches("http://").split(['/', ':']).next().unwrap_or_default().to_owned();
        self.client.get(self.url(path)).header("host", host)
    }

    /// Ends the world: the server must stop, and must not have complained.
    pub async fn end(self) {
        let Self { server, hand, log, dir, .. } = self;
        let real = Clock::system();
        let mut stopping = std::pin::pin!(server.stop());
        loop {
            tokio::select! {
                biased;
                () = &mut stopping => break,
                () = real.sleep(Duration::from_millis(1)) => hand.advance(STEP),
            }
        }
        drop(dir);
        log.check();
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        Answer { status, body: answer.text().await.expect("a body") }
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("address", &self.server.address).finish_non_exhaustive()
    }
}
