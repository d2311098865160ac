//! Keys of service accounts, and the book of those that may be used.

use std::{sync::Arc, time::SystemTime};

use updraft_api::{iam, run};
use updraft_control::around::{AccountChange, KEYS_MAX, KeyOrigin, NewAccount, NewKey};
use updraft_model::{ErrorKind, account::Standing, iam::Principal};

use crate::{
    secrets,
    world::{ME, World, service},
};

const ROBOT: &str = "projects/demo-project/serviceAccounts/deployer@demo-project.iam.gserviceaccount.com";

fn key(id: &str) -> NewKey {
    NewKey {
        id: id.to_owned(),
        certificate: format!("certificate {id}"),
        origin: KeyOrigin::Made,
        valid_after: SystemTime::UNIX_EPOCH,
        valid_before: None,
    }
}

async fn with_robot() -> (World, String) {
    let world = World::new().await;
    let new = NewAccount { id: "deployer".to_owned(), ..NewAccount::default() };
    let made = world.control.accounts_create(&ME, "demo-project", new).await.expect("made");
    (world, made.unique_id)
}

async fn switch(world: &World, disabled: bool) {
    let change = AccountChange { disabled: Some(disabled), ..AccountChange::default() };
    let named = (ROBOT, "iam.serviceAccounts.disable");
    world.control.accounts_change(&ME, named, &change).await.expect("changed");
}

#[tokio::test]
async fn the_book_says_how_an_account_stands_before_the_call_has_answered_and_after_a_restart() {
    let (world, id) = with_robot().await;
    let standing = |world: &World, id: &str| world.accounts.borrow().standing(id, "demo-project");
    assert_eq!(standing(&world, &id), Standing::Active);
    switch(&world, true).await;
    assert_eq!(standing(&world, &id), Standing::Disabled);
    let store = Arc::clone(&world.store);
    world.end().await;
    let world = World::over(store).await;
    assert_eq!(standing(&world, &id), Standing::Disabled);
    switch(&world, false).await;
    assert_eq!(standing(&world, &id), Standing::Active);
    assert_eq!(world.control.accounts_delete(&ME, ROBOT).await.expect("deleted"), id);
    assert_eq!(standing(&world, &id), Standing::Gone);
    let new = NewAccount { id: "deployer".to_owned(), ..NewAccount::default() };
    let other = world.control.accounts_create(&ME, "demo-project", new).await.expect("made").unique_id;
    assert_eq!((standing(&world, &id), standing(&world, &other)), (Standing::Gone, Standing::Active));
    // The default one is there without a word, and can be disabled.
    let email = updraft_model::account::default_email("demo-project");
    let default = updraft_model::account::default_unique_id("demo-project");
    assert_eq!(standing(&world, &default), Standing::Active);
    let name = format!("projects/-/serviceAccounts/{email}");
    let change = AccountChange { disabled: Some(true), ..AccountChange::default() };
    world.control.accounts_change(&ME, (&name, "iam.serviceAccounts.disable"), &change).await.expect("changed");
    assert_eq!(standing(&world, &default), Standing::Disabled);
    world.end().await;
}

#[tokio::test]
async fn what_another_wrote_reaches_the_book_by_the_watch_of_the_store() {
    let (world, id) = with_robot().await;
    let other = World::over(Arc::clone(&world.store)).await;
    switch(&other, true).await;
    world.control.settled().await;
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.accounts.borrow().standing(&id, "demo-project"), Standing::Disabled);
    other.end().await;
    world.end().await;
}

#[tokio::test]
async fn keys_are_kept_with_their_account_over_a_restart_and_go_with_it() {
    let (world, id) = with_robot().await;
    world.control.keys_create(&ME, ROBOT, key("k1")).await.expect("made");
    let twice = world.control.keys_create(&ME, ROBOT, key("k1")).await.expect_err("the same again");
    assert_eq!(twice.kind(), ErrorKind::AlreadyExists);
    let one = format!("{ROBOT}/keys/k1");
    world.control.keys_disable(&ME, &one).await.expect("disabled");
    let published = world.accounts.borrow().find(&id).map(|(_, entry)| entry.keys.clone()).expect("in the book");
    assert_eq!(published.iter().map(|key| (key.id.as_str(), key.is_enabled)).collect::<Vec<_>>(), [("k1", false)]);
    switch(&world, true).await;
    let store = Arc::clone(&world.store);
    world.end().await;
    let world = World::over(store).await;
    let kept = world.control.keys_get(&ME, &one).await.expect("kept");
    assert_eq!((kept.held.certificate.as_str(), kept.held.is_enabled), ("certificate k1", false));
    world.control.keys_enable(&ME, &one).await.expect("enabled");
    let email = "deployer@demo-project.iam.gserviceaccount.com";
    for named in [email, &id] {
        let (account, keys) = world.control.account_keys(named).await.expect("readable").expect("there");
        assert_eq!((account.email.as_str(), account.is_enabled, keys.len()), (email, false, 1), "{named}");
    }
    assert!(world.control.account_keys("nobody").await.expect("readable").is_none());
    for n in 2..=KEYS_MAX {
        world.control.keys_create(&ME, ROBOT, key(&format!("k{n}"))).await.expect("room");
    }
    let full = world.control.keys_create(&ME, ROBOT, key("k11")).await.expect_err("one too many");
    assert_eq!(full.kind(), ErrorKind::FailedPrecondition);
    world.control.keys_delete(&ME, &one).await.expect("deleted");
    assert_eq!(world.control.keys_delete(&ME, &one).await.expect_err("gone").kind(), ErrorKind::NotFound);
    assert_eq!(world.control.keys_list(&ME, ROBOT).await.expect("listed").len(), KEYS_MAX - 1);
    for name in [ROBOT.to_owned(), format!("{ROBOT}/keys/"), format!("{ROBOT}/keys/a/b")] {
        let error = world.control.keys_get(&ME, &name).await.expect_err("no name of a key");
        assert_eq!(error.violations()[0].field, "name", "{name}");
    }
    world.control.accounts_delete(&ME, ROBOT).await.expect("deleted");
    let new = NewAccount { id: "deployer".to_owned(), ..NewAccount::default() };
    world.control.accounts_create(&ME, "demo-project", new).await.expect("made");
    assert!(world.control.keys_list(&ME, ROBOT).await.expect("listed").is_empty());
    world.end().await;
}

#[tokio::test]
async fn who_has_no_permission_learns_nothing_of_keys() {
    let (world, _) = with_robot().await;
    world.control.keys_create(&ME, ROBOT, key("k1")).await.expect("made");
    let (nobody, one) = (Principal::Anonymous, format!("{ROBOT}/keys/k1"));
    let control = &world.control;
    for error in [
        control.keys_create(&nobody, ROBOT, key("k2")).await.map(drop).expect_err("create"),
        control.keys_list(&nobody, ROBOT).await.map(drop).expect_err("list"),
        control.keys_get(&nobody, &one).await.map(drop).expect_err("get"),
        control.keys_delete(&nobody, &one).await.expect_err("delete"),
        control.keys_enable(&nobody, &one).await.expect_err("enable"),
        control.keys_disable(&nobody, &one).await.expect_err("disable"),
        control.account_identity(&nobody, "iam.serviceAccounts.signJwt", ROBOT).await.map(drop).expect_err("sign"),
    ] {
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    }
    world.end().await;
}

#[tokio::test]
async fn what_a_deleted_account_was_given_in_other_projects_is_not_the_next_ones() {
    let (world, id) = with_robot().await;
    let email = ROBOT.rsplit('/').next().expect("an address");
    let (named, other) = (format!("serviceAccount:{email}"), "projects/other-project");
    let parent = format!("{other}/locations/us-central1");
    let create = run::CreateServiceRequest {
        parent: parent.clone(),
        service_id: "hello".to_owned(),
        service: Some(service("app")),
        validate_only: false,
    };
    world.control.services_create(&ME, create).await.expect("is created");
    let secret = updraft_api::secretmanager::CreateSecretRequest {
        parent: other.to_owned(),
        secret_id: "db".to_owned(),
        secret: Some(secrets::automatic()),
    };
    world.control.secrets_create(&ME, secret).await.expect("is made");
    let new = NewAccount { id: "another".to_owned(), ..NewAccount::default() };
    let account = world.control.accounts_create(&ME, other, new).await.expect("made").name;
    let (hello, db) = (format!("{parent}/services/hello"), format!("{other}/secrets/db"));
    let ask = |resource: &str| {
        let binding =
            secrets::binding("roles/viewer", &named.to_uppercase().replace("SERVICEACCOUNT", "serviceAccount"), "");
        let policy = iam::Policy {
            bindings: vec![binding, secrets::binding("roles/browser", "allUsers", "")],
            ..Default::default()
        };
        iam::SetIamPolicyRequest { resource: resource.to_owned(), policy: Some(policy), update_mask: None }
    };
    world.control.projects_set_iam_policy(&ME, ask(other)).await.expect("is set");
    world.control.services_set_iam_policy(&ME, ask(&hello)).await.expect("is set");
    world.control.secrets_set_iam_policy(&ME, ask(&db)).await.expect("is set");
    world.control.accounts_set_iam_policy(&ME, ask(&account)).await.expect("is set");
    world.control.accounts_delete(&ME, ROBOT).await.expect("deleted");
    let get = |resource: &str| iam::GetIamPolicyRequest { resource: resource.to_owned(), options: None };
    for policy in [
        world.control.projects_get_iam_policy(&ME, get(other)).await,
        world.control.services_get_iam_policy(&ME, get(&hello)).await,
        world.control.secrets_get_iam_policy(&ME, get(&db)).await,
        world.control.accounts_get_iam_policy(&ME, get(&account)).await,
    ] {
        let bindings = policy.expect("is there").bindings;
        assert_eq!(bindings[0].members, [format!("deleted:{named}?uid={id}")]);
        assert_eq!(bindings[1].members, ["allUsers"]);
    }
    world.end().await;
}
