//! The policies of jobs.

use updraft_api::iam;
use updraft_model::{
    Error,
    iam::{Principal, validation},
};
use updraft_store::{Change, Envelope};

use super::write::busy;
use crate::{
    Control,
    access::Resource,
    policies::{self, Owner, refuse},
    record::{self, JobRecord},
};

/// How often a write is tried again because somebody else wrote meanwhile.
const ATTEMPTS: usize = 16;

// === impl Control ===

impl Control {
    /// The policy of a job; an empty one if none was set.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` for a version that does not exist.
    pub async fn jobs_get_iam_policy(
        &self,
        caller: &Principal,
        request: iam::GetIamPolicyRequest,
    ) -> Result<iam::Policy, Error> {
        let version = policies::wanted_version(&request)?;
        let name = self.inner.places.job("resource", &request.resource)?;
        let permit = self.inner.permit(caller, "run.jobs.getIamPolicy", &Resource::Job(name.clone())).await?;
        let envelope = permit.found().ok_or_else(|| Error::not_found(&name.job))?;
        let record: JobRecord = record::read(envelope)?;
        policies::shown(owner(envelope), &record.policy, version)
    }

    /// Replaces the policy of a job.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` with every broken rule, `Aborted` when the etag is not the current
    /// one.
    pub async fn jobs_set_iam_policy(
        &self,
        caller: &Principal,
        request: iam::SetIamPolicyRequest,
    ) -> Result<iam::Policy, Error> {
        let inner = &*self.inner;
        let name = inner.places.job("resource", &request.resource)?;
        let resource = Resource::Job(name.clone());
        for _ in 0..ATTEMPTS {
            let mut permit = inner.permit_set(caller, "run.jobs.setIamPolicy", &resource, &request).await?;
            let mut envelope = permit.take_found().ok_or_else(|| Error::not_found(&name.job))?;
            let record: JobRecord = record::read(&envelope)?;
            let policy = policies::changed(owner(&envelope), &record.policy, &request)?;
            let answer = policies::shown(owner(&envelope), &policy, 3)?;
            envelope.internal = record::write(&JobRecord { policy, ..record });
            if inner.committed(&permit, vec![Change::Put(Box::new(envelope))]).await?.is_some() {
                return Ok(answer);
            }
        }
        Err(busy(&name))
    }

    /// Which of some permissions the caller has on a job, by its own policy and its project's. Needs none itself, and the
    /// job need not exist.
    ///
    /// # Errors
    /// `InvalidArgument` for a wildcard, for a permission that does not exist and for a malformed name.
    pub async fn jobs_test_iam_permissions(
        &self,
        caller: &Principal,
        request: iam::TestIamPermissionsRequest,
    ) -> Result<iam::TestIamPermissionsResponse, Error> {
        refuse(validation::check_permissions("permissions", &request.permissions, "run."))?;
        let resource = Resource::Job(self.inner.places.job("resource", &request.resource)?);
        let permissions = self.inner.held(caller, request.permissions, &resource).await?;
        Ok(iam::TestIamPermissionsResponse { permissions })
    }
}

fn owner(envelope: &Envelope) -> Owner<'_> {
    Owner { identity: &envelope.uid, name: &envelope.key.name }
}
