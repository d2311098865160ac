//! Image names, token endpoints, redirects and layers that would have the server ask where it must not.

#[allow(dead_code, reason = "shared with the tests of the client, which use the rest of it")]
#[path = "../../outbound/tests/peers/mod.rs"]
mod peers;

use base64::{Engine, engine::general_purpose::STANDARD};
use peers::{Answer, Heads, Internet, always, ok, redirects};
use serde_json::json;
use tempfile::TempDir;
use updraft_base::Clock;
use updraft_oci::{Digest, HOST_ARCHITECTURE, ImageError, ImageStore, ImageStoreConfig};

const REGISTRY: &str = "11.0.0.1";
const OTHER: &str = "11.0.0.2";

/// A store whose server may reach `allow` beside public addresses, with a login for `registry.example`.
fn store(net: &Internet, allow: &str) -> (TempDir, ImageStore) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = dir.path().join("config.json");
    let auth = STANDARD.encode("me:hunter2");
    std::fs::write(&file, json!({"auths": {"registry.example": {"auth": auth}}}).to_string()).expect("written");
    let config = ImageStoreConfig {
        credentials: Some(file),
        outbound: net.client(allow),
        ..ImageStoreConfig::new(dir.path().join("images"))
    };
    let images = ImageStore::open(config, Clock::system()).expect("a store");
    (dir, images)
}

async fn forbidden(images: &ImageStore, image: &str) -> String {
    match images.resolve(image).await {
        Err(ImageError::Forbidden { cause, .. }) => cause,
        other => panic!("{image}: {other:?}"),
    }
}

/// A registry that wants a token from `realm`.
fn wants_token(realm: String) -> Answer {
    Box::new(move |head| match head.to_ascii_lowercase().contains("authorization: bearer sesame") {
        true => ok(&format!("docker-content-digest: {}\r\n", Digest::of(b"{}")), ""),
        false => unauthorized(&realm),
    })
}

fn unauthorized(realm: &str) -> String {
    let challenge = format!("Bearer realm=\"{realm}\",service=\"test\"");
    format!("HTTP/1.1 401 No\r\nwww-authenticate: {challenge}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

#[tokio::test]
async fn an_image_name_does_not_lead_to_the_server_itself_or_its_neighbours() {
    let net = Internet::new();
    let (place, secret) = net.plain(always("secret")).await;
    let port = place.port();
    for name in ["localhost", "x.localhost", "redis.example", "localhost.example"] {
        net.name(name, "127.0.0.1");
    }
    net.name("mixed.example", &format!("{REGISTRY} 127.0.0.1"))
        .name("db.example", "10.0.0.7")
        .name("long.example", "::1");
    net.name("metadata.google.internal", "169.254.169.254").name("own.example", OTHER).own(OTHER);
    net.name("nat.example", "64:ff9b::7f00:1").name("six.example", "2002:a00:7::1").name("site.example", "fec0::1");
    let (_dir, images) = store(&net, "");
    for registry in [
        "127.0.0.1:PORT",
        "127.1:PORT",
        "127.9.9.9:PORT",
        "2130706433:PORT",
        "017700000001:PORT",
        "0x7f000001:PORT",
        "0x7f.0.0.1:PORT",
        "[::1]:PORT",
        "[0:0:0:0:0:0:0:1]:PORT",
        "[::ffff:127.0.0.1]:PORT",
        "[::ffff:7f00:1]:PORT",
        "[64:ff9b::7f00:1]:PORT",
        "[2002:7f00:1::]:PORT",
        "localhost:PORT",
        "x.localhost:PORT",
        "LOCALHOST:PORT",
        "redis.example:PORT",
        "localhost.example:PORT",
        "mixed.example:PORT",
        "long.example:PORT",
        "nat.example:PORT",
        "six.example",
        "site.example",
        "db.example",
        "own.example",
        "10.0.0.7",
        "192.168.1.1",
        "172.31.0.1:5000",
        "100.64.0.1",
        "[fd00::1]",
        "[fe80::1]",
        "169.254.169.254",
        "2852039166:80",
        "[fd00:ec2::254]",
        "168.63.129.16",
        "metadata.google.internal",
        "192.0.2.1",
        "198.18.0.1",
    ] {
        let image = format!("{}/latest/meta-data", registry.replace("PORT", &port.to_string()));
        let cause = forbidden(&images, &image).await;
        assert!(cause.contains("the server's setting outbound-allow"), "{image}: {cause}");
        let pinned = format!("{image}@{}", Digest::of(b"{}"));
        assert!(matches!(images.fetch(&pinned).await, Err(ImageError::Forbidden { .. })), "{pinned}");
    }
    for registry in ["0.0.0.0:PORT", "[::]:PORT", "224.0.0.1", "255.255.255.255"] {
        let image = format!("{}/x", registry.replace("PORT", &port.to_string()));
        assert!(forbidden(&images, &image).await.contains("never"), "{image}");
    }
    assert_eq!(secret.count(), 0, "something was sent");
}

#[tokio::test]
async fn a_registry_that_the_setting_names_is_used_and_its_neighbour_is_not() {
    let net = Internet::new();
    let digest = || ok(&format!("docker-content-digest: {}\r\n", Digest::of(b"{}")), "");
    let (place, mine) = net.plain(Box::new(move |_| digest())).await;
    let (other, neighbour) = net.plain(Box::new(move |_| digest())).await;
    net.name("localhost", "127.0.0.1");
    let lan = net.host("registry.lan", "10.0.0.5", Box::new(move |_| digest())).await;
    let (_dir, images) = store(&net, &format!("localhost:{}, registry.lan", place.port()));
    for image in [format!("localhost:{}/app", place.port()), "registry.lan/app".to_owned()] {
        assert_eq!(images.resolve(&image).await.expect("allowed"), format!("{image}@{}", Digest::of(b"{}")));
    }
    forbidden(&images, &format!("localhost:{}/app", other.port())).await;
    forbidden(&images, &format!("{place}/app")).await;
    assert_eq!((mine.count(), lan.count(), neighbour.count()), (1, 1, 0));
}

#[tokio::test]
async fn a_token_endpoint_is_asked_only_where_a_redirect_may_lead() {
    let (realms, allow) = (["", "loopback, private"], "loopback, private");
    for setting in realms {
        let net = Internet::new();
        let (place, secret) = net.plain(always(r#"{"token":"sesame"}"#)).await;
        net.name("inside.example", "10.0.0.7")
            .name("meta.example", "169.254.169.254")
            .name("own.example", OTHER)
            .own(OTHER);
        net.name("plain.example", "11.0.0.3");
        let (_dir, images) = store(&net, setting);
        for realm in [
            format!("http://{place}/token"),
            format!("https://{place}/token"),
            format!("https://2130706433:{}/token", place.port()),
            format!("https://[::ffff:7f00:1]:{}/token", place.port()),
            "https://inside.example/token".to_owned(),
            "https://meta.example/latest/api/token".to_owned(),
            "https://169.254.169.254/latest/api/token".to_owned(),
            "https://own.example/token".to_owned(),
            "http://plain.example/token".to_owned(),
            "https://me:x@plain.example/token".to_owned(),
            "gopher://127.0.0.1:6379/_FLUSHALL".to_owned(),
            "file:///etc/passwd".to_owned(),
        ] {
            net.host("registry.example", REGISTRY, wants_token(realm.clone())).await;
            // Of a name said again, the answer is the next; the address is the same.
            let cause = forbidden(&images, "registry.example/app").await;
            assert!(!cause.contains("hunter2"), "{realm}: {cause}");
        }
        assert_eq!(secret.count(), 0, "with '{setting}'");
    }
    // A user may well name what nobody on the internet may.
    let net = Internet::new();
    let (auth, asked) = net.plain(always(r#"{"token":"sesame"}"#)).await;
    let (place, _) = net.plain(wants_token(format!("http://{auth}/token"))).await;
    let (_dir, images) = store(&net, allow);
    images.resolve(&format!("{place}/app")).await.expect("all of it is inside");
    assert_eq!(asked.count(), 1);
}

#[tokio::test]
async fn a_token_endpoint_elsewhere_on_the_internet_is_asked_with_the_login() {
    let net = Internet::new();
    let auth = net.host("auth.example", OTHER, always(r#"{"token":"sesame"}"#)).await;
    net.host("registry.example", REGISTRY, wants_token("https://auth.example/token".to_owned())).await;
    let (_dir, images) = store(&net, "");
    images.resolve("registry.example/app").await.expect("resolved");
    let login = format!("authorization: basic {}", STANDARD.encode("me:hunter2").to_ascii_lowercase());
    assert!(auth.last().contains(&login), "{}", auth.last());
}

#[tokio::test]
async fn the_login_is_not_shown_to_whom_a_registry_or_its_token_endpoint_sends_us() {
    let net = Internet::new();
    let thief = net.host("thief.example", "11.0.0.3", wants_token("https://thief.example/token".to_owned())).await;
    let (_dir, images) = store(&net, "");
    // A blob store that wants a token of its own, as the registry's.
    net.host("registry.example", REGISTRY, redirects("https://thief.example/blob")).await;
    let error = images.resolve("registry.example/app").await.expect_err("401").to_string();
    assert!(error.contains("401") && thief.count() == 1, "{error}");
    // A token endpoint that sends us on.
    net.host("auth.example", OTHER, redirects("https://thief.example/token")).await;
    net.host("registry.example", REGISTRY, wants_token("https://auth.example/token".to_owned())).await;
    images.resolve("registry.example/app").await.expect_err("401");
    assert!(thief.count() == 2 && !thief.last().contains("authorization"), "{}", thief.last());
}

#[tokio::test]
async fn a_redirect_of_a_manifest_or_a_blob_does_not_lead_inside() {
    let net = Internet::new();
    let (place, secret) = net.plain(always("secret")).await;
    net.name("inside.example", "10.0.0.7").name("rebound.example", "127.0.0.1").name("meta.example", "169.254.169.254");
    let config = b"{}".to_vec();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [],
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::of(&config), "size": 2},
    });
    let manifest = manifest.to_string();
    let (_dir, images) = store(&net, "loopback, private");
    for location in [
        format!("http://{place}/"),
        format!("https://{place}/"),
        format!("//0x7f000001:{}/", place.port()),
        "https://inside.example/".to_owned(),
        "https://rebound.example/".to_owned(),
        "https://meta.example/latest/meta-data".to_owned(),
        "https://[::ffff:a9fe:a9fe]/latest/meta-data".to_owned(),
        "https://[fd00:ec2::254]/latest/meta-data".to_owned(),
        "ftp://inside.example/".to_owned(),
    ] {
        net.host("registry.example", REGISTRY, redirects(location.clone())).await;
        forbidden(&images, "registry.example/app").await;
        // The manifest comes; its configuration is elsewhere.
        let (text, next) = (manifest.clone(), redirects(location.clone()));
        let split: Answer = Box::new(move |head| if head.contains("/manifests/") { ok("", &text) } else { next(head) });
        net.host("registry.example", REGISTRY, split).await;
        let pinned = format!("registry.example/app@{}", Digest::of(manifest.as_bytes()));
        let outcome = images.fetch(&pinned).await;
        assert!(matches!(outcome, Err(ImageError::Forbidden { .. })), "{location}: {outcome:?}");
    }
    assert_eq!(secret.count(), 0, "something was sent");
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_the_next_time_is_refused_the_next_time() {
    let net = Internet::new();
    let digest = ok(&format!("docker-content-digest: {}\r\n", Digest::of(b"{}")), "");
    let heads = net.host("registry.example", REGISTRY, Box::new(move |_| digest.clone())).await;
    net.name("registry.example", "127.0.0.1");
    let (_dir, images) = store(&net, "");
    images.resolve("registry.example/app").await.expect("the first answer is public");
    assert_eq!((heads.count(), net.lookups("registry.example")), (1, 1), "one lookup for check and connection");
    forbidden(&images, "registry.example/app").await;
    assert_eq!(heads.count(), 1);
}

#[tokio::test]
async fn urls_of_a_layer_are_not_followed() {
    let net = Internet::new();
    let (place, secret) = net.plain(always("secret")).await;
    let layer = Digest::of(b"secret");
    let config = json!({"architecture": HOST_ARCHITECTURE, "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer]}})
    .to_string();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::of(config.as_bytes()),
            "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": 6,
            "urls": [format!("http://{place}/layer")]}],
    })
    .to_string();
    let pinned = format!("registry.example/app@{}", Digest::of(manifest.as_bytes()));
    let answer: Answer = Box::new(move |head| match head {
        _ if head.contains("/manifests/") => ok("", &manifest),
        _ if head.contains(Digest::of(config.as_bytes()).as_str()) => ok("", &config),
        _ => "HTTP/1.1 404 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
    });
    let heads: Heads = net.host("registry.example", REGISTRY, answer).await;
    let (_dir, images) = store(&net, "loopback");
    let outcome = images.fetch(&pinned).await;
    assert!(matches!(outcome, Err(ImageError::Missing { .. })), "{outcome:?}");
    assert!(heads.count() == 3 && heads.last().contains(layer.as_str()), "{}", heads.last());
    assert_eq!(secret.count(), 0);
}
