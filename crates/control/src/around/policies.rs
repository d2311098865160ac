//! The policies of projects and of service accounts: the same three methods.

use sha2::{Digest, Sha256};
use updraft_api::{iam, mask, view::policy};
use updraft_model::{
    Error,
    iam::{Policy, Principal, validation},
};
use updraft_plan::iam::{Decision, decide};

use super::{ATTEMPTS, busy, project_policy, project_record};
use crate::{Control, failure::etag_mismatch, record::PolicyRecord, services::iam::refuse};

// === impl Control ===

impl Control {
    /// The policy of a project; an empty one if none was set. `request.resource` is `projects/{project}` or the project
    /// alone.
    ///
    /// # Errors
    /// `InvalidArgument`, `NotFound` for an unknown number, `PermissionDenied`.
    pub async fn projects_get_iam_policy(
        &self,
        caller: &Principal,
        request: iam::GetIamPolicyRequest,
    ) -> Result<iam::Policy, Error> {
        wants_version(&request)?;
        let named = ("resource", bare(&request.resource));
        let (project, found) = self.inner.permitted(caller, "resourcemanager.projects.getIamPolicy", named).await?;
        shown(&project, &project_record(found.as_ref())?.policy)
    }

    /// Replaces the policy of a project.
    ///
    /// # Errors
    /// As for reading it; `Aborted` when the etag is not the current one.
    pub async fn projects_set_iam_policy(
        &self,
        caller: &Principal,
        request: iam::SetIamPolicyRequest,
    ) -> Result<iam::Policy, Error> {
        for _ in 0..ATTEMPTS {
            let named = ("resource", bare(&request.resource));
            let (project, found) = self.inner.permitted(caller, "resourcemanager.projects.setIamPolicy", named).await?;
            let mut record = project_record(found.as_ref())?;
            record.policy = changed(&project, &record.policy, &request)?;
            if self.inner.write_project(&project, (found, &record), Vec::new()).await?.is_some() {
                return shown(&project, &record.policy);
            }
        }
        Err(busy(&request.resource))
    }

    /// Which of some permissions the caller has on a project.
    ///
    /// # Errors
    /// `InvalidArgument` for a wildcard or a malformed name.
    pub async fn projects_test_iam_permissions(
        &self,
        caller: &Principal,
        request: iam::TestIamPermissionsRequest,
    ) -> Result<iam::TestIamPermissionsResponse, Error> {
        let project = self.inner.places.project("resource", bare(&request.resource))?;
        let found = self.inner.get(&super::project_key(&project)).await?;
        granted(caller, request.permissions, &[&project_policy(found.as_ref())?])
    }

    /// The policy of a service account; an empty one if none was set.
    ///
    /// # Errors
    /// `InvalidArgument`, `NotFound`, `PermissionDenied`.
    pub async fn accounts_get_iam_policy(
        &self,
        caller: &Principal,
        request: iam::GetIamPolicyRequest,
    ) -> Result<iam::Policy, Error> {
        wants_version(&request)?;
        let found = self.inner.account(caller, "iam.serviceAccounts.getIamPolicy", &request.resource).await?;
        shown(&found.email, &found.record.policy)
    }

    /// Replaces the policy of a service account.
    ///
    /// # Errors
    /// As for reading it; `Aborted` when the etag is not the current one.
    pub async fn accounts_set_iam_policy(
        &self,
        caller: &Principal,
        request: iam::SetIamPolicyRequest,
    ) -> Result<iam::Policy, Error> {
        for _ in 0..ATTEMPTS {
            let found = self.inner.account(caller, "iam.serviceAccounts.setIamPolicy", &request.resource).await?;
            let policy = changed(&found.email, &found.record.policy, &request)?;
            let email = found.email.clone();
            let mut record = found.record.clone();
            record.policy = policy.clone();
            if self.inner.write_account(found, &record).await?.is_some() {
                return shown(&email, &policy);
            }
        }
        Err(busy(&request.resource))
    }

    /// Which of some permissions the caller has on a service account, by its own policy and its project's.
    ///
    /// # Errors
    /// `InvalidArgument` for a wildcard or a malformed name.
    pub async fn accounts_test_iam_permissions(
        &self,
        caller: &Principal,
        request: iam::TestIamPermissionsRequest,
    ) -> Result<iam::TestIamPermissionsResponse, Error> {
        let (project, email) = self.inner.account_name(&request.resource)?;
        let above = self.inner.get(&super::project_key(&project)).await?;
        let own = match self.inner.find_account(&project, &email).await? {
            Some(found) => policy::to_model(&found.record.policy.policy()?),
            None => Policy::default(),
        };
        granted(caller, request.permissions, &[&own, &project_policy(above.as_ref())?])
    }
}

/// The project of `projects/{project}`.
fn bare(resource: &str) -> &str {
    resource.strip_prefix("projects/").unwrap_or(resource)
}

fn wants_version(request: &iam::GetIamPolicyRequest) -> Result<(), Error> {
    let version = request.options.as_ref().map(|options| options.requested_policy_version).unwrap_or_default();
    let asked = validation::check_version("options.requested_policy_version", version);
    asked.map_err(|violation| Error::invalid(vec![violation]))
}

/// What is written down after a policy was set.
fn changed(name: &str, before: &PolicyRecord, request: &iam::SetIamPolicyRequest) -> Result<PolicyRecord, Error> {
    let sent = request.policy.clone().unwrap_or_default();
    let current = shown(name, before)?;
    if !sent.etag.is_empty() && sent.etag != current.etag {
        return Err(etag_mismatch(name));
    }
    let mut policy = match request.update_mask.as_ref().filter(|mask| !mask.paths.is_empty()) {
        Some(mask) => mask::apply(&current, &sent, mask)?,
        None => sent,
    };
    refuse(validation::check(&policy::to_model(&policy), policy.version))?;
    policy.etag.clear();
    Ok(before.set(&policy))
}

/// The policy with its etag, which changes with every set.
fn shown(name: &str, policy: &PolicyRecord) -> Result<iam::Policy, Error> {
    let digest = Sha256::digest(format!("{name}/policy/{}", policy.version));
    Ok(iam::Policy { etag: digest[..9].to_vec(), ..policy.policy()? })
}

fn granted(
    caller: &Principal,
    mut permissions: Vec<String>,
    policies: &[&Policy],
) -> Result<iam::TestIamPermissionsResponse, Error> {
    // Those of all of Google's APIs are asked for here, whether they are known or not.
    refuse(validation::check_form("permissions", &permissions))?;
    permissions.retain(|permission| decide(caller, permission, policies) == Decision::Allowed);
    Ok(iam::TestIamPermissionsResponse { permissions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_of_one_name_and_one_version() {
        let (empty, set) = (PolicyRecord::default(), PolicyRecord::default().set(&iam::Policy::default()));
        let etag = |name: &str, record: &PolicyRecord| shown(name, record).expect("sound").etag;
        assert_eq!(etag("a", &empty), etag("a", &empty));
        assert!(etag("a", &empty) != etag("b", &empty) && etag("a", &empty) != etag("a", &set));
    }
}
