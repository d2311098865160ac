//! From created to deleted: checks, failures, restarts.

use std::time::Duration;

use updraft_api::{run, unpack};
use updraft_engine::EngineError;
use updraft_model::{ErrorKind, channel::Check};

use crate::world::*;

#[tokio::test]
async fn a_new_revision_is_checked_before_traffic_goes_to_it() {
    let world = World::new().await;
    world.create("hello", service("app")).await;
    world.settle().await;
    let created = id(&world.get("hello").await.latest_created_revision);
    let entry = world.booked("hello", &created).expect("offered for a check");
    assert_eq!((entry.check, entry.min, entry.concurrency), (Check::Wanted, 0, 80));
    assert_eq!(entry.spec.ingress.image, image("app"));
    let env: Vec<&str> = entry.spec.ingress.env.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(env, ["PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"]);
    assert!(world.hosts().is_empty(), "no route before the check");
    world.pass().await;
    assert_eq!(world.booked("hello", &created).expect("stays").check, Check::Done);
    assert_eq!(world.hosts().len(), 2);
    let host = host(&world.get("hello").await.uri);
    assert_eq!(world.targets(&host), [(created, 100)]);
}

#[tokio::test]
async fn a_failed_revision_leaves_the_old_one_serving_and_says_why() {
    let world = World::new().await;
    let before = world.deploy("hello").await;
    let old = id(&before.latest_ready_revision);
    let operation = world.update(run::Service { template: service("broken").template, ..before }).await;
    world.fail().await;
    let failed = world.get("hello").await;
    let new = id(&failed.latest_created_revision);
    let (code, message) = world.error(&operation).await;
    assert_eq!(code, 9);
    let sentence =
        format!("Revision '{new}' is not ready and cannot serve traffic. The user-provided container failed");
    assert!(message.starts_with(&sentence) && message.ends_with("boom"), "{message}");
    // The operation has ended, in v1 the failure counts as observed; what v2 calls so goes on serving.
    assert_eq!((failed.generation, failed.observed_generation, failed.reconciling), (2, 1, false));
    assert_eq!(
        updraft_api::v1::service_json(&updraft_api::v1::Stored::of(failed.clone()))["status"]["observedGeneration"],
        2
    );
    assert_eq!(failed.terminal_condition.expect("ready").message, message);
    assert_eq!(id(&failed.latest_ready_revision), old);
    assert_eq!(world.targets(&host(&failed.uri)), [(old.clone(), 100)]);
    assert!(world.booked("hello", &new).is_none() && world.booked("hello", &old).is_some());
    let revision = world.revisions("hello").await.into_iter().find(|revision| id(&revision.name) == new);
    let mut conditions = revision.expect("is kept").conditions.into_iter();
    assert!(conditions.any(|c| c.r#type == "ContainerHealthy" && c.message == message));
    // Traffic may still be changed: that the latest revision failed is not that change's fault.
    let mut pinned = world.get("hello").await;
    pinned.traffic = vec![to(&old, 100, "")];
    let operation = world.update(pinned).await;
    world.settle().await;
    world.response(&operation).await;
}

#[tokio::test]
async fn an_image_that_is_not_there_fails_the_revision() {
    let world = World::new().await;
    let mut sent = service("app");
    sent.template.as_mut().expect("a template").containers[0].image = "localhost:5000/nothing:v1".to_owned();
    let operation = world.create("hello", sent).await;
    world.settle().await;
    let (code, message) = world.error(&operation).await;
    assert_eq!(code, 9);
    assert!(message.contains("is not ready and cannot serve traffic. Image 'localhost:5000/nothing:v1'"), "{message}");
    let revision = &world.revisions("hello").await[0];
    let condition = revision.conditions.iter().find(|c| c.r#type == "ContainerReady").expect("a condition");
    let missing = run::condition::Reasons::Reason(run::condition::CommonReason::ContainerMissing.into());
    assert_eq!(condition.reasons, Some(missing));
    assert!(world.hosts().is_empty() && world.book_len() == 0);
}

#[tokio::test]
async fn a_passing_fault_is_tried_again_until_it_has_lasted_too_long() {
    let world = World::new().await;
    let fault = || Some(EngineError::Unavailable { image: image("app"), cause: "no route to host".to_owned() });
    world.engine.fail_prepare(&image("app"), fault());
    let operation = world.create("hello", service("app")).await;
    world.settle().await;
    world.engine.fail_prepare(&image("app"), None);
    world.advance(Duration::from_secs(1)).await;
    world.pass().await;
    world.response(&operation).await;

    world.engine.fail_prepare(&image("app"), fault());
    let operation = world.create("other", service("app")).await;
    for _ in 0..8 {
        world.advance(Duration::from_secs(10)).await;
    }
    let (_, message) = world.error(&operation).await;
    assert!(message.contains("could not be fetched. No route to host."), "{message}");
}

#[tokio::test]
async fn what_is_not_supported_is_named_and_never_started() {
    let world = World::new().await;
    let mut sent = service("app");
    sent.template.as_mut().expect("a template").volumes =
        vec![run::Volume { name: "data".to_owned(), volume_type: None }];
    let operation = world.create("hello", sent).await;
    world.settle().await;
    let (_, message) = world.error(&operation).await;
    assert!(message.ends_with("This version of Updraft does not support: volumes[0]."), "{message}");
    assert_eq!(world.engine.prepares(), 0);
}

#[tokio::test]
async fn a_waived_check_is_not_made() {
    let world = World::new().await;
    let mut sent = service("app");
    sent.template.as_mut().expect("a template").health_check_disabled = true;
    let operation = world.create("hello", sent).await;
    world.settle().await;
    let ready = world.response(&operation).await;
    let entry = world.booked("hello", &id(&ready.latest_ready_revision)).expect("in the book");
    assert_eq!(entry.check, Check::Done);
}

#[tokio::test]
async fn after_a_restart_everything_is_published_again() {
    let world = World::new().await;
    world.deploy("hello").await;
    world.create("pending", service("app")).await;
    world.settle().await;
    let hosts = world.hosts();
    let world = world.restart().await;
    assert_eq!(world.hosts(), hosts);
    let ready = id(&world.get("hello").await.latest_ready_revision);
    assert_eq!(world.booked("hello", &ready).expect("in the book").check, Check::Done);
    assert!(world.engine.prepares() >= 2, "a new engine knows nothing");
    world.pass().await;
    assert!(!world.get("pending").await.reconciling);
}

#[tokio::test]
async fn a_ready_revision_whose_image_is_gone_does_not_hold_up_the_others() {
    let world = World::new().await;
    let first = world.deploy("hello").await;
    let old = id(&first.latest_ready_revision);
    let mut second = world.redeploy("hello", "app2").await;
    second.traffic = vec![to(&old, 10, ""), latest(90)];
    world.update(second).await;
    world.settle().await;
    let world = World::over(world.store.clone()).await;
    let uri = world.get("hello").await.uri;
    assert_eq!(world.targets(&host(&uri)).len(), 2);
    world.engine.fail_prepare(
        &image("app"),
        Some(EngineError::ImageMissing { image: image("app"), cause: "deleted".to_owned() }),
    );
    let world = World::over(world.store.clone()).await;
    assert_eq!(world.targets(&host(&uri)).len(), 2);
}

#[tokio::test]
async fn a_deleted_service_takes_its_revisions_along_and_frees_its_name() {
    let mut world = World::new().await;
    let service_before = world.deploy("hello").await;
    let request = run::DeleteServiceRequest { name: service_before.name.clone(), ..Default::default() };
    let operation = world.control.services_delete(&ME, request.clone()).await.expect("is deleted");
    let error = world.control.services_delete(&ME, request).await.expect_err("is gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // The name is free at once: a creation waits for the rest of the deletion.
    world.create("hello", service("app")).await;
    world.settle().await;
    let deleted = world.response(&operation).await;
    assert!(deleted.delete_time.is_some());
    assert_eq!(world.deleted.try_recv(), Ok(world.service_name("hello")), "its logs can go");
    assert!(world.hosts().is_empty());
    world.pass().await;
    let again = world.get("hello").await;
    assert_ne!(again.uid, service_before.uid);
    assert_eq!(world.revisions("hello").await.len(), 1);
}

#[tokio::test]
async fn only_a_revision_that_nobody_needs_can_be_deleted() {
    let world = World::new().await;
    let first = world.deploy("hello").await;
    let second = world.redeploy("hello", "app2").await;
    let delete = |name: &str| run::DeleteRevisionRequest { name: name.to_owned(), ..Default::default() };
    let latest = second.latest_ready_revision.clone();
    let error = world.control.revisions_delete(&ME, delete(&latest)).await.expect_err("is the latest");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    let old = first.latest_ready_revision;
    let tagged = run::Service { traffic: vec![crate::world::latest(100), to(&id(&old), 0, "old")], ..second };
    world.update(tagged).await;
    let error = world.control.revisions_delete(&ME, delete(&old)).await.expect_err("has a tag");
    assert!(error.message().contains("traffic is sent to it"), "{error}");
    world.settle().await;
    let mut plain = world.get("hello").await;
    plain.traffic.clear();
    world.update(plain).await;
    world.settle().await;
    let operation = world.control.revisions_delete(&ME, delete(&old)).await.expect("is retired");
    world.settle().await;
    let ended = world.operation(&operation).await;
    let gone: run::Revision = unpack(&ended.metadata.expect("metadata")).expect("a revision");
    assert!(ended.done && gone.delete_time.is_some());
    assert_eq!(world.revisions("hello").await.len(), 1);
}

#[tokio::test]
async fn a_revision_that_is_being_deleted_cannot_become_the_latest_again() {
    let world = World::new().await;
    let named = |revision: &str, image: &str| {
        let mut sent = service(image);
        sent.template.as_mut().expect("a template").revision = revision.to_owned();
        sent
    };
    world.create("ag", named("ag-a", "app")).await;
    world.pass().await;
    let mut changed = world.get("ag").await;
    changed.template = named("ag-b", "app2").template;
    world.update(changed.clone()).await;
    world.pass().await;
    let request =
        run::DeleteRevisionRequest { name: format!("{PARENT}/services/ag/revisions/ag-a"), ..Default::default() };
    world.control.revisions_delete(&ME, request).await.expect("is retired");
    changed.template = named("ag-a", "app").template;
    changed.etag.clear();
    let again = run::UpdateServiceRequest { service: Some(changed), ..Default::default() };
    let error = world.control.services_update(&ME, again.clone()).await.expect_err("is on its way out");
    assert_eq!((error.kind(), error.message()), (ErrorKind::Aborted, "Revision 'ag-a' is being deleted; try again."));
    // Once it is gone, the name is free.
    world.settle().await;
    world.control.services_update(&ME, again).await.expect("makes a new one");
    world.pass().await;
    assert_eq!(id(&world.get("ag").await.latest_ready_revision), "ag-a");
}

#[tokio::test]
async fn what_no_revision_needs_leaves_the_disk() {
    let world = World::new().await;
    world.deploy("hello").await;
    let shelf = world.dir.path().join("blobs/sha256/bb");
    std::fs::create_dir_all(&shelf).expect("a directory");
    let orphan = shelf.join("b".repeat(64));
    std::fs::write(&orphan, "nobody's").expect("a file");
    // The file is of today, the virtual time is not.
    let written = orphan.metadata().and_then(|metadata| metadata.modified()).expect("a time");
    let ahead = written.duration_since(world.now()).unwrap_or_default();
    world.advance(ahead).await;
    // It has to be nobody's in two collections that lie an hour apart, and files are removed beside virtual time.
    let mut left = 10_000;
    while orphan.exists() && left > 0 {
        world.advance(Duration::from_secs(3600)).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        left -= 1;
    }
    assert!(!orphan.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_whole_line_holds_over_sqlite_and_several_threads() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = updraft_store::SqliteStore::open(dir.path()).await.expect("a store");
    let world = World::over(std::sync::Arc::new(store)).await;
    for name in ["a", "b", "c", "d"] {
        world.create(name, service("app")).await;
    }
    world.pass().await;
    let second = world.redeploy("a", "app2").await;
    assert!(id(&second.latest_ready_revision).starts_with("a-00002-"));
    assert_eq!(world.hosts().len(), 8);
    let world = world.restart().await;
    assert_eq!(world.hosts().len(), 8);
    assert_eq!(world.targets(&host(&second.uri)), [(id(&second.latest_ready_revision), 100)]);
}
