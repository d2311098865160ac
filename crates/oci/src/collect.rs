//! Listing, deleting, and removing what nobody refers to.
//!
//! The collector works alone: whoever makes a reference to content (a push of a manifest, a mount, the
//! end of an upload, a pull, a load) holds the gate shared from the look at the content to the name
//! that keeps it. What lies between two such steps is spared by its age: a push sends blobs first and
//! the manifest last, and may take a blob for granted that it found here.
//!
//! Two things must be true of what is removed. Its file is older than [`GRACE`], and nobody referred to
//! it [`GRACE`] ago and now: an instance of a deleted revision may still run from its layers, and a
//! clock that jumps makes everything look old.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::PoisonError,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    config::ConfigFile,
    content::{ContentStore, at, blocking, size_of, sync_dir},
    digest::Digest,
    error::{ContentError, ImageError},
    layers::Layers,
    manifest::{MAX_MANIFEST, Manifest},
    reference::Reference,
    repository::{ManifestName, names_in},
    store::{ImageStore, LOCAL_REGISTRY, MAX_CONFIG},
};

/// How old content has to be, and how long without a reference. Longer than a request may run.
const GRACE: Duration = Duration::from_secs(60 * 60);
/// While a push to a repository goes on, or may be about to name what it has sent, blobs there stay this
/// long: large layers over a slow line take hours from the first blob to the manifest.
const LONG_PUSH: Duration = Duration::from_secs(24 * 60 * 60);

/// What nobody refers to, and since when that is known.
pub(crate) type Garbage = HashMap<PathBuf, Instant>;

/// One collection.
struct Sweep<'a> {
    content: &'a ContentStore,
    now: SystemTime,
    instant: Instant,
    /// As the collection before left it.
    before: Garbage,
    /// For the next one.
    garbage: Garbage,
    /// Blobs of repositories that no manifest needs, but that one may come for.
    spared: HashSet<Digest>,
}

/// An image of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedImage {
    /// `localhost/repository:tag` for images of the embedded registry, `registry/repository@sha256:…`
    /// for those fetched from another one.
    pub reference: String,
    /// The digest of its manifest or index.
    pub digest: Digest,
    /// The size of its blobs here, compressed, in bytes; blobs shared with others are counted too.
    pub size: u64,
    /// When it was made, RFC 3339, as the image says; for an index, of the image for this host.
    pub created: Option<String>,
}

/// What [`ImageStore::collect_garbage`] removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Unpacked layers.
    pub layers: u64,
}

/// Everything that a manifest leads to.
#[derive(Default)]
pub(crate) struct Reach {
    pub(crate) blobs: HashSet<Digest>,
    /// Of them, those that were read for what they lead to. Not all: the layer of one image can be the manifest of
    /// another, and to be held does not mean to have been followed.
    followed: HashSet<Digest>,
    diff_ids: HashSet<Digest>,
    created: Option<String>,
}

// === impl ImageStore ===

impl ImageStore {
    /// The images of the embedded registry by tag, then those fetched from other registries.
    ///
    /// # Errors
    /// [`ImageError::Host`].
    pub async fn list(&self) -> Result<Vec<ListedImage>, ImageError> {
        let content = self.inner.content.clone();
        blocking(move || list(&content)).await.map_err(|error| ImageError::of_content("", error))
    }

    /// Forgets an image: a tag (and its manifest when no other tag has it), or a manifest with all its
    /// tags when `reference` has a digest. The bytes go with the next collection.
    ///
    /// # Errors
    /// [`ImageError::Invalid`], [`ImageError::Missing`], [`ImageError::Held`], [`ImageError::Host`].
    pub async fn delete(&self, reference: &str) -> Result<(), ImageError> {
        let parsed: Reference = reference.parse()?;
        let is_local = self.is_local(&parsed);
        let content = self.inner.content.clone();
        let of_content = |error| ImageError::of_content(reference, error);
        let alone = content.removing().await.map_err(of_content)?;
        let work = blocking(move || {
            let _alone = alone;
            let _naming = content.naming.write().unwrap_or_else(PoisonError::into_inner);
            if is_local { delete_local(&content, &parsed) } else { forget(&content, &parsed) }
        });
        work.await.map_err(of_content)
    }

    /// Removes blobs and unpacked layers that no image of the embedded registry and none of `in_use`
    /// (pinned references, such as those of revisions) leads to, that are older than an hour, and that
    /// a collection an hour ago or earlier would have removed as well.
    /// `None`: somebody is fetching, unpacking or copying, so nothing was touched; try later.
    ///
    /// # Errors
    /// [`ImageError::Invalid`], [`ImageError::Host`].
    pub async fn collect_garbage(&self, in_use: &[String]) -> Result<Option<Collected>, ImageError> {
        let Ok(alone) = self.inner.content.gate.clone().try_write_owned() else { return Ok(None) };
        let mut roots = Vec::new();
        for image in in_use {
            roots.extend(image.parse::<Reference>()?.digest().cloned());
        }
        let store = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _alone = alone;
            collect(&store, &roots)
        });
        match work.await {
            Ok(result) => result.map(Some),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => Err(ImageError::host("collect garbage", std::io::Error::other(error))),
        }
    }

    /// Notes that an image of another registry was fetched, for the list.
    pub(crate) async fn remember(&self, reference: &Reference, digest: &Digest) -> Result<(), ContentError> {
        let (content, text) = (self.inner.content.clone(), reference.pinned(digest.clone()).to_string());
        blocking(move || {
            // Two repositories can have one image.
            let path = pulled_path(&content, &text);
            if path.exists() { Ok(()) } else { content.write_atomic(&path, text.as_bytes()) }
        })
        .await
    }
}

// === impl Reach ===

impl Reach {
    /// Follows `digest`. What is not here is passed over: an index names images for other hosts too.
    pub(crate) fn follow(&mut self, content: &ContentStore, digest: &Digest) {
        // A list of its own and not the stack: whoever pushes decides how deep indexes go.
        let mut open = vec![digest.clone()];
        while let Some(digest) = open.pop() {
            if self.followed.insert(digest.clone()) {
                let first = open.len();
                self.step(content, &digest, &mut open);
                // In the order of the index.
                open[first..].reverse();
            }
        }
    }

    /// Notes what one manifest holds, and adds the entries of an index to `open`.
    fn step(&mut self, content: &ContentStore, digest: &Digest, open: &mut Vec<Digest>) {
        self.blobs.insert(digest.clone());
        let Ok(bytes) = content.read_blob_now(digest, MAX_MANIFEST) else { return };
        match Manifest::parse(&bytes, None) {
            Ok((Manifest::Image(image), _)) => {
                self.blobs.insert(image.config.digest.clone());
                self.blobs.extend(image.layers.iter().map(|layer| layer.digest.clone()));
                let config = content.read_blob_now(&image.config.digest, MAX_CONFIG).ok();
                if let Some(file) = config.and_then(|bytes| ConfigFile::parse("", &bytes).ok()) {
                    self.diff_ids.extend(file.diff_ids.iter().cloned());
                    if file.check_platform("").is_ok() {
                        self.created = self.created.take().or(file.created);
                    }
                }
            }
            Ok((Manifest::Index(index), _)) => {
                let entries = index.manifests.into_iter().map(|entry| entry.digest);
                open.extend(entries.filter(|digest| !self.followed.contains(digest)));
            }
            Err(_) => {}
        }
    }

    fn size(&self, content: &ContentStore) -> Result<u64, ContentError> {
        self.blobs.iter().try_fold(0, |sum, blob| Ok(sum + size_of(&content.blob_path(blob))?.unwrap_or(0)))
    }
}

fn list(content: &ContentStore) -> Result<Vec<ListedImage>, ContentError> {
    let mut images = Vec::new();
    let mut add = |reference: String, digest: Digest| {
        let mut reach = Reach::default();
        reach.follow(content, &digest);
        let size = reach.size(content)?;
        images.push(ListedImage { reference, digest, size, created: reach.created });
        Ok::<(), ContentError>(())
    };
    for repository in content.repositories_now()? {
        for tag in content.tags_now(&repository)? {
            if let Some(digest) = content.tag_target(&repository, &tag)? {
                add(format!("{LOCAL_REGISTRY}/{repository}:{tag}"), digest)?;
            }
        }
    }
    for (_, reference) in pulled(content)? {
        if let Some(digest) = reference.digest() {
            add(reference.to_string(), digest.clone())?;
        }
    }
    Ok(images)
}

fn delete_local(content: &ContentStore, reference: &Reference) -> Result<(), ContentError> {
    let repository = reference.repository();
    let Some(tag) = reference.tag().filter(|_| reference.digest().is_none()) else {
        let Some(digest) = reference.digest() else { return Ok(()) };
        return content.delete_manifest_now(repository, &ManifestName::Digest(digest.clone()));
    };
    let digest = content.manifest_now(repository, &ManifestName::Tag(tag.to_owned()))?.digest;
    content.delete_manifest_now(repository, &ManifestName::Tag(tag.to_owned()))?;
    for other in content.tags_now(repository)? {
        if content.tag_target(repository, &other)?.as_ref() == Some(&digest) {
            return Ok(());
        }
    }
    content.delete_manifest_now(repository, &ManifestName::Digest(digest))
}

fn forget(content: &ContentStore, reference: &Reference) -> Result<(), ContentError> {
    let path = pulled_path(content, &reference.to_string());
    match fs::remove_file(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(ContentError::ManifestUnknown(reference.to_string()))
        }
        other => other.map_err(at("remove", &path)).and_then(|()| sync_dir(&pulled_dir(content))),
    }
}

fn collect(store: &ImageStore, roots: &[Digest]) -> Result<Collected, ImageError> {
    let mut known = store.inner.garbage.lock().unwrap_or_else(PoisonError::into_inner);
    let mut sweep = Sweep {
        content: &store.inner.content,
        now: store.inner.clock.now(),
        instant: store.inner.clock.instant(),
        before: std::mem::take(&mut *known),
        garbage: Garbage::new(),
        spared: HashSet::new(),
    };
    let (layers, mut reach) = (&store.inner.layers, Reach::default());
    let collected = sweep.run(layers, roots, &mut reach);
    *known = if collected.is_ok() { sweep.garbage } else { sweep.before };
    if collected.is_err() {
        // What it did not come to has been garbage no shorter for it; what it saw needed is none.
        for path in reach.blobs.iter().map(|digest| sweep.content.blob_path(digest)) {
            known.remove(&path);
        }
        for path in reach.diff_ids.iter().map(|diff_id| layers.path(diff_id)) {
            known.remove(&path);
        }
    }
    collected
}

// === impl Sweep ===

impl Sweep<'_> {
    /// Removes what `roots` and names do not lead to, which is gathered in `reach`.
    fn run(&mut self, layers: &Layers, roots: &[Digest], reach: &mut Reach) -> Result<Collected, ImageError> {
        let of_content = |error| ImageError::of_content("", error);
        for digest in roots {
            reach.follow(self.content, digest);
        }
        self.pulled(roots).map_err(of_content)?;
        self.repositories(reach).map_err(of_content)?;
        let mut collected = self.blobs(reach).map_err(of_content)?;
        for diff_id in layers.list().map_err(of_content)? {
            let fills = layers.facts(&diff_id).map(|facts| facts.fills).unwrap_or_default();
            let fills_used = !fills.is_empty() && fills.iter().all(|filled| reach.diff_ids.contains(filled));
            let is_used = fills_used || reach.diff_ids.contains(&diff_id);
            if !is_used && self.is_ripe(&layers.path(&diff_id), layers.modified(&diff_id), GRACE) {
                layers.remove(&diff_id)?;
                collected.layers += 1;
            }
        }
        Ok(collected)
    }

    /// May a file that nobody refers to be removed by now? Notes that nobody does.
    fn is_ripe(&mut self, path: &Path, modified: Option<SystemTime>, age: Duration) -> bool {
        let since = self.before.get(path).copied().unwrap_or(self.instant);
        self.garbage.insert(path.to_owned(), since);
        self.is_old(modified, age) && self.instant.duration_since(since) >= GRACE
    }

    fn is_old(&self, modified: Option<SystemTime>, age: Duration) -> bool {
        modified.is_some_and(|time| self.now.duration_since(time).unwrap_or_default() >= age)
    }

    /// Notes of images of other registries.
    fn pulled(&mut self, roots: &[Digest]) -> Result<(), ContentError> {
        for (path, reference) in pulled(self.content)? {
            let is_root = reference.digest().is_some_and(|digest| roots.contains(digest));
            if !is_root && self.is_ripe(&path, modified(&path), GRACE) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Follows what repositories hold; blobs of no manifest are let go.
    fn repositories(&mut self, reach: &mut Reach) -> Result<(), ContentError> {
        let content = self.content;
        let busy = content.sessions.repositories();
        for repository in content.repository_dirs_now()? {
            let mut held = Reach::default();
            for digest in content.manifests_now(&repository)? {
                held.follow(content, &digest);
            }
            let links = content.links_now(&repository)?;
            let is_new = |link| !self.is_old(modified(&content.blob_link(&repository, link)), GRACE);
            let age = if busy.contains(&repository) || links.iter().any(is_new) { LONG_PUSH } else { GRACE };
            for link in links {
                if held.blobs.contains(&link) {
                    continue;
                }
                let path = content.blob_link(&repository, &link);
                if self.is_ripe(&path, modified(&path), age) {
                    remove(&path)?;
                } else {
                    // However old the blob itself is: it may have been mounted.
                    self.spared.insert(link);
                }
            }
            content.sweep_referrers(&repository, &|time| !self.is_old(time, GRACE))?;
            reach.blobs.extend(held.blobs);
            reach.diff_ids.extend(held.diff_ids);
        }
        Ok(())
    }

    fn blobs(&mut self, reach: &Reach) -> Result<Collected, ContentError> {
        let (content, mut collected) = (self.content, Collected::default());
        for shelf in names_in(&content.blobs())? {
            for hex in names_in(&content.blobs().join(shelf))? {
                let Some(digest) = Digest::from_hex(&hex) else { continue };
                let path = content.blob_path(&digest);
                let is_used = reach.blobs.contains(&digest);
                if is_used || !self.is_ripe(&path, modified(&path), GRACE) || self.spared.contains(&digest) {
                    continue;
                }
                collected.bytes += size_of(&path)?.unwrap_or(0);
                collected.blobs += 1;
                remove(&path)?;
            }
        }
        Ok(collected)
    }
}

/// Somebody else may have removed the same name: that is done, then.
fn remove(path: &Path) -> Result<(), ContentError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(error)),
        _ => Ok(()),
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

pub(crate) fn pulled_dir(content: &ContentStore) -> PathBuf {
    content.root().join("pulled")
}

fn pulled_path(content: &ContentStore, reference: &str) -> PathBuf {
    pulled_dir(content).join(Digest::of(reference.as_bytes()).hex())
}

fn pulled(content: &ContentStore) -> Result<Vec<(PathBuf, Reference)>, ContentError> {
    let dir = pulled_dir(content);
    let mut found = Vec::new();
    for name in names_in(&dir)? {
        let path = dir.join(name);
        // Notes only: one that is damaged, or just gone, must not keep everything else from being listed or removed.
        let read = fs::read_to_string(&path).map_err(|error| error.to_string());
        match read.and_then(|text| text.parse::<Reference>().map_err(|error| error.to_string())) {
            Ok(reference) => found.push((path, reference)),
            Err(error) => tracing::warn!(path = %path.display(), %error, "the note of a fetched image cannot be read"),
        }
    }
    found.sort_by_key(|(_, reference)| reference.to_string());
    Ok(found)
}
