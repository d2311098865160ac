//! Keys of service accounts: their public halves, and who may have more of them. They hang on the account's record, so
//! that they come, change and go with it in one commit.
//!
//! How a key is made and what is in a certificate is not known here. Source: IAM API v1 (`ServiceAccountKey`, its
//! methods and limits).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use updraft_model::{
    Error, ErrorKind,
    account::HeldKey,
    iam::{Permission, Principal},
};

use super::{ATTEMPTS, accounts::Found, busy};
use crate::{Control, audit};

/// The most keys that others may hold of one account; Google's limit.
pub const KEYS_MAX: usize = 10;
/// Acts for whoever shows a proof instead of a name.
const VERIFIER: Principal = Principal::System("tokens");

/// A service account, as far as its tokens need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountIdentity {
    /// The id of its project.
    pub project: String,
    /// Its address.
    pub email: String,
    /// Never given twice.
    pub unique_id: String,
    /// May it be used?
    pub is_enabled: bool,
}

/// A key that others hold of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountKey {
    /// `projects/{project}/serviceAccounts/{email}/keys/{id}`.
    pub name: String,
    /// Who made it.
    pub origin: KeyOrigin,
    /// Its public half.
    pub held: HeldKey,
}

/// A key to be written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Its id.
    pub id: String,
    /// The certificate with its public half, in PEM.
    pub certificate: String,
    /// Who made it.
    pub origin: KeyOrigin,
    /// From when on it may be used.
    pub valid_after: SystemTime,
    /// Until when; `None`: always.
    pub valid_before: Option<SystemTime>,
}

/// Who made a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum KeyOrigin {
    /// This server, which gave the private half away.
    #[default]
    Made,
    /// Somebody else, who brought the public half.
    Uploaded,
}

/// What is written down of a key.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct KeyRecord {
    id: String,
    certificate: String,
    origin: KeyOrigin,
    /// In seconds since 1970.
    valid_after: u64,
    valid_before: Option<u64>,
    disabled: bool,
}

// === impl Control ===

impl Control {
    /// The account that `name` means, if `caller` has `permission` on it.
    ///
    /// # Errors
    /// `InvalidArgument`, `NotFound`, `PermissionDenied`.
    pub async fn account_identity(
        &self,
        caller: &Principal,
        permission: Permission,
        name: &str,
    ) -> Result<AccountIdentity, Error> {
        Ok(self.inner.account(caller, permission, name).await?.1.identity())
    }

    /// The account that says by an assertion that it is `account`, an address or a unique id, and its keys; `None` if
    /// there is none. Nobody is asked for a permission: whether the assertion is signed by one of the keys decides.
    ///
    /// # Errors
    /// `Internal` when the store cannot be read.
    pub async fn account_keys(&self, account: &str) -> Result<Option<(AccountIdentity, Vec<AccountKey>)>, Error> {
        let name = format!("projects/-/serviceAccounts/{account}");
        match self.inner.account(&VERIFIER, "iam.serviceAccounts.get", &name).await {
            Ok((_, found)) => Ok(Some((found.identity(), found.keys()))),
            Err(error) if error.kind() == ErrorKind::Internal => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Writes a key of an account down.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `AlreadyExists`, `FailedPrecondition` when the account has [`KEYS_MAX`].
    pub async fn keys_create(&self, caller: &Principal, account: &str, key: NewKey) -> Result<AccountKey, Error> {
        for _ in 0..ATTEMPTS {
            let (permit, found) = self.inner.account(caller, "iam.serviceAccountKeys.create", account).await?;
            let mut record = found.record.clone();
            if record.keys.iter().any(|known| known.id == key.id) {
                let message = format!("Key {} already exists for service account {}.", key.id, found.email);
                return Err(Error::new(ErrorKind::AlreadyExists, message));
            }
            if record.keys.len() >= KEYS_MAX {
                let message = format!(
                    "Precondition check failed. Service account {} has {KEYS_MAX} keys, which is the most; delete one first.",
                    found.email
                );
                return Err(Error::new(ErrorKind::FailedPrecondition, message));
            }
            let added = KeyRecord::of(&key);
            record.keys.push(added.clone());
            let shown = added.shown(&found);
            audit::makes(&shown.name);
            if self.inner.write_account(&permit, found, &record).await?.is_some() {
                return Ok(shown);
            }
        }
        Err(busy(account))
    }

    /// The keys that others hold of an account, the oldest first.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn keys_list(&self, caller: &Principal, account: &str) -> Result<Vec<AccountKey>, Error> {
        Ok(self.inner.account(caller, "iam.serviceAccountKeys.list", account).await?.1.keys())
    }

    /// A key, by its full name.
    ///
    /// # Errors
    /// `InvalidArgument`, `NotFound`, `PermissionDenied`.
    pub async fn keys_get(&self, caller: &Principal, name: &str) -> Result<AccountKey, Error> {
        let (account, id) = parts(name)?;
        let (_, found) = self.inner.account(caller, "iam.serviceAccountKeys.get", account).await?;
        found.keys().into_iter().find(|key| key.held.id == id).ok_or_else(|| missing(name))
    }

    /// Deletes a key. Tokens that it got before go on until they expire, as at Google.
    ///
    /// # Errors
    /// As [`Control::keys_get`].
    pub async fn keys_delete(&self, caller: &Principal, name: &str) -> Result<(), Error> {
        self.key_changed(caller, "iam.serviceAccountKeys.delete", name, |keys, id| keys.retain(|key| key.id != id))
            .await
    }

    /// Lets a key be used again.
    ///
    /// # Errors
    /// As [`Control::keys_get`].
    pub async fn keys_enable(&self, caller: &Principal, name: &str) -> Result<(), Error> {
        self.key_changed(caller, "iam.serviceAccountKeys.enable", name, |keys, id| switch(keys, id, false)).await
    }

    /// Keeps a key from being used.
    ///
    /// # Errors
    /// As [`Control::keys_get`].
    pub async fn keys_disable(&self, caller: &Principal, name: &str) -> Result<(), Error> {
        self.key_changed(caller, "iam.serviceAccountKeys.disable", name, |keys, id| switch(keys, id, true)).await
    }

    async fn key_changed(
        &self,
        caller: &Principal,
        permission: Permission,
        name: &str,
        change: impl Fn(&mut Vec<KeyRecord>, &str),
    ) -> Result<(), Error> {
        let (account, id) = parts(name)?;
        for _ in 0..ATTEMPTS {
            let (permit, found) = self.inner.account(caller, permission, account).await?;
            let mut record = found.record.clone();
            if record.keys.iter().all(|key| key.id != id) {
                return Err(missing(name));
            }
            change(&mut record.keys, id);
            if self.inner.write_account(&permit, found, &record).await?.is_some() {
                return Ok(());
            }
        }
        Err(busy(name))
    }
}

// === impl Found ===

impl Found {
    fn identity(&self) -> AccountIdentity {
        AccountIdentity {
            project: self.project.clone(),
            email: self.email.clone(),
            unique_id: self.record.unique_id.clone(),
            is_enabled: !self.record.disabled,
        }
    }

    fn keys(&self) -> Vec<AccountKey> {
        self.record.keys.iter().map(|key| key.shown(self)).collect()
    }
}

// === impl KeyRecord ===

impl KeyRecord {
    fn of(key: &NewKey) -> Self {
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self {
            id: key.id.clone(),
            certificate: key.certificate.clone(),
            origin: key.origin,
            valid_after: seconds(key.valid_after),
            valid_before: key.valid_before.map(seconds),
            disabled: false,
        }
    }

    /// As those see it who check what it signed.
    pub(super) fn held(&self) -> HeldKey {
        let time = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        HeldKey {
            id: self.id.clone(),
            certificate: self.certificate.clone(),
            valid_after: time(self.valid_after),
            valid_before: self.valid_before.map(time),
            is_enabled: !self.disabled,
        }
    }

    fn shown(&self, account: &Found) -> AccountKey {
        let name = format!("projects/{}/serviceAccounts/{}/keys/{}", account.project, account.email, self.id);
        AccountKey { name, origin: self.origin, held: self.held() }
    }
}

fn switch(keys: &mut [KeyRecord], id: &str, disabled: bool) {
    keys.iter_mut().filter(|key| key.id == id).for_each(|key| key.disabled = disabled);
}

/// Account and id of `projects/{project}/serviceAccounts/{account}/keys/{key}`.
fn parts(name: &str) -> Result<(&str, &str), Error> {
    let found = name.rsplit_once("/keys/").filter(|(_, id)| !id.is_empty() && !id.contains('/'));
    found.ok_or_else(|| {
        let form = "projects/{project}/serviceAccounts/{account}/keys/{key}";
        Error::invalid_field("name", format!("must have the form {form}, got '{name}'"))
    })
}

fn missing(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("Service account key {name} does not exist."))
}
