//! Who may have a secret.

use updraft_api::iam;
use updraft_control::around::NewAccount;
use updraft_model::{ErrorKind, account::default_email, secret::SecretReference};

use crate::{
    secrets::{ACCESSOR, PROJECT, RUNNER, access_as, add, automatic, bind, binding, create, name, runner, shown},
    world::*,
};

#[tokio::test]
async fn policies_of_secret_and_project_add_up_and_conditions_see_the_number_of_the_version() {
    let world = World::new().await;
    create(&world, "db", automatic()).await.expect("is made");
    for value in ["one", "two"] {
        add(&world, "db", value).await.expect("is added");
    }
    let error = access_as(&world, &runner(), "db/versions/latest").await.expect_err("has no role");
    let expected = format!(
        "Permission 'secretmanager.versions.access' denied for resource '{PROJECT}/secrets/db/versions/latest' (or it may not exist)."
    );
    assert_eq!((error.kind(), error.message()), (ErrorKind::PermissionDenied, expected.as_str()));
    let member = format!("serviceAccount:{RUNNER}");
    let only_two = format!(
        "resource.type == 'secretmanager.googleapis.com/SecretVersion' && resource.name == '{}'",
        shown("db/versions/2")
    );
    bind(&world, "db", binding(ACCESSOR, &member, &only_two)).await;
    for (version, may) in [("latest", true), ("2", true), ("1", false), ("3", false)] {
        let outcome = access_as(&world, &runner(), &format!("db/versions/{version}")).await;
        assert_eq!(outcome.is_ok(), may, "{version}: {outcome:?}");
    }
    let permissions = vec!["secretmanager.versions.access".to_owned(), "secretmanager.secrets.get".to_owned()];
    let test = |resource: &str, permissions: Vec<String>| iam::TestIamPermissionsRequest {
        resource: name(resource),
        permissions,
    };
    let held = world.control.secrets_test_iam_permissions(&runner(), test("db", permissions.clone())).await;
    assert!(held.expect("may ask").permissions.is_empty(), "the condition is about versions");
    let policy =
        Some(iam::Policy { bindings: vec![binding("roles/secretmanager.viewer", &member, "")], ..Default::default() });
    let request = iam::SetIamPolicyRequest { resource: PROJECT.to_owned(), policy, update_mask: None };
    world.control.projects_set_iam_policy(&ME, request).await.expect("is set");
    let held = world.control.secrets_test_iam_permissions(&runner(), test("db", permissions.clone())).await;
    assert_eq!(held.expect("may ask").permissions, ["secretmanager.secrets.get"]);
    let held = world.control.secrets_test_iam_permissions(&runner(), test("none", permissions)).await;
    assert_eq!(held.expect("it need not exist").permissions, ["secretmanager.secrets.get"]);
    let error =
        world.control.secrets_test_iam_permissions(&runner(), test("db", vec!["run.services.get".to_owned()])).await;
    assert!(error.expect_err("is of another product").message().contains("not valid for this resource"));
}

#[tokio::test]
async fn an_account_that_is_deleted_leaves_no_right_on_a_secret_to_the_next_of_its_address() {
    let world = World::new().await;
    create(&world, "db", automatic()).await.expect("is made");
    add(&world, "db", "one").await.expect("is added");
    let account = NewAccount { id: "runner".to_owned(), ..NewAccount::default() };
    world.control.accounts_create(&ME, PROJECT, account.clone()).await.expect("is made");
    bind(&world, "db", binding(ACCESSOR, &format!("serviceAccount:{RUNNER}"), "")).await;
    access_as(&world, &runner(), "db/versions/1").await.expect("may read");
    world.control.accounts_delete(&ME, &format!("{PROJECT}/serviceAccounts/{RUNNER}")).await.expect("is there");
    world.control.accounts_create(&ME, PROJECT, account).await.expect("is made again");
    assert!(access_as(&world, &runner(), "db/versions/1").await.is_err());
}

#[tokio::test]
async fn only_an_account_that_is_there_gets_what_everybody_with_an_account_may_read() {
    let world = World::new().await;
    create(&world, "db", automatic()).await.expect("is made");
    add(&world, "db", "one").await.expect("is added");
    bind(&world, "db", binding(ACCESSOR, "allAuthenticatedUsers", "")).await;
    let reference = SecretReference::read("f", "db", "demo-project").expect("sound");
    let reads = async |account: &str| {
        let outcome = world.control.runtime_secret(account, &reference, "1").await;
        outcome.map(drop).map_err(|error| error.kind())
    };
    let elsewhere =
        ["runner@unknown-project.iam.gserviceaccount.com", "1-compute@developer.gserviceaccount.com", "a@b.c"];
    for account in [RUNNER].into_iter().chain(elsewhere) {
        assert_eq!(reads(account).await, Err(ErrorKind::PermissionDenied), "{account}");
    }
    assert_eq!(reads(&default_email("demo-project")).await, Ok(()), "it is there by itself");
    let account = NewAccount { id: "runner".to_owned(), ..NewAccount::default() };
    world.control.accounts_create(&ME, PROJECT, account).await.expect("is made");
    assert_eq!(reads(RUNNER).await, Ok(()));
    world.control.accounts_delete(&ME, &format!("{PROJECT}/serviceAccounts/{RUNNER}")).await.expect("is there");
    assert_eq!(reads(RUNNER).await, Err(ErrorKind::PermissionDenied), "deleted");
}
