//! A client that pushes, tags, deletes and pulls at the registry.

use reqwest::{Client, Method, StatusCode};
use serde_json::json;

use super::{
    Gone,
    chance::Chance,
    ledger::{Ledger, digest},
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const REPOSITORIES: [&str; 2] = ["pushed/a", "pushed/b"];
const TAGS: [&str; 3] = ["one", "two", "three"];

/// A registry, and the client's means.
#[derive(Debug)]
pub(super) struct Pusher<'a> {
    pub(super) client: &'a Client,
    pub(super) registry: &'a str,
    pub(super) ledger: &'a Ledger,
    pub(super) chance: Chance,
}

// === impl Pusher ===

impl Pusher<'_> {
    /// Works until the server is gone.
    pub(super) async fn work(&self) -> Gone {
        loop {
            let repository = REPOSITORIES[self.chance.below(REPOSITORIES.len())];
            let tag = TAGS[self.chance.below(TAGS.len())];
            let done = match self.chance.below(6) {
                0 => self.delete(repository, tag).await,
                1 => self.pull(repository, tag).await,
                _ => self.push(repository, tag).await,
            };
            if let Err(gone) = done {
                return gone;
            }
        }
    }

    async fn push(&self, repository: &str, tag: &str) -> Result<(), Gone> {
        let size = if self.chance.one_in(4) { 2 << 20 } else { 1 + self.chance.below(64 << 10) };
        let layer = self.chance.bytes(size);
        let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
            "author": self.chance.next().to_string()});
        let config = config.to_string().into_bytes();
        self.blob(repository, &config).await?;
        self.blob(repository, &layer).await?;
        let described =
            |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described("application/vnd.oci.image.config.v1+json", &config),
            "layers": [described("application/vnd.oci.image.layer.v1.tar", &layer)],
        });
        let manifest = manifest.to_string().into_bytes();
        let name = format!("{repository}:{tag}");
        self.ledger.begin_tag(&name, Some(digest(&manifest)));
        let request = self.client.put(self.url(&format!("{repository}/manifests/{tag}")));
        let answer = request.header("content-type", MANIFEST).body(manifest.clone()).send().await?;
        assert_eq!(answer.status(), StatusCode::CREATED, "{}", answer.text().await?);
        self.ledger.end_tag(&name);
        self.ledger.blob(repository, &digest(&manifest));
        Ok(())
    }

    /// In one request, or in pieces.
    async fn blob(&self, repository: &str, bytes: &[u8]) -> Result<(), Gone> {
        let begun = self.client.post(self.url(&format!("{repository}/blobs/uploads/"))).send().await?;
        assert_eq!(begun.status(), StatusCode::ACCEPTED, "{}", begun.text().await?);
        let mut place = self.location(&begun);
        let mut rest = bytes;
        let pieces = 1 + self.chance.below(4);
        while pieces > 1 && rest.len() > bytes.len() / pieces {
            let (piece, left) = rest.split_at(bytes.len() / pieces);
            let sent = self.client.patch(&place).header("content-type", "application/octet-stream");
            let sent = sent.body(piece.to_vec()).send().await?;
            assert_eq!(sent.status(), StatusCode::ACCEPTED, "{}", sent.text().await?);
            place = self.location(&sent);
            rest = left;
        }
        let joint = if place.contains('?') { '&' } else { '?' };
        let put = self.client.put(format!("{place}{joint}digest={}", digest(bytes))).body(rest.to_vec()).send().await?;
        assert_eq!(put.status(), StatusCode::CREATED, "{}", put.text().await?);
        self.ledger.blob(repository, &digest(bytes));
        Ok(())
    }

    async fn delete(&self, repository: &str, tag: &str) -> Result<(), Gone> {
        let name = format!("{repository}:{tag}");
        self.ledger.begin_tag(&name, None);
        let url = self.url(&format!("{repository}/manifests/{tag}"));
        let answer = self.client.request(Method::DELETE, url).send().await?;
        let status = answer.status();
        assert!(matches!(status, StatusCode::ACCEPTED | StatusCode::NOT_FOUND), "{status} {}", answer.text().await?);
        self.ledger.end_tag(&name);
        Ok(())
    }

    async fn pull(&self, repository: &str, tag: &str) -> Result<(), Gone> {
        let found = tagged(self.client, self.registry, (repository, tag)).await?;
        let name = format!("{repository}:{tag}");
        let thing = self.ledger.tags().remove(&name).unwrap_or_default();
        assert!(thing.may_be(&found), "{name} is {found:?}, not as in {thing:?}");
        Ok(())
    }

    fn location(&self, answer: &reqwest::Response) -> String {
        let place = answer.headers()["location"].to_str().expect("ASCII");
        if place.starts_with("http") { place.to_owned() } else { format!("http://{}{place}", self.registry) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/v2/{path}", self.registry)
    }
}

/// The digest of what a tag leads to, pulled bit for bit with everything it needs; `None` when there is no such tag.
pub(super) async fn tagged(
    client: &Client,
    registry: &str,
    (repository, tag): (&str, &str),
) -> Result<Option<String>, Gone> {
    let url = format!("http://{registry}/v2/{repository}/manifests/{tag}");
    let answer = client.get(url).header("accept", MANIFEST).send().await?;
    if answer.status() == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    assert_eq!(answer.status(), StatusCode::OK, "{repository}:{tag}");
    let bytes = answer.bytes().await?;
    let manifest: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    let layers = manifest["layers"].as_array().expect("layers");
    for blob in layers.iter().chain([&manifest["config"]]) {
        pulled(client, registry, (repository, blob["digest"].as_str().expect("a digest"))).await?;
    }
    Ok(Some(digest(&bytes)))
}

/// Pulls content by its digest, which must be there bit for bit.
pub(super) async fn pulled(client: &Client, registry: &str, (repository, name): (&str, &str)) -> Result<(), Gone> {
    for kind in ["blobs", "manifests"] {
        let answer = client.get(format!("http://{registry}/v2/{repository}/{kind}/{name}")).send().await?;
        if answer.status() == StatusCode::OK {
            assert_eq!(digest(&answer.bytes().await?), name, "{repository}: damaged");
            return Ok(());
        }
    }
    panic!("{repository} acknowledged {name} and has it no more");
}
