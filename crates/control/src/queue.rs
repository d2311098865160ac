//! The queue of the reconcilers: keys, never events.
//!
//! A key is in the queue at most once and is worked on by one worker at a time; woken meanwhile, it comes
//! again afterwards. So a pass may always assume to be alone with its key.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, watch};
use updraft_base::Backoff;
use updraft_model::{
    RevisionName, ServiceName,
    job::{ExecutionName, JobName},
};

const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_CAP: Duration = Duration::from_secs(60);

/// What a pass is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    /// A service: its traffic and its status.
    Service(ServiceName),
    /// A revision: its way to ready.
    Revision(RevisionName),
    /// A job: which of its executions are kept, and its end.
    Job(JobName),
    /// An execution: its tasks, to the last one's end.
    Execution(ExecutionName),
}

/// Keys that wait, and keys that are worked on.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    ready: Notify,
    busy: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Work>,
    keys: HashMap<Work, Stage>,
    retries: HashMap<Work, (Backoff, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Running,
    RunningAndWoken,
}

// === impl Queue ===

impl Queue {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default(), ready: Notify::new(), busy: watch::Sender::new(0) }
    }

    /// Asks for a pass over `work`.
    pub(crate) fn wake(&self, work: Work) {
        let mut state = self.lock();
        match state.keys.get_mut(&work) {
            Some(Stage::Waiting | Stage::RunningAndWoken) => return,
            Some(stage @ Stage::Running) => {
                *stage = Stage::RunningAndWoken;
                return;
            }
            None => {}
        }
        state.keys.insert(work.clone(), Stage::Waiting);
        state.waiting.push_back(work);
        self.tell(&state);
        drop(state);
        self.ready.notify_one();
    }

    /// The next key to work on. End the work with [`Queue::finish`].
    pub(crate) async fn next(&self) -> Work {
        loop {
            {
                let mut state = self.lock();
                if let Some(work) = state.waiting.pop_front() {
                    state.keys.insert(work.clone(), Stage::Running);
                    if !state.waiting.is_empty() {
                        self.ready.notify_one();
                    }
                    return work;
                }
            }
            self.ready.notified().await;
        }
    }

    /// Ends the work on a key that went well.
    pub(crate) fn finish(&self, work: &Work) {
        self.lock().retries.remove(work);
        self.release(work);
    }

    /// Ends the work on a key that goes on elsewhere: how often it went wrong is remembered.
    pub(crate) fn leave(&self, work: &Work) {
        self.release(work);
    }

    /// Ends the work on a key that went wrong; says after what time to wake it again.
    pub(crate) fn fail(&self, work: &Work) -> Duration {
        let delay = {
            let mut state = self.lock();
            let fresh = || (Backoff::new(RETRY_FIRST, RETRY_CAP), 0);
            let (backoff, attempts) = state.retries.entry(work.clone()).or_insert_with(fresh);
            *attempts += 1;
            backoff.next_delay()
        };
        self.release(work);
        delay
    }

    /// How many times in a row the work on a key went wrong.
    pub(crate) fn failures(&self, work: &Work) -> u32 {
        self.lock().retries.get(work).map_or(0, |(_, attempts)| *attempts)
    }

    /// Ends when nothing waits and nothing is worked on. What comes back after a delay does not count.
    pub(crate) async fn idle(&self) {
        // The sender lives in `self`, so the channel cannot be closed.
        let _ = self.busy.subscribe().wait_for(|busy| *busy == 0).await;
    }

    /// Ends when fewer than `most` keys wait or are worked on.
    pub(crate) async fn has_room(&self, most: usize) {
        let _ = self.busy.subscribe().wait_for(|busy| *busy < most).await;
    }

    /// Ends when this key neither waits nor is worked on.
    pub(crate) async fn quiet(&self, work: &Work) {
        let mut busy = self.busy.subscribe();
        while self.lock().keys.contains_key(work) {
            if busy.changed().await.is_err() {
                return;
            }
        }
    }

    /// Does nothing wait, and is nothing worked on?
    pub(crate) fn is_idle(&self) -> bool {
        self.lock().keys.is_empty()
    }

    fn release(&self, work: &Work) {
        let mut state = self.lock();
        let woken = state.keys.get(work) == Some(&Stage::RunningAndWoken);
        if woken {
            state.keys.insert(work.clone(), Stage::Waiting);
            state.waiting.push_back(work.clone());
        } else {
            state.keys.remove(work);
        }
        self.tell(&state);
        drop(state);
        if woken {
            self.ready.notify_one();
        }
    }

    fn tell(&self, state: &State) {
        self.busy.send_replace(state.keys.len());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use updraft_model::Parent;

    use super::*;

    fn work(id: &str) -> Work {
        Work::Service(Parent::new("demo-project", "here").service(id))
    }

    #[tokio::test]
    async fn a_key_waits_once_and_comes_again_when_woken_during_its_work() {
        let queue = Queue::new();
        queue.wake(work("a"));
        queue.wake(work("a"));
        queue.wake(work("b"));
        assert_eq!(queue.next().await, work("a"));
        queue.wake(work("a"));
        assert_eq!(queue.next().await, work("b"));
        queue.finish(&work("b"));
        assert!(!queue.is_idle());
        queue.finish(&work("a"));
        assert_eq!(queue.next().await, work("a"));
        queue.finish(&work("a"));
        queue.idle().await;
        assert!(queue.is_idle());
    }

    #[test]
    fn failures_are_counted_until_a_success() {
        let queue = Queue::new();
        queue.wake(work("a"));
        assert!(queue.fail(&work("a")) <= RETRY_FIRST);
        assert!(queue.fail(&work("a")) > RETRY_FIRST);
        assert_eq!(queue.failures(&work("a")), 2);
        queue.finish(&work("a"));
        assert_eq!(queue.failures(&work("a")), 0);
    }
}
