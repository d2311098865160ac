//! A registry on a port of its own, images to push to it, and a store to pull with.

use std::{
    io::Write,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use http::StatusCode;
use tempfile::TempDir;
use tokio::{io::AsyncReadExt, net::TcpListener};
use updraft_base::{Clock, OnFailure, Tasks, VirtualClock};
use updraft_identity::{AuthMode, Authenticator};
use updraft_oci::{Digest, ImageStore, ImageStoreConfig, media_type};
use updraft_outbound::{Allow, Client, Config, Policy};
use updraft_registry::Registry;

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) address: SocketAddr,
    /// The same without the relay.
    pub(crate) direct: SocketAddr,
    pub(crate) images: ImageStore,
    pub(crate) clock: Clock,
    tasks: Tasks,
    blob_requests: Arc<AtomicUsize>,
}

#[derive(Clone, Copy)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

pub(crate) struct Layer {
    blob: Vec<u8>,
    diff_id: Digest,
    media_type: &'static str,
}

pub(crate) struct Image {
    pub(crate) manifest: Vec<u8>,
    /// The layers, then the configuration.
    pub(crate) blobs: Vec<Vec<u8>>,
    layers: Vec<Layer>,
    architecture: String,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(AuthMode::None).await
    }

    pub(crate) async fn with_token() -> Self {
        Self::with(AuthMode::Token).await
    }

    async fn with(mode: AuthMode) -> Self {
        Self::open(tempfile::tempdir().expect("temporary directory"), mode, Clock::system()).await
    }

    /// One whose time stands still until the test moves it. It begins now: the age of files is looked at.
    #[expect(clippy::disallowed_methods, reason = "files get the machine's time")]
    pub(crate) async fn by_hand() -> (Self, Arc<VirtualClock>) {
        let (clock, hand) = Clock::stopped_at(SystemTime::now());
        (Self::open(tempfile::tempdir().expect("temporary directory"), AuthMode::None, clock).await, hand)
    }

    /// Another server over the same directory, after this one is gone. Nothing but the directory is left.
    pub(crate) async fn restart(self, clock: Clock) -> Self {
        self.stop().await;
        let Self { dir, images, .. } = self;
        drop(images);
        Self::open(dir, AuthMode::None, clock).await
    }

    async fn open(dir: TempDir, mode: AuthMode, clock: Clock) -> Self {
        let images = ImageStore::open(ImageStoreConfig::new(dir.path().join("images")), clock.clone()).expect("store");
        let auth = Authenticator::open(mode, dir.path()).expect("authenticator");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("listener");
        let address = listener.local_addr().expect("address");
        let tasks = Tasks::new();
        let registry = Registry::new(images.clone(), auth, clock.clone());
        let serve = registry.serve(listener, tasks.clone());
        tasks.spawn("registry", OnFailure::Stop, serve);
        let world = Self { dir, address, direct: address, images, clock, tasks, blob_requests: Arc::default() };
        world.front().await
    }

    /// Puts a relay before the registry that counts blob downloads.
    async fn front(mut self) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("listener");
        let (behind, count) = (self.address, self.blob_requests.clone());
        self.address = listener.local_addr().expect("address");
        let (tasks, shutdown) = (self.tasks.clone(), self.tasks.shutdown().clone());
        self.tasks.spawn("relay", OnFailure::Stop, async move {
            loop {
                let (client, _) = tokio::select! {
                    accepted = listener.accept() => accepted.expect("accepted"),
                    () = shutdown.asked() => return,
                };
                let count = count.clone();
                tasks.spawn("relayed", OnFailure::Log, async move {
                    let server = tokio::net::TcpStream::connect(behind).await.expect("registry");
                    relay(client, server, &count).await;
                });
            }
        });
        self
    }

    pub(crate) fn blob_requests(&self) -> usize {
        self.blob_requests.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn token(&self) -> String {
        let text = std::fs::read_to_string(updraft_identity::token_path(self.dir.path())).expect("token");
        text.trim().to_owned()
    }

    /// `anybody:TOKEN` in base64, as `docker login` writes it down.
    pub(crate) fn basic(&self) -> String {
        let header = reqwest::Client::new().get(self.url("/")).basic_auth("anybody", Some(self.token())).build();
        let header = header.expect("request").headers()["authorization"].to_str().expect("header").to_owned();
        header.trim_start_matches("Basic ").to_owned()
    }

    /// Another store, to which this registry is a remote one.
    pub(crate) fn puller(&self, credentials: Option<PathBuf>) -> ImageStore {
        let config = ImageStoreConfig { credentials, ..self.puller_config() };
        ImageStore::open(config, Clock::system()).expect("store")
    }

    pub(crate) fn puller_by_hand(&self) -> (ImageStore, Arc<VirtualClock>) {
        let (clock, hand) = Clock::stopped_at(SystemTime::UNIX_EPOCH);
        (ImageStore::open(self.puller_config(), clock).expect("store"), hand)
    }

    /// The registry is on loopback, where nobody is sent without being told.
    fn puller_config(&self) -> ImageStoreConfig {
        let policy = Policy { allow: vec![Allow::loopback()], ..Policy::default() };
        let outbound = Client::new(Config { policy, ..Config::default() });
        ImageStoreConfig { outbound, ..ImageStoreConfig::new(self.dir.path().join("puller")) }
    }

    pub(crate) async fn stop(&self) {
        self.tasks.shutdown().ask();
        self.tasks.drain().await;
    }
}

async fn relay(client: tokio::net::TcpStream, server: tokio::net::TcpStream, count: &AtomicUsize) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = from_client.read(&mut buffer).await.unwrap_or(0);
            if read == 0 {
                break;
            }
            let head = String::from_utf8_lossy(&buffer[..read]);
            if head.starts_with("GET ") && head.lines().next().is_some_and(|line| line.contains("/blobs/sha256:")) {
                count.fetch_add(1, Ordering::SeqCst);
            }
            if tokio::io::AsyncWriteExt::write_all(&mut to_server, &buffer[..read]).await.is_err() {
                break;
            }
        }
    };
    let down = async { tokio::io::copy(&mut from_server, &mut to_client).await.map(drop) };
    tokio::select! {
        () = up => {}
        _ = down => {}
    }
}

/// A layer with one file, `name`, that holds `content`.
pub(crate) fn layer(content: &str, compression: Compression) -> Layer {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, "name", content.as_bytes()).expect("tar");
    let tar = builder.into_inner().expect("tar");
    let diff_id = Digest::of(&tar);
    let (blob, media_type) = match compression {
        Compression::None => (tar, "application/vnd.oci.image.layer.v1.tar"),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&tar).expect("deflate");
            (encoder.finish().expect("deflate"), "application/vnd.oci.image.layer.v1.tar+gzip")
        }
        Compression::Zstd => {
            (zstd::encode_all(tar.as_slice(), 3).expect("zstd"), "application/vnd.oci.image.layer.v1.tar+zstd")
        }
    };
    Layer { blob, diff_id, media_type }
}

pub(crate) fn image(layers: Vec<Layer>, architecture: &str) -> Image {
    let architecture = if architecture == "amd64" { updraft_oci::HOST_ARCHITECTURE } else { architecture };
    let mut image = Image { manifest: Vec::new(), blobs: Vec::new(), layers, architecture: architecture.to_owned() };
    image.write();
    image
}

impl Image {
    /// Lies about what the first layer unpacks to.
    pub(crate) fn relabel(&mut self, diff_id: Digest) {
        self.layers[0].diff_id = diff_id;
        self.write();
    }

    fn write(&mut self) {
        let diff_ids: Vec<&Digest> = self.layers.iter().map(|layer| &layer.diff_id).collect();
        let config = serde_json::json!({
            "architecture": self.architecture, "os": "linux", "config": {"Cmd": ["/bin/app"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        let describe = |kind: &str, blob: &[u8]| serde_json::json!({"mediaType": kind, "digest": Digest::of(blob), "size": blob.len()});
        let layers: Vec<_> = self.layers.iter().map(|layer| describe(layer.media_type, &layer.blob)).collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": describe("application/vnd.oci.image.config.v1+json", &config), "layers": layers,
        });
        self.manifest = manifest.to_string().into_bytes();
        self.blobs = self.layers.iter().map(|layer| layer.blob.clone()).chain([config]).collect();
    }
}

/// Pushes over HTTP, with the token if there is one.
pub(crate) async fn push(world: &World, repository: &str, reference: &str, image: &Image) {
    for blob in &image.blobs {
        let url = world.url(&format!("/v2/{repository}/blobs/uploads/?digest={}", Digest::of(blob)));
        let reply = authorized(world, reqwest::Client::new().post(url)).body(blob.clone()).send().await.expect("reply");
        assert_eq!(reply.status(), StatusCode::CREATED);
    }
    put_manifest(world, repository, reference, media_type::OCI_MANIFEST, image.manifest.clone()).await;
}

/// Pushes an index of manifests, each with its media type and more JSON for its entry.
pub(crate) async fn push_index(
    world: &World,
    repository: &str,
    tag: Option<&str>,
    entries: &[(&Vec<u8>, &str, String)],
) -> Vec<u8> {
    let entries: Vec<String> = entries
        .iter()
        .map(|(bytes, kind, more)| {
            format!(r#"{{"mediaType":"{kind}","digest":"{}","size":{}{more}}}"#, Digest::of(bytes), bytes.len())
        })
        .collect();
    let index =
        format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#, media_type::OCI_INDEX, entries.join(","));
    let index = index.into_bytes();
    let digest = Digest::of(&index).to_string();
    put_manifest(world, repository, tag.unwrap_or(&digest), media_type::OCI_INDEX, index.clone()).await;
    index
}

async fn put_manifest(world: &World, repository: &str, reference: &str, kind: &str, body: Vec<u8>) {
    let url = world.url(&format!("/v2/{repository}/manifests/{reference}"));
    let request = authorized(world, reqwest::Client::new().put(url)).header("content-type", kind).body(body);
    let reply = request.send().await.expect("reply");
    assert_eq!(reply.status(), StatusCode::CREATED, "{}", reply.text().await.unwrap_or_default());
}

fn authorized(world: &World, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    match std::fs::read_to_string(updraft_identity::token_path(world.dir.path())) {
        Ok(token) => request.bearer_auth(token.trim()),
        Err(_) => request,
    }
}

/// Writes an image as an OCI layout directory, under `name`.
pub(crate) fn write_layout(dir: &std::path::Path, name: &str, image: &Image) {
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("directory");
    for blob in image.blobs.iter().chain([&image.manifest]) {
        std::fs::write(blobs.join(Digest::of(blob).hex()), blob).expect("write");
    }
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("write");
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
        "mediaType": media_type::OCI_MANIFEST, "digest": Digest::of(&image.manifest), "size": image.manifest.len(),
        "annotations": {"org.opencontainers.image.ref.name": name},
    }]});
    std::fs::write(dir.join("index.json"), index.to_string()).expect("write");
}
