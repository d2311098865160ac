//! The policies of services.

use std::time::Duration;

use sha2::{Digest, Sha256};
use updraft_api::{iam, view::policy};
use updraft_model::{Error, ErrorKind, ServiceName, Violation, iam::Principal};
use updraft_plan::iam::{Decision, decide};
use updraft_store::{Change, Envelope, StoreError};

use crate::{
    Control, Inner,
    access::{authorise, policy_of},
    failure::{etag_mismatch, of_store},
    queue::Work,
    record::{self, ServiceRecord},
};

/// Google's limits on a policy.
const MEMBERS_MAX: usize = 1500;
/// How often a write is tried again because the reconciler wrote its report meanwhile.
const ATTEMPTS: usize = 16;
/// How long an answer waits until the front door knows the new policy.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(2);
/// The prefixes of members, besides `allUsers` and `allAuthenticatedUsers`.
const MEMBER_PREFIXES: [&str; 10] = [
    "user:",
    "serviceAccount:",
    "group:",
    "domain:",
    "principal:",
    "principalSet:",
    "projectOwner:",
    "projectEditor:",
    "projectViewer:",
    "deleted:",
];

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
        check_version("options.requested_policy_version", version)?;
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
        let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
        for _ in 0..ATTEMPTS {
            let (name, found) = inner.policed(&request.resource).await?;
            authorise(caller, "run.services.setIamPolicy", &name, &[&policy_of(found.as_ref())?])?;
            let mut envelope = found.ok_or_else(|| Error::not_found(&name.service))?;
            let current = shown(&envelope)?;
            if !sent.etag.is_empty() && sent.etag != current.etag {
                return Err(etag_mismatch(&name.service));
            }
            let mut policy = masked(current, &sent, &paths)?;
            check(&policy)?;
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
    /// `InvalidArgument` for a wildcard or a malformed name.
    pub async fn services_test_iam_permissions(
        &self,
        caller: &Principal,
        request: iam::TestIamPermissionsRequest,
    ) -> Result<iam::TestIamPermissionsResponse, Error> {
        if let Some(index) = request.permissions.iter().position(|permission| permission.contains('*')) {
            let rule = format!("wildcards are not allowed, got '{}'", request.permissions[index]);
            return Err(Error::invalid_field(format!("permissions[{index}]"), rule));
        }
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

/// What was sent, or only the fields of it that the mask names.
pub(crate) fn masked(current: iam::Policy, sent: &iam::Policy, paths: &[String]) -> Result<iam::Policy, Error> {
    if paths.is_empty() {
        return Ok(sent.clone());
    }
    let mut policy = current;
    for path in paths {
        match path.as_str() {
            "*" => policy = sent.clone(),
            "bindings" => policy.bindings.clone_from(&sent.bindings),
            "version" => policy.version = sent.version,
            "audit_configs" => policy.audit_configs.clone_from(&sent.audit_configs),
            "etag" => {}
            other => return Err(Error::invalid_field("update_mask", format!("has no field '{other}' to point to"))),
        }
    }
    Ok(policy)
}

pub(crate) fn check(policy: &iam::Policy) -> Result<(), Error> {
    check_version("policy.version", policy.version)?;
    let mut found = Vec::new();
    let read = policy::to_model(policy);
    for (index, binding) in read.bindings.iter().enumerate() {
        let at = format!("policy.bindings[{index}]");
        if !is_role(&binding.role) {
            let rule = format!("must be roles/… or projects/…/roles/…, got '{}'", binding.role);
            found.push(Violation::new(format!("{at}.role"), rule));
        }
        if binding.conditional && policy.version != 3 {
            let rule = format!("a condition needs policy version 3, got {}", policy.version);
            found.push(Violation::new(format!("{at}.condition"), rule));
        }
        for (place, member) in binding.members.iter().enumerate().filter(|(_, member)| !is_member(member)) {
            let rule = format!(
                "must be allUsers, allAuthenticatedUsers or type:id such as user:me@example.com, got '{member}'"
            );
            found.push(Violation::new(format!("{at}.members[{place}]"), rule));
        }
    }
    let members: usize = read.bindings.iter().map(|binding| binding.members.len()).sum();
    if members > MEMBERS_MAX {
        found
            .push(Violation::new("policy.bindings", format!("must have at most {MEMBERS_MAX} members, got {members}")));
    }
    if found.is_empty() { Ok(()) } else { Err(Error::invalid(found)) }
}

pub(crate) fn check_version(field: &str, version: i32) -> Result<(), Error> {
    match version {
        0 | 1 | 3 => Ok(()),
        other => Err(Error::invalid_field(field, format!("must be 0, 1 or 3, got {other}"))),
    }
}

fn is_role(role: &str) -> bool {
    let id = |id: &str| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_'));
    match role.split('/').collect::<Vec<_>>()[..] {
        ["roles", role] => id(role),
        ["projects" | "organizations", owner, "roles", role] => !owner.is_empty() && id(role),
        _ => false,
    }
}

fn is_member(member: &str) -> bool {
    let id = |prefix: &str| member.strip_prefix(prefix).is_some_and(|id| !id.is_empty() && !id.contains(' '));
    matches!(member, "allUsers" | "allAuthenticatedUsers") || MEMBER_PREFIXES.iter().any(|prefix| id(prefix))
}
