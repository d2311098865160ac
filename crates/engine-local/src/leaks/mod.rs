//! What carries the tag of an engine and has no living owner (`updraft doctor --leaks`).
//!
//! [`look`] sees and judges; it changes nothing on the host. What is there is read by `scan`, thinly; what of
//! it is nobody's is decided by `judge`, purely. An owner is a process that is alive: the server with its
//! launcher, or a launcher that waits for the next server and has not waited too long. Their descendants, control
//! groups and network namespaces are known from `/proc`. No server has to
//! be asked, so one that hangs can be looked at too, and nothing that belongs to another program or to another
//! server is taken for a leak.

mod judge;
mod scan;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use updraft_base::Clock;

use crate::server::tag_of;

/// Something that was left on the host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Leak {
    /// Of which kind it is.
    pub kind: LeakKind,
    /// The tag it carries.
    pub tag: String,
    /// What it is called: a path, a name, a process number.
    pub what: String,
    /// Why it is nobody's, in a sentence without an end.
    pub why: String,
    /// Tells it from a later thing of the same name.
    identity: u64,
}

/// The kinds of things that can be left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LeakKind {
    /// A launcher, or a process of a container.
    Process,
    /// A control group.
    ControlGroup,
    /// A mount.
    Mount,
    /// A network namespace that is held by a mount.
    Namespace,
    /// A network link; the end of a cable also stands for the namespace at its other end.
    Link,
    /// An nftables table.
    PacketFilter,
    /// A setting of the kernel.
    Setting,
}

/// How far to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// What carries the tag of the data directory.
    Own,
    /// What carries the tag of any engine.
    All,
}

/// What one look at the host found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    /// The leaks, in order.
    pub leaks: BTreeSet<Leak>,
    /// The server that has the data directory, if one is alive.
    pub server: Option<Holder>,
    /// Launchers that keep the instances of a server that was killed, for the next one. They are no leaks.
    pub waiting: Vec<Waiting>,
}

/// A launcher that waits for a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The tag of its engine.
    pub tag: String,
    /// Its process.
    pub pid: u32,
    /// Until when; then it ends everything by itself.
    pub until: SystemTime,
}

/// The process that has a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holder {
    /// Its number; 0 when it cannot be told from here.
    pub pid: u32,
    /// The files it has open.
    pub open: BTreeSet<PathBuf>,
}

/// What was seen of all that may be ours.
#[derive(Debug, Default)]
struct Seen {
    /// Launchers, and the processes in control groups of ours.
    processes: Vec<Process>,
    /// The parent of every process.
    parents: HashMap<u32, u32>,
    groups: Vec<Group>,
    mounts: Vec<Mount>,
    links: Vec<Link>,
    tables: Vec<String>,
    /// Links whose forwarding the engine of the data directory switched on.
    forwarding: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    pid: u32,
    /// When it began, in ticks since the host did.
    started: u64,
    role: Role,
}

/// Why a process is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Role {
    /// It is the launcher of the engine with this tag.
    Launcher(String),
    /// It is in the control group of an instance: tag, instance.
    Inside(String, String),
}

/// A control group: of an engine, or of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    path: PathBuf,
    tag: String,
    instance: Option<String>,
    inode: u64,
}

/// A mount that belongs to an engine by its place or its name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    id: u64,
    tag: String,
    point: PathBuf,
    /// Does it hold a network namespace?
    namespace: bool,
}

/// A link with a name of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    name: String,
    tag: String,
    index: u32,
    /// For a cable, the namespace at its other end; `None` for the gateway's.
    cable_to: Option<Option<i32>>,
}

/// Who lives for a tag.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Owner {
    launcher: Option<u32>,
    /// Until when the launcher waits for a server, if it has none.
    waits: Option<SystemTime>,
    /// The network namespaces that the server, the launcher and the containers hold, by their numbers here.
    namespaces: BTreeSet<i32>,
}

/// The owners by tag. A tag without one is a dead engine's.
type Owners = BTreeMap<String, Owner>;

/// Looks at the host once. What is being made or removed at that moment may be seen as a leak: what two looks
/// some time apart have in common is one. Blocks for some milliseconds.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn look(data_dir: &Path, scope: Scope) -> io::Result<Look> {
    let data_dir = std::fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let tag = tag_of(&data_dir);
    let seen = scan::see(&data_dir, &tag)?;
    let server = scan::holder(&data_dir)?;
    let owners = scan::owners(&seen, server.as_ref().map(|server| (tag.as_str(), server.pid)));
    let only = match scope {
        Scope::Own => Some(tag.as_str()),
        Scope::All => None,
    };
    let (owners, waiting) = judge::living(owners, Clock::system().now());
    let waiting = waiting.into_iter().filter(|one| only.is_none_or(|only| only == one.tag)).collect();
    Ok(Look { leaks: judge::judge(&seen, &owners, only), server, waiting })
}

// === impl Leak ===

impl Leak {
    /// Tells it from a later thing of the same name: the number of a link or an inode, the start of a process.
    pub fn identity(&self) -> u64 {
        self.identity
    }
}

// === impl LeakKind ===

impl LeakKind {
    /// What it is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::ControlGroup => "control group",
            Self::Mount => "mount",
            Self::Namespace => "network namespace",
            Self::Link => "link",
            Self::PacketFilter => "nftables table",
            Self::Setting => "setting",
        }
    }
}

impl fmt::Display for LeakKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Is it the tag of an engine? See [`tag_of`].
fn is_tag(text: &str) -> bool {
    text.len() == 6 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

/// The tag in `updraft-TAG`, which control groups, tables and launchers are called.
fn tag_in(name: &str) -> Option<&str> {
    name.strip_prefix("updraft-").filter(|tag| is_tag(tag))
}
