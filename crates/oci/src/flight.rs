//! One piece of work at a time for each key.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OwnedMutexGuard;

/// Locks by name. Whoever waited finds the work done and checks that; a holder that fails or is
/// dropped hands the work to the next, so nobody depends on a stranger's request staying alive.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flights {
    locks: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
}

/// The right to do the work of a key.
#[derive(Debug)]
pub(crate) struct Flight {
    flights: Flights,
    key: String,
    guard: Option<OwnedMutexGuard<()>>,
}

// === impl Flights ===

impl Flights {
    pub(crate) async fn board(&self, key: &str) -> Flight {
        let lock = self.lock().entry(key.to_owned()).or_default().clone();
        let mut flight = Flight { flights: self.clone(), key: key.to_owned(), guard: None };
        flight.guard = Some(lock.lock_owned().await);
        flight
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<()>>>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut locks = self.flights.lock();
        // The guard holds a reference of its own, so it goes first.
        self.guard = None;
        if locks.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_key_is_held_by_one_and_forgotten_after_the_last() {
        let flights = Flights::default();
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || async {
            let _flight = flights.board("a").await;
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            inside.fetch_sub(1, Ordering::SeqCst);
        };
        futures::future::join_all((0..20).map(|_| work())).await;
        assert_eq!(most.load(Ordering::SeqCst), 1);
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn a_waiter_that_gives_up_leaves_no_trace() {
        let flights = Flights::default();
        let holder = flights.board("a").await;
        let mut waiter = Box::pin(flights.board("a"));
        assert!(futures::poll!(waiter.as_mut()).is_pending());
        drop(waiter);
        drop(holder);
        assert!(flights.lock().is_empty());
    }
}
