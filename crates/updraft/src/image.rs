//! Small images made from files at hand, as `docker save` would write them.

use std::io;

use serde_json::json;
use sha2::{Digest as _, Sha256};

/// A file of an image.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Its path, without the leading slash.
    pub path: &'a str,
    /// What is in it.
    pub contents: &'a [u8],
    /// Its mode, such as `0o755`.
    pub mode: u32,
}

/// What an image runs.
#[derive(Debug, Clone, Default)]
pub struct Process<'a> {
    /// `ENTRYPOINT`.
    pub entrypoint: &'a [&'a str],
    /// `CMD`.
    pub cmd: &'a [&'a str],
    /// `ENV`, as `NAME=value`.
    pub env: &'a [&'a str],
    /// `USER`.
    pub user: &'a str,
    /// `WORKDIR`.
    pub workdir: &'a str,
}

/// The docker-archive of an image with one layer of `files`, tagged `reference`.
///
/// # Errors
/// Only if a path cannot be written into a tar header.
pub fn archive(reference: &str, files: &[File<'_>], process: &Process<'_>) -> io::Result<Vec<u8>> {
    archive_of_layer(reference, &tar_of(files)?, process)
}

/// The same around a layer that is a tar already.
///
/// # Errors
/// As for [`archive`].
pub fn archive_of_layer(reference: &str, layer: &[u8], process: &Process<'_>) -> io::Result<Vec<u8>> {
    let diff_id = format!("sha256:{}", hex::encode(Sha256::digest(layer)));
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": process.entrypoint,
            "Cmd": process.cmd,
            "Env": process.env,
            "User": process.user,
            "WorkingDir": process.workdir,
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let config = serde_json::to_vec(&config)?;
    let config_name = format!("{}.json", hex::encode(Sha256::digest(&config)));
    let manifest = json!([{"Config": config_name, "RepoTags": [reference], "Layers": ["layer.tar"]}]);
    let plain = |path, contents| File { path, contents, mode: 0o644 };
    tar_of(&[
        plain("layer.tar", layer),
        plain(&config_name, &config),
        plain("manifest.json", &serde_json::to_vec(&manifest)?),
    ])
}

fn tar_of(files: &[File<'_>]) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.contents.len() as u64);
        header.set_mode(file.mode);
        header.set_mtime(0);
        tar.append_data(&mut header, file.path, file.contents)?;
    }
    tar.into_inner()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn an_archive_names_its_layer_by_what_is_in_it() {
        let files = [File { path: "hello", contents: b"program", mode: 0o755 }];
        let process = Process { entrypoint: &["/hello"], ..Process::default() };
        let archive = archive("hello:latest", &files, &process).expect("in memory");
        let mut entries = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(&archive[..]).entries().expect("a tar") {
            let mut entry = entry.expect("an entry");
            let mut contents = Vec::new();
            entry.read_to_end(&mut contents).expect("in memory");
            entries.insert(entry.path().expect("a path").display().to_string(), contents);
        }
        let diff_id = hex::encode(Sha256::digest(&entries["layer.tar"]));
        let config = entries.iter().find(|(name, _)| name.len() == 69).expect("a config").1;
        assert!(String::from_utf8_lossy(config).contains(&diff_id));
    }
}
