//! Unpacked layers, shared between images: `layers/<diff id>/` and what is known of it beside it.
//!
//! A directory appears under its name by a rename, after everything in it has been synced, so it is
//! whole or not there. What a crash leaves has another name and is removed at the next start.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::{
    content::{ContentStore, private_dir},
    digest::Digest,
    error::{ContentError, ImageError},
    fill::{self, Stratum},
    flight::Flights,
    layout,
    unpack::{Budget, Hides, UnpackLimits, unpack},
};

/// What the directories of layers are called that are being made or removed.
pub(crate) const TEMPORARY: &str = ".new-";

/// The unpacked layers of a store.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    dir: Arc<PathBuf>,
    limits: UnpackLimits,
    flights: Flights,
    /// Unpacking is bound by the processor and by the disk; more at once only thrash.
    slots: Arc<Semaphore>,
}

/// What is known of an unpacked layer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LayerFacts {
    /// The size of its uncompressed tar.
    pub(crate) bytes: u64,
    /// Directories without an entry of their own; see `fill`.
    pub(crate) implicit: Vec<String>,
    /// What was left out.
    pub(crate) warnings: Vec<String>,
    /// What it hides of lower layers; `None` when it was unpacked before that was written down, and only
    /// the marks in it tell.
    pub(crate) hides: Option<Hides>,
    /// The layers it puts right, if it is one of `fill`.
    pub(crate) fills: Vec<Digest>,
}

/// A layer to unpack.
#[derive(Debug, Clone)]
pub(crate) struct LayerName {
    /// The digest of the blob.
    pub(crate) blob: Digest,
    /// The digest of what it unpacks to, by the image's configuration.
    pub(crate) diff_id: Digest,
}

// === impl Layers ===

impl Layers {
    pub(crate) fn open(dir: PathBuf, limits: UnpackLimits, parallel: usize) -> Result<Self, ImageError> {
        private_dir(&dir).map_err(|e| host("create", &dir, e))?;
        for half in layout::halves(&dir).map_err(|e| host("read", &dir, e))? {
            let removed = if half.is_dir() { fs::remove_dir_all(&half) } else { fs::remove_file(&half) };
            removed.map_err(|e| host("remove", &half, e))?;
        }
        let slots = Arc::new(Semaphore::new(parallel.max(1)));
        Ok(Self { dir: Arc::new(dir), limits, flights: Flights::default(), slots })
    }

    /// The directory of a layer, unpacked now if it was not before.
    pub(crate) async fn ensure(
        &self,
        image: &str,
        content: &ContentStore,
        name: &LayerName,
        budget: &Arc<Budget>,
    ) -> Result<(PathBuf, LayerFacts), ImageError> {
        let path = self.path(&name.diff_id);
        let flight = self.flights.board(name.diff_id.hex()).await;
        let (layers, diff_id) = (self.clone(), name.diff_id.clone());
        let content_too = content.clone();
        if let Some(facts) = blocking(move || Ok(layers.marked_facts(&content_too, &diff_id))).await? {
            budget.spend(facts.bytes).map_err(|error| error.of_image(image, &name.blob))?;
            return Ok((path, facts));
        }
        let slot = self.slots.clone().acquire_owned().await.map_err(|e| closed(io::Error::other(e)))?;
        let (layers, image, content, name) = (self.clone(), image.to_owned(), content.clone(), name.clone());
        let budget = budget.clone();
        let facts = blocking(move || {
            // They belong to the work, not to whoever asked: it goes on when that one is gone.
            let _held = (flight, slot);
            layers.unpack(&image, &content, &name, &budget)
        });
        Ok((path, facts.await?))
    }

    /// What is known of a layer, `None` when it is not unpacked. Reads files: not for the runtime.
    pub(crate) fn facts(&self, diff_id: &Digest) -> Option<LayerFacts> {
        if !self.path(diff_id).is_dir() {
            return None;
        }
        serde_json::from_slice(&fs::read(self.facts_path(diff_id)).ok()?).ok()
    }

    /// The same, after another try to make the marks that were refused when the layer was unpacked: the
    /// server may have more privileges now.
    fn marked_facts(&self, content: &ContentStore, diff_id: &Digest) -> Option<LayerFacts> {
        let mut facts = self.facts(diff_id)?;
        if let Some(hides) = facts.hides.as_mut().filter(|hides| !hides.marked)
            && hides.mark(&self.path(diff_id)).is_ok()
            && let Ok(text) = serde_json::to_vec(&facts)
        {
            // Not written down, it is done again the next time.
            let _ = content.write_atomic(&self.facts_path(diff_id), &text);
        }
        Some(facts)
    }

    /// The layers that are unpacked, by diff id.
    pub(crate) fn list(&self) -> Result<Vec<Digest>, ContentError> {
        let names = crate::repository::names_in(&self.dir)?;
        Ok(names.iter().filter_map(|name| format!("sha256:{name}").parse().ok()).collect())
    }

    /// When the layer appeared.
    pub(crate) fn modified(&self, diff_id: &Digest) -> Option<std::time::SystemTime> {
        // The directory's own time is the image's; the facts were written when it appeared.
        fs::metadata(self.facts_path(diff_id)).and_then(|facts| facts.modified()).ok()
    }

    /// Removes an unpacked layer. A crash in the middle leaves only what the next start removes.
    pub(crate) fn remove(&self, diff_id: &Digest) -> Result<(), ImageError> {
        let path = self.path(diff_id);
        let doomed = self.temporary();
        fs::rename(&path, &doomed).map_err(|e| host("rename", &path, e))?;
        let facts = self.facts_path(diff_id);
        fs::remove_file(&facts).map_err(|e| host("remove", &facts, e))?;
        remove_dir(&doomed)
    }

    /// A name nobody has, for a directory that is to be renamed.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.dir.join(format!("{TEMPORARY}{}", uuid::Uuid::new_v4()))
    }

    pub(crate) fn path(&self, diff_id: &Digest) -> PathBuf {
        self.dir.join(diff_id.hex())
    }

    fn facts_path(&self, diff_id: &Digest) -> PathBuf {
        self.dir.join(format!("{}.json", diff_id.hex()))
    }

    /// The layer that puts right what `layers` (lowest first) made up; `None` when they made up nothing
    /// that matters.
    pub(crate) async fn fill(
        &self,
        content: &ContentStore,
        layers: Vec<(Digest, LayerFacts)>,
    ) -> Result<Option<PathBuf>, ImageError> {
        if layers.iter().skip(1).all(|(_, facts)| facts.implicit.is_empty()) {
            return Ok(None);
        }
        let names: Vec<&str> = layers.iter().map(|(diff_id, _)| diff_id.as_str()).collect();
        let name = Digest::of(format!("fill {}", names.join(" ")).as_bytes());
        let flight = self.flights.board(name.hex()).await;
        let (store, content) = (self.clone(), content.clone());
        blocking(move || {
            let _held = flight;
            match store.facts(&name) {
                Some(_) => Ok(Some(store.path(&name))),
                None => store.fill_now(&content, &name, layers),
            }
        })
        .await
    }

    fn fill_now(
        &self,
        content: &ContentStore,
        name: &Digest,
        layers: Vec<(Digest, LayerFacts)>,
    ) -> Result<Option<PathBuf>, ImageError> {
        let fills = layers.iter().map(|(diff_id, _)| diff_id.clone()).collect();
        let strata: Vec<Stratum> = layers
            .into_iter()
            .map(|(diff_id, facts)| Stratum {
                dir: self.path(&diff_id),
                implicit: facts.implicit.into_iter().collect(),
                hides: facts.hides.unwrap_or_default(),
            })
            .collect();
        let plan = fill::plan(&strata);
        if plan.is_empty() {
            return Ok(None);
        }
        let new = self.temporary();
        fs::create_dir(&new).map_err(|e| host("create", &new, e))?;
        fill::build(&new, &plan).map_err(|e| host("fill", &new, e))?;
        let opened = fs::File::open(&new).map_err(|e| host("open", &new, e))?;
        rustix::fs::syncfs(&opened).map_err(|e| host("sync", &new, e.into()))?;
        self.settle(
            content,
            &new,
            name,
            &LayerFacts { fills, hides: Some(Hides::nothing()), ..LayerFacts::default() },
        )?;
        Ok(Some(self.path(name)))
    }

    /// Gives a finished directory its name. The facts come first: the directory is what counts.
    fn settle(&self, content: &ContentStore, new: &Path, name: &Digest, facts: &LayerFacts) -> Result<(), ImageError> {
        let text = serde_json::to_vec(facts).map_err(|e| ImageError::host("write layer facts", io::Error::other(e)))?;
        let written = content.write_atomic(&self.facts_path(name), &text);
        written.map_err(|error| ImageError::of_content("", error))?;
        let path = self.path(name);
        fs::rename(new, &path).map_err(|e| host("rename to", &path, e))
    }

    fn unpack(
        &self,
        image: &str,
        content: &ContentStore,
        name: &LayerName,
        budget: &Budget,
    ) -> Result<LayerFacts, ImageError> {
        let blob_path = content.blob_path(&name.blob);
        let blob = fs::File::open(&blob_path).map_err(|e| host("open", &blob_path, e))?;
        let new = self.temporary();
        fs::create_dir(&new).map_err(|e| host("create", &new, e))?;
        let result = unpack(blob, &new, &self.limits, budget).map_err(|error| error.of_image(image, &name.blob));
        let settled = result.and_then(|unpacked| {
            let actual = unpacked.diff_id.as_ref().map_or("nothing", Digest::as_str);
            if actual != name.diff_id.as_str() {
                let cause =
                    format!("layer {} unpacks to {actual}, but its configuration says {}", name.blob, name.diff_id);
                return Err(ImageError::corrupt(image, cause));
            }
            for warning in &unpacked.warnings {
                tracing::warn!(image, layer = %name.blob, warning, "part of a layer was left out");
            }
            let facts = LayerFacts {
                bytes: unpacked.bytes,
                implicit: unpacked.implicit,
                warnings: unpacked.warnings,
                hides: Some(unpacked.hides),
                fills: Vec::new(),
            };
            self.settle(content, &new, &name.diff_id, &facts)?;
            Ok(facts)
        });
        if settled.is_err() {
            // The cause matters more than the rubbish, which the next start removes.
            let _ = remove_dir(&new);
        }
        settled
    }
}

/// Runs what waits for the disk where it holds nobody up.
async fn blocking<T, F>(work: F) -> Result<T, ImageError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, ImageError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(closed(io::Error::other(error))),
    }
}

pub(crate) fn remove_dir(path: &Path) -> Result<(), ImageError> {
    fs::remove_dir_all(path).map_err(|e| host("remove", path, e))
}

pub(crate) fn host(verb: &str, path: &Path, source: io::Error) -> ImageError {
    ImageError::host(format!("{verb} {}", path.display()), source)
}

fn closed(source: io::Error) -> ImageError {
    ImageError::host("unpack a layer", source)
}
