//! What is published about the revisions.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};
use updraft_model::{
    channel::{Health, RevisionHealth},
    level::Level,
    name::RevisionName,
};

/// Collects what the revisions say; [`Board::publish`] sends it on. Changes that come together are
/// sent together, so a burst of starts costs one snapshot and not one each.
#[derive(Debug, Default)]
pub(crate) struct Board {
    entries: Mutex<Level<Arc<RevisionName>, Health>>,
    changed: Notify,
}

// === impl Board ===

impl Board {
    /// What one revision has to say from now on.
    pub(crate) fn set(&self, name: &RevisionName, health: Option<Health>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.get(name) == health.as_ref() {
            return;
        }
        match health {
            Some(health) => entries.insert(Arc::new(name.clone()), health),
            None => entries.remove(name),
        };
        drop(entries);
        self.changed.notify_one();
    }

    /// Publishes every change until dropped.
    pub(crate) async fn publish(&self, health: watch::Sender<Arc<RevisionHealth>>) {
        loop {
            self.changed.notified().await;
            let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone();
            health.send_replace(Arc::new(RevisionHealth { entries }));
        }
    }
}
