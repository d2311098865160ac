//! Operations: the use cases.

use std::time::Duration;

use prost_types::Any;
use updraft_api::{
    longrunning::{
        DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, ListOperationsResponse, Operation,
        WaitOperationRequest,
    },
    pack,
};
use updraft_model::{
    Error, Parent, RevisionName, ServiceName,
    iam::Principal,
    job::{ExecutionName, JobName},
    name::Collection,
};
use updraft_store::{Change, Envelope, Key, Kind, Selection};

use crate::{
    Control, Inner,
    access::{Permitted, Resource},
    failure::of_store,
    jobs::keys,
    page::{self, Wish},
    record::{self, OperationRecord},
    view,
};

/// The most operations of a page.
const PAGE_MAX: usize = 100;

// === impl Control ===

impl Control {
    /// An operation. While it is under way its metadata is the resource as it is now.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` for a malformed name.
    pub async fn operations_get(&self, caller: &Principal, request: GetOperationRequest) -> Result<Operation, Error> {
        let key = self.inner.operation_key(&request.name)?;
        let permit = self.inner.permit(caller, "run.operations.get", &resource(&key)).await?;
        let envelope = self.inner.get(&permit, &key).await?.ok_or_else(|| Error::not_found(&request.name))?;
        self.inner.operation(&permit, &envelope).await
    }

    /// Operations of a project and location, newest first; with `done:true` or `done:false` only such.
    ///
    /// # Errors
    /// `InvalidArgument` for another filter and for a bad page token or size; `PermissionDenied`.
    pub async fn operations_list(
        &self,
        caller: &Principal,
        request: ListOperationsRequest,
    ) -> Result<ListOperationsResponse, Error> {
        let inner = &*self.inner;
        let name = request.name.strip_suffix("/operations").unwrap_or(&request.name);
        let parent: Parent = name.parse().map_err(|_| malformed("projects/{project}/locations/{location}", name))?;
        let parent = inner.places.parent("name", &parent)?;
        let permit = inner.permit(caller, "run.operations.list", &Resource::Place(parent.clone())).await?;
        let wanted = match request.filter.replace([' ', '"'], "").to_ascii_lowercase().as_str() {
            "" => None,
            "done:true" | "done=true" => Some(true),
            "done:false" | "done=false" => Some(false),
            _ => {
                let rule = format!("must be empty, 'done:true' or 'done:false', got '{}'", request.filter);
                return Err(Error::invalid_field("filter", rule));
            }
        };
        let selection = Selection::of(Kind::Operation).under(parent);
        let wish = Wish { size: request.page_size, token: &request.page_token, max: PAGE_MAX };
        let keep = |envelope: &Envelope| Ok(wanted.is_none_or(|done| is_done(envelope) == done));
        let (found, next_page_token) = page::list(inner.store.open(&permit), &selection, wish, keep).await?;
        let mut operations = Vec::with_capacity(found.len());
        for envelope in &found {
            operations.push(inner.operation(&permit, envelope).await?);
        }
        Ok(ListOperationsResponse { operations, next_page_token, unreachable: Vec::new() })
    }

    /// Forgets an operation; what it stands for goes on.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidArgument` for a malformed name.
    pub async fn operations_delete(&self, caller: &Principal, request: DeleteOperationRequest) -> Result<(), Error> {
        let key = self.inner.operation_key(&request.name)?;
        let permit = self.inner.permit(caller, "run.operations.delete", &resource(&key)).await?;
        if self.inner.get(&permit, &key).await?.is_none() {
            return Err(Error::not_found(&request.name));
        }
        let change = Change::Delete { key, resource_version: 0 };
        self.inner.store.open(&permit).commit(vec![change]).await.map_err(of_store)?;
        Ok(())
    }

    /// An operation once it is done, or as it is when the time is over: the one asked for, at most
    /// [`crate::ControlConfig::wait_max`].
    ///
    /// # Errors
    /// As [`Control::operations_get`].
    pub async fn operations_wait(&self, caller: &Principal, request: WaitOperationRequest) -> Result<Operation, Error> {
        let inner = &*self.inner;
        let key = inner.operation_key(&request.name)?;
        let permit = inner.permit(caller, "run.operations.get", &resource(&key)).await?;
        let max = inner.config.wait_max;
        let negative = |_| Error::invalid_field("timeout", "must be a duration that is not negative");
        let wanted = request.timeout.map(Duration::try_from).transpose().map_err(negative)?;
        // Watched before the first look, so that no change falls between the two.
        let mut changes = inner.store.open(&permit).watch();
        let done = async {
            loop {
                match inner.get(&permit, &key).await? {
                    Some(envelope) if !is_done(&envelope) => {}
                    Some(_) => return Ok(()),
                    None => return Err(Error::not_found(&request.name)),
                }
                // A watcher that lags only looks again earlier.
                while changes.recv().await.is_ok_and(|changed| changed != key) {}
            }
        };
        // Time that is over is no error: the operation is then given as it is.
        if let Ok(ended) = inner.clock.timeout(wanted.unwrap_or(max).min(max), done).await {
            ended?;
        }
        let envelope = inner.get(&permit, &key).await?.ok_or_else(|| Error::not_found(&request.name))?;
        inner.operation(&permit, &envelope).await
    }
}

// === impl Inner ===

impl Inner {
    fn operation_key(&self, name: &str) -> Result<Key, Error> {
        match name.split('/').collect::<Vec<_>>()[..] {
            ["projects", project, "locations", location, "operations", id] if !id.is_empty() => {
                let parent = self.places.parent("name", &Parent::new(project, location))?;
                Ok(Key::new(Kind::Operation, parent, id))
            }
            _ => Err(malformed("projects/{project}/locations/{location}/operations/{operation}", name)),
        }
    }

    /// An operation as clients see it.
    async fn operation(&self, permit: &Permitted, envelope: &Envelope) -> Result<Operation, Error> {
        if is_done(envelope) {
            return record::message(envelope, &envelope.status);
        }
        let record: OperationRecord = record::read(envelope)?;
        let name = view::operation_name(&envelope.key.parent, &envelope.key.name);
        Ok(view::pending_operation(name, self.resource(permit, &record.resource).await?))
    }

    /// The resource of an operation as it is now, if it is there.
    async fn resource(&self, permit: &Permitted, name: &str) -> Result<Option<Any>, Error> {
        if let Ok(name) = name.parse::<ExecutionName>() {
            let found = self.get(permit, &keys::execution(&name)).await?;
            let Some(envelope) = found else { return Ok(None) };
            return Ok(Some(pack(&self.execution(permit, &envelope).await?)));
        }
        if let Ok(name) = name.parse::<JobName>() {
            let Some(envelope) = self.get(permit, &keys::job(&name)).await? else { return Ok(None) };
            return Ok(Some(pack(&self.stored_job(permit, &envelope).await?.message)));
        }
        if let Ok(name) = name.parse::<RevisionName>() {
            let found = self.get_revision(permit, &name).await?;
            return found.map(|envelope| Ok(pack(&view::revision(&envelope)?))).transpose();
        }
        let name: ServiceName = name.parse()?;
        let found = self.get(permit, &Key::of(&name)).await?;
        let resource = |envelope: Envelope| match name.collection {
            Collection::WorkerPools => Ok(pack(&view::worker_pool(&envelope)?)),
            Collection::Services | Collection::Jobs => Ok(pack(&view::service(&envelope, &self.config.url)?)),
        };
        found.map(resource).transpose()
    }
}

fn resource(key: &Key) -> Resource {
    Resource::Within(key.parent.clone(), "operations", key.name.clone())
}

fn is_done(envelope: &Envelope) -> bool {
    !envelope.status.is_empty()
}

fn malformed(form: &str, name: &str) -> Error {
    Error::invalid_field("name", format!("must have the form {form}, got '{name}'"))
}
