//! A server whose instances are plain processes of this host: the floor that `cargo xtask bench cold-start` compares
//! with. Front door, proxy, fleet and probe are the product's; of the engine only the spawning of a process is left.
//!
//! `bare DATA_DIR IDLE_TIMEOUT` serves until its standard input closes. It runs a template's `command`, which is a
//! program of the host, and ignores the image.

#![expect(clippy::print_stdout, reason = "tells the bench its address, as `updraft serve` does")]

use std::{
    collections::HashMap,
    env, io,
    net::{Ipv4Addr, TcpListener},
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    io::AsyncReadExt as _,
    net::TcpStream,
    process::{Child, Command},
    sync::{mpsc, oneshot},
};
use updraft::{
    config::{Config, Layer, combine},
    server::{EngineChoice, Options, Server},
};
use updraft_base::{Clock, OnFailure, Tasks};
use updraft_engine::{Adopted, Engine, EngineError, EngineEvent};
use updraft_model::{
    instance::{Exit, Inspection, InstanceId, InstanceSpec, Secrets, Usage},
    receipt::Receipt,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [data_dir, idle_timeout] = arguments.as_slice() else { return Err("usage: bare DATA_DIR IDLE_TIMEOUT".into()) };
    let text = |value: &str| (value.to_owned(), None);
    let settings = [
        ("data-dir", text(data_dir)),
        ("idle-timeout", text(idle_timeout)),
        ("listen", text("127.0.0.1:0")),
        ("registry-listen", text("127.0.0.1:0")),
        ("tls-listen", text("off")),
    ];
    let config = Config::from_resolved(&combine(&[Layer(settings.into())]))?;
    let engine = EngineChoice::Given(Arc::new(Bare::new()));
    let server = Server::start(Options { config, engine, clock: Clock::system() }).await?;
    println!("API http://{}", server.address);
    let mut rest = Vec::new();
    tokio::io::stdin().read_to_end(&mut rest).await?;
    server.stop().await;
    Ok(())
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Processes without any isolation, each with a port of its own.
struct Bare {
    running: Arc<Mutex<HashMap<InstanceId, Process>>>,
    events: Mutex<Option<mpsc::Receiver<EngineEvent>>>,
    exits: mpsc::Sender<EngineEvent>,
    tasks: Tasks,
}

struct Process {
    port: u16,
    kill: Option<oneshot::Sender<()>>,
}

// === impl Bare ===

impl Bare {
    fn new() -> Self {
        let (exits, events) = mpsc::channel(1024);
        Self { running: Arc::default(), events: Mutex::new(Some(events)), exits, tasks: Tasks::new() }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<InstanceId, Process>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, id: InstanceId, mut child: Child, killed: oneshot::Receiver<()>) {
        let (running, exits) = (self.running.clone(), self.exits.clone());
        self.tasks.spawn("bare process", OnFailure::Log, async move {
            tokio::select! {
                _ = child.wait() => {}
                _ = killed => drop(child.kill().await),
            }
            running.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            let (time, receipt) = (Clock::system().now(), Receipt::default());
            let _ = exits.send(EngineEvent::Exited { id, sidecar: None, exit: Exit::Code(0), time, receipt }).await;
        });
    }
}

#[async_trait]
impl Engine for Bare {
    async fn prepare(&self, _spec: &InstanceSpec) -> Result<(), EngineError> {
        Ok(())
    }

    async fn start(&self, id: &InstanceId, spec: &InstanceSpec, _secrets: &Secrets) -> Result<(), EngineError> {
        let host = |error: io::Error| EngineError::Host { operation: "bare exec".to_owned(), cause: error.to_string() };
        let port = free_port().map_err(host)?;
        let [program, args @ ..] = spec.ingress.command.as_slice() else {
            return Err(host(io::ErrorKind::InvalidInput.into()));
        };
        let mut command = Command::new(program);
        command.args(args).args(&spec.ingress.args);
        // What this host's environment says to a runtime, an instance does not hear.
        command.env_clear().env("PATH", PATH).envs(spec.ingress.env.iter().cloned());
        command.env("PORT", port.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().map_err(host)?;
        let (kill, killed) = oneshot::channel();
        self.running().insert(id.clone(), Process { port, kill: Some(kill) });
        self.watch(id.clone(), child, killed);
        Ok(())
    }

    /// There are no volumes.
    async fn show_secrets(
        &self,
        _id: &InstanceId,
        _spec: &InstanceSpec,
        _secrets: &Secrets,
    ) -> Result<(), EngineError> {
        Ok(())
    }

    /// There is one container.
    async fn start_container(
        &self,
        _id: &InstanceId,
        _spec: (&InstanceSpec, &Secrets),
        _name: &str,
    ) -> Result<(), EngineError> {
        Ok(())
    }

    async fn stop(&self, id: &InstanceId, _grace: Duration) {
        let kill = self.running().get_mut(id).and_then(|process| process.kill.take());
        if let Some(kill) = kill {
            let _ = kill.send(());
        }
    }

    async fn connect(&self, id: &InstanceId, _port: u16) -> io::Result<TcpStream> {
        let port = self.running().get(id).map(|process| process.port).ok_or(io::ErrorKind::NotFound)?;
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn usage(&self, _id: &InstanceId) -> Option<Usage> {
        None
    }

    async fn inspect(&self, _id: &InstanceId) -> Option<Inspection> {
        None
    }

    async fn inspect_container(&self, _id: &InstanceId, _sidecar: Option<&str>) -> Option<Inspection> {
        None
    }

    async fn adopted(&self) -> Vec<Adopted> {
        Vec::new()
    }

    async fn list(&self) -> Vec<InstanceId> {
        self.running().keys().cloned().collect()
    }

    fn events(&self) -> Option<mpsc::Receiver<EngineEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn shutdown(&self, _grace: Duration) {
        for id in self.list().await {
            self.stop(&id, Duration::ZERO).await;
        }
        self.tasks.drain().await;
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
