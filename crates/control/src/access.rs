//! Authorisation: the one place that asks `plan::iam`.

use updraft_api::{run, view::policy};
use updraft_model::{
    Error, ErrorKind,
    iam::{Policy, Principal},
};
use updraft_plan::iam::{Decision, decide};
use updraft_store::Envelope;

use crate::record::{self, ServiceRecord};

/// Lets a call go on only if `caller` has `permission` on `resource`, which has these policies.
///
/// # Errors
/// `PermissionDenied`, in Google's words: it does not tell whether the resource exists.
pub(crate) fn authorise(
    caller: &Principal,
    permission: &str,
    resource: impl std::fmt::Display,
    policies: &[&Policy],
) -> Result<(), Error> {
    match decide(caller, permission, policies) {
        Decision::Allowed => Ok(()),
        Decision::Denied => Err(Error::new(
            ErrorKind::PermissionDenied,
            format!("Permission '{permission}' denied on resource '{resource}' (or resource may not exist)."),
        )),
    }
}

/// The policy of a service, as decisions see it; the empty one when there is no service.
pub(crate) fn policy_of(service: Option<&Envelope>) -> Result<Policy, Error> {
    match service {
        Some(envelope) => {
            let record: ServiceRecord = record::read(envelope)?;
            Ok(policy::to_model(&record.policy.policy()?))
        }
        None => Ok(Policy::default()),
    }
}

/// Switching the invoker check off needs the right to set the policy as well.
pub(crate) fn authorise_open(
    caller: &Principal,
    intent: &run::Service,
    resource: impl std::fmt::Display,
    policies: &[&Policy],
) -> Result<(), Error> {
    if intent.invoker_iam_disabled {
        authorise(caller, "run.services.setIamPolicy", resource, policies)?;
    }
    Ok(())
}
