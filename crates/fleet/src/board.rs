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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use updraft_model::{Parent, channel::CheckOutcome};

    use super::*;

    const MANY: usize = 10_000;

    fn name(number: usize) -> RevisionName {
        Parent::new("demo-project", "here").service("hello").revision(format!("hello-{number:05}"))
    }

    fn up(ready: u32) -> Option<Health> {
        Some(Health { check: CheckOutcome::Passed, ready, starting: 0, trouble: None })
    }

    #[test]
    fn what_one_revision_says_leaves_what_the_others_said_where_it_is() {
        let board = Board::default();
        let said = || board.entries.lock().unwrap().clone();
        (0..MANY).for_each(|number| board.set(&name(number), up(1)));
        let before = said();
        board.set(&name(7), up(2));
        board.set(&name(8), None);
        board.set(&name(9), up(1));
        let (now, looked_at) = (said(), Cell::new(0));
        let changes = now.changes(&before, |now, before| {
            looked_at.set(looked_at.get() + 1);
            now == before
        });
        let mut changed: Vec<_> = changes.map(|(name, health)| (&*name.revision, health.map(|it| it.ready))).collect();
        changed.sort_unstable();
        assert_eq!(changed, [("hello-00007", Some(2)), ("hello-00008", None)]);
        assert!(looked_at.get() < MANY / 100, "{} of {MANY} were copied", looked_at.get());
    }
}
