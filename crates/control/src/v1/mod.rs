//! The use cases of API v1, where they are not v2's: names are flat, places may be left open, objects are
//! replaced as a whole, and lists are selected by label.

mod domains;
mod jobs;
mod operations;
mod pools;
mod revisions;
mod services;

use updraft_api::v1::selector::Selector;
use updraft_model::{Error, Parent};
use updraft_store::{Envelope, Kind, Selection};

use crate::{
    Inner,
    access::{Permitted, Resource},
    page::{self, PAGE_MAX, Wish},
};

/// Stands for every location.
const EVERYWHERE: &str = "-";

/// Where a call of v1 is about, as its path says.
#[derive(Debug, Clone)]
pub struct Place {
    /// The project, by id or number.
    pub project: String,
    /// The location; without one it is the first that the server serves.
    pub location: Option<String>,
}

/// What a list is wanted to hold.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// What the labels have to be like.
    pub selector: Selector,
    /// At most so many; 0 means the default.
    pub limit: i32,
    /// Where to go on; empty at the beginning.
    pub token: String,
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Found<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next page begins; empty on the last.
    pub token: String,
}

// === impl Inner ===

impl Inner {
    /// The one project and location that a place is.
    fn parent_at(&self, place: &Place) -> Result<Parent, Error> {
        let location = match (&place.location, self.places.locations()) {
            (Some(location), _) => location,
            (None, [first, ..]) => first,
            (None, []) => return Err(Error::not_found(format!("projects/{}/locations", place.project))),
        };
        self.places.parent("namespace", &Parent::new(&place.project, location))
    }

    /// What lists of a place are permitted on: one location, or all.
    fn place(&self, place: &Place) -> Result<Resource, Error> {
        if place.location.as_deref() == Some(EVERYWHERE) {
            let project = self.places.project("namespace", &place.project)?;
            return Ok(Resource::Place(Parent::new(project, EVERYWHERE)));
        }
        Ok(Resource::Place(self.parent_at(place)?))
    }

    /// A page of what is at a place, in every location if the place says so.
    async fn list_at(
        &self,
        permit: &Permitted,
        (kind, place): (Kind, &Place),
        (wanted, owner): (&Wanted, Option<&str>),
        keep: impl Fn(&Envelope) -> Result<bool, Error>,
    ) -> Result<Found<Envelope>, Error> {
        let all = place.location.as_deref() == Some(EVERYWHERE);
        let project = self.places.project("namespace", &place.project)?;
        let selection = Selection::of(kind);
        let selection = if all { selection } else { selection.under(self.parent_at(place)?) };
        let selection = match owner {
            Some(owner) => selection.owned_by(owner),
            None => selection,
        };
        let wish = Wish { size: wanted.limit, token: &wanted.token, max: PAGE_MAX };
        let keep = |envelope: &Envelope| Ok(envelope.key.parent.project == project && keep(envelope)?);
        let (items, token) = page::list(self.store.open(permit), &selection, wish, keep).await?;
        Ok(Found { items, token })
    }

    /// Refuses an object whose namespace is not the project of its path.
    fn check_namespace(&self, parent: &Parent, namespace: &str) -> Result<(), Error> {
        if namespace.is_empty() || self.places.project("metadata.namespace", namespace)? == parent.project {
            return Ok(());
        }
        let rule = format!("must be the project of the path, '{}', got '{namespace}'", parent.project);
        Err(Error::invalid_field("metadata.namespace", rule))
    }
}
