//! [`LocalEngine`].

use std::{
    collections::HashMap,
    fmt, io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
};
use updraft_base::{Clock, OnFailure, Tasks};
use updraft_engine::{Adopted, Engine, EngineError, EngineEvent, Visit};
use updraft_model::instance::{Inspection, InstanceId, InstanceSpec, Secrets, Usage};
use updraft_oci::ImageStore;

pub(super) use super::causes::{chain, host};
use super::{
    causes::{check_id, refused},
    config::LocalConfig,
    events::{self, Delivery, Unsettled},
    footing::{Commons, Footing, Reached},
    leftovers::Premises,
    link::Link,
    live::{Ground, Live, Phase, StartTiming, Subject, Table, Whose},
    look, metadata,
    order::Order,
    pool::{self, Pool},
    prepare::{self, Prepared},
    runtime::{self, Runtime},
    site::Site,
    supervise, visits,
};
use crate::{
    net::Network,
    protocol::Request,
    sandbox::{cgroups::Layout, users::Identities},
};

/// Containers on this host.
pub struct LocalEngine {
    shared: Arc<Shared>,
    events: Mutex<Option<mpsc::Receiver<EngineEvent>>>,
    /// Turns true when the launcher has ended for good.
    ended: watch::Receiver<bool>,
}

/// What the engine and its tasks share.
pub(super) struct Shared {
    pub(super) config: LocalConfig,
    /// Who makes the sandboxes, if it is not our launcher.
    pub(super) runtime: Option<Runtime>,
    pub(super) premises: Premises,
    pub(super) layout: Layout,
    pub(super) identities: Identities,
    pub(super) images: ImageStore,
    /// The network of instances that have one of their own.
    pub(super) network: Option<Network>,
    /// Sandboxes that wait for instances.
    pub(super) pool: Pool,
    /// What instances share that have none.
    pub(super) commons: Option<Arc<Commons>>,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    pub(super) table: Table,
    /// Who answers for the metadata server.
    pub(super) desk: metadata::Desk,
    /// Who takes what instances send to the server itself.
    pub(super) hall: visits::Hall,
    pub(super) deliveries: mpsc::UnboundedSender<Delivery>,
    pub(super) down: AtomicBool,
    link: Mutex<Option<Link>>,
    prepared: Mutex<HashMap<String, Arc<Prepared>>>,
    pub(super) unsettled: Unsettled,
    /// What was there when this engine began.
    pub(super) adopted: Mutex<Vec<Adopted>>,
}

/// Events that wait for the reader before instances have to wait for it.
const EVENTS: usize = 1024;

// === impl LocalEngine ===

impl LocalEngine {
    /// Takes over the launcher and the instances that a dead engine of the same data directory left, as far as that is
    /// wanted ([`LocalConfig::predecessor`]) and possible, and removes the rest; sets up the network and starts a
    /// launcher, where there is none. Of a data directory only one engine may be alive at a time.
    ///
    /// Its tasks end with [`Engine::shutdown`] and not before: call it before `tasks` is drained. Without it, what runs
    /// is left to the next one.
    ///
    /// # Errors
    /// [`EngineError::Host`] when the host does not let us: `updraft doctor` says what it lacks.
    pub async fn start(
        config: LocalConfig,
        images: ImageStore,
        tasks: &Tasks,
        clock: Clock,
    ) -> Result<Arc<Self>, EngineError> {
        let runtime = runtime::of(&config).await?;
        let premises = Premises::open(&config.data_dir)?;
        let site = Site::open((&config, runtime.as_ref()), &premises, tasks, &clock).await?;
        let Site { layout, identities, network, commons, heritage } = site;
        let (deliveries, queue) = mpsc::unbounded_channel();
        let (sender, receiver) = mpsc::channel(EVENTS);
        let pool = Pool::new(if network.is_some() && runtime.is_none() { config.sandboxes } else { 0 });
        let shared = Arc::new(Shared {
            config,
            runtime,
            premises,
            layout,
            identities,
            images,
            network,
            pool,
            commons,
            clock,
            tasks: tasks.clone(),
            table: Table::default(),
            desk: metadata::Desk::default(),
            hall: visits::Hall::default(),
            deliveries,
            down: AtomicBool::new(false),
            link: Mutex::default(),
            prepared: Mutex::default(),
            unsettled: Unsettled::default(),
            adopted: Mutex::default(),
        });
        let launcher = match (heritage, &shared.network) {
            (Some(heritage), Some(network)) => Ok(heritage.enter(&shared, network).await),
            _ => shared.spawn_launcher().await,
        };
        let launcher = match launcher {
            Ok(launcher) => launcher,
            Err(error) => {
                if let Some(network) = &shared.network {
                    let _ = network.stop().await;
                }
                shared.premises.leave();
                return Err(host("start the launcher")(error));
            }
        };
        let (over, ended) = watch::channel(false);
        tasks.spawn("launcher", OnFailure::Stop, supervise::run(shared.clone(), launcher, over));
        tasks.spawn("instance events", OnFailure::Stop, events::forward(shared.clone(), queue, sender, ended.clone()));
        tasks.spawn("sandbox pool", OnFailure::Stop, pool::keep(shared.clone()));
        if let Some(listener) = shared.network.as_ref().and_then(Network::metadata) {
            tasks.spawn("metadata", OnFailure::Stop, metadata::serve(shared.clone(), listener, ended.clone()));
        }
        for door in shared.network.iter().flat_map(Network::doors) {
            tasks.spawn("visits", OnFailure::Stop, visits::serve(shared.clone(), door, ended.clone()));
        }
        Ok(Arc::new(Self { shared, events: Mutex::new(Some(receiver)), ended }))
    }

    /// As SIGKILL does it: what is dropped from now on leaves the host as it is. For tests, which cannot kill a part of
    /// their own process.
    #[doc(hidden)]
    pub fn forsake(&self) {
        if let Some(network) = &self.shared.network {
            network.outlive();
        }
    }

    /// How many sandboxes wait for an instance.
    pub fn spare_sandboxes(&self) -> usize {
        self.shared.pool.ready()
    }

    /// Where the time of an instance's start went; `None` before its program runs and after its end.
    pub fn last_start(&self, id: &InstanceId) -> Option<StartTiming> {
        match *self.shared.table.get(id)?.phase.borrow() {
            Phase::Running(timing) => Some(timing),
            _ => None,
        }
    }
}

impl fmt::Debug for LocalEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalEngine")
            .field("tag", &self.shared.premises.tag)
            .field("instances", &self.shared.table.ids().len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Engine for LocalEngine {
    async fn prepare(&self, spec: &InstanceSpec) -> Result<(), EngineError> {
        let isolation = self.shared.config.isolation;
        prepare::check(spec, isolation)?;
        prepare::check_egress(spec.egress, isolation)?;
        for container in spec.containers() {
            let prepared = prepare::fetch(&self.shared.images, container, isolation).await?;
            self.shared.prepared().insert(container.image.clone(), prepared);
        }
        self.shared.pool.expect(prepare::limits(&spec.owner, &spec.ingress));
        Ok(())
    }

    async fn start(&self, id: &InstanceId, spec: &InstanceSpec, secrets: &Secrets) -> Result<(), EngineError> {
        let shared = &self.shared;
        let Some(prepared) = shared.prepared_of(&spec.ingress.image) else {
            return Err(EngineError::NotPrepared { id: id.clone(), image: spec.ingress.image.clone() });
        };
        if !spec.sidecars.is_empty() {
            return shared.start_several(id, spec, secrets).await;
        }
        check_id(id)?;
        let place = shared.place(&spec.owner);
        let leaf = place.leaf(id);
        let groups = shared.layout.plan(&shared.premises.tag, leaf);
        let subject =
            Subject { leaf, groups, owner: spec.owner.clone(), memory_limit: spec.ingress.limits.memory_bytes };
        let Some(reservation) = shared.table.reserve(id, Live::new(subject)) else {
            place.shell().into_iter().for_each(|shell| shared.pool.put_back(shell));
            return Err(refused(id, "it is there"));
        };
        // Asked after the place was taken: a shutdown either sees the place or is seen here.
        if shared.is_down() {
            return Err(refused(id, "the engine has been shut down"));
        }
        let order = shared.order(id, (spec, secrets), (&prepared, place), &reservation.live).await?;
        let live = shared.commit(reservation, order).map_err(|cause| refused(id, &cause))?;
        let mut phase = live.phase.subscribe();
        let reached = phase.wait_for(|phase| *phase != Phase::Starting).await;
        match reached.as_deref() {
            Ok(Phase::Refused(cause)) => Err(refused(id, cause)),
            _ => Ok(()),
        }
    }

    async fn start_container(
        &self,
        id: &InstanceId,
        (spec, secrets): (&InstanceSpec, &Secrets),
        name: &str,
    ) -> Result<(), EngineError> {
        let Some(container) = spec.container(name) else {
            return Err(refused(id, &format!("it has no container '{name}'")));
        };
        self.shared.start_another(id, (spec, container, secrets)).await
    }

    async fn show_secrets(&self, id: &InstanceId, spec: &InstanceSpec, secrets: &Secrets) -> Result<(), EngineError> {
        self.shared.show_secrets(id, spec, secrets)
    }

    async fn stop(&self, id: &InstanceId, grace: Duration) {
        let Some(live) = self.shared.table.get(id) else { return };
        {
            let mut hold = live.hold();
            if !hold.sent {
                hold.unwanted = true;
                return;
            }
        }
        live.freezer.close();
        if grace.is_zero() {
            return self.shared.tell(id, &live, |id| Request::Kill { id });
        }
        self.shared.tell(id, &live, |id| Request::Terminate { id });
        let (shared, id) = (self.shared.clone(), id.clone());
        self.shared.tasks.spawn("grace", OnFailure::Log, async move {
            let mut phase = live.phase.subscribe();
            let ended = phase.wait_for(|phase| *phase == Phase::Ended);
            if shared.clock.timeout(grace, ended).await.is_err() {
                shared.tell(&id, &live, |id| Request::Kill { id });
            }
        });
    }

    async fn connect(&self, id: &InstanceId, port: u16) -> io::Result<TcpStream> {
        let live = self.shared.table.get(id).ok_or(io::ErrorKind::NotFound)?;
        let way = match &live.hold().ground {
            Some(Ground::Own(attachment)) => Ok(attachment.address),
            Some(Ground::Shared(footing)) => Err(footing.clone()),
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        let stream = match way {
            Ok(address) => TcpStream::connect(SocketAddr::from((address, port))).await?,
            Err(footing) => self.shared.reach(id, &live, &footing, port).await?,
        };
        // Requests are small and answered; waiting for more to send only delays them.
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn listens(&self, id: &InstanceId, port: u16) -> Option<bool> {
        match &self.shared.table.get(id)?.hold().ground {
            Some(Ground::Own(attachment)) => attachment.listeners()?.has(port),
            Some(Ground::Shared(_)) | None => None,
        }
    }

    fn freeze(&self, id: &InstanceId) -> io::Result<()> {
        self.shared.switch(id)?.freezer.freeze()
    }

    fn thaw(&self, id: &InstanceId) -> io::Result<()> {
        self.shared.switch(id)?.freezer.thaw()
    }

    fn limit_cpu(&self, id: &InstanceId, sidecar: Option<&str>, millis: u32) -> io::Result<()> {
        self.shared.limit_cpu(id, sidecar, millis)
    }

    fn metadata(&self) -> Option<mpsc::Receiver<(TcpStream, InstanceId)>> {
        self.shared.desk.take()
    }

    fn visits(&self) -> Option<mpsc::Receiver<Visit>> {
        self.shared.hall.take()
    }

    async fn usage(&self, id: &InstanceId) -> Option<Usage> {
        let live = self.shared.table.get(id)?;
        if !self.shared.config.isolation.is_shared() {
            return live.usage(&Whose::All);
        }
        // Where there are no control groups this goes through all processes of the host.
        tokio::task::spawn_blocking(move || live.usage(&Whose::All)).await.ok()?
    }

    async fn inspect(&self, id: &InstanceId) -> Option<Inspection> {
        look::inspect(self, &self.shared, id, Whose::All).await
    }

    async fn inspect_container(&self, id: &InstanceId, sidecar: Option<&str>) -> Option<Inspection> {
        look::inspect(self, &self.shared, id, Whose::One(sidecar.map(str::to_owned))).await
    }

    async fn adopted(&self) -> Vec<Adopted> {
        self.shared.adopted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn list(&self) -> Vec<InstanceId> {
        self.shared.table.ids()
    }

    fn events(&self) -> Option<mpsc::Receiver<EngineEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn shutdown(&self, grace: Duration) {
        let shared = &self.shared;
        shared.down.store(true, Ordering::SeqCst);
        shared.pool.wake();
        shared.settle_all();
        for id in shared.table.ids() {
            self.stop(&id, grace).await;
        }
        shared.table.empty().await;
        // Nobody is to come after us: the launcher removes everything when the last handle to it is gone.
        shared.request(&Request::Farewell);
        shared.set_link(None);
        let _ = self.ended.clone().wait_for(|&ended| ended).await;
        shared.pool.clear();
        if let Some(network) = &shared.network
            && let Err(error) = network.stop().await
        {
            tracing::warn!(error = chain(&error), "the network could not be removed completely");
        }
        shared.premises.leave();
    }
}

// === impl Shared ===

impl Shared {
    /// Tells the launcher something of every container of an instance that is to end.
    fn tell(&self, id: &InstanceId, live: &Live, make: impl Fn(String) -> Request) {
        match &live.company {
            Some(company) => self.stop_all(id, company, make),
            None => self.request(&make(id.0.clone())),
        }
    }

    pub(super) fn prepared_of(&self, image: &str) -> Option<Arc<Prepared>> {
        self.prepared().get(image).cloned()
    }

    fn prepared(&self) -> MutexGuard<'_, HashMap<String, Arc<Prepared>>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on requests go there.
    pub(super) fn set_link(&self, link: Option<Link>) {
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
    }

    /// Has the engine been shut down?
    pub(super) fn is_down(&self) -> bool {
        self.down.load(Ordering::SeqCst)
    }

    /// Sends a request, if there is a launcher: without one there is no instance to be asked about.
    pub(super) fn request(&self, request: &Request) {
        let _ = self.send(request, Vec::new());
    }

    /// Sends a request with what comes along.
    ///
    /// # Errors
    /// When there is no launcher.
    pub(super) fn send(&self, request: &Request, descriptors: Vec<OwnedFd>) -> Result<(), String> {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        match link.as_ref().map(|link| link.send(request, descriptors)) {
            Some(Ok(true)) => Ok(()),
            Some(Err(error)) => Err(error.to_string()),
            Some(Ok(false)) | None => Err("there is no launcher".to_owned()),
        }
    }

    /// A connection to an instance in the host's network.
    async fn reach(&self, id: &InstanceId, live: &Arc<Live>, footing: &Footing, port: u16) -> io::Result<TcpStream> {
        match footing.connect(port, || look::look(live.clone(), Whose::All)).await? {
            Reached::AsTold(stream) => Ok(stream),
            Reached::Elsewhere(stream) => {
                let port = footing.wanted();
                footing.claim(&live.owner);
                tracing::warn!(instance = %id, owner = %live.owner, port, "an image does not listen on $PORT");
                self.deliver(Delivery::Alone(id.clone(), port));
                Ok(stream)
            }
        }
    }

    /// Hands an instance over to the launcher. From here on its end is an event.
    fn commit(&self, reservation: super::live::Reservation<'_>, order: Order) -> Result<Arc<Live>, String> {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let link = link.as_ref().ok_or("the launcher is being restarted")?;
        let mut hold = reservation.live.hold();
        if hold.unwanted && self.is_down() {
            return Err("the engine has been shut down".to_owned());
        }
        if let Some((first, contents)) = order.first {
            link.send(&first, contents).map_err(|error| error.to_string())?;
        }
        match link.send(&order.request, order.descriptors) {
            Ok(true) => {}
            Ok(false) => return Err("the launcher has ended".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
        if let Some(network) = &self.network {
            network.outlive();
        }
        hold.ground = Some(order.ground);
        hold.sent = true;
        if hold.unwanted
            && let Request::Start { id, .. } = order.request
        {
            let _ = link.send(&Request::Kill { id }, Vec::new());
        }
        drop(hold);
        Ok(reservation.keep())
    }
}
