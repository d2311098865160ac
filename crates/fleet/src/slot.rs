//! A place in an instance, and why there is none.

use std::{
    fmt, io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, sync::oneshot};
use updraft_base::Elapsed;
use updraft_model::{
    channel::StartFailure,
    instance::{Exit, InstanceId},
};

use updraft_plan::scaling::RetireReason;

use crate::{
    affinity::Affinity,
    instance::{Instance, Timing},
    revision::Revision,
};

/// A place for one request in one instance. Dropping it is the only way to give it back.
pub struct Slot {
    revision: Arc<Revision>,
    instance: Arc<Instance>,
    has_waited: bool,
}

/// Why a request gets no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The revision is not in the book: it was deleted, or may not run.
    #[error("the revision is not available")]
    Unavailable,
    /// The queue is full: every instance that is allowed is busy.
    #[error("the request was aborted because there was no available instance")]
    QueueFull,
    /// There is no place, and none became free as long as a request may wait.
    #[error("the request was aborted because there was no available instance")]
    Overdue(Cause),
    /// No instance came up, in several attempts.
    #[error("the request failed because the instance could not start successfully: {}", .0.diagnosis)]
    StartFailed(Arc<StartFailure>),
    /// The server ends.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// Why there was no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// There are as many instances as may be, and all of them are busy.
    Maximum,
    /// No instance came up in time.
    Start,
    /// There may be none: the service is switched off.
    Off,
}

/// What a queued request is told in the end.
pub(crate) type Answer = Result<Slot, Refusal>;

/// A request's place in the queue; dropping it leaves the queue.
pub(crate) struct Ticket {
    pub(crate) revision: Arc<Revision>,
    pub(crate) number: u64,
    pub(crate) answer: oneshot::Receiver<Answer>,
    /// How long it may wait.
    pub(crate) patience: Option<Duration>,
}

// === impl Slot ===

impl Slot {
    /// The place must have been counted in the revision's state, whose lock must be free. Thaws the instance if need
    /// be: who has a slot finds it awake.
    pub(crate) fn new(revision: Arc<Revision>, instance: Arc<Instance>) -> Self {
        if let Err(error) = instance.frost.enter(revision.context(), &instance.id) {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::error!(instance = %instance.id, %error, "a frozen instance cannot be thawed and is ended");
            }
            // Rather an answer that says so than one that never comes.
            revision.retire_broken(&instance, RetireReason::Stuck);
        }
        Self { revision, instance, has_waited: false }
    }

    /// The instance.
    pub fn instance(&self) -> &InstanceId {
        &self.instance.id
    }

    /// Was there no place at once?
    pub fn has_waited(&self) -> bool {
        self.has_waited
    }

    /// What names the instance to a client that wants to stay with it.
    pub fn affinity(&self) -> Affinity {
        self.instance.affinity
    }

    /// Where the time of the instance's start went.
    pub fn timing(&self) -> Option<Timing> {
        self.instance.timing()
    }

    /// A connection to the instance's port over which nothing was sent.
    ///
    /// # Errors
    /// Those of the engine; the instance may have ended since the slot was given.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        match self.instance.opened() {
            Some(connection) => Ok(connection),
            None => self.revision.context().engine.connect(&self.instance.id, self.instance.port).await,
        }
    }

    /// How the instance ended, if it has or does so `within` a while: a connection breaks before the
    /// engine can say why.
    pub async fn ended(&self, within: Duration) -> Option<Exit> {
        self.revision.context().clock.timeout(within, self.instance.until_exit()).await.ok().map(|ended| ended.exit)
    }

    /// When the instance was last given its CPU back, after it had been frozen for want of requests; `None` if never. A
    /// connection that rested then may be closed by the program at any moment: its timers went on while it did not.
    pub fn thawed(&self) -> Option<Instant> {
        self.instance.frost.thawed()
    }

    /// Something of the caller's that lives as long as the instance takes requests, such as its
    /// connections; made by `make` the first time. It is dropped before the instance is asked to
    /// end: many servers wait for their connections to close.
    pub fn attached<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        self.instance.attached(make)
    }

    /// Gives the place back and ends the instance: nobody could connect to it. Not for what says nothing about the
    /// instance, such as that we have no file descriptor left: its other requests may be well.
    pub fn give_up(self) {
        self.revision.retire_broken(&self.instance, RetireReason::Unreachable);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // In this order: by the second step the instance may be frozen.
        self.instance.frost.leave();
        self.revision.release(&self.instance);
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Slot").field(&self.instance.id).finish()
    }
}

// === impl Ticket ===

impl Ticket {
    /// Waits for the turn. Dropping the future leaves the queue.
    pub(crate) async fn wait(mut self) -> Answer {
        let clock = self.revision.context().clock.clone();
        let answer = match self.patience {
            None => Ok((&mut self.answer).await),
            Some(patience) => clock.timeout(patience, &mut self.answer).await,
        };
        match answer {
            // Without a sender the revision is gone.
            Ok(answer) => {
                let answer = answer.unwrap_or(Err(Refusal::Unavailable));
                answer.map(|mut slot| {
                    slot.has_waited = true;
                    slot
                })
            }
            Err(Elapsed) => Err(Refusal::Overdue(self.revision.cause())),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.revision.leave_queue(self.number);
    }
}
