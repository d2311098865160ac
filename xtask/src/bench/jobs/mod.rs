//! Tasks of jobs: how many a machine gets through in a second, what each costs, and what a service beside them feels.
//!
//! First no-op tasks, one execution at a time, each task in a sandbox and recorded before and after; beside them, taking
//! turns, `xargs -P2` with `runc run` and `xargs -P2` with the program alone, with the same program from the same root
//! directory. What counts is the rate, from before the execution is asked for until it has succeeded.
//!
//! Then a warm service, asked every few milliseconds: by itself, beside tasks that do nothing (so that all the work is the
//! platform's), beside tasks that compute, and beside `xargs -P2` with `runc run`: see [`neighbour`].

mod batch;
mod loops;
mod neighbour;

use std::{path::Path, time::Duration};

use self::{
    batch::{Batch, Ran},
    neighbour::{Beside, Neighbour},
};
use super::{
    Options,
    cold_start::{apps::App, peers::Runc},
    files::Files,
    interrupt,
    machine::Machine,
    report::{Report, Row},
    server::Server,
    stats::median,
};
use crate::Error;

/// What a task does, and does not: it exits with 0.
const NO_OP: [&str; 2] = ["exit", "0"];
/// What a task that computes does: some 20 ms of CPU on the machine this was written on.
const COMPUTE: [&str; 2] = ["work", "10000"];

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// Turns that each side has.
    turns: usize,
    /// Tasks of an execution of no-ops.
    tasks: u32,
    /// Containers in a turn of runc, and programs in one without.
    peers: u32,
    /// Tasks of an execution beside the service.
    beside: u32,
    /// Containers of runc beside it.
    containers: u32,
    /// How long it is asked by itself, twice in a turn.
    time: Duration,
}

/// One side's turns.
#[derive(Debug, Default)]
struct Sum {
    count: u32,
    /// How long the turns lasted.
    time: Duration,
    /// CPU time of all processes that had to do with them.
    cpu: Duration,
    /// How many there were in a second, turn by turn.
    rates: Vec<f64>,
}

/// Runs the bench.
pub(crate) fn run(root: &Path, options: &Options) -> Result<Report, Error> {
    let machine = Machine::here();
    let size = Size::of(options);
    let files = Files::make("jobs")?;
    let app = App::witness(root, files.path(), &NO_OP)?;
    let hello = App::hello(root, files.path())?;
    let program = match &options.updraft {
        Some(program) => program.clone(),
        None => Server::build(root)?,
    };
    let server = Server::spawn(program, &[])?;
    let (tasks, service) = (load(&server, &app)?, load(&server, &hello)?);
    let runc = Runc::install(files.path(), std::slice::from_ref(&app))?;
    let mut batch = Batch::new(&server, &tasks)?;

    let (mut ours, mut theirs, mut bare) = (Sum::default(), Sum::default(), Sum::default());
    let (mut own_cpu, mut taken) = (Duration::ZERO, Vec::new());
    // Once, so that the image is unpacked and the files are read.
    batch.run(&NO_OP, 10)?;
    for turn in 0..size.turns {
        interrupt::check()?;
        let ran = batch.run(&NO_OP, size.tasks)?;
        ours.add(&ran);
        own_cpu += ran.own_cpu;
        taken.extend(batch.taken(&ran)?);
        theirs.add(&loops::runc(server.pid(), (&runc, &app), (turn, size.peers))?);
        bare.add(&loops::bare(server.pid(), &app, size.peers)?);
    }
    let neighbour = Neighbour::deploy(&server, &service)?;
    let beside = neighbour.all(&mut batch, (&runc, &app), size)?;
    report(machine, (ours, theirs, bare), (own_cpu, taken), beside)
}

/// Puts an image into the server's registry.
fn load(server: &Server, app: &App) -> Result<String, Error> {
    let image = format!("localhost/{}:latest", app.name);
    server.load(&app.archive(&image)?)?;
    Ok(image)
}

fn report(
    machine: Machine,
    (ours, theirs, bare): (Sum, Sum, Sum),
    (own_cpu, taken): (Duration, Vec<Duration>),
    beside: Beside,
) -> Result<Report, Error> {
    let mut row = Row::of("updraft: a task, from its begin to its end", taken)?;
    row.cpu_ms = Some(ours.cpu_ms());
    row.per_s = Some(ours.rate()?);
    let figures = vec![
        ("tasks_per_second", ours.rate()?),
        ("runc_per_second", theirs.rate()?),
        ("bare_per_second", bare.rate()?),
        ("cpu_ms_per_task", ours.cpu_ms()),
        ("runc_cpu_ms", theirs.cpu_ms()),
        ("bare_cpu_ms", bare.cpu_ms()),
        // The server's own part: everything but sandboxes and programs.
        ("scheduling_cpu_ms_per_task", own_cpu.as_secs_f64() * 1e3 / f64::from(ours.count)),
    ];
    let mut ratios = vec![
        ("vs_runc_loop", ours.rate()? / theirs.rate()?),
        ("vs_bare_xargs", ours.rate()? / bare.rate()?),
        ("runc_cpu_vs_ours", theirs.cpu_ms() / ours.cpu_ms()),
    ];
    let beside = beside.rows()?;
    let [alone, no_op, compute, runc] = &beside;
    ratios.extend([
        ("p99_beside_no_op_tasks", no_op.p99_ms / alone.p99_ms),
        ("p99_beside_tasks_that_compute", compute.p99_ms / alone.p99_ms),
        ("p99_beside_runc_loop", runc.p99_ms / alone.p99_ms),
    ]);
    let named = |all: Vec<(&str, f64)>| all.into_iter().map(|(name, figure)| (name.to_owned(), figure)).collect();
    Ok(Report {
        machine,
        rows: std::iter::once(row).chain(beside).collect(),
        ratios: named(ratios),
        figures: named(figures),
    })
}

// === impl Size ===

impl Size {
    fn of(options: &Options) -> Self {
        let count = options.count.and_then(|count| u32::try_from(count).ok());
        match options.quick {
            true => Self {
                turns: 1,
                tasks: count.unwrap_or(1_000),
                peers: 100,
                beside: 300,
                containers: 40,
                time: Duration::from_secs(2),
            },
            false => Self {
                turns: 3,
                tasks: count.unwrap_or(10_000),
                peers: 1_000,
                beside: 2_000,
                containers: 300,
                time: Duration::from_secs(10),
            },
        }
    }
}

// === impl Sum ===

impl Sum {
    fn add(&mut self, ran: &Ran) {
        self.count += ran.count;
        self.time += ran.time;
        self.cpu += ran.cpu;
        self.rates.push(f64::from(ran.count) / ran.time.as_secs_f64());
    }

    /// CPU time of each, in milliseconds.
    fn cpu_ms(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e3 / f64::from(self.count)
    }

    /// How many in a second: in the middle turn.
    fn rate(&self) -> Result<f64, Error> {
        median(self.rates.iter().copied()).ok_or_else(|| "there was no turn".into())
    }
}
