//! The policies of secrets, which are those of their versions as well.

use updraft_api::iam;
use updraft_model::{
    Error,
    iam::{Principal, validation},
};
use updraft_store::{Change, Envelope};

use super::{ATTEMPTS, Found, SecretRecord, busy};
use crate::{
    Control,
    access::Resource,
    policies::{self, Owner, refuse},
    record,
};

// === impl Control ===

impl Control {
    /// The policy of a secret; an empty one if none was set.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` for a version that does not exist.
    pub async fn secrets_get_iam_policy(
        &self,
        caller: &Principal,
        request: iam::GetIamPolicyRequest,
    ) -> Result<iam::Policy, Error> {
        let version = policies::wanted_version(&request)?;
        let name = self.inner.secret_named(&request.resource)?;
        let resource = Resource::Secret(name.clone());
        let mut permit = self.inner.permit(caller, "secretmanager.secrets.getIamPolicy", &resource).await?;
        let found = self.inner.live_secret(&mut permit, &name)?;
        policies::shown(owner(&found), &found.record.policy, version)
    }

    /// Replaces the policy of a secret.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` with every broken rule, `Aborted` when the etag is not the current
    /// one.
    pub async fn secrets_set_iam_policy(
        &self,
        caller: &Principal,
        request: iam::SetIamPolicyRequest,
    ) -> Result<iam::Policy, Error> {
        let inner = &*self.inner;
        let name = inner.secret_named(&request.resource)?;
        let resource = Resource::Secret(name.clone());
        for _ in 0..ATTEMPTS {
            let mut permit =
                inner.permit_set(caller, "secretmanager.secrets.setIamPolicy", &resource, &request).await?;
            let found = inner.live_secret(&mut permit, &name)?;
            let policy = policies::changed(owner(&found), &found.record.policy, &request)?;
            let answer = policies::shown(owner(&found), &policy, 3)?;
            let record = SecretRecord { policy, ..found.record };
            let envelope = Envelope { internal: record::write(&record), ..found.envelope };
            if inner.committed(&permit, vec![Change::Put(Box::new(envelope))]).await?.is_some() {
                return Ok(answer);
            }
        }
        Err(busy(&name))
    }

    /// Which of some permissions the caller has on a secret, by its own policy and its project's. The secret need not exist.
    ///
    /// # Errors
    /// `InvalidArgument` for a wildcard, for a permission that is not of Secret Manager and for a malformed name.
    pub async fn secrets_test_iam_permissions(
        &self,
        caller: &Principal,
        request: iam::TestIamPermissionsRequest,
    ) -> Result<iam::TestIamPermissionsResponse, Error> {
        refuse(validation::check_permissions("permissions", &request.permissions, "secretmanager."))?;
        let resource = Resource::Secret(self.inner.secret_named(&request.resource)?);
        let permissions = self.inner.held(caller, request.permissions, &resource).await?;
        Ok(iam::TestIamPermissionsResponse { permissions })
    }
}

fn owner(found: &Found) -> Owner<'_> {
    Owner { identity: &found.envelope.uid, name: &found.envelope.key.name }
}
