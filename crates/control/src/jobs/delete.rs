//! Deleting a job.

use updraft_api::{longrunning::Operation, pack, run};
use updraft_model::{Error, ErrorKind, iam::Principal, job::JobName};
use updraft_store::{Change, Kind, Page, Selection};

use super::{view, write::busy};
use crate::{
    Control, Inner,
    access::{Permitted, Resource},
    failure::{etag_mismatch, of_store},
    queue::Work,
    record::{self, ExecutionRecord, JobRecord, OperationRecord},
    services::operation,
    view::{etag, operation_name, pending_operation, succeeded},
};

/// How often the mark is tried again because somebody else wrote meanwhile.
const ATTEMPTS: usize = 16;

/// What becomes of executions that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Running {
    /// They keep their job from being deleted.
    #[default]
    Keep,
    /// They are ended.
    End,
}

// === impl Control ===

impl Control {
    /// Deletes a job with its executions and their logs. From the moment this returns it cannot be got any more; the
    /// operation ends when nothing of it is left.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `Aborted` when the etag is not the current one, `FailedPrecondition` while one of its
    /// executions runs.
    pub async fn jobs_delete(&self, caller: &Principal, request: run::DeleteJobRequest) -> Result<Operation, Error> {
        self.inner.delete_job(caller, request, Running::Keep).await
    }
}

// === impl Inner ===

impl Inner {
    /// The same, and `running` says what becomes of executions that run.
    pub(crate) async fn delete_job(
        &self,
        caller: &Principal,
        request: run::DeleteJobRequest,
        running: Running,
    ) -> Result<Operation, Error> {
        let name = self.places.job("name", &request.name)?;
        for _ in 0..ATTEMPTS {
            let mut permit = self.permit(caller, "run.jobs.delete", &Resource::Job(name.clone())).await?;
            let mut envelope = permit.take_found().ok_or_else(|| Error::not_found(&name.job))?;
            if !request.etag.is_empty() && request.etag != etag(&envelope) {
                return Err(etag_mismatch(&name.job));
            }
            if running == Running::Keep
                && let Some(execution) = self.running_execution(&permit, &name).await?
            {
                let message = format!(
                    "Job '{}' cannot be deleted while its execution '{execution}' runs; cancel or delete it first.",
                    name.job
                );
                return Err(Error::new(ErrorKind::FailedPrecondition, message));
            }
            let now = self.clock.now();
            let deleted = view::deleted_job(self.stored_job(&permit, &envelope).await?.message, now);
            let id = uuid::Uuid::new_v4().to_string();
            let answer = operation_name(&name.parent, &id);
            if request.validate_only {
                return Ok(succeeded(answer, pack(&deleted)));
            }
            let about = OperationRecord { resource: name.to_string(), ..OperationRecord::default() };
            let record: JobRecord = record::read(&envelope)?;
            envelope.internal = record::write(&JobRecord { deleting: Some(id.clone()), ..record });
            envelope.updated = now;
            let puts = [envelope, operation(&id, &name.resource(), &about, now)];
            if self.committed(&permit, puts.map(|put| Change::Put(Box::new(put))).into()).await?.is_some() {
                self.queue.wake(Work::Job(name));
                return Ok(pending_operation(answer, Some(pack(&deleted))));
            }
        }
        Err(busy(&name))
    }

    /// The id of an execution of a job that is under way, if there is one.
    async fn running_execution(&self, permit: &Permitted, name: &JobName) -> Result<Option<String>, Error> {
        let selection = Selection::of(Kind::Execution).under(name.parent.clone()).owned_by(&name.job);
        for envelope in self.store.open(permit).list(&selection, &Page::default()).await.map_err(of_store)? {
            let record = record::read::<ExecutionRecord>(&envelope)?;
            // One that is being deleted is ended by that.
            if !record.is_over && record.deleting.is_none() {
                return Ok(Some(envelope.key.name));
            }
        }
        Ok(None)
    }
}
