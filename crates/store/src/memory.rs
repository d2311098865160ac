//! The reference implementation: a map.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::{Change, Envelope, Key, Kind, Page, Selection, Store, StoreError};

/// How many changed keys a slow watcher may fall behind before it has to list again.
pub(crate) const WATCH_BACKLOG: usize = 4096;

/// Keeps everything in memory, for as long as it lives. What the contract means, in the fewest lines.
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
    changed: broadcast::Sender<Key>,
}

#[derive(Debug, Default)]
struct State {
    writes: i64,
    envelopes: BTreeMap<Key, Envelope>,
}

/// A commit in the making: what it has changed so far, over the state it began with.
struct Draft<'a> {
    state: &'a State,
    writes: i64,
    changed: BTreeMap<Key, Option<Envelope>>,
}

// === impl MemoryStore ===

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self { state: Mutex::default(), changed: broadcast::Sender::new(WATCH_BACKLOG) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A commit swaps nothing in before it is whole, so a panic elsewhere left no half of one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &Key) -> Result<Option<Envelope>, StoreError> {
        Ok(self.lock().envelopes.get(key).cloned())
    }

    async fn list(&self, selection: &Selection, page: &Page) -> Result<Vec<Envelope>, StoreError> {
        let state = self.lock();
        let mut found: Vec<&Envelope> =
            state.envelopes.values().filter(|envelope| selection.takes(envelope) && page.is_after(envelope)).collect();
        found.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.key.name.cmp(&b.key.name)));
        let limit = if page.limit == 0 { usize::MAX } else { page.limit };
        Ok(found.into_iter().take(limit).cloned().collect())
    }

    async fn scan(&self, kind: Kind, after: Option<&Key>, limit: usize) -> Result<Vec<Envelope>, StoreError> {
        let is_next = |envelope: &&Envelope| envelope.key.kind == kind && after.is_none_or(|key| envelope.key > *key);
        Ok(self.lock().envelopes.values().filter(is_next).take(limit).cloned().collect())
    }

    async fn count(&self, selection: &Selection) -> Result<usize, StoreError> {
        Ok(self.lock().envelopes.values().filter(|envelope| selection.takes(envelope)).count())
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<Vec<Envelope>, StoreError> {
        let mut state = self.lock();
        let mut draft = Draft { state: &state, writes: state.writes, changed: BTreeMap::new() };
        let mut stored = Vec::new();
        let mut keys = Vec::new();
        for change in changes {
            match change {
                Change::Put(envelope) => {
                    keys.push(envelope.key.clone());
                    stored.push(draft.put(*envelope)?);
                }
                Change::Delete { key, resource_version } => {
                    if draft.delete(&key, resource_version)? {
                        keys.push(key);
                    }
                }
            }
        }
        let Draft { writes, changed, .. } = draft;
        state.writes = writes;
        for (key, envelope) in changed {
            match envelope {
                Some(envelope) => state.envelopes.insert(key, envelope),
                None => state.envelopes.remove(&key),
            };
        }
        // Told under the lock, so that watchers hear commits in their order.
        for key in keys {
            // Nobody may be watching.
            let _ = self.changed.send(key);
        }
        Ok(stored)
    }

    fn watch(&self) -> broadcast::Receiver<Key> {
        self.changed.subscribe()
    }
}

// === impl Draft ===

impl Draft<'_> {
    fn version(&self, key: &Key) -> i64 {
        let current = match self.changed.get(key) {
            Some(changed) => changed.as_ref(),
            None => self.state.envelopes.get(key),
        };
        current.map_or(0, |envelope| envelope.resource_version)
    }

    fn put(&mut self, mut envelope: Envelope) -> Result<Envelope, StoreError> {
        let expected = envelope.resource_version;
        if self.version(&envelope.key) != expected {
            return Err(StoreError::Conflict { key: envelope.key, expected });
        }
        self.writes += 1;
        envelope.resource_version = self.writes;
        self.changed.insert(envelope.key.clone(), Some(envelope.clone()));
        Ok(envelope)
    }

    fn delete(&mut self, key: &Key, expected: i64) -> Result<bool, StoreError> {
        let found = self.version(key);
        if expected != 0 && found != expected {
            return Err(StoreError::Conflict { key: key.clone(), expected });
        }
        if found == 0 {
            return Ok(false);
        }
        self.writes += 1;
        self.changed.insert(key.clone(), None);
        Ok(true)
    }
}

// === impl Selection, Page ===

impl Selection {
    fn takes(&self, envelope: &Envelope) -> bool {
        envelope.key.kind == self.kind
            && self.parent.as_ref().is_none_or(|parent| *parent == envelope.key.parent)
            && self.owner.as_ref().is_none_or(|owner| *owner == envelope.owner)
    }
}

impl Page {
    fn is_after(&self, envelope: &Envelope) -> bool {
        self.after.as_ref().is_none_or(|(created, name)| {
            envelope.created < *created || (envelope.created == *created && envelope.key.name > *name)
        })
    }
}

#[cfg(test)]
mod tests {
    crate::store_contract!(async { (crate::MemoryStore::new(), ()) });
}
