//! The seam to whatever keeps the state.
//!
//! [`Store`] is the trait, [`MemoryStore`] the reference implementation, [`SqliteStore`] the default,
//! [`contract`] the suite that both pass. Nothing on the path of a request may call it.

pub mod contract;
mod envelope;
mod error;
mod lock;
mod memory;
mod migration;
mod snapshot;
mod sqlite;

pub use envelope::{Change, Envelope, FORMAT, Key, Kind, Page, Selection};
pub use error::StoreError;
pub use memory::MemoryStore;
pub use snapshot::Snapshots;
pub use sqlite::SqliteStore;

use async_trait::async_trait;
use tokio::sync::broadcast;

/// Keeps envelopes by key, with optimistic locking, atomically.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The envelope at `key`.
    async fn get(&self, key: &Key) -> Result<Option<Envelope>, StoreError>;

    /// The envelopes of a selection, newest first (by creation, then name), page by page.
    async fn list(&self, selection: &Selection, page: &Page) -> Result<Vec<Envelope>, StoreError>;

    /// The next envelopes of a kind in the order of their keys, at most `limit`: those after the key that was the last of
    /// the page before. For whoever goes through everything; what changes meanwhile may or may not be seen.
    async fn scan(&self, kind: Kind, after: Option<&Key>, limit: usize) -> Result<Vec<Envelope>, StoreError>;

    /// How many envelopes there are of a selection.
    async fn count(&self, selection: &Selection) -> Result<usize, StoreError>;

    /// Carries out all of `changes` or none, durably: once this returns, kill -9 loses nothing.
    /// Returns the envelopes as stored (with their new `resource_version`), one per
    /// [`Change::Put`], in order.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when an envelope is not at the version the change expects.
    async fn commit(&self, changes: Vec<Change>) -> Result<Vec<Envelope>, StoreError>;

    /// The keys that change from now on. A receiver that lags gets `Lagged` and must list again.
    fn watch(&self) -> broadcast::Receiver<Key>;
}
