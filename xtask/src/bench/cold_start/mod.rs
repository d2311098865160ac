//! From zero to the first byte, beside what else could have been done.
//!
//! Every start is a first one: ours begins with no instance, the peers with no process. What is compared runs in turn,
//! so that a slow moment of the machine hits all of it. *Back to back* there is no pause between two starts; *spaced*
//! there are 150 ms of quiet before each, which is what a first request usually meets (caches and RCU have gone cold).
//!
//! | row | what runs |
//! |--|--|
//! | `bare` | the program as a process of the host, behind the same front door, proxy, fleet and probe |
//! | `hit` | a sandbox that was made ahead |
//! | `miss` | the same without any made ahead |
//! | `frozen` | an instance that is there and frozen: no start, a thaw |
//! | `warm` | the same, never frozen |
//! | `runc` | `runc run --detach` with what `runc spec` writes, then a request; no proxy |
//! | `docker`, `podman` | `run --detach --publish`, then a request; only where one works |

pub(super) mod apps;
pub(super) mod clock;
pub(super) mod cpu;
pub(super) mod peers;
mod series;

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use self::{
    apps::App,
    clock::now,
    peers::{Runc, Tool},
    series::{Series, Spacing},
};
use super::{
    Options,
    files::Files,
    interrupt,
    machine::Machine,
    report::Report,
    server::{PATIENCE, Server},
};
use crate::Error;

/// Sleeping copies of each application on each server, used in turn: one has to be at zero again when its turn comes.
const COPIES: usize = 8;
/// An instance is kept for so long after its request.
const IDLE: &str = "100ms";
/// The quiet before a spaced start.
const QUIET: Duration = Duration::from_millis(150);
/// After so long everything that was started has ended.
const SETTLED: Duration = Duration::from_millis(600);

/// What is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Bare,
    Hit,
    Miss,
    Frozen,
    Warm,
    Runc,
    Tool,
}

/// Everything that can be started.
struct Rig {
    apps: Vec<App>,
    bare: Site,
    hit: Site,
    miss: Site,
    frozen: Site,
    warm: Site,
    runc: Runc,
    tool: Option<Tool>,
    rounds: usize,
    _files: Files,
}

/// A server with sleeping services.
struct Site {
    server: Server,
    /// For each application, the hosts of its copies.
    hosts: Vec<Vec<String>>,
    next: usize,
}

/// Runs the bench.
pub(crate) fn run(root: &Path, options: &Options) -> Result<Report, Error> {
    let machine = Machine::here();
    let mut rig = Rig::set_up(root)?;
    let mut series = Series::default();
    for app in 0..rig.apps.len() {
        let rounds = match (rig.apps[app].name, options.quick) {
            ("static", true) => 10,
            ("static", false) => 60,
            (_, true) => 5,
            (_, false) => 20,
        };
        // In turns of five, so that both spacings see the same machine.
        for _ in 0..rounds / 5 {
            for spacing in [Spacing::BackToBack, Spacing::Spaced] {
                for _ in 0..5 {
                    rig.round(app, spacing, &mut series)?;
                }
            }
        }
        rig.cpu(app, rounds.min(20), &mut series)?;
    }
    rig.check()?;
    if let Some(tool) = &rig.tool {
        tool.remove(&rig.apps);
    }
    let (rows, ratios) = series.report(&rig.apps, rig.tool.as_ref().map(|tool| tool.name))?;
    Ok(Report { machine, rows, ratios, figures: BTreeMap::new() })
}

// === impl Rig ===

impl Rig {
    fn set_up(root: &Path) -> Result<Self, Error> {
        let files = Files::make("cold")?;
        let mut apps = vec![App::hello(root, files.path())?, App::python(files.path())?];
        match App::node(files.path())? {
            Some(node) => apps.push(node),
            None => eprintln!("there is no node on this machine: its rows are left out"),
        }
        let program = Server::build(root)?;
        let bare = Site::set_up(Server::bare(root, &program, IDLE)?, &apps, true)?;
        let site =
            |apps: &[App], settings: &[&str]| Site::set_up(Server::spawn(program.clone(), settings)?, apps, false);
        let hit = site(&apps, &["--idle-timeout", IDLE])?;
        let miss = site(&apps, &["--idle-timeout", IDLE, "--sandboxes", "0"])?;
        let frozen = site(&apps[..1], &["--freeze-after", "0"])?;
        let warm = site(&apps[..1], &["--freeze-after", "never"])?;
        let runc = Runc::install(files.path(), &apps)?;
        let tool = Tool::find(files.path(), &apps);
        std::thread::sleep(SETTLED);
        Ok(Self { apps, bare, hit, miss, frozen, warm, runc, tool, rounds: 0, _files: files })
    }

    fn ways(&self, app: usize) -> Vec<Way> {
        let all = [Way::Bare, Way::Hit, Way::Miss, Way::Frozen, Way::Warm, Way::Runc, Way::Tool];
        let is_there = |way: &Way| match way {
            Way::Bare | Way::Hit | Way::Miss | Way::Runc => true,
            Way::Frozen | Way::Warm => app == 0,
            Way::Tool => self.tool.is_some(),
        };
        all.into_iter().filter(is_there).collect()
    }

    fn start(&mut self, way: Way, app: usize) -> Result<Duration, Error> {
        self.rounds += 1;
        match way {
            Way::Bare => self.bare.start(app),
            Way::Hit => self.hit.start(app),
            Way::Miss => self.miss.start(app),
            Way::Frozen => self.frozen.start(app),
            Way::Warm => self.warm.start(app),
            Way::Runc => self.runc.start(&self.apps[app], self.rounds),
            Way::Tool => self.tool.as_ref().ok_or("no tool")?.start(&self.apps[app]),
        }
    }

    fn round(&mut self, app: usize, spacing: Spacing, series: &mut Series) -> Result<(), Error> {
        interrupt::check()?;
        for way in self.ways(app) {
            if spacing == Spacing::Spaced {
                std::thread::sleep(QUIET);
            }
            let taken = self.start(way, app)?;
            series.add((app, way, spacing), taken);
        }
        Ok(())
    }

    /// CPU time of a start with its end, of everything that belongs to it but the kernel's own threads.
    fn cpu(&mut self, app: usize, count: usize, series: &mut Series) -> Result<(), Error> {
        let measured = [Way::Bare, Way::Hit, Way::Miss, Way::Runc];
        for way in self.ways(app).into_iter().filter(|way| measured.contains(way)) {
            let root = match way {
                Way::Bare => self.bare.server.pid(),
                Way::Hit => self.hit.server.pid(),
                Way::Miss => self.miss.server.pid(),
                _ => std::process::id(),
            };
            // Not what the servers do while runc is measured, although they are children of this process.
            let servers = [&self.bare, &self.hit, &self.miss, &self.frozen, &self.warm];
            let servers = servers.map(|site| site.server.pid());
            let used = || match way {
                Way::Runc => servers.iter().fold(cpu::of_tree(root), |sum, &pid| sum.saturating_sub(cpu::of_tree(pid))),
                _ => cpu::of_tree(root),
            };
            let before = used();
            for _ in 0..count {
                std::thread::sleep(QUIET);
                self.start(way, app)?;
            }
            std::thread::sleep(SETTLED);
            let spent = used().saturating_sub(before);
            series.cpu((app, way), spent / u32::try_from(count)?);
        }
        Ok(())
    }

    /// Was each of our starts one? A request that met an instance would have been too fast.
    fn check(&self) -> Result<(), Error> {
        for site in [&self.bare, &self.hit, &self.miss] {
            let starts = site.server.metric("updraft_instance_starts_total")?;
            let wanted = (site.next + self.apps.len() * COPIES) as f64;
            if starts < wanted {
                return Err(format!("{starts} starts for {wanted} requests to sleeping services").into());
            }
        }
        // The last one of each service may not have been frozen yet.
        let freezes = self.frozen.server.metric("updraft_instance_freezes_total")?;
        let wanted = self.frozen.next.saturating_sub(COPIES) as f64;
        if freezes < wanted {
            return Err(format!("{freezes} freezes for {wanted} requests to frozen instances").into());
        }
        Ok(())
    }
}

// === impl Site ===

impl Site {
    fn set_up(server: Server, apps: &[App], is_bare: bool) -> Result<Self, Error> {
        let mut hosts = Vec::new();
        for app in apps {
            let image = format!("localhost/{}:latest", app.name);
            server.load(&app.archive(&image)?)?;
            let mut copies = Vec::new();
            for copy in 0..COPIES {
                let name = format!("{}-{copy}", app.name);
                let mut deploy = vec!["deploy", &name, "--image", &image, "--allow-unauthenticated", "--quiet"];
                let command = app.host_argv.join(",");
                if is_bare {
                    deploy.extend(["--command", &command]);
                }
                server.updraft(&deploy)?;
                copies.push(server.host_of(&name)?);
            }
            hosts.push(copies);
        }
        Ok(Self { server, hosts, next: 0 })
    }

    fn start(&mut self, app: usize) -> Result<Duration, Error> {
        let host = &self.hosts[app][self.next % COPIES];
        self.next += 1;
        first_byte(|| request(TcpStream::connect(self.server.address)?, host))
    }
}

/// From before the connection to the first byte of the answer.
pub(super) fn first_byte(send: impl FnOnce() -> Result<TcpStream, Error>) -> Result<Duration, Error> {
    let started = now();
    let mut stream = send()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let taken = started.elapsed();
    if &head[8..] != b" 200" {
        return Err(format!("the answer begins with {:?}", String::from_utf8_lossy(&head)).into());
    }
    Ok(taken)
}

/// Asks on a connection that is used for nothing else.
pub(super) fn request(mut stream: TcpStream, host: &str) -> Result<TcpStream, Error> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    Ok(stream)
}
