//! The wiring: every part is made here once, and the channels between them are joined.
//!
//! ```text
//!            Front (one port) ── host below the domain ──▶ Proxy ──▶ Fleet ──▶ Engine
//!                 └───────────── everything else ────────▶ Api ────▶ Control ─▶ Store
//!   Control ── RouteTable ──▶ Proxy        Control ── RevisionBook ──▶ Fleet ── RevisionHealth ──▶ Control
//!   Fleet ── LogLine ──▶ LogStore          Registry ──▶ ImageStore ◀── Control, Engine
//! ```

use std::{
    collections::VecDeque,
    fmt, io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use updraft_apiserver::{Api, ApiDeps, BoxError, ServerInfo};
use updraft_base::{Clock, OnFailure, Shutdown, Tasks};
use updraft_control::{Control, ControlConfig, ControlDeps, UrlConfig};
use updraft_engine::{Engine, EngineError};
use updraft_engine_local::{Isolation, LocalConfig, LocalEngine, Possible, isolations};
use updraft_fleet::{Fleet, FleetConfig, FleetDeps};
use updraft_identity::{Authenticator, IdentityError, OpenBind};
use updraft_model::{
    Parent, ServiceName,
    channel::{LogLine, RevisionBook, RevisionHealth},
    route::RouteTable,
};
use updraft_oci::{ImageError, ImageStore, ImageStoreConfig};
use updraft_proxy::{Body, Fallback, Front, Proxy, ProxyConfig, ProxyDeps};
use updraft_registry::Registry;
use updraft_store::{Key, Kind, Page, Selection, Snapshots, SqliteStore, Store, StoreError};
use updraft_telemetry::{LogConfig, LogError, LogStore, Metrics};

use crate::{
    backup::{self, BackupDeps, RestoreError, ServerBackups},
    config::Config,
};

/// Lines that may wait for the disk before they are counted as lost.
const LOG_QUEUE: usize = 8192;
/// Deleted services whose logs may wait to be removed.
const DELETED_QUEUE: usize = 1024;
/// Between SIGTERM and SIGKILL, as the container contract says.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// How long after the deletion of a service its instances may still write.
const LAST_WORDS: Duration = Duration::from_secs(15);

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

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address that others can reach, and nobody asks who calls.
    #[error(transparent)]
    Bind(#[from] OpenBind),
    /// The isolation that was asked for is not possible here.
    #[error("isolation '{wanted}' is not possible on this host: {cause}")]
    Isolation {
        /// What was asked for.
        wanted: Isolation,
        /// What is in the way.
        cause: String,
        /// What is possible, the strongest first.
        instead: Vec<Isolation>,
    },
    /// The token cannot be read or made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The stored state cannot be taken up.
    #[error(transparent)]
    Control(#[from] updraft_model::Error),
    /// The descriptors of the API do not make a service; a fault of the build.
    #[error("the API's descriptors: {0}")]
    Descriptors(BoxError),
    /// The log cannot be opened.
    #[error(transparent)]
    Logs(#[from] LogError),
    /// The data directory was to be restored, and is not.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The state cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The images cannot be opened.
    #[error(transparent)]
    Images(#[from] ImageError),
    /// Containers cannot be run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A running server. Dropping it leaves containers running; [`Server::stop`] ends it properly.
pub struct Server {
    /// Where API and services are.
    pub address: SocketAddr,
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

/// Both listeners, bound before anything else starts: a taken port must not cost a container.
struct Listeners {
    front: Front,
    registry: TcpListener,
    address: SocketAddr,
    registry_address: SocketAddr,
}

/// The ends of the channels between domains.
struct Channels {
    book: (watch::Sender<Arc<RevisionBook>>, watch::Receiver<Arc<RevisionBook>>),
    health: (watch::Sender<Arc<RevisionHealth>>, watch::Receiver<Arc<RevisionHealth>>),
    routes: (watch::Sender<Arc<RouteTable>>, watch::Receiver<Arc<RouteTable>>),
    logs: (mpsc::Sender<LogLine>, mpsc::Receiver<LogLine>),
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
        if let EngineChoice::Local(local) = &engine
            && local.isolation != Isolation::None
            && !rustix::process::geteuid().is_root()
        {
            return Err(impossible(local.isolation, &config));
        }
        let (edges, core) = (Tasks::new(), Tasks::new());
        check(&config)?;
        let (store, snapshots) = open_store(&config, &core).await?;
        let auth = Authenticator::open(config.auth, &config.data_dir)?;
        let listeners = Listeners::bind(&config).await?;
        let images = open_images(&config, &listeners, &clock)?;
        let engine: Arc<dyn Engine> = match engine {
            EngineChoice::Local(local) => {
                let isolation = local.isolation;
                let started = LocalEngine::start(local, images.clone(), &core, clock.clone()).await;
                started.map_err(|error| explained(error, isolation, &config))?
            }
            EngineChoice::Given(engine) => engine,
        };
        let mut metrics = Metrics::new(&clock);
        let channels = Channels::new();
        let logs = open_logs(&config, &*store, &mut metrics, &clock).await?;
        core.spawn("log writer", OnFailure::Stop, logs.clone().run(channels.logs.1));
        let remover = remove_logs(logs.clone(), store.clone(), clock.clone(), channels.deleted.1);
        core.spawn("log remover", OnFailure::Log, remover);

        let fleet = Fleet::start(
            FleetDeps {
                engine: engine.clone(),
                clock: clock.clone(),
                tasks: core.clone(),
                config: FleetConfig { idle: config.idle_timeout, stop_grace: STOP_GRACE, ..FleetConfig::default() },
                book: channels.book.1,
                health: channels.health.0,
                logs: channels.logs.0,
            },
            metrics.registry(),
        );
        let control = Control::start(ControlDeps {
            store,
            images: images.clone(),
            engine: engine.clone(),
            clock: clock.clone(),
            tasks: core.clone(),
            config: control_config(&config, listeners.address),
            book: channels.book.0,
            health: channels.health.1,
            routes: channels.routes.0,
            deleted: channels.deleted.0,
        })
        .await?;
        let proxy = Proxy::new(
            ProxyDeps {
                fleet: fleet.clone(),
                routes: channels.routes.1,
                auth: auth.clone(),
                clock: clock.clone(),
                tasks: edges.clone(),
                config: ProxyConfig::default(),
            },
            metrics.registry(),
        );
        let registry = Registry::new(images.clone(), auth.clone(), clock.clone());
        let backups = backups(&config, snapshots, (&control, &images, &logs), &edges, &clock);
        let api = Api::new(ApiDeps {
            control: control.clone(),
            auth,
            logs,
            images,
            info: server_info(&config, &listeners),
            metrics: Arc::new(metrics),
            backups: Some(backups),
            scratch: config.data_dir.clone(),
            clock: clock.clone(),
            shutdown: edges.shutdown().clone(),
        })
        .map_err(StartError::Descriptors)?;
        let Listeners { front, registry: registry_listener, address, registry_address } = listeners;
        let registry_tasks = edges.clone();
        edges.spawn("registry", OnFailure::Stop, registry.serve(registry_listener, registry_tasks));
        let door = front.run(proxy, config.domain.clone(), Arc::new(ApiFallback(api)), edges.clone());
        edges.spawn("front door", OnFailure::Stop, door);
        let default_parent = Parent::new(&config.project, &config.region);
        Ok(Self { address, registry: registry_address, control, fleet, engine, default_parent, edges, core })
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

// === impl Listeners ===

impl Listeners {
    async fn bind(config: &Config) -> Result<Self, StartError> {
        let failed = |address| move |source| StartError::Listen { address, source };
        let front = Front::bind(config.listen).await.map_err(failed(config.listen))?;
        let registry = TcpListener::bind(config.registry_listen).await.map_err(failed(config.registry_listen))?;
        let address = front.local_addr().map_err(failed(config.listen))?;
        let registry_address = registry.local_addr().map_err(failed(config.registry_listen))?;
        Ok(Self { front, registry, address, registry_address })
    }
}

// === impl Channels ===

impl Channels {
    fn new() -> Self {
        Self {
            book: watch::channel(Arc::default()),
            health: watch::channel(Arc::default()),
            routes: watch::channel(Arc::default()),
            logs: mpsc::channel(LOG_QUEUE),
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
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

/// What can be seen to be wrong before anything is made.
fn check(config: &Config) -> Result<(), StartError> {
    for address in [config.listen, config.registry_listen] {
        updraft_identity::check_bind(config.auth, address)?;
    }
    check_domain(config);
    Ok(backup::check_restored(&config.data_dir)?)
}

/// The state, and what takes snapshots of it.
async fn open_store(config: &Config, core: &Tasks) -> Result<(Arc<dyn Store>, Snapshots), StartError> {
    let store = SqliteStore::open(&config.data_dir).await?;
    // Behind the lock of the directory: nobody else's backup is under way.
    backup::sweep(&config.data_dir);
    core.spawn("store watch", OnFailure::Stop, stop_on(store.failed(), core.shutdown().clone()));
    let snapshots = store.snapshots();
    Ok((Arc::new(store), snapshots))
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

/// What a service wrote goes with it: at once, and once more when its instances, which may write to their last moment,
/// are gone. Ends with the control plane, which has the other end of the channel.
async fn remove_logs(logs: LogStore, store: Arc<dyn Store>, clock: Clock, mut deleted: mpsc::Receiver<ServiceName>) {
    let mut again: VecDeque<(Instant, ServiceName)> = VecDeque::new();
    loop {
        let due = again.front().map(|(due, _)| due.saturating_duration_since(clock.instant()));
        let service = tokio::select! {
            service = deleted.recv() => match service {
                Some(service) => {
                    again.push_back((clock.instant() + LAST_WORDS, service.clone()));
                    service
                }
                // What is left to be done the next start does.
                None => return,
            },
            () = clock.sleep(due.unwrap_or_default()), if due.is_some() => {
                let Some((_, service)) = again.pop_front() else { continue };
                let key = Key::new(Kind::Service, service.parent.clone(), &service.service);
                // One of the same name may have been made since; its log is its own.
                match store.get(&key).await {
                    Ok(None) => service,
                    _ => continue,
                }
            }
        };
        if let Err(error) = logs.remove(&service).await {
            tracing::warn!(%service, %error, "the logs of a deleted service stay on disk");
        }
    }
}

/// The logs, without those of services that are gone: a server may have been killed between the deletion of the two.
async fn open_logs(
    config: &Config,
    store: &dyn Store,
    metrics: &mut Metrics,
    clock: &Clock,
) -> Result<LogStore, StartError> {
    let logs = LogStore::open(&config.data_dir.join("logs"), log_config(config), metrics, clock.clone())?;
    let services = store.list(&Selection::of(Kind::Service), &Page::default()).await?;
    let names = services.into_iter().map(|service| service.key.parent.service(service.key.name)).collect();
    let gone = logs.keep(names).await?;
    if gone > 0 {
        tracing::info!(gone, "logs of services that were deleted are removed");
    }
    Ok(logs)
}

/// Segments small enough that what is removed at a time is a part of the whole.
fn log_config(config: &Config) -> LogConfig {
    let default = LogConfig::default();
    let segment_bytes = default.segment_bytes.min(config.log_max_size / 4);
    LogConfig { segment_bytes, service_bytes: config.log_max_size, retention: config.log_retention, ..default }
}

fn control_config(config: &Config, address: SocketAddr) -> ControlConfig {
    ControlConfig {
        default_project: config.project.clone(),
        locations: vec![config.region.clone()],
        url: UrlConfig { scheme: "http".to_owned(), domain: config.domain.clone(), port: address.port() },
        ..ControlConfig::default()
    }
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
        service_domain: config.domain.clone(),
    }
}

/// Why an engine did not start: because its isolation is not possible here, if it is not.
fn explained(error: EngineError, wanted: Isolation, config: &Config) -> StartError {
    match impossible(wanted, config) {
        known @ StartError::Isolation { .. } => known,
        _ => error.into(),
    }
}

/// [`StartError::Isolation`] with what is in the way of `wanted`; when nothing seems to be, [`StartError::Engine`] that
/// says so. Blocks for some milliseconds: nothing else is running yet.
fn impossible(wanted: Isolation, config: &Config) -> StartError {
    let possible = isolations(&trial_dir(config));
    let is_possible = |one: &Possible| one.outcome.is_ok();
    let cause = possible.iter().find(|one| one.isolation == wanted).and_then(|one| one.outcome.clone().err());
    let instead = possible.iter().filter(|one| is_possible(one)).map(|one| one.isolation).collect();
    match cause {
        Some(cause) => StartError::Isolation { wanted, cause, instead },
        None => StartError::Engine(EngineError::Host {
            operation: format!("start with isolation '{wanted}'"),
            cause: "it seems possible".to_owned(),
        }),
    }
}

/// Where it can be tried out what the file system of the data directory allows: there, or as near as there is a
/// directory.
pub fn trial_dir(config: &Config) -> std::path::PathBuf {
    let mut dirs = config.data_dir.ancestors();
    dirs.find(|dir| dir.is_dir()).unwrap_or(&config.data_dir).to_owned()
}

/// The engine of this host, as the configuration wants it.
pub fn local_engine(config: &Config) -> LocalConfig {
    LocalConfig { dns: config.dns.clone(), isolation: config.isolation, ..LocalConfig::new(&config.data_dir) }
}
