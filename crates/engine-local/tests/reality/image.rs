//! The image of the tests: a static program and a few accounts, as an OCI layout.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// An image to be made: its layers, lowest first, and the `config` part of its configuration.
pub(crate) struct Image {
    pub(crate) layers: Vec<Vec<Entry>>,
    pub(crate) config: Value,
}

/// A file of a layer.
pub(crate) enum Entry {
    File(&'static str, u32, Vec<u8>),
    Directory(&'static str, u32),
    Link(&'static str, &'static str),
    /// A file of this user and group.
    Owned(&'static str, (u32, u32)),
}

/// The program of the tests, built once.
pub(crate) fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| build("probe", "tests/reality/fixture/probe.rs", &[]))
}

/// Builds a program that needs the standard library at most; static, so that it runs in an empty image.
pub(crate) fn build(name: &str, source: &str, options: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (program, fresh) = (place.join(name), place.join(format!("{name}-{}", std::process::id())));
    let rustc = option_env!("RUSTC").unwrap_or("rustc");
    let built = Command::new(rustc)
        .args(["--edition", "2024", "-Copt-level=1", "-Cpanic=abort", "-Ctarget-feature=+crt-static"])
        .args(options)
        .arg("-o")
        .args([&fresh, &source])
        .status();
    assert!(built.expect("rustc is there").success(), "{name} does not build");
    // Another run may be reading the last one.
    fs::rename(&fresh, &program).expect("just built");
    program
}

// === impl Image ===

impl Image {
    /// The program as the entrypoint, and accounts.
    pub(crate) fn plain() -> Self {
        let program = fs::read(probe()).expect("just built");
        let passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:\n";
        let group = "root:x:0:\napp:x:1001:\nvideo:x:44:app\n";
        Self {
            layers: vec![
                vec![Entry::File("probe", 0o755, program)],
                vec![
                    Entry::Directory("etc", 0o755),
                    Entry::File("etc/passwd", 0o644, passwd.into()),
                    Entry::File("etc/group", 0o644, group.into()),
                ],
            ],
            config: json!({"Entrypoint": ["/probe"]}),
        }
    }

    /// With one more layer on top.
    pub(crate) fn layer(mut self, entries: Vec<Entry>) -> Self {
        self.layers.push(entries);
        self
    }

    /// With this in its configuration.
    pub(crate) fn with(mut self, name: &str, value: Value) -> Self {
        self.config[name] = value;
        self
    }

    /// Writes what is in the image, as a root directory for another runtime.
    pub(crate) fn unpack(&self, root: &Path) {
        for entry in self.layers.iter().flatten() {
            match entry {
                Entry::File(path, mode, data) => {
                    fs::write(root.join(path), data).expect("a directory of the test");
                    let mode = fs::Permissions::from_mode(*mode);
                    fs::set_permissions(root.join(path), mode).expect("a directory of the test");
                }
                Entry::Directory(path, mode) => {
                    fs::create_dir_all(root.join(path)).expect("a directory of the test");
                    let mode = fs::Permissions::from_mode(*mode);
                    fs::set_permissions(root.join(path), mode).expect("a directory of the test");
                }
                Entry::Owned(path, (user, group)) => {
                    fs::write(root.join(path), "").expect("a directory of the test");
                    chown(root.join(path), Some(*user), Some(*group)).expect("we are root");
                }
                Entry::Link(path, target) => symlink(target, root.join(path)).expect("a directory of the test"),
            }
        }
    }

    /// Writes the image as an OCI layout.
    pub(crate) fn write(&self, dir: &Path) {
        let blobs = dir.join("blobs/sha256");
        fs::create_dir_all(&blobs).expect("a directory of the test");
        let put = |kind: &str, bytes: &[u8]| {
            let digest = hex::encode(Sha256::digest(bytes));
            fs::write(blobs.join(&digest), bytes).expect("a directory of the test");
            json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len()})
        };
        let layers: Vec<Value> =
            self.layers.iter().map(|layer| put("application/vnd.oci.image.layer.v1.tar", &archive(layer))).collect();
        let diff_ids: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = put("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": layers,
        });
        let manifest = put("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a directory of the test");
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        fs::write(dir.join("index.json"), index.to_string()).expect("a directory of the test");
    }
}

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        let (path, data): (&str, &[u8]) = match entry {
            Entry::File(path, mode, data) => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(*mode);
                header.set_size(data.len() as u64);
                (path, data)
            }
            Entry::Directory(path, mode) => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(*mode);
                header.set_size(0);
                (path, &[])
            }
            Entry::Owned(path, (user, group)) => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(0o640);
                header.set_uid(u64::from(*user));
                header.set_gid(u64::from(*group));
                header.set_size(0);
                (path, &[])
            }
            Entry::Link(path, target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                header.set_link_name(target).expect("a short target");
                (path, &[])
            }
        };
        archive.append_data(&mut header, path, data).expect("memory");
    }
    archive.into_inner().expect("memory")
}
