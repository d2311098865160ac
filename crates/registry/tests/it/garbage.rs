//! The collector takes nothing that somebody needs, whatever they are in the middle of.

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use updraft_base::{OnFailure, Tasks, VirtualClock};
use updraft_oci::{Collected, Digest};

use crate::{
    conformance::{Peer, digest_of, manifest},
    world::World,
};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A registry, its time, and its collector.
struct Yard {
    peer: Peer,
    hand: Arc<VirtualClock>,
}

impl Yard {
    async fn start() -> Self {
        let (world, hand) = World::by_hand().await;
        Self { peer: Peer::of(world), hand }
    }

    /// Lets `time` pass and collects.
    async fn collect_after(&self, time: Duration, in_use: &[String]) -> Collected {
        self.hand.advance(time);
        // A reply can be read before the server has let go of what it held for it.
        loop {
            if let Some(collected) = self.peer.world.images.collect_garbage(in_use).await.expect("no error") {
                return collected;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Everything that nobody needs is gone afterwards: what goes has to be old, seen twice, and is let
    /// go by its repository first.
    async fn collect_all(&self, in_use: &[String]) -> u64 {
        let mut blobs = 0;
        for _ in 0..3 {
            blobs += self.collect_after(25 * HOUR, in_use).await.blobs;
        }
        blobs
    }

    async fn status_of(&self, repository: &str, bytes: &[u8]) -> u16 {
        self.peer.get(&format!("/v2/{repository}/blobs/{}", Digest::of(bytes))).await.status.as_u16()
    }
}

#[tokio::test]
async fn what_images_referrers_and_revisions_need_is_kept() {
    let yard = Yard::start().await;
    let peer = &yard.peer;
    let tagged = peer.image("app", "v1", "tagged").await;
    let untagged = peer.image("app", "v2", "untagged").await;
    peer.delete("/v2/app/manifests/v2").await;
    let pinned = peer.image("app", "v3", "pinned").await;
    peer.delete(&format!("/v2/app/manifests/{}", digest_of(&pinned))).await;
    peer.image("app", "v4", "deleted").await;
    let deleted = peer.get("/v2/app/manifests/v4").await.header("docker-content-digest").to_owned();
    peer.delete(&format!("/v2/app/manifests/{deleted}")).await;
    let signature = peer.referrer(&tagged, Some("a/signature"), &json!({})).await;

    let in_use = [format!("localhost/app@{}", digest_of(&pinned))];
    assert_eq!(yard.collect_all(&in_use).await, 2, "the manifest and the layer of what was deleted");
    for image in [&tagged, &untagged, &signature] {
        assert_eq!(peer.get(&format!("/v2/app/manifests/{}", digest_of(image))).await.status, StatusCode::OK);
    }
    assert_eq!((yard.status_of("app", b"tagged").await, yard.status_of("app", b"untagged").await), (200, 200));
    let path = format!("/v2/app/referrers/{}", digest_of(&tagged));
    assert_eq!(peer.get(&path).await.json()["manifests"][0]["digest"], digest_of(&signature));
    let content = peer.world.images.content();
    assert!(content.blob_size(&Digest::of(b"pinned")).await.expect("size").is_some(), "a revision has it");
    assert!(content.blob_size(&Digest::of(b"deleted")).await.expect("size").is_none());
    assert_eq!(yard.collect_all(&[]).await, 2, "nor has a revision now");
    peer.world.stop().await;
}

#[tokio::test]
async fn what_goes_was_garbage_for_an_hour_whatever_the_clock_says() {
    let yard = Yard::start().await;
    yard.peer.image("app", "v1", "one").await;
    let digest = digest_of(&yard.peer.get("/v2/app/manifests/v1").await.json());
    assert_eq!(yard.collect_after(100 * HOUR, &[]).await, Collected::default());
    yard.peer.delete(&format!("/v2/app/manifests/{digest}")).await;
    assert_eq!(yard.collect_after(Duration::ZERO, &[]).await.blobs, 0, "old, but needed until a moment ago");
    assert_eq!(yard.collect_after(HOUR / 2, &[]).await.blobs, 0);
    assert_eq!(yard.collect_after(HOUR / 2, &[]).await.blobs, 3, "manifest, configuration, layer");
    yard.peer.world.stop().await;
}

#[tokio::test]
async fn a_blob_that_a_client_found_here_is_there_for_its_manifest() {
    let yard = Yard::start().await;
    let peer = &yard.peer;
    // Left by a push that came to nothing.
    let config = peer.blob("app", "application/vnd.oci.image.config.v1+json", b"{}").await;
    let layer = peer.blob("app", "application/vnd.oci.image.layer.v1.tar", b"layer").await;
    yard.collect_after(HOUR / 2, &[]).await;
    yard.collect_after(HOUR / 2, &[]).await;
    // It is ripe. Another client asks, is told that all is here, and takes its time with the manifest.
    for blob in [&config, &layer] {
        let path = format!("/v2/app/blobs/{}", blob["digest"].as_str().expect("text"));
        assert_eq!(peer.head(&path).await.status, StatusCode::OK);
    }
    for _ in 0..5 {
        yard.collect_after(HOUR / 6, &[]).await;
    }
    let image = manifest(&config, &[layer]);
    assert_eq!(peer.put_manifest("app", "v1", &image).await.status, StatusCode::CREATED);
    assert_eq!(yard.status_of("app", b"layer").await, 200);
    assert_eq!(yard.collect_all(&[]).await, 0);
    peer.world.stop().await;
}

#[tokio::test]
async fn an_old_blob_that_is_mounted_is_kept() {
    let yard = Yard::start().await;
    let peer = &yard.peer;
    // Garbage for almost an hour, and older: the next collection would have it.
    peer.blob("old", "", b"layer").await;
    yard.collect_after(30 * HOUR, &[]).await;
    yard.collect_after(HOUR - Duration::from_secs(1), &[]).await;
    let layer = Digest::of(b"layer");
    let mounted = peer.post(&format!("/v2/new/blobs/uploads/?mount={layer}&from=old"), "").await;
    assert_eq!(mounted.status, StatusCode::CREATED);
    for _ in 0..3 {
        yard.collect_after(HOUR / 4, &[]).await;
    }
    assert_eq!((yard.status_of("old", b"layer").await, yard.status_of("new", b"layer").await), (404, 200));
    let config = peer.blob("new", "application/vnd.oci.image.config.v1+json", b"{}").await;
    let layer = json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": 5});
    assert_eq!(peer.put_manifest("new", "v1", &manifest(&config, &[layer])).await.status, StatusCode::CREATED);
    assert_eq!(yard.collect_all(&[]).await, 0);
    assert_eq!(yard.status_of("new", b"layer").await, 200);
    peer.world.stop().await;
}

#[tokio::test]
async fn a_push_over_a_slow_line_keeps_what_it_has_sent() {
    let yard = Yard::start().await;
    let peer = &yard.peer;
    let config = peer.blob("app", "application/vnd.oci.image.config.v1+json", b"{}").await;
    let first = peer.blob("app", "application/vnd.oci.image.layer.v1.tar", b"first").await;
    peer.blob("other", "", b"of a push that broke off").await;
    let place = peer.begin("app").await;
    // A large layer comes in chunks, half an hour each.
    for n in 0..10 {
        assert_eq!(peer.patch(&place, &format!("{n}-{n}"), "x").await.status, StatusCode::ACCEPTED);
        yard.collect_after(HOUR / 2, &[]).await;
    }
    let second = b"xxxxxxxxxx";
    let done = peer.put(&format!("{place}?digest={}", Digest::of(second)), "").await;
    assert_eq!(done.status, StatusCode::CREATED);
    assert_eq!(yard.status_of("other", b"of a push that broke off").await, 404, "nobody uploads there");
    // Nothing is under way now, but the push may not be over.
    yard.collect_after(HOUR * 2 / 3, &[]).await;
    let second =
        json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": Digest::of(second), "size": 10});
    let pushed = peer.put_manifest("app", "v1", &manifest(&config, &[first, second])).await;
    assert_eq!(pushed.status, StatusCode::CREATED, "{:?}", pushed.body);
    assert_eq!(yard.collect_all(&[]).await, 0);
    peer.world.stop().await;
}

#[tokio::test]
async fn a_push_that_never_comes_to_its_manifest_is_removed_after_a_day() {
    let yard = Yard::start().await;
    let peer = &yard.peer;
    for n in 0..60u8 {
        // Somebody always pushes something.
        peer.blob("app", "", &[n]).await;
        yard.collect_after(HOUR / 2, &[]).await;
    }
    assert_eq!((yard.status_of("app", &[0]).await, yard.status_of("app", &[20]).await), (404, 200));
    peer.world.stop().await;
}

/// Pushers, pullers and deleters of the same few blobs against a collector that comes after every second
/// of their answers, with an hour passing from one collection to the next: a push takes about half a day,
/// on a fast machine and on a busy one. A client may be told that a blob is not there, and begins again;
/// what was acknowledged is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_acknowledged_push_is_whole_however_the_collector_comes_between() {
    let yard = Arc::new(Yard::start().await);
    let tasks = Tasks::new();
    let (collector, shutdown) = (yard.clone(), tasks.shutdown().clone());
    let collected = Arc::new(std::sync::Mutex::new(0));
    let sum = collected.clone();
    tasks.spawn("collector", OnFailure::Stop, async move {
        loop {
            tokio::select! {
                () = shutdown.asked() => break,
                permits = collector.peer.answers.acquire_many(2) => permits.expect("open").forget(),
            }
            let gone = collector.peer.world.images.collect_garbage(&[]).await.expect("no error");
            if let Some(gone) = gone {
                *sum.lock().expect("not poisoned") += gone.blobs;
                collector.hand.advance(HOUR);
            }
        }
    });
    let pushers = (0..4).map(|n| {
        let yard = yard.clone();
        async move {
            for round in 0..12 {
                push_pull_delete(&yard.peer, &format!("app{}", n % 2), (n + round) % 3).await;
            }
        }
    });
    futures::future::join_all(pushers).await;
    tasks.shutdown().ask();
    tasks.drain().await;
    assert!(!tasks.shutdown().is_failure());
    assert!(*collected.lock().expect("not poisoned") > 0, "it had something to do");
    yard.peer.world.stop().await;
}

async fn push_pull_delete(peer: &Peer, repository: &str, which: usize) {
    let layers = [format!("layer {which}"), format!("layer {}", which + 1)];
    let describe = |bytes: &[u8]| json!({"mediaType": "a/b", "digest": Digest::of(bytes), "size": bytes.len()});
    let layer_list: Vec<Value> = layers.iter().map(|layer| describe(layer.as_bytes())).collect();
    let image = manifest(&describe(b"{}"), &layer_list);
    let digest = digest_of(&image);
    for attempt in 0.. {
        assert!(attempt < 1000, "no push came through");
        for bytes in layers.iter().map(String::as_bytes).chain([b"{}".as_slice()]) {
            let path = format!("/v2/{repository}/blobs/{}", Digest::of(bytes));
            let mount = format!("/v2/{repository}/blobs/uploads/?mount={}", Digest::of(bytes));
            if peer.head(&path).await.status != StatusCode::OK
                && peer.post(&mount, "").await.status != StatusCode::CREATED
            {
                peer.blob(repository, "a/b", bytes).await;
            }
        }
        let pushed = peer.put_manifest(repository, &digest, &image).await;
        match pushed.status {
            StatusCode::CREATED => break,
            _ => assert_eq!(pushed.refusal(), (404, "MANIFEST_BLOB_UNKNOWN".to_owned())),
        }
    }
    // Another pusher of the same image may delete it meanwhile; then it is gone as a whole.
    let path = format!("/v2/{repository}/manifests/{digest}");
    let content = peer.world.images.content();
    let held = peer.world.images.hold().await;
    if peer.get(&path).await.status == StatusCode::OK {
        for bytes in layers.iter().map(String::as_bytes).chain([b"{}".as_slice()]) {
            let size = content.linked_blob(repository, &Digest::of(bytes)).await;
            assert_eq!(size.expect("acknowledged, so it is here"), bytes.len() as u64);
        }
    }
    drop(held);
    loop {
        let gone = peer.ask(Method::DELETE, &path, &[], "").await;
        match gone.status.as_u16() {
            202 | 404 => break,
            // Hours pass while somebody else looks.
            503 => {}
            _ => panic!("{gone:?}"),
        }
    }
}
