//! Worlds: the front door over a real fleet and the fake engine, asked by real clients.

mod access;
mod affinity;
mod connections;
mod contract;
mod exchange;
mod frozen;
mod grpc;
mod heads;
mod invoker;
mod limits;
mod refusals;
mod resting;
mod rpc;
mod scale;
mod simulation;
mod smuggling;
mod tls;
mod told;
mod websocket;
mod wire;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use updraft_base::{Clock, OnFailure, Tasks, VirtualClock};
use updraft_engine::FakeEngine;
use updraft_fleet::{Fleet, FleetConfig, FleetDeps};
use updraft_identity::{AuthMode, Authenticator, Tokens};
use updraft_model::{
    channel::{BookEntry, Check, LogLine, RequestRecord, RevisionBook},
    cpu::CpuTerms,
    iam::{Binding, InvokerAccess, Invokers, Policy, ROLE_INVOKER},
    instance::{ContainerSpec, Egress, InstanceSpec, Limits},
    name::{Parent, RevisionName},
    revision::{Probe, ProbeKind, Protocol, ScalingTargets},
    route::{Route, RouteTable, RouteTarget, SessionAffinity},
    service::Ingress,
};

use crate::{Body, Fallback, Front, Proxy, ProxyConfig, ProxyDeps};

/// The admin token of every world.
const TOKEN: &str = "0123456789-token-of-the-tests";
/// How long a test waits, in real time, for what must happen.
const DEADLINE: Duration = Duration::from_secs(20);
/// So many entries of the log find room while nobody takes them.
const LOG_ROOM: usize = 64;
const DOMAIN: &str = "run.localhost";
/// The host of the service `app`.
const APP: &str = "app-1.us-central1.run.localhost";

struct World {
    hand: Arc<VirtualClock>,
    engine: Arc<FakeEngine>,
    book: watch::Sender<Arc<RevisionBook>>,
    routes: watch::Sender<Arc<RouteTable>>,
    fleet: Fleet,
    address: SocketAddr,
    server: Tasks,
    tasks: Tasks,
    registry: Registry,
    secure: Option<Secure>,
    tokens: Tokens,
    _secrets: tempfile::TempDir,
    /// What the log of the requests gets.
    requests: mpsc::Receiver<RequestRecord>,
    _logs: mpsc::Receiver<LogLine>,
}

/// The TLS port, and whom to trust there.
struct Secure {
    address: SocketAddr,
    authority: Arc<str>,
    _dir: tempfile::TempDir,
}

struct Api;

impl Fallback for Api {
    fn call(&self, request: Request<Incoming>) -> BoxFuture<'static, Response<Body>> {
        async move { Response::new(Body::whole(format!("API {}", request.uri().path()))) }.boxed()
    }
}

impl World {
    async fn new() -> Self {
        Self::configured(ProxyConfig::default()).await
    }

    async fn configured(config: ProxyConfig) -> Self {
        let front = Front::bind("127.0.0.1:0").await.expect("loopback has a free port");
        Self::behind(front, (config, FleetConfig::default()), None).await
    }

    /// A world with a TLS port.
    async fn secured() -> Self {
        let (dir, tls) = tls::certificates();
        let front = Front::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let front = front.and_tls(listener, tls.config());
        let address = front.tls_addr().expect("it is bound").expect("there is one");
        let authority = tls.authority().expect("our own");
        Self::behind(front, Default::default(), Some(Secure { address, authority, _dir: dir })).await
    }

    async fn behind(front: Front, (config, fleet): (ProxyConfig, FleetConfig), secure: Option<Secure>) -> Self {
        let (clock, hand) = Clock::stopped_at(SystemTime::UNIX_EPOCH);
        let engine = FakeEngine::new(clock.clone());
        let (tasks, server) = (Tasks::new(), Tasks::new());
        let (book, book_seen) = watch::channel(Arc::default());
        let (routes, routes_seen) = watch::channel(Arc::default());
        let (health, _) = watch::channel(Arc::default());
        let (logs, kept) = mpsc::channel(100);
        let mut registry = Registry::default();
        let deps = FleetDeps {
            engine: engine.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            config: fleet,
            book: book_seen,
            task_book: watch::channel(Arc::default()).1,
            task_ends: mpsc::channel(1).0,
            health,
            logs,
            instances: watch::Sender::default(),
            adopted: Vec::new(),
        };
        let fleet = Fleet::start(deps, &mut registry);
        let (log, requests) = mpsc::channel(LOG_ROOM);
        let secrets = tempfile::TempDir::new().expect("a directory");
        std::fs::write(updraft_identity::token_path(secrets.path()), TOKEN).expect("writable");
        std::fs::set_permissions(
            updraft_identity::token_path(secrets.path()),
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .expect("ours");
        let auth = Authenticator::open(AuthMode::Token, secrets.path()).expect("a token");
        let accounts = watch::channel(Arc::new(invoker::accounts())).1;
        let tokens = Tokens::open(secrets.path(), "http://127.0.0.1:8080", accounts, clock.clone()).expect("opens");
        let auth = auth.with_tokens(tokens.clone()).with_issuer(invoker::people(&clock));
        let (fleet_of, tasks_of) = (fleet.clone(), tasks.clone());
        let deps =
            ProxyDeps { fleet: fleet_of, routes: routes_seen, auth, clock, tasks: tasks_of, requests: log, config };
        let proxy = Proxy::new(deps, &mut registry);
        let address = front.local_addr().expect("it is bound");
        let run = front.run(proxy, DOMAIN.to_owned(), Arc::new(Api), server.clone());
        server.spawn("front", OnFailure::Stop, run);
        Self {
            hand,
            engine,
            book,
            routes,
            fleet,
            address,
            server,
            tasks,
            registry,
            secure,
            tokens,
            _secrets: secrets,
            requests,
            _logs: kept,
        }
    }

    /// A world with the service `app` at [`APP`].
    async fn with(app: App) -> Self {
        let world = Self::new().await;
        world.serve(&app, &[(app.revision(1), 100)]);
        world
    }

    /// Makes these revisions of `app` startable and gives them their shares.
    fn serve(&self, app: &App, shares: &[(RevisionName, u32)]) {
        let entries = shares.iter().map(|(name, _)| (Arc::new(name.clone()), Arc::new(app.entry(name)))).collect();
        // The book first, as control does it.
        self.book.send_replace(Arc::new(RevisionBook { entries, is_whole: true }));
        let target = |(revision, percent): &(RevisionName, u32)| RouteTarget {
            revision: revision.clone(),
            percent: *percent,
            timeout: app.timeout,
            protocol: app.protocol,
            affinity: app.affinity,
        };
        let route = Route {
            service: app.revision(1).service,
            ingress: app.ingress,
            invoker: app.access(),
            targets: shares.iter().map(target).collect(),
        };
        let hosts = [(APP.into(), Arc::new(route))].into_iter().collect();
        self.routes.send_replace(Arc::new(RouteTable { hosts, is_whole: true, ..RouteTable::default() }));
    }

    fn client(&self) -> TestClient {
        TestClient::new(self.address)
    }

    /// One GET to [`APP`] on a connection of its own.
    async fn get(&self, path: &str) -> (StatusCode, String) {
        self.client().get(path).await
    }

    /// The value of a metric.
    fn metric(&self, line: &str) -> u64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes everything");
        let value = text.lines().find_map(|found| found.strip_prefix(line)).map(str::trim);
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {line} in:\n{text}"))
    }

    /// The next entry of the log of the requests.
    async fn logged(&mut self) -> RequestRecord {
        let record = Clock::system().timeout(DEADLINE, self.requests.recv()).await;
        record.expect("an entry in time").expect("the log is open")
    }

    /// Waits until no instance has a request.
    async fn until_idle(&self) {
        until("no request is in flight", || self.engine.records().iter().all(|record| record.in_flight() == 0)).await;
    }

    /// The server ends; nothing is left.
    async fn end(self) {
        self.server.shutdown().ask();
        self.server.drain().await;
        self.fleet.drain().await;
        assert_eq!(self.engine.live(), 0);
        self.tasks.drain().await;
    }
}

/// The service that the worlds have.
#[derive(Clone, Copy)]
struct App {
    script: &'static [&'static str],
    /// A server of the test that answers in the container's place.
    behind: Option<SocketAddr>,
    protocol: Protocol,
    concurrency: u32,
    max: u32,
    timeout: Duration,
    affinity: SessionAffinity,
    ingress: Ingress,
    /// Who may call, beside who holds the admin token; `None`: everybody.
    invokers: Option<&'static [&'static str]>,
}

impl Default for App {
    fn default() -> Self {
        Self {
            script: &["serve"],
            behind: None,
            protocol: Protocol::Http1,
            concurrency: 80,
            max: 5,
            timeout: Duration::from_secs(300),
            affinity: SessionAffinity::None,
            ingress: Ingress::All,
            invokers: None,
        }
    }
}

impl App {
    fn revision(&self, number: u32) -> RevisionName {
        Parent::new("demo-project", "us-central1").service("app").revision(format!("app-{number}"))
    }

    fn access(&self) -> InvokerAccess {
        let Some(members) = self.invokers else { return InvokerAccess::Open };
        let members = members.iter().map(|&member| member.to_owned()).collect();
        let binding = Binding { role: ROLE_INVOKER.to_owned(), members, condition: None };
        let (hosts, audiences) = (vec![APP.into()], vec!["the-app".to_owned()]);
        InvokerAccess::Restricted(Arc::new(Invokers { hosts, audiences, policy: Policy { bindings: vec![binding] } }))
    }

    fn steps(&self) -> Vec<String> {
        match self.behind {
            Some(address) => vec![format!("behind={address}")],
            None => self.script.iter().map(|&step| step.to_owned()).collect(),
        }
    }

    fn entry(&self, revision: &RevisionName) -> BookEntry {
        let spec = InstanceSpec {
            owner: revision.clone().into(),
            ingress: ContainerSpec {
                name: "app-1".to_owned(),
                image: "registry.test/app@sha256:00".to_owned(),
                args: self.steps(),
                env: vec![("ANSWER".to_owned(), revision.revision.clone())],
                limits: Limits { cpu_millis: 1000, memory_bytes: 512 << 20, pids: 100 },
                ..ContainerSpec::default()
            },
            sidecars: Vec::new(),
            volumes: Vec::new(),
            port: 8080,
            egress: Egress::All,
        };
        let kind = ProbeKind::Tcp { port: 8080 };
        BookEntry {
            spec: Arc::new(spec),
            secrets: Arc::default(),
            concurrency: self.concurrency,
            min: 0,
            max: self.max,
            targets: ScalingTargets::default(),
            startup_probe: Some(Probe { initial_delay: 0, timeout: 240, period: 240, failure_threshold: 1, kind }),
            sidecar_probes: BTreeMap::new(),
            health_probes: BTreeMap::new(),
            cpu: CpuTerms::default(),
            check: Check::Done,
            account: String::new(),
        }
    }
}

/// A client with its own connections.
#[derive(Clone)]
struct TestClient {
    client: Client<HttpConnector, Empty<Bytes>>,
    address: SocketAddr,
}

impl TestClient {
    fn new(address: SocketAddr) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), address }
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        self.send(Request::get(format!("http://{}{path}", self.address)).header("host", APP)).await
    }

    async fn send(&self, request: http::request::Builder) -> (StatusCode, String) {
        let request = request.body(Empty::new()).expect("well formed");
        let response = self.client.request(request).await.expect("the server answers");
        let status = response.status();
        let body = response.into_body().collect().await.expect("the answer is whole").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}

/// Waits until `predicate` holds; virtual time stands still meanwhile.
async fn until(what: &str, mut predicate: impl FnMut() -> bool) {
    let clock = Clock::system();
    let begun = clock.instant();
    while !predicate() {
        assert!(clock.instant() - begun < DEADLINE, "never happened: {what}");
        clock.sleep(Duration::from_millis(1)).await;
    }
}
