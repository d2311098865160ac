//! Another registry, on loopback, whose every tag is another image and whose blobs take their time.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use serde_json::json;

use super::ledger::digest;
use crate::reality::images::witness_program;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// What is served in one go, and how long it takes: long enough for kills to fall into it.
const PIECE: usize = 64 << 10;
const PACE: Duration = Duration::from_millis(3);

/// The registry. It ends with the test's process.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
}

type Content = Arc<Mutex<HashMap<String, (&'static str, Vec<u8>)>>>;

// === impl Upstream ===

impl Upstream {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let content = Content::default();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let content = content.clone();
                thread::spawn(move || answer(stream, &content));
            }
        });
        Self { address }
    }

    /// The name of the image of that number.
    pub(super) fn image(&self, number: u64) -> String {
        format!("{}/far/witness:n{number}", self.address)
    }
}

fn answer(mut stream: TcpStream, content: &Content) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut request = String::new();
    reader.read_line(&mut request).ok()?;
    let mut header = String::new();
    while reader.read_line(&mut header).ok()? > 2 {
        header.clear();
    }
    let mut words = request.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let name = path.rsplit('/').next()?;
    let found = content.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
    let found = match name.strip_prefix('n').and_then(|number| number.parse::<u64>().ok()) {
        Some(number) if path.contains("/manifests/") => Some((MANIFEST, make(number, content))),
        _ => found,
    };
    let Some((kind, bytes)) = found else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok();
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nDocker-Content-Digest: {}\r\nConnection: close\r\n\r\n",
        bytes.len(),
        digest(&bytes)
    );
    stream.write_all(head.as_bytes()).ok()?;
    if method == "HEAD" {
        return Some(());
    }
    for piece in bytes.chunks(PIECE) {
        stream.write_all(piece).ok()?;
        thread::sleep(PACE);
    }
    Some(())
}

/// The manifest of an image: the witness below, and a layer that no other has.
fn make(number: u64, content: &Content) -> Vec<u8> {
    let own = number.to_le_bytes().repeat(32 << 10);
    let layers = [layer("witness", witness_program()), layer("number", &own)];
    let digests: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/witness"]},
        "rootfs": {"type": "layers", "diff_ids": digests},
    });
    let config = config.to_string().into_bytes();
    let described = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described("application/vnd.oci.image.config.v1+json", &config),
        "layers": layers.each_ref().map(|layer| described("application/vnd.oci.image.layer.v1.tar", layer)),
    });
    let manifest = manifest.to_string().into_bytes();
    let mut content = content.lock().unwrap_or_else(PoisonError::into_inner);
    content.insert(digest(&manifest), (MANIFEST, manifest.clone()));
    for blob in layers.into_iter().chain([config]) {
        content.insert(digest(&blob), ("application/octet-stream", blob));
    }
    manifest
}

fn layer(name: &str, contents: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(contents.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, name, contents).expect("in memory");
    tar.into_inner().expect("in memory")
}
