//! The policies of services.

use std::time::Duration;

use sha2::{Digest, Sha256};
use updraft_api::{iam, mask, view::policy};
use updraft_model::{
    Error, ErrorKind, ServiceName, Violation,
    iam::{Principal, validation},
};
use updraft_plan::iam::{Decision, decide};
use updraft_store::{Change, Envelope, StoreError};

use crate::{
    Control, Inner,
    access::{authorise, policy_of},
    failure::{etag_mismatch, of_store},
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
        let version = request.options.map(|options| options.requested_policy_version).unwrap_or_default();
        let asked = validation::check_version("options.requested_policy_version", version);
        asked.map_err(|violation| Error::invalid(vec![violation]))?;
        let (name, envelope) = self.inner.policed(&request.resource).await?;
        authorise(caller, "run.services.getIamPolicy", &name, &[&policy_of(envelope.as_ref())?])?;
        let envelope = envelope.ok_or_else(|| Error::not_found(&name.service))?;
        shown(&envelope)
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
        let inner = &*self.inner;
        let sent = request.policy.unwrap_or_default();
        let mask = request.update_mask.unwrap_or_default();
        for _ in 0..ATTEMPTS {
            let (name, found) = inner.policed(&request.resource).await?;
            authorise(caller, "run.services.setIamPolicy", &name, &[&policy_of(found.as_ref())?])?;
            let mut envelope = found.ok_or_else(|| Error::not_found(&name.service))?;
            let current = shown(&envelope)?;
            if !sent.etag.is_empty() && sent.etag != current.etag {
                return Err(etag_mismatch(&name.service));
            }
            let mut policy = if mask.paths.is_empty() { sent.clone() } else { mask::apply(&current, &sent, &mask)? };
            refuse(validation::check(&policy::to_model(&policy), policy.version))?;
            policy.etag.clear();
            let record: ServiceRecord = record::read(&envelope)?;
            let changed = ServiceRecord { policy: record.policy.set(&policy), ..record };
            envelope.internal = record::write(&changed);
            let answer = shown(&envelope)?;
            match inner.store.commit(vec![Change::Put(Box::new(envelope))]).await {
                Ok(_) => {
                    // Who closes a service must be able to rely on it once this returns; so must a script that
                    // opens one and calls it. A pass that takes longer does not hold the answer back.
                    let work = Work::Service(name);
                    inner.queue.wake(work.clone());
                    let _ = inner.clock.timeout(PUBLISHED_WITHIN, inner.queue.quiet(&work)).await;
                    return Ok(answer);
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(of_store(error)),
            }
        }
        Err(Error::new(ErrorKind::Aborted, format!("Resource '{}' is being changed; try again.", request.resource)))
    }

    /// Which of some permissions the caller has on a service. Needs none itself, and the service need
    /// not exist.
    ///
    /// # Errors
    /// `InvalidArgument` for a wildcard, for a permission that does not exist and for a malformed name.
    pub async fn services_test_iam_permissions(
        &self,
        caller: &Principal,
        request: iam::TestIamPermissionsRequest,
    ) -> Result<iam::TestIamPermissionsResponse, Error> {
        refuse(validation::check_permissions("permissions", &request.permissions))?;
        let (_, envelope) = self.inner.policed(&request.resource).await?;
        let policy = policy_of(envelope.as_ref())?;
        let mut permissions = request.permissions;
        permissions.retain(|permission| decide(caller, permission, &[&policy]) == Decision::Allowed);
        Ok(iam::TestIamPermissionsResponse { permissions })
    }
}

// === impl Inner ===

impl Inner {
    async fn policed(&self, resource: &str) -> Result<(ServiceName, Option<Envelope>), Error> {
        let name = self.places.service(resource)?;
        let envelope = self.service(&name).await?;
        Ok((name, envelope))
    }
}

/// The policy with its etag, which changes with every set.
fn shown(envelope: &Envelope) -> Result<iam::Policy, Error> {
    let record: ServiceRecord = record::read(envelope)?;
    let digest = Sha256::digest(format!("{}/policy/{}", envelope.uid, record.policy.version));
    Ok(iam::Policy { etag: digest[..9].to_vec(), ..record.policy.policy()? })
}

/// An error if something was found.
pub(crate) fn refuse(found: Vec<Violation>) -> Result<(), Error> {
    if found.is_empty() { Ok(()) } else { Err(Error::invalid(found)) }
}
