//! The store behind its lock, and what is read of it before anything is permitted: policies.

use std::{collections::BTreeSet, sync::Arc};

use updraft_api::view::policy;
use updraft_model::{
    Error, Parent, ServiceName,
    account::{default_email, default_unique_id},
    iam::{CustomRoles, Policy, Principal},
    job::{ExecutionName, JobName},
    secret::{SecretName, VersionId},
};
use updraft_store::{Envelope, Key, Kind, Page, Selection, Store};

use super::{Resource, Standing};
use crate::{
    Inner,
    around::{AccountRecord, GLOBAL, ProjectRecord, project_key},
    failure::of_store,
    jobs::keys,
    record::{self, ExecutionRecord, JobRecord, ServiceRecord},
    scheduler::job_key,
    secrets::{SecretRecord, resolved, secret_key},
};

/// The store of a control plane.
pub(crate) struct Vault {
    store: Arc<dyn Store>,
}

/// What opens the vault: a use case has a [`super::Permitted`], a reconciler acts for the platform.
pub(crate) trait Proof: Sync {}

impl Proof for super::Permitted {}

// === impl Vault ===

impl Vault {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The store, for whoever may have it.
    pub(crate) fn open(&self, _: &impl Proof) -> &dyn Store {
        &*self.store
    }

    /// The ids of all projects, sorted; `default` is one of them.
    pub(super) async fn projects(&self, default: &str) -> Result<BTreeSet<String>, Error> {
        let stored = self.store.list(&Selection::of(Kind::Project), &Page::default()).await.map_err(of_store)?;
        let mut ids: BTreeSet<String> = stored.into_iter().map(|envelope| envelope.key.name).collect();
        ids.insert(default.to_owned());
        Ok(ids)
    }

    async fn get(&self, key: &Key) -> Result<Option<Envelope>, Error> {
        self.store.get(key).await.map_err(of_store)
    }

    /// The envelope of a service or a worker pool that is not being deleted.
    async fn service(&self, name: &ServiceName) -> Result<Option<Envelope>, Error> {
        match self.get(&Key::of(name)).await? {
            Some(envelope) if record::read::<ServiceRecord>(&envelope)?.deleting.is_some() => Ok(None),
            found => Ok(found),
        }
    }

    /// The envelope of a service account, by its address or its unique id. The default one has none before it is changed.
    async fn account(&self, project: &str, account: &str) -> Result<Option<Envelope>, Error> {
        let parent = Parent::new(project, GLOBAL);
        if !account.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.get(&Key::new(Kind::ServiceAccount, parent, account)).await;
        }
        let selection = Selection::of(Kind::ServiceAccount).under(parent);
        for envelope in self.store.list(&selection, &Page::default()).await.map_err(of_store)? {
            if record::read::<AccountRecord>(&envelope)?.unique_id == account {
                return Ok(Some(envelope));
            }
        }
        Ok(None)
    }

    /// A secret and its policy.
    async fn secret(&self, name: &SecretName) -> Result<(Option<Envelope>, Option<(String, Policy)>), Error> {
        let found = self.get(&secret_key(name)).await?;
        let policy = match &found {
            Some(found) => policy::to_model(&record::read::<SecretRecord>(found)?.policy.policy()?),
            None => Policy::default(),
        };
        Ok((found, Some((name.to_string(), policy))))
    }

    /// A job and its policy.
    async fn job(&self, name: &JobName) -> Result<(Option<Envelope>, Option<(String, Policy)>), Error> {
        let found = match self.get(&keys::job(name)).await? {
            Some(found) if record::read::<JobRecord>(&found)?.deleting.is_some() => None,
            found => found,
        };
        let policy = match &found {
            Some(found) => policy::to_model(&record::read::<JobRecord>(found)?.policy.policy()?),
            None => Policy::default(),
        };
        Ok((found, Some((name.to_string(), policy))))
    }

    /// An execution that is not being deleted, and the policy of its job.
    async fn execution(&self, name: &ExecutionName) -> Result<(Option<Envelope>, Option<(String, Policy)>), Error> {
        let found = self.get(&keys::execution(name)).await?.filter(|found| found.owner == name.job.job);
        let found = match found {
            Some(found) if record::read::<ExecutionRecord>(&found)?.deleting.is_some() => None,
            found => found,
        };
        let (_, policy) = self.job(&name.job).await?;
        Ok((found, policy))
    }

    /// A resource that is stored by itself, and the policy that it or its service has.
    async fn own(&self, resource: &Resource) -> Result<(Option<Envelope>, Option<(String, Policy)>), Error> {
        match resource {
            Resource::Server
            | Resource::Project(_)
            | Resource::Place(_)
            | Resource::Within(..)
            | Resource::SchedulerPlace(_) => Ok((None, None)),
            Resource::ScheduledJob(name) => Ok((self.get(&job_key(name)).await?, None)),
            Resource::Service(name) => {
                let found = self.service(name).await?;
                let policy = service_policy(found.as_ref())?;
                Ok((found, Some((name.to_string(), policy))))
            }
            // A revision has no policy; that of its service has a say.
            Resource::Revision(name) => {
                let service = self.service(&name.service).await?;
                Ok((None, Some((name.service.to_string(), service_policy(service.as_ref())?))))
            }
            Resource::RevisionId(parent, id) => {
                let Some(revision) = self.get(&Key::new(Kind::Revision, parent.clone(), id)).await? else {
                    return Ok((None, None));
                };
                let name = record::owned_by(&revision);
                let service = self.service(&name).await?;
                let policy = service_policy(service.as_ref())?;
                Ok((Some(revision), Some((name.to_string(), policy))))
            }
            Resource::Job(name) => self.job(name).await,
            // Neither an execution nor a task has a policy; that of the job has a say.
            Resource::Execution(name) => self.execution(name).await,
            Resource::ExecutionId(parent, id) => {
                let key = Key::new(Kind::Execution, parent.clone(), id);
                let Some(execution) = self.get(&key).await? else { return Ok((None, None)) };
                self.execution(&parent.job(&execution.owner).execution(id)).await
            }
            // What is found of a task is its execution: one that was not begun is not stored.
            Resource::Task(name) => self.execution(&name.execution).await,
            Resource::Secret(name) => self.secret(name).await,
            // A version has no policy; that of its secret has a say.
            Resource::SecretVersion(name) => self.secret(&name.secret).await,
            Resource::Account { project: None, .. } => Ok((None, None)),
            Resource::Account { project: Some(project), account } => {
                let found = self.account(project, account).await?;
                let policy = match &found {
                    Some(found) => policy::to_model(&record::read::<AccountRecord>(found)?.policy.policy()?),
                    None => Policy::default(),
                };
                let name = canonical(resource, found.as_ref()).to_string();
                Ok((found, Some((name, policy))))
            }
        }
    }
}

// === impl Inner ===

impl Inner {
    /// The policies that have a say about a resource when `caller` asks, and the one spelling of its name that conditions
    /// see.
    pub(super) async fn standing(&self, caller: &Principal, resource: &Resource) -> Result<Standing, Error> {
        let alone = |found| {
            let (target, layers, roles) = (resource.target(), Vec::new(), CustomRoles::default());
            Ok(Standing { found, target, layers, roles, is_known: true })
        };
        let Some(project) = resource.project() else { return alone(None) };
        // No policy has a say about what the owner of everything does: those above need not be read.
        if caller.is_owner_of_everything() && !matches!(resource, Resource::Project(_)) {
            return alone(self.store.own(resource).await?.0);
        }
        let above = self.store.get(&project_key(project)).await?;
        let is_known = above.is_some() || *project == *self.config.default_project || caller.is_owner_of_everything();
        let record = ProjectRecord::of(above.as_ref())?;
        let top = (format!("projects/{project}"), policy::to_model(&record.policy.policy()?));
        let (found, own) = self.store.own(resource).await?;
        let found = if matches!(resource, Resource::Project(_)) { above } else { found };
        let roles = record.custom_roles(project);
        let target = canonical(resource, found.as_ref()).target();
        Ok(Standing { found, target, layers: own.into_iter().chain([top]).collect(), roles, is_known })
    }
}

/// The same resource under the name that it has only once: a condition about names must not depend on which the caller
/// takes.
fn canonical(resource: &Resource, found: Option<&Envelope>) -> Resource {
    match (resource, found) {
        (Resource::RevisionId(_, id), Some(found)) => Resource::Revision(record::owned_by(found).revision(id)),
        (Resource::ExecutionId(parent, id), Some(found)) => Resource::Execution(parent.job(&found.owner).execution(id)),
        (Resource::Account { project, .. }, Some(found)) => {
            Resource::Account { project: project.clone(), account: found.key.name.clone() }
        }
        (Resource::Account { project: Some(project), account }, None) if *account == default_unique_id(project) => {
            Resource::Account { project: Some(project.clone()), account: default_email(project) }
        }
        // `latest` and aliases are other names of a version that has a number.
        (Resource::SecretVersion(name), Some(found)) => match resolved(found, &name.version) {
            Some(number) => Resource::SecretVersion(name.secret.version(VersionId::Number(number))),
            None => resource.clone(),
        },
        _ => resource.clone(),
    }
}

fn service_policy(found: Option<&Envelope>) -> Result<Policy, Error> {
    match found {
        Some(envelope) => Ok(policy::to_model(&record::read::<ServiceRecord>(envelope)?.policy.policy()?)),
        None => Ok(Policy::default()),
    }
}
