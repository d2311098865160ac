//! Which jobs there are, published for who makes their requests.
//!
//! The book is written before the call that changed a job is answered, so what was deleted or paused begins no attempt any
//! more; a call that was cut off in between is made up for by the watch of the store.

use std::sync::Arc;

use tokio::sync::{Mutex, watch};
use updraft_model::{Error, schedule::ScheduleBook};
use updraft_store::{Key, Kind, Page, Selection, Store};

use super::{Found, job_name};
use crate::failure::of_store;

/// The book's one writer.
pub(crate) struct Schedules {
    published: watch::Sender<Arc<ScheduleBook>>,
    /// Held while the store is read: whoever comes later has read later.
    reading: Mutex<()>,
}

// === impl Schedules ===

impl Schedules {
    /// Publishes all jobs of the store.
    ///
    /// # Errors
    /// `Internal` when they cannot be read.
    pub(crate) async fn load(store: &dyn Store, published: watch::Sender<Arc<ScheduleBook>>) -> Result<Self, Error> {
        let schedules = Self { published, reading: Mutex::default() };
        schedules.reload(store).await?;
        Ok(schedules)
    }

    /// Publishes all jobs anew.
    ///
    /// # Errors
    /// As [`Schedules::load`].
    pub(crate) async fn reload(&self, store: &dyn Store) -> Result<(), Error> {
        let _reading = self.reading.lock().await;
        let stored = store.list(&Selection::of(Kind::ScheduledJob), &Page::default()).await.map_err(of_store)?;
        let mut book = ScheduleBook::default();
        for envelope in stored {
            let key = envelope.key.clone();
            match Found::of(envelope).and_then(|found| found.entry()) {
                Ok(entry) => drop(book.entries.insert(Arc::new(job_name(&key)), Arc::new(entry))),
                // No reason for the others not to run.
                Err(error) => tracing::error!(%error, cause = error.cause(), %key, "scheduled job could not be read"),
            }
        }
        self.published.send_replace(Arc::new(book));
        Ok(())
    }

    /// Publishes what the store now says of the job at `key`.
    ///
    /// # Errors
    /// `Internal` when it cannot be read; then what was published stays.
    pub(crate) async fn publish(&self, store: &dyn Store, key: &Key) -> Result<(), Error> {
        let _reading = self.reading.lock().await;
        let found = store.get(key).await.map_err(of_store)?;
        let entry = found.map(|envelope| Found::of(envelope).and_then(|found| found.entry())).transpose()?;
        let mut book = ScheduleBook::clone(&self.published.borrow());
        let name = job_name(key);
        match entry {
            Some(entry) if book.entries.get(&name).is_some_and(|known| **known == entry) => return Ok(()),
            Some(entry) => drop(book.entries.insert(Arc::new(name), Arc::new(entry))),
            None => drop(book.entries.remove(&name)),
        }
        self.published.send_replace(Arc::new(book));
        Ok(())
    }
}
