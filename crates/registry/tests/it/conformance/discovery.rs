//! Section "Content Discovery".

use http::{Method, StatusCode};
use serde_json::{Value, json};
use updraft_oci::{Digest, media_type};

use super::{Peer, descriptor, digest_of, manifest, refusal};

const SIGNATURE: &str = "application/vnd.example.signature.v1";
const SBOM: &str = "application/vnd.example.sbom.v1+json";

/// Listing Tags (end-8a): in order; an unknown repository is 404.
#[tokio::test]
async fn tags_are_listed_in_order() {
    let peer = Peer::start().await;
    let image = peer.image("app", "latest", "one").await;
    for tag in ["v10", "v2", "V1", "_x", "1.0"] {
        assert_eq!(peer.put_manifest("app", tag, &image).await.status, StatusCode::CREATED);
    }
    let listed = peer.get("/v2/app/tags/list").await;
    assert_eq!(listed.status, StatusCode::OK);
    assert_eq!(listed.json(), json!({"name": "app", "tags": ["1.0", "V1", "_x", "latest", "v10", "v2"]}));
    let head = peer.head("/v2/app/tags/list").await;
    assert_eq!((head.status, head.header("content-length")), (StatusCode::OK, listed.body.len().to_string().as_str()));
    assert_eq!(peer.get("/v2/none/tags/list").await.refusal(), refusal(404, "NAME_UNKNOWN"));
    peer.world.stop().await;
}

/// Listing Tags (end-8b): `n`, `last`, and the `Link` to the next page (RFC 5988).
#[tokio::test]
async fn tags_come_in_pages() {
    let peer = Peer::start().await;
    let image = peer.image("app", "t0", "one").await;
    let all: Vec<String> = (0..7).map(|n| format!("t{n}")).collect();
    for tag in &all {
        peer.put_manifest("app", tag, &image).await;
    }
    // Following the links gives every tag once.
    let (mut seen, mut next) = (Vec::new(), Some("/v2/app/tags/list?n=3".to_owned()));
    while let Some(path) = next.take() {
        let page = peer.get(&path).await;
        assert_eq!(page.status, StatusCode::OK);
        let tags = page.json()["tags"].as_array().expect("tags").clone();
        assert!(tags.len() <= 3);
        seen.extend(tags.iter().map(|tag| tag.as_str().expect("text").to_owned()));
        next = page.headers.get("link").map(|link| target(link.to_str().expect("text")));
        assert_eq!(next.is_some(), seen.len() < 7, "{seen:?}");
    }
    assert_eq!(seen, all);
    for (query, expected, has_more) in [
        ("n=0", json!([]), false),
        ("n=0&last=t3", json!([]), false),
        ("n=2&last=t3", json!(["t4", "t5"]), true),
        ("last=t4", json!(["t5", "t6"]), false),
        ("last=t44", json!(["t5", "t6"]), false),
        ("n=2&last=zzz", json!([]), false),
        ("n=7", json!(all), false),
        ("n=9999999999999", json!(all), false),
    ] {
        let page = peer.get(&format!("/v2/app/tags/list?{query}")).await;
        assert_eq!(page.json()["tags"], expected, "{query}");
        assert_eq!(page.headers.contains_key("link"), has_more, "{query}");
    }
    for n in ["-1", "x", "", "1.5", "99999999999999999999999"] {
        assert_eq!(peer.get(&format!("/v2/app/tags/list?n={n}")).await.refusal(), refusal(400, "UNSUPPORTED"), "{n}");
    }
    peer.world.stop().await;
}

/// Listing Referrers (end-12a): descriptors with type and annotations, of manifests and indexes.
#[tokio::test]
async fn referrers_are_listed_with_type_and_annotations() {
    let peer = Peer::start().await;
    let image = peer.image("app", "v1", "one").await;
    let signature = peer.referrer(&image, Some(SIGNATURE), &json!({"org.example.key": "abc"})).await;
    let sbom = peer.referrer(&image, Some(SBOM), &json!({"org.example.format": "json"})).await;
    // Without a type of its own, the configuration's counts ...
    let untyped = peer.referrer(&image, None, &json!({"n": "1"})).await;
    // ... and an index without one has none.
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [],
        "subject": descriptor(&image), "annotations": {"n": "2"}});
    assert_eq!(peer.put_manifest("app", &digest_of(&index), &index).await.status, StatusCode::CREATED);
    peer.image("app", "v2", "not a referrer").await;

    let answer = peer.get(&format!("/v2/app/referrers/{}", digest_of(&image))).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, media_type::OCI_INDEX));
    assert!(!answer.headers.contains_key("oci-filters-applied"));
    let list = answer.json();
    assert_eq!((&list["schemaVersion"], &list["mediaType"]), (&json!(2), &json!(media_type::OCI_INDEX)));
    let expected = |manifest: &Value, kind: Option<&str>| {
        let mut entry = descriptor(manifest);
        if let Some(kind) = kind {
            entry["artifactType"] = kind.into();
        }
        entry["annotations"] = manifest["annotations"].clone();
        entry
    };
    let mut all = vec![
        expected(&signature, Some(SIGNATURE)),
        expected(&sbom, Some(SBOM)),
        expected(&untyped, Some("application/vnd.oci.empty.v1+json")),
        expected(&index, None),
    ];
    all.sort_by_key(|entry| entry["digest"].as_str().map(str::to_owned));
    assert_eq!(list["manifests"], json!(all));
    peer.world.stop().await;
}

/// Listing Referrers (end-12b): filtered by `artifactType`, and the header says so.
#[tokio::test]
async fn referrers_are_filtered_by_type() {
    let peer = Peer::start().await;
    let image = peer.image("app", "v1", "one").await;
    peer.referrer(&image, Some(SIGNATURE), &json!({})).await;
    let sbom = peer.referrer(&image, Some(SBOM), &json!({})).await;
    let path = format!("/v2/app/referrers/{}", digest_of(&image));
    for (filter, found) in
        [(SBOM.replace('+', "%2B"), vec![digest_of(&sbom)]), ("application%2Fvnd.example.none".to_owned(), Vec::new())]
    {
        let answer = peer.get(&format!("{path}?artifactType={filter}")).await;
        assert_eq!((answer.status, answer.header("oci-filters-applied")), (StatusCode::OK, "artifactType"));
        let list = answer.json();
        let digests: Vec<_> = list["manifests"].as_array().expect("a list").iter().map(|e| &e["digest"]).collect();
        assert_eq!(digests, found.iter().collect::<Vec<_>>(), "{filter}");
    }
    peer.world.stop().await;
}

/// Listing Referrers: none is an empty index, never 404; a malformed digest is 400.
#[tokio::test]
async fn without_referrers_the_list_is_empty() {
    let peer = Peer::start().await;
    let image = peer.image("app", "v1", "one").await;
    for path in [
        format!("/v2/app/referrers/{}", digest_of(&image)),
        format!("/v2/app/referrers/{}", Digest::of(b"absent")),
        format!("/v2/none/referrers/{}", Digest::of(b"absent")),
    ] {
        let answer = peer.get(&path).await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, media_type::OCI_INDEX), "{path}");
        assert_eq!(answer.json()["manifests"], json!([]), "{path}");
        assert_eq!(peer.head(&path).await.status, StatusCode::OK, "{path}");
    }
    for digest in ["x", "sha256:x", "sha256:", "v1"] {
        let answer = peer.get(&format!("/v2/app/referrers/{digest}")).await;
        assert_eq!(answer.refusal(), refusal(400, "DIGEST_INVALID"), "{digest}");
    }
    peer.world.stop().await;
}

/// Pushing Manifests with Subject: the referrers of a subject that comes later, or never, are listed.
#[tokio::test]
async fn a_subject_may_come_later() {
    let peer = Peer::start().await;
    let config = peer.blob("app", "application/vnd.oci.image.config.v1+json", b"{}").await;
    let image = manifest(&config, &[]);
    let signature = peer.referrer(&image, Some(SIGNATURE), &json!({})).await;
    let path = format!("/v2/app/referrers/{}", digest_of(&image));
    assert_eq!(peer.get(&path).await.json()["manifests"][0]["digest"], digest_of(&signature));
    peer.put_manifest("app", "v1", &image).await;
    assert_eq!(peer.get(&path).await.json()["manifests"][0]["digest"], digest_of(&signature));
    peer.world.stop().await;
}

/// Listing Referrers: what does not fit into one answer comes in pages, linked (RFC 5988).
#[tokio::test]
async fn many_large_referrers_come_in_pages() {
    let peer = Peer::start().await;
    let image = peer.image("app", "v1", "one").await;
    let text = "x".repeat(1 << 20);
    let mut all = Vec::new();
    for n in 0..7 {
        let kind = if n == 6 { SBOM } else { SIGNATURE };
        let pushed = peer.referrer(&image, Some(kind), &json!({"n": n.to_string(), "text": text})).await;
        all.push((kind, digest_of(&pushed)));
    }
    for filter in [None, Some(SIGNATURE)] {
        let query = filter.map(|kind| format!("?artifactType={kind}")).unwrap_or_default();
        let mut next = Some(format!("/v2/app/referrers/{}{query}", digest_of(&image)));
        let (mut seen, mut pages) = (Vec::new(), 0);
        while let Some(path) = next.take() {
            let answer = peer.get(&path).await;
            assert!(answer.body.len() <= 4 << 20, "{} bytes", answer.body.len());
            assert_eq!(answer.headers.contains_key("oci-filters-applied"), filter.is_some());
            for entry in answer.json()["manifests"].as_array().expect("a list") {
                seen.push(entry["digest"].as_str().expect("text").to_owned());
            }
            pages += 1;
            next = answer.headers.get("link").map(|link| target(link.to_str().expect("text")));
        }
        let mut expected: Vec<String> =
            all.iter().filter(|(kind, _)| filter.is_none_or(|f| f == *kind)).map(|(_, d)| d.clone()).collect();
        expected.sort();
        assert_eq!((seen, pages), (expected, if filter.is_some() { 2 } else { 3 }));
    }
    peer.world.stop().await;
}

/// Enabling the Referrers API: lists that clients of older registries kept, under the tag of the schema.
#[tokio::test]
async fn lists_under_the_referrers_tag_are_found() {
    let peer = Peer::start().await;
    let image = peer.image("app", "v1", "one").await;
    let listed = peer.referrer(&image, Some(SIGNATURE), &json!({"a": "b"})).await;
    let other = peer.image("app", "v2", "has no subject").await;
    // As before the index of referrers was kept.
    let notes = peer.world.dir.path().join("images/repositories/app/_referrers");
    std::fs::remove_dir_all(&notes).expect("notes");
    let path = format!("/v2/app/referrers/{}", digest_of(&image));
    assert_eq!(peer.get(&path).await.json()["manifests"], json!([]));
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
        "manifests": [descriptor(&listed), descriptor(&other)]});
    let tag = digest_of(&image).replace(':', "-");
    assert_eq!(peer.put_manifest("app", &tag, &index).await.status, StatusCode::CREATED);
    let list = peer.get(&path).await.json();
    assert_eq!(list["manifests"].as_array().map(Vec::len), Some(1), "only what has the subject");
    assert_eq!(list["manifests"][0]["digest"], digest_of(&listed));
    assert_eq!(list["manifests"][0]["annotations"], json!({"a": "b"}));
    peer.world.stop().await;
}

/// Not of the specification, but asked for by tools: the repositories.
#[tokio::test]
async fn repositories_are_listed_in_pages() {
    let peer = Peer::start().await;
    for name in ["b", "a/x", "a"] {
        peer.image(name, "v1", "one").await;
    }
    assert_eq!(peer.get("/v2/_catalog").await.json(), json!({"repositories": ["a", "a/x", "b"]}));
    let page = peer.get("/v2/_catalog?n=2").await;
    assert_eq!(page.json(), json!({"repositories": ["a", "a/x"]}));
    assert_eq!(peer.get(&target(page.header("link"))).await.json(), json!({"repositories": ["b"]}));
    peer.world.stop().await;
}

impl Peer {
    /// Pushes something about `subject`; returns its manifest.
    pub(crate) async fn referrer(&self, subject: &Value, kind: Option<&str>, annotations: &Value) -> Value {
        let empty = self.blob("app", "application/vnd.oci.empty.v1+json", b"{}").await;
        let mut about = manifest(&empty, std::slice::from_ref(&empty));
        about["subject"] = descriptor(subject);
        about["annotations"] = annotations.clone();
        if let Some(kind) = kind {
            about["artifactType"] = kind.into();
        }
        let path = format!("/v2/app/manifests/{}", digest_of(&about));
        let headers = [("content-type", media_type::OCI_MANIFEST)];
        let pushed = self.ask(Method::PUT, &path, &headers, about.to_string()).await;
        assert_eq!(pushed.status, StatusCode::CREATED, "{:?}", pushed.body);
        about
    }
}

/// Where a `Link` of the next page leads.
fn target(link: &str) -> String {
    let (target, relation) = link.split_once(';').expect("a link");
    assert_eq!(relation.trim(), r#"rel="next""#);
    target.trim_matches(['<', '>']).to_owned()
}
