//! Images that are broken before anything of them runs.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use updraft::image::{File, Process, archive};

use super::super::{host::Host, images};

/// A program of this machine that is linked dynamically, and its loader.
const DYNAMIC: &str = "/usr/bin/true";
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Loads every image that needs nothing but files. Their names are those of the cases.
pub(super) fn load(host: &Host) {
    let box_files = [
        File { path: "witness", contents: images::witness_program(), mode: 0o755 },
        File { path: "bin/sh", contents: &fs::read("/bin/busybox").expect("busybox-static"), mode: 0o755 },
        File { path: "etc/app.conf", contents: b"port = 8080\n", mode: 0o644 },
        File { path: "secret", contents: b"for root\n", mode: 0o600 },
    ];
    let witness = Process { entrypoint: &["/witness"], ..Process::default() };
    put(host, "box", &box_files, &witness);
    put(host, "nobody", &box_files, &Process { user: "65532:65532", ..witness.clone() });
    put(host, "no-user", &box_files, &Process { user: "4294967295", ..witness.clone() });
    put(host, "no-directory", &box_files, &Process { workdir: "/etc/app.conf", ..witness });
    put(host, "silent", &box_files, &Process::default());

    let dynamic = fs::read(DYNAMIC).expect("coreutils");
    let mut arm = dynamic.clone();
    // e_machine of the ELF header: EM_AARCH64.
    arm[18..20].copy_from_slice(&183u16.to_le_bytes());
    let loader = fs::read(LOADER).expect("libc");
    let one = |name: &str, contents: &[u8], mode: u32| {
        let process = Process { entrypoint: &["/app/run"], ..Process::default() };
        put(host, name, &[File { path: "app/run", contents, mode }], &process);
    };
    one("arm", &arm, 0o755);
    one("no-loader", &dynamic, 0o755);
    one("no-interpreter", b"#!/usr/bin/ruby\nputs 1\n", 0o755);
    one("windows-lines", b"#!/bin/sh\r\nexec /app/server\r\n", 0o755);
    one("text", b"exec /app/server\n", 0o755);
    one("marked", b"\xef\xbb\xbf#!/bin/sh\nexec /app/server\n", 0o755);
    one("windows", b"MZ\x90\x00\x03\x00\x00\x00", 0o755);
    one("empty", b"", 0o755);
    one("unset-mode", &dynamic, 0o644);
    let shell = |name: &str, contents: &[u8]| {
        let files = [box_files[1], File { path: "app/run", contents, mode: 0o755 }];
        put(host, name, &files, &Process::default());
    };
    shell("shell-no-loader", &dynamic);
    shell("shell-no-interpreter", b"#!/usr/bin/ruby\nputs 1\n");
    shell("shell-windows-lines", b"#!/bin/sh\r\nexec /app/server\r\n");
    shell("shell-arm", &arm);
    let true_at = |path| File { path, contents: &dynamic, mode: 0o755 };
    let run = |entrypoint| Process { entrypoint, ..Process::default() };
    put(host, "directory", &[true_at("app/run/me")], &run(&["/app/run"]));
    put(host, "misspelt", &[true_at("app/server")], &run(&["/app/sever"]));
    put(host, "elsewhere", &[true_at("app/server")], &run(&["server"]));
    put(host, "one-word", &[true_at("app/server")], &run(&["/app/server --port 8080"]));
    let loader = File { path: &LOADER[1..], contents: &loader, mode: 0o755 };
    put(host, "no-library", &[true_at("app/run"), loader], &run(&["/app/run"]));
}

fn put(host: &Host, name: &str, files: &[File<'_>], process: &Process<'_>) {
    host.load(&archive(&format!("localhost/{name}:latest"), files, process).expect("in memory"));
}

/// Pushes what `images load` refuses: an index without this machine, and a layer that is none.
pub(super) async fn push(host: &Host) {
    let there = image(host, "arm-only", b"", "arm64").await;
    let entry = with(there, json!({"platform": {"os": "linux", "architecture": "arm64"}}));
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]});
    manifest(host, "arm-only", "latest", OCI_INDEX, &index).await;
    image(host, "corrupt", b"no gzip at all", "amd64").await;
}

/// An image of one layer of these bytes, tagged `latest`; returns its descriptor.
async fn image(host: &Host, repository: &str, layer: &[u8], architecture: &str) -> Value {
    let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
    let layer = blob(host, repository, kind, layer).await;
    let config = json!({
        "architecture": architecture, "os": "linux", "config": {"Entrypoint": ["/app"]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let config = blob(host, repository, OCI_CONFIG, &serde_json::to_vec(&config).expect("JSON")).await;
    let image = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]});
    manifest(host, repository, "latest", OCI_MANIFEST, &image).await
}

async fn blob(host: &Host, repository: &str, kind: &str, bytes: &[u8]) -> Value {
    let client = reqwest::Client::new();
    let digest = digest(bytes);
    let begun = client.post(format!("http://{}/v2/{repository}/blobs/uploads/", host.registry)).send().await;
    let begun = begun.expect("an answer");
    let place = begun.headers()["location"].to_str().expect("a URL").to_owned();
    let place = if place.starts_with('/') { format!("http://{}{place}", host.registry) } else { place };
    let and = if place.contains('?') { '&' } else { '?' };
    let put = client.put(format!("{place}{and}digest={digest}")).body(bytes.to_vec()).send().await;
    assert_eq!(put.expect("an answer").status(), 201, "{repository}");
    json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
}

async fn manifest(host: &Host, repository: &str, tag: &str, kind: &str, value: &Value) -> Value {
    let bytes = serde_json::to_vec(value).expect("JSON");
    let put = reqwest::Client::new().put(format!("http://{}/v2/{repository}/manifests/{tag}", host.registry));
    let put = put.header("content-type", kind).body(bytes.clone()).send().await.expect("an answer");
    assert_eq!(put.status(), 201, "{repository}");
    json!({"mediaType": kind, "digest": digest(&bytes), "size": bytes.len()})
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn with(mut value: Value, more: Value) -> Value {
    if let (Some(fields), Value::Object(more)) = (value.as_object_mut(), more) {
        fields.extend(more);
    }
    value
}

/// A registry that lets nobody in; ends with the test's process. Returns its `ADDRESS:PORT`.
pub(super) fn closed_registry() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
            let answer = format!(
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"closed\"\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

/// A port of this machine on which nobody listens.
pub(super) fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").to_string()
}
