//! An engine of its own for each test, and what a test asks of it.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::Runtime,
    sync::mpsc,
};
use updraft_base::{Backoff, Clock, Tasks};
use updraft_engine::{Engine, EngineEvent};
use updraft_engine_local::{Isolation, LauncherCommand, LocalConfig, LocalEngine};
use updraft_model::{
    instance::{ContainerSpec, Egress, Exit, InstanceId, InstanceSpec, Limits, Secrets, Stream},
    name::Parent,
};
use updraft_oci::{ImageStore, ImageStoreConfig};

use crate::image::Image;

/// How long a test waits for what must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// An engine with a loaded image.
pub(crate) struct Bed {
    pub(crate) engine: Arc<LocalEngine>,
    pub(crate) image: String,
    pub(crate) clock: Clock,
    pub(crate) data_dir: PathBuf,
    events: Option<mpsc::Receiver<EngineEvent>>,
    images: ImageStore,
    kind: Kind,
    /// What its tasks run on: ending it ends the engine as SIGKILL does, without a word to anybody.
    runtime: Option<Runtime>,
    _dir: Option<tempfile::TempDir>,
}

/// How an engine makes its instances.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) isolation: Isolation,
    /// Made ahead.
    pub(crate) sandboxes: usize,
    pub(crate) runtime: Option<&'static str>,
    /// The name server of instances, if it is not the host's.
    pub(crate) dns: Option<IpAddr>,
}

/// In our own sandbox, each made when it is needed.
pub(crate) const PLAIN: Kind = Kind { isolation: Isolation::Namespaces, sandboxes: 0, runtime: None, dns: None };

/// By an OCI runtime.
pub(crate) const BY_RUNC: Kind = Kind { runtime: Some("runc"), ..PLAIN };

/// What came of an instance.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) out: Vec<String>,
    pub(crate) err: Vec<String>,
    pub(crate) exit: Exit,
}

// === impl Bed ===

impl Bed {
    /// An engine with the plain image; `None` without root, after saying so.
    pub(crate) async fn new() -> Option<Self> {
        Self::with(Image::plain()).await
    }

    /// An engine with this image, and with its events.
    pub(crate) async fn with(image: Image) -> Option<Self> {
        Self::under(Isolation::Namespaces, image).await
    }

    /// An engine that keeps its instances apart so far, and makes no sandboxes ahead.
    pub(crate) async fn under(isolation: Isolation, image: Image) -> Option<Self> {
        Self::of(Kind { isolation, ..PLAIN }, image).await
    }

    /// An engine that has made so many sandboxes ahead.
    pub(crate) async fn stocked(sandboxes: usize) -> Option<Self> {
        Self::stocked_with(sandboxes, Image::plain()).await
    }

    /// The same, with this image.
    pub(crate) async fn stocked_with(sandboxes: usize, image: Image) -> Option<Self> {
        let bed = Self::of(Kind { sandboxes, ..PLAIN }, image).await?;
        bed.until("sandboxes are made", || bed.engine.spare_sandboxes() == sandboxes).await;
        Some(bed)
    }

    /// An engine that makes its instances like that.
    pub(crate) async fn of(kind: Kind, image: Image) -> Option<Self> {
        if !is_root() {
            return None;
        }
        let dir = tempfile::tempdir().expect("a place for the test");
        let mut bed = Self::at_of(dir.path(), kind, &image).await;
        bed._dir = Some(dir);
        Some(bed)
    }

    /// An engine in a directory that the caller keeps, as engines are by default.
    pub(crate) async fn at(dir: &Path, image: &Image) -> Self {
        let kind = Kind { sandboxes: LocalConfig::new(dir).sandboxes, ..PLAIN };
        Self::at_of(dir, kind, image).await
    }

    /// The same, with this isolation.
    pub(crate) async fn at_under(dir: &Path, isolation: Isolation, image: &Image) -> Self {
        Self::at_of(dir, Kind { isolation, ..PLAIN }, image).await
    }

    /// The same, with instances made like that.
    pub(crate) async fn at_of(dir: &Path, kind: Kind, image: &Image) -> Self {
        let clock = Clock::system();
        let images = ImageStore::open(ImageStoreConfig::new(dir.join("images")), clock.clone()).expect("a new store");
        let image = load(&images, image, "test/probe:v1").await;
        let (engine, runtime) = start(config(dir, kind), images.clone()).await;
        let (data_dir, runtime) = (dir.to_owned(), Some(runtime));
        Self { engine, image, clock, data_dir, events: None, images, kind, runtime, _dir: None }
    }

    /// Another engine on the same directory and images, after the first is gone.
    pub(crate) async fn restart(&mut self) {
        self.start_engine(config(&self.data_dir, self.kind)).await;
    }

    async fn start_engine(&mut self, config: LocalConfig) {
        let (engine, runtime) = start(config, self.images.clone()).await;
        (self.engine, self.events) = (engine, None);
        if let Some(old) = self.runtime.replace(runtime) {
            old.shutdown_background();
        }
    }

    /// Ends the engine as SIGKILL ends a server.
    pub(crate) async fn kill(&mut self) {
        self.engine.forsake();
        let runtime = self.runtime.take().expect("it is killed once");
        let ended = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(DEADLINE));
        ended.await.expect("it ends");
    }

    /// Another engine on the same directory, after the first was killed.
    pub(crate) async fn succeed(&mut self) {
        self.succeed_as(|_| {}).await;
    }

    /// The same, with another configuration.
    pub(crate) async fn succeed_as(&mut self, change: impl FnOnce(&mut LocalConfig)) {
        let mut config = config(&self.data_dir, self.kind);
        change(&mut config);
        self.kill().await;
        self.start_engine(config).await;
    }

    /// Another image, for a container of its own.
    pub(crate) async fn load(&self, image: &Image) -> String {
        load(&self.images, image, "test/other:v1").await
    }

    pub(crate) fn spec(&self, steps: &[&str]) -> InstanceSpec {
        InstanceSpec {
            owner: Parent::new("demo-project", "us-central1").service("reality").revision("reality-1").into(),
            ingress: ContainerSpec {
                env: vec![("PORT".to_owned(), "8080".to_owned()), ("K_SERVICE".to_owned(), "reality".to_owned())],
                ..self.container("reality-1", steps)
            },
            sidecars: Vec::new(),
            volumes: Vec::new(),
            port: 8080,
            egress: Egress::All,
        }
    }

    /// A container that does these steps.
    pub(crate) fn container(&self, name: &str, steps: &[&str]) -> ContainerSpec {
        ContainerSpec {
            name: name.to_owned(),
            image: self.image.clone(),
            args: steps.iter().map(|&step| step.to_owned()).collect(),
            limits: Limits { cpu_millis: 1000, memory_bytes: 128 << 20, pids: 64 },
            ..ContainerSpec::default()
        }
    }

    /// Starts an instance.
    pub(crate) async fn start(&self, spec: &InstanceSpec) -> InstanceId {
        self.start_with(spec, &Secrets::default()).await
    }

    /// The same, with secrets.
    pub(crate) async fn start_with(&self, spec: &InstanceSpec, secrets: &Secrets) -> InstanceId {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = InstanceId(format!("{:08x}", NEXT.fetch_add(1, Ordering::Relaxed)));
        self.engine.prepare(spec).await.expect("the image can be prepared");
        self.engine.start(&id, spec, secrets).await.expect("the instance can be started");
        id
    }

    /// Runs an instance to its end.
    pub(crate) async fn run(&mut self, steps: &[&str]) -> Outcome {
        let spec = self.spec(steps);
        self.run_spec(&spec).await
    }

    /// Runs an instance to its end.
    pub(crate) async fn run_spec(&mut self, spec: &InstanceSpec) -> Outcome {
        let id = self.start(spec).await;
        self.until_exit(&id).await
    }

    /// A connection, as soon as the instance listens.
    pub(crate) async fn knock(&self, id: &InstanceId, port: u16) -> TcpStream {
        let deadline = self.clock.instant() + DEADLINE;
        let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(50));
        loop {
            match self.engine.connect(id, port).await {
                Ok(stream) => break stream,
                Err(error) => assert!(self.clock.instant() < deadline, "it does not listen: {error}"),
            }
            self.clock.sleep(backoff.next_exact()).await;
        }
    }

    /// The whole answer to a GET, asked as soon as the instance listens.
    pub(crate) async fn get(&self, id: &InstanceId, path: &str) -> String {
        let mut stream = self.knock(id, 8080).await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: reality\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("the request is taken");
        let mut answer = String::new();
        let read = self.clock.timeout(DEADLINE, stream.read_to_string(&mut answer)).await;
        read.expect("the answer comes").expect("the answer is text");
        answer
    }

    /// What the instance wrote until its end.
    pub(crate) async fn until_exit(&mut self, wanted: &InstanceId) -> Outcome {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        loop {
            match self.event().await {
                EngineEvent::Output { id, stream, text, .. } if id == *wanted => match stream {
                    Stream::Stdout => out.push(text),
                    Stream::Stderr => err.push(text),
                },
                EngineEvent::Exited { id, exit, .. } if id == *wanted => return Outcome { out, err, exit },
                _ => {}
            }
        }
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> EngineEvent {
        let events = match &mut self.events {
            Some(events) => events,
            empty => empty.insert(self.engine.events().expect("asked for once")),
        };
        let event = self.clock.timeout(DEADLINE, events.recv()).await;
        event.expect("an event in time").expect("the engine is there")
    }

    /// Waits until something holds.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = self.clock.instant() + DEADLINE;
        let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(50));
        while !holds() {
            assert!(self.clock.instant() < deadline, "not in time: {what}");
            self.clock.sleep(backoff.next_exact()).await;
        }
    }

    /// Six digits that tell this engine's things apart on the host.
    pub(crate) fn tag(&self) -> String {
        let text = format!("{:?}", self.engine);
        let at = text.find("tag: \"").expect("it is printed") + 6;
        text[at..at + 6].to_owned()
    }

    /// What there is on the host that carries the tag: control groups, links, processes, mounts.
    pub(crate) fn traces(&self) -> Vec<String> {
        traces(&self.tag(), &self.data_dir)
    }

    /// Ends the engine and checks that nothing is left of it.
    pub(crate) async fn end(self) {
        let (tag, dir) = (self.tag(), self.data_dir.clone());
        self.engine.shutdown(Duration::ZERO).await;
        self.until("nothing is left", || traces(&tag, &dir).is_empty()).await;
        assert!(!dir.join("run").exists());
    }
}

/// What there is on the host that carries this tag.
pub(crate) fn traces(tag: &str, data_dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    for hierarchy in hierarchies {
        let parent = hierarchy.path().join(format!("updraft-{tag}"));
        if parent.exists() {
            found.push(parent.display().to_string());
        }
    }
    for link in std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
        let name = link.file_name().to_string_lossy().into_owned();
        if name.starts_with(&format!("ud{tag}-")) {
            found.push(name);
        }
    }
    let ours = data_dir.join("run").display().to_string();
    for mount in std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines() {
        if mount.contains(&ours) {
            found.push(mount.to_owned());
        }
    }
    found
}

/// Real containers need it; says so where there is none.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped("real containers need root");
    }
    root
}

/// Says why a test is skipped.
#[expect(clippy::print_stderr, reason = "a skip that nobody sees is a test that nobody runs")]
pub(crate) fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

async fn load(images: &ImageStore, image: &Image, name: &str) -> String {
    let layout = tempfile::tempdir().expect("a place for the test");
    image.write(layout.path());
    let loaded = images.load(layout.path(), Some(name)).await.expect("a well-formed layout");
    images.resolve(&loaded[0].reference).await.expect("just loaded")
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The configuration of a test's engine.
fn config(data_dir: &Path, kind: Kind) -> LocalConfig {
    let Kind { isolation, sandboxes, runtime, dns } = kind;
    let launcher = LauncherCommand { program: env!("CARGO_BIN_EXE_updraft-launcher").into(), args: Vec::new() };
    let runtime = runtime.map(PathBuf::from);
    let dns = dns.into_iter().collect();
    LocalConfig { launcher, isolation, sandboxes, runtime, dns, ..LocalConfig::new(data_dir) }
}

async fn start(config: LocalConfig, images: ImageStore) -> (Arc<LocalEngine>, Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
    let tasks = Tasks::new();
    let started = async move { LocalEngine::start(config, images, &tasks, Clock::system()).await };
    let started = runtime.spawn(started);
    (started.await.expect("no panic").expect("the host can run containers"), runtime)
}

#[async_trait]
impl updraft_engine::contract::Bed for Bed {
    fn engine(&self) -> Arc<dyn Engine> {
        self.engine.clone()
    }

    async fn successor(&mut self) {
        self.succeed().await;
    }

    fn instances_outlive_their_engine(&self) -> bool {
        !self.kind.isolation.is_shared()
    }

    fn image(&self) -> String {
        self.image.clone()
    }

    fn can_freeze(&self) -> bool {
        let freezer = updraft_engine_local::survey().into_iter().find(|finding| finding.name == "freezer");
        freezer.is_some_and(|freezer| freezer.verdict == updraft_engine_local::Verdict::Ok)
    }
}
