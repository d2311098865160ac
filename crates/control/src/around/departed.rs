//! Service accounts that are deleted, in the policies that name them.
//!
//! Source: Google's documentation of policies with deleted principals.

use updraft_model::{Error, Parent};
use updraft_store::{Change, Envelope, Kind, Page, Selection};

use super::{
    GLOBAL, ProjectRecord,
    accounts::{AccountRecord, Found},
    project_key,
};
use crate::{
    Inner,
    access::Permitted,
    failure::of_store,
    record::{self, PolicyRecord, ServiceRecord},
    secrets::SecretRecord,
};

/// A member that is to be called something else.
struct Renamed {
    from: String,
    to: String,
}

// === impl Inner ===

impl Inner {
    /// The changes that make the policies of a project, its services, secrets and service accounts name an account as deleted.
    /// Those of other projects are left as they are.
    pub(super) async fn without_account(&self, permit: &Permitted, account: &Found) -> Result<Vec<Change>, Error> {
        let Found { project, email, record, .. } = account;
        let renamed = Renamed {
            from: format!("serviceAccount:{email}"),
            to: format!("deleted:serviceAccount:{email}?uid={}", record.unique_id),
        };
        let mut changes = Vec::new();
        if let Some(envelope) = self.get(permit, &project_key(project)).await? {
            let record = ProjectRecord::of(Some(&envelope))?;
            if let Some(policy) = renamed.in_policy(&record.policy)? {
                changes.push(put(envelope, &ProjectRecord { policy, ..record }));
            }
        }
        for location in self.places.locations() {
            for envelope in self.all(permit, Kind::Service, Parent::new(project, location)).await? {
                let record: ServiceRecord = record::read(&envelope)?;
                if let Some(policy) = renamed.in_policy(&record.policy)? {
                    changes.push(put(envelope, &ServiceRecord { policy, ..record }));
                }
            }
        }
        for location in self.places.locations().iter().map(String::as_str).chain([GLOBAL]) {
            for envelope in self.all(permit, Kind::Secret, Parent::new(project, location)).await? {
                let record: SecretRecord = record::read(&envelope)?;
                if let Some(policy) = renamed.in_policy(&record.policy)? {
                    changes.push(put(envelope, &SecretRecord { policy, ..record }));
                }
            }
        }
        for envelope in self.all(permit, Kind::ServiceAccount, Parent::new(project, GLOBAL)).await? {
            let mut record: AccountRecord = record::read(&envelope)?;
            let is_other = envelope.key.name != *email;
            if let Some(policy) = renamed.in_policy(&record.policy)?.filter(|_| is_other) {
                record.policy = policy;
                changes.push(put(envelope, &record));
            }
        }
        Ok(changes)
    }

    async fn all(&self, permit: &Permitted, kind: Kind, parent: Parent) -> Result<Vec<Envelope>, Error> {
        let selection = Selection::of(kind).under(parent);
        self.store.open(permit).list(&selection, &Page::default()).await.map_err(of_store)
    }
}

// === impl Renamed ===

impl Renamed {
    /// The policy with the other name; `None` when it does not have this one.
    fn in_policy(&self, record: &PolicyRecord) -> Result<Option<PolicyRecord>, Error> {
        let mut policy = record.policy()?;
        let members = policy.bindings.iter_mut().flat_map(|binding| &mut binding.members);
        let named: Vec<&mut String> = members.filter(|member| member.eq_ignore_ascii_case(&self.from)).collect();
        if named.is_empty() {
            return Ok(None);
        }
        named.into_iter().for_each(|member| self.to.clone_into(member));
        Ok(Some(record.set(&policy)))
    }
}

fn put<T: serde::Serialize>(mut envelope: Envelope, record: &T) -> Change {
    envelope.internal = record::write(record);
    Change::Put(Box::new(envelope))
}
