//! Services as objects.

use updraft_api::{
    run,
    v1::{Stored, Written, service_labels},
};
use updraft_model::{
    Error,
    iam::{Permission, Principal},
    name::check_service_id,
};
use updraft_store::{Envelope, Kind};

use super::{Found, Place, Wanted};
use crate::{
    Control,
    access::Resource,
    audit,
    services::{Mode, Source, is_deleting},
    view,
};

/// What a generated name begins with that is given no beginning.
const PREFIX: &str = "service-";
/// Random letters of a generated name.
const LETTERS: usize = 5;

// === impl Control ===

impl Control {
    /// Services of a place, newest first. `permission` is what the caller needs: configurations and routes are parts of
    /// services with permissions of their own.
    ///
    /// # Errors
    /// `InvalidArgument` for a bad token or limit, `NotFound` for a place that is not served,
    /// `PermissionDenied`.
    pub async fn v1_services_list(
        &self,
        caller: &Principal,
        (place, permission): (&Place, Permission),
        wanted: &Wanted,
    ) -> Result<Found<Stored<run::Service>>, Error> {
        let inner = &*self.inner;
        let permit = inner.permit(caller, permission, &inner.place(place)?).await?;
        let urls = &inner.config.url;
        let keep = |envelope: &Envelope| {
            let labels = service_labels(&view::service(envelope, urls)?);
            Ok(!is_deleting(envelope)? && wanted.selector.matches(&labels))
        };
        let found = inner.list_at(&permit, (Kind::Service, place), (wanted, None), keep).await?;
        let items =
            found.items.iter().map(|envelope| view::stored_service(envelope, urls)).collect::<Result<_, _>>()?;
        Ok(Found { items, token: found.token })
    }

    /// A service. `permission` is what the caller needs: configurations and routes are parts of services
    /// with permissions of their own.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` for a malformed project.
    pub async fn v1_services_get(
        &self,
        caller: &Principal,
        (place, name): (&Place, &str),
        permission: Permission,
    ) -> Result<Stored<run::Service>, Error> {
        let inner = &*self.inner;
        let name = inner.parent_at(place)?.service(name);
        let permit = inner.permit(caller, permission, &Resource::Service(name.clone())).await?;
        let envelope = permit.found().ok_or_else(|| Error::not_found(&name.service))?;
        view::stored_service(envelope, &inner.config.url)
    }

    /// Creates a service.
    ///
    /// # Errors
    /// As [`Control::services_create`].
    pub async fn v1_services_create(
        &self,
        caller: &Principal,
        place: &Place,
        (written, mode): (&Written, Mode),
    ) -> Result<Stored<run::Service>, Error> {
        let inner = &*self.inner;
        let parent = inner.parent_at(place)?;
        audit::makes(parent.service(&written.name));
        let permit = inner.permit(caller, "run.services.create", &Resource::Place(parent.clone())).await?;
        inner.check_namespace(&parent, &written.namespace)?;
        let id = if written.name.is_empty() { generated(&written.generate_name) } else { written.name.clone() };
        check_service_id("metadata.name", &id).map_err(|violation| Error::invalid(vec![violation]))?;
        Ok(inner.create(&permit, &parent.service(id), Source::V1(written), mode).await?.service)
    }

    /// Replaces a service: all that a client can set, nothing of what the server says.
    ///
    /// # Errors
    /// As [`Control::services_update`].
    pub async fn v1_services_replace(
        &self,
        caller: &Principal,
        (place, name): (&Place, &str),
        (written, mode): (&Written, Mode),
    ) -> Result<Stored<run::Service>, Error> {
        let inner = &*self.inner;
        let parent = inner.parent_at(place)?;
        inner.check_namespace(&parent, &written.namespace)?;
        if !written.name.is_empty() && written.name != name {
            let rule = format!("must be the name in the path, '{name}', got '{}'", written.name);
            return Err(Error::invalid_field("metadata.name", rule));
        }
        Ok(inner.replace(caller, &parent.service(name), Source::V1(written), mode).await?.service)
    }

    /// Deletes a service; gives it as it was.
    ///
    /// # Errors
    /// As [`Control::services_delete`].
    pub async fn v1_services_delete(
        &self,
        caller: &Principal,
        (place, name): (&Place, &str),
        mode: Mode,
    ) -> Result<Stored<run::Service>, Error> {
        let gone = self.v1_services_get(caller, (place, name), "run.services.delete").await?;
        let name = gone.message.name.clone();
        self.services_delete(
            caller,
            run::DeleteServiceRequest { name, validate_only: mode.is_check(), ..Default::default() },
        )
        .await?;
        Ok(gone)
    }
}

/// A name that nobody has, with high probability; a collision is `AlreadyExists`, as in Kubernetes.
fn generated(prefix: &str) -> String {
    let prefix = if prefix.is_empty() { PREFIX } else { prefix };
    let letter = |_| char::from(b"bcdfghjklmnpqrstvwxz2456789"[usize::from(rand::random::<u8>() % 27)]);
    let letters: String = (0..LETTERS).map(letter).collect();
    format!("{prefix}{letters}")
}
