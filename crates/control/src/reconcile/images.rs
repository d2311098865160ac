//! The disk shrinks again: images that no revision needs are removed.

use std::time::Duration;

use updraft_model::Error;
use updraft_oci::Collected;

use super::PLATFORM;
use crate::{Inner, backup::images_of};

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
        let in_use = images_of(self.store.open(&PLATFORM)).await?;
        self.images.collect_garbage(&in_use).await.map_err(Error::internal)
    }
}
