//! Who may do what: policies of a service and of its project, conditions, custom roles, acting as an account.

use std::time::Duration;

use updraft_api::{iam, run, r#type::Expr};
use updraft_control::{
    around::{NewAccount, RoleChange},
    audit::Trail,
};
use updraft_model::{
    Error, ErrorKind,
    audit::AccessCheck,
    iam::{Account, Principal, User},
};

use crate::world::*;

const PROJECT: &str = "projects/demo-project";
const ACCOUNT: &str = "runner@demo-project.iam.gserviceaccount.com";

fn user(name: &str) -> Principal {
    Principal::User(User {
        email: format!("{name}@example.com"),
        issuer: "https://accounts.example.com".to_owned(),
        groups: vec!["team@example.com".to_owned()],
        domain: None,
    })
}

fn member(name: &str) -> String {
    format!("user:{name}@example.com")
}

fn binding(role: &str, member: &str) -> iam::Binding {
    iam::Binding { role: role.to_owned(), members: vec![member.to_owned()], condition: None }
}

fn when(binding: iam::Binding, expression: &str) -> iam::Binding {
    let condition = Expr { title: "t".to_owned(), expression: expression.to_owned(), ..Expr::default() };
    iam::Binding { condition: Some(condition), ..binding }
}

fn set(resource: &str, bindings: Vec<iam::Binding>) -> iam::SetIamPolicyRequest {
    let policy = iam::Policy { version: 3, bindings, ..Default::default() };
    iam::SetIamPolicyRequest { resource: resource.to_owned(), policy: Some(policy), update_mask: None }
}

async fn of_project(world: &World, bindings: Vec<iam::Binding>) {
    world.control.projects_set_iam_policy(&ME, set(PROJECT, bindings)).await.expect("is set");
}

async fn of_service(world: &World, bindings: Vec<iam::Binding>) {
    let resource = format!("{PARENT}/services/hello");
    world.control.services_set_iam_policy(&ME, set(&resource, bindings)).await.expect("is set");
}

async fn get(world: &World, caller: &Principal, id: &str) -> Result<run::Service, Error> {
    let name = format!("{PARENT}/services/{id}");
    world.control.services_get(caller, run::GetServiceRequest { name }).await
}

async fn create(world: &World, caller: &Principal, id: &str, account: &str) -> Result<(), Error> {
    let mut service = service("app");
    if let Some(template) = &mut service.template {
        account.clone_into(&mut template.service_account);
    }
    let service_id = id.to_owned();
    let request = run::CreateServiceRequest {
        parent: PARENT.to_owned(),
        service_id,
        service: Some(service),
        validate_only: false,
    };
    world.control.services_create(caller, request).await.map(drop)
}

fn is_denied<T>(outcome: Result<T, Error>) -> bool {
    match outcome {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
            true
        }
    }
}

#[tokio::test]
async fn a_project_gives_to_all_its_services_and_a_service_to_itself() {
    let world = World::new().await;
    world.create("hello", service("app")).await;
    world.create("other", service("app")).await;
    let (above, own, nobody) = (user("above"), user("own"), user("nobody"));
    of_project(&world, vec![binding("roles/run.viewer", &member("above"))]).await;
    of_service(&world, vec![binding("roles/run.viewer", &member("own"))]).await;
    for (caller, hello, other) in [(&above, true, true), (&own, true, false), (&nobody, false, false)] {
        assert_eq!(get(&world, caller, "hello").await.is_ok(), hello, "{caller}");
        assert_eq!(get(&world, caller, "other").await.is_ok(), other, "{caller}");
        let parent = format!("{PARENT}/services/hello");
        let list = run::ListRevisionsRequest { parent, ..Default::default() };
        assert_eq!(world.control.revisions_list(caller, list).await.is_ok(), hello, "{caller}");
        let list = run::ListServicesRequest { parent: PARENT.to_owned(), ..Default::default() };
        assert_eq!(world.control.services_list(caller, list).await.is_ok(), hello && other, "{caller}");
    }
    // Who may not see it does not learn whether it is there.
    let missing = get(&world, &nobody, "missing").await.expect_err("is refused");
    let there = get(&world, &nobody, "hello").await.expect_err("is refused");
    assert_eq!(missing.message().replace("missing", "hello"), there.message());
}

#[tokio::test]
async fn another_projects_owner_is_nobody_here() {
    let world = World::new().await;
    world.create("hello", service("app")).await;
    let request = set("projects/other-project", vec![binding("roles/owner", &member("foreign"))]);
    world.control.projects_set_iam_policy(&ME, request).await.expect("is set");
    let foreign = user("foreign");
    assert!(is_denied(get(&world, &foreign, "hello").await));
    let seen = world.control.projects_list(&foreign).await.expect("lists");
    assert_eq!(seen.iter().map(|project| project.id.as_str()).collect::<Vec<_>>(), ["other-project"]);
}

#[tokio::test]
async fn a_condition_counts_by_time_and_by_the_resource() {
    let world = World::new().await;
    world.create("hello", service("app")).await;
    world.create("other", service("app")).await;
    // Worlds begin on 2023-11-14.
    let until = "request.time < timestamp('2023-11-15T00:00:00Z') && resource.name.endsWith('/services/hello')";
    of_project(&world, vec![when(binding("roles/run.viewer", &member("me")), until)]).await;
    let me = user("me");
    assert!(get(&world, &me, "hello").await.is_ok());
    assert!(is_denied(get(&world, &me, "other").await));
    world.advance(Duration::from_secs(24 * 3600)).await;
    assert!(is_denied(get(&world, &me, "hello").await), "the day is over");
}

#[tokio::test]
async fn who_may_set_a_policy_can_be_held_to_some_roles() {
    let world = World::new().await;
    let only = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly(['roles/run.viewer'])";
    let keep = when(binding("roles/resourcemanager.projectIamAdmin", &member("me")), only);
    of_project(&world, vec![keep.clone()]).await;
    let me = user("me");
    let grant = |role: &str| set(PROJECT, vec![keep.clone(), binding(role, &member("friend"))]);
    world.control.projects_set_iam_policy(&me, grant("roles/run.viewer")).await.expect("is allowed");
    assert!(is_denied(world.control.projects_set_iam_policy(&me, grant("roles/owner")).await));
    // Taking away the own bounds is a change of that role, too.
    let unbound = set(PROJECT, vec![binding("roles/resourcemanager.projectIamAdmin", &member("me"))]);
    assert!(is_denied(world.control.projects_set_iam_policy(&me, unbound).await));
    // What counts is what changes on the resource itself, which the default account has nothing of yet.
    let only = only.replace("run.viewer", "iam.serviceAccountUser");
    of_project(&world, vec![when(binding("roles/iam.serviceAccountAdmin", &member("me")), &only)]).await;
    let accounts = world.control.accounts_list(&ME, PROJECT, (0, "")).await.expect("lists").accounts;
    let grant = |role: &str| set(&accounts[0].name, vec![binding(role, &member("friend"))]);
    assert!(is_denied(world.control.accounts_set_iam_policy(&me, grant("roles/iam.serviceAccountTokenCreator")).await));
    world.control.accounts_set_iam_policy(&me, grant("roles/iam.serviceAccountUser")).await.expect("is allowed");
}

#[tokio::test]
async fn a_mask_is_read_by_the_decision_as_it_is_read_by_the_write() {
    let world = World::new().await;
    let only = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly(['roles/run.viewer'])";
    let keep = when(binding("roles/resourcemanager.projectIamAdmin", &member("me")), only);
    of_project(&world, vec![keep.clone()]).await;
    let me = user("me");
    let masked = |role: &str, path: &str| {
        let mask = prost_types::FieldMask { paths: vec![path.to_owned()] };
        let request = set(PROJECT, vec![keep.clone(), binding(role, &member("friend"))]);
        iam::SetIamPolicyRequest { update_mask: Some(mask), ..request }
    };
    for path in ["bindings", " bindings", "bindings\t", " * ", "Bindings", "nothing"] {
        assert!(is_denied(world.control.projects_set_iam_policy(&me, masked("roles/owner", path)).await), "{path}");
    }
    for (path, bindings) in [(" etag", 1), (" bindings", 2), (" *", 2)] {
        let set = world.control.projects_set_iam_policy(&me, masked("roles/run.viewer", path)).await;
        assert_eq!(set.expect("is allowed").bindings.len(), bindings, "{path}");
    }
}

#[tokio::test]
async fn a_deploy_needs_the_right_to_act_as_the_account_that_the_service_runs_as() {
    let world = World::new().await;
    let account = NewAccount { id: "runner".to_owned(), ..NewAccount::default() };
    world.control.accounts_create(&ME, PROJECT, account).await.expect("is made");
    of_project(&world, vec![binding("roles/run.developer", &member("me"))]).await;
    let me = user("me");
    let error = create(&world, &me, "a", ACCOUNT).await.expect_err("may not act as it");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(
        error.message(),
        format!("Permission 'iam.serviceaccounts.actAs' denied on service account {ACCOUNT} (or it may not exist).")
    );
    let resource = format!("{PROJECT}/serviceAccounts/{ACCOUNT}");
    let request = set(&resource, vec![binding("roles/iam.serviceAccountUser", "group:team@example.com")]);
    world.control.accounts_set_iam_policy(&ME, request).await.expect("is set");
    create(&world, &me, "a", ACCOUNT).await.expect("may act as this one");
    assert!(is_denied(create(&world, &me, "b", "").await), "but not as the default one");
    assert!(is_denied(create(&world, &me, "b", "x@other-project.iam.gserviceaccount.com").await));
    assert!(is_denied(create(&world, &me, "b", "somebody@example.com").await));
    // Nor may another account come in by an update.
    let mut changed = get(&world, &me, "a").await.expect("is there");
    if let Some(template) = &mut changed.template {
        template.service_account.clear();
    }
    let request = run::UpdateServiceRequest { service: Some(changed), ..Default::default() };
    assert!(is_denied(world.control.services_update(&me, request).await));
}

#[tokio::test]
async fn nobody_acts_as_an_account_that_is_not_there() {
    let world = World::new().await;
    let roles = ["roles/run.developer", "roles/iam.serviceAccountUser"].map(|role| binding(role, &member("me")));
    of_project(&world, roles.to_vec()).await;
    let denied = |email: &str| {
        format!("Permission 'iam.serviceaccounts.actAs' denied on service account {email} (or it may not exist).")
    };
    // The owner of everything, who may have mistyped it, is told the same.
    for caller in [user("me"), ME] {
        for email in [ACCOUNT, "1-compute@developer.gserviceaccount.com", "somebody@example.com"] {
            let trail = Trail::default();
            let error = trail.follow(create(&world, &caller, "a", email)).await.expect_err(email);
            let is_act_as = |check: &AccessCheck| check.permission == "iam.serviceAccounts.actAs";
            let told: Vec<AccessCheck> = trail.seen().checks.into_iter().filter(is_act_as).collect();
            assert!(told.len() == 1 && !told[0].is_granted, "nobody granted it: {told:?}");
            assert_eq!(
                (error.kind(), error.message()),
                (ErrorKind::PermissionDenied, denied(email).as_str()),
                "{caller}"
            );
        }
    }
    create(&world, &user("me"), "a", "").await.expect("the default one is there by itself");
    let account = NewAccount { id: "runner".to_owned(), ..NewAccount::default() };
    world.control.accounts_create(&ME, PROJECT, account).await.expect("is made");
    create(&world, &user("me"), "b", ACCOUNT).await.expect("is there");
    world.control.accounts_delete(&ME, &format!("{PROJECT}/serviceAccounts/{ACCOUNT}")).await.expect("is deleted");
    assert!(is_denied(create(&world, &user("me"), "c", ACCOUNT).await));
}

#[tokio::test]
async fn only_who_may_set_the_policy_opens_a_service_in_either_way() {
    let world = World::new().await;
    let roles = ["roles/run.developer", "roles/iam.serviceAccountUser"].map(|role| binding(role, &member("me")));
    of_project(&world, roles.to_vec()).await;
    let me = user("me");
    create(&world, &me, "hello", "").await.expect("is created");
    let open = run::Service { invoker_iam_disabled: true, ..get(&world, &me, "hello").await.expect("is there") };
    let request = run::UpdateServiceRequest { service: Some(open), ..Default::default() };
    assert!(is_denied(world.control.services_update(&me, request.clone()).await));
    of_service(&world, vec![binding("roles/run.admin", &member("me"))]).await;
    world.control.services_update(&me, request).await.expect("now it may");
}

#[tokio::test]
async fn an_update_that_may_create_needs_both_rights() {
    let world = World::new().await;
    of_project(&world, vec![binding("roles/iam.serviceAccountUser", "allAuthenticatedUsers")]).await;
    for (id, permissions, allowed) in [
        ("both", vec!["run.services.update", "run.services.create"], true),
        ("update", vec!["run.services.update"], false),
        ("create", vec!["run.services.create"], false),
    ] {
        let permissions = Some(permissions.into_iter().map(str::to_owned).collect());
        let role = RoleChange { permissions, ..RoleChange::default() };
        let role = world.control.roles_create(&ME, PROJECT, (id, role)).await.expect("is made");
        let shared = binding("roles/iam.serviceAccountUser", "allAuthenticatedUsers");
        of_project(&world, vec![shared, binding(&role.name, &member(id))]).await;
        let mut sent = service("app");
        sent.name = format!("{PARENT}/services/{id}-service");
        let request = run::UpdateServiceRequest { service: Some(sent), allow_missing: true, ..Default::default() };
        assert_eq!(world.control.services_update(&user(id), request).await.is_ok(), allowed, "{id}");
    }
}

#[tokio::test]
async fn a_custom_role_grants_while_it_is_there_and_only_in_its_project() {
    let world = World::new().await;
    world.create("hello", service("app")).await;
    let permissions = Some(vec!["run.services.get".to_owned(), "cloudsql.instances.get".to_owned()]);
    let change = RoleChange { permissions, title: Some("Reader".to_owned()), ..RoleChange::default() };
    let made = world.control.roles_create(&ME, PROJECT, ("reader", change.clone())).await.expect("is made");
    assert_eq!((made.name.as_str(), made.stage.as_str()), ("projects/demo-project/roles/reader", "ALPHA"));
    let foreign = world.control.roles_create(&ME, "projects/other-project", ("reader", change)).await.expect("is made");
    let me = user("me");
    of_project(&world, vec![binding(&foreign.name, &member("me"))]).await;
    assert!(is_denied(get(&world, &me, "hello").await), "another project's role is none here");
    of_project(&world, vec![binding(&made.name, &member("me"))]).await;
    assert!(get(&world, &me, "hello").await.is_ok());
    let name = made.name.as_str();
    let stage = |stage: &str| RoleChange { stage: Some(stage.to_owned()), ..RoleChange::default() };
    world.control.roles_update(&ME, name, &stage("DISABLED")).await.expect("is changed");
    assert!(is_denied(get(&world, &me, "hello").await), "disabled");
    let enabled = world.control.roles_update(&ME, name, &stage("GA")).await.expect("is changed");
    assert!(get(&world, &me, "hello").await.is_ok());
    let error = world.control.roles_update(&ME, name, &RoleChange { etag: made.etag, ..stage("GA") }).await;
    assert_eq!(error.expect_err("an old etag").kind(), ErrorKind::Aborted);
    world.control.roles_delete(&ME, name, &enabled.etag).await.expect("is deleted");
    assert!(is_denied(get(&world, &me, "hello").await), "deleted");
    assert!(world.control.roles_get(&ME, name).await.expect("can be taken back").deleted);
    world.control.roles_undelete(&ME, name, "").await.expect("is taken back");
    assert!(get(&world, &me, "hello").await.is_ok());
}

#[tokio::test]
async fn a_deleted_role_goes_after_a_week_and_its_id_is_free_a_month_later() {
    let world = World::new().await;
    let day = Duration::from_secs(24 * 3600);
    let create = async || world.control.roles_create(&ME, PROJECT, ("reader", RoleChange::default())).await;
    let name = create().await.expect("is made").name;
    assert_eq!(create().await.expect_err("is there").kind(), ErrorKind::AlreadyExists);
    world.control.roles_delete(&ME, &name, "").await.expect("is deleted");
    assert_eq!(create().await.expect_err("is deleted").kind(), ErrorKind::FailedPrecondition);
    world.advance(7 * day).await;
    assert_eq!(world.control.roles_get(&ME, &name).await.expect_err("is gone").kind(), ErrorKind::NotFound);
    assert_eq!(world.control.roles_undelete(&ME, &name, "").await.expect_err("is gone").kind(), ErrorKind::NotFound);
    assert_eq!(create().await.expect_err("is taken").kind(), ErrorKind::FailedPrecondition);
    world.advance(30 * day).await;
    create().await.expect("is free");
}

#[tokio::test]
async fn permissions_are_told_as_they_are_decided() {
    let world = World::new().await;
    world.create("hello", service("app")).await;
    of_project(&world, vec![binding("roles/run.invoker", &format!("serviceAccount:{ACCOUNT}"))]).await;
    of_service(&world, vec![when(binding("roles/run.viewer", "allAuthenticatedUsers"), "resource.type != 'x'")]).await;
    let runner = Principal::ServiceAccount(Account {
        email: ACCOUNT.to_owned(),
        unique_id: "1".repeat(21),
        project: "demo-project".to_owned(),
    });
    let ask = |resource: String, permissions: &[&str]| iam::TestIamPermissionsRequest {
        resource,
        permissions: permissions.iter().map(|name| (*name).to_owned()).collect(),
    };
    let all = ["run.services.get", "run.services.delete", "run.routes.invoke"];
    let hello = ask(format!("{PARENT}/services/hello"), &all);
    let held = world.control.services_test_iam_permissions(&runner, hello.clone()).await.expect("answers");
    assert_eq!(held.permissions, ["run.services.get", "run.routes.invoke"]);
    let held = world.control.services_test_iam_permissions(&Principal::Anonymous, hello).await.expect("answers");
    assert!(held.permissions.is_empty());
    let missing = ask(format!("{PARENT}/services/missing"), &all);
    let held = world.control.services_test_iam_permissions(&runner, missing).await.expect("answers");
    assert_eq!(held.permissions, ["run.routes.invoke"], "the project's alone");
    let twice = ["run.routes.invoke", "run.services.get", "run.routes.invoke", "made.up.permission"];
    let project = ask(PROJECT.to_owned(), &twice);
    let held = world.control.projects_test_iam_permissions(&runner, project).await.expect("answers");
    assert_eq!(held.permissions, ["run.routes.invoke"]);
}

#[tokio::test]
async fn an_account_is_judged_by_one_name_whichever_the_caller_takes() {
    let world = World::new().await;
    let account = NewAccount { id: "runner".to_owned(), ..NewAccount::default() };
    let made = world.control.accounts_create(&ME, PROJECT, account).await.expect("is made");
    let all_but = format!("!resource.name.endsWith('/{ACCOUNT}')");
    of_project(&world, vec![when(binding("roles/iam.serviceAccountAdmin", &member("me")), &all_but)]).await;
    for name in [ACCOUNT, &made.unique_id] {
        let name = format!("{PROJECT}/serviceAccounts/{name}");
        assert!(is_denied(world.control.accounts_get(&user("me"), &name).await), "{name}");
    }
    let default = world.control.accounts_list(&ME, PROJECT, (0, "")).await.expect("lists").accounts;
    let default = default.iter().find(|account| account.email != ACCOUNT).expect("the default one");
    for name in [&default.email, &default.unique_id] {
        let name = format!("{PROJECT}/serviceAccounts/{name}");
        world.control.accounts_get(&user("me"), &name).await.expect("is allowed");
    }
}

#[tokio::test]
async fn an_account_of_the_same_address_does_not_inherit_what_a_deleted_one_was_given() {
    let world = World::new().await;
    world.create("hello", service("app")).await;
    let made = async || {
        let account = NewAccount { id: "runner".to_owned(), ..NewAccount::default() };
        world.control.accounts_create(&ME, PROJECT, account).await.expect("is made").unique_id
    };
    let first = made().await;
    let named = format!("serviceAccount:{ACCOUNT}");
    of_project(&world, vec![binding("roles/browser", &named)]).await;
    of_service(&world, vec![binding("roles/run.viewer", &named)]).await;
    let name = format!("{PROJECT}/serviceAccounts/{ACCOUNT}");
    world
        .control
        .accounts_set_iam_policy(&ME, set(&name, vec![binding("roles/viewer", &named)]))
        .await
        .expect("is set");
    let runner = |unique_id: String| {
        let (email, project) = (ACCOUNT.to_owned(), "demo-project".to_owned());
        Principal::ServiceAccount(Account { email, unique_id, project })
    };
    let first_caller = runner(first.clone());
    assert!(get(&world, &first_caller, "hello").await.is_ok());
    world.control.accounts_delete(&ME, &name).await.expect("is deleted");
    let second = runner(made().await);
    assert!(is_denied(get(&world, &second, "hello").await));
    assert!(is_denied(world.control.projects_get(&second, PROJECT).await));
    let request = iam::GetIamPolicyRequest { resource: PROJECT.to_owned(), options: None };
    let policy = world.control.projects_get_iam_policy(&ME, request).await.expect("is there");
    assert_eq!(policy.bindings[0].members, [format!("deleted:{named}?uid={first}")]);
}

#[tokio::test]
async fn everything_that_is_stored_is_its_owners() {
    let world = World::new().await;
    of_project(&world, vec![binding("roles/owner", &member("me"))]).await;
    assert!(is_denied(world.control.authorise_backup(&user("me")).await));
    let permit = world.control.authorise_backup(&ME).await.expect("is allowed");
    assert_eq!(permit.reason(), "without authentication the caller owns everything");
    let (_, permit) =
        world.control.authorise_project(&user("me"), "logging.logEntries.list", "demo-project").await.expect("may");
    assert_eq!(permit.reason(), "roles/owner for user:me@example.com in the policy of projects/demo-project");
}
