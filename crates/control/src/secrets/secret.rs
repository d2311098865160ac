//! Secrets themselves: create, get, update, delete.

use std::time::SystemTime;

use prost::Message as _;
use prost_types::FieldMask;
use updraft_api::{
    mask,
    secretmanager::{CreateSecretRequest, DeleteSecretRequest, GetSecretRequest, Secret, UpdateSecretRequest},
    view::secret as view_of,
};
use updraft_model::{
    Error, ErrorKind, Parent, Violation,
    iam::Principal,
    secret::{GLOBAL, SecretName, check, check_id, is_expired},
};
use updraft_store::{Change, Envelope, Kind};

use super::{ATTEMPTS, Found, SecretRecord, busy, secret_key, version_key};
use crate::{
    Control, Inner,
    access::{Proof, Resource},
    audit,
    failure::etag_mismatch,
    policies::refuse,
    record,
    view::etag,
};

/// What an update may name. The others are the server's, or stay as they were made.
const MUTABLE: [&str; 6] = ["labels", "annotations", "version_aliases", "expire_time", "ttl", "version_destroy_ttl"];
/// Those of them that are one.
const EXPIRATION: [&str; 2] = ["expire_time", "ttl"];
/// What an update may name and nothing comes of: it is checked by itself.
const CHECKED: &str = "etag";

// === impl Control ===

impl Control {
    /// Makes a secret without versions.
    ///
    /// # Errors
    /// `InvalidArgument` with every broken rule, `AlreadyExists`, `PermissionDenied`.
    pub async fn secrets_create(&self, caller: &Principal, request: CreateSecretRequest) -> Result<Secret, Error> {
        let inner = &*self.inner;
        let parent = inner.secret_parent(&request.parent)?;
        let resource = Resource::Project(parent.project.clone());
        audit::makes(SecretName { parent: parent.clone(), secret: request.secret_id.clone() });
        let permit = inner.permit(caller, "secretmanager.secrets.create", &resource).await?;
        let now = inner.clock.now();
        let sent = request.secret.unwrap_or_default();
        let mut broken: Vec<Violation> = check_id("secret_id", &request.secret_id).err().into_iter().collect();
        let model = view_of::to_model(&sent, now)?;
        if parent.location == GLOBAL && model.replication.is_none() {
            broken.push(Violation::new("secret.replication", "must be set"));
        }
        if parent.location != GLOBAL && model.replication.is_some() {
            broken.push(Violation::new("secret.replication", "must not be set for a secret of a region"));
        }
        broken.extend(check(&model, 0, now));
        refuse(broken)?;
        let name = SecretName { parent, secret: request.secret_id };
        let mut envelope = record::envelope(secret_key(&name), "", now);
        envelope.spec = stored(sent, model.expires).encode_to_vec();
        envelope.internal = record::write(&SecretRecord::default());
        for _ in 0..ATTEMPTS {
            let mut changes = Vec::new();
            if let Some(there) = inner.get(&permit, &secret_key(&name)).await? {
                let there = Found::of(there)?;
                if !is_expired(there.expires(now)?, now) {
                    let message = format!("Secret [{}] already exists.", name.numbered());
                    return Err(Error::new(ErrorKind::AlreadyExists, message));
                }
                // Its time is over and nobody has removed it yet.
                changes = removal(&there);
            }
            changes.extend(inner.places.creation(&name.parent.project, now));
            changes.push(Change::Put(Box::new(envelope.clone())));
            if inner.committed(&permit, changes).await?.is_some() {
                return Ok(Found::of(envelope)?.shown());
            }
        }
        Err(busy(&name))
    }

    /// A secret, without its values.
    ///
    /// # Errors
    /// `InvalidArgument`, `PermissionDenied`, `NotFound`.
    pub async fn secrets_get(&self, caller: &Principal, request: GetSecretRequest) -> Result<Secret, Error> {
        let name = self.inner.secret_named(&request.name)?;
        let resource = Resource::Secret(name.clone());
        let mut permit = self.inner.permit(caller, "secretmanager.secrets.get", &resource).await?;
        Ok(self.inner.live_secret(&mut permit, &name)?.shown())
    }

    /// Changes what the mask names.
    ///
    /// # Errors
    /// `InvalidArgument` with every broken rule, `PermissionDenied`, `NotFound`; `Aborted` when the etag is not the current
    /// one.
    pub async fn secrets_update(&self, caller: &Principal, request: UpdateSecretRequest) -> Result<Secret, Error> {
        let inner = &*self.inner;
        let sent = request.secret.unwrap_or_default();
        let name = inner.secret_named(&sent.name)?;
        let mut paths = mutable(request.update_mask.as_ref())?;
        // Two names of one thing, of which only the first is kept: whoever names either means it.
        let count = paths.paths.len();
        paths.paths.retain(|path| !EXPIRATION.contains(&path.as_str()));
        let renews_expiration = paths.paths.len() < count;
        for _ in 0..ATTEMPTS {
            let resource = Resource::Secret(name.clone());
            let mut permit = inner.permit(caller, "secretmanager.secrets.update", &resource).await?;
            let found = inner.live_secret(&mut permit, &name)?;
            if !sent.etag.is_empty() && sent.etag != etag(&found.envelope) {
                return Err(etag_mismatch(&name.numbered().to_string()));
            }
            let now = inner.clock.now();
            let mut changed = mask::apply(&found.message, &sent, &paths)?;
            if renews_expiration {
                changed.expiration = sent.expiration;
            }
            let model = view_of::to_model(&changed, now)?;
            refuse(check(&model, found.record.versions, now))?;
            let message = stored(changed, model.expires);
            if message == found.message {
                return Ok(found.shown());
            }
            let envelope = Envelope {
                spec: message.encode_to_vec(),
                generation: found.envelope.generation + 1,
                updated: now,
                ..found.envelope
            };
            if inner.committed(&permit, vec![Change::Put(Box::new(envelope.clone()))]).await?.is_some() {
                return Ok(Found::of(envelope)?.shown());
            }
        }
        Err(busy(&name))
    }

    /// Removes a secret with all its versions and their values.
    ///
    /// # Errors
    /// `InvalidArgument`, `PermissionDenied`, `NotFound`; `Aborted` when the etag is not the current one.
    pub async fn secrets_delete(&self, caller: &Principal, request: DeleteSecretRequest) -> Result<(), Error> {
        let inner = &*self.inner;
        let name = inner.secret_named(&request.name)?;
        for _ in 0..ATTEMPTS {
            let resource = Resource::Secret(name.clone());
            let mut permit = inner.permit(caller, "secretmanager.secrets.delete", &resource).await?;
            let found = inner.live_secret(&mut permit, &name)?;
            if !request.etag.is_empty() && request.etag != etag(&found.envelope) {
                return Err(etag_mismatch(&name.numbered().to_string()));
            }
            if inner.removed(&permit, &found).await?.is_some() {
                return Ok(());
            }
        }
        Err(busy(&name))
    }
}

// === impl Inner ===

impl Inner {
    /// The place of secrets that `projects/{project}` or `projects/{project}/locations/{location}` means.
    pub(super) fn secret_parent(&self, parent: &str) -> Result<Parent, Error> {
        match parent.split('/').collect::<Vec<_>>()[..] {
            ["projects", project] => Ok(Parent::new(self.places.project("parent", project)?, GLOBAL)),
            ["projects", project, "locations", location] => {
                self.places.parent("parent", &Parent::new(project, location))
            }
            _ => {
                let rule = format!(
                    "must have the form projects/{{project}} or projects/{{project}}/locations/{{location}}, got '{parent}'"
                );
                Err(Error::invalid_field("parent", rule))
            }
        }
    }

    /// Removes a secret and all that is of it, in one commit; `None` when it was changed meanwhile.
    pub(crate) async fn removed(&self, proof: &impl Proof, found: &Found) -> Result<Option<()>, Error> {
        self.committed(proof, removal(found)).await
    }
}

/// The changes that remove a secret and all that is of it. Its versions are named by their numbers, not read.
fn removal(found: &Found) -> Vec<Change> {
    let Envelope { key, resource_version, .. } = &found.envelope;
    let mut changes = vec![Change::Delete { key: key.clone(), resource_version: *resource_version }];
    for number in 1..=found.record.versions {
        for kind in [Kind::SecretVersion, Kind::SecretValue] {
            changes.push(Change::Delete { key: version_key(kind, &found.name, number), resource_version: 0 });
        }
    }
    changes
}

/// What is kept of a message: without what is shown from elsewhere, and with a moment instead of a time to live.
fn stored(mut message: Secret, expires: Option<SystemTime>) -> Secret {
    view_of::set_expires(&mut message, expires);
    Secret { name: String::new(), etag: String::new(), create_time: None, ..message }
}

/// The paths that an update may name.
fn mutable(mask: Option<&FieldMask>) -> Result<FieldMask, Error> {
    let given = mask.filter(|mask| !mask.paths.is_empty());
    let given = given.ok_or_else(|| Error::invalid_field("update_mask", "must name what is to be changed"))?;
    let mut paths = Vec::new();
    for path in mask::canonical::<Secret>(given)? {
        let field = path.split('.').next().unwrap_or_default();
        if MUTABLE.contains(&field) {
            paths.push(path);
        } else if field != CHECKED {
            let known = MUTABLE.join(", ");
            return Err(Error::invalid_field("update_mask", format!("may name {known}, got '{path}'")));
        }
    }
    Ok(FieldMask { paths })
}
