//! Where traffic goes.

use std::time::Duration;

use updraft_api::run;
use updraft_model::ErrorKind;

use crate::world::*;

#[tokio::test]
async fn latest_follows_and_the_old_revision_leaves_the_book_after_a_while() {
    let world = World::new().await;
    let old = id(&world.deploy("hello").await.latest_ready_revision);
    let new = id(&world.redeploy("hello", "app2").await.latest_ready_revision);
    assert!(new.starts_with("hello-00002-"));
    let host = host(&world.get("hello").await.uri);
    assert_eq!(world.targets(&host), [(new.clone(), 100)]);
    assert!(world.booked("hello", &old).is_some(), "requests may still hold the old table");
    world.advance(Duration::from_secs(31)).await;
    assert!(world.booked("hello", &old).is_none() && world.booked("hello", &new).is_some());
    let retired = world.revisions("hello").await.into_iter().find(|revision| id(&revision.name) == old);
    let active = retired.expect("is kept").conditions.into_iter().find(|c| c.r#type == "Active").expect("a condition");
    assert_eq!(active.state, i32::from(run::condition::State::ConditionFailed));
    // Rollback in one call: it is prepared and in the book before the route moves.
    let prepares = world.engine.prepares();
    let mut back = world.get("hello").await;
    back.traffic = vec![to(&old, 100, "")];
    let operation = world.update(back).await;
    world.settle().await;
    world.response(&operation).await;
    assert_eq!(world.targets(&host), [(old.clone(), 100)]);
    assert!(world.booked("hello", &old).is_some() && world.engine.prepares() > prepares);
}

#[tokio::test]
async fn once_split_later_deploys_keep_the_split() {
    let world = World::new().await;
    let first = id(&world.deploy("hello").await.latest_ready_revision);
    let mut service = world.redeploy("hello", "app2").await;
    let second = id(&service.latest_ready_revision);
    service.traffic = vec![to(&first, 90, ""), to(&format!("{}/revisions/{second}", service.name), 10, "new")];
    world.update(service).await;
    world.settle().await;
    let service = world.redeploy("hello", "app3").await;
    let host_name = host(&service.uri);
    assert_eq!(world.targets(&host_name), [(first, 90), (second.clone(), 10)]);
    assert_eq!(service.traffic_statuses.len(), 2);
    let tagged = &service.traffic_statuses[1];
    assert_eq!((tagged.tag.as_str(), tagged.revision.as_str()), ("new", second.as_str()));
    assert!(tagged.uri.starts_with("http://new---hello-") && tagged.uri.ends_with(".us-central1.run.localhost:8080"));
    assert_eq!(world.targets(&host(&tagged.uri)), [(second, 100)]);
}

#[tokio::test]
async fn traffic_to_a_revision_that_does_not_exist_is_refused() {
    let world = World::new().await;
    let mut service = world.deploy("hello").await;
    service.traffic = vec![to("hello-00009-xyz", 100, "")];
    let request = run::UpdateServiceRequest { service: Some(service), ..Default::default() };
    let error = world.control.services_update(&ME, request).await.expect_err("is refused");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.message().contains("hello-00009-xyz"));
}

#[tokio::test]
async fn a_revision_can_be_named_and_its_name_means_one_spec() {
    let world = World::new().await;
    let named = |image: &str, name: &str| {
        let mut sent = service(image);
        sent.name = format!("{PARENT}/services/hello");
        sent.template.as_mut().expect("a template").revision = name.to_owned();
        sent
    };
    // A named revision may get its traffic in the same call.
    let mut first = named("app", "hello-v1");
    first.traffic = vec![to("hello-v1", 100, "")];
    world.create("hello", first).await;
    world.pass().await;
    assert_eq!(id(&world.get("hello").await.latest_ready_revision), "hello-v1");
    world.update(named("app2", "hello-v2")).await;
    world.pass().await;
    // The same name with another spec is refused; with its own spec it is the latest again.
    let request = run::UpdateServiceRequest { service: Some(named("app3", "hello-v1")), ..Default::default() };
    let error = world.control.services_update(&ME, request).await.expect_err("is taken");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let operation = world.update(named("app", "hello-v1")).await;
    world.settle().await;
    let back = world.response(&operation).await;
    assert_eq!(id(&back.latest_ready_revision), "hello-v1");
    assert_eq!(world.revisions("hello").await.len(), 2);
    assert_eq!(world.targets(&host(&back.uri)), [("hello-v1".to_owned(), 100)]);
}

#[tokio::test]
async fn a_switched_off_url_leads_nowhere() {
    let world = World::new().await;
    let mut service = world.deploy("hello").await;
    service.default_uri_disabled = true;
    world.update(service).await;
    world.settle().await;
    assert!(world.hosts().is_empty());
    assert!(world.get("hello").await.urls.is_empty());
}
