//! The reference engine: instances are tasks of this process with real TCP servers on loopback,
//! time is the clock's, faults are injected by the test.

mod metadata;
mod run;
pub(crate) mod secrets;

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
};
use updraft_base::{Clock, OnFailure, Tasks};
use updraft_model::{
    instance::{
        ContainerSpec, Exit, Inspection, InstanceId, InstanceSpec, Listener, Process, ProcessState, Secrets, Usage,
    },
    owner::Owner,
};

use crate::{
    Adopted, Engine, EngineError, EngineEvent,
    fake_desk::Desk,
    fake_instance::{Instance, Launch},
    fake_record::Record,
};

/// The reference implementation of [`Engine`].
///
/// What a container does is its `args`, read as in [`crate::script`]; without args it is what
/// [`FakeEngine::script`] said of the image, else `serve`. The served application is described at
/// [`crate::fake_app`].
#[derive(Debug)]
pub struct FakeEngine(Arc<Shared>, Generation);

/// How many servers were killed before.
pub(crate) type Generation = u64;

#[derive(Debug)]
struct Shared {
    clock: Clock,
    tasks: Tasks,
    gate: watch::Sender<Gate>,
    desk: Arc<Desk>,
    state: Mutex<State>,
}

/// Does `/hold` hold?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    Closed,
}

#[derive(Debug, Default)]
struct State {
    scripts: HashMap<String, Vec<String>>,
    prepare_faults: HashMap<String, EngineError>,
    start_faults: HashMap<String, EngineError>,
    prepared: HashSet<String>,
    live: HashMap<InstanceId, Arc<Instance>>,
    records: Vec<Arc<Record>>,
    prepares: u64,
    peak_live: usize,
    never_freezes: bool,
    hearing: Hearing,
    connect_fault: Option<i32>,
    down: bool,
    /// Who answers for the metadata server.
    metadata: Option<mpsc::Sender<(TcpStream, InstanceId)>>,
}

/// What an engine knows of who listens, short of connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hearing {
    /// The truth.
    #[default]
    Good,
    /// Nothing: it says so.
    None,
    /// It says that nobody does, whoever does: which no engine should.
    Wrong,
}

// === impl FakeEngine ===

impl FakeEngine {
    /// An engine whose waits are those of `clock`.
    pub fn new(clock: Clock) -> Arc<Self> {
        let shared = Shared {
            clock,
            tasks: Tasks::new(),
            gate: watch::Sender::new(Gate::Closed),
            desk: Arc::new(Desk::new()),
            state: Mutex::default(),
        };
        Arc::new(Self(Arc::new(shared), 0))
    }

    /// From now on containers of `image` that have no args of their own do these steps.
    pub fn script(&self, image: &str, steps: &[&str]) {
        let steps = steps.iter().map(|&step| step.to_owned()).collect();
        self.lock().scripts.insert(image.to_owned(), steps);
    }

    /// From now on `prepare` of `image` fails with `fault`; `None` repairs it.
    pub fn fail_prepare(&self, image: &str, fault: Option<EngineError>) {
        set_fault(&mut self.lock().prepare_faults, image, fault);
    }

    /// From now on `start` of `image` fails with `fault`; `None` repairs it.
    pub fn fail_start(&self, image: &str, fault: Option<EngineError>) {
        set_fault(&mut self.lock().start_faults, image, fault);
    }

    /// From now on `connect` fails with this error of the system, which is ours and not an instance's; `None` repairs it.
    pub fn fail_connect(&self, errno: Option<i32>) {
        self.lock().connect_fault = errno;
    }

    /// From now on this is what it knows of who listens.
    pub fn hear(&self, hearing: Hearing) {
        self.lock().hearing = hearing;
    }

    /// Ends a live instance at once as if by itself, with `exit`. Was it there?
    pub fn kill(&self, id: &InstanceId, exit: Exit) -> bool {
        self.end_of(id, None, exit)
    }

    /// The same, as if this sidecar had ended by itself.
    pub fn kill_sidecar(&self, id: &InstanceId, sidecar: &str, exit: Exit) -> bool {
        self.end_of(id, Some(sidecar.to_owned()), exit)
    }

    fn end_of(&self, id: &InstanceId, sidecar: Option<String>, exit: Exit) -> bool {
        let instance = self.lock().live.get(id).cloned();
        instance.is_some_and(|instance| {
            instance.end(sidecar, exit);
            true
        })
    }

    /// Another engine in place of this one, as if the server had been killed: instances live on, awake, and what was
    /// told and not dealt with is told again. Whoever holds this one can do nothing any more.
    pub fn successor(&self) -> Arc<Self> {
        let generation = self.0.desk.succeed();
        let mut state = self.lock();
        state.prepared.clear();
        state.live.values().for_each(|instance| instance.record.thaw());
        let adopted = self.0.desk.adopted();
        let foreign = state.live.iter().filter(|(id, _)| adopted.iter().all(|known| known.id != **id));
        foreign.for_each(|(_, instance)| instance.end(None, Exit::Signal(9)));
        drop(state);
        Arc::new(Self(self.0.clone(), generation))
    }

    /// An instance of ours; there is none for who was killed.
    fn own(&self, id: &InstanceId) -> io::Result<Arc<Instance>> {
        if self.0.desk.generation() != self.1 {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.0.find(id)
    }

    /// From now on instances cannot be frozen, as on a host without a freezer.
    pub fn never_freeze(&self) {
        self.lock().never_freezes = true;
    }

    /// Lets the requests to `/hold` go, those that wait and those that come.
    pub fn open_gate(&self) {
        self.0.gate.send_replace(Gate::Open);
    }

    /// From now on requests to `/hold` wait.
    pub fn close_gate(&self) {
        self.0.gate.send_replace(Gate::Closed);
    }

    /// Every instance there ever was, oldest first.
    pub fn records(&self) -> Vec<Arc<Record>> {
        self.lock().records.clone()
    }

    /// How many instances are there now.
    pub fn live(&self) -> usize {
        self.lock().live.len()
    }

    /// The most instances that were there at one time.
    pub fn peak_live(&self) -> usize {
        self.lock().peak_live
    }

    /// Whose the instances are that run now.
    pub fn owners(&self) -> Vec<Owner> {
        self.lock().live.values().map(|instance| instance.record.owner.clone()).collect()
    }

    /// How often `prepare` was called.
    pub fn prepares(&self) -> u64 {
        self.lock().prepares
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &InstanceId) -> io::Result<Arc<Instance>> {
        self.lock().live.get(id).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn admit(&self, id: &InstanceId, (spec, secrets): (&InstanceSpec, &Secrets)) -> Result<Vec<Launch>, EngineError> {
        let mut state = self.lock();
        if state.down {
            return Err(EngineError::Host { operation: format!("start of {id}"), cause: "shut down".to_owned() });
        }
        state.check(id, (spec.containers(), secrets))?;
        if state.live.contains_key(id) {
            return Err(EngineError::Host { operation: format!("start of {id}"), cause: "it is there".to_owned() });
        }
        let record = Arc::new(Record::new(id.clone(), spec));
        let instance = Arc::new(Instance::new(id.clone(), record.clone(), spec.port));
        instance.secrets.show(spec, secrets);
        state.live.insert(id.clone(), instance.clone());
        state.records.push(record);
        state.peak_live = state.peak_live.max(state.live.len());
        let first = spec.containers().filter(|container| container.depends_on.is_empty());
        Ok(first.filter_map(|container| state.launch(&instance, (spec, secrets), container)).collect())
    }

    /// Starts containers; returns when all of them run.
    async fn begin(self: &Arc<Self>, launches: Vec<Launch>) {
        let mut all_reached = Vec::new();
        for launch in launches {
            let (running, reached) = oneshot::channel();
            self.tasks.spawn("fake container", OnFailure::Log, self.clone().run(Arc::new(launch), running));
            all_reached.push(reached);
        }
        for reached in all_reached {
            // The sender is dropped at the first step that lasts, or at the end: either way it runs.
            let _ = reached.await;
        }
    }

    /// Runs a container from its start to its end, and with the last one of an instance that.
    async fn run(self: Arc<Self>, launch: Arc<Launch>, running: oneshot::Sender<()>) {
        let instance = &launch.instance;
        tokio::select! {
            biased;
            () = instance.kill.cancelled() => {}
            exit = self.run_steps(&launch, running) => instance.container_ended(launch.sidecar.clone(), exit),
        }
        if !instance.leave() {
            return;
        }
        let (sidecar, exit) = instance.verdict().unwrap_or((None, Exit::Signal(9)));
        // Ends the wait for the grace, too.
        instance.kill.cancel();
        self.lock().live.remove(&instance.id);
        let time = self.clock.now();
        self.desk
            .tell(|receipt| EngineEvent::Exited {
                id: instance.id.clone(),
                sidecar: sidecar.clone(),
                exit: exit.clone(),
                time,
                receipt,
            })
            .await;
    }
}

// === impl State ===

impl State {
    /// May these containers be started?
    fn check<'a>(
        &self,
        id: &InstanceId,
        (containers, secrets): (impl IntoIterator<Item = &'a ContainerSpec>, &Secrets),
    ) -> Result<(), EngineError> {
        for container in containers {
            let image = &container.image;
            if let Err(variable) = secrets.env_of(container) {
                let cause = format!("the variable '{variable}' has no value");
                return Err(EngineError::Host { operation: format!("start of {id}"), cause });
            }
            if let Some(fault) = self.start_faults.get(image) {
                return Err(fault.clone());
            }
            if !self.prepared.contains(image) {
                return Err(EngineError::NotPrepared { id: id.clone(), image: image.clone() });
            }
        }
        Ok(())
    }

    /// What `container` is to do; `None` if it was started before, or the instance ends.
    fn launch(
        &self,
        instance: &Arc<Instance>,
        spec: (&InstanceSpec, &Secrets),
        container: &ContainerSpec,
    ) -> Option<Launch> {
        let steps = match self.scripts.get(&container.image) {
            Some(script) if container.args.is_empty() => script.clone(),
            _ if container.args.is_empty() => vec!["serve".to_owned()],
            _ => container.args.clone(),
        };
        instance.enter(&container.name).then(|| Launch::new(instance.clone(), spec, (container.clone(), steps)))
    }
}

fn inspection(listeners: Vec<Listener>) -> Inspection {
    let process = Process { name: "fake".to_owned(), state: ProcessState::Sleeping, threads: 1 };
    Inspection { listeners: Some(listeners), processes: vec![process], ..Inspection::default() }
}

fn set_fault(faults: &mut HashMap<String, EngineError>, image: &str, fault: Option<EngineError>) {
    match fault {
        Some(fault) => faults.insert(image.to_owned(), fault),
        None => faults.remove(image),
    };
}

#[async_trait]
impl Engine for FakeEngine {
    async fn prepare(&self, spec: &InstanceSpec) -> Result<(), EngineError> {
        let mut state = self.lock();
        state.prepares += 1;
        for container in spec.containers() {
            if let Some(fault) = state.prepare_faults.get(&container.image) {
                return Err(fault.clone());
            }
        }
        state.prepared.extend(spec.containers().map(|container| container.image.clone()));
        Ok(())
    }

    async fn start(&self, id: &InstanceId, spec: &InstanceSpec, secrets: &Secrets) -> Result<(), EngineError> {
        if self.0.desk.generation() != self.1 {
            return Err(EngineError::Host { operation: format!("start of {id}"), cause: "killed".to_owned() });
        }
        let launches = self.0.admit(id, (spec, secrets))?;
        if let Some(known) = Adopted::of(id, spec, self.0.clock.now()) {
            self.0.desk.know(known);
        }
        self.0.begin(launches).await;
        Ok(())
    }

    async fn start_container(
        &self,
        id: &InstanceId,
        (spec, secrets): (&InstanceSpec, &Secrets),
        name: &str,
    ) -> Result<(), EngineError> {
        let Some(container) = spec.container(name) else {
            let operation = format!("start of container '{name}' of {id}");
            return Err(EngineError::Host { operation, cause: "the spec has no such container".to_owned() });
        };
        let launch = {
            let state = self.lock();
            state.check(id, ([container], secrets))?;
            state.live.get(id).and_then(|instance| state.launch(instance, (spec, secrets), container))
        };
        self.0.begin(launch.into_iter().collect()).await;
        Ok(())
    }

    async fn show_secrets(&self, id: &InstanceId, spec: &InstanceSpec, secrets: &Secrets) -> Result<(), EngineError> {
        if let Ok(instance) = self.own(id) {
            instance.secrets.show(spec, secrets);
        }
        Ok(())
    }

    async fn stop(&self, id: &InstanceId, grace: Duration) {
        let Ok(instance) = self.own(id) else { return };
        instance.record.leave();
        if grace.is_zero() {
            return instance.end(None, Exit::Signal(9));
        }
        instance.term.cancel();
        let clock = self.0.clock.clone();
        self.0.tasks.spawn("fake grace", OnFailure::Log, async move {
            tokio::select! {
                () = clock.sleep(grace) => instance.end(None, Exit::Signal(9)),
                () = instance.kill.cancelled() => {}
            }
        });
    }

    async fn connect(&self, id: &InstanceId, port: u16) -> io::Result<TcpStream> {
        let instance = self.own(id)?;
        instance.record.attempts.fetch_add(1, Ordering::SeqCst);
        let fault = self.lock().connect_fault;
        if let Some(errno) = fault {
            return Err(io::Error::from_raw_os_error(errno));
        }
        match instance.address(port) {
            Some(address) => {
                let stream = TcpStream::connect(address).await?;
                instance.record.connections.fetch_add(1, Ordering::SeqCst);
                Ok(stream)
            }
            None => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    fn listens(&self, id: &InstanceId, port: u16) -> Option<bool> {
        let there = self.own(id).ok()?.address(port).is_some();
        match self.lock().hearing {
            Hearing::Good => Some(there),
            Hearing::None => None,
            Hearing::Wrong => Some(false),
        }
    }

    fn freeze(&self, id: &InstanceId) -> io::Result<()> {
        if self.lock().never_freezes {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.own(id)?.record.freeze()
    }

    fn thaw(&self, id: &InstanceId) -> io::Result<()> {
        self.own(id)?.record.thaw();
        Ok(())
    }

    fn limit_cpu(&self, id: &InstanceId, sidecar: Option<&str>, millis: u32) -> io::Result<()> {
        self.own(id)?.record.limit_cpu(sidecar, millis)
    }

    fn metadata(&self) -> Option<mpsc::Receiver<(TcpStream, InstanceId)>> {
        let mut state = self.lock();
        // That of a server which was killed answers nobody any more.
        if state.metadata.as_ref().is_some_and(|sender| !sender.is_closed()) {
            return None;
        }
        let (sender, receiver) = mpsc::channel(16);
        state.metadata = Some(sender);
        Some(receiver)
    }

    async fn usage(&self, id: &InstanceId) -> Option<Usage> {
        self.lock().live.get(id).map(|instance| instance.record.usage())
    }

    async fn inspect(&self, id: &InstanceId) -> Option<Inspection> {
        let instance = self.lock().live.get(id).cloned()?;
        Some(inspection(instance.listeners(|_| true)))
    }

    async fn inspect_container(&self, id: &InstanceId, sidecar: Option<&str>) -> Option<Inspection> {
        let instance = self.lock().live.get(id).cloned()?;
        Some(inspection(instance.listeners(|whose| whose == sidecar)))
    }

    async fn adopted(&self) -> Vec<Adopted> {
        self.0.desk.adopted()
    }

    async fn list(&self) -> Vec<InstanceId> {
        self.lock().live.keys().cloned().collect()
    }

    fn events(&self) -> Option<mpsc::Receiver<EngineEvent>> {
        self.0.desk.events()
    }

    async fn shutdown(&self, grace: Duration) {
        self.lock().down = true;
        for id in self.list().await {
            self.stop(&id, grace).await;
        }
        self.0.tasks.drain().await;
    }
}

#[cfg(test)]
mod tests;
