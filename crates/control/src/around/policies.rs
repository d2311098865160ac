//! The policies of projects and of service accounts: the same three methods.

use updraft_api::iam;
use updraft_model::{
    Error,
    iam::{Principal, validation},
};

use super::{ATTEMPTS, ProjectRecord, accounts::Found, busy};
use crate::{
    Control,
    access::Resource,
    policies::{self, Owner, refuse},
};

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
        let version = policies::wanted_version(&request)?;
        let named = ("resource", bare(&request.resource));
        let (project, permit) = self.inner.permitted(caller, "resourcemanager.projects.getIamPolicy", named).await?;
        policies::shown(of_project(&project), &ProjectRecord::of(permit.found())?.policy, version)
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
        let permission = "resourcemanager.projects.setIamPolicy";
        let project = self.inner.places.project("resource", bare(&request.resource))?;
        let resource = Resource::Project(project.clone());
        for _ in 0..ATTEMPTS {
            let permit = self.inner.permit_set(caller, permission, &resource, &request).await?;
            let mut record = ProjectRecord::of(permit.found())?;
            record.policy = policies::changed(of_project(&project), &record.policy, &request)?;
            if self.inner.write_project(&permit, &project, &record, Vec::new()).await?.is_some() {
                return policies::shown(of_project(&project), &record.policy, 3);
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
        self.granted(caller, request.permissions, &Resource::Project(project)).await
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
        let version = policies::wanted_version(&request)?;
        let (_, found) = self.inner.account(caller, "iam.serviceAccounts.getIamPolicy", &request.resource).await?;
        policies::shown(of_account(&found), &found.record.policy, version)
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
        let resource = self.inner.account_resource(&request.resource)?;
        for _ in 0..ATTEMPTS {
            let permit = self.inner.permit_set(caller, "iam.serviceAccounts.setIamPolicy", &resource, &request).await?;
            let (permit, found) = self.inner.permitted_account(permit, &request.resource)?;
            let mut record = found.record.clone();
            record.policy = policies::changed(of_account(&found), &record.policy, &request)?;
            let answer = policies::shown(of_account(&found), &record.policy, 3)?;
            if self.inner.write_account(&permit, found, &record).await?.is_some() {
                return Ok(answer);
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
        let resource = self.inner.account_resource(&request.resource)?;
        self.granted(caller, request.permissions, &resource).await
    }

    async fn granted(
        &self,
        caller: &Principal,
        permissions: Vec<String>,
        resource: &Resource,
    ) -> Result<iam::TestIamPermissionsResponse, Error> {
        // Those of all of Google's APIs are asked for here, whether they are known or not.
        refuse(validation::check_form("permissions", &permissions))?;
        let permissions = self.inner.held(caller, permissions, resource).await?;
        Ok(iam::TestIamPermissionsResponse { permissions })
    }
}

/// The project of `projects/{project}`.
fn bare(resource: &str) -> &str {
    resource.strip_prefix("projects/").unwrap_or(resource)
}

fn of_project(project: &str) -> Owner<'_> {
    Owner { identity: project, name: project }
}

fn of_account(found: &Found) -> Owner<'_> {
    // Not the address, which a later account may have again.
    Owner { identity: &found.record.unique_id, name: &found.email }
}
