//! How operations end.

use prost::Message;
use prost_types::Any;
use updraft_api::{longrunning::Operation, rpc};
use updraft_model::{Error, Parent};
use updraft_store::{Change, Envelope, Key, Kind, Page, Selection};

use super::PLATFORM;
use crate::{Inner, failure::of_store, record, record::OperationRecord, view};

/// How many old operations are read, and removed in one commit.
const PAGE: usize = 500;

/// What becomes of an operation.
pub(super) enum End {
    /// It did what it should: the resource.
    Done(Any),
    /// It did not: the resource as it is, and why.
    Failed(Option<Any>, rpc::Code, String),
}

// === impl Inner ===

impl Inner {
    /// An operation that has not ended; `None` when it was deleted or ended before.
    pub(super) async fn open_operation(
        &self,
        parent: &Parent,
        id: &str,
    ) -> Result<Option<(Envelope, OperationRecord)>, Error> {
        let found = self.get(&PLATFORM, &Key::new(Kind::Operation, parent.clone(), id)).await?;
        let Some(envelope) = found.filter(|envelope| envelope.status.is_empty()) else { return Ok(None) };
        let record = record::read(&envelope)?;
        Ok(Some((envelope, record)))
    }

    /// The change that ends the operation `id`, if it is still open.
    pub(super) async fn end_operation(&self, parent: &Parent, id: &str, end: End) -> Result<Option<Change>, Error> {
        Ok(self.open_operation(parent, id).await?.map(|(envelope, _)| ended(envelope, end)))
    }

    /// Removes finished operations that are too old.
    pub(super) async fn collect_operations_or_log(&self) {
        if let Err(error) = self.collect_operations().await {
            tracing::error!(%error, cause = error.cause(), "old operations could not be removed");
        }
    }

    async fn collect_operations(&self) -> Result<(), Error> {
        let Some(limit) = self.clock.now().checked_sub(self.config.operations_kept) else { return Ok(()) };
        // The list is newest first: what comes after that moment is older.
        let mut after = Some((limit, String::new()));
        while let Some(last) = after.take() {
            let page = Page { limit: PAGE, after: Some(last) };
            let old =
                self.store.open(&PLATFORM).list(&Selection::of(Kind::Operation), &page).await.map_err(of_store)?;
            if old.len() == PAGE {
                after = old.last().map(|envelope| (envelope.created, envelope.key.name.clone()));
            }
            let done = old.into_iter().filter(|envelope| envelope.created < limit && !envelope.status.is_empty());
            let deletes: Vec<Change> =
                done.map(|envelope| Change::Delete { key: envelope.key, resource_version: 0 }).collect();
            if !deletes.is_empty() {
                tracing::debug!(count = deletes.len(), "old operations removed");
                self.store.open(&PLATFORM).commit(deletes).await.map_err(of_store)?;
            }
        }
        Ok(())
    }
}

/// The change that ends an open operation.
pub(super) fn ended(envelope: Envelope, end: End) -> Change {
    let name = view::operation_name(&envelope.key.parent, &envelope.key.name);
    let operation: Operation = match end {
        End::Done(resource) => view::succeeded(name, resource),
        End::Failed(resource, code, message) => view::failed(name, resource, (code, message)),
    };
    Change::Put(Box::new(Envelope { status: operation.encode_to_vec(), ..envelope }))
}
