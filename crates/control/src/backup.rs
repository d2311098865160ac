//! What a backup needs of the control plane.

use updraft_model::{Error, iam::Principal};
use updraft_store::{Kind, Page, Selection, Store};

use crate::{
    Control,
    access::authorise,
    failure::of_store,
    record::{self, RevisionRecord},
};

/// No predefined role has it: a backup holds every secret of every project.
const PERMISSION: &str = "updraft.backups.create";

// === impl Control ===

impl Control {
    /// Lets a call go on only if `caller` may take everything that is stored with them.
    ///
    /// # Errors
    /// `PermissionDenied`.
    pub fn authorise_backup(&self, caller: &Principal) -> Result<(), Error> {
        authorise(caller, PERMISSION, "updraft", &[])
    }
}

/// The images of every revision in `store`, pinned.
///
/// # Errors
/// `Internal` when the store cannot be read.
pub async fn images_of(store: &dyn Store) -> Result<Vec<String>, Error> {
    let revisions = store.list(&Selection::of(Kind::Revision), &Page::default()).await.map_err(of_store)?;
    let mut images = Vec::new();
    for envelope in &revisions {
        let record = record::read::<RevisionRecord>(envelope)?;
        images.push(record.image);
        images.extend(record.sidecar_images.into_values());
    }
    // One that is still a tag leads to nothing yet.
    images.retain(|image| !image.is_empty());
    Ok(images)
}
