//! Domain mappings: stored, and shown with the records that their zone needs.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use updraft_api::v1::{
    domain::{Mapping, WrittenMapping},
    service_labels,
};
use updraft_model::{
    Error, ErrorKind,
    iam::{Permission, Principal},
};
use updraft_plan::hosts;
use updraft_store::{Change, Envelope, Key, Kind};

use super::{Found, Place, Wanted};
use crate::{
    Control, Inner, Mode,
    access::{Permitted, Resource},
    audit,
    failure::of_store,
    record, view,
};

/// How often a write is tried again because somebody else wrote meanwhile.
const ATTEMPTS: usize = 16;

/// What only we know of a mapping.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct MappingRecord {
    /// E-mail of who created it.
    creator: String,
}

// === impl Control ===

impl Control {
    /// Maps a domain to a service.
    ///
    /// # Errors
    /// `AlreadyExists` for a domain that is mapped, `InvalidArgument`, `NotFound` for a place that is not
    /// served, `PermissionDenied`.
    pub async fn v1_domain_mappings_create(
        &self,
        caller: &Principal,
        place: &Place,
        (written, mode): (&WrittenMapping, Mode),
    ) -> Result<Value, Error> {
        let inner = &*self.inner;
        let parent = inner.parent_at(place)?;
        let permit = inner.permit(caller, "run.domainmappings.create", &Resource::Place(parent.clone())).await?;
        inner.check_namespace(&parent, &written.namespace)?;
        let key = Key::new(Kind::DomainMapping, parent.clone(), &written.name);
        audit::makes(format!("{parent}/domainmappings/{}", written.name));
        let taken = || {
            let message = format!("Resource '{}' already exists.", written.name);
            Err(Error::new(ErrorKind::AlreadyExists, message))
        };
        if inner.get(&permit, &key).await?.is_some() {
            return taken();
        }
        inner.check_room(&permit, &parent, Kind::DomainMapping).await?;
        let now = inner.clock.now();
        let owner = written.intent["spec"]["routeName"].as_str().unwrap_or_default();
        let envelope = Envelope {
            v1_only: written.intent.to_string().into_bytes(),
            internal: record::write(&MappingRecord { creator: caller.email() }),
            ..record::envelope(key.clone(), owner, now)
        };
        let answer = inner.mapping(&permit, &envelope).await?;
        if mode == Mode::ValidateOnly {
            return Ok(answer);
        }
        // Who loses the race for the first write of a project has lost nothing by it.
        for _ in 0..ATTEMPTS {
            let mut changes: Vec<Change> = inner.places.creation(&parent.project, now).into_iter().collect();
            changes.push(Change::Put(Box::new(envelope.clone())));
            if inner.committed(&permit, changes).await?.is_some() {
                return Ok(answer);
            }
            if inner.get(&permit, &key).await?.is_some() {
                return taken();
            }
        }
        let message = format!("Resource '{}' is being changed; try again.", written.name);
        Err(Error::new(ErrorKind::Aborted, message))
    }

    /// A mapping.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn v1_domain_mappings_get(
        &self,
        caller: &Principal,
        (place, name): (&Place, &str),
    ) -> Result<Value, Error> {
        let (permit, envelope) = self.v1_mapping(caller, (place, name), "run.domainmappings.get").await?;
        self.inner.mapping(&permit, &envelope).await
    }

    /// Mappings of a place, newest first.
    ///
    /// # Errors
    /// `InvalidArgument` for a bad token or limit, `NotFound` for a place that is not served,
    /// `PermissionDenied`.
    pub async fn v1_domain_mappings_list(
        &self,
        caller: &Principal,
        place: &Place,
        wanted: &Wanted,
    ) -> Result<Found<Value>, Error> {
        let inner = &*self.inner;
        let permit = inner.permit(caller, "run.domainmappings.list", &inner.place(place)?).await?;
        let keep = |envelope: &Envelope| {
            let intent = intent(envelope)?;
            let labels = intent["metadata"]["labels"].as_object().into_iter().flatten();
            let mut labels: Vec<(String, String)> =
                labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
            // The label of the place, as services have it.
            let name = envelope.key.parent.service(&envelope.owner).to_string();
            labels.extend(service_labels(&updraft_api::run::Service { name, ..Default::default() }));
            Ok(wanted.selector.matches(&labels))
        };
        let found = inner.list_at(&permit, (Kind::DomainMapping, place), (wanted, None), keep).await?;
        let mut items = Vec::with_capacity(found.items.len());
        for envelope in &found.items {
            items.push(inner.mapping(&permit, envelope).await?);
        }
        Ok(Found { items, token: found.token })
    }

    /// Removes a mapping; gives its UID.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn v1_domain_mappings_delete(
        &self,
        caller: &Principal,
        (place, name): (&Place, &str),
        mode: Mode,
    ) -> Result<String, Error> {
        let (permit, envelope) = self.v1_mapping(caller, (place, name), "run.domainmappings.delete").await?;
        if mode == Mode::Write {
            let change = Change::Delete { key: envelope.key, resource_version: 0 };
            self.inner.store.open(&permit).commit(vec![change]).await.map_err(of_store)?;
        }
        Ok(envelope.uid)
    }

    async fn v1_mapping(
        &self,
        caller: &Principal,
        (place, name): (&Place, &str),
        permission: Permission,
    ) -> Result<(Permitted, Envelope), Error> {
        let parent = self.inner.parent_at(place)?;
        let resource = Resource::Within(parent.clone(), "domainmappings", name.to_owned());
        let permit = self.inner.permit(caller, permission, &resource).await?;
        let key = Key::new(Kind::DomainMapping, parent, name);
        let envelope = self.inner.get(&permit, &key).await?.ok_or_else(|| Error::not_found(name))?;
        Ok((permit, envelope))
    }
}

// === impl Inner ===

impl Inner {
    async fn mapping(&self, permit: &Permitted, envelope: &Envelope) -> Result<Value, Error> {
        let record: MappingRecord = record::read(envelope)?;
        let service = envelope.key.parent.service(&envelope.owner);
        let hosts = hosts::service_hosts(&service, &self.config.url.domain);
        let target = hosts.first().filter(|_| !envelope.owner.is_empty()).map(String::as_str);
        let target = if self.service(permit, &service).await?.is_some() { target } else { None };
        let version = view::etag(envelope);
        let mapping = Mapping {
            parent: &envelope.key.parent,
            name: &envelope.key.name,
            intent: &intent(envelope)?,
            uid: &envelope.uid,
            version: version.trim_matches('"'),
            created: envelope.created,
            creator: &record.creator,
            target,
        };
        Ok(mapping.json())
    }
}

fn intent(envelope: &Envelope) -> Result<Value, Error> {
    serde_json::from_slice(&envelope.v1_only)
        .map_err(|error| Error::internal(format!("{}: unreadable mapping: {error}", envelope.key)))
}
