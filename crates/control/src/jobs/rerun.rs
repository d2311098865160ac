//! Running again what failed: not in Google's API.

use updraft_api::{longrunning::Operation, run, v1::Rest, view::job as job_view};
use updraft_model::{
    Error, ErrorKind,
    iam::{Permission, Principal},
    job::{ExecutionName, TaskPhase},
};
use updraft_store::{Envelope, Kind, Page, Selection};

use super::{run::begin, view};
use crate::{
    Control, Inner,
    access::{Permitted, Resource},
    failure::of_store,
    record::{self, ExecutionRecord, TaskRecord},
    services::Mode,
    view::rest,
};

/// What it takes: the indexes are an override, as a number of tasks is one.
const RERUN: Permission = "run.jobs.runWithOverrides";
/// How often a write is tried again because somebody else wrote meanwhile.
const ATTEMPTS: usize = 16;

// === impl Control ===

impl Control {
    /// Begins an execution of the tasks of another one that did not succeed, as those were: with their indexes, and with
    /// what that execution had otherwise than its job. The job may have been changed since.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`; `FailedPrecondition` when the execution is not over, and when no task of it failed.
    pub async fn executions_rerun(&self, caller: &Principal, name: &str) -> Result<Operation, Error> {
        let inner = &*self.inner;
        let name = inner.places.execution(name)?;
        let job = Resource::Job(name.job.clone());
        for _ in 0..ATTEMPTS {
            let seen = inner.permit(caller, RERUN, &Resource::Execution(name.clone())).await?;
            let before = seen.found().ok_or_else(|| Error::not_found(&name.execution))?;
            let mut permit = inner.permit(caller, RERUN, &job).await?;
            let current = permit.take_found().ok_or_else(|| Error::not_found(&name.job.job))?;
            let only = inner.failed_tasks(&permit, &name, before).await?;
            let old: run::Execution = record::message(before, &before.spec)?;
            let mut template = job_view::template_of(&old);
            template.task_count = i32::try_from(only.len()).unwrap_or(i32::MAX);
            template.parallelism = template.parallelism.min(template.task_count);
            let message = view::intent(&current)?.message;
            let kept: Rest = rest(before)?;
            let mut run =
                begin((&name.job, &message), &template, kept, ((caller, inner.clock.now()), &inner.config.url));
            let about: ExecutionRecord = record::read(before)?;
            let of = if about.only.is_empty() { u32::try_from(old.task_count).unwrap_or_default() } else { about.of };
            let mut record: ExecutionRecord = record::read(&run.execution)?;
            (record.only, record.of) = (only, of);
            run.execution.internal = record::write(&record);
            if let Some(begun) = inner.begin_execution(&permit, (current, run), Mode::Write).await? {
                return Ok(begun.operation);
            }
        }
        Err(super::write::busy(&name.job))
    }
}

// === impl Inner ===

impl Inner {
    /// The indexes of the tasks of an execution that did not succeed, sorted.
    async fn failed_tasks(
        &self,
        permit: &Permitted,
        name: &ExecutionName,
        execution: &Envelope,
    ) -> Result<Vec<u32>, Error> {
        let about: ExecutionRecord = record::read(execution)?;
        let refused = |why| Error::new(ErrorKind::FailedPrecondition, format!("Execution '{}' {why}.", name.execution));
        if !about.is_over {
            return Err(refused("is not over: what failed is not known yet"));
        }
        let selection = Selection::of(Kind::Task).under(name.job.parent.clone()).owned_by(&name.execution);
        let rows = self.store.open(permit).list(&selection, &Page::default()).await.map_err(of_store)?;
        let mut succeeded = std::collections::HashSet::new();
        for row in &rows {
            let record: TaskRecord = record::read(row)?;
            if record.task().phase == TaskPhase::Succeeded {
                succeeded.insert(record.index);
            }
        }
        let intent: run::Execution = record::message(execution, &execution.spec)?;
        let count = u32::try_from(intent.task_count).unwrap_or_default();
        let failed = (0..count).map(|place| about.index_at(place)).filter(|index| !succeeded.contains(index));
        let mut failed: Vec<u32> = failed.collect();
        failed.sort_unstable();
        if failed.is_empty() {
            return Err(refused("has no failed tasks"));
        }
        Ok(failed)
    }
}
