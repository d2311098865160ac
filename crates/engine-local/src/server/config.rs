//! How the engine is set up.

use std::{ffi::OsString, net::IpAddr, path::PathBuf, time::Duration};

use crate::sandbox::isolation::Isolation;

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct LocalConfig {
    /// Where the engine may keep files; nobody else uses its directory `run`. It also tells engines
    /// apart: what is made on the host carries a tag derived from this path.
    pub data_dir: PathBuf,
    /// Name servers of instances; empty for those of the host.
    pub dns: Vec<IpAddr>,
    /// Names below it are those of services: they lead instances to the server itself.
    pub domain: String,
    /// The ports of the server that instances reach there.
    pub ports: Vec<u16>,
    /// How far instances are kept apart.
    pub isolation: Isolation,
    /// The OCI runtime that makes the sandboxes: a path, or a name to look for in `PATH`. `None` for ourselves; only
    /// with [`Isolation::Namespaces`].
    pub runtime: Option<PathBuf>,
    /// How many sandboxes are made before they are needed; only where we make them. Each takes about a
    /// megabyte of memory and an address. 0 makes none.
    pub sandboxes: usize,
    /// How the launcher is started.
    pub launcher: LauncherCommand,
    /// How long instances are kept when this server is gone without a word, in whole seconds; 0 keeps none. Only with
    /// [`Isolation::Namespaces`].
    pub orphaned: Duration,
    /// What becomes of the instances that a server before this one left in that way.
    pub predecessor: Predecessor,
}

/// What to do with the instances of a server that was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Predecessor {
    /// Go on with them, as far as they can be.
    #[default]
    Adopt,
    /// End them before anything else.
    End,
}

/// The command that runs [`crate::launcher_main`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LauncherCommand {
    /// The program: a path, which is not searched for. It is executed from a read-only mount of the
    /// server's own making.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

// === impl LocalConfig ===

impl LocalConfig {
    /// The whole sandbox, the host's name servers, and the launcher in this very program.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            dns: Vec::new(),
            domain: "run.localhost".to_owned(),
            ports: Vec::new(),
            isolation: Isolation::default(),
            runtime: None,
            sandboxes: 4,
            launcher: LauncherCommand::default(),
            orphaned: Duration::from_secs(15 * 60),
            predecessor: Predecessor::default(),
        }
    }
}

// === impl LauncherCommand ===

impl Default for LauncherCommand {
    /// `updraft __launcher`: the program that is running, even if its file has been replaced.
    fn default() -> Self {
        Self { program: PathBuf::from("/proc/self/exe"), args: vec![OsString::from("__launcher")] }
    }
}
