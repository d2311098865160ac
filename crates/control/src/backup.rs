//! What a backup needs of the control plane.

use std::collections::BTreeSet;

use updraft_model::{Error, iam::Principal};
use updraft_store::{Kind, Store};

use crate::{
    Control,
    access::Permitted,
    failure::of_store,
    record::{self, RevisionRecord},
};

/// No predefined role has it: a backup holds every secret of every project.
const PERMISSION: &str = "updraft.backups.create";

/// How many revisions are in memory at a time.
const PAGE: usize = 500;

// === impl Control ===

impl Control {
    /// Lets a call go on only if `caller` may take everything that is stored with them.
    ///
    /// # Errors
    /// `PermissionDenied`.
    pub async fn authorise_backup(&self, caller: &Principal) -> Result<Permitted, Error> {
        self.authorise_server(caller, PERMISSION).await
    }
}

/// The images of every revision in `store`, pinned.
///
/// # Errors
/// `Internal` when the store cannot be read.
pub async fn images_of(store: &dyn Store) -> Result<Vec<String>, Error> {
    let (mut images, mut last) = (BTreeSet::new(), None);
    loop {
        let page = store.scan(Kind::Revision, last.as_ref(), PAGE).await.map_err(of_store)?;
        for envelope in &page {
            let record = record::read::<RevisionRecord>(envelope)?;
            images.insert(record.image);
            images.extend(record.sidecar_images.into_values());
        }
        let Some(envelope) = page.into_iter().next_back() else { break };
        last = Some(envelope.key);
    }
    // One that is still a tag leads to nothing yet.
    images.remove("");
    Ok(images.into_iter().collect())
}
