//! The requests of scheduled jobs.
//!
//! One task has the agenda ([`agenda`]): which job is to be looked at when. A job that is due gets a task of its own for one
//! attempt ([`attempt`]), and is looked at again when what came of it is written down: no job has two attempts at a time.
//! So a server that is killed repeats what it was about, and forgets nothing.

mod agenda;
mod attempt;
mod inward;
mod request;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::future::BoxFuture;
use tokio::{
    io::DuplexStream,
    sync::{mpsc, watch},
};
use updraft_base::{Clock, OnFailure, Tasks};
use updraft_model::{
    Error,
    schedule::{AttemptEntry, AttemptReport, Authorization, ScheduleBook, ScheduledJobName},
};
use updraft_outbound::Client;
use updraft_plan::delivery::{AHEAD_MAX, Ours, Step, step};

use agenda::{Agenda, Start};
use attempt::Attempted;

/// The wall clock may be set while the task sleeps; so it looks at it again after this time at the latest.
const GLANCE: Duration = Duration::from_secs(30);
/// How long a job is left alone whose attempt panicked.
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// Writes down what came of an attempt; it counts once this says so.
pub type Report = Arc<dyn Fn(AttemptReport) -> BoxFuture<'static, Result<(), Error>> + Send + Sync>;
/// Takes an entry for the log of scheduled jobs; it does not wait for the disk.
pub type Log = Arc<dyn Fn(AttemptEntry) + Send + Sync>;
/// Makes the token that a request of this project shows, or says why there is none.
pub type Mint = Arc<dyn Fn(String, Authorization) -> BoxFuture<'static, Result<String, String>> + Send + Sync>;
/// Opens a connection to this server on behalf of a project, as nobody in particular of it; `None` when it takes none any more.
pub type Doorway = Arc<dyn Fn(Scheme, String) -> BoxFuture<'static, Option<DuplexStream>> + Send + Sync>;

/// How a URL says that it is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

/// What the requests of scheduled jobs are made with.
#[derive(Clone)]
pub struct SchedulerDeps {
    /// Which jobs there are.
    pub book: watch::Receiver<Arc<ScheduleBook>>,
    /// Where it is written down how far they have come.
    pub report: Report,
    /// Where it is told what happens.
    pub log: Log,
    /// What signs their tokens.
    pub mint: Mint,
    /// The way to this server.
    pub doorway: Doorway,
    /// The way to everybody else. It must not lead to this server.
    pub outbound: Client,
    /// What of the world is this server.
    pub ours: Ours,
    /// How many attempts there are at a time.
    pub limits: Limits,
    /// Time.
    pub clock: Clock,
    /// Where the tasks live.
    pub tasks: Tasks,
}

/// How many attempts there are at a time; the rest waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub most: usize,
    /// Of one project, so that the slow targets of one do not keep those of others waiting.
    pub most_of_project: usize,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self { most: 256, most_of_project: 64 }
    }
}

// === impl SchedulerDeps ===

impl fmt::Debug for SchedulerDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulerDeps").field("ours", &self.ours).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Makes requests from now on, until the shutdown of the tasks is asked.
pub fn start(deps: SchedulerDeps) {
    let (tasks, shutdown) = (deps.tasks.clone(), deps.tasks.shutdown().clone());
    tasks.spawn("scheduler", OnFailure::Stop, async move {
        tokio::select! {
            () = run(deps) => {}
            () = shutdown.asked() => {}
        }
    });
}

async fn run(mut deps: SchedulerDeps) {
    let (done_sender, mut done) = mpsc::unbounded_channel();
    let mut agenda = Agenda::new(deps.limits);
    let book = deps.book.borrow_and_update().clone();
    let mut latest = deps.clock.now();
    agenda.take_in(&book, latest, Start::First);
    loop {
        while let Some(name) = agenda.next_due(deps.clock.now()) {
            begin(&mut agenda, &name, &deps, &done_sender);
        }
        let pause = agenda.pause(deps.clock.now()).map_or(GLANCE, |pause| pause.min(GLANCE));
        tokio::select! {
            changed = deps.book.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            // Whoever sends this has a sender, and so have we.
            Some((name, end)) = done.recv() => match end {
                End::Whole => agenda.finished(&name, SystemTime::UNIX_EPOCH),
                End::Panic => agenda.finished(&name, deps.clock.now() + AFTER_PANIC),
            },
            () = deps.clock.sleep(pause) => {}
        }
        // What came of an attempt is in the book before it is said to be done.
        let book = deps.book.borrow_and_update().clone();
        let now = deps.clock.now();
        agenda.take_in(&book, now, Start::Later);
        if now + AHEAD_MAX < std::mem::replace(&mut latest, now) {
            agenda.plan_anew(now);
        }
    }
}

/// Looks at a job whose time has come.
fn begin(
    agenda: &mut Agenda,
    name: &Arc<ScheduledJobName>,
    deps: &SchedulerDeps,
    done: &mpsc::UnboundedSender<(Arc<ScheduledJobName>, End)>,
) {
    let Some(job) = agenda.get(name) else { return };
    let (entry, timing) = (job.entry.clone(), job.timing.clone());
    match step(&timing, entry.state, &entry.progress, deps.clock.now()) {
        Step::Rest => {}
        Step::Wait(until) => agenda.wait(name, until),
        Step::Attempt(attempt) => {
            agenda.began(name);
            let attempted = Attempted { name: name.clone(), entry, timing, attempt };
            let (deps, done, name) = (deps.clone(), done.clone(), name.clone());
            deps.tasks.clone().spawn("scheduled attempt", OnFailure::Log, async move {
                // Told also when it panics: the job is looked at again.
                let _told = Told { done, name };
                attempt::make(attempted, &deps).await;
            });
        }
    }
}

/// How the task of an attempt ended.
enum End {
    /// What came of it is written down.
    Whole,
    /// By a fault of ours, which might be there again the next time.
    Panic,
}

/// Tells that an attempt is over, however it came to that.
struct Told {
    done: mpsc::UnboundedSender<(Arc<ScheduledJobName>, End)>,
    name: Arc<ScheduledJobName>,
}

// === impl Told ===

impl Drop for Told {
    fn drop(&mut self) {
        // Nobody listens after the end.
        let end = if std::thread::panicking() { End::Panic } else { End::Whole };
        let _ = self.done.send((self.name.clone(), end));
    }
}
