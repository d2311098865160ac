//! The rules of policies and of questions about permissions, each with its field and the value that broke it.
//!
//! What an expression may say is checked where it is evaluated, by `updraft-plan`.
//! Sources: `google.iam.v1` (`Policy`, `Binding`, `TestIamPermissionsRequest`), Google's limits on a policy.

use super::{ALL_AUTHENTICATED_USERS, ALL_USERS, Binding, Condition, Policy, known_permission};
use crate::error::Violation;

/// The most members of a policy, each role counted anew.
pub const MEMBERS_MAX: usize = 1500;
/// The most bindings of a policy.
pub const BINDINGS_MAX: usize = 1500;
/// The longest name of a member or a role, in bytes.
pub const NAME_BYTES_MAX: usize = 512;
/// The most bindings with a condition of a policy.
pub const CONDITIONS_MAX: usize = 100;
/// The longest title of a condition, in characters.
pub const TITLE_MAX: usize = 100;
/// The longest description of a condition, in characters.
pub const CONDITION_DESCRIPTION_MAX: usize = 256;
/// The most permissions that are asked for at a time.
pub const PERMISSIONS_MAX: usize = 100;

/// The prefixes of members, besides `allUsers` and `allAuthenticatedUsers`.
const MEMBER_PREFIXES: [&str; 10] = [
    "user:",
    "serviceAccount:",
    "group:",
    "domain:",
    "principal:",
    "principalSet:",
    "projectOwner:",
    "projectEditor:",
    "projectViewer:",
    "deleted:",
];

/// Checks a policy of this version at `policy`.
pub fn check(policy: &Policy, version: i32) -> Vec<Violation> {
    let mut found = Vec::new();
    found.extend(check_version("policy.version", version).err());
    if policy.bindings.len() > BINDINGS_MAX {
        let rule = format!("must have at most {BINDINGS_MAX} bindings, got {}", policy.bindings.len());
        found.push(Violation::new("policy.bindings", rule));
    }
    for (index, binding) in policy.bindings.iter().enumerate() {
        check_binding(&format!("policy.bindings[{index}]"), binding, version, &mut found);
    }
    let members: usize = policy.bindings.iter().map(|binding| binding.members.len()).sum();
    if members > MEMBERS_MAX {
        let rule = format!("must have at most {MEMBERS_MAX} members, got {members}");
        found.push(Violation::new("policy.bindings", rule));
    }
    let conditions = policy.bindings.iter().filter(|binding| binding.condition.is_some()).count();
    if conditions > CONDITIONS_MAX {
        let rule = format!("must have at most {CONDITIONS_MAX} bindings with a condition, got {conditions}");
        found.push(Violation::new("policy.bindings", rule));
    }
    found
}

/// Checks the version of a policy, or of the policy that is asked for.
///
/// # Errors
/// The violation.
pub fn check_version(field: &str, version: i32) -> Result<(), Violation> {
    match version {
        0 | 1 | 3 => Ok(()),
        other => Err(Violation::new(field, format!("must be 0, 1 or 3, got {other}"))),
    }
}

/// Checks the permissions that somebody asks for of a resource of the product whose permissions begin with `product`, such
/// as `run.`: their form, and that the product has them.
pub fn check_permissions(field: &str, permissions: &[String], product: &str) -> Vec<Violation> {
    let mut found = check_form(field, permissions);
    for (index, permission) in permissions.iter().enumerate() {
        let is_known = permission.starts_with(product) && known_permission(permission).is_some();
        if !is_wildcard(permission) && !is_known {
            let rule = format!("Permission {permission} is not valid for this resource.");
            found.push(Violation::new(format!("{field}[{index}]"), rule));
        }
    }
    found
}

/// Checks the permissions that somebody asks for, whatever API they belong to: how many they are, and that each is one.
pub fn check_form(field: &str, permissions: &[String]) -> Vec<Violation> {
    let mut found = Vec::new();
    if permissions.len() > PERMISSIONS_MAX {
        let rule = format!("must have at most {PERMISSIONS_MAX} permissions, got {}", permissions.len());
        found.push(Violation::new(field, rule));
    }
    for (index, permission) in permissions.iter().enumerate().filter(|(_, permission)| is_wildcard(permission)) {
        let rule = format!("wildcards are not allowed, got '{permission}'");
        found.push(Violation::new(format!("{field}[{index}]"), rule));
    }
    found
}

fn is_wildcard(permission: &str) -> bool {
    permission.contains('*')
}

fn check_binding(at: &str, binding: &Binding, version: i32, found: &mut Vec<Violation>) {
    if !is_role(&binding.role) {
        let rule = format!("must be roles/… or projects/…/roles/…, got '{}'", binding.role);
        found.push(Violation::new(format!("{at}.role"), rule));
    }
    if let Some(condition) = &binding.condition {
        check_condition(&format!("{at}.condition"), condition, version, found);
    }
    for (place, member) in binding.members.iter().enumerate().filter(|(_, member)| !is_member(member)) {
        let rule =
            format!("must be allUsers, allAuthenticatedUsers or type:id such as user:me@example.com, got '{member}'");
        found.push(Violation::new(format!("{at}.members[{place}]"), rule));
    }
}

fn check_condition(at: &str, condition: &Condition, version: i32, found: &mut Vec<Violation>) {
    if version != 3 {
        found.push(Violation::new(at, format!("a condition needs policy version 3, got {version}")));
    }
    if condition.title.is_empty() {
        found.push(Violation::new(format!("{at}.title"), "must be set, got nothing"));
    }
    let texts =
        [("title", &condition.title, TITLE_MAX), ("description", &condition.description, CONDITION_DESCRIPTION_MAX)];
    for (field, text, max) in texts {
        let length = text.chars().count();
        if length > max {
            found.push(Violation::new(
                format!("{at}.{field}"),
                format!("must have at most {max} characters, got {length}"),
            ));
        }
    }
}

fn is_role(role: &str) -> bool {
    let id = |id: &str| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_'));
    role.len() <= NAME_BYTES_MAX
        && match role.split('/').collect::<Vec<_>>()[..] {
            ["roles", role] => id(role),
            ["projects" | "organizations", owner, "roles", role] => !owner.is_empty() && id(role),
            _ => false,
        }
}

fn is_member(member: &str) -> bool {
    let fits = |id: &str| !id.is_empty() && !id.contains(|c: char| c.is_whitespace() || c.is_control());
    let named = |prefix: &&str| member.strip_prefix(*prefix).is_some_and(fits);
    member.len() <= NAME_BYTES_MAX
        && (matches!(member, ALL_USERS | ALL_AUTHENTICATED_USERS) || MEMBER_PREFIXES.iter().any(named))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn shown(found: &[Violation]) -> String {
        found.iter().map(|violation| format!("{violation}\n")).collect()
    }

    #[test]
    fn every_part_of_a_policy_is_checked() {
        let binding = |role: &str, members: &[&str], condition| Binding {
            role: role.to_owned(),
            members: members.iter().map(|member| (*member).to_owned()).collect(),
            condition,
        };
        let long = Condition { description: "x".repeat(257), ..Condition::default() };
        let fine = binding("projects/p/roles/mine.one", &["user:me@example.com", ALL_USERS], None);
        let wrong = binding("run.invoker", &["me@example.com", "user:", "user:a b"], Some(long));
        let policy = Policy { bindings: vec![fine, wrong] };
        expect![[r#"
            policy.version: must be 0, 1 or 3, got 2
            policy.bindings[1].role: must be roles/… or projects/…/roles/…, got 'run.invoker'
            policy.bindings[1].condition: a condition needs policy version 3, got 2
            policy.bindings[1].condition.title: must be set, got nothing
            policy.bindings[1].condition.description: must have at most 256 characters, got 257
            policy.bindings[1].members[0]: must be allUsers, allAuthenticatedUsers or type:id such as user:me@example.com, got 'me@example.com'
            policy.bindings[1].members[1]: must be allUsers, allAuthenticatedUsers or type:id such as user:me@example.com, got 'user:'
            policy.bindings[1].members[2]: must be allUsers, allAuthenticatedUsers or type:id such as user:me@example.com, got 'user:a b'
        "#]]
        .assert_eq(&shown(&check(&policy, 2)));
        let many = Policy { bindings: vec![binding("roles/x", &[ALL_USERS; 1501], None)] };
        assert_eq!(check(&many, 1)[0].rule, "must have at most 1500 members, got 1501");
        let titled = Condition { title: "t".to_owned(), ..Condition::default() };
        let many = Policy { bindings: vec![binding("roles/x", &[ALL_USERS], Some(titled)); 101] };
        assert_eq!(check(&many, 3)[0].rule, "must have at most 100 bindings with a condition, got 101");
    }

    #[test]
    fn only_known_permissions_can_be_asked_for() {
        let ask = |permissions: &[&str]| {
            let permissions: Vec<String> = permissions.iter().map(|name| (*name).to_owned()).collect();
            shown(&check_permissions("permissions", &permissions, "run."))
        };
        assert_eq!(ask(&["run.services.get", "run.routes.invoke"]), "");
        assert!(ask(&["iam.roles.get"]).contains("not valid for this resource"));
        expect![[r#"
            permissions[0]: wildcards are not allowed, got 'run.services.*'
            permissions[1]: Permission run.services.fly is not valid for this resource.
        "#]]
        .assert_eq(&ask(&["run.services.*", "run.services.fly"]));
        assert!(ask(&["run.services.get"; 101]).starts_with("permissions: must have at most 100"));
    }
}
