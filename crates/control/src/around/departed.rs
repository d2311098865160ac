//! Service accounts that are deleted, in the policies that name them.
//!
//! Source: Google's documentation of policies with deleted principals.

use updraft_model::Error;
use updraft_store::{Change, Envelope, Key, Kind};

use super::{
    ProjectRecord,
    accounts::{AccountRecord, Found},
};
use crate::{
    Inner,
    access::Permitted,
    failure::of_store,
    record::{self, PolicyRecord, ServiceRecord},
    secrets::SecretRecord,
};

/// What has a policy.
const KINDS: [Kind; 5] = [Kind::Project, Kind::Service, Kind::WorkerPool, Kind::Secret, Kind::ServiceAccount];
/// How many of them are in memory at a time.
const PAGE: usize = 500;

/// A member that is to be called something else.
struct Renamed {
    from: String,
    to: String,
}

// === impl Inner ===

impl Inner {
    /// The changes that make every policy that names an account name it as deleted, in whichever project: to be committed
    /// with the deletion, so that after a crash there is no state in which a later account of the address has what this one
    /// was given. What begins to name the address after this look at the policies means whoever has it then.
    pub(super) async fn without_account(
        &self,
        permit: &Permitted,
        account: &Found,
        key: &Key,
    ) -> Result<Vec<Change>, Error> {
        let Found { email, record, .. } = account;
        let renamed = Renamed {
            from: format!("serviceAccount:{email}"),
            to: format!("deleted:serviceAccount:{email}?uid={}", record.unique_id),
        };
        let mut changes = Vec::new();
        for kind in KINDS {
            let mut last = None;
            loop {
                let page = self.store.open(permit).scan(kind, last.as_ref(), PAGE).await.map_err(of_store)?;
                let Some(end) = page.last() else { break };
                last = Some(end.key.clone());
                // The account itself goes.
                for envelope in page.into_iter().filter(|envelope| envelope.key != *key) {
                    let key = envelope.key.clone();
                    match renamed.in_envelope(envelope) {
                        Ok(change) => changes.extend(change),
                        // A policy that cannot be read lets nobody in; it is no reason to keep the account.
                        Err(error) => {
                            tracing::error!(%error, cause = error.cause(), %key, "policy could not be read");
                        }
                    }
                }
            }
        }
        Ok(changes)
    }
}

// === impl Renamed ===

impl Renamed {
    /// The change that gives what has a policy the other name; `None` when its policy does not have this one.
    fn in_envelope(&self, envelope: Envelope) -> Result<Option<Change>, Error> {
        match envelope.key.kind {
            Kind::Project => {
                let record = ProjectRecord::of(Some(&envelope))?;
                let policy = self.in_policy(&record.policy)?;
                Ok(policy.map(|policy| put(envelope, &ProjectRecord { policy, ..record })))
            }
            Kind::Service | Kind::WorkerPool => {
                let record: ServiceRecord = record::read(&envelope)?;
                let policy = self.in_policy(&record.policy)?;
                Ok(policy.map(|policy| put(envelope, &ServiceRecord { policy, ..record })))
            }
            Kind::Secret => {
                let record: SecretRecord = record::read(&envelope)?;
                let policy = self.in_policy(&record.policy)?;
                Ok(policy.map(|policy| put(envelope, &SecretRecord { policy, ..record })))
            }
            Kind::ServiceAccount => {
                let mut record: AccountRecord = record::read(&envelope)?;
                let Some(policy) = self.in_policy(&record.policy)? else { return Ok(None) };
                record.policy = policy;
                Ok(Some(put(envelope, &record)))
            }
            _ => Ok(None),
        }
    }

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
