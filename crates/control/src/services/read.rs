//! Looking at services.

use std::time::Duration;

use updraft_api::run;
use updraft_model::{Error, ErrorKind, Parent, ServiceName, iam::Principal};
use updraft_store::{Envelope, Key, Kind, Selection};

use crate::{
    Control, Inner,
    access::{Permitted, Resource},
    page::{self, PAGE_MAX, Wish},
    record::{self, ServiceRecord},
    view,
};

/// How long a creation waits for the deletion of its predecessor.
const DELETION_WAIT: Duration = Duration::from_secs(10);

// === impl Control ===

impl Control {
    /// A service.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` for a malformed name.
    pub async fn services_get(
        &self,
        caller: &Principal,
        request: run::GetServiceRequest,
    ) -> Result<run::Service, Error> {
        let name = self.inner.places.service(&request.name)?;
        let permit = self.inner.permit(caller, "run.services.get", &Resource::Service(name.clone())).await?;
        let envelope = permit.found().ok_or_else(|| Error::not_found(&name.service))?;
        view::service(envelope, &self.inner.config.url)
    }

    /// Services of a project and location, newest first.
    ///
    /// # Errors
    /// `InvalidArgument` for a bad page token or size and for the location `-`; `PermissionDenied`.
    pub async fn services_list(
        &self,
        caller: &Principal,
        request: run::ListServicesRequest,
    ) -> Result<run::ListServicesResponse, Error> {
        let inner = &*self.inner;
        let parent: Parent = request.parent.parse()?;
        let parent = inner.places.parent("parent", &parent)?;
        let permit = inner.permit(caller, "run.services.list", &Resource::Place(parent.clone())).await?;
        let selection = Selection::of(Kind::Service).under(parent);
        let wish = Wish { size: request.page_size, token: &request.page_token, max: PAGE_MAX };
        let keep = |envelope: &Envelope| Ok(request.show_deleted || !is_deleting(envelope)?);
        let (found, next_page_token) = page::list(inner.store.open(&permit), &selection, wish, keep).await?;
        let services = found.iter().map(|envelope| inner.shown(envelope)).collect::<Result<_, _>>()?;
        Ok(run::ListServicesResponse { services, next_page_token, unreachable: Vec::new() })
    }
}

// === impl Inner ===

impl Inner {
    /// The envelope of a service that is not being deleted.
    pub(crate) async fn service(&self, permit: &Permitted, name: &ServiceName) -> Result<Option<Envelope>, Error> {
        let key = Key::new(Kind::Service, name.parent.clone(), &name.service);
        match self.get(permit, &key).await? {
            Some(envelope) if is_deleting(&envelope)? => Ok(None),
            found => Ok(found),
        }
    }

    /// Ends when a service of that name that is being deleted is gone.
    pub(super) async fn await_deletion(&self, permit: &Permitted, name: &ServiceName) -> Result<(), Error> {
        let key = Key::new(Kind::Service, name.parent.clone(), &name.service);
        let mut changes = self.store.open(permit).watch();
        let gone = async {
            loop {
                match self.get(permit, &key).await? {
                    Some(envelope) if is_deleting(&envelope)? => {}
                    _ => return Ok(()),
                }
                // A watcher that lags only looks again earlier.
                let _ = changes.recv().await;
            }
        };
        let waited = self.clock.timeout(DELETION_WAIT, gone).await;
        waited.unwrap_or_else(|_| {
            let message = format!("Resource '{}' is still being deleted; try again.", name.service);
            Err(Error::new(ErrorKind::Aborted, message))
        })
    }

    /// A service in a list that may show deleted ones.
    fn shown(&self, envelope: &Envelope) -> Result<run::Service, Error> {
        let service = view::service(envelope, &self.config.url)?;
        Ok(if is_deleting(envelope)? { view::deleted_service(service, envelope.updated) } else { service })
    }
}

pub(crate) fn is_deleting(envelope: &Envelope) -> Result<bool, Error> {
    Ok(record::read::<ServiceRecord>(envelope)?.deleting.is_some())
}
