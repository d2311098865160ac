//! The disk shrinks again: images that no revision needs are removed.

use std::time::Duration;

use updraft_model::Error;
use updraft_oci::Collected;
use updraft_store::{Kind, Page, Selection};

use crate::{
    Inner,
    failure::of_store,
    record::{self, RevisionRecord},
};

/// From the start to the first collection, and from one that found images being fetched to the next.
const SOON: Duration = Duration::from_secs(300);
/// From one collection to the next.
const EVERY: Duration = Duration::from_secs(3600);

// === impl Inner ===

impl Inner {
    /// Collects images now and then, for ever.
    pub(super) async fn collect_images(&self) {
        let mut pause = SOON;
        loop {
            self.clock.sleep(pause).await;
            pause = match self.collect_images_once().await {
                Ok(Some(gone)) => {
                    tracing::debug!(blobs = gone.blobs, bytes = gone.bytes, layers = gone.layers, "images collected");
                    EVERY
                }
                Ok(None) => SOON,
                Err(error) => {
                    tracing::error!(%error, cause = error.cause(), "unused images could not be removed");
                    EVERY
                }
            };
        }
    }

    /// `None` while images are being fetched.
    async fn collect_images_once(&self) -> Result<Option<Collected>, Error> {
        // No pull begins between the list and the removal: its image would not be on the list.
        let Some(_paused) = self.pulls.pause() else { return Ok(None) };
        let revisions = self.store.list(&Selection::of(Kind::Revision), &Page::default()).await.map_err(of_store)?;
        let mut in_use = Vec::new();
        for envelope in &revisions {
            in_use.push(record::read::<RevisionRecord>(envelope)?.image);
        }
        in_use.retain(|image| !image.is_empty());
        self.images.collect_garbage(&in_use).await.map_err(Error::internal)
    }
}
