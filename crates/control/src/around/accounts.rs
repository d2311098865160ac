//! Service accounts: the use cases of IAM, without their keys.
//!
//! Source: IAM API v1 (`ServiceAccount`, its methods and limits).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use updraft_model::{
    Error, ErrorKind, Parent, Violation,
    account::{default_email, default_unique_id},
    iam::{Permission, Principal},
    name::fnv1a,
};
use updraft_store::{Change, Envelope, Key, Kind, Page, Selection};

use super::{ATTEMPTS, GLOBAL, busy, keys::KeyRecord};
use crate::{
    Control, Inner,
    access::{Permitted, Resource, account_project},
    audit,
    failure::{etag_mismatch, of_store},
    record::{self, PolicyRecord},
};

/// The most accounts of a project; Google's default quota.
const ACCOUNTS_MAX: usize = 100;
/// Limits of texts, in bytes.
const DISPLAY_NAME_MAX: usize = 100;
const DESCRIPTION_MAX: usize = 256;
/// The most accounts of one page.
const PAGE_MAX: usize = 100;

/// A service account as clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccount {
    /// `projects/{project}/serviceAccounts/{email}`.
    pub name: String,
    /// The project's id.
    pub project_id: String,
    /// 21 digits, never used again.
    pub unique_id: String,
    /// Its address, by which policies name it.
    pub email: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub display_name: String,
    /// Changes with every change, in base64.
    pub etag: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The same as `unique_id`.
    pub oauth2_client_id: String,
    /// It may not be used.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

/// A page of service accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Accounts {
    /// By address.
    pub accounts: Vec<ServiceAccount>,
    /// Of the next page; empty at the end.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub next_page_token: String,
}

/// A service account to be made.
#[derive(Debug, Clone, Default)]
pub struct NewAccount {
    /// What its address begins with.
    pub id: String,
    /// For people.
    pub display_name: String,
    /// For people.
    pub description: String,
}

/// What is to be changed of a service account.
#[derive(Debug, Clone, Default)]
pub struct AccountChange {
    /// Another name for people.
    pub display_name: Option<String>,
    /// Another text for people.
    pub description: Option<String>,
    /// May it be used?
    pub disabled: Option<bool>,
    /// The etag it was read with; empty when that does not matter.
    pub etag: String,
}

/// What is written down of an account.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AccountRecord {
    pub(crate) unique_id: String,
    display_name: String,
    description: String,
    /// It may not be used.
    pub(crate) disabled: bool,
    /// Its policy: who may use it.
    pub(crate) policy: PolicyRecord,
    /// The keys that others hold of it.
    pub(super) keys: Vec<KeyRecord>,
}

/// An account that is there.
pub(super) struct Found {
    pub(super) project: String,
    pub(super) email: String,
    /// The default account has none before it is changed.
    envelope: Option<Envelope>,
    pub(super) record: AccountRecord,
}

// === impl Control ===

impl Control {
    /// Makes a service account.
    ///
    /// # Errors
    /// `InvalidArgument` with every broken rule, `AlreadyExists`, `ResourceExhausted`, `PermissionDenied`.
    pub async fn accounts_create(
        &self,
        caller: &Principal,
        parent: &str,
        account: NewAccount,
    ) -> Result<ServiceAccount, Error> {
        let inner = &*self.inner;
        let project = parent.strip_prefix("projects/").unwrap_or(parent);
        let (project, permit) = inner.permitted(caller, "iam.serviceAccounts.create", ("name", project)).await?;
        check_new(&account)?;
        let email = format!("{}@{}", account.id, domain(&project));
        audit::makes(format!("projects/{project}/serviceAccounts/{email}"));
        if inner.accounts(&permit, &project).await?.len() > ACCOUNTS_MAX {
            let message = format!("Maximum number of service accounts on project {project} reached.");
            return Err(Error::new(ErrorKind::ResourceExhausted, message));
        }
        let (unique, now) = (uuid::Uuid::new_v4().as_u128(), inner.clock.now());
        let record = AccountRecord {
            unique_id: format!("1{:020}", unique % 10u128.pow(20)),
            display_name: account.display_name,
            description: account.description,
            ..AccountRecord::default()
        };
        let mut envelope = record::envelope(key(&project, &email), "", now);
        envelope.internal = record::write(&record);
        let project_made: Vec<Change> = inner.places.creation(&project, now).into_iter().collect();
        for rest in [project_made, Vec::new()] {
            let mut changes = vec![Change::Put(Box::new(envelope.clone()))];
            changes.extend(rest);
            if inner.committed(&permit, changes).await?.is_some() {
                inner.accounts.publish(inner.store.open(&permit), &key(&project, &email)).await?;
                return Ok(Found { project, email, envelope: Some(envelope), record }.shown());
            }
            // Somebody made the account, or the project.
            if inner.get(&permit, &key(&project, &email)).await?.is_some() {
                break;
            }
        }
        let message = format!("Service account {} already exists within project projects/{project}.", account.id);
        Err(Error::new(ErrorKind::AlreadyExists, message))
    }

    /// A service account, by its address or unique id; the project may be `-`.
    ///
    /// # Errors
    /// `InvalidArgument`, `NotFound`, `PermissionDenied`.
    pub async fn accounts_get(&self, caller: &Principal, name: &str) -> Result<ServiceAccount, Error> {
        let (_, found) = self.inner.account(caller, "iam.serviceAccounts.get", name).await?;
        Ok(found.shown())
    }

    /// The service accounts of a project, the default one of its instances among them.
    ///
    /// # Errors
    /// `InvalidArgument`, `PermissionDenied`.
    pub async fn accounts_list(
        &self,
        caller: &Principal,
        parent: &str,
        (size, token): (usize, &str),
    ) -> Result<Accounts, Error> {
        let project = parent.strip_prefix("projects/").unwrap_or(parent);
        let (project, permit) = self.inner.permitted(caller, "iam.serviceAccounts.list", ("name", project)).await?;
        let after = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let after =
            after.ok_or_else(|| Error::invalid_field("pageToken", "must be a token that this list gave out"))?;
        let size = if size == 0 { PAGE_MAX } else { size.min(PAGE_MAX) };
        let all = self.inner.accounts(&permit, &project).await?;
        let mut accounts: Vec<ServiceAccount> =
            all.iter().map(Found::shown).filter(|found| found.email > after).collect();
        let more = accounts.len() > size;
        accounts.truncate(size);
        let last = accounts.last().filter(|_| more).map(|last| STANDARD.encode(&last.email));
        Ok(Accounts { accounts, next_page_token: last.unwrap_or_default() })
    }

    /// Changes a service account. `permission` is what the method needs.
    ///
    /// # Errors
    /// `InvalidArgument`, `NotFound`, `PermissionDenied`, `Aborted` when the etag is not the current one.
    pub async fn accounts_change(
        &self,
        caller: &Principal,
        (name, permission): (&str, Permission),
        change: &AccountChange,
    ) -> Result<ServiceAccount, Error> {
        check_texts(change.display_name.as_deref(), change.description.as_deref())?;
        for _ in 0..ATTEMPTS {
            let (permit, found) = self.inner.account(caller, permission, name).await?;
            if !change.etag.is_empty() && change.etag != found.record.etag() {
                return Err(etag_mismatch(&found.email));
            }
            let mut record = found.record.clone();
            record.display_name = change.display_name.clone().unwrap_or(record.display_name);
            record.description = change.description.clone().unwrap_or(record.description);
            record.disabled = change.disabled.unwrap_or(record.disabled);
            let after = Found {
                project: found.project.clone(),
                email: found.email.clone(),
                envelope: None,
                record: record.clone(),
            };
            if self.inner.write_account(&permit, found, &record).await?.is_some() {
                return Ok(after.shown());
            }
        }
        Err(busy(name))
    }

    /// Deletes a service account; gives its unique id back, by which others may keep something of it. All policies that name
    /// it, those of other projects too, name it as deleted from then on, so that a later account of the same address gets
    /// nothing that this one was given.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `FailedPrecondition` for the default one.
    pub async fn accounts_delete(&self, caller: &Principal, name: &str) -> Result<String, Error> {
        for _ in 0..ATTEMPTS {
            let (permit, found) = self.inner.account(caller, "iam.serviceAccounts.delete", name).await?;
            if found.email == default_email(&found.project) {
                let message = format!("{} is what services run as when they name no account; it stays.", found.email);
                return Err(Error::new(ErrorKind::FailedPrecondition, message));
            }
            let key = key(&found.project, &found.email);
            let mut changes = self.inner.without_account(&permit, &found, &key).await?;
            // This one, and not what somebody may have made under its address meanwhile.
            let resource_version = found.envelope.as_ref().map_or(0, |envelope| envelope.resource_version);
            changes.push(Change::Delete { key: key.clone(), resource_version });
            if self.inner.committed(&permit, changes).await?.is_some() {
                self.inner.accounts.publish(self.inner.store.open(&permit), &key).await?;
                return Ok(found.record.unique_id);
            }
        }
        Err(busy(name))
    }
}

// === impl Inner ===

impl Inner {
    /// The account that `name` means, if `caller` has `permission` on it, by its own policy or its project's.
    pub(super) async fn account(
        &self,
        caller: &Principal,
        permission: Permission,
        name: &str,
    ) -> Result<(Permitted, Found), Error> {
        let resource = self.account_resource(name)?;
        let permit = self.permit(caller, permission, &resource).await?;
        self.permitted_account(permit, name)
    }

    /// The account that a proof is about.
    pub(super) fn permitted_account(&self, mut permit: Permitted, name: &str) -> Result<(Permitted, Found), Error> {
        let (project, account) = self.account_name(name)?;
        let found = match permit.take_found() {
            Some(envelope) => Some(Found::of(&project, envelope)?),
            None if account == default_email(&project) || account == default_unique_id(&project) => {
                Some(Found::default_of(&project))
            }
            None => None,
        };
        let missing = || Error::new(ErrorKind::NotFound, format!("Service account {name} does not exist."));
        Ok((permit, found.ok_or_else(missing)?))
    }

    /// What a permission on an account is asked on.
    pub(super) fn account_resource(&self, name: &str) -> Result<Resource, Error> {
        let (project, account) = self.account_name(name)?;
        Ok(Resource::Account { project: Some(project), account })
    }

    /// Project and address (or unique id) of `projects/{project}/serviceAccounts/{account}`.
    pub(super) fn account_name(&self, name: &str) -> Result<(String, String), Error> {
        let form = "projects/{project}/serviceAccounts/{account}";
        match name.split('/').collect::<Vec<_>>()[..] {
            ["projects", "-", "serviceAccounts", account] => {
                // A unique id says nothing of the project; the book does.
                if let Some(entry) = self.accounts.find(account) {
                    return Ok((entry.project.clone(), account.to_owned()));
                }
                // The address says which project it is of.
                let unknown = || Error::new(ErrorKind::NotFound, format!("Unknown service account {account}"));
                let project = account_project(account).ok_or_else(unknown)?;
                Ok((self.places.project("name", project)?, account.to_owned()))
            }
            ["projects", project, "serviceAccounts", account] if !account.is_empty() => {
                Ok((self.places.project("name", project)?, account.to_owned()))
            }
            _ => Err(Error::invalid_field("name", format!("must have the form {form}, got '{name}'"))),
        }
    }

    /// All accounts of a project, by address.
    async fn accounts(&self, permit: &Permitted, project: &str) -> Result<Vec<Found>, Error> {
        let selection = Selection::of(Kind::ServiceAccount).under(Parent::new(project, GLOBAL));
        let stored = self.store.open(permit).list(&selection, &Page::default()).await.map_err(of_store)?;
        let mut found = Vec::with_capacity(stored.len() + 1);
        for envelope in stored {
            found.push(Found::of(project, envelope)?);
        }
        let default = Found::default_of(project);
        if found.iter().all(|found| found.email != default.email) {
            found.push(default);
        }
        found.sort_by(|a, b| a.email.cmp(&b.email));
        Ok(found)
    }

    /// Writes down what an account is now; `None` when somebody else was faster.
    pub(super) async fn write_account(
        &self,
        permit: &Permitted,
        found: Found,
        record: &AccountRecord,
    ) -> Result<Option<()>, Error> {
        let now = self.clock.now();
        let key = key(&found.project, &found.email);
        let mut envelope = found.envelope.unwrap_or_else(|| record::envelope(key.clone(), "", now));
        envelope.internal = record::write(record);
        envelope.updated = now;
        let written = self.committed(permit, vec![Change::Put(Box::new(envelope))]).await?;
        if written.is_some() {
            self.accounts.publish(self.store.open(permit), &key).await?;
        }
        Ok(written)
    }
}

// === impl Found ===

impl Found {
    fn of(project: &str, envelope: Envelope) -> Result<Self, Error> {
        let record = record::read(&envelope)?;
        Ok(Self { project: project.to_owned(), email: envelope.key.name.clone(), envelope: Some(envelope), record })
    }

    /// The default account of a project before anybody changed it.
    fn default_of(project: &str) -> Self {
        let record = AccountRecord {
            unique_id: default_unique_id(project),
            display_name: "Default compute service account".to_owned(),
            ..AccountRecord::default()
        };
        Self { project: project.to_owned(), email: default_email(project), envelope: None, record }
    }

    fn shown(&self) -> ServiceAccount {
        let record = self.record.clone();
        ServiceAccount {
            name: format!("projects/{}/serviceAccounts/{}", self.project, self.email),
            project_id: self.project.clone(),
            etag: record.etag(),
            oauth2_client_id: record.unique_id.clone(),
            unique_id: record.unique_id,
            email: self.email.clone(),
            display_name: record.display_name,
            description: record.description,
            disabled: record.disabled,
        }
    }
}

// === impl AccountRecord ===

impl AccountRecord {
    fn etag(&self) -> String {
        let told = (&self.unique_id, &self.display_name, &self.description, self.disabled);
        STANDARD.encode(fnv1a(format!("{told:?}").as_bytes()).to_be_bytes())
    }
}

fn key(project: &str, email: &str) -> Key {
    Key::new(Kind::ServiceAccount, Parent::new(project, GLOBAL), email)
}

fn domain(project: &str) -> String {
    format!("{project}.iam.gserviceaccount.com")
}

fn check_new(account: &NewAccount) -> Result<(), Error> {
    let id = account.id.as_str();
    let is_sound = (6..=30).contains(&id.len())
        && id.starts_with(|c: char| c.is_ascii_lowercase())
        && !id.ends_with('-')
        && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !is_sound {
        let rule =
            "must be 6 to 30 lowercase letters, digits or hyphens, begin with a letter and not end with a hyphen";
        return Err(Error::invalid_field("accountId", format!("{rule}, got '{id}'")));
    }
    check_texts(Some(&account.display_name), Some(&account.description))
}

fn check_texts(display_name: Option<&str>, description: Option<&str>) -> Result<(), Error> {
    let texts = [
        ("serviceAccount.displayName", display_name, DISPLAY_NAME_MAX),
        ("serviceAccount.description", description, DESCRIPTION_MAX),
    ];
    let found: Vec<Violation> = texts
        .into_iter()
        .filter_map(|(field, text, max)| {
            let length = text.map_or(0, str::len);
            (length > max).then(|| Violation::new(field, format!("must have at most {max} bytes, got {length}")))
        })
        .collect();
    if found.is_empty() { Ok(()) } else { Err(Error::invalid(found)) }
}
