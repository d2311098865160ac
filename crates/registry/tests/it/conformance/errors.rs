//! Section "Error Codes": every refusal has the form and a code of the specification.

use http::Method;
use serde_json::json;
use updraft_oci::{Digest, media_type};

use super::{Peer, manifest, refusal};

/// `<name>` has a form (section "Pulling manifests") and a length.
#[tokio::test]
async fn a_name_that_is_none_is_refused_everywhere() {
    let peer = Peer::start().await;
    let digest = Digest::of(b"x");
    let long = "a/".repeat(200) + "a";
    for name in
        ["A", "a..b", "-a", "a-", "a/_b", "a_", "a___b", "%C3%A4", "a%20b", "a//b", "%2e%2e", "a/%2e%2e/b", &long]
    {
        for (method, rest) in [
            (Method::GET, format!("manifests/{digest}")),
            (Method::PUT, "manifests/v1".to_owned()),
            (Method::DELETE, "manifests/v1".to_owned()),
            (Method::GET, format!("blobs/{digest}")),
            (Method::POST, "blobs/uploads/".to_owned()),
            (Method::PATCH, "blobs/uploads/0".to_owned()),
            (Method::GET, "tags/list".to_owned()),
            (Method::GET, format!("referrers/{digest}")),
        ] {
            let answer = raw(&peer, &method, &format!("/v2/{name}/{rest}")).await;
            assert_eq!(answer, refusal(400, "NAME_INVALID"), "{method} {name}/{rest}");
        }
    }
    peer.world.stop().await;
}

#[tokio::test]
async fn digests_and_references_that_are_none_are_refused() {
    let peer = Peer::start().await;
    peer.image("app", "v1", "one").await;
    let upper = format!("sha256:{}", "A".repeat(64));
    let long = format!("sha256:{}", "a".repeat(65));
    for digest in ["x", "sha256", "sha256:", "sha256:abc", "sha256:../../../etc/passwd", &upper, &long, "sha1:00"] {
        let encoded = digest.replace('/', "%2F");
        for method in [Method::GET, Method::DELETE] {
            // A slash, however it is written, is one of the path.
            let expected =
                if digest.contains('/') { refusal(404, "UNSUPPORTED") } else { refusal(400, "DIGEST_INVALID") };
            assert_eq!(raw(&peer, &method, &format!("/v2/app/blobs/{encoded}")).await, expected, "{method} {digest}");
            if digest.contains(':') {
                let answer = raw(&peer, &method, &format!("/v2/app/manifests/{encoded}")).await;
                assert_eq!(answer, expected, "{method} {digest}");
            }
        }
    }
    for tag in [".a", "-a", "a%20b", "a%00b", "%C3%A4", &"a".repeat(129)] {
        assert_eq!(
            raw(&peer, &Method::PUT, &format!("/v2/app/manifests/{tag}")).await,
            refusal(400, "TAG_INVALID"),
            "{tag}"
        );
    }
    for id in ["x", "..", "%2e%2e", "00000000-0000-0000-0000-000000000000"] {
        for method in [Method::GET, Method::PATCH, Method::DELETE] {
            let answer = raw(&peer, &method, &format!("/v2/app/blobs/uploads/{id}")).await;
            assert_eq!(answer, refusal(404, "BLOB_UPLOAD_UNKNOWN"), "{method} {id}");
        }
    }
    peer.world.stop().await;
}

#[tokio::test]
async fn a_manifest_that_is_none_is_refused_with_its_reason() {
    let peer = Peer::start().await;
    let config = peer.blob("app", "application/vnd.oci.image.config.v1+json", b"{}").await;
    let good = manifest(&config, &[]);
    let with = |field: &str, value: serde_json::Value| {
        let mut case = good.clone();
        case[field] = value;
        case.to_string().into_bytes()
    };
    let deep = format!(r#"{{"schemaVersion":2,"config":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
    let huge = json!({"mediaType": "a/b", "digest": config["digest"], "size": "2"});
    let negative = json!({"mediaType": "a/b", "digest": config["digest"], "size": -2});
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", b"".to_vec()),
        ("no JSON", b"blablabla".to_vec()),
        ("cut off", good.to_string().as_bytes()[..40].to_vec()),
        ("two documents", format!("{good}{good}").into_bytes()),
        ("an array", b"[]".to_vec()),
        ("no UTF-8", [good.to_string().as_bytes(), b"\xff"].concat()),
        ("no schema version", json!({"config": config}).to_string().into_bytes()),
        ("schema version 1", with("schemaVersion", json!(1))),
        ("schema version as text", with("schemaVersion", json!("2"))),
        ("neither image nor index", json!({"schemaVersion": 2}).to_string().into_bytes()),
        ("both", with("manifests", json!([]))),
        ("another type inside", with("mediaType", json!(media_type::OCI_INDEX))),
        ("a config that is text", with("config", json!("x"))),
        ("a size as text", with("config", huge)),
        ("a negative size", with("config", negative)),
        ("layers that are no list", with("layers", json!({}))),
        ("a layer without a digest", with("layers", json!([{"mediaType": "a/b", "size": 1}]))),
        ("a layer with half a digest", with("layers", json!([{"mediaType": "a/b", "size": 1, "digest": "sha256:1"}]))),
        ("a subject that is none", with("subject", json!({"digest": "x"}))),
        ("annotations that are no text", with("annotations", json!({"a": 1}))),
        ("an artifact type that is a number", with("artifactType", json!(1))),
        ("too deep", deep.into_bytes()),
    ];
    for (what, body) in cases {
        let headers = [("content-type", media_type::OCI_MANIFEST)];
        let answer = peer.ask(Method::PUT, "/v2/app/manifests/v1", &headers, body).await;
        assert_eq!(answer.refusal(), refusal(400, "MANIFEST_INVALID"), "{what}");
    }
    for kind in ["text/plain", "image/png", "application/vnd.docker.distribution.manifest.v1+json", "nonsense"] {
        let answer = peer.ask(Method::PUT, "/v2/app/manifests/v1", &[("content-type", kind)], good.to_string()).await;
        assert_eq!(answer.refusal(), refusal(400, "MANIFEST_INVALID"), "{kind}");
    }
    let other = format!("/v2/app/manifests/{}", Digest::of(b"other"));
    let headers = [("content-type", media_type::OCI_MANIFEST)];
    let answer = peer.ask(Method::PUT, &other, &headers, good.to_string()).await;
    assert_eq!(answer.refusal(), refusal(400, "DIGEST_INVALID"));
    // Nothing of all that was kept.
    assert_eq!(peer.get("/v2/app/tags/list").await.json()["tags"], json!([]));
    peer.world.stop().await;
}

/// Endpoints: methods and paths that the table does not have.
#[tokio::test]
async fn other_methods_and_paths_are_refused() {
    let peer = Peer::start().await;
    peer.image("app", "v1", "one").await;
    let blob = format!("/v2/app/blobs/{}", Digest::of(b"one"));
    for (method, path) in [
        (Method::POST, "/v2/"),
        (Method::PUT, "/v2/_catalog"),
        (Method::POST, "/v2/app/tags/list"),
        (Method::DELETE, "/v2/app/tags/list"),
        (Method::POST, "/v2/app/manifests/v1"),
        (Method::PATCH, "/v2/app/manifests/v1"),
        (Method::PUT, &blob),
        (Method::GET, "/v2/app/blobs/uploads/"),
        (Method::PUT, "/v2/app/blobs/uploads/"),
        (Method::TRACE, "/v2/app/manifests/v1"),
    ] {
        assert_eq!(raw(&peer, &method, path).await, refusal(405, "UNSUPPORTED"), "{method} {path}");
    }
    let referrers = format!("/v2/app/referrers/{}", Digest::of(b"one"));
    assert_eq!(raw(&peer, &Method::PUT, &referrers).await, refusal(405, "UNSUPPORTED"));
    for path in ["/", "/v1/", "/v2/app", "/v2/app/tags", "/v2/app/manifests", "/v2x/app/tags/list", "/v2/%ff/tags/list"]
    {
        assert_eq!(raw(&peer, &Method::GET, path).await, refusal(404, "UNSUPPORTED"), "{path}");
    }
    peer.world.stop().await;
}

/// Sends a path as it stands: clients would tidy it up.
async fn raw(peer: &Peer, method: &Method, path: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(peer.world.direct).await.expect("connected");
    let head = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    let body: serde_json::Value =
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error} in {answer}"));
    (status, body["errors"][0]["code"].as_str().expect("a code").to_owned())
}
