//! Where tasks are born, and how they end.

use std::{future::Future, panic::AssertUnwindSafe};

use futures::FutureExt as _;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// What the end of a task by panic means for the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// The work of one client or one object was lost; the rest goes on.
    Log,
    /// The process cannot do its job without it: ask everything to stop.
    Stop,
}

/// A request to end, and the wait until everything has.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    failed: CancellationToken,
}

/// The only way to spawn. Clones share the tracker, so [`Tasks::drain`] waits for all of them.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: Shutdown,
}

// === impl Shutdown ===

impl Shutdown {
    /// Asks everything that holds a clone to end.
    pub fn ask(&self) {
        self.token.cancel();
    }

    /// Has somebody asked?
    pub fn is_asked(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Ends when somebody asks.
    pub async fn asked(&self) {
        self.token.cancelled().await;
    }

    /// Was the end asked for because an essential task failed?
    pub fn is_failure(&self) -> bool {
        self.failed.is_cancelled()
    }
}

// === impl Tasks ===

impl Tasks {
    /// A new scope with its own shutdown.
    pub fn new() -> Self {
        Self::default()
    }

    /// The shutdown of this scope.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Starts `work` under `name`. A panic is logged with that name; with [`OnFailure::Stop`] it
    /// also asks the whole scope to end.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn<F>(&self, name: &'static str, on_failure: OnFailure, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        let span = tracing::debug_span!("task", name);
        // What it leaves behind after a panic is dropped, and nobody sees it.
        let work = AssertUnwindSafe(work.instrument(span)).catch_unwind();
        self.tracker.spawn(async move {
            match work.await {
                Ok(()) => {}
                Err(panic) => {
                    let said = panic.downcast_ref::<&str>().copied();
                    let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
                    let error = said.unwrap_or("it panicked");
                    tracing::error!(task = name, %error, "task failed");
                    if on_failure == OnFailure::Stop {
                        shutdown.failed.cancel();
                        shutdown.ask();
                    }
                }
            }
        });
    }

    /// Waits until every task of the scope has ended. New tasks may still be spawned meanwhile.
    pub async fn drain(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// How many tasks are alive.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Is no task alive?
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_an_essential_task_asks_the_scope_to_end() {
        let tasks = Tasks::new();
        tasks.spawn("harmless", OnFailure::Log, async { panic!("expected by the test") });
        tasks.spawn("essential", OnFailure::Stop, async { panic!("expected by the test") });
        tasks.shutdown().asked().await;
        assert!(tasks.shutdown().is_failure());
        tasks.drain().await;
    }

    #[tokio::test]
    async fn drain_waits_for_what_is_alive() {
        let tasks = Tasks::new();
        let shutdown = tasks.shutdown().clone();
        tasks.spawn("waits", OnFailure::Log, async move { shutdown.asked().await });
        assert_eq!(tasks.len(), 1);
        tasks.shutdown().ask();
        tasks.drain().await;
        assert!(tasks.is_empty() && !tasks.shutdown().is_failure());
    }
}
