//! Repositories of the embedded registry: names for content, as small files.
//!
//! ```text
//! repositories/<name>/_manifests/<hex>   the media type; the bytes are a blob
//! repositories/<name>/_tags/<tag>        the digest it points to
//! repositories/<name>/_blobs/<hex>       empty: the repository holds this blob
//! repositories/<name>/_referrers/…       see `referrers`
//! ```
//!
//! No part of a repository name starts with `_` and no tag is `.` or `..` (see `reference`), so names
//! are paths that cannot leave their directory. Every file is replaced by a rename.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::PoisonError,
    time::Duration,
};

use bytes::Bytes;

use crate::{
    content::{ContentStore, at, blocking, make_dirs, size_of, sync_dir},
    digest::Digest,
    error::ContentError,
    manifest::{Descriptor, MAX_MANIFEST, Manifest},
    reference::{check_repository, check_tag},
    referrers::subject_of,
};

/// A link that is looked at gets a new date when it is older than this: often enough for the
/// collector, which spares what is younger than an hour, and seldom enough for the disk.
const TOUCH: Duration = Duration::from_secs(10 * 60);

/// How a manifest is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestName {
    /// By tag.
    Tag(String),
    /// By digest.
    Digest(Digest),
}

/// A manifest on its way in.
#[derive(Debug, Clone)]
pub struct ManifestPush {
    /// What it is to be called.
    pub name: ManifestName,
    /// More tags that are to point to it.
    pub tags: Vec<String>,
    /// The `Content-Type` it came with, without parameters.
    pub declared: Option<String>,
    /// Its bytes; they are kept as they are.
    pub bytes: Bytes,
}

/// What became of a [`ManifestPush`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedManifest {
    /// Its digest.
    pub digest: Digest,
    /// The manifest it refers to, if any; that need not exist.
    pub subject: Option<Digest>,
}

/// A manifest of a repository.
#[derive(Debug, Clone)]
pub struct StoredManifest {
    /// Its digest.
    pub digest: Digest,
    /// Its media type, as it was pushed.
    pub media_type: String,
    /// Its bytes, as they were pushed.
    pub bytes: Bytes,
}

// === impl ManifestName ===

impl ManifestName {
    /// Reads a tag or a digest.
    ///
    /// # Errors
    /// [`ContentError::TagInvalid`] when it is neither.
    pub fn parse(text: &str) -> Result<Self, ContentError> {
        if text.contains(':') {
            return text.parse().map(Self::Digest).map_err(|_| ContentError::TagInvalid(text.to_owned()));
        }
        check_tag(text)?;
        Ok(Self::Tag(text.to_owned()))
    }
}

impl std::fmt::Display for ManifestName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => f.write_str(digest.as_str()),
        }
    }
}

// === impl ContentStore ===

impl ContentStore {
    /// Stores a manifest and points its tags to it. Everything it refers to must be in the repository
    /// already, and be as large as it says; excepted are layers that have `urls` of their own, and the
    /// subject. All of it is durable when this returns.
    ///
    /// # Errors
    /// [`ContentError::ManifestInvalid`], [`ContentError::ManifestBlobUnknown`],
    /// [`ContentError::DigestMismatch`], [`ContentError::NameInvalid`], [`ContentError::TagInvalid`],
    /// [`ContentError::Host`].
    pub async fn put_manifest(&self, repository: &str, push: ManifestPush) -> Result<PushedManifest, ContentError> {
        check_repository(repository)?;
        let shared = self.gate.clone().read_owned().await;
        let (store, repository) = (self.clone(), repository.to_owned());
        blocking(move || {
            let _shared = shared;
            store.put_manifest_now(&repository, &push)
        })
        .await
    }

    /// A manifest with its bytes.
    ///
    /// # Errors
    /// [`ContentError::RepositoryUnknown`], [`ContentError::ManifestUnknown`], [`ContentError::Host`].
    pub async fn manifest(&self, repository: &str, name: &ManifestName) -> Result<StoredManifest, ContentError> {
        check_repository(repository)?;
        let (store, name, repository) = (self.clone(), name.clone(), repository.to_owned());
        blocking(move || store.manifest_now(&repository, &name)).await
    }

    /// Removes a tag, or a manifest with all tags that point to it. Blobs stay for the collector.
    ///
    /// # Errors
    /// [`ContentError::RepositoryUnknown`], [`ContentError::ManifestUnknown`], [`ContentError::Held`],
    /// [`ContentError::Host`].
    pub async fn delete_manifest(&self, repository: &str, name: &ManifestName) -> Result<(), ContentError> {
        check_repository(repository)?;
        let (store, name, repository) = (self.clone(), name.clone(), repository.to_owned());
        let alone = self.removing().await?;
        blocking(move || {
            let _alone = alone;
            let _naming = store.naming.write().unwrap_or_else(PoisonError::into_inner);
            store.delete_manifest_now(&repository, &name)
        })
        .await
    }

    /// The tags of a repository, in order.
    ///
    /// # Errors
    /// [`ContentError::RepositoryUnknown`], [`ContentError::Host`].
    pub async fn tags(&self, repository: &str) -> Result<Vec<String>, ContentError> {
        check_repository(repository)?;
        let (store, repository) = (self.clone(), repository.to_owned());
        blocking(move || {
            store.known(&repository)?;
            store.tags_now(&repository)
        })
        .await
    }

    /// The repositories that hold at least one manifest, in order.
    ///
    /// # Errors
    /// [`ContentError::Host`].
    pub async fn repositories(&self) -> Result<Vec<String>, ContentError> {
        let store = self.clone();
        blocking(move || store.repositories_now()).await
    }

    /// Makes `repository` hold a blob that `from` holds, or without one any repository. `false` when
    /// it is not there.
    ///
    /// # Errors
    /// [`ContentError::NameInvalid`], [`ContentError::Host`].
    pub async fn mount_blob(
        &self,
        repository: &str,
        digest: &Digest,
        from: Option<&str>,
    ) -> Result<bool, ContentError> {
        for name in from.iter().copied().chain([repository]) {
            check_repository(name)?;
        }
        let shared = self.gate.clone().read_owned().await;
        let (store, digest) = (self.clone(), digest.clone());
        let (repository, from) = (repository.to_owned(), from.map(str::to_owned));
        blocking(move || {
            let _shared = shared;
            let holds = |name: &String| store.blob_link(name, &digest).exists();
            let is_held = match from {
                Some(from) => holds(&from),
                None => store.repository_dirs_now()?.iter().any(holds),
            };
            if !is_held || size_of(&store.blob_path(&digest))?.is_none() {
                return Ok(false);
            }
            store.link_blob_now(&repository, &digest).map(|()| true)
        })
        .await
    }

    /// As [`ContentStore::linked_blob`], for a client that will not upload what is here already: the
    /// collector leaves the blob alone long enough for the manifest to come.
    ///
    /// # Errors
    /// [`ContentError::BlobUnknown`], [`ContentError::Host`].
    pub async fn announce_blob(&self, repository: &str, digest: &Digest) -> Result<u64, ContentError> {
        // Between the look and the new date the collector does not come.
        let _shared = self.gate.clone().read_owned().await;
        let size = self.linked_blob(repository, digest).await?;
        let (link, now) = (self.blob_link(repository, digest), self.clock.now());
        blocking(move || {
            let file = fs::File::options().write(true).open(&link).map_err(at("open", &link))?;
            let age = file.metadata().and_then(|link| link.modified()).map(|time| now.duration_since(time));
            // What is of the future, by a clock that was wrong, is dated anew as well.
            if !matches!(age, Ok(Ok(age)) if age < TOUCH) {
                file.set_modified(now).map_err(at("date", &link))?;
            }
            Ok(size)
        })
        .await
    }

    /// The size in bytes of a blob that the repository holds.
    ///
    /// # Errors
    /// [`ContentError::BlobUnknown`], [`ContentError::Host`].
    pub async fn linked_blob(&self, repository: &str, digest: &Digest) -> Result<u64, ContentError> {
        check_repository(repository)?;
        let (store, digest, repository) = (self.clone(), digest.clone(), repository.to_owned());
        blocking(move || {
            let linked = store.blob_link(&repository, &digest).exists();
            let size = if linked { size_of(&store.blob_path(&digest))? } else { None };
            size.ok_or(ContentError::BlobUnknown(digest))
        })
        .await
    }

    /// The repository no longer holds the blob; the collector removes it when nobody else does.
    ///
    /// # Errors
    /// [`ContentError::BlobUnknown`], [`ContentError::Held`], [`ContentError::Host`].
    pub async fn unlink_blob(&self, repository: &str, digest: &Digest) -> Result<(), ContentError> {
        check_repository(repository)?;
        let (link, digest) = (self.blob_link(repository, digest), digest.clone());
        let (store, alone) = (self.clone(), self.removing().await?);
        blocking(move || {
            let _alone = alone;
            let _naming = store.naming.write().unwrap_or_else(PoisonError::into_inner);
            remove(&link, || ContentError::BlobUnknown(digest.clone()))
        })
        .await
    }

    pub(crate) fn link_blob_now(&self, repository: &str, digest: &Digest) -> Result<(), ContentError> {
        if size_of(&self.blob_path(digest))?.is_none() {
            return Err(ContentError::BlobUnknown(digest.clone()));
        }
        let link = self.blob_link(repository, digest);
        let dir = link.parent().unwrap_or_else(|| Path::new("/"));
        make_dirs(dir)?;
        let is_new = !link.exists();
        let file = fs::File::options().write(true).create(true).truncate(false).open(&link);
        // Dated anew when it is there: that keeps it from the collector.
        file.and_then(|file| file.set_modified(self.clock.now())).map_err(at("write", &link))?;
        if is_new { sync_dir(dir) } else { Ok(()) }
    }

    pub(crate) fn put_manifest_now(
        &self,
        repository: &str,
        push: &ManifestPush,
    ) -> Result<PushedManifest, ContentError> {
        let (manifest, media_type) = Manifest::parse(&push.bytes, push.declared.as_deref())?;
        let subject = subject_of(&push.bytes, &media_type)?;
        let digest = Digest::of(&push.bytes);
        let mut tags: Vec<PathBuf> = Vec::new();
        for tag in &push.tags {
            tags.push(self.tag_path(repository, tag)?);
        }
        match &push.name {
            ManifestName::Tag(tag) => tags.push(self.tag_path(repository, tag)?),
            ManifestName::Digest(expected) if *expected != digest => {
                return Err(ContentError::DigestMismatch { expected: expected.clone(), actual: digest });
            }
            ManifestName::Digest(_) => {}
        }
        // Nothing that is looked at here is removed before the manifest has its name.
        let _naming = self.naming.read().unwrap_or_else(PoisonError::into_inner);
        self.check_held(repository, &manifest)?;
        self.put_blob_now(&push.bytes)?;
        if let Some(subject) = &subject {
            self.add_referrer(repository, subject, &digest)?;
        }
        self.write_atomic(&self.manifest_path(repository, &digest), media_type.as_bytes())?;
        for tag in tags {
            self.write_atomic(&tag, digest.as_str().as_bytes())?;
        }
        Ok(PushedManifest { digest, subject })
    }

    pub(crate) fn delete_manifest_now(&self, repository: &str, name: &ManifestName) -> Result<(), ContentError> {
        self.known(repository)?;
        let unknown = || ContentError::ManifestUnknown(name.to_string());
        let digest = match name {
            ManifestName::Tag(tag) => return remove(&self.tag_path(repository, tag)?, unknown),
            ManifestName::Digest(digest) => digest,
        };
        for tag in self.tags_now(repository)? {
            if self.tag_target(repository, &tag)?.as_ref() == Some(digest) {
                remove(&self.tag_path(repository, &tag)?, unknown)?;
            }
        }
        let path = self.manifest_path(repository, digest);
        let kind = read_text(&path)?.ok_or_else(unknown)?;
        let bytes = self.read_blob_now(digest, MAX_MANIFEST);
        remove(&path, unknown)?;
        // One that cannot be read refers to nothing that anybody finds.
        if let Some(subject) = bytes.and_then(|bytes| subject_of(&bytes, &kind)).ok().flatten() {
            self.remove_referrer(repository, &subject, digest);
        }
        Ok(())
    }

    pub(crate) fn manifest_now(&self, repository: &str, name: &ManifestName) -> Result<StoredManifest, ContentError> {
        self.known(repository)?;
        let unknown = || ContentError::ManifestUnknown(name.to_string());
        let digest = match name {
            ManifestName::Digest(digest) => digest.clone(),
            ManifestName::Tag(tag) => self.tag_target(repository, tag)?.ok_or_else(unknown)?,
        };
        let media_type = read_text(&self.manifest_path(repository, &digest))?.ok_or_else(unknown)?;
        let bytes = self.read_blob_now(&digest, MAX_MANIFEST)?;
        Ok(StoredManifest { digest, media_type, bytes })
    }

    pub(crate) fn tags_now(&self, repository: &str) -> Result<Vec<String>, ContentError> {
        let mut tags = names_in(&self.repository_path(repository).join("_tags"))?;
        tags.retain(|tag| check_tag(tag).is_ok());
        Ok(tags)
    }

    /// The manifests of a repository, tagged or not.
    pub(crate) fn manifests_now(&self, repository: &str) -> Result<Vec<Digest>, ContentError> {
        let names = names_in(&self.repository_path(repository).join("_manifests"))?;
        Ok(names.iter().filter_map(|hex| Digest::from_hex(hex)).collect())
    }

    /// The blobs a repository holds.
    pub(crate) fn links_now(&self, repository: &str) -> Result<Vec<Digest>, ContentError> {
        let names = names_in(&self.repository_path(repository).join("_blobs"))?;
        Ok(names.iter().filter_map(|hex| Digest::from_hex(hex)).collect())
    }

    pub(crate) fn repositories_now(&self) -> Result<Vec<String>, ContentError> {
        let mut found = self.repository_dirs_now()?;
        found.retain(|name| self.manifests_now(name).is_ok_and(|manifests| !manifests.is_empty()));
        Ok(found)
    }

    /// Every repository, those too that only hold blobs of a push that goes on or broke off.
    pub(crate) fn repository_dirs_now(&self) -> Result<Vec<String>, ContentError> {
        let mut found = Vec::new();
        let mut open = vec![String::new()];
        while let Some(prefix) = open.pop() {
            for name in names_in(&self.repositories_dir().join(&prefix))? {
                if name.starts_with('_') {
                    continue;
                }
                let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
                if ["_blobs", "_manifests"].iter().any(|part| self.repository_path(&path).join(part).exists()) {
                    found.push(path.clone());
                }
                open.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    pub(crate) fn blob_link(&self, repository: &str, digest: &Digest) -> PathBuf {
        self.repository_path(repository).join("_blobs").join(digest.hex())
    }

    pub(crate) fn tag_target(&self, repository: &str, tag: &str) -> Result<Option<Digest>, ContentError> {
        Ok(read_text(&self.tag_path(repository, tag)?)?.and_then(|text| text.parse().ok()))
    }

    /// Clients push children first and rely on being told when one is missing. One of another size
    /// than the manifest says would only be found when somebody pulls it.
    fn check_held(&self, repository: &str, manifest: &Manifest) -> Result<(), ContentError> {
        let (children, is_index): (Vec<&Descriptor>, bool) = match manifest {
            Manifest::Image(image) => (std::iter::once(&image.config).chain(&image.layers).collect(), false),
            Manifest::Index(index) => (index.manifests.iter().collect(), true),
        };
        for child in children {
            let link = match is_index {
                true => self.manifest_path(repository, &child.digest),
                false => self.blob_link(repository, &child.digest),
            };
            let size = size_of(&self.blob_path(&child.digest))?;
            match size.filter(|_| link.exists()) {
                Some(size) if size == child.size => {}
                Some(size) => {
                    let Descriptor { digest, size: said, .. } = child;
                    return Err(ContentError::ManifestInvalid(format!("{digest} has {size} bytes, not {said}")));
                }
                None if child.urls.is_empty() => return Err(ContentError::ManifestBlobUnknown(child.digest.clone())),
                None => {}
            }
        }
        Ok(())
    }

    fn known(&self, repository: &str) -> Result<(), ContentError> {
        let path = self.repository_path(repository);
        let known = ["_manifests", "_blobs"].iter().any(|part| path.join(part).exists());
        if known { Ok(()) } else { Err(ContentError::RepositoryUnknown(repository.to_owned())) }
    }

    pub(crate) fn repository_path(&self, repository: &str) -> PathBuf {
        self.repositories_dir().join(repository)
    }

    pub(crate) fn manifest_path(&self, repository: &str, digest: &Digest) -> PathBuf {
        self.repository_path(repository).join("_manifests").join(digest.hex())
    }

    fn tag_path(&self, repository: &str, tag: &str) -> Result<PathBuf, ContentError> {
        check_tag(tag)?;
        Ok(self.repository_path(repository).join("_tags").join(tag))
    }
}

fn read_text(path: &Path) -> Result<Option<String>, ContentError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at("read", path)(error)),
    }
}

/// Durably: what is acknowledged as deleted does not come back after a power cut.
fn remove(path: &Path, unknown: impl Fn() -> ContentError) -> Result<(), ContentError> {
    match fs::remove_file(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(unknown()),
        Err(error) => Err(at("remove", path)(error)),
    }
}

/// The names in a directory, in order; none when there is no directory.
pub(crate) fn names_in(dir: &Path) -> Result<Vec<String>, ContentError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(at("read", dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(at("read", dir))?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}
