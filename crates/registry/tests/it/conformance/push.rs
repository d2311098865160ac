//! Section "Push".

use http::{Method, StatusCode};
use serde_json::json;
use updraft_oci::{Digest, MAX_MANIFEST, media_type};

use super::{Peer, descriptor, digest_of, manifest, refusal};

const A: &[u8] = b"the first part, ";
const B: &[u8] = b"and the second";

fn whole() -> Vec<u8> {
    [A, B].concat()
}

/// Pushing a blob monolithically, POST then PUT (end-4a, end-6).
#[tokio::test]
async fn a_blob_is_pushed_by_post_then_put() {
    let peer = Peer::start().await;
    let place = peer.begin("app").await;
    let id = place.rsplit('/').next().expect("an id");
    assert_eq!(uuid_groups(id), [8, 4, 4, 4, 12], "the place has a UUID: {place}");
    let digest = Digest::of(A);
    let done = peer.put(&format!("{place}?digest={digest}"), A).await;
    assert_eq!(done.status, StatusCode::CREATED);
    assert_eq!(peer.get(done.header("location")).await.body, A);
    peer.world.stop().await;
}

/// Single POST (end-4b).
#[tokio::test]
async fn a_blob_is_pushed_by_a_single_post() {
    let peer = Peer::start().await;
    for bytes in [A, b""] {
        let path = format!("/v2/app/blobs/uploads/?digest={}", Digest::of(bytes));
        let done = peer.post(&path, bytes).await;
        assert_eq!(done.status, StatusCode::CREATED);
        assert_eq!(done.header("docker-content-digest"), Digest::of(bytes).as_str());
        assert_eq!(peer.get(done.header("location")).await.body, bytes);
    }
    peer.world.stop().await;
}

/// Pushing a blob in chunks (end-4a, end-5, end-6): the last chunk by PATCH, or in the closing PUT.
#[tokio::test]
async fn a_blob_is_pushed_in_chunks() {
    let peer = Peer::start().await;
    for last_in_put in [false, true] {
        let place = peer.begin("app").await;
        let first = peer.patch(&place, &format!("0-{}", A.len() - 1), A).await;
        assert_eq!(first.status, StatusCode::ACCEPTED);
        assert_eq!(first.header("range"), format!("0-{}", A.len() - 1));
        let place = first.header("location").to_owned();
        let range = format!("{}-{}", A.len(), A.len() + B.len() - 1);
        let close = format!("{place}?digest={}", Digest::of(&whole()));
        let done = if last_in_put {
            peer.ask(Method::PUT, &close, &[("content-range", &range)], B).await
        } else {
            let second = peer.patch(&place, &range, B).await;
            assert_eq!(second.header("range"), format!("0-{}", A.len() + B.len() - 1));
            peer.put(&close, "").await
        };
        assert_eq!(done.status, StatusCode::CREATED);
        assert_eq!(peer.get(done.header("location")).await.body, whole());
    }
    peer.world.stop().await;
}

/// Pushing a blob in chunks: a stream without ranges and without a length.
#[tokio::test]
async fn a_blob_is_pushed_as_a_stream() {
    let peer = Peer::start().await;
    let place = peer.begin("app").await;
    let pieces = futures::stream::iter([A, B].map(Ok::<_, std::io::Error>));
    let sent = peer.ask(Method::PATCH, &place, &super::NO_HEADERS, reqwest::Body::wrap_stream(pieces)).await;
    assert_eq!((sent.status, sent.header("range")), (StatusCode::ACCEPTED, "0-29"));
    let done = peer.put(&format!("{place}?digest={}", Digest::of(&whole())), "").await;
    assert_eq!(done.status, StatusCode::CREATED);
    peer.world.stop().await;
}

/// Pushing a blob in chunks: out of order, or the same again, is 416; GET (end-13) says where to go on.
#[tokio::test]
async fn a_chunk_out_of_order_is_refused_and_the_upload_goes_on() {
    let peer = Peer::start().await;
    let place = peer.begin("app").await;
    let second = format!("{}-{}", A.len(), A.len() + B.len() - 1);
    let early = peer.patch(&place, &second, B).await;
    assert_eq!(early.refusal(), refusal(416, "BLOB_UPLOAD_INVALID"));
    let first = format!("0-{}", A.len() - 1);
    assert_eq!(peer.patch(&place, &first, A).await.status, StatusCode::ACCEPTED);
    assert_eq!(peer.patch(&place, &first, A).await.status.as_u16(), 416, "the same again");
    let status = peer.get(&place).await;
    assert_eq!((status.status, status.header("range")), (StatusCode::NO_CONTENT, first.as_str()));
    let place = status.header("location").to_owned();
    // The closing PUT is held to the same.
    let close = format!("{place}?digest={}", Digest::of(&whole()));
    let wrong = peer.ask(Method::PUT, &close, &[("content-range", "99-112")], B).await;
    assert_eq!(wrong.status.as_u16(), 416);
    let done = peer.ask(Method::PUT, &close, &[("content-range", &second)], B).await;
    assert_eq!(done.status, StatusCode::CREATED);
    assert_eq!(peer.get(done.header("location")).await.body, whole());
    peer.world.stop().await;
}

/// Pushing a blob in chunks: a range that its chunk does not fill, or overflows.
#[tokio::test]
async fn a_chunk_is_as_long_as_its_range() {
    let peer = Peer::start().await;
    let place = peer.begin("app").await;
    assert_eq!(peer.patch(&place, "0-99", A).await.refusal(), refusal(400, "SIZE_INVALID"));
    assert_eq!(peer.get(&place).await.header("range"), "0-0", "nothing was taken in");
    // Without a length it is known only when it is over: what is of the range stays.
    let stream = || reqwest::Body::wrap_stream(futures::stream::iter([Ok::<_, std::io::Error>(A)]));
    assert_eq!(peer.patch(&place, "0-3", stream()).await.refusal(), refusal(400, "SIZE_INVALID"));
    assert_eq!(peer.get(&place).await.header("range"), "0-3");
    for range in ["", "4", "x-y", "9-4", "4-18446744073709551615", "-4"] {
        let answer = peer.patch(&place, range, A).await;
        assert_eq!(answer.refusal(), refusal(400, "BLOB_UPLOAD_INVALID"), "{range}");
    }
    let done = peer.put(&format!("{place}?digest={}", Digest::of(A)), &A[4..]).await;
    assert_eq!(done.status, StatusCode::CREATED);
    peer.world.stop().await;
}

/// Pushing blobs: a digest that is malformed, of an unknown algorithm, or not that of the content.
#[tokio::test]
async fn a_wrong_digest_is_refused_and_nothing_is_kept() {
    let peer = Peer::start().await;
    let other = Digest::of(b"other").to_string();
    for digest in ["", "sha256", "sha256:", "sha256:xyz", "sha512:00", "md5:d41d8cd98f00b204e9800998ecf8427e", &other] {
        let single = format!("/v2/app/blobs/uploads/?digest={digest}");
        assert_eq!(peer.post(&single, A).await.refusal(), refusal(400, "DIGEST_INVALID"), "{digest}");
        let close = format!("{}?digest={digest}", peer.begin("app").await);
        assert_eq!(peer.put(&close, A).await.refusal(), refusal(400, "DIGEST_INVALID"), "{digest}");
        let mount = format!("/v2/app/blobs/uploads/?mount={digest}&from=b");
        if digest != other {
            assert_eq!(peer.post(&mount, "").await.refusal(), refusal(400, "DIGEST_INVALID"), "{digest}");
        }
    }
    let without = peer.put(&peer.begin("app").await, A).await;
    assert_eq!(without.refusal(), refusal(400, "DIGEST_INVALID"));
    let algorithm = peer.post("/v2/app/blobs/uploads/?digest-algorithm=sha512", "").await;
    assert_eq!(algorithm.refusal(), refusal(400, "DIGEST_INVALID"));
    assert_eq!(peer.get(&format!("/v2/app/blobs/{}", Digest::of(A))).await.status, StatusCode::NOT_FOUND);
    peer.world.stop().await;
}

/// Cancel a blob upload (end-14).
#[tokio::test]
async fn a_cancelled_upload_is_gone() {
    let peer = Peer::start().await;
    let place = peer.begin("app").await;
    peer.patch(&place, &format!("0-{}", A.len() - 1), A).await;
    // An id is of no use in another repository.
    let elsewhere = place.replace("/v2/app/", "/v2/other/");
    assert_eq!(peer.delete(&elsewhere).await.refusal(), refusal(404, "BLOB_UPLOAD_UNKNOWN"));
    assert_eq!(peer.delete(&place).await.status, StatusCode::NO_CONTENT);
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        let answer = peer.ask(method, &place, &super::NO_HEADERS, "").await;
        assert_eq!(answer.refusal(), refusal(404, "BLOB_UPLOAD_UNKNOWN"));
    }
    let close = peer.put(&format!("{place}?digest={}", Digest::of(A)), A).await;
    assert_eq!(close.refusal(), refusal(404, "BLOB_UPLOAD_UNKNOWN"));
    let left = std::fs::read_dir(peer.world.dir.path().join("images/sessions")).expect("sessions").count();
    assert_eq!(left, 0);
    peer.world.stop().await;
}

/// Mounting a blob from another repository (end-11): with `from`, without, and when it cannot be.
#[tokio::test]
async fn a_blob_is_mounted_or_an_upload_begins() {
    let peer = Peer::start().await;
    peer.blob("a", "", A).await;
    let digest = Digest::of(A);
    for (repository, query) in [("b", "&from=a"), ("c", ""), ("d", "&from=b")] {
        let mounted = peer.post(&format!("/v2/{repository}/blobs/uploads/?mount={digest}{query}"), "").await;
        assert_eq!(mounted.status, StatusCode::CREATED, "{repository}");
        assert_eq!(mounted.header("location"), format!("/v2/{repository}/blobs/{digest}"));
        assert_eq!(peer.get(mounted.header("location")).await.body, A);
    }
    let absent = Digest::of(b"absent");
    for query in [format!("{absent}&from=a"), absent.to_string(), format!("{digest}&from=none")] {
        let begun = peer.post(&format!("/v2/e/blobs/uploads/?mount={query}"), "").await;
        assert_eq!(begun.status, StatusCode::ACCEPTED, "{query}");
        let done = peer.put(&format!("{}?digest={}", begun.header("location"), Digest::of(B)), B).await;
        assert_eq!(done.status, StatusCode::CREATED, "the upload that began can be used");
    }
    let nonsense = peer.post(&format!("/v2/e/blobs/uploads/?mount={digest}&from=../a"), "").await;
    assert_eq!(nonsense.refusal(), refusal(400, "NAME_INVALID"));
    peer.world.stop().await;
}

/// Pushing Manifests (end-7a): by tag and by digest, with layers and without, and whatever fields there are.
#[tokio::test]
async fn a_manifest_is_pushed_and_can_be_pulled_from_its_location() {
    let peer = Peer::start().await;
    let config = peer.blob("app", "application/vnd.example.config", b"{}").await;
    let layer = peer.blob("app", "application/vnd.example.data", A).await;
    let mut with_more = manifest(&config, std::slice::from_ref(&layer));
    with_more["org.example.field"] = json!({"deep": [1, 2, 3]});
    with_more["annotations"] = json!({"org.example": "value"});
    let mut without_type = manifest(&config, &[]);
    without_type.as_object_mut().expect("an object").remove("mediaType");
    let cases = [manifest(&config, &[layer]), manifest(&config, &[]), with_more, without_type];
    for case in &cases {
        let digest = digest_of(case);
        for reference in ["v1", &digest] {
            let pushed = peer.put_manifest("app", reference, case).await;
            assert_eq!(pushed.status, StatusCode::CREATED, "{case}");
            assert_eq!(pushed.header("docker-content-digest"), digest);
            assert!(!pushed.headers.contains_key("oci-subject"));
            assert_eq!(peer.get(pushed.header("location")).await.body, case.to_string().as_bytes());
        }
    }
    peer.world.stop().await;
}

/// Pushing Manifests: indexes, nested and empty; parameters of the content type are ignored.
#[tokio::test]
async fn an_index_is_pushed() {
    let peer = Peer::start().await;
    let image = peer.image("app", "v1", "one").await;
    let index = |entries: &[serde_json::Value]| json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries});
    let inner = index(&[descriptor(&image)]);
    for case in [index(&[]), inner.clone(), index(&[descriptor(&inner), descriptor(&image)])] {
        let kind = format!("{}; charset=utf-8", media_type::OCI_INDEX);
        let pushed = peer.ask(Method::PUT, "/v2/app/manifests/all", &[("content-type", &kind)], case.to_string()).await;
        assert_eq!(pushed.status, StatusCode::CREATED, "{case}");
        let back = peer.get("/v2/app/manifests/all").await;
        assert_eq!((back.header("content-type"), &*back.body), (media_type::OCI_INDEX, case.to_string().as_bytes()));
    }
    peer.world.stop().await;
}

/// Pushing Manifests with tag parameters (end-7b, of the specification after 1.1).
#[tokio::test]
async fn a_push_by_digest_sets_many_tags() {
    let peer = Peer::start().await;
    let manifest = peer.image("app", "v0", "one").await;
    let digest = digest_of(&manifest);
    let pushed = peer.put_manifest("app", &format!("{digest}?tag=1.2.3&tag=1.2&tag=latest"), &manifest).await;
    assert_eq!(pushed.status, StatusCode::CREATED);
    let set: Vec<_> = pushed.headers.get_all("oci-tag").iter().collect();
    assert_eq!(set, ["1.2.3", "1.2", "latest"]);
    assert_eq!(peer.get("/v2/app/manifests/1.2").await.header("docker-content-digest"), digest);
    let bad = peer.put_manifest("app", &format!("{digest}?tag=good&tag=.bad"), &manifest).await;
    assert_eq!(bad.refusal(), refusal(400, "TAG_INVALID"));
    assert_eq!(peer.get("/v2/app/manifests/good").await.status, StatusCode::NOT_FOUND, "all or none");
    let many = format!("{digest}?{}", (0..40).map(|n| format!("tag=t{n}")).collect::<Vec<_>>().join("&"));
    assert_eq!(peer.put_manifest("app", &many, &manifest).await.status, StatusCode::URI_TOO_LONG);
    let both = peer.put_manifest("app", "v1?tag=v2", &manifest).await;
    assert_eq!(both.refusal(), refusal(400, "UNSUPPORTED"));
    peer.world.stop().await;
}

/// Pushing Manifests: 4 megabytes are taken, more is 413.
#[tokio::test]
async fn a_manifest_may_have_four_megabytes() {
    let peer = Peer::start().await;
    let config = peer.blob("app", "application/vnd.example.config", b"{}").await;
    let sized = |size: usize| {
        let mut case = manifest(&config, &[]);
        case["annotations"] = json!({"a": ""});
        let room = size - case.to_string().len();
        case["annotations"]["a"] = "x".repeat(room).into();
        case
    };
    let largest = sized(MAX_MANIFEST);
    assert_eq!(peer.put_manifest("app", "large", &largest).await.status, StatusCode::CREATED);
    assert_eq!(peer.get("/v2/app/manifests/large").await.body.len(), 4 << 20);
    let larger = peer.put_manifest("app", "larger", &sized(MAX_MANIFEST + 1)).await;
    assert_eq!(larger.refusal(), refusal(413, "MANIFEST_INVALID"));
    peer.world.stop().await;
}

/// Push: a manifest whose blobs or manifests are not in the repository, or are of another size.
#[tokio::test]
async fn a_manifest_needs_what_it_refers_to() {
    let peer = Peer::start().await;
    let image = peer.image("elsewhere", "v1", "one").await;
    let unknown = refusal(404, "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(peer.put_manifest("app", "v1", &image).await.refusal(), unknown);
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [descriptor(&image)]});
    assert_eq!(peer.put_manifest("app", "all", &index).await.refusal(), unknown);
    let config = peer.blob("app", "application/vnd.oci.image.config.v1+json", b"{}").await;
    let mut layer = peer.blob("app", "application/vnd.oci.image.layer.v1.tar", A).await;
    layer["size"] = json!(A.len() + 1);
    let answer = peer.put_manifest("app", "v1", &manifest(&config, &[layer])).await;
    assert_eq!(answer.refusal(), refusal(400, "MANIFEST_INVALID"));
    // Layers that must not be redistributed are elsewhere.
    let foreign = json!({"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar", "size": 12345,
        "digest": Digest::of(b"foreign"), "urls": ["https://store.example.com/foreign"]});
    assert_eq!(peer.put_manifest("app", "v1", &manifest(&config, &[foreign])).await.status, StatusCode::CREATED);
    assert_eq!(peer.get("/v2/app/tags/list").await.json()["tags"], json!(["v1"]));
    peer.world.stop().await;
}

/// Pushing Manifests with Subject: the header says it was seen, whether the subject is there or not.
#[tokio::test]
async fn a_subject_is_acknowledged_in_either_order() {
    let peer = Peer::start().await;
    let image = peer.image("app", "v1", "one").await;
    let config = peer.blob("app", "application/vnd.oci.empty.v1+json", b"{}").await;
    let absent = json!({"mediaType": media_type::OCI_MANIFEST, "digest": Digest::of(b"later"), "size": 5});
    for subject in [descriptor(&image), absent] {
        for reference in ["sig", ""] {
            let mut case = manifest(&config, std::slice::from_ref(&config));
            case["subject"] = subject.clone();
            case["artifactType"] = "application/vnd.example.signature".into();
            let digest = digest_of(&case);
            let reference = if reference.is_empty() { &digest } else { reference };
            let pushed = peer.put_manifest("app", reference, &case).await;
            assert_eq!(pushed.status, StatusCode::CREATED);
            assert_eq!(pushed.header("oci-subject"), subject["digest"].as_str().expect("a digest"));
        }
    }
    let index =
        json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [], "subject": descriptor(&image)});
    assert_eq!(peer.put_manifest("app", "list", &index).await.header("oci-subject"), digest_of(&image));
    peer.world.stop().await;
}

fn uuid_groups(text: &str) -> Vec<usize> {
    assert!(text.chars().all(|c| c.is_ascii_hexdigit() || c == '-'));
    text.split('-').map(str::len).collect()
}
