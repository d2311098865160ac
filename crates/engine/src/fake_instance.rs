//! A live instance of the fake, and one container of it.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;
use updraft_model::instance::{ContainerSpec, Exit, InstanceId, InstanceSpec, Listener, Secrets};

use crate::{fake::secrets::SecretFiles, fake_app::Reader, fake_record::Record};

/// A live instance.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    pub(crate) record: Arc<Record>,
    pub(crate) port: u16,
    pub(crate) term: CancellationToken,
    pub(crate) kill: CancellationToken,
    pub(crate) secrets: SecretFiles,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Where what is said to listen on a port can be reached.
    listening: HashMap<u16, SocketAddr>,
    /// What it is said to listen on, by which sidecar.
    listeners: Vec<(Option<String>, Listener)>,
    /// The containers that have been started.
    started: HashSet<String>,
    /// How many of them run.
    running: usize,
    /// Have all of them ended?
    is_over: bool,
    /// Which sidecar ended it, and how.
    verdict: Option<(Option<String>, Exit)>,
    /// Files, by volume or container and path.
    files: HashMap<String, String>,
}

/// What one container is to do.
#[derive(Debug)]
pub(crate) struct Launch {
    /// Its variables from secrets, with their values.
    secret_env: Vec<(String, String)>,
    /// The volumes that are a secret's.
    secret_volumes: HashSet<String>,
    pub(crate) instance: Arc<Instance>,
    /// Its name, if it does not take the traffic.
    pub(crate) sidecar: Option<String>,
    pub(crate) container: ContainerSpec,
    pub(crate) steps: Vec<String>,
    /// The port on which it serves, if it does.
    pub(crate) port: u16,
    /// The names that lead to the instance itself.
    hosts: Vec<String>,
}

// === impl Instance ===

impl Instance {
    pub(crate) fn new(id: InstanceId, record: Arc<Record>, port: u16) -> Self {
        let (term, kill) = (CancellationToken::new(), CancellationToken::new());
        Self { id, record, port, term, kill, secrets: SecretFiles::default(), state: Mutex::default() }
    }

    /// A container is about to run; false if it did before, or the instance ends.
    pub(crate) fn enter(&self, name: &str) -> bool {
        let mut state = self.state();
        let ends = state.is_over || self.term.is_cancelled() || self.kill.is_cancelled();
        if ends || !state.started.insert(name.to_owned()) {
            return false;
        }
        state.running += 1;
        true
    }

    /// A container has ended; was it the last?
    pub(crate) fn leave(&self) -> bool {
        let mut state = self.state();
        state.running -= 1;
        state.is_over = state.running == 0;
        state.is_over
    }

    /// A container has ended by itself.
    pub(crate) fn container_ended(&self, sidecar: Option<String>, exit: Exit) {
        if !self.term.is_cancelled() {
            self.end(sidecar, exit);
        } else if sidecar.is_none() {
            // Told to end: the others go at their own pace.
            self.state().verdict.get_or_insert((None, exit));
        }
    }

    /// Ends it at once, because this happened.
    pub(crate) fn end(&self, sidecar: Option<String>, exit: Exit) {
        self.state().verdict.get_or_insert((sidecar, exit));
        self.kill.cancel();
    }

    pub(crate) fn verdict(&self) -> Option<(Option<String>, Exit)> {
        self.state().verdict.clone()
    }

    pub(crate) fn listen(&self, port: u16, address: Option<SocketAddr>) {
        self.state().listening.extend(address.map(|address| (port, address)));
    }

    pub(crate) fn address(&self, port: u16) -> Option<SocketAddr> {
        self.state().listening.get(&port).copied()
    }

    pub(crate) fn show(&self, sidecar: Option<&str>, listener: Listener) {
        self.state().listeners.push((sidecar.map(str::to_owned), listener));
    }

    /// What is said to listen of those containers.
    pub(crate) fn listeners(&self, whose: impl Fn(Option<&str>) -> bool) -> Vec<Listener> {
        let state = self.state();
        let theirs = state.listeners.iter().filter(|(sidecar, _)| whose(sidecar.as_deref()));
        theirs.map(|(_, listener)| listener.clone()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Launch ===

impl Launch {
    pub(crate) fn new(
        instance: Arc<Instance>,
        (spec, secrets): (&InstanceSpec, &Secrets),
        (container, steps): (ContainerSpec, Vec<String>),
    ) -> Self {
        let secret_env = secrets.env_of(&container).unwrap_or_default().into_iter();
        let secret_env = secret_env
            .map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value.expose()).into_owned()))
            .collect();
        let of_secrets = spec.volumes.iter().filter(|volume| volume.secret_paths().is_some());
        let secret_volumes = of_secrets.map(|volume| volume.name.clone()).collect();
        let sidecar = spec.sidecar_name(&container).map(str::to_owned);
        let own = spec.containers().map(|container| container.name.clone());
        let hosts = own.chain(["localhost".to_owned(), "127.0.0.1".to_owned()]).collect();
        let port = instance.port;
        let mut launch = Self { secret_env, secret_volumes, instance, sidecar, container, steps, port, hosts };
        if launch.sidecar.is_some() {
            launch.port = launch.env("PORT").and_then(|port| port.parse().ok()).unwrap_or(launch.port);
        }
        launch
    }

    pub(crate) fn env(&self, name: &str) -> Option<&str> {
        let all = self.container.env.iter().chain(&self.secret_env).rev();
        all.into_iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// How the application ends its own process.
    pub(crate) fn exit(&self) -> Box<dyn Fn(Exit) + Send + Sync> {
        let (instance, sidecar) = (Arc::downgrade(&self.instance), self.sidecar.clone());
        Box::new(move |exit| {
            if let Some(instance) = instance.upgrade() {
                instance.end(sidecar.clone(), exit);
            }
        })
    }

    pub(crate) fn write(&self, path: &str, text: String) -> Result<(), &'static str> {
        match self.in_volume(path) {
            Some((volume, _)) if self.secret_volumes.contains(volume) => Err("Read-only file system (os error 30)"),
            _ => {
                self.instance.state().files.insert(self.place(path), text);
                Ok(())
            }
        }
    }

    pub(crate) fn read(&self, path: &str) -> Option<String> {
        match self.in_volume(path) {
            Some((volume, rest)) if self.secret_volumes.contains(volume) => self.instance.secrets.read(volume, rest),
            _ => self.instance.state().files.get(&self.place(path)).cloned(),
        }
    }

    /// How the application reads a file.
    pub(crate) fn reader(self: &Arc<Self>) -> Reader {
        let launch = self.clone();
        Box::new(move |path| launch.read(path))
    }

    /// Which file is meant: one of a volume, or one of the container's own.
    fn place(&self, path: &str) -> String {
        match self.in_volume(path) {
            Some((volume, rest)) => format!("volume {volume}: {rest}"),
            None => format!("container {}: {path}", self.container.name),
        }
    }

    /// The volume in which a path is, and where in it.
    fn in_volume<'a>(&'a self, path: &'a str) -> Option<(&'a str, &'a str)> {
        self.container.mounts.iter().find_map(|mount| {
            let rest = path.strip_prefix(mount.path.trim_end_matches('/'))?.strip_prefix('/')?;
            Some((mount.volume.as_str(), rest))
        })
    }

    /// The body of `GET /` at an address of the instance.
    pub(crate) async fn ask(&self, address: &str) -> io::Result<String> {
        let (host, port) = address.rsplit_once(':').ok_or(io::ErrorKind::InvalidInput)?;
        let known = self.hosts.iter().any(|name| name == host);
        let port = port.parse().ok().filter(|_| known).ok_or(io::ErrorKind::InvalidInput)?;
        let address = self.instance.address(port).ok_or(io::ErrorKind::ConnectionRefused)?;
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }
}
