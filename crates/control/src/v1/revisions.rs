//! Revisions by their id alone, which is unique in its project and location.

use updraft_api::{
    run,
    v1::{Stored, revision_labels},
};
use updraft_model::{
    Error, Parent, RevisionName,
    iam::{Permission, Principal},
    name::Collection,
};
use updraft_store::{Envelope, Kind};

use super::{EVERYWHERE, Found, Place, Wanted};
use crate::{Control, Mode, access::Resource, record, revisions::is_deleting, view};

/// The labels that name what a revision is of.
const OWNERS: [(&str, Collection); 2] =
    [("serving.knative.dev/service", Collection::Services), ("run.googleapis.com/workerPool", Collection::WorkerPools)];

// === impl Control ===

impl Control {
    /// Revisions of a place, newest first.
    ///
    /// # Errors
    /// `InvalidArgument` for a bad token or limit, `NotFound` for a place that is not served,
    /// `PermissionDenied`.
    pub async fn v1_revisions_list(
        &self,
        caller: &Principal,
        place: &Place,
        wanted: &Wanted,
    ) -> Result<Found<Stored<run::Revision>>, Error> {
        let inner = &*self.inner;
        let named = |(label, collection)| Some((collection, wanted.selector.value_of(label)?));
        let owner = OWNERS.into_iter().find_map(named);
        let resource = match (owner, &place.location) {
            // Of one service or worker pool in one place: its own policy has a say.
            (Some((collection, id)), location) if location.as_deref() != Some(EVERYWHERE) => {
                Resource::Service(inner.parent_at(place)?.resource(collection, id))
            }
            _ => inner.place(place)?,
        };
        let permit = inner.permit(caller, "run.revisions.list", &resource).await?;
        let keep = |envelope: &Envelope| {
            let labels = revision_labels(&view::revision(envelope)?);
            Ok(!is_deleting(envelope)? && wanted.selector.matches(&labels))
        };
        // What is written in an envelope says it without a place.
        let nowhere = Parent::new("", "");
        let owner = owner.map(|(collection, id)| record::owner(&nowhere.resource(collection, id)));
        let found = inner.list_at(&permit, (Kind::Revision, place), (wanted, owner.as_deref()), keep).await?;
        let items = found.items.iter().map(view::stored_revision).collect::<Result<_, _>>()?;
        Ok(Found { items, token: found.token })
    }

    /// A revision.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` for a malformed project.
    pub async fn v1_revisions_get(
        &self,
        caller: &Principal,
        (place, id): (&Place, &str),
    ) -> Result<Stored<run::Revision>, Error> {
        let envelope = self.v1_revision(caller, (place, id), "run.revisions.get").await?;
        view::stored_revision(&envelope)
    }

    /// Deletes a revision; gives it as it was.
    ///
    /// # Errors
    /// As [`Control::revisions_delete`].
    pub async fn v1_revisions_delete(
        &self,
        caller: &Principal,
        (place, id): (&Place, &str),
        mode: Mode,
    ) -> Result<Stored<run::Revision>, Error> {
        let envelope = self.v1_revision(caller, (place, id), "run.revisions.delete").await?;
        let gone = view::stored_revision(&envelope)?;
        let name: RevisionName = view::revision_name(&envelope);
        let request =
            run::DeleteRevisionRequest { name: name.to_string(), validate_only: mode.is_check(), ..Default::default() };
        self.revisions_delete(caller, request).await?;
        Ok(gone)
    }

    async fn v1_revision(
        &self,
        caller: &Principal,
        (place, id): (&Place, &str),
        permission: Permission,
    ) -> Result<Envelope, Error> {
        let inner = &*self.inner;
        let resource = Resource::RevisionId(inner.parent_at(place)?, id.to_owned());
        match inner.permit(caller, permission, &resource).await?.take_found() {
            Some(envelope) if !is_deleting(&envelope)? => Ok(envelope),
            _ => Err(Error::not_found(id)),
        }
    }
}
