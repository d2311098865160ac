//! Deleting a service.

use updraft_api::{longrunning::Operation, pack, run};
use updraft_model::{Error, ErrorKind, iam::Principal};
use updraft_store::{Change, StoreError};

use super::draft;
use crate::{
    Control,
    access::Resource,
    failure::{etag_mismatch, of_store},
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
        let inner = &*self.inner;
        let name = inner.places.service(&request.name)?;
        for _ in 0..ATTEMPTS {
            let mut permit = inner.permit(caller, "run.services.delete", &Resource::Service(name.clone())).await?;
            let mut envelope = permit.take_found().ok_or_else(|| Error::not_found(&name.service))?;
            if !request.etag.is_empty() && request.etag != view::etag(&envelope) {
                return Err(etag_mismatch(&name.service));
            }
            let now = inner.clock.now();
            let deleted = view::deleted_service(view::service(&envelope, &inner.config.url)?, now);
            let id = uuid::Uuid::new_v4().to_string();
            let operation = view::operation_name(&name.parent, &id);
            if request.validate_only {
                return Ok(view::succeeded(operation, pack(&deleted)));
            }
            let about = OperationRecord { resource: name.to_string(), ..OperationRecord::default() };
            let record: ServiceRecord = record::read(&envelope)?;
            envelope.internal = record::write(&ServiceRecord { deleting: Some(id.clone()), ..record });
            envelope.updated = now;
            let puts = [envelope, draft::operation(&id, &name, &about, now)];
            match inner.store.open(&permit).commit(puts.map(|put| Change::Put(Box::new(put))).into()).await {
                Ok(_) => {
                    inner.queue.wake(Work::Service(name));
                    return Ok(view::pending_operation(operation, Some(pack(&deleted))));
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(of_store(error)),
            }
        }
        Err(Error::new(ErrorKind::Aborted, format!("Resource '{}' is being changed; try again.", name.service)))
    }
}
