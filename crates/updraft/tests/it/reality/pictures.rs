//! What real tools make: pushed, pulled, built, and run.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

use super::{
    host::{Host, containers_run_here, eventually, have, run},
    images,
};

/// skopeo with its own temporary files, and plain HTTP to a registry of ours.
fn skopeo(scratch: &Path) -> Command {
    let mut skopeo = Command::new("skopeo");
    skopeo.arg("--tmpdir").arg(scratch).arg("--insecure-policy").arg("copy");
    skopeo
}

/// The blobs of an OCI layout, by name.
fn blobs(layout: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let folder = fs::read_dir(layout.join("blobs/sha256")).expect("a layout");
    folder
        .map(|entry| {
            let entry = entry.expect("an entry");
            (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("a blob"))
        })
        .collect()
}

#[test]
fn what_skopeo_pushes_comes_back_bit_for_bit() {
    if !containers_run_here() || !have("skopeo") {
        return;
    }
    let host = Host::start(&[]);
    let scratch = TempDir::new().expect("a temporary directory");
    let (archive, before, after) =
        (scratch.path().join("in.tar"), scratch.path().join("before"), scratch.path().join("after"));
    fs::write(&archive, images::witness("pushed")).expect("writable");
    let archive = format!("docker-archive:{}", archive.display());
    let remote = format!("docker://{}/team/pushed:v1", host.registry);
    let (before_at, after_at) = (format!("oci:{}:x", before.display()), format!("oci:{}:x", after.display()));
    run(skopeo(scratch.path()).args([&archive, &before_at]));
    run(skopeo(scratch.path()).args(["--dest-tls-verify=false", &before_at, &remote]));
    run(skopeo(scratch.path()).args(["--src-tls-verify=false", &remote, &after_at]));
    assert_eq!(blobs(&before), blobs(&after));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_several_layers_with_its_own_user_and_command_answers() {
    if !containers_run_here() || !have("buildah") || !have("busybox") {
        return;
    }
    let host = Host::start(&[]);
    let context = TempDir::new().expect("a temporary directory");
    fs::write(context.path().join("witness"), images::witness_program()).expect("writable");
    fs::copy("/bin/busybox", context.path().join("busybox")).expect("installed");
    fs::write(
        context.path().join("Dockerfile"),
        "FROM scratch\n\
         COPY --chmod=0755 busybox /bin/busybox\n\
         COPY --chmod=0755 busybox /bin/sh\n\
         RUN /bin/busybox mkdir -p /etc /app /gone && echo 'app:x:4321:4321::/app:/bin/sh' > /etc/passwd && echo 'app:x:4321:' > /etc/group\n\
         COPY --chmod=0755 witness /app/witness\n\
         RUN /bin/busybox rm -r /gone && echo layered > /app/note\n\
         ENV ANSWER=from-the-image\n\
         WORKDIR /app\n\
         USER app\n\
         ENTRYPOINT [\"/app/witness\"]\n\
         CMD [\"serve\"]\n",
    )
    .expect("writable");
    let image = format!("{}/built:latest", host.registry);
    let root = context.path().join("storage");
    let buildah = || {
        let mut buildah = Command::new("buildah");
        buildah.arg("--root").arg(root.join("root")).arg("--runroot").arg(root.join("run"));
        buildah.args(["--storage-driver", "vfs"]);
        buildah
    };
    let mut build = buildah();
    build.args(["bud", "--isolation", "chroot", "--layers", "--tag", &image]).arg(context.path());
    run(&mut build);
    run(buildah().args(["push", "--tls-verify=false", &image]));

    host.ok(&["deploy", "built", "--image", &image, "--allow-unauthenticated", "--quiet"]);
    let (client, name) = (reqwest::Client::new(), host.host_of("built", None));
    assert_eq!(host.get(&client, &name, "/").await, (200, "from-the-image".to_owned()));
    assert_eq!(host.get(&client, &name, "/file/app/note").await, (200, "layered\n".to_owned()));
    let (_, uid) = host.get(&client, &name, "/uid").await;
    assert_eq!(uid.split_whitespace().next(), Some("4321"));
}

#[tokio::test(flavor = "multi_thread")]
async fn debians_python_reaches_a_server_outside_by_name() {
    if !containers_run_here() || !have("dpkg") || !have("ip") {
        return;
    }
    let outside = images::Outside::start();
    let host = Host::start(&["--dns", &outside.dns()]);
    let Some(image) = images::debian_python(&host) else { return };
    host.ok(&["deploy", "snake", "--image", &image, "--allow-unauthenticated", "--quiet"]);
    let (client, name) = (reqwest::Client::new(), host.host_of("snake", None));
    let (status, text) = host.get(&client, &name, &format!("/fetch?url=http://outside.test:{}/", outside.port())).await;
    assert_eq!((status, text.as_str()), (200, "hello from outside"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_sees_its_revision_and_keeps_its_hands_off_the_host() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&[]);
    host.load(&images::witness("env"));
    host.ok(&["deploy", "env", "--image", "localhost/env:latest", "--allow-unauthenticated", "--quiet"]);
    let (client, name) = (reqwest::Client::new(), host.host_of("env", None));
    assert_eq!(host.get(&client, &name, "/env/K_SERVICE").await, (200, "env".to_owned()));
    assert_eq!(host.get(&client, &name, "/env/K_CONFIGURATION").await, (200, "env".to_owned()));
    assert_eq!(host.get(&client, &name, "/env/PORT").await, (200, "8080".to_owned()));
    let (status, revision) = host.get(&client, &name, "/env/K_REVISION").await;
    assert!(status == 200 && revision.starts_with("env-00001-"), "{status} {revision}");
    // An image of one file has neither: they were made.
    assert_eq!(host.get(&client, &name, "/file/etc/hostname").await.0, 200);
    let (_, status) = host.get(&client, &name, "/file/proc/self/status").await;
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line} in {status}");
    }
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).expect("a bounding set");
    let bounding = u64::from_str_radix(capabilities.trim(), 16).expect("hex");
    assert_eq!(bounding & (1 << 21), 0, "CAP_SYS_ADMIN must be out of reach: {capabilities}");
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_kept_line_by_line() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&[]);
    host.load(&images::witness("talk"));
    host.ok(&["deploy", "talk", "--image", "localhost/talk:latest", "--allow-unauthenticated", "--quiet"]);
    eventually("the line is in the log", || async {
        host.ok(&["services", "logs", "read", "talk"]).contains("listening on 0.0.0.0:8080")
    })
    .await;
}
