//! Looking at jobs.

use updraft_api::{run, v1::Stored};
use updraft_model::{Error, Parent, iam::Principal};
use updraft_store::{Envelope, Kind, Selection};

use super::{keys, view};
use crate::{
    Control, Inner,
    access::{Permitted, Resource},
    page::{self, PAGE_MAX, Wish},
    record::{self, JobRecord},
};

// === impl Control ===

impl Control {
    /// A job.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` for a malformed name.
    pub async fn jobs_get(&self, caller: &Principal, request: run::GetJobRequest) -> Result<run::Job, Error> {
        let inner = &*self.inner;
        let name = inner.places.job("name", &request.name)?;
        let permit = inner.permit(caller, "run.jobs.get", &Resource::Job(name.clone())).await?;
        let envelope = permit.found().ok_or_else(|| Error::not_found(&name.job))?;
        Ok(inner.stored_job(&permit, envelope).await?.message)
    }

    /// Jobs of a project and location, newest first.
    ///
    /// # Errors
    /// `InvalidArgument` for a bad page token or size and for the location `-`; `PermissionDenied`.
    pub async fn jobs_list(
        &self,
        caller: &Principal,
        request: run::ListJobsRequest,
    ) -> Result<run::ListJobsResponse, Error> {
        let inner = &*self.inner;
        let parent: Parent = request.parent.parse()?;
        let parent = inner.places.parent("parent", &parent)?;
        let permit = inner.permit(caller, "run.jobs.list", &Resource::Place(parent.clone())).await?;
        let selection = Selection::of(Kind::Job).under(parent);
        let wish = Wish { size: request.page_size, token: &request.page_token, max: PAGE_MAX };
        let keep = |envelope: &Envelope| Ok(request.show_deleted || !is_deleting(envelope)?);
        let (found, next_page_token) = page::list(inner.store.open(&permit), &selection, wish, keep).await?;
        let mut jobs = Vec::with_capacity(found.len());
        for envelope in &found {
            let job = inner.stored_job(&permit, envelope).await?.message;
            jobs.push(if is_deleting(envelope)? { view::deleted_job(job, envelope.updated) } else { job });
        }
        Ok(run::ListJobsResponse { jobs, next_page_token })
    }
}

// === impl Inner ===

impl Inner {
    /// A job as clients see it, with what it says of its newest execution.
    pub(crate) async fn stored_job(&self, permit: &Permitted, envelope: &Envelope) -> Result<Stored<run::Job>, Error> {
        let record: JobRecord = record::read(envelope)?;
        let latest = match record.latest.as_str() {
            "" => None,
            id => self.get(permit, &keys::execution(&keys::job_name(envelope).execution(id))).await?,
        };
        view::stored_job(envelope, latest.as_ref())
    }
}

pub(crate) fn is_deleting(envelope: &Envelope) -> Result<bool, Error> {
    Ok(record::read::<JobRecord>(envelope)?.deleting.is_some())
}
