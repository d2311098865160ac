//! The wiring: every part is made here once, and the channels between them are joined.
//!
//! ```text
//!            Front (one door) ── host below the domain ──▶ Proxy ──▶ Fleet ──▶ Engine
//!                 └───────────── everything else ────────▶ Api ────▶ Control ─▶ Store
//!   Control ── RouteTable ──▶ Proxy        Control ── RevisionBook ──▶ Fleet ── RevisionHealth ──▶ Control
//!   Proxy ── RequestRecord ──▶ LogStore    Control ── AccountBook ──▶ Tokens ◀── Authenticator, Api
//!   Engine ── connections of instances ──▶ Metadata, Front      Fleet ── InstanceBook ──▶ Metadata ──▶ Tokens
//!   Fleet ── LogLine ──▶ LogStore          Registry ──▶ ImageStore ◀── Control, Engine
//!   Control ── ScheduleBook ──▶ Scheduler ── AttemptReport ──▶ Control      Scheduler ── errands ──▶ Front
//! ```

mod error;
mod listen;
mod logs;
mod scheduler;
mod sealing;
mod wiring;

pub use error::StartError;
pub(crate) use error::check_config;

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::{mpsc, watch};
use updraft_apiserver::{Api, ApiDeps, ServerInfo};
use updraft_base::{Clock, OnFailure, Shutdown, Tasks};
use updraft_control::{Control, ControlConfig, ControlDeps, Machine, UrlConfig};
use updraft_engine::Engine;
use updraft_engine_local::{Isolation, LocalConfig, Runtime};
use updraft_fleet::{Fleet, FleetConfig};
use updraft_identity::Authenticator;
use updraft_model::{
    Parent, ServiceName,
    account::AccountBook,
    channel::{InstanceBook, LogLine, RequestRecord, RevisionBook, RevisionHealth, TaskBook, TaskEnd},
    route::RouteTable,
    schedule::ScheduleBook,
    secret::Sealer,
};
use updraft_oci::{ImageStore, ImageStoreConfig};
use updraft_proxy::{Body, Fallback, Proxy, ProxyConfig, ProxyDeps};
use updraft_registry::Registry;
use updraft_store::{Snapshots, SqliteStore, Store};
use updraft_telemetry::{LogStore, Metrics};

use crate::{
    backup::{self, BackupDeps, ServerBackups},
    config::{Config, UrlScheme},
};
use listen::Listeners;
use logs::Inbox;
use wiring::{FleetEnds, answer_instances, identify, know_people, open_doors, start_engine, start_fleet};

/// Lines that may wait for the disk before they are counted as lost.
const LOG_QUEUE: usize = 8192;
/// Requests whose entries may wait for the disk before they are counted as lost.
const REQUEST_QUEUE: usize = 16_384;
/// Deleted services whose logs may wait to be removed.
const DELETED_QUEUE: usize = 1024;
/// Ends of tasks that may wait to be written down; an attempt beyond that waits until it can say how it ended.
const END_QUEUE: usize = 1024;
/// Between SIGTERM and SIGKILL, as the container contract says.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// What a server is made of.
#[expect(missing_debug_implementations, reason = "an engine that is there already cannot be printed")]
pub struct Options {
    /// Its configuration.
    pub config: Config,
    /// What runs its containers.
    pub engine: EngineChoice,
    /// Its time.
    pub clock: Clock,
}

/// What runs the containers.
#[expect(missing_debug_implementations, reason = "an engine that is there already cannot be printed")]
pub enum EngineChoice {
    /// This host, through a launcher that is this program (or another one, in tests).
    Local(LocalConfig),
    /// An engine that is there already.
    Given(Arc<dyn Engine>),
}

/// A running server. Dropping it leaves containers running; [`Server::stop`] ends it properly.
pub struct Server {
    /// Where API and services are.
    pub address: SocketAddr,
    /// Where the same is over TLS, unless it is off.
    pub tls: Option<SocketAddr>,
    /// Where the registry is.
    pub registry: SocketAddr,
    /// The control plane.
    pub control: Control,
    /// The instances.
    pub fleet: Fleet,
    engine: Arc<dyn Engine>,
    default_parent: Parent,
    /// What takes requests; ends first.
    edges: Tasks,
    /// What serves the edges; ends last.
    core: Tasks,
}

/// The API, as the front door sees it.
struct ApiFallback(Api);

/// The ends of the channels between domains.
struct Channels {
    book: (watch::Sender<Arc<RevisionBook>>, watch::Receiver<Arc<RevisionBook>>),
    health: (watch::Sender<Arc<RevisionHealth>>, watch::Receiver<Arc<RevisionHealth>>),
    task_book: (watch::Sender<Arc<TaskBook>>, watch::Receiver<Arc<TaskBook>>),
    task_ends: (mpsc::Sender<TaskEnd>, mpsc::Receiver<TaskEnd>),
    routes: (watch::Sender<Arc<RouteTable>>, watch::Receiver<Arc<RouteTable>>),
    accounts: (watch::Sender<Arc<AccountBook>>, watch::Receiver<Arc<AccountBook>>),
    schedules: (watch::Sender<Arc<ScheduleBook>>, watch::Receiver<Arc<ScheduleBook>>),
    instances: (watch::Sender<Arc<InstanceBook>>, watch::Receiver<Arc<InstanceBook>>),
    logs: (mpsc::Sender<LogLine>, mpsc::Receiver<LogLine>),
    requests: (mpsc::Sender<RequestRecord>, mpsc::Receiver<RequestRecord>),
    deleted: (mpsc::Sender<ServiceName>, mpsc::Receiver<ServiceName>),
}

// === impl Server ===

impl Server {
    /// Starts everything; once it returns, requests are answered.
    ///
    /// # Errors
    /// [`StartError`], after which nothing of it is left running.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let Options { config, engine, clock } = options;
        let (edges, core) = (Tasks::new(), Tasks::new());
        check(&config, &engine)?;
        let (store, snapshots, sealer) = open_store(&config, &core).await?;
        let channels = Channels::new();
        let listeners = Listeners::bind(&config, &clock).await?;
        let accounts = channels.accounts.1;
        let (auth, tokens) = identify(&config, &listeners, accounts.clone(), &clock)?;
        let auth = know_people(auth, &config, &edges, &clock);
        let (known, signers) = (accounts.clone(), tokens.clone());
        let images = open_images(&config, &listeners, &clock)?;
        let engine = start_engine(engine, &listeners, &images, (&core, &clock)).await?;
        let mut metrics = Metrics::new(&clock);
        let adopted = engine.adopted().await;
        let logs = logs::open(&config, (&*store, &adopted), &mut metrics, &clock).await?;
        let inbox = Inbox { lines: channels.logs.1, requests: channels.requests.1, deleted: channels.deleted.1 };
        logs::keep(&logs, inbox, &store, (&core, &clock));

        let ends = FleetEnds {
            book: channels.book.1,
            health: channels.health.0,
            task_book: channels.task_book.1,
            task_ends: channels.task_ends.0,
            logs: channels.logs.0,
            instances: channels.instances.0,
        };
        let fleet = start_fleet((&engine, adopted), ends, fleet_config(&config), (&core, &clock), &mut metrics);
        answer_instances(&*engine, (channels.instances.1, accounts), &tokens, (&core, &clock));
        let control = Control::start(ControlDeps {
            store,
            images: images.clone(),
            engine: engine.clone(),
            sealer,
            clock: clock.clone(),
            tasks: core.clone(),
            config: control_config(&config, &listeners),
            book: channels.book.0,
            health: channels.health.1,
            task_book: channels.task_book.0,
            task_ends: channels.task_ends.1,
            routes: channels.routes.0,
            accounts: channels.accounts.0,
            schedules: channels.schedules.0,
            deleted: channels.deleted.0,
        })
        .await?;
        control.register(metrics.registry());
        let line = (fleet.clone(), channels.routes.1, channels.requests.0);
        let proxy = start_proxy(line, &auth, &config, (&edges, &clock), &mut metrics);
        let registry = Registry::new(images.clone(), auth.clone(), clock.clone());
        let backups = backups(&config, snapshots, (&control, &images, &logs), &edges, &clock);
        let entries = logs.clone();
        let api = Api::new(ApiDeps {
            control: control.clone(),
            auth,
            tokens,
            logs,
            images,
            info: server_info(&config, &listeners),
            metrics: Arc::new(metrics),
            backups: Some(backups),
            scratch: config.data_dir.clone(),
            authority: listeners.authority.clone(),
            clock: clock.clone(),
            shutdown: edges.shutdown().clone(),
        })
        .map_err(StartError::Descriptors)?;
        let (address, tls, registered) = (listeners.address, listeners.tls_address, listeners.registry_address);
        let ends = scheduler::Ends {
            book: channels.schedules.1,
            accounts: known,
            control: control.clone(),
            tokens: signers,
            logs: entries,
        };
        let errands = scheduler::start(ends, (&config, &listeners), &edges, &clock);
        open_doors(listeners, (proxy, api, registry), (&*engine, &config, errands), &edges);
        let default_parent = Parent::new(&config.project, &config.region);
        Ok(Self { address, tls, registry: registered, control, fleet, engine, default_parent, edges, core })
    }

    /// Where resources go that name no project and no region.
    pub fn default_parent(&self) -> &Parent {
        &self.default_parent
    }

    /// Ends when an essential task has failed; then the process can do no better than to stop.
    pub async fn failed(&self) {
        tokio::select! {
            () = self.edges.shutdown().asked() => {}
            () = self.core.shutdown().asked() => {}
        }
    }

    /// Lets the requests in flight finish, stops every instance, removes everything from the host.
    pub async fn stop(self) {
        self.stop_unless_hurried(Shutdown::default()).await;
    }

    /// The same, until `hurry` is asked: then requests are cut off and instances killed; what is removed is the same.
    pub async fn stop_unless_hurried(self, hurry: Shutdown) {
        let Self { control, fleet, engine, edges, core, .. } = self;
        // New connections are refused from here on; requests in flight keep their instances.
        edges.shutdown().ask();
        // What began from here on would never start, and count as an attempt that was lost.
        control.begin_no_tasks();
        let drained = async {
            fleet.drain().await;
            tracing::debug!("the fleet is drained");
        };
        let killed = async {
            hurry.asked().await;
            // The fleet sees the instances end, and is drained by that.
            engine.shutdown(Duration::ZERO).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = drained => {}
            () = killed => {}
        }
        tokio::select! {
            () = edges.drain() => tracing::debug!("the edges are closed"),
            () = hurry.asked() => tracing::debug!("the edges are left as they are"),
        }
        engine.shutdown(STOP_GRACE).await;
        tracing::debug!("the engine has removed everything");
        core.shutdown().ask();
        // The log writer ends with the last of who may write to it.
        drop((control, fleet));
        tokio::select! {
            () = core.drain() => {}
            () = hurry.asked() => {}
        }
    }
}

// === impl Channels ===

impl Channels {
    fn new() -> Self {
        Self {
            book: watch::channel(Arc::default()),
            health: watch::channel(Arc::default()),
            task_book: watch::channel(Arc::default()),
            task_ends: mpsc::channel(END_QUEUE),
            routes: watch::channel(Arc::default()),
            accounts: watch::channel(Arc::default()),
            schedules: watch::channel(Arc::default()),
            instances: watch::channel(Arc::default()),
            logs: mpsc::channel(LOG_QUEUE),
            requests: mpsc::channel(REQUEST_QUEUE),
            deleted: mpsc::channel(DELETED_QUEUE),
        }
    }
}

// === impl ApiFallback ===

impl Fallback for ApiFallback {
    fn call(&self, request: Request<Incoming>) -> BoxFuture<'static, Response<Body>> {
        let api = self.0.clone();
        Box::pin(async move { api.call(request).await.map(Body::new) })
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .field("tls", &self.tls)
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

/// What can be seen to be wrong before anything is made.
fn check(config: &Config, engine: &EngineChoice) -> Result<(), StartError> {
    error::check_config(config)?;
    if let EngineChoice::Local(local) = engine
        && local.isolation != Isolation::None
        && !rustix::process::geteuid().is_root()
    {
        return Err(error::impossible(local.isolation, &config.data_dir));
    }
    if let EngineChoice::Local(local) = engine {
        // Seen here, it is a fault of the configuration and not of the host.
        local.runtime.as_deref().map(Runtime::find).transpose()?;
    }
    check_domain(config);
    Ok(backup::check_restored(&config.data_dir)?)
}

/// The state, what takes snapshots of it, and the keys of what is sealed in it.
async fn open_store(config: &Config, core: &Tasks) -> Result<(Arc<dyn Store>, Snapshots, Arc<dyn Sealer>), StartError> {
    let store = SqliteStore::open(&config.data_dir).await?;
    // Behind the lock of the directory: nobody else's backup is under way.
    backup::sweep(&config.data_dir);
    core.spawn("store watch", OnFailure::Stop, stop_on(store.failed(), core.shutdown().clone()));
    let snapshots = store.snapshots();
    let sealer = sealing::open(config, &store).await?;
    Ok((Arc::new(store), snapshots, sealer))
}

fn backups(
    config: &Config,
    snapshots: Snapshots,
    (control, images, logs): (&Control, &ImageStore, &LogStore),
    tasks: &Tasks,
    clock: &Clock,
) -> Arc<ServerBackups> {
    Arc::new(ServerBackups::new(BackupDeps {
        data_dir: config.data_dir.clone(),
        control: control.clone(),
        snapshots,
        images: images.clone(),
        logs: logs.clone(),
        clock: clock.clone(),
        tasks: tasks.clone(),
    }))
}

/// The images of the data directory; names of our own registry mean the images themselves.
fn open_images(config: &Config, listeners: &Listeners, clock: &Clock) -> Result<ImageStore, StartError> {
    let mut images = ImageStoreConfig::new(config.data_dir.join("images"));
    images.credentials.clone_from(&config.registry_credentials);
    images.outbound = updraft_outbound::Client::new(config.outbound.clone());
    let images = ImageStore::open(images, clock.clone())?;
    let port = listeners.registry_address.port();
    let mut names = vec![format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")];
    names.push(listeners.registry_address.to_string());
    names.extend(config.registry_names.iter().cloned());
    if listeners.registry_address.ip().is_unspecified() {
        names.push(format!("{}:{port}", rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase()));
        images.set_local_port(port);
    }
    images.set_local_names(names);
    Ok(images)
}

/// Asks everything to end when something has failed that nothing works without.
async fn stop_on(failed: impl Future<Output = ()>, shutdown: Shutdown) {
    tokio::select! {
        () = failed => shutdown.ask(),
        () = shutdown.asked() => {}
    }
}

fn fleet_config(config: &Config) -> FleetConfig {
    FleetConfig {
        idle: config.idle_timeout,
        freeze_after: config.freeze_after,
        stop_grace: STOP_GRACE,
        ..FleetConfig::default()
    }
}

/// The line of a request, from the routes to the fleet.
fn start_proxy(
    (fleet, routes, requests): (Fleet, watch::Receiver<Arc<RouteTable>>, mpsc::Sender<RequestRecord>),
    auth: &Authenticator,
    config: &Config,
    (edges, clock): (&Tasks, &Clock),
    metrics: &mut Metrics,
) -> Proxy {
    let (auth, clock, tasks, config) = (auth.clone(), clock.clone(), edges.clone(), proxy_config(config));
    Proxy::new(ProxyDeps { fleet, routes, auth, clock, tasks, requests, config }, metrics.registry())
}

fn proxy_config(config: &Config) -> ProxyConfig {
    ProxyConfig { server_timing: config.server_timing, reserved_paths: config.reserved_paths, ..ProxyConfig::default() }
}

/// By which scheme and at which port clients are sent to this server.
fn front(config: &Config, listeners: &Listeners) -> (&'static str, SocketAddr) {
    match (config.url_scheme, listeners.tls_address) {
        (UrlScheme::Https, Some(address)) => ("https", address),
        _ => ("http", listeners.address),
    }
}

/// The URL in every token. What listens on all addresses has no address to tell; on this machine it is loopback.
fn issuer(config: &Config, listeners: &Listeners) -> String {
    let (scheme, mut address) = front(config, listeners);
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    config.issuer.clone().unwrap_or_else(|| format!("{scheme}://{address}"))
}

fn control_config(config: &Config, listeners: &Listeners) -> ControlConfig {
    let (scheme, address) = front(config, listeners);
    ControlConfig {
        default_project: config.project.clone(),
        locations: vec![config.region.clone()],
        url: UrlConfig { scheme: scheme.to_owned(), domain: config.domain.clone(), port: address.port() },
        own_ports: listeners.ports(),
        machine: machine(),
        ..ControlConfig::default()
    }
}

/// What tasks may have of this machine: three quarters of its memory, less what services have then, and so many at a time
/// that each processor has some to choose from, but not so many that they are in each other's way.
fn machine() -> Machine {
    /// Where the kernel does not tell how much there is.
    const SMALL: u64 = 2 << 30;
    const PER_PROCESSOR: u32 = 8;
    const AT_LEAST: u32 = 16;
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    let memory = total.map_or(SMALL, |kib: u64| kib << 10) / 4 * 3;
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let processors = u32::try_from(processors).unwrap_or(u32::MAX);
    Machine { memory, tasks: processors.saturating_mul(PER_PROCESSOR).max(AT_LEAST) }
}

/// Says so when clients elsewhere are told URLs that lead to themselves.
fn check_domain(config: &Config) {
    let is_local = config.domain == "localhost" || config.domain.ends_with(".localhost");
    if is_local && !config.listen.ip().to_canonical().is_loopback() {
        tracing::warn!(
            domain = config.domain,
            "others reach this server, but the hosts of services mean their own machine to them: set a domain"
        );
    }
}

fn server_info(config: &Config, listeners: &Listeners) -> ServerInfo {
    ServerInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        default_project: config.project.clone(),
        default_location: config.region.clone(),
        registry: Some(listeners.registry_address.to_string()),
        tls: listeners.tls_address.map(|address| address.to_string()),
        service_domain: config.domain.clone(),
    }
}

/// The engine of this host, as the configuration wants it.
pub fn local_engine(config: &Config) -> LocalConfig {
    LocalConfig {
        dns: config.dns.clone(),
        domain: config.domain.clone(),
        isolation: config.isolation,
        predecessor: config.predecessor,
        runtime: config.runtime.clone(),
        sandboxes: config.sandboxes,
        ..LocalConfig::new(&config.data_dir)
    }
}
