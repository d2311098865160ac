//! Revisions: the use cases. They are made by changes of a service or a worker pool, never by a call of their own.

use updraft_api::{longrunning::Operation, pack, run};
use updraft_model::{Error, ErrorKind, RevisionName, ServiceName, iam::Principal, name::Collection};
use updraft_store::{Change, Envelope, Key, Kind, Selection};

use crate::{
    Control, Inner,
    access::{Permitted, Resource},
    deployed::Deployed,
    failure::etag_mismatch,
    page::{self, PAGE_MAX, Wish},
    queue::Work,
    record::{self, OperationRecord, RevisionRecord, ServiceRecord},
    services::operation,
    view,
};

/// How often the mark is tried again because the reconciler wrote its report meanwhile.
const ATTEMPTS: usize = 16;

// === impl Control ===

impl Control {
    /// A revision.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` for a malformed name.
    pub async fn revisions_get(
        &self,
        caller: &Principal,
        request: run::GetRevisionRequest,
    ) -> Result<run::Revision, Error> {
        let name = self.inner.places.revision(&request.name)?;
        let permit = self.inner.permit(caller, "run.revisions.get", &Resource::Revision(name.clone())).await?;
        view::revision(&self.inner.live_revision(&permit, &name).await?)
    }

    /// Revisions of a service or a worker pool, or of all of them with `-`; newest first.
    ///
    /// # Errors
    /// `InvalidArgument` for a bad page token or size and for the location `-`; `PermissionDenied`.
    pub async fn revisions_list(
        &self,
        caller: &Principal,
        request: run::ListRevisionsRequest,
    ) -> Result<run::ListRevisionsResponse, Error> {
        let inner = &*self.inner;
        let sent: ServiceName = request.parent.parse()?;
        let parent = inner.places.parent("parent", &sent.parent)?;
        let mut selection = Selection::of(Kind::Revision).under(parent.clone());
        let mut resource = Resource::Place(parent.clone());
        if sent.service != "-" {
            let of = parent.resource(sent.collection, &sent.service);
            selection = selection.owned_by(record::owner(&of));
            resource = Resource::Service(of);
        }
        let permit = inner.permit(caller, "run.revisions.list", &resource).await?;
        let wish = Wish { size: request.page_size, token: &request.page_token, max: PAGE_MAX };
        let keep = |envelope: &Envelope| {
            let is_meant = record::owned_by(envelope).collection == sent.collection;
            Ok(is_meant && (request.show_deleted || !is_deleting(envelope)?))
        };
        let (found, next_page_token) = page::list(inner.store.open(&permit), &selection, wish, keep).await?;
        let revisions = found.iter().map(shown).collect::<Result<_, _>>()?;
        Ok(run::ListRevisionsResponse { revisions, next_page_token })
    }

    /// Deletes a revision to which no traffic goes and that is not the latest one.
    ///
    /// # Errors
    /// `FailedPrecondition` for a revision that is still needed; `NotFound`; `Aborted` when the etag is
    /// not the current one; `PermissionDenied`.
    pub async fn revisions_delete(
        &self,
        caller: &Principal,
        request: run::DeleteRevisionRequest,
    ) -> Result<Operation, Error> {
        let inner = &*self.inner;
        let name = inner.places.revision(&request.name)?;
        let permit = inner.permit(caller, "run.revisions.delete", &Resource::Revision(name.clone())).await?;
        for _ in 0..ATTEMPTS {
            let envelope = inner.live_revision(&permit, &name).await?;
            if !request.etag.is_empty() && request.etag != view::etag(&envelope) {
                return Err(etag_mismatch(&name.revision));
            }
            let service = match name.service.collection {
                Collection::WorkerPools => inner.deletable::<run::WorkerPool>(&permit, &name).await?,
                Collection::Services | Collection::Jobs => inner.deletable::<run::Service>(&permit, &name).await?,
            };
            let now = inner.clock.now();
            let deleted = view::deleted_revision(view::revision(&envelope)?, now);
            let id = uuid::Uuid::new_v4().to_string();
            let operation_name = view::operation_name(&name.service.parent, &id);
            if request.validate_only {
                return Ok(view::succeeded(operation_name, pack(&deleted)));
            }
            let about = OperationRecord { resource: name.to_string(), ..OperationRecord::default() };
            let record: RevisionRecord = record::read(&envelope)?;
            let marked = Envelope {
                internal: record::write(&RevisionRecord { deleting: Some(id.clone()), ..record }),
                updated: now,
                ..envelope
            };
            // The service is written too: traffic that is sent to the revision meanwhile makes a conflict.
            let puts = [marked, service, operation(&id, &name.service, &about, now)];
            if inner.committed(&permit, puts.map(|put| Change::Put(Box::new(put))).into()).await?.is_some() {
                inner.queue.wake(Work::Revision(name));
                return Ok(view::pending_operation(operation_name, Some(pack(&deleted))));
            }
        }
        Err(Error::new(ErrorKind::Aborted, format!("Resource '{}' is being changed; try again.", name.revision)))
    }
}

// === impl Inner ===

impl Inner {
    /// The envelope of a revision that is not being deleted.
    async fn live_revision(&self, permit: &Permitted, name: &RevisionName) -> Result<Envelope, Error> {
        match self.get_revision(permit, name).await? {
            Some(envelope) if !is_deleting(&envelope)? => Ok(envelope),
            _ => Err(Error::not_found(&name.revision)),
        }
    }

    /// The envelope of the service or worker pool of a revision that may be deleted.
    async fn deletable<M: Deployed>(&self, permit: &Permitted, name: &RevisionName) -> Result<Envelope, Error> {
        let envelope =
            self.get(permit, &Key::of(&name.service)).await?.ok_or_else(|| Error::not_found(&name.revision))?;
        let record: ServiceRecord = record::read(&envelope)?;
        let intent: M = record::message(&envelope, &envelope.spec)?;
        let status: M = record::message(&envelope, &envelope.status)?;
        let model = intent.to_model(&name.service)?;
        let word = name.service.collection.word();
        let refuse = |why: &str| {
            let message = format!("Revision '{}' cannot be deleted: {why}.", name.revision);
            Err(Error::new(ErrorKind::FailedPrecondition, message))
        };
        if record.latest_created == name.revision {
            return refuse(&format!("it is the latest created revision of its {word}"));
        }
        if status.latest_ready() == name.revision {
            return refuse(&format!("it is the latest ready revision of its {word}"));
        }
        let serves = status.current().iter().any(|line| line.revision == name.revision);
        if serves || M::wish(&model).named_revisions().any(|id| id == name.revision) {
            return refuse(match M::COLLECTION {
                Collection::WorkerPools => "a split gives it instances",
                Collection::Services | Collection::Jobs => "traffic is sent to it, by a share or a tag",
            });
        }
        Ok(envelope)
    }
}

/// A revision in a list that may show deleted ones.
fn shown(envelope: &Envelope) -> Result<run::Revision, Error> {
    let revision = view::revision(envelope)?;
    Ok(if is_deleting(envelope)? { view::deleted_revision(revision, envelope.updated) } else { revision })
}

pub(crate) fn is_deleting(envelope: &Envelope) -> Result<bool, Error> {
    Ok(record::read::<RevisionRecord>(envelope)?.deleting.is_some())
}
