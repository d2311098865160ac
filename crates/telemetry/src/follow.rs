//! Listening to the log of a service.

use std::{collections::HashSet, sync::Arc};

use tokio::sync::broadcast;

use crate::{entry::LogEntry, which::Which};

/// Listens to the log of a service.
#[derive(Debug)]
pub struct Follower {
    pub(crate) receiver: broadcast::Receiver<Arc<LogEntry>>,
    pub(crate) revision: Option<String>,
    pub(crate) task: Option<u32>,
    pub(crate) which: Which,
    /// Entries that a query has returned already.
    pub(crate) known: HashSet<String>,
}

/// What a [`Follower`] hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// An entry.
    Entry(Arc<LogEntry>),
    /// The follower was too slow: so many entries of the service are lost to it. They are in the
    /// store.
    Lost(u64),
}

// === impl Follower ===

impl Follower {
    /// What comes next; `None` when the store is gone. May be dropped and called again.
    pub async fn next(&mut self) -> Option<Followed> {
        loop {
            match self.receiver.recv().await {
                Ok(entry) if self.wants(&entry) => return Some(Followed::Entry(entry)),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(lost)) => return Some(Followed::Lost(lost)),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    fn wants(&mut self, entry: &LogEntry) -> bool {
        let known = !self.known.is_empty() && self.known.remove(&entry.insert_id);
        !known
            && self.which.holds(entry)
            && self.task.is_none_or(|task| entry.task() == Some(task))
            && self.revision.as_deref().is_none_or(|revision| entry.revision() == Some(revision))
    }
}
