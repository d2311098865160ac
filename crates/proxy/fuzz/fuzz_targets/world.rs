//! The front door over a real fleet and the fake engine, whose one container is [`crate::container`]; and what an input
//! does there.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{Request, Response};
use hyper::body::Incoming;
use prometheus_client::registry::Registry;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::{JoinHandle, yield_now},
    time::{Instant, timeout},
};
use updraft_base::{Clock, OnFailure, Tasks, VirtualClock};
use updraft_engine::FakeEngine;
use updraft_fleet::{Fleet, FleetConfig, FleetDeps};
use updraft_identity::{AuthMode, Authenticator};
use updraft_model::{
    channel::{BookEntry, Check, LogLine, RequestRecord, RevisionBook},
    cpu::CpuTerms,
    iam::InvokerAccess,
    instance::{ContainerSpec, Egress, InstanceSpec, Limits},
    name::{Parent, RevisionName},
    revision::{Probe, ProbeKind, Protocol, ScalingTargets},
    route::{Route, RouteTable, RouteTarget, SessionAffinity},
    service::Ingress,
};
use updraft_proxy::{Body, Fallback, Front, Proxy, ProxyConfig, ProxyDeps};

use crate::{
    answers,
    check::{self, Read},
    container::{self, Stage},
    input::Input,
    model,
};

const TOKEN: &str = "0123456789-token-of-the-tests";
const DOMAIN: &str = "t";
/// How long, in real time, what must happen may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// Requests that the one instance takes at a time.
const PLACES: u32 = 4;
/// So often in a row nothing happens once everybody waits for somebody else.
const STILL: u32 = 20;
/// Longer than the door waits for the news that an instance ended.
const PATIENCE: Duration = Duration::from_millis(600);
/// So often that much time passes before something must have happened; in all less than a request may take.
const STEPS: u32 = 10;

pub(crate) struct World {
    hand: Arc<VirtualClock>,
    fleet: Fleet,
    revision: RevisionName,
    address: SocketAddr,
    stage: Rc<Stage>,
    end: watch::Sender<u64>,
    requests: mpsc::Receiver<RequestRecord>,
    _kept: (watch::Sender<Arc<RevisionBook>>, watch::Sender<Arc<RouteTable>>, mpsc::Receiver<LogLine>, Tasks, Tasks),
}

struct Api;

impl Fallback for Api {
    fn call(&self, _: Request<Incoming>) -> BoxFuture<'static, Response<Body>> {
        async { Response::new(Body::whole("API".to_owned())) }.boxed()
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        // A socket whose other end is gone would end the process, as Rust's own `main` sees to that it does not. Once
        // it is listened to, the signal does nothing for good.
        drop(signal(SignalKind::pipe()).expect("a handler"));
        let (stage, (end, ends)) = (Rc::<Stage>::default(), watch::channel(0));
        let behind = container::start(stage.clone(), ends).await;
        let (clock, hand) = Clock::stopped_at(SystemTime::UNIX_EPOCH);
        let (tasks, server) = (Tasks::new(), Tasks::new());
        let revision = Parent::new("p", "l").service("app").revision("app-1".to_owned());
        let entries = [(Arc::new(revision.clone()), Arc::new(entry(&revision, behind)))].into_iter().collect();
        let (book, book_seen) = watch::channel(Arc::new(RevisionBook { entries, is_whole: true }));
        let (routes, routes_seen) = watch::channel(Arc::new(routes(&revision)));
        let (health, _) = watch::channel(Arc::default());
        let (logs, lines) = mpsc::channel(100);
        let mut registry = Registry::default();
        let deps = FleetDeps {
            engine: FakeEngine::new(clock.clone()),
            clock: clock.clone(),
            tasks: tasks.clone(),
            config: FleetConfig { freeze_after: None, ..FleetConfig::default() },
            book: book_seen,
            task_book: watch::channel(Arc::default()).1,
            task_ends: mpsc::channel(1).0,
            health,
            logs,
            instances: watch::Sender::default(),
            adopted: Vec::new(),
        };
        let fleet = Fleet::start(deps, &mut registry);
        let (log, requests) = mpsc::channel(1000);
        let deps = ProxyDeps {
            fleet: fleet.clone(),
            routes: routes_seen,
            auth: authenticator(),
            clock,
            tasks: tasks.clone(),
            requests: log,
            config: ProxyConfig::default(),
        };
        let proxy = Proxy::new(deps, &mut registry);
        let front = Front::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = front.local_addr().expect("it is bound");
        let run = front.run(proxy, DOMAIN.to_owned(), Arc::new(Api), server.clone());
        server.spawn("front", OnFailure::Stop, run);
        let kept = (book, routes, lines, tasks, server);
        Self { hand, fleet, revision, address, stage, end, requests, _kept: kept }
    }

    /// One input: a connection from its begin to its end, and the judgement.
    pub(crate) async fn run(&mut self, input: &Input) {
        self.stage.set(input);
        let mut client = Client::connect(self.address, &self.stage).await;
        let pause = if input.pauses { input.client.len() / 2 } else { 0 };
        let (first, second) = input.client.split_at(pause);
        client.write(first).await;
        if input.pauses {
            self.quiet().await;
        }
        client.write(second).await;
        self.quiet().await;
        self.hand.advance(PATIENCE);
        self.quiet().await;
        if input.abandons {
            self.end_connections();
            self.quiet().await;
        }
        let client = client.end(input.leaves).await;
        self.settle(&client).await;
        self.judge(input, &client);
        self.all_places_are_free().await;
        while self.requests.try_recv().is_ok() {}
    }

    /// Lets everybody do what there is to do, until all wait.
    async fn quiet(&self) {
        let (mut still, mut seen) = (0, self.stage.progress.get());
        while still < STILL {
            yield_now().await;
            let now = self.stage.progress.get();
            still = if now == seen { still + 1 } else { 0 };
            seen = now;
        }
    }

    fn end_connections(&self) {
        self.end.send_modify(|end| *end += 1);
    }

    /// After the end of the client and then of the container no connection is left.
    async fn settle(&self, client: &Ended) {
        let begun = Instant::now();
        let mut steps = STEPS;
        loop {
            self.quiet().await;
            self.end_connections();
            self.quiet().await;
            if client.is_closed() && self.stage.open.get() == 0 {
                return;
            }
            assert!(begun.elapsed() < DEADLINE, "a connection does not end");
            if steps > 0 {
                steps -= 1;
                self.hand.advance(PATIENCE);
            } else {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    fn judge(&self, input: &Input, client: &Ended) {
        let mut requests = 0;
        for seen in &*self.stage.seen.borrow() {
            let mut rest = &seen.bytes[..seen.upgraded_at.unwrap_or(seen.bytes.len())];
            while let Read::Whole(length) = check::request(rest) {
                requests += 1;
                rest = &rest[length..];
            }
        }
        let most = model::most_requests(&input.client);
        assert!(requests <= most, "the container saw {requests} requests of {most}");
        let output = client.output.borrow();
        let speaks = |start: &[u8]| output.starts_with(&start[..start.len().min(output.len())]);
        // An answer of HTTP/1, or the length of SETTINGS.
        assert!(speaks(b"HTTP/1.") || speaks(&[0, 0]), "not HTTP: {}", output.escape_ascii());
        answers::judge(&output, &input.client, most);
    }

    /// Nothing holds a place of the instance any more: all of them can be had at once.
    async fn all_places_are_free(&self) {
        let places = (0..PLACES).map(|_| self.fleet.admit(&self.revision));
        let mut places = pin!(futures::future::try_join_all(places));
        for _ in 0..STEPS {
            tokio::select! {
                biased;
                slots = &mut places => return drop(slots.expect("places are given")),
                () = self.quiet() => self.hand.advance(PATIENCE),
            }
        }
        let slots = timeout(DEADLINE, places).await;
        slots.expect("a place is taken still").expect("places are given");
    }
}

fn authenticator() -> Authenticator {
    let secrets = tempfile::TempDir::new().expect("a directory");
    let path = updraft_identity::token_path(secrets.path());
    std::fs::write(&path, TOKEN).expect("writable");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("ours");
    Authenticator::open(AuthMode::Token, secrets.path()).expect("a token")
}

/// `a.t` is open to all, `b.t` to callers with the token, `c.t` to nobody outside; a client of `d.t` stays with its
/// instance. There is one revision behind all of them.
fn routes(revision: &RevisionName) -> RouteTable {
    let rows = [
        ("a.t", InvokerAccess::Open, Ingress::All, SessionAffinity::None),
        ("b.t", InvokerAccess::default(), Ingress::All, SessionAffinity::None),
        ("c.t", InvokerAccess::Open, Ingress::Internal, SessionAffinity::None),
        ("d.t", InvokerAccess::Open, Ingress::All, SessionAffinity::Client),
    ];
    let route = |invoker, ingress, affinity| Route {
        service: revision.service.clone(),
        ingress,
        invoker,
        targets: vec![RouteTarget {
            revision: revision.clone(),
            percent: 100,
            timeout: Duration::from_secs(300),
            protocol: Protocol::Http1,
            affinity,
        }],
    };
    let hosts = rows
        .into_iter()
        .map(|(host, invoker, ingress, affinity)| (host.into(), Arc::new(route(invoker, ingress, affinity))))
        .collect();
    RouteTable { hosts, is_whole: true, ..RouteTable::default() }
}

fn entry(revision: &RevisionName, behind: SocketAddr) -> BookEntry {
    let spec = InstanceSpec {
        owner: revision.clone().into(),
        ingress: ContainerSpec {
            name: "app-1".to_owned(),
            image: "registry.test/app@sha256:00".to_owned(),
            args: vec![format!("behind={behind}")],
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
        concurrency: PLACES,
        min: 0,
        max: 1,
        targets: ScalingTargets::default(),
        startup_probe: Some(Probe { initial_delay: 0, timeout: 240, period: 240, failure_threshold: 1, kind }),
        sidecar_probes: BTreeMap::new(),
        health_probes: BTreeMap::new(),
        cpu: CpuTerms::default(),
        check: Check::Done,
        account: String::new(),
    }
}

/// The client's connection.
struct Client {
    write: OwnedWriteHalf,
    reader: JoinHandle<()>,
    ended: Ended,
}

/// What it got, and whether the door has closed its side.
#[derive(Clone, Default)]
struct Ended {
    output: Rc<RefCell<Vec<u8>>>,
    closed: Rc<Cell<bool>>,
}

impl Client {
    async fn connect(address: SocketAddr, stage: &Rc<Stage>) -> Self {
        let stream = TcpStream::connect(address).await.expect("the door listens");
        let _ = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        let ended = Ended::default();
        let reader = tokio::task::spawn_local(collect(read, ended.clone(), stage.clone()));
        Self { write, reader, ended }
    }

    async fn write(&mut self, bytes: &[u8]) {
        // The door may have closed already.
        let _ = timeout(DEADLINE, self.write.write_all(bytes)).await.expect("the door reads");
    }

    async fn end(mut self, leaves: bool) -> Ended {
        if leaves {
            self.reader.abort();
            // Aborted, it drops its half when it is polled next.
            let _ = self.reader.await;
            self.ended.closed.set(true);
        } else {
            let _ = self.write.shutdown().await;
            // The write half would say so once more.
            self.write.forget();
        }
        self.ended
    }
}

impl Ended {
    fn is_closed(&self) -> bool {
        self.closed.get()
    }
}

async fn collect(mut read: OwnedReadHalf, ended: Ended, stage: Rc<Stage>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = read.read(&mut buffer).await {
        ended.output.borrow_mut().extend(&buffer[..count]);
        stage.moved();
    }
    ended.closed.set(true);
    stage.moved();
}
