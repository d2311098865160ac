//! The registry over real sockets: the protocol by hand, and the image store as its client.

use http::StatusCode;
use reqwest::Client;
use updraft_oci::{ContentError, Digest, ImageError, ManifestName, media_type};

use crate::world::{Compression, World, image, layer, push, push_index};

#[tokio::test]
async fn a_client_finds_a_registry() {
    let world = World::start().await;
    let reply = Client::new().get(world.url("/v2/")).send().await.expect("reply");
    assert_eq!(reply.status(), StatusCode::OK);
    assert_eq!(reply.headers()["docker-distribution-api-version"], "registry/2.0");
    world.stop().await;
}

#[tokio::test]
async fn a_blob_can_be_pushed_whole_in_chunks_and_as_a_stream() {
    let world = World::start().await;
    let client = Client::new();
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
    let digest = Digest::of(&bytes);
    let start = world.url("/v2/a/b/blobs/uploads/");

    let whole = client.post(format!("{start}?digest={digest}")).body(bytes.clone()).send().await.expect("reply");
    assert_eq!(whole.status(), StatusCode::CREATED);
    assert_eq!(whole.headers()["docker-content-digest"], digest.as_str());

    let reply = client.post(world.url("/v2/c/blobs/uploads/")).send().await.expect("reply");
    assert_eq!(reply.status(), StatusCode::ACCEPTED);
    let place = world.url(reply.headers()["location"].to_str().expect("location"));
    let (first, rest) = bytes.split_at(1_000_000);
    let wrong =
        client.patch(&place).header("content-range", "5-1000004").body(first.to_vec()).send().await.expect("reply");
    assert_eq!(wrong.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(code(wrong).await, "BLOB_UPLOAD_INVALID");
    let chunk =
        client.patch(&place).header("content-range", "0-999999").body(first.to_vec()).send().await.expect("reply");
    assert_eq!(
        (chunk.status(), &chunk.headers()["range"]),
        (StatusCode::ACCEPTED, &"0-999999".parse().expect("header"))
    );
    let stream =
        futures::stream::iter(rest.chunks(7777).map(|c| Ok::<_, std::io::Error>(c.to_vec())).collect::<Vec<_>>());
    let streamed = client.patch(&place).body(reqwest::Body::wrap_stream(stream)).send().await.expect("reply");
    assert_eq!(streamed.status(), StatusCode::ACCEPTED);
    let status = client.get(&place).send().await.expect("reply");
    assert_eq!(
        (status.status(), status.headers()["range"].to_str().expect("range")),
        (StatusCode::NO_CONTENT, "0-2999999")
    );
    let done = client.put(format!("{place}?digest={digest}")).send().await.expect("reply");
    assert_eq!(done.status(), StatusCode::CREATED);
    let again = client.put(format!("{place}?digest={digest}")).send().await.expect("reply");
    assert_eq!((again.status(), code(again).await), (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN".to_owned()));

    let blob = world.url(&format!("/v2/c/blobs/{digest}"));
    let head = client.head(&blob).send().await.expect("reply");
    assert_eq!(
        (head.status(), &head.headers()["content-length"]),
        (StatusCode::OK, &"3000000".parse().expect("header"))
    );
    assert_eq!(client.get(&blob).send().await.expect("reply").bytes().await.expect("body"), bytes);
    let part = client.get(&blob).header("range", "bytes=10-19").send().await.expect("reply");
    assert_eq!(
        (part.status(), &part.headers()["content-range"]),
        (StatusCode::PARTIAL_CONTENT, &"bytes 10-19/3000000".parse().expect("header"))
    );
    assert_eq!(part.bytes().await.expect("body"), bytes[10..20]);
    let beyond = client.get(&blob).header("range", "bytes=3000000-").send().await.expect("reply");
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    world.stop().await;
}

#[tokio::test]
async fn a_wrong_digest_and_a_cancelled_upload_leave_nothing() {
    let world = World::start().await;
    let client = Client::new();
    let digest = Digest::of(b"right");
    let upload = world.url("/v2/a/blobs/uploads/");
    let wrong = client.post(format!("{upload}?digest={digest}")).body("wrong").send().await.expect("reply");
    assert_eq!((wrong.status(), code(wrong).await), (StatusCode::BAD_REQUEST, "DIGEST_INVALID".to_owned()));
    let bad = client.post(format!("{upload}?digest=md5:1")).body("wrong").send().await.expect("reply");
    assert_eq!((bad.status(), code(bad).await), (StatusCode::BAD_REQUEST, "DIGEST_INVALID".to_owned()));

    let place = client.post(&upload).send().await.expect("reply").headers()["location"].to_str().expect("l").to_owned();
    let elsewhere = place.replace("/v2/a/", "/v2/b/");
    assert_eq!(client.get(world.url(&elsewhere)).send().await.expect("reply").status(), StatusCode::NOT_FOUND);
    assert_eq!(client.delete(world.url(&place)).send().await.expect("reply").status(), StatusCode::NO_CONTENT);
    let gone = client.patch(world.url(&place)).body("x").send().await.expect("reply");
    assert_eq!(code(gone).await, "BLOB_UPLOAD_UNKNOWN");
    let missing = client.get(world.url(&format!("/v2/a/blobs/{digest}"))).send().await.expect("reply");
    assert_eq!((missing.status(), code(missing).await), (StatusCode::NOT_FOUND, "BLOB_UNKNOWN".to_owned()));
    assert_eq!(std::fs::read_dir(world.dir.path().join("images/uploads")).expect("uploads").count(), 0);
    world.stop().await;
}

#[tokio::test]
async fn a_manifest_needs_its_blobs_and_a_mount_brings_them() {
    let world = World::start().await;
    let client = Client::new();
    let image = image(vec![layer("hello", Compression::Gzip)], "amd64");
    push(&world, "team/app", "v1", &image).await;
    let put = || {
        client
            .put(world.url("/v2/other/manifests/v1"))
            .header("content-type", media_type::OCI_MANIFEST)
            .body(image.manifest.clone())
    };
    let early = put().send().await.expect("reply");
    assert_eq!((early.status(), code(early).await), (StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN".to_owned()));
    for blob in &image.blobs {
        let url = world.url(&format!("/v2/other/blobs/uploads/?mount={}&from=team/app", Digest::of(blob)));
        assert_eq!(client.post(url).send().await.expect("reply").status(), StatusCode::CREATED);
    }
    let nowhere = world.url(&format!("/v2/other/blobs/uploads/?mount={}&from=team/none", Digest::of(b"none")));
    assert_eq!(client.post(nowhere).send().await.expect("reply").status(), StatusCode::ACCEPTED);
    assert_eq!(put().send().await.expect("reply").status(), StatusCode::CREATED);

    let head = client.head(world.url("/v2/other/manifests/v1")).send().await.expect("reply");
    assert_eq!(head.headers()["docker-content-digest"], Digest::of(&image.manifest).as_str());
    assert_eq!(head.headers()["content-length"], image.manifest.len().to_string().as_str());
    let by_digest = world.url(&format!("/v2/other/manifests/{}", Digest::of(&image.manifest)));
    let got = client.get(by_digest).send().await.expect("reply");
    assert_eq!(got.headers()["content-type"], media_type::OCI_MANIFEST);
    assert_eq!(got.bytes().await.expect("body"), image.manifest);
    world.stop().await;
}

#[tokio::test]
async fn a_manifest_that_is_none_is_refused() {
    let world = World::start().await;
    let client = Client::new();
    let put = |reference: &str, body: Vec<u8>| {
        client
            .put(world.url(&format!("/v2/a/manifests/{reference}")))
            .header("content-type", media_type::OCI_MANIFEST)
            .body(body)
            .send()
    };
    for (reference, body, expected) in [
        ("v1", b"{}".to_vec(), "MANIFEST_INVALID"),
        ("v1", vec![b' '; 5 << 20], "MANIFEST_INVALID"),
        (".hidden", b"{}".to_vec(), "TAG_INVALID"),
        ("sha256:1", b"{}".to_vec(), "DIGEST_INVALID"),
    ] {
        let reply = put(reference, body).await.expect("reply");
        assert_eq!(code(reply).await, expected);
    }
    let unknown = client.get(world.url("/v2/a/manifests/v1")).send().await.expect("reply");
    assert_eq!((unknown.status(), code(unknown).await), (StatusCode::NOT_FOUND, "NAME_UNKNOWN".to_owned()));
    let post = client.post(world.url("/v2/a/manifests/v1")).send().await.expect("reply");
    assert_eq!((post.status(), code(post).await), (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED".to_owned()));
    world.stop().await;
}

#[tokio::test]
async fn lists_come_in_pages_and_deletes_take_effect() {
    let world = World::start().await;
    let client = Client::new();
    let image = image(vec![layer("hello", Compression::Gzip)], "amd64");
    for (repository, tag) in [("a/x", "v1"), ("a/x", "v2"), ("a/x", "v3"), ("b", "latest")] {
        push(&world, repository, tag, &image).await;
    }
    let get = |path: &str| client.get(world.url(path)).send();
    let first = get("/v2/a/x/tags/list?n=2").await.expect("reply");
    let link = first.headers()["link"].to_str().expect("link").to_owned();
    assert_eq!(text(first).await, r#"{"name":"a/x","tags":["v1","v2"]}"#);
    assert_eq!(link, r#"</v2/a/x/tags/list?n=2&last=v2>; rel="next""#);
    assert_eq!(
        text(get("/v2/a/x/tags/list?n=2&last=v2").await.expect("reply")).await,
        r#"{"name":"a/x","tags":["v3"]}"#
    );
    assert_eq!(text(get("/v2/_catalog").await.expect("reply")).await, r#"{"repositories":["a/x","b"]}"#);
    assert_eq!(code(get("/v2/none/tags/list").await.expect("reply")).await, "NAME_UNKNOWN");

    let delete = |path: String| client.delete(world.url(&path)).send();
    assert_eq!(delete("/v2/a/x/manifests/v1".to_owned()).await.expect("reply").status(), StatusCode::ACCEPTED);
    assert_eq!(text(get("/v2/a/x/tags/list").await.expect("reply")).await, r#"{"name":"a/x","tags":["v2","v3"]}"#);
    let digest = Digest::of(&image.manifest);
    assert_eq!(delete(format!("/v2/a/x/manifests/{digest}")).await.expect("reply").status(), StatusCode::ACCEPTED);
    assert_eq!(code(get("/v2/a/x/manifests/v2").await.expect("reply")).await, "MANIFEST_UNKNOWN");
    let blob = Digest::of(&image.blobs[0]);
    assert_eq!(delete(format!("/v2/a/x/blobs/{blob}")).await.expect("reply").status(), StatusCode::ACCEPTED);
    assert_eq!(delete(format!("/v2/a/x/blobs/{blob}")).await.expect("reply").status(), StatusCode::NOT_FOUND);
    assert_eq!(get(&format!("/v2/b/blobs/{blob}")).await.expect("reply").status(), StatusCode::OK);
    world.stop().await;
}

#[tokio::test]
async fn with_a_token_nobody_gets_in_without_it() {
    let world = World::with_token().await;
    let client = Client::new();
    let bare = client.get(world.url("/v2/")).send().await.expect("reply");
    assert_eq!(bare.headers()["www-authenticate"], r#"Basic realm="updraft""#);
    assert_eq!((bare.status(), code(bare).await), (StatusCode::UNAUTHORIZED, "UNAUTHORIZED".to_owned()));
    let token = world.token();
    let basic = client.get(world.url("/v2/")).basic_auth("anybody", Some(&token)).send().await.expect("reply");
    assert_eq!(basic.status(), StatusCode::OK);
    let bearer = client.get(world.url("/v2/")).bearer_auth(&token).send().await.expect("reply");
    assert_eq!(bearer.status(), StatusCode::OK);
    let wrong = client.get(world.url("/v2/")).basic_auth("anybody", Some("guess")).send().await.expect("reply");
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    world.stop().await;
}

#[tokio::test]
async fn an_image_of_every_compression_is_pulled_from_a_remote_registry_and_unpacked() {
    let world = World::start().await;
    let puller = world.puller(None);
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let image = image(vec![layer("one", compression), layer("two", Compression::Gzip)], "amd64");
        push(&world, "app", "v1", &image).await;
        let pinned = puller.resolve(&format!("{}/app:v1", world.address)).await.expect("resolved");
        assert_eq!(pinned, format!("{}/app@{}", world.address, Digest::of(&image.manifest)));
        let rootfs = puller.rootfs(&pinned).await.expect("unpacked");
        let names: Vec<String> =
            rootfs.layers.iter().map(|dir| std::fs::read_to_string(dir.join("name")).expect("file")).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(rootfs.config.cmd, ["/bin/app"]);
    }
    // The layer "two" was shared by all three, "one" by all too: it is the same tar inside.
    let layers = std::fs::read_dir(puller_dir(&world).join("layers")).expect("layers");
    assert_eq!(layers.filter(|e| e.as_ref().is_ok_and(|e| e.path().is_dir())).count(), 2);
    world.stop().await;
}

#[tokio::test]
async fn the_image_for_this_host_is_found_through_nested_indexes() {
    let world = World::start().await;
    let puller = world.puller(None);
    let here = image(vec![layer("here", Compression::Zstd)], updraft_oci::HOST_ARCHITECTURE);
    let there = image(vec![layer("there", Compression::Gzip)], "s390x");
    for image in [&here, &there] {
        push(&world, "multi", &Digest::of(&image.manifest).to_string(), image).await;
    }
    let platform = |arch: &str| format!(r#","platform":{{"os":"linux","architecture":"{arch}"}}"#);
    let inner = push_index(
        &world,
        "multi",
        None,
        &[
            (&there.manifest, media_type::OCI_MANIFEST, platform("s390x")),
            (&here.manifest, media_type::OCI_MANIFEST, platform(updraft_oci::HOST_ARCHITECTURE)),
        ],
    )
    .await;
    push_index(&world, "multi", Some("v1"), &[(&inner, media_type::OCI_INDEX, String::new())]).await;
    push_index(&world, "multi", Some("other"), &[(&there.manifest, media_type::OCI_MANIFEST, platform("s390x"))]).await;

    let pinned = puller.resolve(&format!("{}/multi:v1", world.address)).await.expect("resolved");
    let rootfs = puller.rootfs(&pinned).await.expect("unpacked");
    assert_eq!(std::fs::read_to_string(rootfs.layers[0].join("name")).expect("file"), "here");

    let pinned = puller.resolve(&format!("{}/multi:other", world.address)).await.expect("resolved");
    let error = puller.fetch(&pinned).await.expect_err("for another host");
    assert!(matches!(error, ImageError::Unfit { .. }));
    assert!(error.to_string().contains("image is for linux/s390x; this host runs linux/"), "{error}");
    world.stop().await;
}

#[tokio::test]
async fn what_is_missing_and_what_is_denied_is_told_apart() {
    let world = World::with_token().await;
    let address = world.address;
    let error = world.puller(None).resolve(&format!("{address}/app:v1")).await.expect_err("no credentials");
    assert!(matches!(error, ImageError::Denied { .. }), "{error}");

    let file = world.dir.path().join("config.json");
    let auth = world.basic();
    std::fs::write(&file, format!(r#"{{"auths":{{"{address}":{{"auth":"{auth}"}}}}}}"#)).expect("write");
    let puller = world.puller(Some(file));
    let error = puller.resolve(&format!("{address}/app:v1")).await.expect_err("nothing there");
    assert!(matches!(error, ImageError::Missing { .. }), "{error}");
    let image = image(vec![layer("hello", Compression::Gzip)], "amd64");
    push(&world, "app", "v1", &image).await;
    let pinned = puller.resolve(&format!("{address}/app:v1")).await.expect("resolved");
    puller.fetch(&pinned).await.expect("fetched");
    world.stop().await;
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_unavailable_after_some_tries() {
    let world = World::start().await;
    let (puller, hand) = world.puller_by_hand();
    // Bound but never listening: nobody else can come to listen there.
    let reserved = tokio::net::TcpSocket::new_v4().expect("socket");
    reserved.bind("127.0.0.1:0".parse().expect("address")).expect("bound");
    let image = format!("{}/app:v1", reserved.local_addr().expect("address"));
    let resolve = puller.resolve(&image);
    tokio::pin!(resolve);
    let error = loop {
        tokio::select! {
            result = &mut resolve => break result.expect_err("nobody listens"),
            () = tokio::task::yield_now() => if let Some(next) = hand.next_timer() { hand.advance(next) },
        }
    };
    assert!(matches!(error, ImageError::Unavailable { .. }), "{error}");
    // Two waits, of 200 and 400 ms, each at least three quarters as long.
    assert!(hand.elapsed() >= std::time::Duration::from_millis(450), "{:?}", hand.elapsed());
    world.stop().await;
}

#[tokio::test]
async fn an_image_of_the_embedded_store_needs_no_network() {
    let world = World::start().await;
    let image = image(vec![layer("hello", Compression::Gzip)], "amd64");
    push(&world, "app", "v1", &image).await;
    let (store, address) = (world.images.clone(), world.address);
    world.stop().await;
    store.set_local_names(vec![address.to_string()]);
    for name in [format!("{address}/app:v1"), "localhost/app:v1".to_owned()] {
        let pinned = store.resolve(&name).await.expect("resolved");
        let rootfs = store.rootfs(&pinned).await.expect("unpacked");
        assert_eq!(std::fs::read_to_string(rootfs.layers[0].join("name")).expect("file"), "hello");
    }
    let error = store.resolve("localhost/app:v2").await.expect_err("no such tag");
    assert!(matches!(error, ImageError::Missing { .. }), "{error}");
    let listed = store.list().await.expect("list");
    assert_eq!((listed.len(), listed[0].reference.as_str()), (1, "localhost/app:v1"));
    store.delete("localhost/app:v1").await.expect("deleted");
    assert!(store.list().await.expect("list").is_empty());
    let name = ManifestName::Digest(Digest::of(&image.manifest));
    let error = store.content().manifest("app", &name).await.expect_err("deleted");
    assert!(matches!(error, ContentError::ManifestUnknown(_)));
}

#[tokio::test]
async fn a_hundred_callers_fetch_and_unpack_an_image_once() {
    let world = World::start().await;
    let image = image((0..5).map(|n| layer(&format!("layer {n}"), Compression::Gzip)).collect(), "amd64");
    push(&world, "app", "v1", &image).await;
    let puller = world.puller(None);
    let pinned = puller.resolve(&format!("{}/app:v1", world.address)).await.expect("resolved");
    let all = futures::future::join_all((0..100).map(|_| puller.rootfs(&pinned))).await;
    let first = all[0].as_ref().expect("unpacked").layers.clone();
    assert!(all.iter().all(|rootfs| rootfs.as_ref().is_ok_and(|rootfs| rootfs.layers == first)));
    // What is unpacked twice would leave its temporary directory, or a second inode under the name.
    let names = std::fs::read_dir(puller_dir(&world).join("layers")).expect("layers").count();
    assert_eq!(names, 10, "five directories and what is known of them");
    assert_eq!(world.blob_requests(), 6, "five layers and a configuration");
    world.stop().await;
}

#[tokio::test]
async fn a_layer_that_is_not_what_its_configuration_says_is_refused() {
    let world = World::start().await;
    let mut wrong = image(vec![layer("hello", Compression::Gzip)], "amd64");
    wrong.relabel(Digest::of(b"something else"));
    push(&world, "app", "v1", &wrong).await;
    let puller = world.puller(None);
    let pinned = puller.resolve(&format!("{}/app:v1", world.address)).await.expect("resolved");
    puller.fetch(&pinned).await.expect("the blobs are what they say");
    let error = puller.rootfs(&pinned).await.expect_err("the layer is not");
    assert!(matches!(error, ImageError::Unfit { .. }) && error.to_string().contains("unpacks to"), "{error}");
    assert_eq!(std::fs::read_dir(puller_dir(&world).join("layers")).expect("layers").count(), 0);
    world.stop().await;
}

fn puller_dir(world: &World) -> std::path::PathBuf {
    world.dir.path().join("puller")
}

async fn text(reply: reqwest::Response) -> String {
    reply.text().await.expect("body")
}

async fn code(reply: reqwest::Response) -> String {
    let body: serde_json::Value = serde_json::from_str(&text(reply).await).expect("an error body");
    body["errors"][0]["code"].as_str().expect("a code").to_owned()
}
