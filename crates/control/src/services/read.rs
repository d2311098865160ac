//! Looking at services and worker pools.

use std::time::Duration;

use updraft_api::run;
use updraft_model::{Error, ErrorKind, Parent, ServiceName, iam::Principal};
use updraft_store::{Envelope, Key, Kind, Selection};

use crate::{
    Control, Inner,
    access::{Permitted, Resource},
    deployed::Deployed,
    page::{self, PAGE_MAX, Wish},
    record::{self, ServiceRecord},
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
        self.inner.got(caller, &request.name).await
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
        let wish = Wish { size: request.page_size, token: &request.page_token, max: PAGE_MAX };
        let (services, next_page_token) =
            self.inner.listed(caller, (&request.parent, request.show_deleted), wish).await?;
        Ok(run::ListServicesResponse { services, next_page_token, unreachable: Vec::new() })
    }
}

// === impl Inner ===

impl Inner {
    /// A service or a worker pool, by its name.
    pub(crate) async fn got<M: Deployed>(&self, caller: &Principal, name: &str) -> Result<M, Error> {
        let name = self.places.resource(M::COLLECTION, name)?;
        let permit = self.permit(caller, M::PERMISSIONS.get, &Resource::Service(name.clone())).await?;
        let envelope = permit.found().ok_or_else(|| Error::not_found(&name.service))?;
        M::shown(envelope, &self.config.url)
    }

    /// Services or worker pools of a project and location, newest first, and the token of the next page. `is_all`: also
    /// those that are being deleted.
    pub(crate) async fn listed<M: Deployed>(
        &self,
        caller: &Principal,
        (parent, is_all): (&str, bool),
        wish: Wish<'_>,
    ) -> Result<(Vec<M>, String), Error> {
        let parent: Parent = parent.parse()?;
        let parent = self.places.parent("parent", &parent)?;
        let permit = self.permit(caller, M::PERMISSIONS.list, &Resource::Place(parent.clone())).await?;
        let selection = Selection::of(Kind::of(M::COLLECTION)).under(parent);
        let keep = |envelope: &Envelope| Ok(is_all || !is_deleting(envelope)?);
        let (found, token) = page::list(self.store.open(&permit), &selection, wish, keep).await?;
        let shown = |envelope: &Envelope| {
            let message = M::shown(envelope, &self.config.url)?;
            Ok(if is_deleting(envelope)? { message.deleted(envelope.updated) } else { message })
        };
        Ok((found.iter().map(shown).collect::<Result<_, Error>>()?, token))
    }

    /// The envelope of a service or worker pool that is not being deleted.
    pub(crate) async fn service(&self, permit: &Permitted, name: &ServiceName) -> Result<Option<Envelope>, Error> {
        match self.get(permit, &Key::of(name)).await? {
            Some(envelope) if is_deleting(&envelope)? => Ok(None),
            found => Ok(found),
        }
    }

    /// Ends when one of that name that is being deleted is gone.
    pub(super) async fn await_deletion(&self, permit: &Permitted, name: &ServiceName) -> Result<(), Error> {
        let key = Key::of(name);
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
}

pub(crate) fn is_deleting(envelope: &Envelope) -> Result<bool, Error> {
    Ok(record::read::<ServiceRecord>(envelope)?.deleting.is_some())
}
