//! Who may do what.
//!
//! Source: Cloud Run's permissions and predefined roles.

use updraft_model::iam::{ALL_USERS, Binding, InvokerAccess, Policy, Principal, ROLE_INVOKER};

/// Whether a call may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Allowed,
    /// It may not.
    Denied,
}

/// Decides whether `principal` has `permission`, given the policies of the resource and of what it
/// belongs to.
pub fn decide(principal: &Principal, permission: &str, policies: &[&Policy]) -> Decision {
    match principal {
        // Who can reach the loopback port or holds the token owns the machine's services.
        Principal::Local | Principal::AdminToken | Principal::System(_) => Decision::Allowed,
        Principal::Anonymous => {
            let bindings = policies.iter().flat_map(|policy| &policy.bindings);
            let grants = |binding: &Binding| is_for_everybody(binding) && role_grants(&binding.role, permission);
            if bindings.into_iter().any(grants) { Decision::Allowed } else { Decision::Denied }
        }
    }
}

/// Who may call a service with this policy: anybody when `allUsers` is an invoker. Without the check
/// (`invokerIamDisabled`) nobody asks.
pub fn invoker_access(policy: &Policy) -> InvokerAccess {
    let open = |binding: &Binding| is_for_everybody(binding) && role_grants(&binding.role, "run.routes.invoke");
    if policy.bindings.iter().any(open) { InvokerAccess::Open } else { InvokerAccess::Restricted }
}

/// Does a predefined role hold a permission? Roles that are not known grant nothing.
pub fn role_grants(role: &str, permission: &str) -> bool {
    let is_read = permission.ends_with(".get") || permission.ends_with(".list");
    let of = |service: &str| permission.strip_prefix(service).is_some_and(|rest| rest.starts_with('.'));
    match role {
        "roles/owner" => true,
        "roles/editor" => !permission.ends_with(".setIamPolicy") && permission != "run.routes.invoke",
        "roles/viewer" => is_read || permission.ends_with(".getIamPolicy"),
        "roles/browser" => of("resourcemanager") && (is_read || permission.ends_with(".getIamPolicy")),
        "roles/run.admin" => of("run"),
        "roles/run.developer" => {
            let withheld = permission.ends_with(".setIamPolicy") || permission == "run.routes.invoke";
            of("run") && !withheld
        }
        "roles/run.viewer" => of("run") && (is_read || permission.ends_with(".getIamPolicy")),
        ROLE_INVOKER => ["run.routes.invoke", "run.jobs.run", "run.executions.cancel"].contains(&permission),
        "roles/run.servicesInvoker" => permission == "run.routes.invoke",
        "roles/logging.admin" => of("logging"),
        "roles/logging.viewer" => of("logging") && is_read,
        "roles/iam.serviceAccountAdmin" => of("iam.serviceAccounts"),
        "roles/iam.serviceAccountViewer" => {
            of("iam.serviceAccounts") && (is_read || permission.ends_with(".getIamPolicy"))
        }
        "roles/serviceusage.serviceUsageAdmin" => of("serviceusage"),
        "roles/serviceusage.serviceUsageViewer" => of("serviceusage") && is_read,
        "roles/resourcemanager.projectIamAdmin" => of("resourcemanager.projects"),
        _ => false,
    }
}

fn is_for_everybody(binding: &Binding) -> bool {
    !binding.conditional && binding.members.iter().any(|member| member == ALL_USERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(role: &str, member: &str, conditional: bool) -> Policy {
        Policy { bindings: vec![Binding { role: role.to_owned(), members: vec![member.to_owned()], conditional }] }
    }

    #[test]
    fn a_service_is_open_only_by_an_unconditional_binding_for_all_users() {
        let cases = [
            (ROLE_INVOKER, ALL_USERS, false, InvokerAccess::Open),
            (ROLE_INVOKER, ALL_USERS, true, InvokerAccess::Restricted),
            (ROLE_INVOKER, "user:me@example.com", false, InvokerAccess::Restricted),
            ("roles/run.viewer", ALL_USERS, false, InvokerAccess::Restricted),
        ];
        for (role, member, conditional, expected) in cases {
            assert_eq!(invoker_access(&policy(role, member, conditional)), expected, "{role} {member}");
        }
        assert_eq!(invoker_access(&Policy::default()), InvokerAccess::Restricted);
    }

    #[test]
    fn a_role_reaches_as_far_as_its_service() {
        for (role, permission, granted) in [
            ("roles/owner", "resourcemanager.projects.setIamPolicy", true),
            ("roles/editor", "iam.serviceAccounts.create", true),
            ("roles/editor", "resourcemanager.projects.setIamPolicy", false),
            ("roles/viewer", "logging.logEntries.list", true),
            ("roles/viewer", "serviceusage.services.enable", false),
            ("roles/run.admin", "run.services.setIamPolicy", true),
            ("roles/run.admin", "runner.x.y", false),
            ("roles/run.admin", "logging.logEntries.list", false),
            ("roles/logging.viewer", "logging.logEntries.list", true),
            ("roles/logging.viewer", "logging.logs.delete", false),
            ("roles/iam.serviceAccountAdmin", "iam.serviceAccounts.delete", true),
            ("roles/iam.serviceAccountViewer", "iam.serviceAccounts.delete", false),
            ("roles/nobody", "run.services.get", false),
        ] {
            assert_eq!(role_grants(role, permission), granted, "{role} {permission}");
        }
    }

    #[test]
    fn nobody_in_particular_may_only_what_everybody_was_given() {
        let viewer = policy("roles/run.viewer", ALL_USERS, false);
        assert_eq!(decide(&Principal::Anonymous, "run.services.get", &[&viewer]), Decision::Allowed);
        assert_eq!(decide(&Principal::Anonymous, "run.services.delete", &[&viewer]), Decision::Denied);
        assert_eq!(decide(&Principal::Anonymous, "run.services.get", &[]), Decision::Denied);
        assert_eq!(decide(&Principal::Local, "run.services.delete", &[]), Decision::Allowed);
    }
}
