//! Operations, with what is needed to show their resources in v1.

use updraft_api::{
    longrunning::{
        DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, Operation, WaitOperationRequest,
    },
    v1::Stored,
};
use updraft_model::{
    Error, Parent,
    iam::{Permission, Principal},
};
use updraft_store::{Key, Kind};

use super::{EVERYWHERE, Found, Place, Wanted};
use crate::{
    Control, Inner,
    access::{Permitted, Resource},
    view,
};

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
        let (permit, parent) = self.inner.operation_at(caller, "run.operations.get", (place, id)).await?;
        let name = view::operation_name(&parent, id);
        let operation = self.operations_get(caller, GetOperationRequest { name }).await?;
        self.inner.with_rest(&permit, &parent, operation).await
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
        let (permit, parent) = self.inner.operation_at(caller, "run.operations.get", (place, id)).await?;
        let name = view::operation_name(&parent, id);
        let operation = self.operations_wait(caller, WaitOperationRequest { name, timeout }).await?;
        self.inner.with_rest(&permit, &parent, operation).await
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
        let permit = self.inner.permit(caller, "run.operations.list", &Resource::Place(parent.clone())).await?;
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
            items.push(self.inner.with_rest(&permit, &parent, operation).await?);
        }
        Ok(Found { items, token: found.next_page_token })
    }

    /// Forgets an operation.
    ///
    /// # Errors
    /// As [`Control::operations_delete`].
    pub async fn v1_operations_delete(&self, caller: &Principal, (place, id): (&Place, &str)) -> Result<(), Error> {
        let (_, parent) = self.inner.operation_at(caller, "run.operations.delete", (place, id)).await?;
        self.operations_delete(caller, DeleteOperationRequest { name: view::operation_name(&parent, id) }).await
    }
}

// === impl Inner ===

impl Inner {
    /// Where an operation is that `caller` has `permission` on. Clients that deploy to several regions ask for it in every
    /// location.
    async fn operation_at(
        &self,
        caller: &Principal,
        permission: Permission,
        (place, id): (&Place, &str),
    ) -> Result<(Permitted, Parent), Error> {
        let everywhere = place.location.as_deref() == Some(EVERYWHERE);
        let parents = if everywhere {
            let project = self.places.project("name", &place.project)?;
            self.places.locations().iter().map(|location| Parent::new(&project, location)).collect()
        } else {
            vec![self.parent_at(place)?]
        };
        for parent in parents {
            let resource = Resource::Within(parent.clone(), "operations", id.to_owned());
            let permit = self.permit(caller, permission, &resource).await?;
            if !everywhere || self.get(&permit, &Key::new(Kind::Operation, parent.clone(), id)).await?.is_some() {
                return Ok((permit, parent));
            }
        }
        Err(Error::not_found(id))
    }

    async fn with_rest(
        &self,
        permit: &Permitted,
        parent: &Parent,
        operation: Operation,
    ) -> Result<Stored<Operation>, Error> {
        let id = operation.name.rsplit('/').next().unwrap_or_default().to_owned();
        let rest = match self.get(permit, &Key::new(Kind::Operation, parent.clone(), &id)).await? {
            Some(envelope) => view::rest(&envelope)?,
            // It was deleted between the two looks.
            None => return Err(Error::not_found(&operation.name)),
        };
        Ok(Stored { message: operation, rest, operation: id })
    }
}
