//! Who may call a service: what of its policy and its project's the front door keeps, and what it decides from that.

use std::{sync::Arc, time::SystemTime};

use updraft_model::{
    ServiceName,
    iam::{
        ALL_USERS, Binding, CustomRoles, INVOKE, InvokerAccess, Invokers, Policy, Principal, ProjectInvokers, Target,
        predefined_role,
    },
};

use super::{Decision, Layer, Question, condition, decide};

/// Whether callers of a service have to say who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvokerCheck {
    /// They do, unless its policy lets everybody call.
    On,
    /// Nobody is asked (`invokerIamDisabled`).
    Off,
}

/// Who may call a service with this policy: anybody when `allUsers` is an invoker, always and not under a condition.
/// `invokers` is the rest of what its callers are measured by; its policy is taken from `policy`.
pub fn of_service(policy: &Policy, check: InvokerCheck, invokers: Invokers) -> InvokerAccess {
    let is_for_everybody = |binding: &Binding| {
        binding.condition.is_none()
            && binding.members.iter().any(|member| member == ALL_USERS)
            && predefined_role(&binding.role).is_some_and(|role| role.grants(INVOKE))
    };
    if check == InvokerCheck::Off || policy.bindings.iter().any(is_for_everybody) {
        return InvokerAccess::Open;
    }
    // What a custom role grants may change without the policy.
    let may_let_in = |role: &str| predefined_role(role).is_none_or(|role| role.grants(INVOKE));
    InvokerAccess::Restricted(Arc::new(Invokers { policy: filtered(policy, may_let_in), ..invokers }))
}

/// What a project with this policy and these custom roles says about who may call what is in it.
pub fn of_project(policy: &Policy, roles: &CustomRoles) -> ProjectInvokers {
    let roles = roles.granting(INVOKE);
    ProjectInvokers { policy: filtered(policy, |role| roles.grants(role, INVOKE)), roles }
}

/// The bindings of the roles that are kept, with their conditions parsed: the front door asks with every request.
fn filtered(policy: &Policy, keeps: impl Fn(&str) -> bool) -> Policy {
    let mut kept: Vec<Binding> = policy.bindings.iter().filter(|binding| keeps(&binding.role)).cloned().collect();
    kept.iter_mut().filter_map(|binding| binding.condition.as_mut()).for_each(condition::prepare);
    Policy { bindings: kept }
}

/// May `caller` call `service`? By its own policy or that of its project.
pub fn may_invoke(
    caller: &Principal,
    service: &ServiceName,
    invokers: &Invokers,
    project: Option<&ProjectInvokers>,
    now: SystemTime,
) -> Decision {
    let name = service.to_string();
    let target = Target { name: name.clone(), kind: "run.googleapis.com/Service", service: "run.googleapis.com" };
    let question = Question { principal: caller, permission: INVOKE, target: &target, now, modified_roles: &[] };
    let above = format!("projects/{}", service.parent.project);
    let own = Layer { of: &name, policy: &invokers.policy };
    match project {
        None => decide(&question, &[own], &CustomRoles::default()),
        Some(project) => decide(&question, &[own, Layer { of: &above, policy: &project.policy }], &project.roles),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use updraft_model::{
        Parent,
        iam::{Account, Condition, User},
    };

    use super::*;

    fn binding(role: &str, member: &str) -> Binding {
        Binding { role: role.to_owned(), members: vec![member.to_owned()], condition: None }
    }

    fn policy(bindings: &[Binding]) -> Policy {
        Policy { bindings: bindings.to_vec() }
    }

    fn at(binding: Binding, expression: &str) -> Binding {
        let condition = Condition { title: "t".to_owned(), expression: expression.to_owned(), ..Condition::default() };
        Binding { condition: Some(condition), ..binding }
    }

    fn robot() -> Principal {
        let (email, unique_id) = ("robot@p.iam.gserviceaccount.com".to_owned(), "1".to_owned());
        Principal::ServiceAccount(Account { email, unique_id, project: "p".to_owned() })
    }

    fn ann() -> Principal {
        let (email, issuer) = ("ann@example.com".to_owned(), "https://i.example".to_owned());
        Principal::User(User { email, issuer, groups: vec!["dev".to_owned()], domain: None })
    }

    #[test]
    fn a_service_is_open_when_everybody_is_an_invoker_always() {
        let open = |policy: &Policy, check| of_service(policy, check, Invokers::default()) == InvokerAccess::Open;
        let everybody = binding("roles/run.invoker", "allUsers");
        for (bindings, expected) in [
            (vec![everybody.clone()], true),
            (vec![binding("roles/run.admin", "allUsers")], true),
            (vec![binding("roles/run.servicesInvoker", "allUsers")], true),
            (vec![binding("roles/run.invoker", "allAuthenticatedUsers")], false),
            (vec![binding("roles/run.viewer", "allUsers")], false),
            (vec![binding("projects/p/roles/invoker", "allUsers")], false),
            (vec![at(everybody, "true")], false),
            (Vec::new(), false),
        ] {
            assert_eq!(open(&policy(&bindings), InvokerCheck::On), expected, "{bindings:?}");
            assert!(open(&policy(&bindings), InvokerCheck::Off));
        }
    }

    #[test]
    fn what_the_front_door_keeps_is_parsed_once_whether_it_makes_sense_or_not() {
        let account = "serviceAccount:robot@p.iam.gserviceaccount.com";
        let own = policy(&["true", "nonsense"].map(|it| at(binding("roles/run.invoker", account), it)));
        let InvokerAccess::Restricted(invokers) = of_service(&own, InvokerCheck::On, Invokers::default()) else {
            panic!("it is open");
        };
        let kept = [invokers.policy.clone(), of_project(&own, &CustomRoles::default()).policy];
        for condition in kept.iter().flat_map(|policy| &policy.bindings).map(|binding| &binding.condition) {
            assert!(condition.as_ref().is_some_and(|it| format!("{:?}", it.parsed) == "Parsed"), "{condition:?}");
        }
        assert_eq!(invokers.policy, own, "the same policy all the same");
    }

    #[test]
    fn who_may_call_is_said_by_the_service_and_by_its_project() {
        let service = Parent::new("p", "l").service("s");
        let (account, custom) = ("serviceAccount:robot@p.iam.gserviceaccount.com", "projects/p/roles/caller");
        let mut roles = CustomRoles::default();
        roles.insert(custom, [INVOKE.to_owned()]);
        let decided = |own: Binding, above: Binding, caller: &Principal, seconds| {
            let access = of_service(&policy(&[own]), InvokerCheck::On, Invokers::default());
            let InvokerAccess::Restricted(invokers) = access else { panic!("it is open") };
            let (project, now) = (of_project(&policy(&[above]), &roles), UNIX_EPOCH + Duration::from_secs(seconds));
            may_invoke(caller, &service, &invokers, Some(&project), now).is_allowed()
        };
        let none = || binding("roles/run.viewer", "allUsers");
        let early = |binding| at(binding, "request.time < timestamp('1970-01-01T00:01:00Z')");
        for (own, above, caller, expected) in [
            (binding("roles/run.invoker", account), none(), robot(), true),
            (none(), binding("roles/run.servicesInvoker", account), robot(), true),
            (none(), binding("roles/run.invoker", account), ann(), false),
            (binding("roles/run.invoker", "group:dev"), none(), ann(), true),
            (binding("roles/run.invoker", "allAuthenticatedUsers"), none(), ann(), true),
            (binding("roles/run.invoker", "allAuthenticatedUsers"), none(), Principal::Anonymous, false),
            (none(), binding("roles/run.invoker", "allUsers"), Principal::Anonymous, true),
            (binding(custom, account), none(), robot(), true),
            (binding("projects/q/roles/caller", account), none(), robot(), false),
            (early(binding("roles/run.invoker", account)), none(), robot(), true),
            (none(), early(binding("roles/run.invoker", account)), robot(), true),
            (none(), none(), robot(), false),
            (none(), none(), Principal::AdminToken, true),
        ] {
            assert_eq!(decided(own.clone(), above.clone(), &caller, 1), expected, "{own:?} {above:?} {caller}");
        }
        assert!(!decided(early(binding("roles/run.invoker", account)), none(), &robot(), 61));
    }
}
