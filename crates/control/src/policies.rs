//! Policies as they are shown and set, whatever they are of: etags, versions and conditions.
//!
//! Source: `google.iam.v1.Policy`; Google's documentation of policy versions.

use sha2::{Digest, Sha256};
use updraft_api::{iam, mask, view::policy};
use updraft_model::{
    Error, ErrorKind, Violation,
    iam::{Policy, validation},
};
use updraft_plan::iam::{condition, deltas};

use crate::{audit, failure::etag_mismatch, record::PolicyRecord};

/// The first version that has conditions.
const CONDITIONAL: i32 = 3;
/// What stands in a role's name for a condition that the reader of an older version does not see.
const WITHHELD: &str = "_withcond_";
/// How much of an expression an error repeats, in characters.
const SHOWN_MAX: usize = 200;

/// A policy that belongs to something: what its etag is of, and what messages call it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    /// What no other resource has, also not a later one of the same name.
    pub(crate) identity: &'a str,
    /// What people call it.
    pub(crate) name: &'a str,
}

/// The version of a policy that a request asks for; 0 when it does not say.
///
/// # Errors
/// `InvalidArgument` for a version that does not exist.
pub(crate) fn wanted_version(request: &iam::GetIamPolicyRequest) -> Result<i32, Error> {
    let version = request.options.as_ref().map(|options| options.requested_policy_version).unwrap_or_default();
    let asked = validation::check_version("options.requested_policy_version", version);
    asked.map_err(|violation| Error::invalid(vec![violation]))?;
    Ok(version)
}

/// The policy with its etag, which changes with every set. Who asks for a version without conditions gets each conditional
/// binding under a name of a role that nobody has, so that it is not taken for one that always counts.
pub(crate) fn shown(owner: Owner<'_>, record: &PolicyRecord, version: i32) -> Result<iam::Policy, Error> {
    let mut policy = whole(owner, record)?;
    if version < CONDITIONAL && policy.bindings.iter().any(|binding| binding.condition.is_some()) {
        policy.version = 1;
        for binding in &mut policy.bindings {
            if let Some(condition) = binding.condition.take() {
                let digest = Sha256::digest(format!("{}\n{}", condition.title, condition.expression));
                let digest: String = digest[..10].iter().map(|byte| format!("{byte:02x}")).collect();
                binding.role = format!("{}{WITHHELD}{digest}", binding.role);
            }
        }
    }
    Ok(policy)
}

/// What is written down after a policy was set.
///
/// # Errors
/// `InvalidArgument` with every broken rule; `Aborted` when the etag is not the current one.
pub(crate) fn changed(
    owner: Owner<'_>,
    before: &PolicyRecord,
    request: &iam::SetIamPolicyRequest,
) -> Result<PolicyRecord, Error> {
    let current = whole(owner, before)?;
    let sent_etag = request.policy.as_ref().map(|sent| sent.etag.as_slice()).unwrap_or_default();
    if !sent_etag.is_empty() && sent_etag != current.etag {
        return Err(etag_mismatch(owner.name));
    }
    let mut policy = merged(&current, request)?;
    let model = policy::to_model(&policy);
    let current = policy::to_model(&current);
    check_downgrade(&current, policy.version, sent_etag)?;
    let mut found = validation::check(&model, policy.version);
    found.extend(check_expressions(&model));
    refuse(found)?;
    // The one place that all of them pass, also the owner's, about whom no policy is read.
    audit::changes(|| deltas(&current, &model));
    policy.etag.clear();
    Ok(before.set(&policy))
}

/// The policy that a request to set one would make of `own`, as far as a decision about that request needs it: read as the
/// write reads it, so that no spelling of a mask is one thing to the decision and another to the write.
pub(crate) fn meant(own: &Policy, request: &iam::SetIamPolicyRequest) -> Policy {
    let merged = merged(&policy::from_model(own), request);
    // The write refuses a mask that cannot be read. Who may not even make the change is told that first.
    policy::to_model(&merged.unwrap_or_else(|_| request.policy.clone().unwrap_or_default()))
}

/// An error if something was found.
pub(crate) fn refuse(found: Vec<Violation>) -> Result<(), Error> {
    if found.is_empty() { Ok(()) } else { Err(Error::invalid(found)) }
}

fn merged(current: &iam::Policy, request: &iam::SetIamPolicyRequest) -> Result<iam::Policy, Error> {
    let sent = request.policy.clone().unwrap_or_default();
    match request.update_mask.as_ref().filter(|mask| !mask.paths.is_empty()) {
        Some(mask) => mask::apply(current, &sent, mask),
        None => Ok(sent),
    }
}

fn whole(owner: Owner<'_>, record: &PolicyRecord) -> Result<iam::Policy, Error> {
    let digest = Sha256::digest(format!("{}/policy/{}", owner.identity, record.version));
    Ok(iam::Policy { etag: digest[..9].to_vec(), ..record.policy()? })
}

/// Who read the policy and writes it back without its conditions did not see them. Without an etag it is replaced whatever
/// it was, as Google documents it.
fn check_downgrade(current: &Policy, version: i32, etag: &[u8]) -> Result<(), Error> {
    if version >= CONDITIONAL || etag.is_empty() || !current.is_conditional() {
        return Ok(());
    }
    let message = format!(
        "Specified policy version ({}) cannot be less than the existing policy version ({CONDITIONAL}). \
         For more information, please refer to https://cloud.google.com/iam/docs/policies#versions.",
        version.max(1)
    );
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

fn check_expressions(policy: &Policy) -> Vec<Violation> {
    let mut found = Vec::new();
    for (index, binding) in policy.bindings.iter().enumerate() {
        if binding.role.contains(WITHHELD) {
            let rule = format!("stands for a condition that was not shown, got '{}'", binding.role);
            found.push(Violation::new(format!("policy.bindings[{index}].role"), rule));
        }
        let Some(condition) = &binding.condition else { continue };
        if let Err(why) = condition::check(&condition.expression) {
            let expression: String = condition.expression.chars().take(SHOWN_MAX).collect();
            let rule = format!("{why}, got '{expression}'");
            found.push(Violation::new(format!("policy.bindings[{index}].condition.expression"), rule));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use updraft_api::r#type::Expr;

    use super::*;

    const OWNER: Owner<'_> = Owner { identity: "a", name: "A" };

    fn policy(version: i32, expression: Option<&str>) -> iam::Policy {
        let condition = expression.map(|expression| Expr {
            title: "t".to_owned(),
            expression: expression.to_owned(),
            ..Expr::default()
        });
        let members = vec!["user:me@example.com".to_owned()];
        let binding = iam::Binding { role: "roles/run.viewer".to_owned(), members, condition };
        iam::Policy { version, bindings: vec![binding], ..Default::default() }
    }

    fn set(before: &PolicyRecord, policy: iam::Policy) -> Result<PolicyRecord, Error> {
        let request = iam::SetIamPolicyRequest { policy: Some(policy), ..Default::default() };
        changed(OWNER, before, &request)
    }

    #[test]
    fn an_etag_is_of_one_owner_and_one_version() {
        let (empty, set) = (PolicyRecord::default(), PolicyRecord::default().set(&iam::Policy::default()));
        let etag = |identity, record| shown(Owner { identity, name: "" }, record, 3).expect("sound").etag;
        assert_eq!(etag("a", &empty), etag("a", &empty));
        assert!(etag("a", &empty) != etag("b", &empty) && etag("a", &empty) != etag("a", &set));
    }

    #[test]
    fn readers_of_old_versions_do_not_take_a_conditional_binding_for_one_that_always_counts() {
        let record = set(&PolicyRecord::default(), policy(3, Some("resource.name != ''"))).expect("sound");
        let new = shown(OWNER, &record, 3).expect("sound");
        assert_eq!((new.version, new.bindings[0].role.as_str()), (3, "roles/run.viewer"));
        for version in [0, 1] {
            let old = shown(OWNER, &record, version).expect("sound");
            assert_eq!((old.version, &old.bindings[0].condition), (1, &None));
            let (role, digest) = old.bindings[0].role.split_once("_withcond_").expect("marked");
            assert_eq!((role, digest.len(), old.etag == new.etag), ("roles/run.viewer", 20, true));
            let error = set(&record, iam::Policy { etag: Vec::new(), ..old }).expect_err("is no role");
            assert_eq!(error.violations()[0].field, "policy.bindings[0].role");
        }
    }

    #[test]
    fn who_did_not_see_the_conditions_does_not_remove_them() {
        let record = set(&PolicyRecord::default(), policy(3, Some("true"))).expect("sound");
        let etag = shown(OWNER, &record, 1).expect("sound").etag;
        let error = set(&record, iam::Policy { etag: etag.clone(), ..policy(1, None) }).expect_err("is refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().starts_with("Specified policy version (1) cannot be less than"), "{error}");
        set(&record, iam::Policy { etag, ..policy(3, None) }).expect("knows what it does");
        set(&record, policy(1, None)).expect("without an etag it is replaced whatever it was");
    }

    #[test]
    fn an_expression_that_says_nothing_is_refused_with_its_place() {
        for wrong in ["", "resource.name ==", "resource.name", "user == 'me'"] {
            let error = set(&PolicyRecord::default(), policy(3, Some(wrong))).expect_err(wrong);
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert_eq!(error.violations()[0].field, "policy.bindings[0].condition.expression", "{wrong}");
        }
        let error = set(&PolicyRecord::default(), policy(1, Some("true"))).expect_err("needs version 3");
        assert_eq!(error.violations()[0].field, "policy.bindings[0].condition");
    }
}
