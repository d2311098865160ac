//! The peers: Debian's nginx, HAProxy and Caddy, each with a configuration, a directory and a port of its own. Nothing
//! of what the machine may have of them is read or touched.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::configs::{self, Setting};
use crate::{
    Error,
    bench::{cold_start::clock::now, http::Connection, interrupt, server::PATIENCE},
    test,
};

/// Which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Nginx,
    Haproxy,
    Caddy,
}

/// One that runs.
#[derive(Debug)]
pub(super) struct Peer {
    /// Which.
    pub(super) kind: Kind,
    /// Where it listens.
    pub(super) address: SocketAddr,
    child: Child,
    log: PathBuf,
}

// === impl Kind ===

impl Kind {
    /// All.
    pub(super) const ALL: [Self; 3] = [Self::Nginx, Self::Haproxy, Self::Caddy];

    /// The program, and what rows call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Caddy => "caddy",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Nginx => "nginx-light",
            Self::Haproxy | Self::Caddy => self.name(),
        }
    }

    /// Those that are on this machine; says which are not, and how they come here.
    pub(super) fn installed() -> Vec<Self> {
        let (there, missing): (Vec<Self>, Vec<Self>) =
            Self::ALL.into_iter().partition(|kind| test::which(kind.name()).is_some());
        if !missing.is_empty() {
            let names: Vec<&str> = missing.iter().map(|kind| kind.name()).collect();
            let packages: Vec<&str> = missing.iter().map(|kind| kind.package()).collect();
            eprintln!("not installed, so without rows: {}", names.join(", "));
            eprintln!("hint: apt-get install --no-install-recommends {}", packages.join(" "));
        }
        there
    }

    /// The command that runs it in the foreground, its configuration written.
    fn command(self, setting: Setting<'_>) -> Result<Command, Error> {
        let dir = setting.dir;
        let program = test::which(self.name()).ok_or_else(|| format!("{} is not installed", self.name()))?;
        let mut command = Command::new(program);
        let config = dir.join("config");
        match self {
            Self::Nginx => {
                fs::write(&config, configs::nginx(setting))?;
                command.arg("-p").arg(dir).arg("-e").arg(dir.join("error.log")).arg("-c").arg(&config);
            }
            Self::Haproxy => {
                fs::write(&config, configs::haproxy(setting))?;
                fs::write(dir.join("hosts.map"), configs::haproxy_map(setting.hosts))?;
                command.arg("-db").arg("-f").arg(&config);
            }
            Self::Caddy => {
                fs::write(&config, configs::caddy(setting).to_string())?;
                command.args(["run", "--config"]).arg(&config);
                // Go's way to say how many processors work at a time; what it keeps goes into the directory.
                command.env("GOMAXPROCS", "1").env("HOME", dir).env("XDG_DATA_HOME", dir).env("XDG_CONFIG_HOME", dir);
            }
        }
        Ok(command)
    }
}

// === impl Peer ===

impl Peer {
    /// Starts one, and waits until it answers for its last host.
    pub(super) fn start(kind: Kind, backend: SocketAddr, hosts: &[String], dir: &Path) -> Result<Self, Error> {
        let dir = dir.join(kind.name());
        fs::create_dir_all(&dir)?;
        // Free a moment ago; nobody else takes ports of that range by number.
        let listen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = kind.command(Setting { listen, backend, hosts, dir: &dir })?;
        // One of them logs there. Appended to, so that it can be emptied meanwhile.
        let log = dir.join("access.log");
        let out = fs::File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stdout(out).stderr(fs::File::create(dir.join("stderr"))?);
        let child = command.spawn()?;
        let mut this = Self { kind, address: listen, child, log };
        this.await_answer(hosts.last().map(String::as_str).unwrap_or_default(), &dir)?;
        Ok(this)
    }

    fn await_answer(&mut self, host: &str, dir: &Path) -> Result<(), Error> {
        let deadline = now() + PATIENCE;
        loop {
            interrupt::check()?;
            let asked = Connection::open(self.address).and_then(|mut door| door.get(host, "/"));
            match asked {
                Ok(answer) if answer.status == 200 => return Ok(()),
                _ if self.child.try_wait()?.is_none() && now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                asked => {
                    let said = fs::read_to_string(dir.join("stderr")).unwrap_or_default();
                    let name = self.kind.name();
                    return Err(format!("{name} does not answer ({asked:?}); it said: {said}").into());
                }
            }
        }
    }

    /// Its process; it may have children.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Empties its log, which would fill the disk.
    pub(super) fn empty_log(&self) -> Result<(), Error> {
        Ok(fs::File::options().write(true).open(&self.log)?.set_len(0)?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // SIGTERM, so that it ends its children; it is our own child, so the id cannot be another's.
            let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
            let deadline = now() + Duration::from_secs(5);
            while matches!(self.child.try_wait(), Ok(None)) && now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
