//! Where an instance stands that has no network namespace and no overlay: a port of the host's, and a copy of
//! its image.

use std::{
    collections::HashMap,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::net::TcpStream;
use updraft_model::{
    instance::{ContainerSpec, Inspection, InstanceId, InstanceSpec, Listener},
    owner::Owner,
};

use super::{
    ports::{Lease, Ports, is_free},
    prepare::{self, Prepared},
};
use crate::{
    inspect,
    protocol::Launch,
    root::{self, Blueprint, Furnishing},
    sandbox::{isolation::Isolation, user},
    sys::{paths::small_text, removal::remove_tree},
};

/// What instances share where they have nothing of their own.
#[derive(Debug)]
pub(super) struct Commons {
    isolation: Isolation,
    tag: String,
    roots: PathBuf,
    resolv_conf: String,
    ports: Ports,
    claims: Claims,
}

/// Which instance listens on a port that it was not given, by port.
type Claims = Arc<Mutex<HashMap<u16, (InstanceId, Owner)>>>;

/// Where one instance stands.
#[derive(Debug)]
pub(super) struct Footing {
    id: InstanceId,
    lease: Lease,
    /// The port that its revision speaks of, which is the lease's to everybody outside of this file.
    wanted: u16,
    was_free: bool,
    insists: AtomicBool,
    reached: AtomicBool,
    complained: AtomicBool,
    looked: Mutex<Option<Instant>>,
    claims: Claims,
    root: PathBuf,
}

/// The variable by which the processes of an instance are known that are not in our tree any more.
pub(super) const MARK: &str = "UPDRAFT_INSTANCE";
/// How often it is looked where an instance listens that does not listen where it should.
const LOOK: Duration = Duration::from_millis(100);
/// How systems and languages say that a port is taken (`EADDRINUSE`).
const IN_USE: [&str; 4] = ["address already in use", "eaddrinuse", "address in use", "port is already allocated"];

// === impl Commons ===

impl Commons {
    pub(super) fn new(isolation: Isolation, tag: &str, run_dir: &Path, dns: &[std::net::IpAddr]) -> io::Result<Self> {
        let roots = roots(run_dir);
        fs::create_dir_all(&roots)?;
        let resolv_conf = if dns.is_empty() {
            fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
        } else {
            dns.iter().map(|server| format!("nameserver {server}\n")).collect()
        };
        let seed = format!("{tag}{}", std::process::id());
        Ok(Self {
            isolation,
            tag: tag.to_owned(),
            roots,
            resolv_conf,
            ports: Ports::new(&seed),
            claims: Claims::default(),
        })
    }

    /// A port and a copy of the image for an instance, and what its launcher has to know.
    pub(super) async fn settle(
        &self,
        id: &InstanceId,
        container: (&InstanceSpec, &ContainerSpec, Vec<(String, String)>),
        prepared: &Prepared,
    ) -> io::Result<(Footing, Launch)> {
        let lease = self.ports.lease()?;
        let (spec, names) = (container.0, prepare::Names::Shared(&self.resolv_conf));
        let mut launch = prepare::launch(&id.0, container, &prepared.rootfs, names);
        let own = [("PORT", lease.port.to_string()), (MARK, format!("{}/{id}", self.tag))];
        for (name, value) in own {
            launch.env.retain(|(known, _)| known != name);
            launch.env.push((name.to_owned(), value));
        }
        let root = self.roots.join(&id.0);
        launch.root = Some(root.clone());
        let footing = Footing {
            id: id.clone(),
            lease,
            wanted: spec.port,
            was_free: is_free(spec.port),
            insists: AtomicBool::new(false),
            reached: AtomicBool::new(false),
            complained: AtomicBool::new(false),
            looked: Mutex::default(),
            claims: self.claims.clone(),
            root,
        };
        let (rootfs, isolation) = (prepared.rootfs.clone(), self.isolation);
        // From here on the footing goes with the work, and removes what there is of the copy if nobody waits for it.
        let work = move || {
            // Read anew for each start, which reads all of the image anyway: kept, it would be kept for every image
            // that was ever deployed.
            let blueprint = Blueprint::of(&rootfs)?;
            let open = |path| fs::File::open(blueprint.find(path)?).ok();
            let text = |path| open(path).map(small_text).unwrap_or_default();
            let identity = user::resolve(&launch.user, &text("/etc/passwd"), &text("/etc/group"));
            let furnishing = Furnishing {
                isolation,
                identity: &identity.map_err(io::Error::other)?,
                etc: &launch.etc,
                memory_bytes: launch.limits.memory_bytes,
            };
            root::build(&blueprint, &footing.root, &furnishing)?;
            Ok((footing, launch))
        };
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    }

    /// Who has `port`, in words.
    pub(super) fn owner(&self, port: u16) -> Option<String> {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((id, owner)) = claims.get(&port) {
            let (resource, id) = (owner.resource(), format!("instance {id}"));
            let part =
                owner.revision().map_or_else(|| id.clone(), |name| format!("revision '{}', {id}", name.revision));
            return Some(format!("{} '{}' ({part})", resource.collection.word(), resource.service));
        }
        drop(claims);
        match inspect::owner(port) {
            Some((pid, _)) if pid == std::process::id() => Some("this server itself".to_owned()),
            Some((pid, name)) => Some(format!("process {pid} ('{name}') of this machine")),
            None if !is_free(port) => Some("another process of this machine".to_owned()),
            None => None,
        }
    }
}

// === impl Footing ===

impl Footing {
    /// A connection to `port`; `look` inspects the instance and is asked only when nobody listens where somebody
    /// should.
    ///
    /// # Errors
    /// The connection's. A port that is not the instance's is refused, whoever listens there: instances share
    /// the host's network, and a probe of one must not reach another one, or the host.
    pub(super) async fn connect<F>(&self, port: u16, look: impl FnOnce() -> F) -> io::Result<Reached>
    where
        F: Future<Output = Option<Inspection>> + Send,
    {
        if port != self.wanted {
            let own = |seen: &Inspection| tcp_ports(seen).is_some_and(|ports| ports.contains(&port));
            if look().await.as_ref().is_some_and(own) {
                return dial(port).await.map(Reached::AsTold);
            }
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        if self.insists.load(Ordering::Acquire) {
            return dial(self.wanted).await.map(Reached::AsTold);
        }
        match dial(self.lease.port).await {
            Ok(stream) => {
                self.reached.store(true, Ordering::Release);
                Ok(Reached::AsTold(stream))
            }
            Err(error) if !self.is_due() => Err(error),
            Err(error) => match look().await {
                Some(seen) if self.is_elsewhere(&seen) => {
                    let stream = dial(self.wanted).await?;
                    let is_new = !self.insists.swap(true, Ordering::AcqRel);
                    Ok(if is_new { Reached::Elsewhere(stream) } else { Reached::AsTold(stream) })
                }
                _ => Err(error),
            },
        }
    }

    /// From now on the port that its revision speaks of is this instance's.
    pub(super) fn claim(&self, owner: &Owner) {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.insert(self.wanted, (self.id.clone(), owner.clone()));
    }

    /// Notes a line of its output.
    pub(super) fn hear(&self, line: &str) {
        // Of interest only until it was reached once.
        if !self.reached.load(Ordering::Acquire) {
            let line = line.to_ascii_lowercase();
            if IN_USE.iter().any(|words| line.contains(words)) {
                self.complained.store(true, Ordering::Release);
            }
        }
    }

    /// The port that it wanted and did not get, as far as can be told when it has ended.
    pub(super) fn missed_port(&self) -> Option<u16> {
        let served = self.reached.load(Ordering::Acquire) || self.insists.load(Ordering::Acquire);
        (!served && self.complained.load(Ordering::Acquire)).then_some(self.wanted)
    }

    /// The port that its revision speaks of.
    pub(super) fn wanted(&self) -> u16 {
        self.wanted
    }

    /// What is seen of the instance as it would be if it had a network of its own: on the port that its revision
    /// speaks of, and not on the one that stands for it here.
    pub(super) fn translate(&self, seen: &mut Inspection) {
        for listener in seen.listeners.iter_mut().flatten() {
            if let Listener::Tcp(address) = listener
                && address.port() == self.lease.port
            {
                address.set_port(self.wanted);
            }
        }
        if let Some(listeners) = &mut seen.listeners {
            listeners.sort();
            listeners.dedup();
        }
    }

    /// Is it time to look? Looking takes milliseconds, and startup probes ask often.
    fn is_due(&self) -> bool {
        let now = updraft_base::Clock::system().instant();
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = looked.is_none_or(|last| now.saturating_duration_since(last) >= LOOK);
        if due {
            *looked = Some(now);
        }
        due
    }

    /// Does it listen where its revision says rather than where it was told to?
    fn is_elsewhere(&self, seen: &Inspection) -> bool {
        match tcp_ports(seen) {
            Some(ports) => ports.contains(&self.wanted) && !ports.contains(&self.lease.port),
            // Whose sockets they are cannot be seen. Then who appeared with the instance must be it.
            None => {
                let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
                self.was_free && !claims.contains_key(&self.wanted) && !is_free(self.wanted)
            }
        }
    }
}

impl Drop for Footing {
    fn drop(&mut self) {
        if self.insists.load(Ordering::Acquire) {
            // A successor may have claimed it already.
            let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
            if claims.get(&self.wanted).is_some_and(|(id, _)| *id == self.id) {
                claims.remove(&self.wanted);
            }
        }
        if let Err(error) = remove_tree(&self.root) {
            tracing::warn!(path = %self.root.display(), %error, "the copy of an image stays until the next start");
        }
    }
}

/// A connection, and what was learnt on the way.
#[derive(Debug)]
pub(super) enum Reached {
    /// Where it was expected.
    AsTold(TcpStream),
    /// For the first time, on the port that its image chose.
    Elsewhere(TcpStream),
}

/// Where the copies are.
pub(super) fn roots(run_dir: &Path) -> PathBuf {
    run_dir.join("roots")
}

async fn dial(port: u16) -> io::Result<TcpStream> {
    TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
}

/// The ports it listens on; `None` when that cannot be seen.
fn tcp_ports(seen: &Inspection) -> Option<Vec<u16>> {
    let port = |listener: &Listener| match listener {
        Listener::Tcp(address) => Some(address.port()),
        Listener::Udp(_) | Listener::Unix(_) => None,
    };
    seen.listeners.as_ref().map(|listeners| listeners.iter().filter_map(port).collect())
}
