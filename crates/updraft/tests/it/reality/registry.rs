//! The registry of the binary: its memory, its crashes, its disk.

use std::{path::Path, process::Command};

use reqwest::{Client, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use updraft_oci::Digest;

use super::host::{Host, UPDRAFT, containers_run_here, eventually};

const MIB: usize = 1 << 20;

/// A layer that nobody has to keep: the same block again and again, each with its number.
#[derive(Clone)]
struct Layer {
    block: bytes::Bytes,
    blocks: usize,
}

/// Where a client is with one repository.
struct Peer {
    client: Client,
    registry: String,
}

/// 3 GB there and back, and the server never holds more than 100 MiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_of_three_gigabytes_passes_through_little_memory() {
    let host = Host::start(&[]);
    let (peer, layer) = (Peer::of(&host), Layer::of(3 * 1000 * 1000 * 1000 / MIB + 1));
    let place = peer.begin("large").await;
    // Hashed as it is sent, once; what comes back is compared with what is generated again.
    let (to_hash, sent) = std::sync::mpsc::sync_channel::<bytes::Bytes>(8);
    let hashing = std::thread::spawn(move || {
        let mut hash = Sha256::new();
        sent.iter().for_each(|block| hash.update(&block));
        format!("sha256:{}", hex::encode(hash.finalize()))
    });
    let pushed = layer.clone();
    let stream = futures::stream::iter((0..pushed.blocks).map(move |n| {
        let block = pushed.block(n);
        to_hash.send(block.clone()).map(|()| block).map_err(std::io::Error::other)
    }));
    let answer = peer.client.patch(&place).body(reqwest::Body::wrap_stream(stream)).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let digest = hashing.join().expect("hashed");
    let answer = peer.client.put(format!("{place}?digest={digest}")).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::CREATED);
    let after_push = peak_memory(host.pid());

    let mut pull = peer.client.get(peer.url(&format!("/v2/large/blobs/{digest}"))).send().await.expect("an answer");
    assert_eq!(pull.content_length(), Some(layer.size()));
    let mut position = 0;
    while let Some(chunk) = pull.chunk().await.expect("a chunk") {
        layer.check(position, &chunk);
        position += chunk.len() as u64;
    }
    assert_eq!(position, layer.size());
    let peak = peak_memory(host.pid());
    eprintln!("peak of resident memory: {} MiB after the push, {} MiB in all", after_push / MIB, peak / MIB);
    assert!(peak < 100 * MIB, "{} MiB", peak / MIB);
    host.stop();
}

/// kill -9 while a layer comes: the next server knows how much is here, and the push goes on. What
/// was acknowledged is there; what had no session is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_goes_on_after_the_server_was_killed() {
    let host = Host::start(&[]);
    let peer = Peer::of(&host);
    let layer = Layer::of(24);
    let image = peer.image("app", "v1", b"a layer").await;
    let place = peer.begin("app").await;
    let first = layer.bytes(0..5 * MIB);
    let answer = peer.client.patch(&place).body(first).send().await.expect("an answer");
    assert_eq!(answer.headers()["range"], format!("0-{}", 5 * MIB - 1));
    // Two requests that never end: the next chunk, and a blob in one piece.
    let endless = |part: bytes::Bytes| {
        let pieces = futures::stream::once(async move { Ok::<_, std::io::Error>(part) });
        reqwest::Body::wrap_stream(futures::StreamExt::chain(pieces, futures::stream::pending()))
    };
    let chunk = peer.client.patch(&place).body(endless(layer.bytes(5 * MIB..13 * MIB))).send();
    let whole = peer.url(&format!("/v2/app/blobs/uploads/?digest={}", Digest::of(b"x")));
    let whole = peer.client.post(whole).body(endless(layer.bytes(0..MIB))).send();
    let uploads = host.data_dir().join("images/uploads");
    let dir = tokio::select! {
        _ = futures::future::join(chunk, whole) => unreachable!("the bodies have no end"),
        dir = async {
            eventually("the requests are under way", || async {
                peer.received(&place).await > 12 * MIB && count(&uploads) == 1
            })
            .await;
            host.kill()
        } => dir,
    };

    let host = Host::start_in(dir, &[]);
    let peer = Peer::of(&host);
    let place = peer.url(&place[place.find("/v2/").expect("a path")..]);
    let have = peer.received(&place).await;
    assert!((12 * MIB..=13 * MIB).contains(&have), "{have}");
    assert_eq!(count(&uploads), 0);
    let all = layer.bytes(0..24 * MIB);
    let answer = peer.client.patch(&place).header("content-range", format!("{have}-{}", all.len() - 1));
    let answer = answer.body(all.slice(have..)).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let digest = Digest::of(&all);
    let answer = peer.client.put(format!("{place}?digest={digest}")).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::CREATED);
    let back = peer.get(&format!("/v2/app/blobs/{digest}")).await.bytes().await.expect("a body");
    assert!(back == all, "other bytes came back");
    assert_eq!(peer.get("/v2/app/manifests/v1").await.bytes().await.expect("a body"), image);
    assert_eq!(count(&host.data_dir().join("images/sessions")), 0);
    host.stop();
}

/// A disk that is full: the refusal says so, nothing half-written stays, what was there is served, and
/// with room the next push succeeds. The disk is a small one in a mount namespace of the server's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_pushes_and_nothing_else() {
    if !containers_run_here() {
        return;
    }
    let dir = TempDir::with_prefix("updraft-it-").expect("a temporary directory");
    let disk = dir.path().join("data");
    std::fs::create_dir(&disk).expect("a directory");
    let mut serve = Command::new("unshare");
    let mount = format!("mount -t tmpfs -o size=64m tmpfs {} && exec \"$0\" \"$@\"", disk.display());
    serve.args(["--mount", "sh", "-c", &mount, UPDRAFT]);
    let host = Host::start_by(serve, dir, &[]);
    let disk =
        Path::new("/proc").join(host.pid().to_string()).join("root").join(disk.strip_prefix("/").expect("whole"));
    let peer = Peer::of(&host);
    let image = peer.image("app", "v1", b"a layer").await;
    let layer = Layer::of(100);
    let digest = Digest::of(b"never looked at");

    let place = peer.begin("app").await;
    refused_for_space(peer.client.patch(&place).body(layer.bytes(0..100 * MIB)).send().await).await;
    assert_eq!(peer.client.get(&place).send().await.expect("an answer").status(), StatusCode::NOT_FOUND);
    let whole = peer.url(&format!("/v2/app/blobs/uploads/?digest={digest}"));
    refused_for_space(peer.client.post(whole).body(layer.bytes(0..100 * MIB)).send().await).await;
    for dir in ["images/uploads", "images/sessions"] {
        assert_eq!(count(&disk.join(dir)), 0, "{dir}");
    }
    // There is room again, for what fits.
    peer.image("app", "v2", &layer.bytes(0..8 * MIB)).await;

    // Somebody else fills the disk to the last byte.
    let filler = disk.join("filler");
    let mut file = std::fs::File::create(&filler).expect("a file");
    while std::io::Write::write_all(&mut file, &layer.block).is_ok() {}
    while std::io::Write::write_all(&mut file, b"x").is_ok() {}
    refused_for_space(peer.client.post(peer.url("/v2/app/blobs/uploads/")).send().await).await;
    let manifest = peer.client.put(peer.url("/v2/app/manifests/v3")).body(image.clone());
    refused_for_space(manifest.send().await).await;
    let mount = peer.url(&format!("/v2/other/blobs/uploads/?mount={}&from=app", Digest::of(b"a layer")));
    let mounted = peer.client.post(mount).send().await.expect("an answer").status();
    assert!(mounted == StatusCode::CREATED || mounted == StatusCode::INSUFFICIENT_STORAGE, "{mounted}");
    assert_eq!(peer.get("/v2/app/manifests/v1").await.bytes().await.expect("a body"), image);
    let deleted = peer.client.delete(peer.url("/v2/app/manifests/v2")).send().await.expect("an answer");
    assert_eq!(deleted.status(), StatusCode::ACCEPTED, "room can be made");
    assert!(host.ok(&["images", "list"]).contains("localhost/app:v1"), "the API answers");

    std::fs::remove_file(&filler).expect("removed");
    drop(file);
    peer.image("app", "v3", b"another layer").await;
    host.ok(&["services", "list"]);
    host.stop();
}

async fn refused_for_space(answer: Result<Response, reqwest::Error>) {
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), StatusCode::INSUFFICIENT_STORAGE);
    let body: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!(body["errors"][0]["code"], "UNAVAILABLE");
    assert!(body["errors"][0]["message"].as_str().is_some_and(|said| said.contains("disk")), "{body}");
}

fn count(dir: &Path) -> usize {
    std::fs::read_dir(dir).expect("a directory").count()
}

/// The most memory that a process has had at once, in bytes.
fn peak_memory(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    peak.trim().trim_end_matches("kB").trim().parse::<usize>().expect("a number") << 10
}

// === impl Layer ===

impl Layer {
    fn of(blocks: usize) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let block = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        });
        Self { block: block.take(MIB).collect::<Vec<u8>>().into(), blocks }
    }

    fn size(&self) -> u64 {
        (self.blocks * MIB) as u64
    }

    /// The block with its number at its beginning.
    fn block(&self, n: usize) -> bytes::Bytes {
        let mut block = self.block.to_vec();
        block[..8].copy_from_slice(&(n as u64).to_le_bytes());
        block.into()
    }

    fn bytes(&self, range: std::ops::Range<usize>) -> bytes::Bytes {
        let blocks = range.start / MIB..range.end.div_ceil(MIB);
        let all: bytes::Bytes = blocks.clone().flat_map(|n| self.block(n)).collect::<Vec<u8>>().into();
        all.slice(range.start - blocks.start * MIB..range.end - blocks.start * MIB)
    }

    /// Is this what the layer has there?
    fn check(&self, position: u64, mut chunk: &[u8]) {
        let mut position = usize::try_from(position).expect("64 bits");
        while !chunk.is_empty() {
            let (n, offset) = (position / MIB, position % MIB);
            let length = chunk.len().min(MIB - offset);
            let number = (n as u64).to_le_bytes();
            let head = number.get(offset..(offset + length).min(8)).unwrap_or_default();
            assert!(chunk.starts_with(head), "block {n} is not where it belongs");
            assert!(chunk[head.len()..length] == self.block[offset + head.len()..offset + length], "block {n}");
            (chunk, position) = (&chunk[length..], position + length);
        }
    }
}

// === impl Peer ===

impl Peer {
    fn of(host: &Host) -> Self {
        Self { client: Client::new(), registry: format!("http://{}", host.registry) }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.registry)
    }

    async fn get(&self, path: &str) -> Response {
        let answer = self.client.get(self.url(path)).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer
    }

    /// Starts an upload; returns where it goes on.
    async fn begin(&self, repository: &str) -> String {
        let answer = self.client.post(self.url(&format!("/v2/{repository}/blobs/uploads/"))).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        self.url(answer.headers()["location"].to_str().expect("text"))
    }

    /// How many bytes of an upload the registry says it has.
    async fn received(&self, place: &str) -> usize {
        let answer = self.client.get(place).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        let range = answer.headers()["range"].to_str().expect("text");
        range.strip_prefix("0-").and_then(|end| end.parse::<usize>().ok()).expect("a range") + 1
    }

    /// Pushes an image of one layer; returns its manifest.
    async fn image(&self, repository: &str, tag: &str, layer: &[u8]) -> Vec<u8> {
        for blob in [b"{}".as_slice(), layer] {
            let path = format!("/v2/{repository}/blobs/uploads/?digest={}", Digest::of(blob));
            let answer = self.client.post(self.url(&path)).body(blob.to_vec()).send().await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::CREATED);
        }
        let describe = |kind: &str, blob: &[u8]| serde_json::json!({"mediaType": kind, "digest": Digest::of(blob), "size": blob.len()});
        let manifest = serde_json::json!({"schemaVersion": 2,
            "config": describe("application/vnd.oci.image.config.v1+json", b"{}"),
            "layers": [describe("application/vnd.oci.image.layer.v1.tar", layer)]});
        let put = self.client.put(self.url(&format!("/v2/{repository}/manifests/{tag}")));
        let answer = put.body(manifest.to_string()).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::CREATED);
        manifest.to_string().into_bytes()
    }
}
