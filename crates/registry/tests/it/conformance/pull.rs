//! Section "Pull".

use http::{Method, StatusCode};
use updraft_oci::{Digest, media_type};

use super::{Peer, digest_of, refusal};

const HELLO: &[u8] = b"hello, layer";

/// Determining Support (end-1).
#[tokio::test]
async fn support_is_shown_at_the_root() {
    let peer = Peer::start().await;
    for path in ["/v2/", "/v2"] {
        assert_eq!(peer.get(path).await.status, StatusCode::OK, "{path}");
        assert_eq!(peer.head(path).await.status, StatusCode::OK, "{path}");
    }
    peer.world.stop().await;
}

/// Pulling manifests (end-3): by tag and by digest, byte for byte, with type and digest.
#[tokio::test]
async fn a_manifest_comes_back_byte_for_byte() {
    let peer = Peer::start().await;
    let manifest = peer.image("team/app", "v1", "one").await;
    let digest = digest_of(&manifest);
    for reference in ["v1", &digest] {
        let answer = peer.get(&format!("/v2/team/app/manifests/{reference}")).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("content-type"), media_type::OCI_MANIFEST, "without parameters");
        assert_eq!(answer.header("docker-content-digest"), digest);
        assert_eq!(answer.body, manifest.to_string().as_bytes());
    }
    peer.world.stop().await;
}

/// Pulling manifests (end-3): what is not there is 404, in a repository and without one; a reference
/// that is neither tag nor digest names nothing.
#[tokio::test]
async fn a_manifest_that_is_not_there_is_not_found() {
    let peer = Peer::start().await;
    peer.image("app", "v1", "one").await;
    let absent = Digest::of(b"absent");
    for (path, code) in [
        ("/v2/app/manifests/v2".to_owned(), "MANIFEST_UNKNOWN"),
        (format!("/v2/app/manifests/{absent}"), "MANIFEST_UNKNOWN"),
        ("/v2/app/manifests/.INVALID".to_owned(), "MANIFEST_UNKNOWN"),
        (format!("/v2/app/manifests/{}", "x".repeat(129)), "MANIFEST_UNKNOWN"),
        ("/v2/none/manifests/v1".to_owned(), "NAME_UNKNOWN"),
        (format!("/v2/none/manifests/{absent}"), "NAME_UNKNOWN"),
    ] {
        assert_eq!(peer.get(&path).await.refusal(), refusal(404, code), "{path}");
        assert_eq!(peer.head(&path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    peer.world.stop().await;
}

/// Pulling blobs (end-2): the whole, with its digest; from another repository it is 404.
#[tokio::test]
async fn a_blob_is_pulled_from_the_repository_that_holds_it() {
    let peer = Peer::start().await;
    peer.blob("app", "", HELLO).await;
    let digest = Digest::of(HELLO);
    let answer = peer.get(&format!("/v2/app/blobs/{digest}")).await;
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, HELLO));
    assert_eq!(answer.header("docker-content-digest"), digest.as_str());
    let elsewhere = format!("/v2/other/blobs/{digest}");
    assert_eq!(peer.get(&elsewhere).await.refusal(), refusal(404, "BLOB_UNKNOWN"));
    assert_eq!(peer.head(&elsewhere).await.status, StatusCode::NOT_FOUND);
    peer.world.stop().await;
}

/// Pulling blobs: `Range` as in RFC 9110, section 14.
#[tokio::test]
async fn a_blob_is_pulled_in_parts() {
    let peer = Peer::start().await;
    let bytes: Vec<u8> = (0..4000u32).map(|n| (n % 251) as u8).collect();
    peer.blob("app", "", &bytes).await;
    let path = format!("/v2/app/blobs/{}", Digest::of(&bytes));
    for (range, part, said) in [
        ("bytes=500-1499", 500..1500, "bytes 500-1499/4000"),
        ("bytes=500-", 500..4000, "bytes 500-3999/4000"),
        ("bytes=-500", 3500..4000, "bytes 3500-3999/4000"),
        ("bytes=-5000", 0..4000, "bytes 0-3999/4000"),
        ("bytes=2000-5000", 2000..4000, "bytes 2000-3999/4000"),
        ("bytes=0-0", 0..1, "bytes 0-0/4000"),
    ] {
        let answer = peer.ask(Method::GET, &path, &[("range", range)], "").await;
        assert_eq!((answer.status, answer.header("content-range")), (StatusCode::PARTIAL_CONTENT, said), "{range}");
        assert_eq!(answer.header("content-length"), part.len().to_string(), "{range}");
        assert_eq!(answer.body, bytes[part], "{range}");
    }
    for range in ["bytes=4000-", "bytes=5000-10000", "bytes=-0"] {
        let answer = peer.ask(Method::GET, &path, &[("range", range)], "").await;
        assert_eq!((answer.status.as_u16(), answer.header("content-range")), (416, "bytes */4000"), "{range}");
    }
    // What is no range, or several, gets the whole.
    for range in ["bytes=500-0", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b", "bytes"] {
        let answer = peer.ask(Method::GET, &path, &[("range", range)], "").await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 4000), "{range}");
    }
    // An interrupted download goes on if the content is the same (If-Range), which its digest says.
    let etag = peer.head(&path).await.header("etag").to_owned();
    for (version, length) in [(etag.as_str(), 100), ("\"something else\"", 4000)] {
        let answer = peer.ask(Method::GET, &path, &[("range", "bytes=-100"), ("if-range", version)], "").await;
        assert_eq!(answer.body.len(), length, "{version}");
    }
    peer.world.stop().await;
}

/// Checking if content exists in the registry (end-2, end-3): 200 with digest and size.
#[tokio::test]
async fn a_head_tells_digest_and_size() {
    let peer = Peer::start().await;
    let manifest = peer.image("app", "v1", "one").await;
    let (digest, text) = (digest_of(&manifest), manifest.to_string());
    for (path, digest, size) in [
        ("/v2/app/manifests/v1".to_owned(), digest.clone(), text.len()),
        (format!("/v2/app/manifests/{digest}"), digest, text.len()),
        (format!("/v2/app/blobs/{}", Digest::of(b"one")), Digest::of(b"one").to_string(), 3),
    ] {
        let answer = peer.head(&path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.header("docker-content-digest"), digest, "{path}");
        assert_eq!(answer.header("content-length"), size.to_string(), "{path}");
        assert!(answer.body.is_empty(), "{path}");
    }
    peer.world.stop().await;
}

/// Pulling manifests: what Docker's types push comes back as what it was.
#[tokio::test]
async fn docker_types_are_kept() {
    let peer = Peer::start().await;
    let config = peer.blob("app", "application/vnd.docker.container.image.v1+json", b"{}").await;
    let layer = peer.blob("app", "application/vnd.docker.image.rootfs.diff.tar.gzip", b"layer").await;
    let mut image = super::manifest(&config, &[layer]);
    image["mediaType"] = media_type::DOCKER_MANIFEST.into();
    assert_eq!(peer.put_manifest("app", "v1", &image).await.status, StatusCode::CREATED);
    let list = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::DOCKER_LIST,
        "manifests": [super::descriptor(&image)]});
    assert_eq!(peer.put_manifest("app", "all", &list).await.status, StatusCode::CREATED);
    for (tag, kind) in [("v1", media_type::DOCKER_MANIFEST), ("all", media_type::DOCKER_LIST)] {
        assert_eq!(peer.get(&format!("/v2/app/manifests/{tag}")).await.header("content-type"), kind);
    }
    peer.world.stop().await;
}
