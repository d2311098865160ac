//! Section "Content Management".

use http::StatusCode;
use serde_json::json;
use updraft_oci::Digest;

use super::{Peer, digest_of, refusal};

/// Deleting tags (end-9): the tag goes, the manifest and other tags stay.
#[tokio::test]
async fn a_tag_is_deleted_alone() {
    let peer = Peer::start().await;
    let image = peer.image("app", "v1", "one").await;
    peer.put_manifest("app", "v2", &image).await;
    assert_eq!(peer.delete("/v2/app/manifests/v1").await.status, StatusCode::ACCEPTED);
    assert_eq!(peer.get("/v2/app/manifests/v1").await.refusal(), refusal(404, "MANIFEST_UNKNOWN"));
    assert_eq!(peer.get("/v2/app/tags/list").await.json()["tags"], json!(["v2"]));
    let path = format!("/v2/app/manifests/{}", digest_of(&image));
    assert_eq!(peer.get(&path).await.status, StatusCode::OK);
    assert_eq!(peer.delete("/v2/app/manifests/v1").await.refusal(), refusal(404, "MANIFEST_UNKNOWN"));
    assert_eq!(peer.delete("/v2/none/manifests/v1").await.refusal(), refusal(404, "NAME_UNKNOWN"));
    peer.world.stop().await;
}

/// Deleting Manifests (end-9): it and every tag that points to it are 404 afterwards.
#[tokio::test]
async fn a_manifest_is_deleted_with_its_tags() {
    let peer = Peer::start().await;
    let image = peer.image("app", "v1", "one").await;
    peer.put_manifest("app", "also", &image).await;
    peer.image("app", "other", "two").await;
    let path = format!("/v2/app/manifests/{}", digest_of(&image));
    assert_eq!(peer.delete(&path).await.status, StatusCode::ACCEPTED);
    for path in [path.as_str(), "/v2/app/manifests/v1", "/v2/app/manifests/also"] {
        assert_eq!(peer.get(path).await.refusal(), refusal(404, "MANIFEST_UNKNOWN"), "{path}");
    }
    assert_eq!(peer.get("/v2/app/tags/list").await.json()["tags"], json!(["other"]));
    assert_eq!(peer.delete(&path).await.refusal(), refusal(404, "MANIFEST_UNKNOWN"));
    let nowhere = format!("/v2/none/manifests/{}", digest_of(&image));
    assert_eq!(peer.delete(&nowhere).await.refusal(), refusal(404, "NAME_UNKNOWN"));
    // With the last tag gone the repository is still one.
    peer.delete("/v2/app/manifests/other").await;
    let listed = peer.get("/v2/app/tags/list").await;
    assert_eq!((listed.status, &listed.json()["tags"]), (StatusCode::OK, &json!([])));
    peer.world.stop().await;
}

/// Deleting Manifests: a referrer that is deleted is no longer listed, its subject stays.
#[tokio::test]
async fn a_deleted_referrer_is_listed_no_more() {
    let peer = Peer::start().await;
    let image = peer.image("app", "v1", "one").await;
    let gone = peer.referrer(&image, Some("a/b"), &json!({})).await;
    let stays = peer.referrer(&image, Some("c/d"), &json!({})).await;
    let delete = peer.delete(&format!("/v2/app/manifests/{}", digest_of(&gone))).await;
    assert_eq!(delete.status, StatusCode::ACCEPTED);
    let path = format!("/v2/app/referrers/{}", digest_of(&image));
    let list = peer.get(&path).await.json();
    assert_eq!(list["manifests"].as_array().map(Vec::len), Some(1));
    assert_eq!(list["manifests"][0]["digest"], digest_of(&stays));
    // The subject goes, what refers to it stays: it is the client's to delete.
    peer.delete(&format!("/v2/app/manifests/{}", digest_of(&image))).await;
    assert_eq!(peer.get(&path).await.json()["manifests"][0]["digest"], digest_of(&stays));
    peer.world.stop().await;
}

/// Deleting Blobs (end-10): gone from this repository, not from others.
#[tokio::test]
async fn a_blob_is_deleted_from_its_repository() {
    let peer = Peer::start().await;
    for repository in ["a", "b"] {
        peer.blob(repository, "", b"bytes").await;
    }
    let digest = Digest::of(b"bytes");
    let path = format!("/v2/a/blobs/{digest}");
    assert_eq!(peer.delete(&path).await.status, StatusCode::ACCEPTED);
    assert_eq!(peer.get(&path).await.refusal(), refusal(404, "BLOB_UNKNOWN"));
    assert_eq!(peer.head(&path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(peer.delete(&path).await.refusal(), refusal(404, "BLOB_UNKNOWN"));
    assert_eq!(peer.get(&format!("/v2/b/blobs/{digest}")).await.body, "bytes");
    let absent = format!("/v2/a/blobs/{}", Digest::of(b"absent"));
    assert_eq!(peer.delete(&absent).await.refusal(), refusal(404, "BLOB_UNKNOWN"));
    peer.blob("a", "", b"bytes").await;
    assert_eq!(peer.get(&path).await.body, "bytes", "it can be pushed again");
    peer.world.stop().await;
}
