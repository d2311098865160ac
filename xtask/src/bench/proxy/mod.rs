//! The front door beside nginx, HAProxy and Caddy, all of them before one and the same backend.
//!
//! The backend is an instance that Updraft has started; the others have its address for their upstream. Everybody has
//! one worker, a log of all requests, and keeps connections on both sides. Where there are two processors, the proxies
//! have the last one and nothing else has it: clients and backend share the others. In each round every proxy has
//! its turn at each concurrency; `backend direct` has no proxy, and so tells what clients and backend take.
//!
//! All load goes to one host of the 1, 100 or 10,000 that have a route: in Updraft the others are services at zero.
//!
//! CPU is that of the proxy's processes alone: of Updraft the server's, not its launcher's nor the instance's. *busy* is
//! the share of a processor that it had: where that is less than all, it is the backend that says how many
//! requests there are in a second, and CPU per request that says what the proxy takes. Every figure of a row is the
//! median of its rounds; `n`, least and most are those of all rounds.

mod backend;
mod configs;
mod peers;
mod turns;

use std::{collections::BTreeMap, path::Path, time::Duration};

use self::{
    backend::{IMAGE, Ours},
    peers::{Kind, Peer},
    turns::{Key, Turns, Who},
};
use super::{
    Options,
    cold_start::{apps::App, clock::now, cpu},
    files::Files,
    http::Connection,
    interrupt,
    load::Clients,
    machine::Machine,
    memory,
    process::{self, Processors},
    report::Report,
    server::Server,
    services::{self, Wanted},
};
use crate::Error;

/// Connections with a request under way.
const CONCURRENCY: [usize; 3] = [1, 64, 512];
/// Before the time that counts: connections to the backend are made.
const WARM_UP: Duration = Duration::from_millis(50);
/// What was opened has come to rest after that.
const REST: Duration = Duration::from_millis(500);

/// How much of it.
struct Scale {
    /// Numbers of routes.
    routes: [usize; 3],
    rounds: usize,
    /// How long each has at a time.
    turn: Duration,
    /// Idle connections whose memory is measured.
    idle: usize,
    /// How long the making of services may take.
    patience: Duration,
}

/// One run.
struct Bench {
    scale: Scale,
    ours: Ours,
    kinds: Vec<Kind>,
    processors: Processors,
    turns: Turns,
    figures: BTreeMap<String, f64>,
    files: Files,
}

/// Runs the bench.
pub(crate) fn run(root: &Path, options: &Options) -> Result<Report, Error> {
    let machine = Machine::here();
    process::raise_open_files()?;
    let files = Files::make("proxy")?;
    let kinds = Kind::installed();
    let app = App::hello(root, files.path())?;
    let program = match &options.updraft {
        Some(program) => program.clone(),
        None => Server::build(root)?,
    };
    let processors = Processors::divide()?;
    processors.rest(std::process::id());
    let ours = Ours::start(&program, &app, &processors)?;
    let scale = Scale::of(options);
    let mut bench = Bench { scale, ours, kinds, processors, turns: Turns::default(), figures: BTreeMap::new(), files };
    for routes in bench.scale.routes {
        bench.stage(routes)?;
    }
    bench.report(machine)
}

// === impl Scale ===

impl Scale {
    fn of(options: &Options) -> Self {
        let (rounds, turn, idle) = match options.quick {
            true => (3, Duration::from_millis(200), 500),
            false => (5, Duration::from_secs(1), 2000),
        };
        let most = options.count.unwrap_or(if options.quick { 1000 } else { 10_000 });
        Self { routes: [1, 100.min(most), most], rounds, turn, idle, patience: Duration::from_secs(900) }
    }
}

// === impl Bench ===

impl Bench {
    /// All rounds with so many routes.
    fn stage(&mut self, routes: usize) -> Result<(), Error> {
        let routes = self.fill(routes)?;
        let hosts = self.ours.hosts(routes);
        let start = |kind| {
            let peer = Peer::start(kind, self.ours.backend, &hosts, self.files.path())?;
            process::family(peer.pid()).into_iter().for_each(|pid| self.processors.measured(pid));
            Ok(peer)
        };
        let peers: Vec<Peer> = self.kinds.iter().map(|&kind| start(kind)).collect::<Result<_, Error>>()?;
        if routes == 1 {
            self.idle_memory(&peers)?;
        }
        eprintln!("{routes} routes: {} rounds", self.scale.rounds);
        for round in 0..self.scale.rounds {
            for concurrency in CONCURRENCY {
                let mut order = self.everybody(&peers);
                let first = round % order.len();
                order.rotate_left(first);
                for (who, peer) in order {
                    self.turn(Key { routes, concurrency, who }, peer)?;
                }
            }
        }
        Ok(())
    }

    fn everybody<'a>(&self, peers: &'a [Peer]) -> Vec<(Who, Option<&'a Peer>)> {
        let ours = [(Who::Direct, None), (Who::Updraft, None)];
        ours.into_iter().chain(peers.iter().map(|peer| (Who::Peer(peer.kind), Some(peer)))).collect()
    }

    /// Makes services until there are so many routes, or the time is over; says how many there are.
    fn fill(&mut self, routes: usize) -> Result<usize, Error> {
        // The service with the instance is one of them.
        let (from, to) = (self.made(), routes - 1);
        if from >= to {
            return Ok(routes);
        }
        let deadline = now() + self.scale.patience;
        let wanted = Wanted { api: self.ours.server.address, image: IMAGE, deadline };
        let made = services::make(wanted, from, to)?;
        let seconds = made.ready.unwrap_or(made.accepted).as_secs_f64();
        eprintln!(
            "services {from} to {}: accepted after {:.1?}, ready after {:.1?}",
            made.count, made.accepted, made.ready
        );
        if made.count < to || made.ready.is_none() {
            eprintln!("{routes} routes were out of reach within {:?}", self.scale.patience);
            self.figures.insert("routes_out_of_reach".to_owned(), routes as f64);
        }
        self.figures.insert("services_made".to_owned(), made.count as f64);
        self.figures.insert("services_seconds".to_owned(), seconds);
        Ok(made.count + 1)
    }

    /// Services beside the one with the instance.
    fn made(&self) -> usize {
        self.figures.get("services_made").map_or(0, |made| *made as usize)
    }

    /// One turn of one of them.
    fn turn(&mut self, key: Key, peer: Option<&Peer>) -> Result<(), Error> {
        let address = match (key.who, peer) {
            (Who::Direct, _) => self.ours.backend,
            (_, Some(peer)) => peer.address,
            (_, None) => self.ours.server.address,
        };
        let used = || match (key.who, peer) {
            (Who::Direct, _) => Duration::ZERO,
            (_, Some(peer)) => cpu::of_tree(peer.pid()),
            (_, None) => cpu::of_one(self.ours.server.pid()),
        };
        let mut clients = Clients::connect(address, &self.ours.host, key.concurrency)?;
        clients.run(WARM_UP, || ())?;
        let before = used();
        let (spell, after) = clients.run(self.scale.turn, used)?;
        self.turns.add(key, &spell, after.saturating_sub(before))?;
        peer.map_or(Ok(()), Peer::empty_log)
    }

    /// What an idle connection takes of each proxy's memory. First of all: what load has left would be used again.
    fn idle_memory(&mut self, peers: &[Peer]) -> Result<(), Error> {
        for (who, peer) in self.everybody(peers).into_iter().filter(|(who, _)| *who != Who::Direct) {
            let (address, server) =
                (peer.map_or(self.ours.server.address, |peer| peer.address), self.ours.server.pid());
            let pss = || match peer {
                Some(peer) => Ok(memory::pss_kib_of_tree(peer.pid())),
                None => memory::pss_kib(server),
            };
            let before = pss()?;
            let mut open = Vec::new();
            for _ in 0..self.scale.idle {
                interrupt::check()?;
                let mut connection = Connection::open(address)?;
                connection.get(&self.ours.host, "/")?;
                open.push(connection);
            }
            std::thread::sleep(REST);
            let each = pss()?.saturating_sub(before) as f64 / self.scale.idle as f64;
            self.figures.insert(format!("idle_connection_kib_{}", who.name()), each);
        }
        Ok(())
    }

    fn report(mut self, machine: Machine) -> Result<Report, Error> {
        let server = &self.ours.server;
        let lost = server.metric("updraft_request_log_lost_total")?;
        let forwarded = self.turns.count(Who::Updraft) as f64;
        self.figures.insert("updraft_log_lost_share".to_owned(), lost / forwarded.max(1.0));
        self.figures.insert("routes_most".to_owned(), (self.made() + 1) as f64);
        self.figures.insert("workers".to_owned(), 1.0);
        let apart = if self.processors.are_apart() { 1.0 } else { 0.0 };
        self.figures.insert("processor_of_their_own".to_owned(), apart);
        let (rows, ratios, busy) = self.turns.report()?;
        self.figures.extend(busy);
        Ok(Report { machine, rows, ratios, figures: self.figures })
    }
}
