//! What a backup needs of the control plane.

use std::collections::BTreeSet;

use updraft_api::run;
use updraft_model::{Error, iam::Principal};
use updraft_store::{Envelope, Kind, Store};

use crate::{
    Control,
    access::Permitted,
    failure::of_store,
    record::{self, ExecutionRecord, RevisionRecord},
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

/// The images of every revision in `store` and of every execution that is not over, pinned; and those that jobs name by
/// their digests.
///
/// # Errors
/// `Internal` when the store cannot be read.
pub async fn images_of(store: &dyn Store) -> Result<Vec<String>, Error> {
    let mut images = BTreeSet::new();
    for kind in [Kind::Revision, Kind::Execution, Kind::Job] {
        let mut last = None;
        loop {
            let page = store.scan(kind, last.as_ref(), PAGE).await.map_err(of_store)?;
            for envelope in &page {
                images.extend(images_in(envelope)?);
            }
            let Some(envelope) = page.into_iter().next_back() else { break };
            last = Some(envelope.key);
        }
    }
    // One that is still a tag leads to nothing yet.
    images.remove("");
    Ok(images.into_iter().collect())
}

fn images_in(envelope: &Envelope) -> Result<Vec<String>, Error> {
    Ok(match envelope.key.kind {
        Kind::Revision => {
            let record = record::read::<RevisionRecord>(envelope)?;
            record.sidecar_images.into_values().chain([record.image]).collect()
        }
        Kind::Execution => {
            let record = record::read::<ExecutionRecord>(envelope)?;
            if record.is_over { Vec::new() } else { record.images.into_values().collect() }
        }
        Kind::Job => {
            let job: run::Job = record::message(envelope, &envelope.spec)?;
            let task = job.template.and_then(|template| template.template).unwrap_or_default();
            let images = task.containers.into_iter().map(|container| container.image);
            images.filter(|image| image.contains('@')).collect()
        }
        _ => Vec::new(),
    })
}
