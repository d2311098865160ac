//! The calls around a deploy: projects and their policies, the APIs they use, service accounts; and the right to read
//! logs. What they store hangs on the project, which exists on first use.

mod accounts;
mod book;
mod keys;
mod policies;
mod projects;
mod usage;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use updraft_api::view::policy;
use updraft_model::{
    Error, ErrorKind, Parent,
    iam::{Policy, Principal},
};
use updraft_store::{Change, Envelope, Key, Kind, StoreError};

use crate::{
    Control, Inner,
    access::authorise,
    failure::of_store,
    record::{self, PolicyRecord},
};

pub use accounts::{AccountChange, Accounts, NewAccount, ServiceAccount};
pub(crate) use book::Accounts as AccountsBook;
pub use keys::{AccountIdentity, AccountKey, KEYS_MAX, KeyOrigin, NewKey};
pub use projects::{Project, Projects};
pub use usage::{Usage, UsageOperation, Usages};

/// The location of what belongs to a project and to no region.
pub(crate) const GLOBAL: &str = "global";
/// How often a write is tried again because somebody else wrote meanwhile.
const ATTEMPTS: usize = 16;

/// Of a project. Its envelope is written when there is something to write down.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ProjectRecord {
    /// Its policy.
    pub(crate) policy: PolicyRecord,
    /// APIs that were switched on or off, by name, and are not as they are by themselves.
    pub(crate) usage: BTreeMap<String, bool>,
}

// === impl Control ===

impl Control {
    /// Lets a call go on only if `caller` has `permission` on a project; returns the project's id.
    ///
    /// # Errors
    /// `InvalidArgument` for a malformed project, `NotFound` for an unknown number, `PermissionDenied`.
    pub async fn authorise_project(
        &self,
        caller: &Principal,
        permission: &'static str,
        project: &str,
    ) -> Result<String, Error> {
        let (project, _) = self.inner.permitted(caller, permission, ("resourceNames", project)).await?;
        Ok(project)
    }
}

// === impl Inner ===

impl Inner {
    /// A project that `caller` has `permission` on: its id, and its envelope if it has one.
    async fn permitted(
        &self,
        caller: &Principal,
        permission: &'static str,
        (field, project): (&str, &str),
    ) -> Result<(String, Option<Envelope>), Error> {
        let project = self.places.project(field, project)?;
        let envelope = self.get(&project_key(&project)).await?;
        let policy = project_policy(envelope.as_ref())?;
        authorise(caller, permission, format!("projects/{project}"), &[&policy])?;
        Ok((project, envelope))
    }

    /// Changes what is written down of a project, with whatever else belongs to the change. `None` when somebody
    /// else was faster.
    async fn write_project(
        &self,
        project: &str,
        (envelope, record): (Option<Envelope>, &ProjectRecord),
        rest: Vec<Change>,
    ) -> Result<Option<()>, Error> {
        let mut envelope = envelope.unwrap_or_else(|| record::envelope(project_key(project), "", self.clock.now()));
        envelope.internal = record::write(record);
        let mut changes = vec![Change::Put(Box::new(envelope))];
        changes.extend(rest);
        let written = self.committed(changes).await?;
        self.places.created(project);
        Ok(written)
    }

    async fn committed(&self, changes: Vec<Change>) -> Result<Option<()>, Error> {
        match self.store.commit(changes).await {
            Ok(_) => Ok(Some(())),
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(error) => Err(of_store(error)),
        }
    }
}

fn project_key(project: &str) -> Key {
    Key::new(Kind::Project, Parent::new(project, GLOBAL), project)
}

/// What is written down of a project; the envelope of one that nothing was done to has nothing in it.
fn project_record(envelope: Option<&Envelope>) -> Result<ProjectRecord, Error> {
    match envelope {
        Some(envelope) if !envelope.internal.is_empty() => record::read(envelope),
        _ => Ok(ProjectRecord::default()),
    }
}

/// The policy of a project, as decisions see it.
fn project_policy(envelope: Option<&Envelope>) -> Result<Policy, Error> {
    Ok(policy::to_model(&project_record(envelope)?.policy.policy()?))
}

fn busy(name: &str) -> Error {
    Error::new(ErrorKind::Aborted, format!("Resource '{name}' is being changed; try again."))
}
