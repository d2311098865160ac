//! Versions: add, get, enable, disable, destroy.

use std::time::SystemTime;

use updraft_api::secretmanager::{
    AddSecretVersionRequest, DestroySecretVersionRequest, DisableSecretVersionRequest, EnableSecretVersionRequest,
    GetSecretVersionRequest, SecretVersion,
};
use updraft_model::{
    Confidential, Error,
    iam::{Permission, Principal},
    secret::{Change as Wished, SecretName, State, Version, VersionId, check_payload, crc32c},
};
use updraft_store::{Change, Envelope, Kind};

use super::{
    ATTEMPTS, Found, SecretRecord, VersionRecord, at, busy, missing_version, nanos, number_of, sealed_name, version_key,
};
use crate::{
    Control, Inner,
    access::{Permitted, Proof, Resource},
    audit,
    failure::etag_mismatch,
    record,
    view::etag,
};

// === impl Control ===

impl Control {
    /// Adds a version with a value; it is enabled, and `latest` from then on.
    ///
    /// # Errors
    /// `InvalidArgument` for a value that is empty, too large or does not have its checksum; `PermissionDenied`, `NotFound`.
    pub async fn secret_versions_add(
        &self,
        caller: &Principal,
        mut request: AddSecretVersionRequest,
    ) -> Result<SecretVersion, Error> {
        let inner = &*self.inner;
        let payload = request.payload.take().unwrap_or_default();
        // From here on it is nobody's by chance.
        let (value, checksum) = (Confidential::new(payload.data), payload.data_crc32c);
        let name = inner.secret_named(&request.parent)?;
        for _ in 0..ATTEMPTS {
            let resource = Resource::Secret(name.clone());
            let mut permit = inner.permit(caller, "secretmanager.versions.add", &resource).await?;
            let found = inner.live_secret(&mut permit, &name)?;
            check_value(&value, checksum)?;
            let now = inner.clock.now();
            let (changes, version) = inner.addition(&found, (&value, checksum.is_some()), now)?;
            audit::makes(name.version(VersionId::Number(number_of(&version.key))));
            if inner.committed(&permit, changes).await?.is_some() {
                return found.shown_version(&version, now);
            }
        }
        Err(busy(&name))
    }

    /// A version, without its value.
    ///
    /// # Errors
    /// `InvalidArgument`, `PermissionDenied`, `NotFound`.
    pub async fn secret_versions_get(
        &self,
        caller: &Principal,
        request: GetSecretVersionRequest,
    ) -> Result<SecretVersion, Error> {
        let name = self.inner.version_named(&request.name)?;
        let resource = Resource::SecretVersion(name.clone());
        let mut permit = self.inner.permit(caller, "secretmanager.versions.get", &resource).await?;
        let found = self.inner.live_secret(&mut permit, &name.secret)?;
        let envelope = self.inner.version(&permit, &found, &name.version).await?;
        found.shown_version(&envelope, self.inner.clock.now())
    }

    /// The value of a version may be read again.
    ///
    /// # Errors
    /// `InvalidArgument`, `PermissionDenied`, `NotFound`; `FailedPrecondition` for one that is destroyed; `Aborted` when the
    /// etag is not the current one.
    pub async fn secret_versions_enable(
        &self,
        caller: &Principal,
        request: EnableSecretVersionRequest,
    ) -> Result<SecretVersion, Error> {
        let (permission, wish) = ("secretmanager.versions.enable", |_: &Found| Ok(Wished::Enable));
        self.inner.change_version(caller, permission, (&request.name, &request.etag), wish).await
    }

    /// The value of a version may not be read for now.
    ///
    /// # Errors
    /// As [`Control::secret_versions_enable`].
    pub async fn secret_versions_disable(
        &self,
        caller: &Principal,
        request: DisableSecretVersionRequest,
    ) -> Result<SecretVersion, Error> {
        let (permission, wish) = ("secretmanager.versions.disable", |_: &Found| Ok(Wished::Disable));
        self.inner.change_version(caller, permission, (&request.name, &request.etag), wish).await
    }

    /// The value of a version goes, for ever; after a while if its secret says so.
    ///
    /// # Errors
    /// As [`Control::secret_versions_enable`].
    pub async fn secret_versions_destroy(
        &self,
        caller: &Principal,
        request: DestroySecretVersionRequest,
    ) -> Result<SecretVersion, Error> {
        let now = self.inner.clock.now();
        let wish = |found: &Found| {
            let ttl = updraft_api::view::secret::to_model(&found.message, now)?.destroy_ttl;
            Ok(Wished::Destroy(ttl))
        };
        let permission = "secretmanager.versions.destroy";
        self.inner.change_version(caller, permission, (&request.name, &request.etag), wish).await
    }
}

// === impl Inner ===

impl Inner {
    /// The envelope of a version of a secret.
    async fn version(&self, permit: &Permitted, found: &Found, version: &VersionId) -> Result<Envelope, Error> {
        let missing = || missing_version(&found.name.version(version.clone()));
        let number = found.resolve(version).ok_or_else(missing)?;
        let envelope = self.get(permit, &version_key(Kind::SecretVersion, &found.name, number)).await?;
        envelope.ok_or_else(missing)
    }

    async fn change_version(
        &self,
        caller: &Principal,
        permission: Permission,
        (name, sent_etag): (&str, &str),
        wish: impl Fn(&Found) -> Result<Wished, Error>,
    ) -> Result<SecretVersion, Error> {
        let name = self.version_named(name)?;
        if !matches!(name.version, VersionId::Number(_)) {
            // `latest` could be another one by the time it is destroyed.
            let rule = format!("must name a version by its number, got '{}'", name.version);
            return Err(Error::invalid_field("name", rule));
        }
        for _ in 0..ATTEMPTS {
            let resource = Resource::SecretVersion(name.clone());
            let mut permit = self.permit(caller, permission, &resource).await?;
            let found = self.live_secret(&mut permit, &name.secret)?;
            let envelope = self.version(&permit, &found, &name.version).await?;
            let now = self.clock.now();
            let shown = found.shown_version(&envelope, now)?;
            if !sent_etag.is_empty() && sent_etag != etag(&envelope) {
                return Err(etag_mismatch(&shown.name));
            }
            let record: VersionRecord = record::read(&envelope)?;
            let before = record.version();
            let after = before.changed(wish(&found)?, &shown.name, now)?;
            if after == before {
                return Ok(shown);
            }
            if let Some(envelope) = self.write_version(&permit, (&found.name, envelope), after).await? {
                return found.shown_version(&envelope, now);
            }
        }
        Err(busy(&name.secret))
    }

    /// Writes down what a version is now; the value of one that is destroyed goes in the same commit. `None` when somebody
    /// else was faster.
    pub(crate) async fn write_version(
        &self,
        proof: &impl Proof,
        (name, envelope): (&SecretName, Envelope),
        version: Version,
    ) -> Result<Option<Envelope>, Error> {
        let record: VersionRecord = record::read(&envelope)?;
        let envelope = Envelope {
            internal: record::write(&record.with(version)),
            generation: envelope.generation + 1,
            updated: self.clock.now(),
            ..envelope
        };
        let mut changes = vec![Change::Put(Box::new(envelope.clone()))];
        if version.state == State::Destroyed {
            let key = version_key(Kind::SecretValue, name, super::number_of(&envelope.key));
            changes.push(Change::Delete { key, resource_version: 0 });
        }
        Ok(self.committed(proof, changes).await?.map(|()| envelope))
    }

    /// The changes that add a version, and its envelope.
    fn addition(
        &self,
        found: &Found,
        (value, is_checked): (&Confidential, bool),
        now: SystemTime,
    ) -> Result<(Vec<Change>, Envelope), Error> {
        let number = found.record.versions + 1;
        let added = nanos(now).max(found.record.last_added + 1);
        let record = SecretRecord { versions: number, last_added: added, ..found.record.clone() };
        // The counter is in the secret's envelope: two additions at the same time make a conflict.
        let secret = Envelope { internal: record::write(&record), ..found.envelope.clone() };
        let mut version = record::envelope(version_key(Kind::SecretVersion, &found.name, number), "", at(added));
        version.owner.clone_from(&found.name.secret);
        let checked = VersionRecord { checksum_given: is_checked, ..VersionRecord::default() };
        version.internal = record::write(&checked.with(Version::default()));
        let sealed = self.sealer.seal(&sealed_name(&found.name, number, &found.envelope.uid), value)?;
        let mut kept = record::envelope(version_key(Kind::SecretValue, &found.name, number), &sealed.key, at(added));
        kept.spec = sealed.bytes;
        let changes = [secret, version.clone(), kept].map(|put| Change::Put(Box::new(put)));
        Ok((changes.into(), version))
    }
}

/// Neither error tells the value.
fn check_value(value: &Confidential, checksum: Option<i64>) -> Result<(), Error> {
    let found = check_payload("payload.data", value.expose().len());
    found.map_err(|violation| {
        let message = violation.rule.clone();
        let error = Error::invalid(vec![violation]);
        // The one sentence of Google's that names no field.
        if value.expose().is_empty() { error.with_message(message) } else { error }
    })?;
    match checksum {
        Some(sent) if sent != i64::from(crc32c(value.expose())) => {
            let rule = format!("must be the CRC32C of the data that was received, got {sent}");
            Err(Error::invalid_field("payload.data_crc32c", rule))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use updraft_model::ErrorKind;

    use super::*;

    #[test]
    fn a_value_that_does_not_have_its_checksum_is_refused_without_being_told() {
        let value = Confidential::new(b"hunter2".to_vec());
        let right = i64::from(crc32c(b"hunter2"));
        assert!(check_value(&value, Some(right)).is_ok() && check_value(&value, None).is_ok());
        for wrong in [0, right + 1, -right, right + (1 << 32)] {
            let error = check_value(&value, Some(wrong)).expect_err("another sum");
            assert_eq!(
                (error.kind(), error.violations()[0].field.as_str()),
                (ErrorKind::InvalidArgument, "payload.data_crc32c")
            );
            assert!(!format!("{error:?}").contains("hunter2") && error.message().ends_with(&format!("got {wrong}")));
        }
        let error = check_value(&Confidential::default(), None).expect_err("empty");
        assert_eq!(error.message(), "Secret Payload cannot be empty.");
    }
}
