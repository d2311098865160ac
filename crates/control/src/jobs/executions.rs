//! Looking at executions, ending and deleting them.

use updraft_api::{longrunning::Operation, pack, run};
use updraft_model::{
    Error, ErrorKind,
    iam::{Permission, Principal},
    job::{Counts, ExecutionName, JobName},
};
use updraft_store::{Change, Envelope, Kind, Page, Selection};

use super::{keys, view};
use crate::{
    Control, Inner,
    access::{Proof, Resource},
    failure::{etag_mismatch, of_store},
    page::{self, PAGE_MAX, Wish},
    queue::Work,
    record::{self, ExecutionRecord, OperationRecord, TaskRecord},
    services::operation,
    view::{etag, operation_name, pending_operation, succeeded},
};

/// How often a write is tried again because the reconciler wrote its report meanwhile.
const ATTEMPTS: usize = 16;

/// What is done to an execution.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Cancel,
    Delete,
}

/// Which execution, and of which version.
struct Wanted<'a> {
    name: &'a str,
    etag: &'a str,
    validate_only: bool,
}

// === impl Control ===

impl Control {
    /// An execution.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` for a malformed name.
    pub async fn executions_get(
        &self,
        caller: &Principal,
        request: run::GetExecutionRequest,
    ) -> Result<run::Execution, Error> {
        let inner = &*self.inner;
        let name = inner.places.execution(&request.name)?;
        let permit = inner.permit(caller, "run.executions.get", &Resource::Execution(name.clone())).await?;
        let envelope = permit.found().ok_or_else(|| Error::not_found(&name.execution))?;
        inner.execution(&permit, envelope).await
    }

    /// Executions of a job, or with the job `-` of all, newest first.
    ///
    /// # Errors
    /// `InvalidArgument` for a bad page token or size; `PermissionDenied`.
    pub async fn executions_list(
        &self,
        caller: &Principal,
        request: run::ListExecutionsRequest,
    ) -> Result<run::ListExecutionsResponse, Error> {
        let inner = &*self.inner;
        let job = inner.places.job("parent", &request.parent)?;
        let permit = inner.permit(caller, "run.executions.list", &of_all(&job)).await?;
        let selection = Selection::of(Kind::Execution).under(job.parent.clone());
        let selection = if job.job == "-" { selection } else { selection.owned_by(&job.job) };
        let wish = Wish { size: request.page_size, token: &request.page_token, max: PAGE_MAX };
        let keep = |envelope: &Envelope| Ok(request.show_deleted || !is_deleting(envelope)?);
        let (found, next_page_token) = page::list(inner.store.open(&permit), &selection, wish, keep).await?;
        let mut executions = Vec::with_capacity(found.len());
        for envelope in &found {
            executions.push(inner.execution(&permit, envelope).await?);
        }
        Ok(run::ListExecutionsResponse { executions, next_page_token })
    }

    /// Ends an execution: its tasks are told to end, and those that have not begun never will. The operation ends when
    /// all have.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `Aborted` when the etag is not the current one, `FailedPrecondition` when it is over.
    pub async fn executions_cancel(
        &self,
        caller: &Principal,
        request: run::CancelExecutionRequest,
    ) -> Result<Operation, Error> {
        let run::CancelExecutionRequest { name, etag, validate_only } = &request;
        let wanted = Wanted { name, etag, validate_only: *validate_only };
        Ok(self.inner.end_execution(caller, wanted, Deed::Cancel).await?.0)
    }

    /// Deletes an execution; one that runs is ended.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `Aborted` when the etag is not the current one.
    pub async fn executions_delete(
        &self,
        caller: &Principal,
        request: run::DeleteExecutionRequest,
    ) -> Result<Operation, Error> {
        let run::DeleteExecutionRequest { name, etag, validate_only } = &request;
        let wanted = Wanted { name, etag, validate_only: *validate_only };
        Ok(self.inner.end_execution(caller, wanted, Deed::Delete).await?.0)
    }
}

// === impl Inner ===

impl Inner {
    /// An execution as clients see it, with its counts as they are now.
    pub(crate) async fn execution(&self, proof: &impl Proof, envelope: &Envelope) -> Result<run::Execution, Error> {
        let name = keys::execution_name(envelope);
        let record: ExecutionRecord = record::read(envelope)?;
        let live = match self.executions.counts(&name) {
            None if !record.is_over && view::is_started(envelope)? => Some(self.counted(proof, &name).await?),
            live => live,
        };
        let execution = view::execution(envelope, live)?;
        Ok(if record.deleting.is_some() { view::deleted_execution(execution, envelope.updated) } else { execution })
    }

    /// How many of the tasks of an execution are in which phase, as they are written down: after a restart, until its first
    /// pass.
    async fn counted(&self, proof: &impl Proof, name: &ExecutionName) -> Result<Counts, Error> {
        let selection = Selection::of(Kind::Task).under(name.job.parent.clone()).owned_by(&name.execution);
        let rows = self.store.open(proof).list(&selection, &Page::default()).await.map_err(of_store)?;
        let mut counts = Counts::default();
        for row in rows {
            let task = record::read::<TaskRecord>(&row)?.task();
            counts.add(task.phase, task.attempts);
        }
        Ok(counts)
    }

    async fn end_execution(
        &self,
        caller: &Principal,
        wanted: Wanted<'_>,
        deed: Deed,
    ) -> Result<(Operation, Envelope), Error> {
        let name = self.places.execution(wanted.name)?;
        for _ in 0..ATTEMPTS {
            let mut permit = self.permit(caller, deed.permission(), &Resource::Execution(name.clone())).await?;
            let mut envelope = permit.take_found().ok_or_else(|| Error::not_found(&name.execution))?;
            if !wanted.etag.is_empty() && wanted.etag != etag(&envelope) {
                return Err(etag_mismatch(&name.execution));
            }
            let mut record: ExecutionRecord = record::read(&envelope)?;
            if deed == Deed::Cancel && record.is_over {
                let message = format!("Execution '{}' is over and cannot be cancelled.", name.execution);
                return Err(Error::new(ErrorKind::FailedPrecondition, message));
            }
            let (now, id) = (self.clock.now(), uuid::Uuid::new_v4().to_string());
            let answer = operation_name(&name.job.parent, &id);
            deed.note(&mut record, &id, now);
            envelope.updated = now;
            envelope.internal = record::write(&record);
            let shown = pack(&self.execution(&permit, &envelope).await?);
            if wanted.validate_only {
                return Ok((succeeded(answer, shown), envelope));
            }
            let about = OperationRecord { resource: name.to_string(), ..OperationRecord::default() };
            let pending = operation(&id, &name.job.resource(), &about, now);
            let puts = [envelope.clone(), pending].map(|put| Change::Put(Box::new(put)));
            if self.committed(&permit, puts.into()).await?.is_some() {
                self.queue.wake(Work::Execution(name));
                return Ok((pending_operation(answer, Some(shown)), envelope));
            }
        }
        Err(busy(&name))
    }
}

// === impl Deed ===

impl Deed {
    fn permission(self) -> Permission {
        match self {
            Self::Cancel => "run.executions.cancel",
            Self::Delete => "run.executions.delete",
        }
    }

    fn note(self, record: &mut ExecutionRecord, operation: &str, now: std::time::SystemTime) {
        match self {
            Self::Cancel => {
                record.cancelled.get_or_insert(now);
                record.cancelling.push(operation.to_owned());
            }
            Self::Delete => record.deleting = Some(operation.to_owned()),
        }
    }
}

/// Of one job, or of all in its place.
pub(super) fn of_all(job: &JobName) -> Resource {
    if job.job == "-" { Resource::Place(job.parent.clone()) } else { Resource::Job(job.clone()) }
}

pub(crate) fn is_deleting(envelope: &Envelope) -> Result<bool, Error> {
    Ok(record::read::<ExecutionRecord>(envelope)?.deleting.is_some())
}

fn busy(name: &ExecutionName) -> Error {
    Error::new(ErrorKind::Aborted, format!("Resource '{}' is being changed; try again.", name.execution))
}
