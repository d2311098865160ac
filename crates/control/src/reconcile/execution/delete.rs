//! Deleting an execution: what runs is ended, and nothing of it is left.

use updraft_api::{pack, rpc};
use updraft_model::{Error, job::ExecutionName};
use updraft_store::{Change, Kind, Page, Selection};

use super::{PLATFORM, Passed, Subject};
use crate::{
    Inner,
    failure::of_store,
    jobs::view,
    queue::Work,
    reconcile::operation::{End, ended},
};

/// How many tasks are removed in one commit.
const PAGE: usize = 500;

/// Removes its tasks, and then, in one commit, ends the operations and removes the execution itself.
pub(super) async fn delete(inner: &Inner, subject: &Subject, operation: &str) -> Result<Passed, Error> {
    inner.forget_execution(&subject.name);
    inner.remove_tasks(&subject.name).await?;
    let deleted = view::deleted_execution(view::execution(&subject.envelope, None)?, inner.clock.now());
    let parent = &subject.name.job.parent;
    let record = &subject.record;
    let mut changes =
        vec![Change::Delete { key: subject.envelope.key.clone(), resource_version: subject.envelope.resource_version }];
    for id in record.cancelling.iter().map(String::as_str).chain([operation]) {
        if let Some((envelope, _)) = inner.open_operation(parent, id).await? {
            changes.push(ended(envelope, End::Done(pack(&deleted))));
        }
    }
    for id in record.pending.iter().chain(&record.starting) {
        if let Some((envelope, _)) = inner.open_operation(parent, id).await? {
            let message = format!("Execution {} was deleted.", subject.name.execution);
            changes.push(ended(envelope, End::Failed(Some(pack(&deleted)), rpc::Code::Cancelled, message)));
        }
    }
    inner.store.open(&PLATFORM).commit(changes).await.map_err(of_store)?;
    inner.queue.wake(Work::Job(subject.name.job.clone()));
    inner.wake_waiting(Some(&subject.name));
    Ok(Passed::Done)
}

// === impl Inner ===

impl Inner {
    /// Removes what is written down of the tasks of an execution.
    pub(in crate::reconcile) async fn remove_tasks(&self, name: &ExecutionName) -> Result<(), Error> {
        let selection = Selection::of(Kind::Task).under(name.job.parent.clone()).owned_by(&name.execution);
        loop {
            let page = Page { limit: PAGE, after: None };
            let rows = self.store.open(&PLATFORM).list(&selection, &page).await.map_err(of_store)?;
            if rows.is_empty() {
                return Ok(());
            }
            let gone = rows.into_iter().map(|row| Change::Delete { key: row.key, resource_version: 0 });
            self.store.open(&PLATFORM).commit(gone.collect()).await.map_err(of_store)?;
        }
    }
}
