//! The tools people have: skopeo and buildah push to the registry and pull from it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::world::{Compression, World, image, layer, write_layout};
use updraft_oci::Digest;

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_gets_back_bit_for_bit_what_it_pushed() {
    if !have("skopeo", "skopeo_gets_back_bit_for_bit_what_it_pushed") {
        return;
    }
    let world = World::start().await;
    let layers =
        vec![layer("one", Compression::Gzip), layer("two", Compression::Zstd), layer("two", Compression::Zstd)];
    let there = world.dir.path().join("there");
    write_layout(&there, "v1", &image(layers, "amd64"));
    let remote = format!("docker://{}/team/app:v1", world.address);
    let copy = |from: &str, to: &str, extra: &[&str]| {
        let tls = ["--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false"];
        run("skopeo", &[&tls[..], extra, &[from, to]].concat())
    };
    copy(&format!("oci:{}:v1", there.display()), &remote, &[]);
    let back = world.dir.path().join("back");
    copy(&remote, &format!("oci:{}:v1", back.display()), &[]);
    assert_eq!(blobs(&there), blobs(&back));

    // As Docker's types too: skopeo converts, and the registry must keep what it says.
    let docker = format!("docker://{}/team/docker:v1", world.address);
    let plain = world.dir.path().join("plain");
    write_layout(&plain, "v1", &image(vec![layer("one", Compression::Gzip)], "amd64"));
    copy(&format!("oci:{}:v1", plain.display()), &docker, &["--format", "v2s2"]);
    let (first, second) = (world.dir.path().join("d1"), world.dir.path().join("d2"));
    copy(&docker, &format!("dir:{}", first.display()), &[]);
    copy(&format!("dir:{}", first.display()), &format!("{docker}-again"), &[]);
    copy(&format!("{docker}-again"), &format!("dir:{}", second.display()), &[]);
    assert_eq!(files(&first), files(&second));
    let raw = run("skopeo", &["inspect", "--raw", "--tls-verify=false", &docker]);
    assert!(String::from_utf8_lossy(&raw.stdout).contains("application/vnd.docker.distribution.manifest.v2+json"));

    let tags = run("skopeo", &["list-tags", "--tls-verify=false", &format!("docker://{}/team/docker", world.address)]);
    assert!(String::from_utf8_lossy(&tags.stdout).contains("v1-again"));
    run("skopeo", &["delete", "--tls-verify=false", &docker]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_shows_the_token_as_a_password() {
    if !have("skopeo", "skopeo_shows_the_token_as_a_password") {
        return;
    }
    let world = World::with_token().await;
    let layout = world.dir.path().join("layout");
    write_layout(&layout, "v1", &image(vec![layer("one", Compression::Gzip)], "amd64"));
    let from = format!("oci:{}:v1", layout.display());
    let to = format!("docker://{}/app:v1", world.address);
    let copy = ["--insecure-policy", "copy", "--dest-tls-verify=false"];
    let refused = Command::new("skopeo").args(copy).args([&from, &to]).output().expect("skopeo");
    assert!(!refused.status.success());
    let credentials = format!("--dest-creds=anybody:{}", world.token());
    run("skopeo", &[&copy[..], &[&credentials, &from, &to]].concat());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn buildah_pushes_an_image_of_a_dockerfile_that_unpacks() {
    let name = "buildah_pushes_an_image_of_a_dockerfile_that_unpacks";
    if !have("buildah", name) {
        return;
    }
    let world = World::start().await;
    let dir = world.dir.path();
    std::fs::write(dir.join("hello"), "hello").expect("write");
    std::fs::write(
        dir.join("Dockerfile"),
        "FROM scratch\nCOPY --chown=65532:65532 hello /srv/one\nCOPY hello /srv/two\nUSER 65532\n\
         ENTRYPOINT [\"/srv/one\"]\nCMD [\"--flag\"]\nENV A=b\nWORKDIR /srv\nEXPOSE 8080\n",
    )
    .expect("write");
    let root = format!("--root={}", dir.join("storage").display());
    let runroot = format!("--runroot={}", dir.join("run").display());
    let buildah =
        |args: &[&str]| run("buildah", &[&["--storage-driver=vfs", root.as_str(), runroot.as_str()], args].concat());
    let context = dir.display().to_string();
    buildah(&["bud", "--isolation=chroot", "--layers", "-q", "-t", "made", &context]);
    let remote = format!("docker://{}/made:v1", world.address);
    for format in ["oci", "v2s2"] {
        buildah(&["push", "-q", "--tls-verify=false", "--format", format, "made", &remote]);
        let puller = world.puller(None);
        let pinned = puller.resolve(&format!("{}/made:v1", world.address)).await.expect("resolved");
        let rootfs = puller.rootfs(&pinned).await.expect("unpacked");
        assert_eq!(
            (rootfs.config.entrypoint, rootfs.config.cmd),
            (vec!["/srv/one".to_owned()], vec!["--flag".to_owned()])
        );
        assert_eq!((rootfs.config.user.as_str(), rootfs.config.working_dir.as_str()), ("65532", "/srv"));
        assert!(rootfs.config.env.contains(&("A".to_owned(), "b".to_owned())));
        assert!(rootfs.layers.iter().any(|layer| layer.join("srv/two").is_file()));
    }
    buildah(&["pull", "-q", "--tls-verify=false", &remote]);

    // And what it saves can be loaded, with the same files in it.
    let archive = dir.join("docker.tar");
    buildah(&["push", "-q", "made", &format!("docker-archive:{}:localhost/made:v2", archive.display())]);
    let loaded = world.images.load(&archive, None).await.expect("loaded");
    assert_eq!(loaded[0].reference, "localhost/made:v2");
    let pinned = world.images.resolve(&loaded[0].reference).await.expect("resolved");
    let rootfs = world.images.rootfs(&pinned).await.expect("unpacked");
    assert!(rootfs.layers.iter().any(|layer| layer.join("srv/one").is_file()));
    world.stop().await;
}

fn have(tool: &str, test: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    let root = tool != "buildah" || Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if !found || !root {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "skipped: {test} needs {tool} (buildah as root)");
    }
    found && root
}

fn run(tool: &str, args: &[&str]) -> Output {
    let output = Command::new(tool).args(args).output().expect("the tool");
    assert!(output.status.success(), "{tool} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn blobs(layout: &Path) -> BTreeMap<PathBuf, Digest> {
    files(&layout.join("blobs/sha256"))
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Digest> {
    let entries = std::fs::read_dir(dir).expect("directory");
    entries
        .map(|entry| {
            let path = entry.expect("entry").path();
            let digest = Digest::of(&std::fs::read(&path).expect("file"));
            (path.file_name().expect("name").into(), digest)
        })
        .collect()
}
