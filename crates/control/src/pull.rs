//! Pulls: what a revision or an execution waits for that may take minutes, outside of the workers.
//!
//! A pass asks for a pull and ends; the end of the pull wakes its key, and the next pass finds the outcome.
//! So a registry that never answers holds up who wants its images, not the deletes and deploys of others: a
//! pull waits only for other pulls from the same registry. Nothing here is durable; after a restart the
//! passes ask again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedRwLockWriteGuard, RwLock, Semaphore, oneshot, watch};
use updraft_base::OnFailure;
use updraft_model::{Reason, diagnosis::ImageFault};
use updraft_plan::diagnosis::Happened;

use crate::{Inner, guard, queue::Work};

/// How long a revision may take, from the first look at its image until it can be started. It fails then
/// with `PROGRESS_DEADLINE_EXCEEDED`.
pub(crate) const PULL_MAX: Duration = Duration::from_secs(600);
/// How many pulls one registry is asked for at a time.
const PER_REGISTRY: usize = 8;

/// What a pull came to: the pinned images after resolving, in the order of the template's containers; none after
/// preparing.
pub(crate) type Outcome = Result<Vec<String>, Fault>;

/// Why a pull led to nothing.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The reason, if trying again is of no use.
    pub(crate) lasting: Option<Reason>,
    /// What happened, for the diagnosis.
    pub(crate) happened: Happened,
}

/// The pulls that are under way.
#[derive(Debug)]
pub(crate) struct Pulls {
    state: Mutex<State>,
    busy: watch::Sender<usize>,
    /// Held for reading by pulls, for writing while images are collected.
    gate: Arc<RwLock<()>>,
}

#[derive(Debug, Default)]
struct State {
    jobs: HashMap<Work, Job>,
    /// How many of them are running.
    running: usize,
    registries: HashMap<String, Arc<Semaphore>>,
}

#[derive(Debug)]
struct Job {
    /// When the first pull for the revision was asked for.
    began: Instant,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Between two attempts.
    Idle,
    /// Dropping the sender ends the pull.
    Running { _life: oneshot::Sender<()> },
    /// Nobody has looked at it yet.
    Done(Outcome),
}

/// What a pull is waited for with.
struct Wait {
    image: String,
    /// How much longer it may take.
    left: Duration,
    /// Ends when nobody wants it any more.
    ended: oneshot::Receiver<()>,
}

// === impl Pulls ===

impl Pulls {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default(), busy: watch::Sender::new(0), gate: Arc::default() }
    }

    /// Ends the pull for a revision or an execution, if there is one, and forgets how long it has taken.
    pub(crate) fn forget(&self, work: &Work) {
        let mut state = self.lock();
        if let Some(Job { stage: Stage::Running { .. }, .. }) = state.jobs.remove(work) {
            state.running -= 1;
            self.tell(&state);
        }
    }

    /// Ends when fewer than `most` pulls are under way.
    pub(crate) async fn has_room(&self, most: usize) {
        let _ = self.busy.subscribe().wait_for(|busy| *busy < most).await;
    }

    /// Ends when no pull is under way.
    pub(crate) async fn idle(&self) {
        // The sender lives in `self`, so the channel cannot be closed.
        let _ = self.busy.subscribe().wait_for(|busy| *busy == 0).await;
    }

    /// Is no pull under way?
    pub(crate) fn is_idle(&self) -> bool {
        *self.busy.borrow() == 0
    }

    /// Keeps pulls from beginning; `None` while one is under way.
    pub(crate) fn pause(&self) -> Option<OwnedRwLockWriteGuard<()>> {
        self.gate.clone().try_write_owned().ok()
    }

    fn tell(&self, state: &State) {
        self.busy.send_replace(state.running);
    }

    /// Forgets a registry of which nobody wants anything.
    fn leave(&self, registry: &str) {
        let mut state = self.lock();
        if state.registries.get(registry).is_some_and(|permits| Arc::strong_count(permits) == 1) {
            state.registries.remove(registry);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inner ===

impl Inner {
    /// The outcome of a pull for `key`, a revision or an execution; `None` while it is under way. The first call begins it.
    pub(crate) fn pull<F>(self: &Arc<Self>, key: &Work, image: &str, work: F) -> Option<Outcome>
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let now = self.clock.instant();
        let mut state = self.pulls.lock();
        let job = state.jobs.entry(key.clone()).or_insert(Job { began: now, stage: Stage::Idle });
        match std::mem::replace(&mut job.stage, Stage::Idle) {
            Stage::Done(outcome) => return Some(outcome),
            running @ Stage::Running { .. } => {
                job.stage = running;
                return None;
            }
            Stage::Idle => {}
        }
        let (life, ended) = oneshot::channel();
        job.stage = Stage::Running { _life: life };
        let left = (job.began + PULL_MAX).saturating_duration_since(now);
        let registry = image.split('/').next().unwrap_or_default().to_owned();
        let make = || Arc::new(Semaphore::new(PER_REGISTRY));
        let permits = state.registries.entry(registry.clone()).or_insert_with(make).clone();
        state.running += 1;
        self.pulls.tell(&state);
        drop(state);
        let (inner, key, gate) = (self.clone(), key.clone(), self.pulls.gate.clone());
        let pull = async move {
            let _permit = permits.acquire_owned().await;
            let _open = gate.read_owned().await;
            work.await
        };
        let wait = Wait { image: image.to_owned(), left, ended };
        self.tasks.spawn("pull", OnFailure::Log, async move {
            inner.clone().run_pull(key, wait, pull).await;
            inner.pulls.leave(&registry);
        });
        None
    }

    async fn run_pull(
        self: Arc<Self>,
        key: Work,
        Wait { image, left, mut ended }: Wait,
        pull: impl Future<Output = Outcome> + Send,
    ) {
        let outcome = tokio::select! {
            biased;
            _ = &mut ended => return,
            () = self.tasks.shutdown().asked() => return,
            outcome = guard::caught(self.clock.timeout(left, pull)) => match outcome {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(Fault::late(image)),
                Err(panic) => {
                    tracing::error!(?key, panic, "a pull panicked");
                    let operation = "internal error while the image was fetched".to_owned();
                    let cause = "its task panicked".to_owned();
                    Err(Fault { lasting: None, happened: Happened::Host { operation, cause } })
                }
            },
        };
        // One lock over both: between them nothing would be under way.
        let mut state = self.pulls.lock();
        let is_wanted = ended.try_recv() == Err(oneshot::error::TryRecvError::Empty);
        if let (true, Some(job)) = (is_wanted, state.jobs.get_mut(&key)) {
            job.stage = Stage::Done(outcome);
            self.queue.wake(key);
            state.running -= 1;
            self.pulls.tell(&state);
        }
    }
}

// === impl Fault ===

impl Fault {
    fn late(image: String) -> Self {
        let cause = format!("the image could not be made ready within {} seconds", PULL_MAX.as_secs());
        let happened = Happened::Image { fault: ImageFault::TooSlow, image, cause };
        Self { lasting: Some(Reason::ProgressDeadlineExceeded), happened }
    }

    /// For the log, and for who waits while it is tried again.
    pub(crate) fn cause(&self) -> String {
        match &self.happened {
            Happened::Image { image, cause, .. } => format!("image '{image}': {cause}"),
            Happened::NoSpace { operation, cause } | Happened::Host { operation, cause } => {
                format!("{operation}: {cause}")
            }
            Happened::Secrets { cause } => cause.clone(),
            // A pull starts nothing.
            Happened::Exited(_) | Happened::NotReady(_) => "a start failed".to_owned(),
        }
    }
}
