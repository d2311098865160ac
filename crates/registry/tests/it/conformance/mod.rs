//! The OCI distribution specification 1.1, case by case. Every test names the section it is about;
//! `end-N` is the number of the endpoint in the section "Endpoints".

mod discovery;
mod errors;
mod management;
mod pull;
mod push;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use updraft_oci::{Digest, media_type};

use crate::world::World;

/// A registry and somebody who talks to it by hand.
pub(crate) struct Peer {
    pub(crate) world: World,
    /// One permit for each answer, for whoever keeps pace with those who ask.
    pub(crate) answers: Semaphore,
    client: Client,
}

/// What the registry said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) const NO_HEADERS: [(&str, &str); 0] = [];

// === impl Peer ===

impl Peer {
    pub(crate) async fn start() -> Self {
        Self::of(World::start().await)
    }

    pub(crate) fn of(world: World) -> Self {
        Self { world, answers: Semaphore::new(0), client: Client::new() }
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let mut request = self.client.request(method, self.world.url(path)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.expect("a body");
        self.answers.add_permits(1);
        Answer { status, headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &NO_HEADERS, "").await
    }

    pub(crate) async fn head(&self, path: &str) -> Answer {
        self.ask(Method::HEAD, path, &NO_HEADERS, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.ask(Method::POST, path, &[("content-type", "application/octet-stream")], body).await
    }

    pub(crate) async fn put(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.ask(Method::PUT, path, &[("content-type", "application/octet-stream")], body).await
    }

    pub(crate) async fn patch(&self, path: &str, range: &str, body: impl Into<reqwest::Body>) -> Answer {
        let headers = [("content-type", "application/octet-stream"), ("content-range", range)];
        self.ask(Method::PATCH, path, &headers, body).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, &NO_HEADERS, "").await
    }

    /// Starts an upload; returns where it goes on.
    pub(crate) async fn begin(&self, repository: &str) -> String {
        let answer = self.post(&format!("/v2/{repository}/blobs/uploads/"), "").await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        answer.header("location").to_owned()
    }

    /// Pushes a blob and describes it.
    pub(crate) async fn blob(&self, repository: &str, kind: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        assert_eq!(self.post(&path, bytes.to_vec()).await.status, StatusCode::CREATED);
        json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
    }

    pub(crate) async fn put_manifest(&self, repository: &str, reference: &str, manifest: &Value) -> Answer {
        let kind = manifest["mediaType"].as_str().unwrap_or(media_type::OCI_MANIFEST);
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.ask(Method::PUT, &path, &[("content-type", kind)], manifest.to_string()).await
    }

    /// Pushes an image of one layer that holds `text`; returns its manifest.
    pub(crate) async fn image(&self, repository: &str, tag: &str, text: &str) -> Value {
        let config = self.blob(repository, "application/vnd.oci.image.config.v1+json", b"{}").await;
        let layer = self.blob(repository, "application/vnd.oci.image.layer.v1.tar", text.as_bytes()).await;
        let manifest = manifest(&config, &[layer]);
        assert_eq!(self.put_manifest(repository, tag, &manifest).await.status, StatusCode::CREATED);
        manifest
    }
}

// === impl Answer ===

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers));
        value.to_str().expect("text")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Status and error code, of a body in the form of the section "Error Codes".
    pub(crate) fn refusal(&self) -> (u16, String) {
        let body = self.json();
        let error = &body["errors"][0];
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
        (self.status.as_u16(), error["code"].as_str().expect("a code").to_owned())
    }
}

pub(crate) fn manifest(config: &Value, layers: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": layers})
}

pub(crate) fn descriptor(manifest: &Value) -> Value {
    let text = manifest.to_string();
    json!({"mediaType": manifest["mediaType"], "digest": Digest::of(text.as_bytes()), "size": text.len()})
}

pub(crate) fn digest_of(manifest: &Value) -> String {
    Digest::of(manifest.to_string().as_bytes()).to_string()
}

fn refusal(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}
