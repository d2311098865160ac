//! As many first requests as the machine takes: scale from zero all the time, beside runc in a loop.
//!
//! Ours: clients in a closed loop, each with services of its own that it asks in turn. An instance is not kept after
//! its request (`--idle-timeout 0ms`), so every request meets a sleeping service; the count of starts proves it.
//! Theirs: two workers, each `runc run`, the first byte, `runc delete`, with the same program. They take turns of five
//! seconds, and a turn is over when nothing that was started in it is left: ending is part of the work, on both sides.
//!
//! `leaked` counts what our server has on the machine when all is quiet again, beyond what it had before the storm,
//! when all was quiet too: see [`holdings`].

mod holdings;
mod load;

use std::{path::Path, time::Duration};

use self::{holdings::Holdings, load::Turn};
use super::{
    Options,
    cold_start::{apps::App, clock::now, cpu, peers::Runc},
    files::Files,
    interrupt,
    machine::Machine,
    report::{Report, Row},
    server::{PATIENCE, Server},
};
use crate::Error;

/// Clients of ours, each with a request under way.
const CLIENTS: usize = 4;
/// Sleeping services of each client.
const SERVICES: usize = 16;
/// Loops of runc.
const WORKERS: usize = 2;
/// How long one side works until it is the other's turn.
const TURN: Duration = Duration::from_secs(5);
/// How often it is looked whether all is quiet.
const LOOK: Duration = Duration::from_millis(20);
/// All is quiet when nothing has changed for so many looks.
const QUIET_LOOKS: usize = 25;

/// One side's turns.
#[derive(Debug, Default)]
struct Sum {
    taken: Vec<Duration>,
    time: Duration,
    /// CPU time of all processes that had to do with it.
    cpu: Duration,
}

/// Runs the bench.
pub(crate) fn run(root: &Path, options: &Options) -> Result<Report, Error> {
    let machine = Machine::here();
    let files = Files::make("storm")?;
    let app = App::hello(root, files.path())?;
    let program = match &options.updraft {
        Some(program) => program.clone(),
        None => Server::build(root)?,
    };
    let server = Server::spawn(program, &["--idle-timeout", "0ms"])?;
    let hosts = deploy(&server, &app)?;
    let peers: Vec<Runc> = (0..WORKERS)
        .map(|worker| Runc::install(&files.path().join(format!("worker{worker}")), std::slice::from_ref(&app)))
        .collect::<Result<_, _>>()?;
    // Once around, so that what a server opens for each service is open.
    load::warm(&server, &hosts)?;
    let before = settle(&server, None)?;

    let (mut ours, mut theirs) = (Sum::default(), Sum::default());
    let own_cpu = || cpu::of_tree(std::process::id()).saturating_sub(cpu::of_tree(server.pid()));
    let starts = server.metric(STARTS)?;
    let turns = if options.quick { 2 } else { 12 };
    for turn in 0..turns {
        interrupt::check()?;
        let before = cpu::of_tree(server.pid());
        ours.add(load::storm(&server, &hosts, TURN)?);
        ours.cpu += cpu::of_tree(server.pid()).saturating_sub(before);
        let before = own_cpu();
        theirs.add(load::peers(&peers, &app, (turn, TURN))?);
        theirs.cpu += own_cpu().saturating_sub(before);
    }
    let starts = server.metric(STARTS)? - starts;
    if starts < ours.taken.len() as f64 {
        return Err(format!("{starts} starts for {} requests to sleeping services", ours.taken.len()).into());
    }
    let after = settle(&server, Some(&before))?;
    let leaked = after.beyond(&before);
    leaked.iter().for_each(|(what, count)| eprintln!("left: {count} {what}"));
    report(machine, (ours, theirs), leaked.values().sum())
}

/// The number of instances that were started.
const STARTS: &str = "updraft_instance_starts_total";

fn deploy(server: &Server, app: &App) -> Result<Vec<Vec<String>>, Error> {
    const IMAGE: &str = "localhost/storm:latest";
    server.load(&app.archive(IMAGE)?)?;
    let one = |client: usize, number: usize| -> Result<String, Error> {
        let name = format!("storm-{client}-{number}");
        server.updraft(&["deploy", &name, "--image", IMAGE, "--allow-unauthenticated", "--quiet"])?;
        server.host_of(&name)
    };
    (0..CLIENTS).map(|client| (0..SERVICES).map(|number| one(client, number)).collect()).collect()
}

/// What the server has once all is quiet: when it is as it was `wanted`, or, for want of that, does not change any
/// more.
fn settle(server: &Server, wanted: Option<&Holdings>) -> Result<Holdings, Error> {
    let deadline = now() + PATIENCE;
    let (mut last, mut same) = (Holdings::of(server)?, 0);
    loop {
        server.until_zero()?;
        std::thread::sleep(LOOK);
        let seen = Holdings::of(server)?;
        same = if seen == last { same + 1 } else { 0 };
        last = seen;
        let is_back = wanted.is_some_and(|wanted| last.beyond(wanted).is_empty());
        if is_back || (wanted.is_none() && same >= QUIET_LOOKS) || now() >= deadline {
            return Ok(last);
        }
    }
}

fn report(machine: Machine, (ours, theirs): (Sum, Sum), leaked: u64) -> Result<Report, Error> {
    let (our_rate, their_rate) = (ours.rate(), theirs.rate());
    let (our_cpu, their_cpu) = (ours.cpu_ms(), theirs.cpu_ms());
    let mut row = Row::of(&format!("updraft, from zero, {CLIENTS} clients"), ours.taken)?;
    row.cpu_ms = Some(our_cpu);
    let p99_ms = row.p99_ms;
    let mut peer = Row::of(&format!("runc, run to delete, {WORKERS} workers"), theirs.taken)?;
    peer.cpu_ms = Some(their_cpu);
    let rows = vec![row, peer];
    let ratios = [("vs_runc_loop", our_rate / their_rate), ("runc_cpu_vs_ours", their_cpu / our_cpu)];
    let ratios = ratios.map(|(name, ratio)| (name.to_owned(), ratio)).into();
    let figures = [
        ("starts_per_second", our_rate),
        ("runc_per_second", their_rate),
        ("p99_ms", p99_ms),
        ("leaked", leaked as f64),
    ];
    let figures = figures.map(|(name, figure)| (name.to_owned(), figure)).into();
    Ok(Report { machine, rows, ratios, figures })
}

// === impl Sum ===

impl Sum {
    fn add(&mut self, turn: Turn) {
        self.taken.extend(turn.taken);
        self.time += turn.time;
    }

    /// CPU time of each, in milliseconds.
    fn cpu_ms(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e3 / self.taken.len() as f64
    }

    /// Starts per second.
    fn rate(&self) -> f64 {
        self.taken.len() as f64 / self.time.as_secs_f64()
    }
}
