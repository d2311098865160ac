use std::time::{Duration, UNIX_EPOCH};

use expect_test::expect;
use updraft_model::iam::{Account, Condition, User};

use super::*;

fn user(email: &str) -> Principal {
    Principal::User(User {
        email: email.to_owned(),
        issuer: "https://accounts.example.com".to_owned(),
        groups: vec!["deployers@example.com".to_owned()],
        domain: Some("example.com".to_owned()),
    })
}

fn account() -> Principal {
    Principal::ServiceAccount(Account {
        email: "ci@demo.iam.gserviceaccount.com".to_owned(),
        unique_id: "100000000000000000001".to_owned(),
        project: "demo".to_owned(),
    })
}

fn binding(role: &str, members: &[&str], condition: Option<(&str, &str)>) -> Binding {
    Binding {
        role: role.to_owned(),
        members: members.iter().map(|member| (*member).to_owned()).collect(),
        condition: condition.map(|(title, expression)| Condition {
            title: title.to_owned(),
            expression: expression.to_owned(),
            ..Condition::default()
        }),
    }
}

fn policy(role: &str, member: &str) -> Policy {
    Policy { bindings: vec![binding(role, &[member], None)] }
}

fn ask(principal: &Principal, permission: &str, layers: &[(&str, &Policy)]) -> Decision {
    let target = Target {
        name: "projects/demo/locations/us-central1/services/hello".to_owned(),
        kind: "run.googleapis.com/Service",
        service: "run.googleapis.com",
    };
    let question = Question {
        principal,
        permission,
        target: &target,
        now: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        modified_roles: &[],
    };
    let layers: Vec<Layer<'_>> = layers.iter().map(|(of, policy)| Layer { of, policy }).collect();
    let mut roles = CustomRoles::default();
    roles.insert("projects/demo/roles/reader", ["run.services.get".to_owned()]);
    decide(&question, &layers, &roles)
}

#[test]
fn members_mean_whom_they_name() {
    let me = user("Me@Example.com");
    let bare = Principal::User(User {
        email: "other@example.com".to_owned(),
        issuer: "https://elsewhere.example.org".to_owned(),
        groups: Vec::new(),
        domain: None,
    });
    let anonymous = Principal::Anonymous;
    let ci = account();
    let everybody: [(&str, &Principal); 4] = [("me", &me), ("bare", &bare), ("ci", &ci), ("nobody", &anonymous)];
    let members = [
        "allUsers",
        "allAuthenticatedUsers",
        "user:me@example.com",
        "user:ME@EXAMPLE.COM",
        "user:example.com",
        "user:ci@demo.iam.gserviceaccount.com",
        "user:anonymous",
        "serviceAccount:ci@demo.iam.gserviceaccount.com",
        "serviceAccount:me@example.com",
        "serviceAccount:100000000000000000001",
        "group:deployers@example.com",
        "group:Deployers@example.com",
        "group:deployers",
        "domain:example.com",
        "domain:EXAMPLE.com",
        "domain:demo.iam.gserviceaccount.com",
        "deleted:user:me@example.com?uid=1",
        "deleted:serviceAccount:ci@demo.iam.gserviceaccount.com?uid=1",
        "projectOwner:demo",
        "principal://iam.googleapis.com/x",
        "principalSet:x",
        "me@example.com",
        "",
    ];
    let mut table = String::new();
    for member in members {
        let who: Vec<&str> =
            everybody.iter().filter(|(_, principal)| is_member(member, principal)).map(|(name, _)| *name).collect();
        table.push_str(&format!("{member}: {}\n", who.join(" ")));
    }
    expect![[r#"
        allUsers: me bare ci nobody
        allAuthenticatedUsers: me bare ci
        user:me@example.com: me
        user:ME@EXAMPLE.COM: me
        user:example.com: 
        user:ci@demo.iam.gserviceaccount.com: 
        user:anonymous: 
        serviceAccount:ci@demo.iam.gserviceaccount.com: ci
        serviceAccount:me@example.com: 
        serviceAccount:100000000000000000001: 
        group:deployers@example.com: me
        group:Deployers@example.com: me
        group:deployers: 
        domain:example.com: me
        domain:EXAMPLE.com: me
        domain:demo.iam.gserviceaccount.com: 
        deleted:user:me@example.com?uid=1: 
        deleted:serviceAccount:ci@demo.iam.gserviceaccount.com?uid=1: 
        projectOwner:demo: 
        principal://iam.googleapis.com/x: 
        principalSet:x: 
        me@example.com: 
        : 
    "#]]
    .assert_eq(&table);
}

#[test]
fn a_decision_says_which_binding_of_which_policy_it_comes_from() {
    let own = policy("roles/run.viewer", "allUsers");
    let above = Policy {
        bindings: vec![
            binding("roles/run.invoker", &["user:me@example.com"], None),
            binding("roles/run.admin", &["user:you@example.com"], None),
            binding("roles/run.developer", &["user:me@example.com"], Some(("shops", "resource.name.endsWith('shop')"))),
            binding("roles/run.developer", &["user:me@example.com"], Some(("broken", "resource.name == 1 + true"))),
            binding("roles/run.developer", &["domain:example.com"], Some(("until 2030", UNTIL_2030))),
            binding("projects/demo/roles/reader", &["serviceAccount:ci@demo.iam.gserviceaccount.com"], None),
            binding("projects/other/roles/reader", &["allUsers"], None),
        ],
    };
    let layers = [("projects/demo/locations/us-central1/services/hello", &own), ("projects/demo", &above)];
    let me = user("me@example.com");
    let mut table = String::new();
    for (principal, permission, layers) in [
        (&Principal::Local, "run.services.delete", &[][..]),
        (&Principal::AdminToken, "updraft.backups.create", &[]),
        (&Principal::System("control"), "run.services.delete", &[]),
        (&Principal::Anonymous, "run.services.get", &layers),
        (&Principal::Anonymous, "run.services.delete", &layers),
        (&Principal::Anonymous, "run.services.get", &[]),
        (&me, "run.services.delete", &layers),
        (&me, "run.routes.invoke", &layers),
        (&me, "run.services.setIamPolicy", &layers),
        (&account(), "run.services.get", &layers[1..]),
        (&account(), "run.services.list", &layers[1..]),
    ] {
        table.push_str(&format!("{principal} {permission}: {}\n", ask(principal, permission, layers)));
    }
    expect![[r#"
        local@updraft.local run.services.delete: allowed: without authentication the caller owns everything
        admin@updraft.local updraft.backups.create: allowed: the holder of the admin token owns everything
        control@system.updraft.local run.services.delete: allowed: the platform itself, as control
        anonymous run.services.get: allowed: roles/run.viewer for allUsers in the policy of projects/demo/locations/us-central1/services/hello
        anonymous run.services.delete: denied: no binding grants run.services.delete to anonymous (projects/demo/locations/us-central1/services/hello, projects/demo)
        anonymous run.services.get: denied: no binding grants run.services.get to anonymous (no policy has a say)
        me@example.com run.services.delete: allowed: roles/run.developer for domain:example.com in the policy of projects/demo, while 'until 2030' holds
        me@example.com run.routes.invoke: allowed: roles/run.invoker for user:me@example.com in the policy of projects/demo
        me@example.com run.services.setIamPolicy: denied: no binding grants run.services.setIamPolicy to me@example.com (projects/demo/locations/us-central1/services/hello, projects/demo)
        ci@demo.iam.gserviceaccount.com run.services.get: allowed: projects/demo/roles/reader for serviceAccount:ci@demo.iam.gserviceaccount.com in the policy of projects/demo
        ci@demo.iam.gserviceaccount.com run.services.list: denied: no binding grants run.services.list to ci@demo.iam.gserviceaccount.com (projects/demo)
    "#]].assert_eq(&table);
}

const UNTIL_2030: &str = "request.time < timestamp('2030-01-01T00:00:00Z')";

#[test]
fn a_binding_whose_condition_does_not_hold_grants_nothing_and_says_so() {
    let policy = Policy {
        bindings: vec![
            binding(
                "roles/run.viewer",
                &["allUsers"],
                Some(("until 2020", "request.time < timestamp('2020-01-01T00:00:00Z')")),
            ),
            binding("roles/run.admin", &["allUsers"], Some(("nonsense", "resource.nothing == 1"))),
        ],
    };
    let decision = ask(&user("me@example.com"), "run.services.get", &[("projects/demo", &policy)]);
    expect!["denied: no binding grants run.services.get to me@example.com (projects/demo); roles/run.viewer of projects/demo: its condition 'until 2020' does not hold; roles/run.admin of projects/demo: its condition 'nonsense' cannot be evaluated: undeclared reference to 'resource.nothing'"].assert_eq(&decision.to_string());
    assert!(!decision.is_allowed());
}

#[test]
fn the_roles_that_a_new_policy_changes_are_told() {
    let before = Policy {
        bindings: vec![
            binding("roles/run.viewer", &["user:a@x.org", "user:b@x.org"], None),
            binding("roles/run.admin", &["user:a@x.org"], None),
            binding("roles/run.invoker", &["user:a@x.org"], None),
        ],
    };
    let after = Policy {
        bindings: vec![
            binding("roles/run.admin", &["user:a@x.org"], Some(("c", "true"))),
            binding("roles/run.viewer", &["user:b@x.org"], None),
            binding("roles/run.viewer", &["user:a@x.org"], None),
            binding("roles/browser", &["user:a@x.org"], None),
        ],
    };
    assert_eq!(modified_roles(&before, &after), ["roles/browser", "roles/run.admin", "roles/run.invoker"]);
    assert!(modified_roles(&before, &before).is_empty());
    let told = |deltas: Vec<BindingDelta>| -> Vec<String> {
        let tell = |delta: BindingDelta| {
            let sign = if delta.is_added { '+' } else { '-' };
            format!(
                "{sign}{} {} {}",
                delta.role,
                delta.member,
                delta.condition.map_or_else(|| "always".to_owned(), |it| it.title)
            )
        };
        deltas.into_iter().map(tell).collect()
    };
    let expected = [
        "+roles/browser user:a@x.org always",
        "+roles/run.admin user:a@x.org c",
        "-roles/run.admin user:a@x.org always",
        "-roles/run.invoker user:a@x.org always",
    ];
    assert_eq!(told(deltas(&before, &after)), expected);
    assert!(deltas(&after, &after).is_empty());
}

#[test]
fn what_is_held_is_what_each_permission_by_itself_is_decided_to_be_and_told_once() {
    let me = user("me@example.com");
    let on = |role, expression| binding(role, &["user:me@example.com"], Some(("t", expression)));
    let policy = Policy {
        bindings: vec![
            on("roles/run.viewer", "resource.name.endsWith('/hello')"),
            on("roles/run.developer", "resource.name.endsWith('/other')"),
            on("roles/run.invoker", "resource.name.endsWith('/hello')"),
            on("roles/run.admin", "nonsense"),
            on("roles/logging.viewer", "resource.name.endsWith('/other')"),
        ],
    };
    let target = Target { name: "projects/demo/locations/l/services/hello".to_owned(), ..Target::default() };
    let question = Question { principal: &me, permission: "", target: &target, now: UNIX_EPOCH, modified_roles: &[] };
    let (layers, roles) = ([Layer { of: "projects/demo", policy: &policy }], CustomRoles::default());
    let all: Vec<String> = updraft_model::iam::PERMISSIONS.iter().map(|name| (*name).to_owned()).collect();
    let alone = |permission: &String| decide(&Question { permission, ..question }, &layers, &roles).is_allowed();
    let expected: Vec<String> = all.iter().filter(|permission| alone(permission)).cloned().collect();
    assert!(expected.contains(&"run.services.get".to_owned()) && expected.contains(&"run.routes.invoke".to_owned()));
    assert!(!expected.contains(&"run.services.create".to_owned()), "{expected:?}");
    let twice = [all.clone(), all].concat();
    assert_eq!(held(&question, twice, &layers, &roles), expected);
}
