//! Deleting a service or a worker pool.

use updraft_api::{longrunning::Operation, pack, run};
use updraft_model::{Error, ErrorKind, iam::Principal};
use updraft_store::Change;

use super::{Mode, draft};
use crate::{
    Control, Inner,
    access::Resource,
    deployed::Deployed,
    failure::etag_mismatch,
    queue::Work,
    record::{self, OperationRecord, ServiceRecord},
    view,
};

/// How often the mark is tried again because the reconciler wrote its report meanwhile.
const ATTEMPTS: usize = 16;

// === impl Control ===

impl Control {
    /// Deletes a service with all its revisions. From the moment this returns it cannot be got any more;
    /// the operation ends when no traffic goes to it either.
    ///
    /// # Errors
    /// `NotFound`, `Aborted` when the etag is not the current one, `PermissionDenied`.
    pub async fn services_delete(
        &self,
        caller: &Principal,
        request: run::DeleteServiceRequest,
    ) -> Result<Operation, Error> {
        let mode = Mode::of(request.validate_only);
        self.inner.delete::<run::Service>(caller, (&request.name, &request.etag), mode).await
    }
}

// === impl Inner ===

impl Inner {
    /// Deletes a service or a worker pool with all its revisions; `etag` is the one that the client has read, if it minds.
    pub(crate) async fn delete<M: Deployed>(
        &self,
        caller: &Principal,
        (name, etag): (&str, &str),
        mode: Mode,
    ) -> Result<Operation, Error> {
        let name = self.places.resource(M::COLLECTION, name)?;
        for _ in 0..ATTEMPTS {
            let resource = Resource::Service(name.clone());
            let mut permit = self.permit(caller, M::PERMISSIONS.delete, &resource).await?;
            let mut envelope = permit.take_found().ok_or_else(|| Error::not_found(&name.service))?;
            if !etag.is_empty() && etag != view::etag(&envelope) {
                return Err(etag_mismatch(&name.service));
            }
            let now = self.clock.now();
            let deleted = M::shown(&envelope, &self.config.url)?.deleted(now);
            let id = uuid::Uuid::new_v4().to_string();
            let operation = view::operation_name(&name.parent, &id);
            if mode.is_check() {
                return Ok(view::succeeded(operation, pack(&deleted)));
            }
            let about = OperationRecord { resource: name.to_string(), ..OperationRecord::default() };
            let record: ServiceRecord = record::read(&envelope)?;
            envelope.internal = record::write(&ServiceRecord { deleting: Some(id.clone()), ..record });
            envelope.updated = now;
            let puts = [envelope, draft::operation(&id, &name, &about, now)];
            if self.committed(&permit, puts.map(|put| Change::Put(Box::new(put))).into()).await?.is_some() {
                self.queue.wake(Work::Service(name));
                return Ok(view::pending_operation(operation, Some(pack(&deleted))));
            }
        }
        Err(Error::new(ErrorKind::Aborted, format!("Resource '{}' is being changed; try again.", name.service)))
    }
}
