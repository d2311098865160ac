//! What refers to a manifest: signatures, bills of material, anything with a `subject`.
//!
//! ```text
//! repositories/<name>/_referrers/<subject>/<manifest>    empty: this manifest has that subject
//! ```
//!
//! The file is written before the manifest gets its name and removed after it has lost it, so every
//! manifest with a subject is found; a file without a manifest counts for nothing and is collected.
//! Clients of older registries keep such lists themselves, as an index under the tag `sha256-<digest>`.
//! What such an index lists is found too (distribution specification 1.1, "Enabling the Referrers API").

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::SystemTime,
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    content::{ContentStore, at, blocking, make_dirs, sync_dir},
    digest::Digest,
    error::ContentError,
    manifest::{Descriptor, MAX_MANIFEST, Manifest, media_type},
    reference::check_repository,
    repository::{ManifestName, names_in},
};

/// A page ends before it has more bytes of descriptors than this; what clients can be expected to take.
const PAGE_BYTES: usize = MAX_MANIFEST - (64 << 10);
/// And before it has more descriptors than this.
const PAGE_ENTRIES: usize = 1000;

/// What is asked of a list of referrers.
#[derive(Debug, Clone, Default)]
pub struct ReferrersQuery {
    /// Only those of this type.
    pub artifact_type: Option<String>,
    /// Where the page before ended: [`Referrers::next`].
    pub last: Option<String>,
}

/// A page of the list of referrers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Referrers {
    /// Descriptors, as an index has them, ordered by digest.
    pub descriptors: Vec<Value>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// What a manifest says of what it is about.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct About {
    artifact_type: Option<String>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
    config: Option<ConfigType>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigType {
    media_type: Option<String>,
}

// === impl ContentStore ===

impl ContentStore {
    /// The manifests of a repository whose subject is `subject`, a page of them. The subject need not
    /// exist, nor need the repository: then the list is empty.
    ///
    /// # Errors
    /// [`ContentError::NameInvalid`], [`ContentError::Host`].
    pub async fn referrers(
        &self,
        repository: &str,
        subject: &Digest,
        query: ReferrersQuery,
    ) -> Result<Referrers, ContentError> {
        check_repository(repository)?;
        let (store, repository, subject) = (self.clone(), repository.to_owned(), subject.clone());
        blocking(move || store.referrers_now(&repository, &subject, &query)).await
    }

    /// Notes that `manifest` refers to `subject`.
    pub(crate) fn add_referrer(
        &self,
        repository: &str,
        subject: &Digest,
        manifest: &Digest,
    ) -> Result<(), ContentError> {
        let dir = self.referrers_dir(repository).join(subject.hex());
        let path = dir.join(manifest.hex());
        make_dirs(&dir)?;
        fs::write(&path, b"").map_err(at("write", &path))?;
        sync_dir(&dir)
    }

    /// The opposite. What is not there is fine: it may be that a crash came between.
    pub(crate) fn remove_referrer(&self, repository: &str, subject: &Digest, manifest: &Digest) {
        let dir = self.referrers_dir(repository).join(subject.hex());
        let _ = fs::remove_file(dir.join(manifest.hex()));
        let _ = fs::remove_dir(dir);
    }

    /// Removes notes of manifests that are not there; `young` ones may be of a push under way.
    pub(crate) fn sweep_referrers(
        &self,
        repository: &str,
        young: &dyn Fn(Option<SystemTime>) -> bool,
    ) -> Result<(), ContentError> {
        let root = self.referrers_dir(repository);
        for subject in names_in(&root)? {
            let dir = root.join(subject);
            for hex in names_in(&dir)? {
                let path = dir.join(&hex);
                let is_held =
                    Digest::from_hex(&hex).is_some_and(|digest| self.manifest_path(repository, &digest).exists());
                if !is_held && !young(fs::metadata(&path).and_then(|file| file.modified()).ok()) {
                    // Gone already is gone as well.
                    let _ = fs::remove_file(&path);
                }
            }
            // Only an empty one goes.
            let _ = fs::remove_dir(dir);
        }
        Ok(())
    }

    fn referrers_now(
        &self,
        repository: &str,
        subject: &Digest,
        query: &ReferrersQuery,
    ) -> Result<Referrers, ContentError> {
        let mut found: BTreeSet<String> =
            names_in(&self.referrers_dir(repository).join(subject.hex()))?.into_iter().collect();
        found.extend(self.listed_by_clients(repository, subject));
        let after = query.last.as_deref().unwrap_or_default();
        let (mut page, mut bytes, mut last) = (Referrers::default(), 0, None);
        for hex in found.into_iter().filter(|hex| hex.as_str() > after) {
            let Some(digest) = Digest::from_hex(&hex) else { continue };
            let Some(descriptor) = self.referrer(repository, subject, &digest)? else { continue };
            let kind = descriptor.get("artifactType").and_then(Value::as_str);
            if query.artifact_type.as_deref().is_some_and(|wanted| kind != Some(wanted)) {
                continue;
            }
            let size = descriptor.to_string().len();
            let is_full = page.descriptors.len() >= PAGE_ENTRIES || bytes + size > PAGE_BYTES;
            if is_full && last.is_some() {
                page.next = last;
                break;
            }
            bytes += size;
            page.descriptors.push(descriptor);
            last = Some(hex);
        }
        Ok(page)
    }

    /// The descriptor of a manifest, if the repository has it and it refers to `subject`.
    fn referrer(&self, repository: &str, subject: &Digest, digest: &Digest) -> Result<Option<Value>, ContentError> {
        let manifest = match self.manifest_now(repository, &ManifestName::Digest(digest.clone())) {
            Err(
                ContentError::RepositoryUnknown(_) | ContentError::ManifestUnknown(_) | ContentError::BlobUnknown(_),
            ) => {
                return Ok(None);
            }
            other => other?,
        };
        let Some(about) = About::of(&manifest.bytes, &manifest.media_type)? else { return Ok(None) };
        if about.subject.as_ref().map(|subject| &subject.digest) != Some(subject) {
            return Ok(None);
        }
        let mut descriptor = json!({"mediaType": manifest.media_type, "digest": digest, "size": manifest.bytes.len()});
        if let Some(kind) = about.kind() {
            descriptor["artifactType"] = json!(kind);
        }
        if let Some(annotations) = about.annotations {
            descriptor["annotations"] = json!(annotations);
        }
        Ok(Some(descriptor))
    }

    /// What clients that knew no referrers API listed themselves. A tag that is something else lists nothing.
    fn listed_by_clients(&self, repository: &str, subject: &Digest) -> Vec<String> {
        let tag = ManifestName::Tag(subject.as_str().replace(':', "-"));
        let Ok(stored) = self.manifest_now(repository, &tag) else { return Vec::new() };
        match Manifest::parse(&stored.bytes, Some(&stored.media_type)) {
            Ok((Manifest::Index(index), _)) => {
                index.manifests.iter().map(|entry| entry.digest.hex().to_owned()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn referrers_dir(&self, repository: &str) -> PathBuf {
        self.repository_path(repository).join("_referrers")
    }
}

/// The subject of a manifest, if it has one. Docker's types have none.
///
/// # Errors
/// [`ContentError::ManifestInvalid`] when what is there has not the form it must have.
pub(crate) fn subject_of(bytes: &[u8], kind: &str) -> Result<Option<Digest>, ContentError> {
    Ok(About::of(bytes, kind)?.and_then(|about| about.subject).map(|subject| subject.digest))
}

// === impl About ===

impl About {
    fn of(bytes: &[u8], kind: &str) -> Result<Option<Self>, ContentError> {
        if !matches!(kind, media_type::OCI_MANIFEST | media_type::OCI_INDEX) {
            return Ok(None);
        }
        let about = serde_json::from_slice(bytes).map_err(|error| ContentError::ManifestInvalid(error.to_string()))?;
        Ok(Some(about))
    }

    /// Its own type, else that of its configuration.
    fn kind(&self) -> Option<&str> {
        let own = self.artifact_type.as_deref();
        let config = self.config.as_ref().and_then(|config| config.media_type.as_deref());
        own.filter(|kind| !kind.is_empty()).or(config).filter(|kind| !kind.is_empty())
    }
}
