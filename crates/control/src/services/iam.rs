//! The policies of services and worker pools.

use std::time::Duration;

use updraft_api::{iam, run};
use updraft_model::{
    Error, ErrorKind,
    iam::{Principal, validation},
};
use updraft_store::{Change, Envelope};

use crate::{
    Control, Inner,
    access::Resource,
    deployed::Deployed,
    policies::{self, Owner, refuse},
    queue::Work,
    record::{self, ServiceRecord},
};

/// How often a write is tried again because the reconciler wrote its report meanwhile.
const ATTEMPTS: usize = 16;
/// How long an answer waits until the front door knows the new policy.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(2);

// === impl Control ===

impl Control {
    /// The policy of a service; an empty one if none was set.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` for a version that does not exist.
    pub async fn services_get_iam_policy(
        &self,
        caller: &Principal,
        request: iam::GetIamPolicyRequest,
    ) -> Result<iam::Policy, Error> {
        self.inner.policy_of::<run::Service>(caller, &request).await
    }

    /// Replaces the policy of a service.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` with every broken rule, `Aborted` when the etag
    /// is not the current one.
    pub async fn services_set_iam_policy(
        &self,
        caller: &Principal,
        request: iam::SetIamPolicyRequest,
    ) -> Result<iam::Policy, Error> {
        self.inner.set_policy_of::<run::Service>(caller, &request).await
    }

    /// Which of some permissions the caller has on a service, by its own policy and its project's. Needs none itself, and
    /// the service need not exist.
    ///
    /// # Errors
    /// `InvalidArgument` for a wildcard, for a permission that does not exist and for a malformed name.
    pub async fn services_test_iam_permissions(
        &self,
        caller: &Principal,
        request: iam::TestIamPermissionsRequest,
    ) -> Result<iam::TestIamPermissionsResponse, Error> {
        self.inner.permissions_on::<run::Service>(caller, request).await
    }
}

// === impl Inner ===

impl Inner {
    /// The policy of a service or a worker pool; an empty one if none was set.
    pub(crate) async fn policy_of<M: Deployed>(
        &self,
        caller: &Principal,
        request: &iam::GetIamPolicyRequest,
    ) -> Result<iam::Policy, Error> {
        let version = policies::wanted_version(request)?;
        let name = self.places.resource(M::COLLECTION, &request.resource)?;
        let permit = self.permit(caller, M::PERMISSIONS.get_policy, &Resource::Service(name.clone())).await?;
        let envelope = permit.found().ok_or_else(|| Error::not_found(&name.service))?;
        let record: ServiceRecord = record::read(envelope)?;
        policies::shown(owner(envelope), &record.policy, version)
    }

    /// Replaces the policy of a service or a worker pool.
    pub(crate) async fn set_policy_of<M: Deployed>(
        &self,
        caller: &Principal,
        request: &iam::SetIamPolicyRequest,
    ) -> Result<iam::Policy, Error> {
        let name = self.places.resource(M::COLLECTION, &request.resource)?;
        let resource = Resource::Service(name.clone());
        for _ in 0..ATTEMPTS {
            let mut permit = self.permit_set(caller, M::PERMISSIONS.set_policy, &resource, request).await?;
            let mut envelope = permit.take_found().ok_or_else(|| Error::not_found(&name.service))?;
            let record: ServiceRecord = record::read(&envelope)?;
            let policy = policies::changed(owner(&envelope), &record.policy, request)?;
            let answer = policies::shown(owner(&envelope), &policy, 3)?;
            envelope.internal = record::write(&ServiceRecord { policy, ..record });
            if self.committed(&permit, vec![Change::Put(Box::new(envelope))]).await?.is_some() {
                // Who closes a service must be able to rely on it once this returns; so must a script that
                // opens one and calls it. A pass that takes longer does not hold the answer back.
                let work = Work::Service(name);
                self.queue.wake(work.clone());
                let _ = self.clock.timeout(PUBLISHED_WITHIN, self.queue.quiet(&work)).await;
                return Ok(answer);
            }
        }
        Err(Error::new(ErrorKind::Aborted, format!("Resource '{}' is being changed; try again.", request.resource)))
    }

    /// Which of some permissions the caller has on a service or a worker pool.
    pub(crate) async fn permissions_on<M: Deployed>(
        &self,
        caller: &Principal,
        request: iam::TestIamPermissionsRequest,
    ) -> Result<iam::TestIamPermissionsResponse, Error> {
        refuse(validation::check_permissions("permissions", &request.permissions, "run."))?;
        let resource = Resource::Service(self.places.resource(M::COLLECTION, &request.resource)?);
        let permissions = self.held(caller, request.permissions, &resource).await?;
        Ok(iam::TestIamPermissionsResponse { permissions })
    }
}

fn owner(envelope: &Envelope) -> Owner<'_> {
    Owner { identity: &envelope.uid, name: &envelope.key.name }
}
