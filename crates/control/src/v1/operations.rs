//! Operations, with what is needed to show their resources in v1.

use updraft_api::{
    longrunning::{
        DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, Operation, WaitOperationRequest,
    },
    v1::Stored,
};
use updraft_model::{Error, Parent, iam::Principal};
use updraft_store::{Key, Kind};

use super::{EVERYWHERE, Found, Place, Wanted};
use crate::{Control, Inner, view};

// === impl Control ===

impl Control {
    /// An operation.
    ///
    /// # Errors
    /// As [`Control::operations_get`].
    pub async fn v1_operations_get(
        &self,
        caller: &Principal,
        (place, id): (&Place, &str),
    ) -> Result<Stored<Operation>, Error> {
        let parent = self.inner.parent_of_operation(place, id).await?;
        let name = view::operation_name(&parent, id);
        let operation = self.operations_get(caller, GetOperationRequest { name }).await?;
        self.inner.with_rest(&parent, operation).await
    }

    /// An operation once it is done, or as it is when the time is over.
    ///
    /// # Errors
    /// As [`Control::operations_wait`].
    pub async fn v1_operations_wait(
        &self,
        caller: &Principal,
        (place, id): (&Place, &str),
        timeout: Option<prost_types::Duration>,
    ) -> Result<Stored<Operation>, Error> {
        let parent = self.inner.parent_of_operation(place, id).await?;
        let name = view::operation_name(&parent, id);
        let operation = self.operations_wait(caller, WaitOperationRequest { name, timeout }).await?;
        self.inner.with_rest(&parent, operation).await
    }

    /// Operations of a place, newest first. `filter` is that of [`Control::operations_list`].
    ///
    /// # Errors
    /// As [`Control::operations_list`].
    pub async fn v1_operations_list(
        &self,
        caller: &Principal,
        place: &Place,
        (wanted, filter): (&Wanted, String),
    ) -> Result<Found<Stored<Operation>>, Error> {
        let parent = self.inner.parent_at(place)?;
        let request = ListOperationsRequest {
            name: parent.to_string(),
            filter,
            page_size: wanted.limit,
            page_token: wanted.token.clone(),
            ..Default::default()
        };
        let found = self.operations_list(caller, request).await?;
        let mut items = Vec::with_capacity(found.operations.len());
        for operation in found.operations {
            items.push(self.inner.with_rest(&parent, operation).await?);
        }
        Ok(Found { items, token: found.next_page_token })
    }

    /// Forgets an operation.
    ///
    /// # Errors
    /// As [`Control::operations_delete`].
    pub async fn v1_operations_delete(&self, caller: &Principal, (place, id): (&Place, &str)) -> Result<(), Error> {
        let parent = self.inner.parent_of_operation(place, id).await?;
        self.operations_delete(caller, DeleteOperationRequest { name: view::operation_name(&parent, id) }).await
    }
}

// === impl Inner ===

impl Inner {
    /// Where an operation is. Clients that deploy to several regions ask for it in every location.
    async fn parent_of_operation(&self, place: &Place, id: &str) -> Result<Parent, Error> {
        if place.location.as_deref() != Some(EVERYWHERE) {
            return self.parent_at(place);
        }
        let project = self.places.project("name", &place.project)?;
        for location in self.places.locations() {
            let parent = Parent::new(&project, location);
            if self.get(&Key::new(Kind::Operation, parent.clone(), id)).await?.is_some() {
                return Ok(parent);
            }
        }
        Err(Error::not_found(id))
    }

    async fn with_rest(&self, parent: &Parent, operation: Operation) -> Result<Stored<Operation>, Error> {
        let id = operation.name.rsplit('/').next().unwrap_or_default().to_owned();
        let rest = match self.get(&Key::new(Kind::Operation, parent.clone(), &id)).await? {
            Some(envelope) => view::rest(&envelope)?,
            // It was deleted between the two looks.
            None => return Err(Error::not_found(&operation.name)),
        };
        Ok(Stored { message: operation, rest, operation: id })
    }
}
