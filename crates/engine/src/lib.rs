//! The seam to whatever runs containers.
//!
//! [`Engine`] is the trait, [`FakeEngine`] the reference implementation (virtual time, injected
//! faults), [`contract`] the suite that every implementation passes.
//!
//! An engine keeps no intent: it does what it is told and says what happened. It never restarts,
//! never probes and never decides. Instances are told apart by the [`InstanceId`] the caller made.

pub mod contract;
mod digest;
mod error;
mod fake;
pub mod fake_app;
mod fake_desk;
mod fake_instance;
mod fake_record;
pub mod script;
pub mod seeds;
mod visit;

pub use digest::SpecDigest;
pub use error::EngineError;
pub use fake::{FakeEngine, Hearing};
pub use fake_record::Record;
pub use visit::Visit;

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::{net::TcpStream, sync::mpsc};
use updraft_model::{
    instance::{Exit, Inspection, InstanceId, InstanceSpec, Secrets, Stream, Usage},
    owner::Owner,
    receipt::Receipt,
};

/// What happens to instances. Exits are repeated after a reconnect until acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineEvent {
    /// A line of output, without its end; longer lines come in pieces of at most 64 KiB.
    Output {
        /// Who wrote it.
        id: InstanceId,
        /// Which of its sidecars wrote it; `None` is the container that takes the traffic.
        sidecar: Option<String>,
        /// Where.
        stream: Stream,
        /// What; invalid UTF-8 replaced.
        text: String,
        /// To be dropped once the line has been dealt with: until then a successor of the engine is told it again.
        receipt: Receipt,
    },
    /// The instance listens on the port of its spec although it was told another one, and instances of this engine
    /// share one network: no second instance can listen there.
    Alone {
        /// Which.
        id: InstanceId,
        /// On which port.
        port: u16,
    },
    /// The instance ended, as it seems because somebody else has the port that it wanted: instances of this
    /// engine share one network. Comes before its [`EngineEvent::Exited`].
    Crowded {
        /// Which.
        id: InstanceId,
        /// Which port.
        port: u16,
        /// Who has it, in words.
        by: String,
    },
    /// The instance ended and everything of it is gone, output included: no event follows it.
    Exited {
        /// Which.
        id: InstanceId,
        /// The sidecar that ended first, and with it the instance; `None` is the container that takes the traffic, also
        /// of an instance that was told to end.
        sidecar: Option<String>,
        /// How that container ended.
        exit: Exit,
        /// When its container had ended, the last of several; not when it is told, which for one that ended while no server
        /// was there may be much later.
        time: SystemTime,
        /// To be dropped once the end has been dealt with: until then a successor of the engine is told it again.
        receipt: Receipt,
    },
}

/// An instance that this engine did not start: its predecessor did, and is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// Which.
    pub id: InstanceId,
    /// Whose it is.
    pub owner: Owner,
    /// What it was started from.
    pub spec: SpecDigest,
    /// The port that its container has to listen on.
    pub port: u16,
    /// When it was started.
    pub started: SystemTime,
}

// === impl Adopted ===

impl Adopted {
    /// What a successor has to know of the instance `id`, started from `spec`. Nothing of one of several containers:
    /// some may not have been started yet, and in which order only its server knew. The successor ends it.
    pub fn of(id: &InstanceId, spec: &InstanceSpec, started: SystemTime) -> Option<Self> {
        let (id, owner, digest) = (id.clone(), spec.owner.clone(), SpecDigest::of(spec));
        spec.sidecars.is_empty().then_some(Self { id, owner, spec: digest, port: spec.port, started })
    }
}

/// Runs instances.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Makes everything ready that belongs to a deploy rather than to a start: pulls the pinned
    /// images of all containers, unpacks their layers, resolves entrypoint and user. Idempotent; may take minutes.
    ///
    /// # Errors
    /// [`EngineError::ImageMissing`], [`EngineError::ImageDenied`], [`EngineError::ImageUnfit`],
    /// [`EngineError::Unsupported`] and [`EngineError::Host`] as their names say.
    async fn prepare(&self, spec: &InstanceSpec) -> Result<(), EngineError>;

    /// Starts an instance of a prepared spec: makes its network and its volumes, and starts the containers that depend
    /// on no other. Returns once their processes run; whether they serve is for probes to find out. A container that
    /// cannot be executed is an [`Exit::NotStarted`] event, not an error.
    ///
    /// The end of any of its containers ends the instance: the others are killed.
    ///
    /// `secrets` has the value of every variable and file of the spec that comes from one. They are kept in memory only
    /// and told to nobody but the containers they are for.
    ///
    /// # Errors
    /// [`EngineError::NotPrepared`] when [`Engine::prepare`] has not been called for the image,
    /// [`EngineError::Host`] when the host has no room for it, or a variable no value.
    async fn start(&self, id: &InstanceId, spec: &InstanceSpec, secrets: &Secrets) -> Result<(), EngineError>;

    /// Starts one more container of an instance, which [`Engine::start`] got the same spec for. Returns once its
    /// process runs. That of an instance which ends, or has ended, is no error: the event says so. One that runs
    /// already is left alone.
    ///
    /// # Errors
    /// [`EngineError::NotPrepared`] as for `start`, [`EngineError::Host`] when the spec has no such container or the
    /// host no room for it.
    async fn start_container(
        &self,
        id: &InstanceId,
        (spec, secrets): (&InstanceSpec, &Secrets),
        name: &str,
    ) -> Result<(), EngineError>;

    /// From now on the files of the instance's secret volumes have these contents, of the same spec that it was started
    /// from: all of a volume's at once, so that whoever opens one by one those of a directory gets all of before or all
    /// of after. What cannot be read any more is not there any more. Also for instances that were adopted, and for
    /// frozen ones. One that is not there, or ends, needs nothing: that is no error.
    ///
    /// # Errors
    /// [`EngineError::Host`] when nobody can be told; then the files are what they were.
    async fn show_secrets(&self, id: &InstanceId, spec: &InstanceSpec, secrets: &Secrets) -> Result<(), EngineError>;

    /// SIGTERM to every container, then after `grace` SIGKILL; a frozen instance is thawed first. Returns at once; the
    /// end is an [`EngineEvent::Exited`].
    /// A `grace` of zero kills. Unknown or ended instances are no error: the wish is fulfilled.
    async fn stop(&self, id: &InstanceId, grace: Duration);

    /// A connection to `port` of the instance.
    ///
    /// # Errors
    /// The error of the connection; `NotFound` for an instance that is not there.
    async fn connect(&self, id: &InstanceId, port: u16) -> std::io::Result<TcpStream>;

    /// Would somebody take a connection to `port` of the instance? Answered without connecting: the program notices
    /// nothing, and it takes some microseconds. `None` where only connecting can tell, which is the last word anyway.
    fn listens(&self, id: &InstanceId, port: u16) -> Option<bool> {
        let _ = (id, port);
        None
    }

    /// Takes the CPU away from every process of every container of the instance, until [`Engine::thaw`]. Memory, files
    /// and connections stay; what is connected or sent meanwhile waits. A system call that waits may return early with
    /// `EINTR`, as after a signal. What is frozen is frozen; one that is being stopped is not frozen any more.
    ///
    /// Like `thaw` it waits for nobody but the kernel, some tens of microseconds: both are safe under a lock, which is
    /// how a caller sees to it that no request meets a frozen instance. The last processes may stop a little later.
    ///
    /// # Errors
    /// `Unsupported` where instances cannot be frozen, `NotFound` for one that is not there.
    fn freeze(&self, id: &InstanceId) -> std::io::Result<()> {
        let _ = id;
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// Gives the CPU back. No error if it was not frozen.
    ///
    /// # Errors
    /// As for [`Engine::freeze`].
    fn thaw(&self, id: &InstanceId) -> std::io::Result<()> {
        let _ = id;
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// From now on the sidecar of this name, or the container that takes the traffic, may use so much CPU, in
    /// thousandths; it began with what its spec says. As quick as [`Engine::freeze`].
    ///
    /// # Errors
    /// `Unsupported` where CPU cannot be limited, `NotFound` for one that is not there.
    fn limit_cpu(&self, id: &InstanceId, sidecar: Option<&str>, millis: u32) -> std::io::Result<()> {
        let _ = (id, sidecar, millis);
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// What instances send to the metadata server's address, 169.254.169.254 port 80: connections, and whose each is,
    /// known by where it came in. The first call gets it; until then everybody who asks is told that there is nothing.
    /// `None` where instances cannot be told apart so.
    fn metadata(&self) -> Option<mpsc::Receiver<(TcpStream, InstanceId)>> {
        None
    }

    /// What instances send to the server itself: its services and its API. The first call gets it; `None` where instances
    /// reach it, if at all, as others on the host do.
    fn visits(&self) -> Option<mpsc::Receiver<Visit>> {
        None
    }

    /// What the instance has used; `None` when it is gone.
    async fn usage(&self, id: &InstanceId) -> Option<Usage>;

    /// What the instance looks like from outside its program: what listens in it, what runs, what it
    /// waits for. Only what is its own is told, also where several instances share one network. `None`
    /// when it is gone.
    ///
    /// Reads much of `/proc` and so is for those who look for a cause, not for the way of a request.
    async fn inspect(&self, id: &InstanceId) -> Option<Inspection>;

    /// The same of one container of an instance alone, where there are several: of the sidecar of this name, or of the
    /// container that takes the traffic. One that has not been started yet has nothing to show.
    async fn inspect_container(&self, id: &InstanceId, sidecar: Option<&str>) -> Option<Inspection>;

    /// What this engine took over from one that is gone without a word, as SIGKILL makes it go: instances that live,
    /// perhaps on their way up still, and instances that have ended since. Of both follows what they wrote and nobody
    /// has dealt with, and of the latter their [`EngineEvent::Exited`]. None is frozen; some may still have the CPU of
    /// their start. What was not wanted is for the caller to stop.
    ///
    /// Always the same: what was there when the engine began. To be asked before the events are read.
    async fn adopted(&self) -> Vec<Adopted>;

    /// The instances that are there now.
    async fn list(&self) -> Vec<InstanceId>;

    /// The events, in order for each instance. There is one receiver: the first call gets it, later
    /// ones get `None`.
    fn events(&self) -> Option<mpsc::Receiver<EngineEvent>>;

    /// Stops everything and removes every trace on the host; the engine is of no use afterwards.
    /// `grace` is as for [`Engine::stop`].
    async fn shutdown(&self, grace: Duration);
}
