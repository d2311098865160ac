//! Repositories of the embedded registry: names for content, as small files.
//!
//! ```text
//! repositories/<name>/_manifests/<hex>   the media type; the bytes are a blob
//! repositories/<name>/_tags/<tag>        the digest it points to
//! repositories/<name>/_blobs/<hex>       empty: the repository holds this blob
//! ```
//!
//! No part of a repository name starts with `_` and no tag is `.` or `..` (see `reference`), so names
//! are paths that cannot leave their directory. Every file is replaced by a rename.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use crate::{
    content::{ContentStore, at, blocking, size_of},
    digest::Digest,
    error::ContentError,
    manifest::{MAX_MANIFEST, Manifest},
    reference::{check_repository, check_tag},
};

/// How a manifest is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestName {
    /// By tag.
    Tag(String),
    /// By digest.
    Digest(Digest),
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
    /// Stores a manifest and points the tag to it, if it is named by one. Everything it refers to
    /// must be in the repository already; layers that have `urls` of their own are excepted.
    ///
    /// # Errors
    /// [`ContentError::ManifestInvalid`], [`ContentError::ManifestBlobUnknown`],
    /// [`ContentError::DigestMismatch`], [`ContentError::NameInvalid`], [`ContentError::Host`].
    pub async fn put_manifest(
        &self,
        repository: &str,
        name: &ManifestName,
        declared: Option<&str>,
        bytes: Bytes,
    ) -> Result<Digest, ContentError> {
        check_repository(repository)?;
        let shared = self.gate.clone().read_owned().await;
        let (store, name, repository) = (self.clone(), name.clone(), repository.to_owned());
        let declared = declared.map(str::to_owned);
        blocking(move || {
            let _shared = shared;
            store.put_manifest_now(&repository, &name, declared.as_deref(), &bytes)
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

    /// Makes the repository hold a blob that the store has.
    ///
    /// # Errors
    /// [`ContentError::BlobUnknown`], [`ContentError::Host`].
    pub async fn link_blob(&self, repository: &str, digest: &Digest) -> Result<(), ContentError> {
        check_repository(repository)?;
        let (store, digest, repository) = (self.clone(), digest.clone(), repository.to_owned());
        blocking(move || store.link_blob_now(&repository, &digest)).await
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
        let alone = self.removing().await?;
        blocking(move || {
            let _alone = alone;
            remove(&link, || ContentError::BlobUnknown(digest.clone()))
        })
        .await
    }

    pub(crate) fn link_blob_now(&self, repository: &str, digest: &Digest) -> Result<(), ContentError> {
        if size_of(&self.blob_path(digest))?.is_none() {
            return Err(ContentError::BlobUnknown(digest.clone()));
        }
        let link = self.blob_link(repository, digest);
        if let Some(parent) = link.parent() {
            fs::create_dir_all(parent).map_err(at("create", parent))?;
        }
        // Written again when it is there: the fresh time keeps it from the collector.
        fs::write(&link, b"").map_err(at("write", &link))
    }

    pub(crate) fn put_manifest_now(
        &self,
        repository: &str,
        name: &ManifestName,
        declared: Option<&str>,
        bytes: &[u8],
    ) -> Result<Digest, ContentError> {
        let (manifest, media_type) = Manifest::parse(bytes, declared)?;
        let actual = Digest::of(bytes);
        if let ManifestName::Digest(expected) = name
            && *expected != actual
        {
            return Err(ContentError::DigestMismatch { expected: expected.clone(), actual });
        }
        self.check_held(repository, &manifest)?;
        self.put_blob_now(bytes)?;
        self.write_atomic(&self.manifest_path(repository, &actual), media_type.as_bytes())?;
        if let ManifestName::Tag(tag) = name {
            self.write_atomic(&self.tag_path(repository, tag)?, actual.as_str().as_bytes())?;
        }
        Ok(actual)
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
        remove(&self.manifest_path(repository, digest), unknown)
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
        Ok(names.iter().filter_map(|hex| format!("sha256:{hex}").parse().ok()).collect())
    }

    /// The blobs a repository holds.
    pub(crate) fn links_now(&self, repository: &str) -> Result<Vec<Digest>, ContentError> {
        let names = names_in(&self.repository_path(repository).join("_blobs"))?;
        Ok(names.iter().filter_map(|hex| format!("sha256:{hex}").parse().ok()).collect())
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

    /// Clients push children first and rely on being told when one is missing.
    fn check_held(&self, repository: &str, manifest: &Manifest) -> Result<(), ContentError> {
        match manifest {
            Manifest::Image(image) => {
                for blob in std::iter::once(&image.config).chain(&image.layers) {
                    if blob.urls.is_empty() && !self.blob_link(repository, &blob.digest).exists() {
                        return Err(ContentError::ManifestBlobUnknown(blob.digest.clone()));
                    }
                }
            }
            Manifest::Index(index) => {
                for child in &index.manifests {
                    if !self.manifest_path(repository, &child.digest).exists() {
                        return Err(ContentError::ManifestBlobUnknown(child.digest.clone()));
                    }
                }
            }
        }
        Ok(())
    }

    fn known(&self, repository: &str) -> Result<(), ContentError> {
        let path = self.repository_path(repository);
        let known = ["_manifests", "_blobs"].iter().any(|part| path.join(part).exists());
        if known { Ok(()) } else { Err(ContentError::RepositoryUnknown(repository.to_owned())) }
    }

    fn repository_path(&self, repository: &str) -> PathBuf {
        self.repositories_dir().join(repository)
    }

    fn manifest_path(&self, repository: &str, digest: &Digest) -> PathBuf {
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

fn remove(path: &Path, unknown: impl Fn() -> ContentError) -> Result<(), ContentError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
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
