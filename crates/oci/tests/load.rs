//! Images from files into the store, and out of it again.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde_json::json;
use tempfile::TempDir;
use updraft_base::{Clock, VirtualClock};
use updraft_oci::{
    Collected, ContentError, Digest, HOST_ARCHITECTURE, ImageError, ImageStore, ImageStoreConfig, ManifestName,
    media_type,
};

struct World {
    dir: TempDir,
    images: ImageStore,
    hand: std::sync::Arc<VirtualClock>,
}

/// The files of an archive, by path.
type Files = Vec<(String, Vec<u8>)>;

impl World {
    #[expect(clippy::disallowed_methods, reason = "files get the machine's time, and their age is looked at")]
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (clock, hand) = Clock::stopped_at(SystemTime::now());
        let images = ImageStore::open(ImageStoreConfig::new(dir.path().join("images")), clock).expect("store");
        Self { dir, images, hand }
    }

    fn archive(&self, files: &Files) -> PathBuf {
        let path = self.dir.path().join("archive.tar");
        fs::write(&path, tar(files)).expect("write");
        path
    }

    fn layout(&self, files: &Files) -> PathBuf {
        let dir = self.dir.path().join("layout");
        for (path, bytes) in files {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("directory");
            fs::write(path, bytes).expect("write");
        }
        dir
    }

    async fn load(&self, path: &Path, name: Option<&str>) -> Result<Vec<String>, ImageError> {
        Ok(self.images.load(path, name).await?.into_iter().map(|loaded| loaded.reference).collect())
    }

    async fn file_of(&self, reference: &str) -> String {
        let pinned = self.images.resolve(reference).await.expect("resolved");
        let rootfs = self.images.rootfs(&pinned).await.expect("unpacked");
        fs::read_to_string(rootfs.layers[0].join("name")).expect("file")
    }
}

fn tar(files: &Files) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, bytes.as_slice()).expect("tar");
    }
    builder.into_inner().expect("tar")
}

fn layer(content: &str) -> Vec<u8> {
    tar(&vec![("name".to_owned(), content.as_bytes().to_vec())])
}

fn config(layer: &[u8]) -> Vec<u8> {
    let config = json!({"architecture": HOST_ARCHITECTURE, "os": "linux", "created": "2026-01-02T03:04:05Z",
        "config": {"Cmd": ["/app"]}, "rootfs": {"type": "layers", "diff_ids": [Digest::of(layer)]}});
    config.to_string().into_bytes()
}

fn docker_archive(tags: &[&str]) -> Files {
    let layer = layer("docker");
    let manifest = json!([{"Config": "config.json", "RepoTags": tags, "Layers": ["a/layer.tar"]}]);
    // The manifest comes last, as `docker save` has it.
    vec![
        ("a/layer.tar".to_owned(), layer.clone()),
        ("config.json".to_owned(), config(&layer)),
        ("manifest.json".to_owned(), manifest.to_string().into_bytes()),
    ]
}

fn oci_layout(annotations: &serde_json::Value) -> (Files, Digest) {
    let layer = layer("oci");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&layer).expect("deflate");
    let (config, blob) = (config(&layer), encoder.finish().expect("deflate"));
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::of(&config), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": Digest::of(&blob), "size": blob.len()}]});
    let manifest = manifest.to_string().into_bytes();
    let digest = Digest::of(&manifest);
    let index = json!({"schemaVersion": 2, "manifests": [{"mediaType": media_type::OCI_MANIFEST, "digest": digest,
        "size": manifest.len(), "annotations": annotations}]});
    let mut files = vec![
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ("index.json".to_owned(), index.to_string().into_bytes()),
    ];
    for blob in [layer_blob(&config), layer_blob(&blob), layer_blob(&manifest)] {
        files.push(blob);
    }
    (files, digest)
}

fn layer_blob(bytes: &[u8]) -> (String, Vec<u8>) {
    (format!("blobs/sha256/{}", Digest::of(bytes).hex()), bytes.to_vec())
}

#[test]
fn nobody_else_may_enter_what_images_are_made_of() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let images = dir.path().join("images");
    let layers = images.join("layers");
    fs::create_dir_all(&layers).expect("directory");
    for dir in [&images, &layers] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("mode");
    }
    let (clock, _hand) = Clock::stopped_at(SystemTime::UNIX_EPOCH);
    ImageStore::open(ImageStoreConfig::new(&images), clock).expect("store");
    let inside = fs::read_dir(&images).expect("directory").map(|entry| entry.expect("entry").path());
    for dir in inside.filter(|path| path.is_dir()).chain([images.clone()]) {
        let mode = fs::metadata(&dir).expect("metadata").permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{}", dir.display());
    }
}

#[tokio::test]
async fn a_docker_archive_is_loaded_under_its_tags_without_their_hosts() {
    let world = World::new();
    let path = world.archive(&docker_archive(&["quay.io/team/app:v1", "app:latest"]));
    let loaded = world.load(&path, None).await.expect("loaded");
    assert_eq!(loaded, ["localhost/team/app:v1", "localhost/app:latest"]);
    for reference in &loaded {
        assert_eq!(world.file_of(reference).await, "docker");
    }
    assert_eq!(world.load(&path, Some("other:v2")).await.expect("loaded"), ["localhost/other:v2"]);
    let listed = world.images.list().await.expect("list");
    assert_eq!(listed.len(), 3);
    assert_eq!(listed[0].created.as_deref(), Some("2026-01-02T03:04:05Z"));
    assert!(listed.iter().all(|image| image.digest == listed[0].digest && image.size > 1024));
}

#[tokio::test]
async fn an_oci_layout_keeps_its_digest_as_directory_as_tar_and_compressed() {
    let world = World::new();
    let (files, digest) = oci_layout(&json!({"org.opencontainers.image.ref.name": "hello:v1"}));
    let zipped = world.dir.path().join("archive.tar.gz");
    let mut encoder =
        flate2::write::GzEncoder::new(fs::File::create(&zipped).expect("file"), flate2::Compression::fast());
    encoder.write_all(&tar(&files)).expect("deflate");
    encoder.finish().expect("deflate");
    for path in [world.layout(&files), world.archive(&files), zipped] {
        let loaded = world.images.load(&path, None).await.expect("loaded");
        assert_eq!((loaded[0].reference.as_str(), &loaded[0].digest), ("localhost/hello:v1", &digest));
        assert_eq!(world.file_of("localhost/hello:v1").await, "oci");
        world.images.delete("localhost/hello:v1").await.expect("deleted");
    }
}

#[tokio::test]
async fn an_image_without_a_name_needs_one_from_the_caller() {
    let world = World::new();
    for annotations in [json!({}), json!({"org.opencontainers.image.ref.name": "latest"})] {
        let path = world.archive(&oci_layout(&annotations).0);
        let error = world.load(&path, None).await.expect_err("no name");
        assert!(matches!(error, ImageError::Invalid { .. }), "{error}");
        assert_eq!(world.load(&path, Some("localhost:5000/hello")).await.expect("loaded"), ["localhost/hello:latest"]);
    }
    let containerd =
        json!({"io.containerd.image.name": "docker.io/library/hello:v3", "org.opencontainers.image.ref.name": "v3"});
    let path = world.archive(&oci_layout(&containerd).0);
    assert_eq!(world.load(&path, None).await.expect("loaded"), ["localhost/hello:v3"]);
    let error = world.load(&path, Some("Hello")).await.expect_err("no name");
    assert!(matches!(error, ImageError::Invalid { .. }), "{error}");
}

#[tokio::test]
async fn what_is_no_archive_of_images_is_refused() {
    let world = World::new();
    let (files, _) = oci_layout(&json!({"org.opencontainers.image.ref.name": "hello:v1"}));
    let mut without_blob = files.clone();
    without_blob.remove(3);
    let mut damaged = files.clone();
    damaged[3].1.push(0);
    let cases: Vec<(&str, PathBuf)> = vec![
        ("other files", world.archive(&vec![("readme".to_owned(), b"x".to_vec())])),
        ("an empty directory", world.dir.path().to_owned()),
    ];
    for (what, path) in cases {
        assert!(matches!(world.load(&path, Some("x")).await, Err(ImageError::Unfit { .. })), "{what}");
    }
    for (what, files) in [("a missing blob", &without_blob), ("a damaged blob", &damaged)] {
        let error = world.load(&world.archive(files), None).await.expect_err(what);
        assert!(matches!(error, ImageError::Unfit { .. }), "{what}: {error}");
        let layout = world.layout(files);
        let error = world.load(&layout, None).await.expect_err(what);
        assert!(matches!(error, ImageError::Unfit { .. }), "{what}: {error}");
        fs::remove_dir_all(layout).expect("remove");
    }
    let nowhere = world.dir.path().join("nowhere");
    assert!(matches!(world.load(&nowhere, None).await, Err(ImageError::Host { .. })));
    assert!(world.images.list().await.expect("list").is_empty());
}

#[tokio::test]
async fn garbage_is_what_nobody_leads_to_and_is_no_longer_young() {
    let world = World::new();
    let path = world.archive(&docker_archive(&["app:v1"]));
    let reference = world.load(&path, None).await.expect("loaded").remove(0);
    let pinned = world.images.resolve(&reference).await.expect("resolved");
    world.images.rootfs(&pinned).await.expect("unpacked");
    let collect =
        async |in_use: &[String]| world.images.collect_garbage(in_use).await.expect("collected").expect("alone");

    world.images.delete(&reference).await.expect("deleted");
    assert_eq!(collect(&[]).await.blobs, 0, "all of it is young");
    world.hand.advance(Duration::from_secs(2 * 60 * 60));
    assert_eq!(collect(std::slice::from_ref(&pinned)).await.layers, 0, "a revision has it");
    world.images.rootfs(&pinned).await.expect("still there");
    assert_eq!(collect(&[]).await, Collected::default(), "an instance of the revision may still run");
    world.hand.advance(Duration::from_secs(60 * 60));
    let collected = collect(&[]).await;
    assert_eq!((collected.layers, collected.blobs), (1, 3), "{collected:?}");
    let error = world.images.rootfs(&pinned).await.expect_err("gone");
    assert!(matches!(error, ImageError::Missing { .. }), "{error}");
}

/// Puts a blob without a name.
async fn put(world: &World, bytes: Vec<u8>) -> Digest {
    world.images.content().put_blob(bytes.into()).await.expect("put")
}

fn manifest_of(config: &Digest, layer: &Digest) -> Vec<u8> {
    let layers = json!([{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": 1}]);
    json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "layers": layers,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 1}})
    .to_string()
    .into_bytes()
}

#[tokio::test]
async fn an_image_whose_manifest_is_the_layer_of_another_keeps_what_it_leads_to() {
    let world = World::new();
    let layer = layer("kept");
    let (file, config) = (put(&world, layer.clone()).await, put(&world, config(&layer)).await);
    let image = put(&world, manifest_of(&config, &file)).await;
    let artifact = put(&world, manifest_of(&config, &image)).await;
    let in_use = [format!("localhost/artifact@{artifact}"), format!("localhost/app@{image}")];
    for _ in 0..3 {
        world.hand.advance(Duration::from_secs(2 * 60 * 60));
        let collected = world.images.collect_garbage(&in_use).await.expect("collected").expect("alone");
        assert_eq!(collected, Collected::default());
    }
    assert!(world.images.content().blob_size(&file).await.expect("readable").is_some());
}

#[tokio::test]
async fn a_long_chain_of_indexes_is_followed_to_its_end() {
    let world = World::new();
    let end = put(&world, layer("end")).await;
    let mut last = put(&world, manifest_of(&end, &end)).await;
    for _ in 0..3000 {
        let entries = json!([{"mediaType": media_type::OCI_INDEX, "digest": last, "size": 1}]);
        let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries});
        let bytes = index.to_string().into_bytes();
        last = Digest::of(&bytes);
        // Not by the store, which syncs each.
        let path = world.images.content().blob_path(&last);
        fs::create_dir_all(path.parent().expect("parent")).expect("directory");
        fs::write(path, bytes).expect("write");
    }
    let in_use = [format!("localhost/app@{last}")];
    let mut hold = world.images.hold().await;
    let inventory = world.images.inventory(&mut hold, &in_use).await.expect("inventory");
    assert_eq!(inventory.blobs.len(), 3002);
    drop(hold);
    for _ in 0..2 {
        world.hand.advance(Duration::from_secs(2 * 60 * 60));
        let collected = world.images.collect_garbage(&in_use).await.expect("collected").expect("alone");
        assert_eq!(collected, Collected::default());
    }
}

#[tokio::test]
async fn a_note_that_cannot_be_read_does_not_stop_the_collector() {
    let world = World::new();
    put(&world, b"garbage".to_vec()).await;
    let notes = world.dir.path().join("images/pulled");
    fs::create_dir_all(&notes).expect("directory");
    fs::write(notes.join("note"), [0xff, 0xfe]).expect("write");
    world.hand.advance(Duration::from_secs(2 * 60 * 60));
    world.images.collect_garbage(&[]).await.expect("collected");
    world.hand.advance(Duration::from_secs(60 * 60));
    assert_eq!(world.images.collect_garbage(&[]).await.expect("collected").expect("alone").blobs, 1);
    assert!(world.images.list().await.expect("list").is_empty());
}

#[tokio::test]
async fn what_was_garbage_before_a_failed_collection_still_is() {
    let world = World::new();
    put(&world, b"garbage".to_vec()).await;
    world.hand.advance(Duration::from_secs(2 * 60 * 60));
    world.images.collect_garbage(&[]).await.expect("collected");
    world.hand.advance(Duration::from_secs(60 * 60));
    // No directory can be read where a file is.
    let notes = world.dir.path().join("images/pulled");
    let _ = fs::remove_dir_all(&notes);
    fs::write(&notes, "").expect("write");
    world.images.collect_garbage(&[]).await.expect_err("not a directory");
    fs::remove_file(&notes).expect("removed");
    assert_eq!(world.images.collect_garbage(&[]).await.expect("collected").expect("alone").blobs, 1);
}

#[tokio::test]
async fn while_somebody_copies_nothing_is_removed() {
    let world = World::new();
    let path = world.archive(&docker_archive(&["app:v1"]));
    let reference = world.load(&path, None).await.expect("loaded").remove(0);
    let content = world.images.content();
    let tag = ManifestName::Tag("v1".to_owned());
    let manifest = content.manifest("app", &tag).await.expect("manifest");
    let config = Digest::of(&config(&layer("docker")));
    world.hand.advance(Duration::from_secs(2 * 60 * 60));

    let first = world.images.hold().await;
    let second = world.images.hold().await;
    drop(first);
    assert_eq!(world.images.collect_garbage(&[]).await.expect("no error"), None);
    let mut removals =
        vec![Box::pin(async { world.images.delete(&reference).await.is_err_and(|e| matches!(e, ImageError::Held)) })
            as std::pin::Pin<Box<dyn Future<Output = bool>>>];
    removals.push(Box::pin(async {
        content.delete_manifest("app", &tag).await.is_err_and(|error| matches!(error, ContentError::Held))
    }));
    removals.push(Box::pin(async {
        content.unlink_blob("app", &config).await.is_err_and(|error| matches!(error, ContentError::Held))
    }));
    for removal in &mut removals {
        assert!(futures::poll!(removal.as_mut()).is_pending(), "it waits a little");
    }
    world.hand.advance(Duration::from_secs(10));
    for removal in removals {
        assert!(removal.await, "and is told to come again");
    }
    assert_eq!(content.manifest("app", &tag).await.expect("manifest").digest, manifest.digest);
    content.linked_blob("app", &config).await.expect("blob");
    // Adding goes on.
    let again = world.images.load(&path, Some("other:v1")).await.expect("loaded");
    assert_eq!(again[0].reference, "localhost/other:v1");

    drop(second);
    world.images.delete(&reference).await.expect("deleted");
    world.images.delete("localhost/other:v1").await.expect("deleted");
    world.images.collect_garbage(&[]).await.expect("collected");
    world.hand.advance(Duration::from_secs(2 * 60 * 60));
    assert!(world.images.collect_garbage(&[]).await.expect("collected").expect("alone").blobs > 0);
}

#[tokio::test]
async fn a_directory_without_an_entry_keeps_what_the_layer_below_says_of_it() {
    let world = World::new();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o1777);
    header.set_size(0);
    builder.append_data(&mut header, "tmp", std::io::empty()).expect("tar");
    let base = builder.into_inner().expect("tar");
    let top = tar(&vec![("tmp/file".to_owned(), b"x".to_vec())]);
    let config = json!({"architecture": HOST_ARCHITECTURE, "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&base), Digest::of(&top)]}});
    let manifest = json!([{"Config": "c.json", "RepoTags": ["app:v1"], "Layers": ["base.tar", "top.tar"]}]);
    let path = world.archive(&vec![
        ("base.tar".to_owned(), base),
        ("top.tar".to_owned(), top),
        ("c.json".to_owned(), config.to_string().into_bytes()),
        ("manifest.json".to_owned(), manifest.to_string().into_bytes()),
    ]);
    let reference = world.load(&path, None).await.expect("loaded").remove(0);
    let pinned = world.images.resolve(&reference).await.expect("resolved");
    let first = world.images.rootfs(&pinned).await.expect("unpacked").layers;
    assert_eq!(first.len(), 3);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(first[2].join("tmp")).expect("tmp").permissions());
    assert_eq!(mode & 0o7777, 0o1777);
    assert_eq!(fs::read_dir(first[2].join("tmp")).expect("tmp").count(), 0);

    world.hand.advance(Duration::from_secs(2 * 60 * 60));
    world.images.collect_garbage(std::slice::from_ref(&pinned)).await.expect("collected");
    assert!(first.iter().all(|layer| layer.is_dir()), "in use");
    assert_eq!(world.images.rootfs(&pinned).await.expect("unpacked").layers, first);
    world.images.delete(&reference).await.expect("deleted");
    world.images.collect_garbage(&[]).await.expect("collected");
    world.hand.advance(Duration::from_secs(60 * 60));
    let collected = world.images.collect_garbage(&[]).await.expect("collected").expect("alone");
    assert_eq!(collected.layers, 3);
}

#[tokio::test]
async fn a_store_opens_again_with_what_it_had_and_without_what_a_crash_left() {
    let world = World::new();
    let path = world.archive(&docker_archive(&["app:v1"]));
    let reference = world.load(&path, None).await.expect("loaded").remove(0);
    world.file_of(&reference).await;
    let layers = world.dir.path().join("images/layers");
    fs::create_dir_all(layers.join(".new-left/deep")).expect("directory");
    let again =
        ImageStore::open(ImageStoreConfig::new(world.dir.path().join("images")), Clock::system()).expect("store");
    assert!(!layers.join(".new-left").exists());
    let pinned = again.resolve(&reference).await.expect("resolved");
    assert_eq!(again.rootfs(&pinned).await.expect("unpacked").layers.len(), 1);
}
