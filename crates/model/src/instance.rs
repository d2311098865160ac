//! Instances: what is started, how it ends.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{fault::StartFault, owner::Owner};

mod containers;
mod secrets;

pub use containers::{ContainerSpec, Contents, Mount, VolumeSpec};
pub use secrets::{SecretEnv, SecretFile, SecretPath, Secrets};

/// The identity of one instance: hex, unique for ever, made by who starts it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(pub String);

/// Everything an engine must know to start an instance, and nothing it has to ask for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InstanceSpec {
    /// Whose instance it is.
    pub owner: Owner,
    /// The container that takes the traffic.
    pub ingress: ContainerSpec,
    /// The containers beside it. All of an instance's have names of their own.
    pub sidecars: Vec<ContainerSpec>,
    /// What they share files in.
    pub volumes: Vec<VolumeSpec>,
    /// The port the ingress container has to listen on.
    pub port: u16,
    /// Where it may open connections to.
    pub egress: Egress,
}

/// Where an instance may open connections to. Answers to connections that it takes go out in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Egress {
    /// Nowhere, name servers included.
    None,
    /// To private addresses: 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 (RFC 1918), 100.64.0.0/10 (RFC 6598) and
    /// fc00::/7 (RFC 4193), but neither to the host itself nor to other instances.
    Private,
    /// To wherever the host can, but neither to the host itself nor to other instances.
    #[default]
    All,
}

/// What a container, or a whole instance, may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Limits {
    /// Thousandths of a CPU.
    pub cpu_millis: u32,
    /// Bytes of memory, files in the writable root included.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
}

/// How an instance ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// The main process ended with this code.
    Code(i32),
    /// The main process was ended by this signal.
    Signal(i32),
    /// The kernel ended it for its memory.
    OutOfMemory {
        /// The limit, in bytes.
        limit: u64,
        /// The highest use seen, in bytes; 0 when the kernel does not tell.
        used: u64,
    },
    /// It ended by itself, not well, after the kernel had refused it a new process or thread.
    OutOfProcesses {
        /// How many it may have.
        limit: u32,
        /// How it ended, as a shell says it: the code, or 128 and the signal.
        status: i32,
    },
    /// It never ran: the sandbox could not be made, or the entrypoint could not be executed.
    NotStarted {
        /// Why.
        cause: StartFault,
    },
    /// The engine lost sight of it (its launcher ended).
    Lost,
}

// === impl Egress ===

impl Egress {
    /// The strictest first.
    pub const EVERY: [Self; 3] = [Self::None, Self::Private, Self::All];

    /// As it is written in annotations and flags.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Private => "private",
            Self::All => "all",
        }
    }

    /// The one that is written so, if there is one.
    pub fn from_word(text: &str) -> Option<Self> {
        Self::EVERY.into_iter().find(|one| one.word() == text)
    }
}

impl fmt::Display for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Which of the two streams a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Where an instance can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// The address, as seen from the server.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
}

/// What an instance has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// CPU time.
    pub cpu: Duration,
    /// Memory in use now, in bytes.
    pub memory_bytes: u64,
    /// The highest memory use, in bytes.
    pub memory_peak_bytes: u64,
}

/// What an instance looks like from outside its program, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inspection {
    /// Its sockets that wait for somebody; `None` when the host does not let us see whose they are.
    pub listeners: Option<Vec<Listener>>,
    /// Where its processes try to connect to and have not been answered yet, each address once.
    pub connecting: Vec<SocketAddr>,
    /// Its processes, the first one first.
    pub processes: Vec<Process>,
    /// What it has used so far.
    pub usage: Usage,
    /// How often it was refused a new process or thread for [`Limits::pids`].
    pub forks_refused: u64,
    /// How many of its processes the kernel has killed for [`Limits::memory_bytes`].
    pub memory_kills: u64,
    /// TCP ports on which it listens at `[::]`, and where a connection by IPv4 was refused a moment later: the socket
    /// is for IPv6 only (`IPV6_V6ONLY`).
    pub refuses_ipv4: Vec<u16>,
}

/// A socket that waits for somebody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Listener {
    /// TCP, with the address it is bound to.
    Tcp(SocketAddr),
    /// UDP that is not connected, with the address it is bound to.
    Udp(SocketAddr),
    /// A UNIX socket that accepts connections, with its path; `@` begins an abstract one.
    Unix(String),
}

/// A process of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The kernel's name of it: the first 15 bytes of the program's file name, unless it changed that.
    pub name: String,
    /// What it is about.
    pub state: ProcessState,
    /// Its threads.
    pub threads: u32,
}

/// What a process is about, as the kernel sees its main thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProcessState {
    /// It runs, or would if it had a CPU.
    Running,
    /// It waits for something: time, input, an answer.
    Sleeping,
    /// It waits for a disk or the kernel and cannot be woken.
    Blocked,
    /// It was stopped by a signal or a tracer.
    Stopped,
    /// It has ended and its parent has not asked how.
    Zombie,
}

// === impl InstanceId ===

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Listener ===

impl Listener {
    /// Its address, if it is TCP.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Udp(_) | Self::Unix(_) => None,
        }
    }
}

/// `127.0.0.1:8080`, `127.0.0.1:53 (UDP)`, `/run/app.sock (UNIX socket)`.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Udp(address) => write!(f, "{address} (UDP)"),
            Self::Unix(path) => write!(f, "{path} (UNIX socket)"),
        }
    }
}

// === impl Exit ===

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1 << 20;
        match self {
            Self::Code(code) => write!(f, "Container called exit({code})."),
            Self::Signal(signal) => write!(f, "Container terminated on signal {signal}."),
            Self::OutOfMemory { limit, used } => write!(
                f,
                "Memory limit of {} MiB exceeded with {} MiB used. Consider increasing the memory limit, see https://cloud.google.com/run/docs/configuring/memory-limits",
                limit / MIB,
                used.max(limit) / MIB
            ),
            Self::OutOfProcesses { limit, status } => {
                write!(f, "Limit of {limit} processes and threads reached. Container ended with status {status}.")
            }
            Self::NotStarted { cause } => write!(f, "The container could not be started: {cause}"),
            Self::Lost => f.write_str("The instance was lost with the process that kept it."),
        }
    }
}
