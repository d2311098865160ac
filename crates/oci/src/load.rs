//! Images from files: `docker save`, OCI archives, OCI layout directories, compressed or not.
//!
//! An image is loaded into the embedded registry, under a name that has no host: what its archive
//! calls `quay.io/team/app:v1` (or `team/app:v1`) is `localhost/team/app:v1` here, and Docker Hub's
//! `nginx` is `localhost/nginx:latest`. The name comes from the caller, else from `RepoTags`
//! (docker-archive), else from the annotations `io.containerd.image.name` or
//! `org.opencontainers.image.ref.name` (OCI), when that holds more than a tag.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::json;

use crate::{
    content::{ContentStore, blocking, size_of},
    digest::Digest,
    error::{ContentError, ImageError},
    manifest::{Descriptor, Index, MAX_MANIFEST, Manifest, media_type},
    reference::{DEFAULT_TAG, DOCKER_HUB, Reference},
    repository::{ManifestName, ManifestPush},
    store::{ImageStore, LOCAL_REGISTRY},
    unpack::{Budget, Compression, Files, UnpackError, UnpackLimits},
};

/// More files than this are no archive of images.
const MAX_FILES: u64 = 20_000;
/// How deep indexes may be nested.
const MAX_NESTING: usize = 4;

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// An image that came from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    /// What to deploy it by: `localhost/repository:tag`.
    pub reference: String,
    /// The digest of its manifest or index.
    pub digest: Digest,
}

/// One entry of docker-archive's `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// A load on its way.
struct Load<'a> {
    /// The archive, for messages.
    archive: String,
    content: &'a ContentStore,
    limits: UnpackLimits,
    /// Where blobs are, for a directory; an archive's are in the content store already.
    dir: Option<PathBuf>,
    /// The name that the caller gave.
    name: Option<&'a str>,
}

// === impl ImageStore ===

impl ImageStore {
    /// Loads the images of a docker-archive, an OCI archive or an OCI layout directory into the
    /// embedded registry. `name` (`repository[:tag]`) replaces the name in the archive, which must
    /// then hold one image; it is needed when the archive has none.
    ///
    /// # Errors
    /// [`ImageError::Invalid`] when there is no usable name, [`ImageError::Unfit`] when it is no
    /// archive of images or a damaged one, [`ImageError::Host`].
    pub async fn load(&self, archive: &Path, name: Option<&str>) -> Result<Vec<LoadedImage>, ImageError> {
        let shared = self.inner.content.gate.clone().read_owned().await;
        let (content, limits) = (self.inner.content.clone(), self.inner.limits());
        let (path, name) = (archive.to_owned(), name.map(str::to_owned));
        let work = blocking(move || {
            let _shared = shared;
            let is_dir = path.is_dir();
            let dir = is_dir.then(|| path.clone());
            let archive = path.display().to_string();
            let load = Load { archive, content: &content, limits, dir, name: name.as_deref() };
            Ok(if is_dir { load.layout(&path) } else { load.archive(&path) })
        });
        work.await.map_err(|error| ImageError::of_content("", error))?
    }
}

// === impl Load ===

impl Load<'_> {
    fn layout(&self, dir: &Path) -> Result<Vec<LoadedImage>, ImageError> {
        let path = dir.join("index.json");
        let size = size_of(&path).map_err(|error| self.error(error))?;
        if size.is_none_or(|size| size > MAX_MANIFEST as u64) {
            return Err(self.unfit("the directory is no OCI layout: it has no index.json of a sane size"));
        }
        let bytes = fs::read(&path).map_err(|e| ImageError::host(format!("read {}", path.display()), e))?;
        self.index(&bytes)
    }

    fn archive(&self, path: &Path) -> Result<Vec<LoadedImage>, ImageError> {
        let file = fs::File::open(path).map_err(|e| ImageError::host(format!("open {}", path.display()), e))?;
        let files = self.store_files(file)?;
        let find = |name: &str| files.get(name).cloned();
        // `docker save` writes both since version 25; the OCI side has the original digests.
        match (find("index.json"), find("manifest.json")) {
            (Some(digest), _) if files.contains_key("oci-layout") => self.index(&self.read(&digest)?),
            (_, Some(digest)) => self.docker(&self.read(&digest)?, &files),
            _ => Err(self.unfit("it is neither a docker-archive (manifest.json) nor an OCI archive (index.json)")),
        }
    }

    /// Streams every file of the archive into the content store in one pass: which of them matter
    /// is known only at its end. The others go with the next collection.
    fn store_files(&self, file: fs::File) -> Result<HashMap<String, Digest>, ImageError> {
        let budget = Budget::new(self.limits.bytes);
        let limits = UnpackLimits { entries: MAX_FILES, ..self.limits };
        let broken = |error: UnpackError| match error {
            UnpackError::Layer(cause) => self.unfit(cause),
            UnpackError::Host { operation, source } => ImageError::host(operation, source),
        };
        let mut files = Files::open(file, &limits, &budget).map_err(broken)?;
        let (mut stored, mut links) = (HashMap::new(), Vec::new());
        while let Some((path, link)) = files.next().map_err(broken)? {
            match link {
                Some(target) => links.push((path, target)),
                None => {
                    let digest = self.content.put_reader_now(&mut files).map_err(|error| self.error(error))?;
                    stored.insert(path, digest);
                }
            }
        }
        // Old versions of Docker store a layer once and link to it.
        for (path, target) in links {
            if let Some(digest) = stored.get(&target).cloned() {
                stored.insert(path, digest);
            }
        }
        Ok(stored)
    }

    fn index(&self, bytes: &[u8]) -> Result<Vec<LoadedImage>, ImageError> {
        let index: Index =
            serde_json::from_slice(bytes).map_err(|error| self.unfit(format!("index.json cannot be read: {error}")))?;
        self.one_name(index.manifests.len())?;
        let mut loaded = Vec::new();
        for entry in &index.manifests {
            let annotation = |key| entry.annotations.get(key).map(String::as_str);
            let said =
                annotation(CONTAINERD_NAME).or_else(|| annotation(REF_NAME).filter(|name| name.contains([':', '/'])));
            let (repository, tag) = self.place(self.name.or(said))?;
            self.import(&repository, entry, 0)?;
            loaded.push(self.tag(&repository, &tag, &entry.digest)?);
        }
        Ok(loaded)
    }

    fn docker(&self, bytes: &[u8], files: &HashMap<String, Digest>) -> Result<Vec<LoadedImage>, ImageError> {
        let images: Vec<DockerImage> = serde_json::from_slice(bytes)
            .map_err(|error| self.unfit(format!("manifest.json cannot be read: {error}")))?;
        self.one_name(images.len())?;
        let mut loaded = Vec::new();
        for image in &images {
            let manifest = self.docker_manifest(image, files)?;
            let tags = image.repo_tags.iter().flatten().map(String::as_str);
            let names: Vec<Option<&str>> = match self.name {
                Some(name) => vec![Some(name)],
                None => tags.map(Some).collect(),
            };
            for name in if names.is_empty() { vec![None] } else { names } {
                let (repository, tag) = self.place(name)?;
                let digest = self.content.put_blob_now(&manifest).map_err(|error| self.error(error))?;
                let entry = Descriptor::of_manifest(media_type::OCI_MANIFEST, digest, manifest.len() as u64);
                self.import(&repository, &entry, 0)?;
                loaded.push(self.tag(&repository, &tag, &entry.digest)?);
            }
        }
        Ok(loaded)
    }

    /// The manifest that a docker-archive lacks. The same archive always gives the same bytes.
    fn docker_manifest(&self, image: &DockerImage, files: &HashMap<String, Digest>) -> Result<Vec<u8>, ImageError> {
        let find = |path: &str| {
            let path = path.strip_prefix("./").unwrap_or(path);
            let digest = files
                .get(path)
                .ok_or_else(|| self.unfit(format!("manifest.json speaks of {path}, which is not there")))?;
            let size = size_of(&self.content.blob_path(digest)).map_err(|error| self.error(error))?;
            Ok::<_, ImageError>((digest.clone(), size.unwrap_or(0)))
        };
        let (config, config_size) = find(&image.config)?;
        let mut layers = Vec::new();
        for layer in image.layers.iter().flatten() {
            let (digest, size) = find(layer)?;
            let kind = match self.compression(&digest)? {
                Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
                Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
                Compression::None | Compression::Other(_) => "application/vnd.oci.image.layer.v1.tar",
            };
            layers.push(json!({"mediaType": kind, "digest": digest, "size": size}));
        }
        let config_type = "application/vnd.oci.image.config.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": {"mediaType": config_type, "digest": config, "size": config_size},
            "layers": layers,
        });
        Ok(manifest.to_string().into_bytes())
    }

    /// Makes `repository` hold a manifest with everything it refers to.
    fn import(&self, repository: &str, entry: &Descriptor, depth: usize) -> Result<(), ImageError> {
        if depth > MAX_NESTING {
            return Err(self.unfit("its indexes are nested too deep"));
        }
        self.need(&entry.digest)?;
        let bytes = self.read(&entry.digest)?;
        let declared = Some(entry.media_type.as_str()).filter(|kind| !kind.is_empty());
        match Manifest::parse(&bytes, declared).map_err(|error| self.error(error))?.0 {
            Manifest::Index(index) => {
                for child in &index.manifests {
                    self.import(repository, child, depth + 1)?;
                }
            }
            Manifest::Image(image) => {
                for blob in std::iter::once(&image.config).chain(&image.layers) {
                    self.need(&blob.digest)?;
                    self.content.link_blob_now(repository, &blob.digest).map_err(|error| self.error(error))?;
                }
            }
        }
        let (name, declared) = (ManifestName::Digest(entry.digest.clone()), declared.map(str::to_owned));
        let push = ManifestPush { name, tags: Vec::new(), declared, bytes };
        self.content.put_manifest_now(repository, &push).map(drop).map_err(|error| self.error(error))
    }

    /// Makes sure the content store has a blob, verified.
    fn need(&self, digest: &Digest) -> Result<(), ImageError> {
        if size_of(&self.content.blob_path(digest)).map_err(|error| self.error(error))?.is_some() {
            return Ok(());
        }
        let missing = || self.unfit(format!("blob {digest} is missing"));
        let Some(dir) = &self.dir else { return Err(missing()) };
        let path = dir.join("blobs/sha256").join(digest.hex());
        let mut file = match fs::File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(missing()),
            other => other.map_err(|e| ImageError::host(format!("open {}", path.display()), e))?,
        };
        let actual = self.content.put_reader_now(&mut file).map_err(|error| self.error(error))?;
        if actual == *digest { Ok(()) } else { Err(self.unfit(format!("blob {digest} is damaged: it is {actual}"))) }
    }

    fn tag(&self, repository: &str, tag: &str, digest: &Digest) -> Result<LoadedImage, ImageError> {
        let (name, bytes) = (ManifestName::Tag(tag.to_owned()), self.read(digest)?);
        let push = ManifestPush { name, tags: Vec::new(), declared: None, bytes };
        self.content.put_manifest_now(repository, &push).map_err(|error| self.error(error))?;
        Ok(LoadedImage { reference: format!("{LOCAL_REGISTRY}/{repository}:{tag}"), digest: digest.clone() })
    }

    /// The repository and the tag for an image called `name`.
    fn place(&self, name: Option<&str>) -> Result<(String, String), ImageError> {
        let invalid = |rule: &str| ImageError::Invalid { image: self.archive.clone(), rule: rule.to_owned() };
        let name = name.ok_or_else(|| invalid("the archive does not name its image: give a name, NAME[:TAG]"))?;
        let reference: Reference = name.parse()?;
        if reference.digest().is_some() {
            return Err(invalid("an image is loaded under a tag, not under a digest"));
        }
        let repository = match reference.repository().strip_prefix("library/") {
            Some(short) if reference.registry() == DOCKER_HUB => short,
            _ => reference.repository(),
        };
        Ok((repository.to_owned(), reference.tag().unwrap_or(DEFAULT_TAG).to_owned()))
    }

    fn one_name(&self, images: usize) -> Result<(), ImageError> {
        match (images, self.name) {
            (0, _) => Err(self.unfit("there is no image in it")),
            (2.., Some(_)) => {
                let rule = format!("the archive holds {images} images, and one name cannot be for all of them");
                Err(ImageError::Invalid { image: self.archive.clone(), rule })
            }
            _ => Ok(()),
        }
    }

    fn compression(&self, digest: &Digest) -> Result<Compression, ImageError> {
        use std::io::Read;
        let path = self.content.blob_path(digest);
        let mut head = Vec::new();
        let read = fs::File::open(&path).and_then(|file| file.take(8).read_to_end(&mut head));
        read.map_err(|e| ImageError::host(format!("read {}", path.display()), e))?;
        Ok(Compression::of(&head))
    }

    fn read(&self, digest: &Digest) -> Result<bytes::Bytes, ImageError> {
        self.content.read_blob_now(digest, MAX_MANIFEST).map_err(|error| self.error(error))
    }

    fn unfit(&self, cause: impl Into<String>) -> ImageError {
        ImageError::unfit(&self.archive, cause)
    }

    fn error(&self, error: ContentError) -> ImageError {
        match error {
            // Reading the archive fails inside the content store's write.
            ContentError::Host { source, .. } if source.raw_os_error().is_none() => self.unfit(source.to_string()),
            ContentError::BlobUnknown(_) | ContentError::ManifestBlobUnknown(_) => self.unfit(error.to_string()),
            error => ImageError::of_content(&self.archive, error),
        }
    }
}
