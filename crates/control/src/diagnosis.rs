//! How a revision came up, or why it did not: told again, from what was stored with it.

use std::sync::{Arc, PoisonError};

use updraft_api::run;
use updraft_model::{
    Error, RevisionName, ServiceName,
    channel::StartFailure,
    iam::Principal,
    name::Collection,
    revision::lifecycle::{Failure, Phase},
};
use updraft_store::Key;

use crate::{
    Control, Inner,
    access::Resource,
    deployed::Deployed as _,
    record::{self, RevisionRecord, ServiceRecord},
};

/// What is known of how a revision came up.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The revision.
    pub revision: RevisionName,
    /// How it stands.
    pub standing: Standing,
    /// The revisions that take traffic, or of a worker pool have instances, by their ids.
    pub serving: Vec<String>,
}

/// How a revision stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// It is on its way.
    Pending,
    /// It came up. Why the latest start failed, if none has succeeded since: kept in memory only.
    Ready(Option<Arc<StartFailure>>),
    /// It did not come up, and why.
    Failed(Failure),
}

// === impl Control ===

impl Control {
    /// How a revision of `service`, which may be a worker pool, came up, or why it did not; without `revision` the latest one.
    ///
    /// # Errors
    /// `NotFound` for a service or a revision that is not there, `PermissionDenied`, `InvalidArgument` for
    /// a malformed name.
    pub async fn diagnosis(
        &self,
        caller: &Principal,
        service: &ServiceName,
        revision: Option<&str>,
    ) -> Result<Report, Error> {
        let inner = &*self.inner;
        if service.collection == Collection::Jobs {
            return Err(Error::invalid_field("job", format!("has no revisions, got '{}'", service.service)));
        }
        let service = inner.places.resource(service.collection, &service.to_string())?;
        let permit = inner.permit(caller, "run.revisions.get", &Resource::Service(service.clone())).await?;
        let found = inner.get(&permit, &Key::of(&service)).await?.ok_or_else(|| Error::not_found(&service.service))?;
        let record: ServiceRecord = record::read(&found)?;
        let lines = match service.collection {
            Collection::WorkerPools => record::message::<run::WorkerPool>(&found, &found.status)?.current(),
            Collection::Services | Collection::Jobs => {
                record::message::<run::Service>(&found, &found.status)?.current()
            }
        };
        let name = service.revision(revision.unwrap_or(&record.latest_created));
        let revision = inner.get_revision(&permit, &name).await?.ok_or_else(|| Error::not_found(&name.revision))?;
        let record: RevisionRecord = record::read(&revision)?;
        let standing = match record.phase() {
            Phase::Resolving | Phase::Checking => Standing::Pending,
            Phase::Ready => Standing::Ready(inner.trouble(&name)),
            Phase::Failed(failure) => Standing::Failed(failure),
        };
        let routed = lines.into_iter().filter(|line| line.target.percent > 0);
        let mut serving: Vec<String> = routed.map(|line| line.revision).collect();
        serving.dedup();
        Ok(Report { revision: name, standing, serving })
    }
}

// === impl Inner ===

impl Inner {
    fn trouble(&self, name: &RevisionName) -> Option<Arc<StartFailure>> {
        let seen = self.health_seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.entries.get(name).and_then(|health| health.trouble.clone())
    }
}
