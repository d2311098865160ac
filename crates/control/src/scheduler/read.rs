//! One job, and lists of them.

use updraft_api::scheduler::{GetJobRequest, Job, ListJobsRequest, ListJobsResponse};
use updraft_model::{Error, Parent, iam::Principal};
use updraft_store::{Kind, Selection};

use super::{Found, missing};
use crate::{
    Control,
    access::Resource,
    page::{self, Wish},
};

/// The most jobs of a page, and how many there are when nothing is said.
const PAGE_MAX: usize = 500;

// === impl Control ===

impl Control {
    /// A scheduled job.
    ///
    /// # Errors
    /// `InvalidArgument`, `PermissionDenied`, `NotFound`.
    pub async fn scheduled_jobs_get(&self, caller: &Principal, request: GetJobRequest) -> Result<Job, Error> {
        let name = self.inner.scheduled_job_named("name", &request.name)?;
        let resource = Resource::ScheduledJob(name);
        let mut permit = self.inner.permit(caller, "cloudscheduler.jobs.get", &resource).await?;
        Ok(Found::of(permit.take_found().ok_or_else(missing)?)?.shown())
    }

    /// The scheduled jobs of a location, the newest first.
    ///
    /// # Errors
    /// `InvalidArgument`, `PermissionDenied`.
    pub async fn scheduled_jobs_list(
        &self,
        caller: &Principal,
        request: ListJobsRequest,
    ) -> Result<ListJobsResponse, Error> {
        let inner = &*self.inner;
        let parent: Parent = request.parent.parse()?;
        let parent = inner.places.parent("parent", &parent)?;
        let resource = Resource::SchedulerPlace(parent.clone());
        let permit = inner.permit(caller, "cloudscheduler.jobs.list", &resource).await?;
        let selection = Selection::of(Kind::ScheduledJob).under(parent);
        // Unless something is said it is the most, which is more than elsewhere.
        let size = if request.page_size == 0 { i32::try_from(PAGE_MAX).unwrap_or_default() } else { request.page_size };
        let wish = Wish { size, token: &request.page_token, max: PAGE_MAX };
        let (found, next_page_token) = page::list(inner.store.open(&permit), &selection, wish, |_| Ok(true)).await?;
        let jobs = found.into_iter().map(|envelope| Ok(Found::of(envelope)?.shown())).collect::<Result<_, Error>>()?;
        Ok(ListJobsResponse { jobs, next_page_token })
    }
}
