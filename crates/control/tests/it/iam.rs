//! Policies.

use std::time::Duration;

use updraft_api::{iam, run};
use updraft_control::around::RoleChange;
use updraft_model::{
    ErrorKind,
    iam::{InvokerAccess, Principal},
    service::Ingress,
};

use crate::{stuck::until, world::*};

fn resource() -> String {
    format!("{PARENT}/services/hello")
}

fn policy(role: &str, member: &str) -> iam::Policy {
    let binding = iam::Binding { role: role.to_owned(), members: vec![member.to_owned()], condition: None };
    iam::Policy { bindings: vec![binding], ..Default::default() }
}

async fn set(world: &World, policy: iam::Policy) -> Result<iam::Policy, updraft_model::Error> {
    let request = iam::SetIamPolicyRequest { resource: resource(), policy: Some(policy), update_mask: None };
    world.control.services_set_iam_policy(&ME, request).await
}

#[tokio::test]
async fn all_users_open_a_service_and_their_removal_closes_it() {
    let world = World::new().await;
    let host = host(&world.deploy("hello").await.uri);
    let invoker = |world: &World| world.route(&host).expect("a route").invoker.clone();
    let InvokerAccess::Restricted(invokers) = invoker(&world) else { panic!("it is open") };
    assert!(invokers.hosts.iter().any(|own| **own == *host) && invokers.policy.bindings.is_empty(), "{invokers:?}");
    let stored = set(&world, policy("roles/run.invoker", "allUsers")).await.expect("is set");
    world.settle().await;
    assert_eq!(invoker(&world), InvokerAccess::Open);
    let request = iam::GetIamPolicyRequest { resource: resource(), options: None };
    let read = world.control.services_get_iam_policy(&ME, request).await.expect("is there");
    assert_eq!(read, stored);
    let closed = iam::Policy { bindings: Vec::new(), ..read };
    set(&world, closed.clone()).await.expect("is set");
    world.settle().await;
    assert_ne!(invoker(&world), InvokerAccess::Open);
    let error = set(&world, closed).await.expect_err("has an old etag");
    assert_eq!(error.kind(), ErrorKind::Aborted);
    assert_eq!(world.get("hello").await.generation, 1, "a policy is no intent of the service");
}

#[tokio::test]
async fn who_may_call_does_not_wait_for_a_revision_that_traffic_waits_for() {
    let world = World::new().await;
    let old = id(&world.deploy("hello").await.latest_ready_revision);
    let service = world.redeploy("hello", "app2").await;
    let (new, host) = (id(&service.latest_ready_revision), host(&service.uri));
    set(&world, policy("roles/run.invoker", "allUsers")).await.expect("is set");
    world.advance(Duration::from_secs(31)).await;
    assert!(world.booked("hello", &old).is_none(), "it has to be prepared again before traffic goes to it");
    world.stuck.hold();
    world.update(run::Service { traffic: vec![to(&old, 100, "")], ..service }).await;
    until("the old one is being prepared", || world.stuck.stuck() > 0).await;
    let route = || world.route(&host).expect("a route");
    assert_eq!((route().invoker.clone(), route().targets.len()), (InvokerAccess::Open, 1));
    // The answer comes once the front door knows.
    set(&world, iam::Policy::default()).await.expect("is set");
    assert_ne!(route().invoker, InvokerAccess::Open, "closed");
    set(&world, policy("roles/run.invoker", "allUsers")).await.expect("is set");
    assert_eq!(route().invoker, InvokerAccess::Open, "opened");
    let internal = i32::from(run::IngressTraffic::InternalOnly);
    world.update(run::Service { ingress: internal, ..world.get("hello").await }).await;
    until("only from inside", || route().ingress == Ingress::Internal).await;
    assert_eq!(world.targets(&host), [(new, 100)], "traffic stays where it is");
    world.update(run::Service { default_uri_disabled: true, ..world.get("hello").await }).await;
    until("nobody by this address", || world.route(&host).is_none()).await;
}

#[tokio::test]
async fn the_front_door_learns_what_the_project_says_and_which_audiences_are_the_services() {
    let world = World::new().await;
    let service = world.deploy("hello").await;
    let host = host(&service.uri);
    let custom_audiences = vec!["my-audience".to_owned()];
    world.update(run::Service { custom_audiences: custom_audiences.clone(), ..service }).await;
    world.settle().await;
    let InvokerAccess::Restricted(invokers) = world.route(&host).expect("a route").invoker.clone() else {
        panic!("it is open");
    };
    assert_eq!(invokers.audiences, custom_audiences);
    assert!(world.project_invokers().is_none());
    let ask = |policy| iam::SetIamPolicyRequest {
        resource: "projects/demo-project".to_owned(),
        policy: Some(policy),
        update_mask: None,
    };
    let mut said = policy("roles/run.invoker", "user:me@example.com");
    said.bindings.extend(policy("roles/viewer", "user:you@example.com").bindings);
    world.control.projects_set_iam_policy(&ME, ask(said)).await.expect("is set");
    // Before the answer, so nothing has to settle.
    let invokers = world.project_invokers().expect("somebody may call");
    assert_eq!(invokers.policy.bindings.len(), 1, "viewers are not the front door's business: {invokers:?}");
    world.control.projects_set_iam_policy(&ME, ask(iam::Policy::default())).await.expect("is set");
    assert!(world.project_invokers().is_none());
}

#[tokio::test]
async fn a_custom_role_counts_at_the_front_door_though_only_a_services_policy_names_it() {
    let world = World::new().await;
    let permissions = Some(vec!["run.routes.invoke".to_owned()]);
    let role = RoleChange { permissions, ..RoleChange::default() };
    let role = world.control.roles_create(&ME, "projects/demo-project", ("caller", role)).await.expect("is made");
    let said = world.project_invokers().expect("its role is known");
    assert!(said.policy.bindings.is_empty() && said.roles.grants(&role.name, "run.routes.invoke"), "{said:?}");
    world.control.roles_delete(&ME, &role.name, "").await.expect("is there");
    assert!(world.project_invokers().is_none(), "it grants nothing any more");
}

#[tokio::test]
async fn the_check_can_be_switched_off() {
    let world = World::new().await;
    let service = world.deploy("hello").await;
    let host = host(&service.uri);
    world.update(run::Service { invoker_iam_disabled: true, ..service }).await;
    world.settle().await;
    assert_eq!(world.route(&host).expect("a route").invoker, InvokerAccess::Open);
}

#[tokio::test]
async fn a_policy_that_makes_no_sense_is_refused_field_by_field() {
    let world = World::new().await;
    world.create("hello", service("app")).await;
    let mut bad = policy("invoker", "me@example.com");
    bad.bindings[0].condition = Some(Default::default());
    let error = set(&world, bad).await.expect_err("is refused");
    let fields: Vec<&str> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
    let binding = |field: &str| format!("policy.bindings[0].{field}");
    let expected = ["role", "condition", "condition.title", "members[0]", "condition.expression"].map(binding);
    assert_eq!(fields, expected);
}

#[tokio::test]
async fn permissions_can_be_asked_for_by_anybody() {
    let world = World::new().await;
    world.create("hello", service("app")).await;
    set(&world, policy("roles/run.viewer", "allUsers")).await.expect("is set");
    let request = iam::TestIamPermissionsRequest {
        resource: resource(),
        permissions: vec!["run.services.get".to_owned(), "run.services.delete".to_owned()],
    };
    let mine = world.control.services_test_iam_permissions(&ME, request.clone()).await.expect("answers");
    assert_eq!(mine.permissions.len(), 2);
    let theirs = world.control.services_test_iam_permissions(&Principal::Anonymous, request).await.expect("answers");
    assert_eq!(theirs.permissions, ["run.services.get"]);
}
