//! A store that dies at its Nth call: nothing of what was asked for afterwards is done or answered, as it is when the
//! process is killed. What it had committed by then the next control plane finds.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use tokio::sync::{broadcast, watch};
use updraft_store::{Change, Envelope, Key, Kind, MemoryStore, Page, Selection, Store, StoreError};

/// A store that dies.
pub(crate) struct Mortal {
    inner: Arc<MemoryStore>,
    /// Calls so far.
    calls: AtomicUsize,
    /// At which call it dies.
    last: usize,
    /// Does the commit at which it dies still happen?
    last_commit: LastCommit,
    dead: watch::Sender<bool>,
    /// Was it a commit at which it died?
    died_committing: AtomicBool,
    inspect: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
}

/// What becomes of a commit that nobody hears the outcome of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastCommit {
    Lost,
    Written,
}

// === impl Mortal ===

impl Mortal {
    pub(crate) fn over(inner: Arc<MemoryStore>, last: usize, last_commit: LastCommit) -> Arc<Self> {
        let (calls, dead) = (AtomicUsize::new(0), watch::Sender::new(false));
        let died_committing = AtomicBool::new(false);
        Arc::new(Self { inner, calls, last, last_commit, dead, died_committing, inspect: Mutex::default() })
    }

    pub(crate) fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }

    /// Until it is dead.
    pub(crate) async fn death(&self) {
        // The sender lives in the store.
        let _ = self.dead.subscribe().wait_for(|dead| *dead).await;
    }

    /// Was it a commit at which it died?
    pub(crate) fn died_committing(&self) -> bool {
        self.died_committing.load(Ordering::SeqCst)
    }

    /// What to look at with every call.
    pub(crate) fn inspect_with(&self, inspect: impl Fn() + Send + Sync + 'static) {
        *self.inspect.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(inspect));
    }

    /// Counts a call; an error once it is dead.
    fn live(&self) -> Result<(), StoreError> {
        if let Some(inspect) = &*self.inspect.lock().unwrap_or_else(PoisonError::into_inner) {
            inspect();
        }
        if self.calls.fetch_add(1, Ordering::SeqCst) >= self.last {
            self.dead.send_replace(true);
        }
        if self.is_dead() { Err(killed()) } else { Ok(()) }
    }

    /// No generation goes back, and an operation that has ended stays as it ended.
    async fn check(&self, changes: &[Change]) -> Result<(), StoreError> {
        for change in changes {
            let Change::Put(new) = change else { continue };
            let Some(old) = self.inner.get(&new.key).await? else { continue };
            if old.uid == new.uid {
                assert!(new.generation >= old.generation, "{}: {} → {}", new.key, old.generation, new.generation);
            }
            if new.key.kind == Kind::Operation && old.resource_version == new.resource_version {
                assert!(old.status.is_empty() || old.status == new.status, "{} ends twice", new.key);
            }
        }
        Ok(())
    }
}

fn killed() -> StoreError {
    StoreError::Medium { operation: "live", cause: "killed by the test".to_owned() }
}

#[async_trait]
impl Store for Mortal {
    async fn get(&self, key: &Key) -> Result<Option<Envelope>, StoreError> {
        self.live()?;
        self.inner.get(key).await
    }

    async fn list(&self, selection: &Selection, page: &Page) -> Result<Vec<Envelope>, StoreError> {
        self.live()?;
        self.inner.list(selection, page).await
    }

    async fn scan(&self, kind: Kind, after: Option<&Key>, limit: usize) -> Result<Vec<Envelope>, StoreError> {
        self.live()?;
        self.inner.scan(kind, after, limit).await
    }

    async fn count(&self, selection: &Selection) -> Result<usize, StoreError> {
        self.live()?;
        self.inner.count(selection).await
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<Vec<Envelope>, StoreError> {
        let was_dead = self.is_dead();
        let lives = self.live();
        if !was_dead && lives.is_err() {
            self.died_committing.store(true, Ordering::SeqCst);
        }
        if lives.is_err() && (was_dead || self.last_commit == LastCommit::Lost) {
            return Err(killed());
        }
        self.check(&changes).await?;
        let stored = self.inner.commit(changes).await?;
        lives.map(|()| stored)
    }

    fn watch(&self) -> broadcast::Receiver<Key> {
        self.inner.watch()
    }
}
