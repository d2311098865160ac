//! The images of this host: resolve, fetch, unpack.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use updraft_base::Clock;
use updraft_outbound::Client;

use crate::{
    collect::Garbage,
    config::{ConfigFile, ImageConfig},
    content::ContentStore,
    digest::Digest,
    error::{ContentError, ImageError},
    flight::Flights,
    layers::{LayerFacts, LayerName, Layers},
    layout,
    local::is_own_address,
    manifest::{Descriptor, HOST_ARCHITECTURE, HOST_OS, ImageManifest, MAX_MANIFEST, Manifest},
    reference::Reference,
    remote::Remote,
    repository::ManifestName,
    unpack::{Budget, Hides, UnpackLimits, is_opaque},
};

/// The registry name that always means the embedded store, whatever port it listens on.
pub const LOCAL_REGISTRY: &str = "localhost";

/// The largest image configuration accepted, in bytes.
pub(crate) const MAX_CONFIG: usize = 8 << 20;
/// overlayfs takes at most this many lower directories.
const MAX_LAYERS: usize = 500;
/// How many manifests may be looked at to find the one for this host.
const MAX_LOOKED_AT: usize = 64;
/// How deep indexes may be nested.
const MAX_NESTING: usize = 4;

/// What an [`ImageStore`] needs to know.
#[derive(Debug, Clone)]
pub struct ImageStoreConfig {
    /// Where everything is kept.
    pub dir: PathBuf,
    /// Docker's `config.json` with credentials for registries; `None` or a missing file means none.
    /// Credential helpers are not run.
    pub credentials: Option<PathBuf>,
    /// What other registries are asked with; it decides which may be.
    pub outbound: Client,
    /// Bounds on what an image may unpack to.
    pub limits: UnpackLimits,
    /// How many layers are fetched at once for one image.
    pub parallel_fetches: usize,
    /// How many layers are unpacked at once, over all images.
    pub parallel_unpacks: usize,
}

/// The images of this host. Cheap to clone; all clones are one store.
#[derive(Debug, Clone)]
pub struct ImageStore {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) content: ContentStore,
    pub(crate) layers: Layers,
    pub(crate) clock: Clock,
    config: ImageStoreConfig,
    remote: Remote,
    flights: Flights,
    local_names: Mutex<Vec<String>>,
    /// What the last collection found without a reference.
    pub(crate) garbage: Mutex<Garbage>,
    /// Of the embedded registry, when it listens on every address of this machine; else 0.
    local_port: AtomicU16,
}

/// An image, ready to be mounted.
#[derive(Debug, Clone)]
pub struct Rootfs {
    /// The directories of the layers, lowest first. Read only: they are shared between images.
    pub layers: Vec<PathBuf>,
    /// What each of them hides of those below it; `None` for one that was unpacked before that was
    /// written down: then the marks of overlayfs in it tell.
    pub hides: Vec<Option<Hides>>,
    /// How the image wants to be run.
    pub config: ImageConfig,
}

/// An image for this host with everything that its names lead to.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) manifest: ImageManifest,
    pub(crate) file: ConfigFile,
}

// === impl ImageStoreConfig ===

impl ImageStoreConfig {
    /// A store in `dir` with the default bounds, no credentials, and no way but to public addresses.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            credentials: None,
            outbound: Client::default(),
            limits: UnpackLimits::default(),
            parallel_fetches: 4,
            parallel_unpacks: std::thread::available_parallelism().map_or(2, |n| n.get().clamp(1, 4)),
        }
    }
}

// === impl ImageStore ===

impl ImageStore {
    /// Opens the store, making it when it is not there and removing what a crash left half done.
    ///
    /// # Errors
    /// [`ImageError::TooNew`] when a later version laid it out (nothing is touched then), [`ImageError::Host`].
    pub fn open(config: ImageStoreConfig, clock: Clock) -> Result<Self, ImageError> {
        layout::check(&config.dir)?;
        let content =
            ContentStore::open(&config.dir, clock.clone()).map_err(|error| ImageError::of_content("", error))?;
        layout::mark(&content).map_err(|error| ImageError::of_content("", error))?;
        let layers = Layers::open(config.dir.join("layers"), config.limits, config.parallel_unpacks)?;
        let remote = Remote::new(config.outbound.clone(), config.credentials.clone(), clock.clone());
        let (local_names, local_port) = (Mutex::default(), AtomicU16::default());
        let flights = Flights::default();
        let garbage = Mutex::default();
        let inner = Inner { content, layers, clock, config, remote, flights, local_names, local_port, garbage };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Which registry names, `host:port`, mean the embedded store besides [`LOCAL_REGISTRY`].
    pub fn set_local_names(&self, names: Vec<String>) {
        *self.inner.local_names.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// The embedded registry listens on every address of this machine, at `port`: then they all mean it.
    pub fn set_local_port(&self, port: u16) {
        self.inner.local_port.store(port, Relaxed);
    }

    /// Does an image's name lead to the embedded store? Not so for what is no name of an image.
    pub fn is_local_name(&self, image: &str) -> bool {
        image.parse().is_ok_and(|reference| self.is_local(&reference))
    }

    /// The content store, for the registry.
    pub fn content(&self) -> &ContentStore {
        &self.inner.content
    }

    /// Fixes an image to what its tag means now: `registry/repository@sha256:…`. One that has a
    /// digest already is checked for form only.
    ///
    /// # Errors
    /// [`ImageError::Invalid`], [`ImageError::Missing`], [`ImageError::Denied`], [`ImageError::Forbidden`],
    /// [`ImageError::Unavailable`], [`ImageError::Host`].
    pub async fn resolve(&self, image: &str) -> Result<String, ImageError> {
        let reference: Reference = image.parse()?;
        let digest = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.clone(),
            (None, Some(tag)) if self.is_local(&reference) => {
                let name = ManifestName::Tag(tag.to_owned());
                let stored = self.inner.content.manifest(reference.repository(), &name).await;
                stored.map_err(|error| ImageError::of_content(image, error))?.digest
            }
            (None, _) => self.inner.remote.session(&reference)?.digest().await?,
        };
        Ok(reference.pinned(digest).to_string())
    }

    /// Brings everything of a pinned image for this host into the content store, verified. What is
    /// there already, under whatever name, is not fetched again.
    ///
    /// # Errors
    /// As [`ImageStore::resolve`], and [`ImageError::Unfit`].
    pub async fn fetch(&self, pinned: &str) -> Result<(), ImageError> {
        let _shared = self.inner.content.gate.clone().read_owned().await;
        self.fetch_found(pinned).await.map(drop)
    }

    /// The unpacked layers and the configuration of a pinned image; fetches and unpacks what is not
    /// there yet. Layers are shared between images, and two calls for one layer do the work once.
    ///
    /// # Errors
    /// As [`ImageStore::fetch`].
    pub async fn rootfs(&self, pinned: &str) -> Result<Rootfs, ImageError> {
        let _shared = self.inner.content.gate.clone().read_owned().await;
        let found = self.fetch_found(pinned).await?;
        let names = layer_names(pinned, &found)?;
        let budget = Arc::new(Budget::new(self.inner.config.limits.bytes));
        // Collected first: a stream that maps as it goes is not `Send` for every lifetime.
        let work: Vec<_> =
            names.iter().map(|name| self.inner.layers.ensure(pinned, &self.inner.content, name, &budget)).collect();
        let unpacked: Vec<_> =
            futures::stream::iter(work).buffered(self.inner.config.parallel_unpacks.max(1)).try_collect().await?;
        let mut layers: Vec<PathBuf> = Vec::new();
        let mut facts = Vec::new();
        for ((path, fact), name) in unpacked.into_iter().zip(names) {
            if fact.hides.as_ref().is_some_and(|hides| hides.opaque.contains("")) || is_opaque(&path) {
                // overlayfs does not look at the mark on a root.
                layers.clear();
                facts.clear();
            }
            layers.push(path);
            facts.push((name.diff_id, fact));
        }
        let mut hides: Vec<Option<Hides>> =
            facts.iter().map(|(_, facts): &(_, LayerFacts)| facts.hides.clone()).collect();
        if let Some(fill) = self.inner.layers.fill(&self.inner.content, facts).await? {
            layers.push(fill);
            hides.push(Some(Hides::nothing()));
        }
        Ok(Rootfs { layers, hides, config: found.file.config })
    }

    pub(crate) fn is_local(&self, reference: &Reference) -> bool {
        let names = self.inner.local_names.lock().unwrap_or_else(PoisonError::into_inner);
        let port = self.inner.local_port.load(Relaxed);
        reference.registry() == LOCAL_REGISTRY
            || names.iter().any(|name| name == reference.registry())
            || (port != 0 && is_own_address(reference.registry(), port))
    }

    async fn fetch_found(&self, pinned: &str) -> Result<Found, ImageError> {
        let reference: Reference = pinned.parse()?;
        let Some(digest) = reference.digest() else {
            let rule = "it has to be pinned to a digest".to_owned();
            return Err(ImageError::Invalid { image: pinned.to_owned(), rule });
        };
        let found = self.find(&reference, digest).await?;
        let mut blobs: Vec<&Descriptor> = found.manifest.layers.iter().collect();
        blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
        blobs.dedup_by(|a, b| a.digest == b.digest);
        // Collected first: a stream that maps as it goes is not `Send` for every lifetime.
        let work: Vec<_> = blobs.into_iter().map(|blob| self.blob(&reference, blob)).collect();
        futures::stream::iter(work)
            .buffer_unordered(self.inner.config.parallel_fetches.max(1))
            .try_collect::<()>()
            .await?;
        if !self.is_local(&reference) {
            self.remember(&reference, digest).await.map_err(|error| ImageError::of_content(pinned, error))?;
        }
        Ok(found)
    }

    /// The manifest for this host that `digest` leads to, through indexes, with its configuration.
    async fn find(&self, reference: &Reference, digest: &Digest) -> Result<Found, ImageError> {
        let image = reference.to_string();
        let mut open = vec![(digest.clone(), 0)];
        let (mut looked_at, mut others) = (0, Vec::new());
        while let Some((digest, depth)) = open.pop() {
            looked_at += 1;
            if looked_at > MAX_LOOKED_AT || depth > MAX_NESTING {
                return Err(ImageError::unfit(&image, "its indexes are too many or nested too deep"));
            }
            let bytes = self.manifest(reference, &digest).await?;
            let parsed = Manifest::parse(&bytes, None).map_err(|error| ImageError::of_content(&image, error))?;
            match parsed.0 {
                Manifest::Index(index) => {
                    others.push(index.platforms());
                    open.extend(index.candidates().iter().rev().map(|entry| (entry.digest.clone(), depth + 1)));
                }
                Manifest::Image(manifest) => {
                    let file = self.config_file(reference, &manifest).await?;
                    match file.check_platform(&image) {
                        Ok(()) => return Ok(Found { manifest, file }),
                        Err(unfit) if depth == 0 => return Err(unfit),
                        // An entry that did not say; the next may fit.
                        Err(_) => {}
                    }
                }
            }
        }
        let cause = format!("image is for {}; this host runs {HOST_OS}/{HOST_ARCHITECTURE}", others.join(", "));
        Err(ImageError::other_platform(&image, cause))
    }

    async fn config_file(&self, reference: &Reference, manifest: &ImageManifest) -> Result<ConfigFile, ImageError> {
        let image = reference.to_string();
        if manifest.config.size > MAX_CONFIG as u64 {
            return Err(ImageError::unfit(&image, format!("its configuration is larger than {MAX_CONFIG} bytes")));
        }
        self.blob(reference, &manifest.config).await?;
        let bytes = self.inner.content.read_blob(&manifest.config.digest, MAX_CONFIG).await;
        ConfigFile::parse(&image, &bytes.map_err(|error| ImageError::of_content(&image, error))?)
    }

    async fn manifest(&self, reference: &Reference, digest: &Digest) -> Result<Bytes, ImageError> {
        let image = reference.to_string();
        let of_content = |error| ImageError::of_content(&image, error);
        let _flight = self.inner.flights.board(digest.hex()).await;
        match self.inner.content.read_blob(digest, MAX_MANIFEST).await {
            Err(ContentError::BlobUnknown(_)) if !self.is_local(reference) => {
                let bytes = self.inner.remote.session(reference)?.manifest(digest).await?;
                self.inner.content.put_blob(bytes.clone()).await.map_err(of_content)?;
                Ok(bytes)
            }
            other => other.map_err(of_content),
        }
    }

    async fn blob(&self, reference: &Reference, blob: &Descriptor) -> Result<(), ImageError> {
        let image = reference.to_string();
        let content = &self.inner.content;
        let _flight = self.inner.flights.board(blob.digest.hex()).await;
        match content.blob_size(&blob.digest).await.map_err(|error| ImageError::of_content(&image, error))? {
            Some(size) if size == blob.size => Ok(()),
            Some(size) => {
                let cause = format!("its manifest says blob {} has {} bytes; it has {size}", blob.digest, blob.size);
                Err(ImageError::corrupt(&image, cause))
            }
            None if self.is_local(reference) => {
                Err(ImageError::missing(&image, format!("blob {} is not in the embedded store", blob.digest)))
            }
            None => self.inner.remote.session(reference)?.blob(content, blob).await,
        }
    }
}

// === impl Inner ===

impl Inner {
    pub(crate) fn limits(&self) -> UnpackLimits {
        self.config.limits
    }
}

/// The layers of an image with what they unpack to; refuses what is no file system layer.
fn layer_names(image: &str, found: &Found) -> Result<Vec<LayerName>, ImageError> {
    let (layers, diff_ids) = (&found.manifest.layers, &found.file.diff_ids);
    if layers.len() != diff_ids.len() {
        let cause = format!("it has {} layers, but its configuration speaks of {}", layers.len(), diff_ids.len());
        return Err(ImageError::unfit(image, cause));
    }
    if layers.is_empty() || layers.len() > MAX_LAYERS {
        return Err(ImageError::unfit(image, format!("it has {} layers; 1 to {MAX_LAYERS} can be run", layers.len())));
    }
    for layer in layers {
        let kind = layer.media_type.as_str();
        let is_layer = kind.starts_with("application/vnd.oci.image.layer.")
            || kind.starts_with("application/vnd.docker.image.rootfs.");
        if !is_layer || kind.ends_with("+encrypted") {
            return Err(ImageError::unfit(image, format!("layer {} has the unsupported type '{kind}'", layer.digest)));
        }
    }
    let pairs = layers.iter().zip(diff_ids);
    Ok(pairs.map(|(layer, diff_id)| LayerName { blob: layer.digest.clone(), diff_id: diff_id.clone() }).collect())
}
