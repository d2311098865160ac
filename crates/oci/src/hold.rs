//! Keeping everything where it is while somebody copies it.
//!
//! A backup reads names first and content afterwards, and both have to be of one moment. So while a
//! [`Hold`] lives nothing is taken away: the collector says "try later", and who wants to remove a
//! name waits a little and is then told to come again. What is added meanwhile does not matter:
//! content has its own name, and every other file is replaced by a rename. Read in the order `_tags`,
//! `_manifests`, `_blobs`, `blobs`, everything that a file leads to is there when its turn comes.

use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard};

use crate::{content::ContentStore, error::ContentError, store::ImageStore};

/// How long who wants to remove a name waits for the end of a hold.
const PATIENCE: Duration = Duration::from_secs(10);

/// While it lives, no file of a blob, a manifest, a tag or an unpacked layer is removed.
#[derive(Debug)]
#[must_use = "dropping it lets the collector go on"]
pub struct Hold {
    /// Keeps the collector away.
    _content: OwnedRwLockReadGuard<()>,
    /// Keeps away who would remove names; none once they have been read.
    names: Option<OwnedRwLockReadGuard<()>>,
}

// === impl Hold ===

impl Hold {
    /// The names have been read: who waits to remove one may go on. Content stays.
    pub fn release_names(&mut self) {
        self.names = None;
    }
}

// === impl ImageStore ===

impl ImageStore {
    /// Keeps every blob, manifest, tag and unpacked layer until the guard is dropped. Waits for a
    /// collection that is under way. Pushes, pulls and deploys go on; removing a tag, a manifest or
    /// a blob of a repository fails after ten seconds with [`ContentError::Held`] (in the registry
    /// 503, "try again"). Several holds may live at once.
    pub async fn hold(&self) -> Hold {
        let content = self.inner.content.gate.clone().read_owned().await;
        let names = self.inner.content.names.clone().read_owned().await;
        Hold { _content: content, names: Some(names) }
    }
}

// === impl ContentStore ===

impl ContentStore {
    /// The right to remove names; nobody holds them then.
    pub(crate) async fn removing(&self) -> Result<OwnedRwLockWriteGuard<()>, ContentError> {
        let names = self.names.clone().write_owned();
        self.clock.timeout(PATIENCE, names).await.map_err(|_| ContentError::Held)
    }
}
