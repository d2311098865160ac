//! The reconciler of jobs: which of their executions are kept, and their end.

use std::sync::Arc;

use updraft_api::pack;
use updraft_model::{Error, job::JobName};
use updraft_store::{Change, Envelope, Kind, Page, Selection};

use super::{PLATFORM, Passed, operation::End};
use crate::{
    Inner,
    failure::of_store,
    jobs::{keys, view},
    queue::Work,
    record::{self, ExecutionRecord, JobRecord},
};

/// The most executions of a job that are kept once they are over. Source: Cloud Run's quotas.
const KEPT_MAX: usize = 1000;

/// One pass over a job.
pub(super) async fn pass(inner: &Arc<Inner>, name: &JobName) -> Result<Passed, Error> {
    let Some(envelope) = inner.get(&PLATFORM, &keys::job(name)).await? else { return Ok(Passed::Done) };
    let record: JobRecord = record::read(&envelope)?;
    let selection = Selection::of(Kind::Execution).under(name.parent.clone()).owned_by(&name.job);
    let store = inner.store.open(&PLATFORM);
    // Most have none to retire: what is counted is not read.
    if record.deleting.is_none() && store.count(&selection).await.map_err(of_store)? <= KEPT_MAX {
        return Ok(Passed::Done);
    }
    let executions = store.list(&selection, &Page::default()).await.map_err(of_store)?;
    match &record.deleting {
        Some(operation) => delete(inner, (&envelope, name), executions, operation).await?,
        None => retire(inner, executions).await?,
    }
    Ok(Passed::Done)
}

/// Removes the oldest of those that are over, beyond so many.
async fn retire(inner: &Arc<Inner>, newest_first: Vec<Envelope>) -> Result<(), Error> {
    let mut over = Vec::new();
    for envelope in newest_first {
        let record: ExecutionRecord = record::read(&envelope)?;
        if record.is_over && record.deleting.is_none() {
            over.push((envelope, record));
        }
    }
    for (mut envelope, mut record) in over.into_iter().skip(KEPT_MAX) {
        // Nobody has asked for it, so no operation ends with it.
        record.deleting = Some(String::new());
        envelope.internal = record::write(&record);
        let name = keys::execution_name(&envelope);
        inner.store.open(&PLATFORM).commit(vec![Change::Put(Box::new(envelope))]).await.map_err(of_store)?;
        inner.queue.wake(Work::Execution(name));
    }
    Ok(())
}

/// Removes its executions; the last of them wakes it again, and then it goes itself.
async fn delete(
    inner: &Arc<Inner>,
    (envelope, name): (&Envelope, &JobName),
    executions: Vec<Envelope>,
    operation: &str,
) -> Result<(), Error> {
    if executions.is_empty() {
        let deleted = view::deleted_job(view::job(envelope, None)?, inner.clock.now());
        let mut changes =
            vec![Change::Delete { key: envelope.key.clone(), resource_version: envelope.resource_version }];
        changes.extend(inner.end_operation(&name.parent, operation, End::Done(pack(&deleted))).await?);
        inner.store.open(&PLATFORM).commit(changes).await.map_err(of_store)?;
        inner.tallies.forget(name);
        if inner.deleted.try_send(name.resource()).is_err() {
            tracing::warn!(job = %name, "the logs of a deleted job stay until the next start");
        }
        return Ok(());
    }
    for mut execution in executions {
        let mut record: ExecutionRecord = record::read(&execution)?;
        let name = keys::execution_name(&execution);
        if record.deleting.is_none() {
            record.deleting = Some(String::new());
            execution.internal = record::write(&record);
            inner.store.open(&PLATFORM).commit(vec![Change::Put(Box::new(execution))]).await.map_err(of_store)?;
        }
        inner.queue.wake(Work::Execution(name));
    }
    Ok(())
}
