//! Values: for clients, and for what puts them into containers.

use updraft_api::secretmanager::{AccessSecretVersionRequest, AccessSecretVersionResponse, SecretPayload};
use updraft_model::{
    Confidential, Error, ErrorKind, Parent,
    account::default_email,
    iam::{Account, Principal},
    name::project_number,
    secret::{SecretName, SecretReference, VersionId, VersionName, crc32c},
};
use updraft_store::{Key, Kind};

use super::{Found, VersionRecord, missing_version, sealed_name, version_key};
use crate::{
    Control, Inner,
    access::{Permitted, Resource, account_project},
    around::{AccountRecord, GLOBAL},
    record,
};

/// How often a value is looked for that was there a moment ago.
const ATTEMPTS: usize = 3;

// === impl Control ===

impl Control {
    /// The value of a version, with its checksum.
    ///
    /// # Errors
    /// `InvalidArgument`, `PermissionDenied`, `NotFound`, `FailedPrecondition` for a version that is not enabled.
    pub async fn secret_versions_access(
        &self,
        caller: &Principal,
        request: AccessSecretVersionRequest,
    ) -> Result<AccessSecretVersionResponse, Error> {
        let name = self.inner.version_named(&request.name)?;
        let resource = Resource::SecretVersion(name.clone());
        let permit = self.inner.permit(caller, "secretmanager.versions.access", &resource).await?;
        let (number, value) = self.inner.opened(permit, &name).await?;
        let name = name.secret.numbered().version(VersionId::Number(number)).to_string();
        let (data, data_crc32c) = (value.expose().to_vec(), Some(i64::from(crc32c(value.expose()))));
        Ok(AccessSecretVersionResponse { name, payload: Some(SecretPayload { data, data_crc32c }) })
    }

    /// What a container gets that runs as `account`: the number of a version and its value. Nobody else is asked.
    ///
    /// # Errors
    /// In Cloud Run's words: `PermissionDenied` when the account may not read it, is disabled or is not there, `NotFound`,
    /// `FailedPrecondition` for a version that is not enabled; `InvalidArgument` for what is no version.
    pub async fn runtime_secret(
        &self,
        account: &str,
        secret: &SecretReference,
        version: &str,
    ) -> Result<(u64, Confidential), Error> {
        self.inner.secret_value(account, secret, version).await
    }
}

// === impl Inner ===

impl Inner {
    /// The value that a container which runs as `account` gets for a reference, and the number of the version that it is of.
    /// `version` is `latest`, a number or an alias: who asks decides how long the answer is kept.
    ///
    /// # Errors
    /// As [`Control::runtime_secret`].
    pub(crate) async fn secret_value(
        &self,
        account: &str,
        secret: &SecretReference,
        version: &str,
    ) -> Result<(u64, Confidential), Error> {
        let project = self.places.project("secret", &secret.project)?;
        let version = VersionId::read("version", version).map_err(|violation| Error::invalid(vec![violation]))?;
        let name = SecretName::global(project, &secret.secret).version(version);
        let denied = || denied(&name, account);
        let home = account_project(account).and_then(|project| self.places.project("account", project).ok());
        let principal = Principal::ServiceAccount(Account {
            email: account.to_owned(),
            unique_id: String::new(),
            project: home.clone().unwrap_or_default(),
        });
        let resource = Resource::SecretVersion(name.clone());
        let permit = self.permit(&principal, "secretmanager.versions.access", &resource).await;
        let permit = permit.map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => denied(),
            _ => error,
        })?;
        let is_usable = match home {
            Some(home) => self.is_usable(&permit, &home, account).await?,
            // Whoever it may be, it is no account of ours.
            None => false,
        };
        if !is_usable {
            return Err(denied());
        }
        self.opened(permit, &name).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                let shown = name.secret.numbered().version(name.version.clone());
                Error::new(ErrorKind::NotFound, format!("Secret {shown} was not found"))
            }
            _ => error,
        })
    }

    /// The value of a version that may be read, and its number.
    async fn opened(&self, mut permit: Permitted, name: &VersionName) -> Result<(u64, Confidential), Error> {
        let found = self.live_secret(&mut permit, &name.secret).map_err(|error| match error.kind() {
            ErrorKind::NotFound => missing_version(name),
            _ => error,
        })?;
        let number = found.resolve(&name.version).ok_or_else(|| missing_version(name))?;
        for _ in 0..ATTEMPTS {
            self.check_readable(&permit, &found, (number, name)).await?;
            let stored = self.get(&permit, &version_key(Kind::SecretValue, &found.name, number)).await?;
            // Without one it was destroyed between these two looks; the next says so.
            let Some(stored) = stored else { continue };
            let sealed_name = sealed_name(&found.name, number, &found.envelope.uid);
            return Ok((number, self.sealer.open(&sealed_name, &stored.spec)?));
        }
        Err(Error::internal(format!("{}/versions/{number} is enabled and has no value", found.name)))
    }

    async fn check_readable(
        &self,
        permit: &Permitted,
        found: &Found,
        (number, name): (u64, &VersionName),
    ) -> Result<(), Error> {
        let envelope = self.get(permit, &version_key(Kind::SecretVersion, &found.name, number)).await?;
        let envelope = envelope.ok_or_else(|| missing_version(name))?;
        let record: VersionRecord = record::read(&envelope)?;
        let shown = found.name.numbered().version(VersionId::Number(number));
        record.version().readable(&shown, self.clock.now())
    }

    /// Is the account there, and not switched off? A policy may name one that was deleted, or that never was, and whoever
    /// makes it one day is not who was meant. The default one is there before anything is written down of it.
    async fn is_usable(&self, permit: &Permitted, project: &str, account: &str) -> Result<bool, Error> {
        let key = Key::new(Kind::ServiceAccount, Parent::new(project, GLOBAL), account);
        match self.get(permit, &key).await? {
            Some(envelope) => Ok(!record::read::<AccountRecord>(&envelope)?.disabled),
            None => Ok(account == default_email(project)),
        }
    }
}

fn denied(name: &VersionName, account: &str) -> Error {
    let number = project_number(&name.secret.parent.project);
    let message = format!(
        "Permission denied on secret: projects/{number}/secrets/{}/versions/{} for Revision service account {account}. \
         The service account used must be granted the 'Secret Manager Secret Accessor' role \
         (roles/secretmanager.secretAccessor) at the secret, project or higher level.",
        name.secret.secret, name.version
    );
    Error::new(ErrorKind::PermissionDenied, message)
}
