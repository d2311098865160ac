//! What is asked of a job that is there: to rest, to run again, to run now.

use updraft_api::scheduler::{Job, PauseJobRequest, ResumeJobRequest, RunJobRequest};
use updraft_model::{
    Error,
    iam::{Permission, Principal},
    schedule::{Change as Wish, Progress, ScheduledJobName},
};
use updraft_store::Change;

use super::{ATTEMPTS, Found, ScheduledJobRecord, busy, missing};
use crate::{Control, Inner, access::Resource};

// === impl Control ===

impl Control {
    /// Lets a job rest. A run that is under way goes on, what waits for a retry does not.
    ///
    /// # Errors
    /// `InvalidArgument`, `PermissionDenied`, `NotFound`; `FailedPrecondition` when it rests already.
    pub async fn scheduled_jobs_pause(&self, caller: &Principal, request: PauseJobRequest) -> Result<Job, Error> {
        let name = self.inner.scheduled_job_named("name", &request.name)?;
        self.inner.turn((caller, "cloudscheduler.jobs.pause"), &name, Wish::Pause).await
    }

    /// Lets a job run again, from now on: times that passed while it rested are not made up for.
    ///
    /// # Errors
    /// `InvalidArgument`, `PermissionDenied`, `NotFound`; `FailedPrecondition` when it does not rest.
    pub async fn scheduled_jobs_resume(&self, caller: &Principal, request: ResumeJobRequest) -> Result<Job, Error> {
        let name = self.inner.scheduled_job_named("name", &request.name)?;
        self.inner.turn((caller, "cloudscheduler.jobs.enable"), &name, Wish::Resume).await
    }

    /// Runs a job now, also one that rests; if a run is under way, after that. Who asks again before it has begun asks for
    /// the same run.
    ///
    /// # Errors
    /// `InvalidArgument`, `PermissionDenied`, `NotFound`.
    pub async fn scheduled_jobs_run(&self, caller: &Principal, request: RunJobRequest) -> Result<Job, Error> {
        let name = self.inner.scheduled_job_named("name", &request.name)?;
        let forced = |inner: &Inner, found: &Found| {
            let (record, progress) = (found.record.clone(), found.record.progress());
            // A run that is under way ends what was asked for when it began, and no later wish.
            let forced = Some(inner.clock.now());
            let state = record.state();
            Ok(record.with(state, Progress { forced, ..progress }))
        };
        self.inner.change_job((caller, "cloudscheduler.jobs.run"), &name, forced).await
    }
}

// === impl Inner ===

impl Inner {
    /// Lets a job rest, or run again; it begins anew.
    async fn turn(
        &self,
        permitted: (&Principal, Permission),
        name: &ScheduledJobName,
        wish: Wish,
    ) -> Result<Job, Error> {
        let turned = |inner: &Self, found: &Found| {
            let record = found.record.clone();
            let (state, progress) = (record.state().changed(wish, &found.name)?, record.progress());
            Ok(record.with(state, progress.anew(inner.clock.now())))
        };
        self.change_job(permitted, name, turned).await
    }

    /// Writes what `change` makes of a job's record, and publishes it.
    async fn change_job(
        &self,
        (caller, permission): (&Principal, Permission),
        name: &ScheduledJobName,
        change: impl Fn(&Self, &Found) -> Result<ScheduledJobRecord, Error>,
    ) -> Result<Job, Error> {
        for _ in 0..ATTEMPTS {
            let mut permit = self.permit(caller, permission, &Resource::ScheduledJob(name.clone())).await?;
            let found = Found::of(permit.take_found().ok_or_else(missing)?)?;
            let record = change(self, &found)?;
            let key = found.envelope.key.clone();
            let envelope = found.with(&record);
            if self.committed(&permit, vec![Change::Put(Box::new(envelope.clone()))]).await?.is_some() {
                self.schedules.publish(self.store.open(&permit), &key).await?;
                return Ok(Found::of(envelope)?.shown());
            }
        }
        Err(busy(name))
    }
}
