//! The calls around a deploy: projects and their policies, the APIs they use, service accounts; and the right to read
//! logs. What they store hangs on the project, which exists on first use.

mod accounts;
mod book;
mod departed;
mod keys;
mod policies;
mod projects;
mod roles;
mod usage;

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use updraft_model::{
    Error, ErrorKind, Parent, ServiceName,
    iam::{CustomRoles, Permission, Principal},
};
use updraft_store::{Change, Envelope, Key, Kind, StoreError};

use crate::{
    Control, Inner,
    access::{Permitted, Proof, Resource},
    failure::of_store,
    record::{self, PolicyRecord},
};

pub(crate) use accounts::AccountRecord;
pub use accounts::{AccountChange, Accounts, NewAccount, ServiceAccount};
pub(crate) use book::Accounts as AccountsBook;
pub use keys::{AccountIdentity, AccountKey, KEYS_MAX, KeyOrigin, NewKey};
pub use projects::{Project, Projects};
pub use roles::{Page as RolesPage, Role, RoleChange, Roles, predefined, predefined_roles};
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
    /// The custom roles, by their ids. They are here and not by themselves, since every decision about the project and what
    /// is in it needs them together with its policy.
    pub(crate) roles: BTreeMap<String, roles::RoleRecord>,
}

// === impl Control ===

impl Control {
    /// Lets a call go on only if `caller` has `permission` on a project; gives the project's id with the proof. For what is
    /// kept elsewhere: logs, images, metrics.
    ///
    /// # Errors
    /// `InvalidArgument` for a malformed project, `NotFound` for an unknown number, `PermissionDenied`.
    pub async fn authorise_project(
        &self,
        caller: &Principal,
        permission: Permission,
        project: &str,
    ) -> Result<(String, Permitted), Error> {
        self.inner.permitted(caller, permission, ("resourceNames", project)).await
    }

    /// The same on the server itself, about which no policy has a say: only who owns everything has it.
    ///
    /// # Errors
    /// `PermissionDenied`.
    pub async fn authorise_server(&self, caller: &Principal, permission: Permission) -> Result<Permitted, Error> {
        self.inner.permit(caller, permission, &Resource::Server).await
    }

    /// The same on a service, a worker pool or a job. Neither it nor its location need be there: what it left, such as its logs, may be.
    ///
    /// # Errors
    /// `InvalidArgument` for a malformed project, `NotFound` for an unknown number, `PermissionDenied`.
    pub async fn authorise_service(
        &self,
        caller: &Principal,
        permission: Permission,
        service: &ServiceName,
    ) -> Result<Permitted, Error> {
        let project = self.inner.places.project("project", &service.parent.project)?;
        let place = Parent::new(project, &service.parent.location);
        let service = place.resource(service.collection, &service.service);
        self.inner.permit(caller, permission, &Resource::Service(service)).await
    }
}

// === impl Inner ===

impl Inner {
    /// A project that `caller` has `permission` on: its id, and with the proof its envelope if it has one.
    async fn permitted(
        &self,
        caller: &Principal,
        permission: Permission,
        (field, project): (&str, &str),
    ) -> Result<(String, Permitted), Error> {
        let project = self.places.project(field, project)?;
        let permit = self.permit(caller, permission, &Resource::Project(project.clone())).await?;
        Ok((project, permit))
    }

    /// Changes what is written down of a project, with whatever else belongs to the change. `None` when somebody
    /// else was faster.
    async fn write_project(
        &self,
        permit: &Permitted,
        project: &str,
        record: &ProjectRecord,
        rest: Vec<Change>,
    ) -> Result<Option<()>, Error> {
        let found = permit.found().cloned();
        let mut envelope = found.unwrap_or_else(|| record::envelope(project_key(project), "", self.clock.now()));
        envelope.internal = record::write(record);
        let mut changes = vec![Change::Put(Box::new(envelope))];
        changes.extend(rest);
        self.committed(permit, changes).await
    }

    /// Commits; `None` when somebody else was faster. What projects say from now on is published when this returns: whoever is
    /// told that nobody may call any more finds that so.
    pub(crate) async fn committed(&self, proof: &impl Proof, changes: Vec<Change>) -> Result<Option<()>, Error> {
        let projects: Vec<Key> = changes.iter().filter_map(project_put).cloned().collect();
        match self.store.open(proof).commit(changes).await {
            Ok(_) => {
                for project in &projects {
                    self.places.created(&project.name);
                    // If this fails it is written all the same; the watch over the store tries again, and logs.
                    let _ = self.publish_project(project).await;
                }
                Ok(Some(()))
            }
            Err(StoreError::Conflict { key, .. }) => {
                // The first write of a project also creates it: whoever lost that race has lost nothing, and need not try again.
                if key.kind == Kind::Project {
                    self.places.created(&key.name);
                }
                Ok(None)
            }
            Err(error) => Err(of_store(error)),
        }
    }
}

/// The project that a change writes.
fn project_put(change: &Change) -> Option<&Key> {
    match change {
        Change::Put(envelope) if envelope.key.kind == Kind::Project => Some(&envelope.key),
        Change::Put(_) | Change::Delete { .. } => None,
    }
}

// === impl ProjectRecord ===

impl ProjectRecord {
    /// What is written down of a project; the envelope of one that nothing was done to has nothing in it.
    pub(crate) fn of(envelope: Option<&Envelope>) -> Result<Self, Error> {
        match envelope {
            Some(envelope) if !envelope.internal.is_empty() => record::read(envelope),
            _ => Ok(Self::default()),
        }
    }

    /// The custom roles that are in force.
    pub(crate) fn custom_roles(&self, project: &str) -> CustomRoles {
        let mut roles = CustomRoles::default();
        for (id, role) in self.roles.iter().filter(|(_, role)| role.is_in_force()) {
            roles.insert(format!("projects/{project}/roles/{id}"), role.permissions.iter().cloned());
        }
        roles
    }
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

pub(crate) fn project_key(project: &str) -> Key {
    Key::new(Kind::Project, Parent::new(project, GLOBAL), project)
}

fn busy(name: &str) -> Error {
    Error::new(ErrorKind::Aborted, format!("Resource '{name}' is being changed; try again."))
}
