//! Services as objects; and what worker pools have in common with them.

use updraft_api::{
    run,
    v1::{Stored, Written, WrittenAs},
};
use updraft_model::{
    Error,
    iam::{Permission, Principal},
    name::{Collection, check_service_id},
};
use updraft_store::{Envelope, Kind};

use super::{Found, Place, Wanted};
use crate::{
    Control, Inner,
    access::Resource,
    audit,
    deployed::Deployed,
    services::{Mode, Source, is_deleting},
    view,
};

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
        asked: (&Place, Permission),
        wanted: &Wanted,
    ) -> Result<Found<Stored<run::Service>>, Error> {
        self.inner.list_objects(caller, asked, wanted).await
    }

    /// A service. `permission` is what the caller needs: configurations and routes are parts of services
    /// with permissions of their own.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` for a malformed project.
    pub async fn v1_services_get(
        &self,
        caller: &Principal,
        asked: (&Place, &str),
        permission: Permission,
    ) -> Result<Stored<run::Service>, Error> {
        self.inner.object(caller, asked, permission).await
    }

    /// Creates a service.
    ///
    /// # Errors
    /// As [`Control::services_create`].
    pub async fn v1_services_create(
        &self,
        caller: &Principal,
        place: &Place,
        written: (&Written, Mode),
    ) -> Result<Stored<run::Service>, Error> {
        self.inner.create_object(caller, place, written).await
    }

    /// Replaces a service: all that a client can set, nothing of what the server says.
    ///
    /// # Errors
    /// As [`Control::services_update`].
    pub async fn v1_services_replace(
        &self,
        caller: &Principal,
        asked: (&Place, &str),
        written: (&Written, Mode),
    ) -> Result<Stored<run::Service>, Error> {
        self.inner.replace_object(caller, asked, written).await
    }

    /// Deletes a service; gives it as it was.
    ///
    /// # Errors
    /// As [`Control::services_delete`].
    pub async fn v1_services_delete(
        &self,
        caller: &Principal,
        asked: (&Place, &str),
        mode: Mode,
    ) -> Result<Stored<run::Service>, Error> {
        self.inner.delete_object(caller, asked, mode).await
    }
}

// === impl Inner ===

impl Inner {
    pub(super) async fn list_objects<M: Deployed>(
        &self,
        caller: &Principal,
        (place, permission): (&Place, Permission),
        wanted: &Wanted,
    ) -> Result<Found<Stored<M>>, Error> {
        let permit = self.permit(caller, permission, &self.place(place)?).await?;
        let urls = &self.config.url;
        let keep = |envelope: &Envelope| {
            Ok(!is_deleting(envelope)? && wanted.selector.matches(&M::shown(envelope, urls)?.labels()))
        };
        let found = self.list_at(&permit, (Kind::of(M::COLLECTION), place), (wanted, None), keep).await?;
        let items = found.items.iter().map(|envelope| view::stored(envelope, urls)).collect::<Result<_, _>>()?;
        Ok(Found { items, token: found.token })
    }

    pub(super) async fn object<M: Deployed>(
        &self,
        caller: &Principal,
        (place, id): (&Place, &str),
        permission: Permission,
    ) -> Result<Stored<M>, Error> {
        let name = self.parent_at(place)?.resource(M::COLLECTION, id);
        let permit = self.permit(caller, permission, &Resource::Service(name)).await?;
        let envelope = permit.found().ok_or_else(|| Error::not_found(id))?;
        view::stored(envelope, &self.config.url)
    }

    pub(super) async fn create_object<M: Deployed>(
        &self,
        caller: &Principal,
        place: &Place,
        (written, mode): (&WrittenAs<M>, Mode),
    ) -> Result<Stored<M>, Error> {
        let parent = self.parent_at(place)?;
        audit::makes(parent.resource(M::COLLECTION, &written.name));
        let permit = self.permit(caller, M::PERMISSIONS.create, &Resource::Place(parent.clone())).await?;
        self.check_namespace(&parent, &written.namespace)?;
        let id = if written.name.is_empty() {
            generated(M::COLLECTION, &written.generate_name)
        } else {
            written.name.clone()
        };
        check_service_id("metadata.name", &id).map_err(|violation| Error::invalid(vec![violation]))?;
        let name = parent.resource(M::COLLECTION, id);
        Ok(self.create(&permit, &name, &Source::V1(written), mode).await?.resource)
    }

    pub(super) async fn replace_object<M: Deployed>(
        &self,
        caller: &Principal,
        (place, id): (&Place, &str),
        (written, mode): (&WrittenAs<M>, Mode),
    ) -> Result<Stored<M>, Error> {
        let parent = self.parent_at(place)?;
        self.check_namespace(&parent, &written.namespace)?;
        if !written.name.is_empty() && written.name != id {
            let rule = format!("must be the name in the path, '{id}', got '{}'", written.name);
            return Err(Error::invalid_field("metadata.name", rule));
        }
        let name = parent.resource(M::COLLECTION, id);
        Ok(self.replace(caller, &name, &Source::V1(written), mode).await?.resource)
    }

    pub(super) async fn delete_object<M: Deployed>(
        &self,
        caller: &Principal,
        asked: (&Place, &str),
        mode: Mode,
    ) -> Result<Stored<M>, Error> {
        let gone: Stored<M> = self.object(caller, asked, M::PERMISSIONS.delete).await?;
        self.delete::<M>(caller, (gone.message.full_name(), ""), mode).await?;
        Ok(gone)
    }
}

/// A name that nobody has, with high probability; a collision is `AlreadyExists`, as in Kubernetes.
pub(super) fn generated(collection: Collection, prefix: &str) -> String {
    let word = collection.word().replace(' ', "-");
    let prefix = if prefix.is_empty() { format!("{word}-") } else { prefix.to_owned() };
    let letter = |_| char::from(b"bcdfghjklmnpqrstvwxz2456789"[usize::from(rand::random::<u8>() % 27)]);
    let letters: String = (0..LETTERS).map(letter).collect();
    format!("{prefix}{letters}")
}
