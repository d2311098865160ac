//! The use cases of services.

use expect_test::expect;
use updraft_api::{run, unpack};
use updraft_model::{ErrorKind, Parent, iam::Principal, name::project_number};
use updraft_store::{Change, Envelope, Key, Kind};

use crate::world::*;

fn create(id: &str, service: run::Service) -> run::CreateServiceRequest {
    let parent = PARENT.to_owned();
    run::CreateServiceRequest { parent, service_id: id.to_owned(), service: Some(service), validate_only: false }
}

#[tokio::test]
async fn an_image_alone_becomes_a_service_with_googles_defaults() {
    let world = World::new().await;
    let operation = world.create("hello", service("app")).await;
    assert!(!operation.done && operation.name.starts_with(&format!("{PARENT}/operations/")));
    let pending: run::Service = unpack(&operation.metadata.expect("metadata")).expect("a service");
    assert!(pending.reconciling && pending.generation == 1 && pending.observed_generation == 0);
    world.pass().await;
    let service = world.get("hello").await;
    assert!(!service.reconciling);
    assert_eq!((service.generation, service.observed_generation), (1, 1));
    assert_eq!(service.latest_ready_revision, service.latest_created_revision);
    assert!(id(&service.latest_ready_revision).starts_with("hello-00001-"));
    assert_eq!(service.traffic, [latest(100)]);
    assert_eq!(service.traffic_statuses[0].revision, id(&service.latest_ready_revision));
    assert_eq!(service.urls[0], service.uri);
    assert_eq!(service.creator, "local@updraft.local");
    let template = service.template.expect("a template");
    expect![[r#"
        timeout 300 concurrency 80 max 100
        app-1 8080 http1 cpu 1000m memory 512Mi idle true
        probe 240 240 1
    "#]]
    .assert_eq(&describe(&template));
}

fn describe(template: &run::RevisionTemplate) -> String {
    let container = &template.containers[0];
    let resources = container.resources.clone().unwrap_or_default();
    let probe = container.startup_probe.clone().unwrap_or_default();
    format!(
        "timeout {} concurrency {} max {}\n{} {} {} cpu {} memory {} idle {}\nprobe {} {} {}\n",
        template.timeout.map_or(0, |timeout| timeout.seconds),
        template.max_instance_request_concurrency,
        template.scaling.map_or(0, |scaling| scaling.max_instance_count),
        container.name,
        container.ports[0].container_port,
        container.ports[0].name,
        resources.limits["cpu"],
        resources.limits["memory"],
        resources.cpu_idle,
        probe.timeout_seconds,
        probe.period_seconds,
        probe.failure_threshold,
    )
}

#[tokio::test]
async fn a_request_that_breaks_rules_names_every_field() {
    let world = World::new().await;
    let mut sent = service("app");
    sent.description = "x".repeat(513);
    sent.traffic = vec![latest(50)];
    let template = sent.template.as_mut().expect("a template");
    template.containers[0].env = vec![run::EnvVar { name: "PORT".to_owned(), values: None }];
    let error = world.control.services_create(&ME, create("hello", sent)).await.expect_err("is refused");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let fields: Vec<&str> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["service.description", "service.template.containers[0].env[0].name", "service.traffic"]);
    for (id, parent, kind) in [
        ("Hello", PARENT, ErrorKind::InvalidArgument),
        ("hello", "projects/demo-project/locations/mars", ErrorKind::NotFound),
        ("hello", "projects/demo-project/locations/-", ErrorKind::InvalidArgument),
        ("hello", "demo-project", ErrorKind::InvalidArgument),
        ("hello", "projects/1/locations/us-central1", ErrorKind::NotFound),
    ] {
        let request = run::CreateServiceRequest { parent: parent.to_owned(), ..create(id, service("app")) };
        let error = world.control.services_create(&ME, request).await.expect_err("is refused");
        assert_eq!(error.kind(), kind, "{id} in {parent}: {error}");
    }
}

#[tokio::test]
async fn a_name_is_taken_once_and_a_project_has_two_names() {
    let world = World::new().await;
    world.create("hello", service("app")).await;
    let error = world.control.services_create(&ME, create("hello", service("app"))).await.expect_err("is taken");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let number = project_number("demo-project");
    let name = format!("projects/{number}/locations/us-central1/services/hello");
    let service = world.control.services_get(&ME, run::GetServiceRequest { name }).await.expect("is found");
    assert_eq!(service.name, format!("{PARENT}/services/hello"));
}

#[tokio::test]
async fn another_project_exists_on_first_use_and_keeps_its_number_over_a_restart() {
    let world = World::new().await;
    let parent = "projects/another-project/locations/us-central1".to_owned();
    let request = run::CreateServiceRequest { parent, ..create("hello", service("app")) };
    world.control.services_create(&ME, request).await.expect("is created");
    world.settle().await;
    let world = world.restart().await;
    let name = format!("projects/{}/locations/us-central1/services/hello", project_number("another-project"));
    let service = world.control.services_get(&ME, run::GetServiceRequest { name }).await.expect("is found");
    assert!(service.name.starts_with("projects/another-project/"));
}

#[tokio::test]
async fn whoever_creates_the_project_first_the_other_service_is_created_too() {
    let world = World::new().await;
    let hello = world.create("hello", service("app")).await;
    let key = Key::new(Kind::Operation, Parent::new("demo-project", "us-central1"), id(&hello.name));
    let some = world.store.get(&key).await.expect("reads").expect("is there");
    world.project_is_made_elsewhere("another-project", some).await;
    let parent = "projects/another-project/locations/us-central1".to_owned();
    let request = run::CreateServiceRequest { parent, ..create("hello", service("app")) };
    world.control.services_create(&ME, request.clone()).await.expect("is created");
    let error = world.control.services_create(&ME, request).await.expect_err("once is enough");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
}

#[tokio::test]
async fn a_field_that_nothing_acts_on_is_named_once() {
    let world = World::new().await;
    let mut sent = service("app");
    sent.iap_enabled = true;
    sent.binary_authorization = Some(run::BinaryAuthorization::default());
    let error = world.control.services_create(&ME, create("hello", sent)).await.expect_err("is refused");
    let fields: Vec<&str> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["service.iap_enabled", "service.binary_authorization"]);
}

#[tokio::test]
async fn what_google_makes_no_revision_of_makes_none_here() {
    let world = World::new().await;
    let mut service = world.deploy("hello").await;
    service.labels.insert("team".to_owned(), "blue".to_owned());
    service.ingress = run::IngressTraffic::InternalOnly.into();
    service.scaling = Some(run::ServiceScaling { max_instance_count: 3, ..Default::default() });
    let operation = world.update(service.clone()).await;
    world.settle().await;
    let changed = world.response(&operation).await;
    assert_eq!((changed.generation, changed.observed_generation), (2, 2));
    assert_eq!(changed.latest_created_revision, service.latest_created_revision);
    assert_eq!(world.revisions("hello").await.len(), 1);
    let entry = world.booked("hello", &id(&changed.latest_ready_revision)).expect("in the book");
    assert_eq!(entry.max, 3);
}

#[tokio::test]
async fn writing_the_same_again_changes_nothing() {
    let world = World::new().await;
    let mut service = world.deploy("hello").await;
    // Output-only fields are ignored, whatever they say.
    service.observed_generation = 77;
    service.uid = "other".to_owned();
    service.latest_ready_revision = "nonsense".to_owned();
    let operation = world.update(service).await;
    world.settle().await;
    let same = world.response(&operation).await;
    assert_eq!((same.generation, same.observed_generation), (1, 1));
    assert_ne!(same.uid, "other");
    assert_eq!(world.revisions("hello").await.len(), 1);
}

#[tokio::test]
async fn a_mask_changes_only_what_it_names() {
    let world = World::new().await;
    world.deploy("hello").await;
    let sent =
        run::Service { name: format!("{PARENT}/services/hello"), description: "new".to_owned(), ..service("other") };
    let mut request = run::UpdateServiceRequest { service: Some(sent), ..Default::default() };
    request.update_mask = Some(prost_types::FieldMask { paths: vec!["description".to_owned()] });
    world.control.services_update(&ME, request.clone()).await.expect("is updated");
    world.settle().await;
    let service = world.get("hello").await;
    assert_eq!(service.description, "new");
    assert_eq!(world.revisions("hello").await.len(), 1);
    request.update_mask = Some(prost_types::FieldMask { paths: vec!["no_such_field".to_owned()] });
    let error = world.control.services_update(&ME, request).await.expect_err("is refused");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn an_old_etag_is_refused_and_a_report_does_not_change_it() {
    let world = World::new().await;
    world.create("hello", service("app")).await;
    let before = world.get("hello").await;
    world.pass().await;
    assert_eq!(world.get("hello").await.etag, before.etag);
    let mut change = before.clone();
    change.description = "one".to_owned();
    world.update(change.clone()).await;
    change.description = "two".to_owned();
    let request = run::UpdateServiceRequest { service: Some(change), ..Default::default() };
    let error = world.control.services_update(&ME, request).await.expect_err("is refused");
    assert_eq!(error.kind(), ErrorKind::Aborted);
    let request = run::DeleteServiceRequest { name: before.name, etag: before.etag, validate_only: false };
    let error = world.control.services_delete(&ME, request).await.expect_err("is refused");
    assert_eq!(error.kind(), ErrorKind::Aborted);
}

#[tokio::test]
async fn an_update_of_nothing_creates_only_when_allowed() {
    let world = World::new().await;
    let sent = run::Service { name: format!("{PARENT}/services/hello"), ..service("app") };
    let mut request = run::UpdateServiceRequest { service: Some(sent), ..Default::default() };
    let error = world.control.services_update(&ME, request.clone()).await.expect_err("is missing");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    request.allow_missing = true;
    world.control.services_update(&ME, request).await.expect("is created");
    world.pass().await;
    assert!(!world.get("hello").await.reconciling);
}

#[tokio::test]
async fn validation_alone_stores_nothing() {
    let world = World::new().await;
    let request = run::CreateServiceRequest { validate_only: true, ..create("hello", service("app")) };
    let operation = world.control.services_create(&ME, request).await.expect("is valid");
    let would_be: run::Service = unpack(&operation.metadata.clone().expect("metadata")).expect("a service");
    assert_eq!(would_be.template.expect("a template").max_instance_request_concurrency, 80);
    let name = format!("{PARENT}/services/hello");
    let error = world.control.services_get(&ME, run::GetServiceRequest { name }).await.expect_err("is not there");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let request = updraft_api::longrunning::GetOperationRequest { name: operation.name };
    assert!(world.control.operations_get(&ME, request).await.is_err());
}

#[tokio::test]
async fn lists_come_newest_first_in_pages_with_tokens_of_their_own() {
    let world = World::new().await;
    for name in ["a", "b", "c"] {
        world.create(name, service("app")).await;
        world.hand.advance(std::time::Duration::from_secs(1));
    }
    world.settle().await;
    let mut request = run::ListServicesRequest { parent: PARENT.to_owned(), page_size: 2, ..Default::default() };
    let first = world.control.services_list(&ME, request.clone()).await.expect("lists");
    let names: Vec<String> = first.services.iter().map(|service| id(&service.name)).collect();
    assert_eq!(names, ["c", "b"]);
    request.page_token = first.next_page_token.clone();
    let second = world.control.services_list(&ME, request.clone()).await.expect("lists");
    assert_eq!((id(&second.services[0].name).as_str(), second.next_page_token.as_str()), ("a", ""));
    for token in ["x", "AAAA", &first.next_page_token.to_lowercase()] {
        request.page_token = token.to_owned();
        let error = world.control.services_list(&ME, request.clone()).await.expect_err("is refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{token}");
    }
    let request = run::ListServicesRequest { parent: PARENT.to_owned(), page_size: -1, ..Default::default() };
    assert!(world.control.services_list(&ME, request).await.is_err());
}

#[tokio::test]
async fn nobody_in_particular_may_do_nothing() {
    let world = World::new().await;
    let error = world
        .control
        .services_create(&Principal::Anonymous, create("hello", service("app")))
        .await
        .expect_err("is refused");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    expect![[r#"Permission 'run.services.create' denied on resource 'projects/demo-project/locations/us-central1' (or resource may not exist)."#]]
        .assert_eq(error.message());
}

#[tokio::test]
async fn a_service_level_field_that_is_not_supported_is_refused_by_name() {
    let world = World::new().await;
    let sent = run::Service { iap_enabled: true, ..service("app") };
    let error = world.control.services_create(&ME, create("hello", sent)).await.expect_err("is refused");
    assert_eq!(error.violations()[0].field, "service.iap_enabled");
}

#[tokio::test]
async fn a_project_has_at_most_a_thousand_services() {
    let world = World::new().await;
    let store = world.store.clone();
    let parent = world.service_name("x").parent;
    world.create("first", service("app")).await;
    world.settle().await;
    let key = Key::new(Kind::Service, parent.clone(), "first");
    let model = store.get(&key).await.expect("readable").expect("just created");
    let copies = (1..1000).map(|n| {
        let key = Key::new(Kind::Service, parent.clone(), format!("copy-{n}"));
        Change::Put(Box::new(Envelope { key, resource_version: 0, ..model.clone() }))
    });
    store.commit(copies.collect()).await.expect("stored");
    let request = create("one-more", service("app"));
    let error = world.control.services_create(&ME, request.clone()).await.expect_err("full");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    let change = Change::Delete { key: Key::new(Kind::Service, parent, "copy-7"), resource_version: 0 };
    store.commit(vec![change]).await.expect("deleted");
    world.control.services_create(&ME, request).await.expect("there is room again");
}
