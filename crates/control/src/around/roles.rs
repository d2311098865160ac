//! Custom roles of projects, and the predefined ones told: the use cases of IAM's `projects.roles` and `roles`.
//!
//! Source: IAM API v1 (`Role`, its methods, its stages), IAM's limits.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use updraft_model::{
    Error, ErrorKind, Violation,
    iam::{Permission, Principal, ROLES, predefined_role},
    name::fnv1a,
};

use super::{ATTEMPTS, ProjectRecord, busy, seconds};
use crate::{Control, access::Permitted, audit, policies::refuse};

/// The most custom roles of a project.
const ROLES_MAX: usize = 300;
/// The most that title, description and permissions of a role may take together, in bytes.
const SIZE_MAX: usize = 64 * 1024;
/// The longest title, in bytes.
const TITLE_MAX: usize = 100;
/// The most permissions of a role.
const PERMISSIONS_MAX: usize = 3000;
/// The most roles of one page; fewer when the client says so.
const PAGE_MAX: usize = 1000;
const PAGE_DEFAULT: usize = 300;
/// How long a role that was deleted can be taken back, in seconds.
const UNDELETE_WITHIN: u64 = 7 * 24 * 3600;
/// How long its id is taken, from its deletion on, in seconds.
const ID_TAKEN: u64 = 37 * 24 * 3600;
/// What becomes of a role on its way; one that is disabled grants nothing.
const STAGES: [&str; 6] = ["ALPHA", "BETA", "GA", "DEPRECATED", "DISABLED", "EAP"];

/// What is written down of a custom role.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RoleRecord {
    title: String,
    description: String,
    /// What it grants, sorted.
    pub(crate) permissions: Vec<String>,
    stage: String,
    /// When it was deleted, in seconds since 1970.
    deleted: Option<u64>,
    /// Counts its changes.
    version: u64,
}

/// A role as clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Role {
    /// `projects/{project}/roles/{role}` or `roles/{role}`.
    pub name: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it grants, sorted; left out of lists that do not ask for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub included_permissions: Vec<String>,
    /// How far it has come, such as `GA`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stage: String,
    /// Changes with every change, in base64.
    pub etag: String,
    /// It is deleted, and can still be taken back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

/// A page of roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Roles {
    /// By name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Role>,
    /// Of the next page; empty at the end.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub next_page_token: String,
}

/// Which part of a list of roles, and how much of each.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// At most so many; 0 means the default.
    pub size: usize,
    /// Where to go on; empty at the beginning.
    pub token: String,
    /// `FULL` shows what each role grants.
    pub view: String,
    /// `true` shows those that are deleted, too.
    pub show_deleted: String,
}

/// What a client writes of a role. What it leaves open is not changed.
#[derive(Debug, Clone, Default)]
pub struct RoleChange {
    /// For people.
    pub title: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// What it grants.
    pub permissions: Option<Vec<String>>,
    /// How far it has come; empty means `ALPHA`.
    pub stage: Option<String>,
    /// The etag it was read with; empty when that does not matter.
    pub etag: String,
}

// === impl Control ===

impl Control {
    /// Makes a custom role in `parent`, which is `projects/{project}`.
    ///
    /// # Errors
    /// `InvalidArgument` with every broken rule, `AlreadyExists`, `FailedPrecondition` for the id of one that was deleted
    /// not long ago, `ResourceExhausted`, `PermissionDenied`.
    pub async fn roles_create(
        &self,
        caller: &Principal,
        parent: &str,
        (id, role): (&str, RoleChange),
    ) -> Result<Role, Error> {
        let project = parent.strip_prefix("projects/").unwrap_or(parent);
        for _ in 0..ATTEMPTS {
            let (project, permit) = self.inner.permitted(caller, "iam.roles.create", ("parent", project)).await?;
            let mut record = ProjectRecord::of(permit.found())?;
            let now = seconds(self.inner.clock.now());
            record.roles.retain(|_, role| !role.is_forgotten(now));
            check_id(id)?;
            audit::makes(format!("projects/{project}/roles/{id}"));
            match record.roles.get(id) {
                Some(there) if there.deleted.is_none() => {
                    let message = format!("A role named {id} in projects/{project} already exists.");
                    return Err(Error::new(ErrorKind::AlreadyExists, message));
                }
                Some(_) => {
                    let message = format!(
                        "You can't create a role with role_id ({id}) where there is an existing role with that role_id in a deleted state."
                    );
                    return Err(Error::new(ErrorKind::FailedPrecondition, message));
                }
                None if record.roles.len() >= ROLES_MAX => {
                    let message = format!("Maximum number of roles reached. Maximum is: {ROLES_MAX}");
                    return Err(Error::new(ErrorKind::ResourceExhausted, message));
                }
                None => {}
            }
            let made = RoleRecord::default().changed(role.clone())?;
            let shown = made.shown(&project, id);
            record.roles.insert(id.to_owned(), made);
            if self.inner.write_project(&permit, &project, &record, Vec::new()).await?.is_some() {
                return Ok(shown);
            }
        }
        Err(busy(id))
    }

    /// A custom role, also one that is deleted and can still be taken back.
    ///
    /// # Errors
    /// `InvalidArgument` for a malformed name, `NotFound`, `PermissionDenied`.
    pub async fn roles_get(&self, caller: &Principal, name: &str) -> Result<Role, Error> {
        let (project, id, permit) = self.permitted_role(caller, "iam.roles.get", name).await?;
        let (record, now) = (ProjectRecord::of(permit.found())?, seconds(self.inner.clock.now()));
        let role = record.roles.get(&id).filter(|role| !role.is_gone(now)).ok_or_else(|| missing(name))?;
        Ok(role.shown(&project, &id))
    }

    /// The custom roles of a project.
    ///
    /// # Errors
    /// `InvalidArgument` for a bad token, `PermissionDenied`.
    pub async fn roles_list(&self, caller: &Principal, parent: &str, page: &Page) -> Result<Roles, Error> {
        let project = parent.strip_prefix("projects/").unwrap_or(parent);
        let (project, permit) = self.inner.permitted(caller, "iam.roles.list", ("parent", project)).await?;
        let (record, now) = (ProjectRecord::of(permit.found())?, seconds(self.inner.clock.now()));
        let shows_deleted = page.show_deleted == "true";
        let there = record.roles.iter().filter(|(_, role)| !role.is_gone(now));
        let wanted = there.filter(|(_, role)| shows_deleted || role.deleted.is_none());
        page.of(wanted.map(|(id, role)| role.shown(&project, id)).collect())
    }

    /// Changes a custom role.
    ///
    /// # Errors
    /// `InvalidArgument` with every broken rule, `NotFound`, `PermissionDenied`, `Aborted` when the etag is not the
    /// current one.
    pub async fn roles_update(&self, caller: &Principal, name: &str, change: &RoleChange) -> Result<Role, Error> {
        let work = |role: &RoleRecord, _: u64| role.changed(change.clone());
        self.role_changed(caller, ("iam.roles.update", name), &change.etag, work).await
    }

    /// Deletes a custom role: it grants nothing from now on, and can be taken back for seven days.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `Aborted` when the etag is not the current one.
    pub async fn roles_delete(&self, caller: &Principal, name: &str, etag: &str) -> Result<Role, Error> {
        let work = |role: &RoleRecord, now: u64| {
            let deleted = Some(role.deleted.unwrap_or(now));
            Ok(RoleRecord { deleted, version: role.version + 1, ..role.clone() })
        };
        self.role_changed(caller, ("iam.roles.delete", name), etag, work).await
    }

    /// Takes back a custom role that was deleted.
    ///
    /// # Errors
    /// `NotFound`, `FailedPrecondition` for one that is not deleted, `PermissionDenied`, `Aborted` when the etag is not the
    /// current one.
    pub async fn roles_undelete(&self, caller: &Principal, name: &str, etag: &str) -> Result<Role, Error> {
        let work = |role: &RoleRecord, _: u64| match role.deleted {
            Some(_) => Ok(RoleRecord { deleted: None, version: role.version + 1, ..role.clone() }),
            None => {
                let message = format!("The role named {name} is not deleted.");
                Err(Error::new(ErrorKind::FailedPrecondition, message))
            }
        };
        self.role_changed(caller, ("iam.roles.undelete", name), etag, work).await
    }

    async fn role_changed(
        &self,
        caller: &Principal,
        (permission, name): (Permission, &str),
        etag: &str,
        work: impl Fn(&RoleRecord, u64) -> Result<RoleRecord, Error>,
    ) -> Result<Role, Error> {
        for _ in 0..ATTEMPTS {
            let (project, id, permit) = self.permitted_role(caller, permission, name).await?;
            let (mut record, now) = (ProjectRecord::of(permit.found())?, seconds(self.inner.clock.now()));
            let before = record.roles.get(&id).filter(|role| !role.is_gone(now)).ok_or_else(|| missing(name))?;
            if !etag.is_empty() && etag != before.etag(&id) {
                return Err(crate::failure::etag_mismatch(name));
            }
            let after = work(before, now)?;
            let shown = after.shown(&project, &id);
            record.roles.insert(id, after);
            if self.inner.write_project(&permit, &project, &record, Vec::new()).await?.is_some() {
                return Ok(shown);
            }
        }
        Err(busy(name))
    }

    async fn permitted_role(
        &self,
        caller: &Principal,
        permission: Permission,
        name: &str,
    ) -> Result<(String, String, Permitted), Error> {
        let ["projects", project, "roles", id] = name.split('/').collect::<Vec<_>>()[..] else {
            let rule = format!("must have the form projects/{{project}}/roles/{{role}}, got '{name}'");
            return Err(Error::invalid_field("name", rule));
        };
        let (project, permit) = self.inner.permitted(caller, permission, ("name", project)).await?;
        Ok((project, id.to_owned(), permit))
    }
}

/// A predefined role.
///
/// # Errors
/// `NotFound`.
pub fn predefined(name: &str) -> Result<Role, Error> {
    predefined_role(name).map(of_predefined).ok_or_else(|| missing(name))
}

/// The predefined roles.
///
/// # Errors
/// `InvalidArgument` for a bad token.
pub fn predefined_roles(page: &Page) -> Result<Roles, Error> {
    page.of(ROLES.iter().map(of_predefined).collect())
}

fn of_predefined(role: &updraft_model::iam::Role) -> Role {
    Role {
        name: role.name.to_owned(),
        title: role.title.to_owned(),
        description: String::new(),
        included_permissions: role.permissions().into_iter().map(str::to_owned).collect(),
        stage: "GA".to_owned(),
        etag: "AA==".to_owned(),
        deleted: false,
    }
}

fn missing(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("The role named {name} was not found."))
}

fn check_id(id: &str) -> Result<(), Error> {
    let is_sound = (3..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'));
    if is_sound {
        return Ok(());
    }
    let rule = format!("must be 3 to 64 letters, digits, underscores and periods, got '{id}'");
    Err(Error::invalid_field("roleId", rule))
}

// === impl Page ===

impl Page {
    /// The part of all roles, which are in the order of their names, that is on this page.
    fn of(&self, all: Vec<Role>) -> Result<Roles, Error> {
        let after = STANDARD.decode(&self.token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let after =
            after.ok_or_else(|| Error::invalid_field("pageToken", "must be a token that this list gave out"))?;
        let size = if self.size == 0 { PAGE_DEFAULT } else { self.size.min(PAGE_MAX) };
        let mut roles: Vec<Role> = all.into_iter().filter(|role| role.name > after).collect();
        let more = roles.len() > size;
        roles.truncate(size);
        if self.view != "FULL" {
            roles.iter_mut().for_each(|role| role.included_permissions.clear());
        }
        let last = roles.last().filter(|_| more).map(|last| STANDARD.encode(&last.name));
        Ok(Roles { roles, next_page_token: last.unwrap_or_default() })
    }
}

// === impl RoleRecord ===

impl RoleRecord {
    /// Does it grant what it has?
    pub(crate) fn is_in_force(&self) -> bool {
        self.deleted.is_none() && self.stage != "DISABLED"
    }

    /// Is it deleted for good?
    fn is_gone(&self, now: u64) -> bool {
        self.deleted.is_some_and(|then| now >= then.saturating_add(UNDELETE_WITHIN))
    }

    /// Is its id free again?
    fn is_forgotten(&self, now: u64) -> bool {
        self.deleted.is_some_and(|then| now >= then.saturating_add(ID_TAKEN))
    }

    fn changed(&self, change: RoleChange) -> Result<Self, Error> {
        let mut after = self.clone();
        after.title = change.title.unwrap_or(after.title);
        after.description = change.description.unwrap_or(after.description);
        after.permissions = change.permissions.unwrap_or(after.permissions);
        after.permissions.sort_unstable();
        after.permissions.dedup();
        after.stage = change.stage.unwrap_or(after.stage);
        if after.stage.is_empty() {
            STAGES[0].clone_into(&mut after.stage);
        }
        after.version += 1;
        refuse(after.broken_rules())?;
        Ok(after)
    }

    fn broken_rules(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut at_most = |field: &str, max: usize, got: usize, what: &str| {
            if got > max {
                found.push(Violation::new(field, format!("must have at most {max} {what}, got {got}")));
            }
        };
        at_most("role.title", TITLE_MAX, self.title.len(), "bytes");
        at_most("role.includedPermissions", PERMISSIONS_MAX, self.permissions.len(), "permissions");
        let names: usize = self.permissions.iter().map(String::len).sum();
        at_most("role", SIZE_MAX, self.title.len() + self.description.len() + names, "bytes");
        // Whether another product of Google's has it cannot be known here; what is not here grants nothing.
        for permission in self.permissions.iter().filter(|permission| !is_permission(permission)) {
            let rule = format!("Permission {permission} is not valid.");
            found.push(Violation::new("role.includedPermissions", rule));
        }
        if !STAGES.contains(&self.stage.as_str()) {
            let rule = format!("must be one of {}, got '{}'", STAGES.join(", "), self.stage);
            found.push(Violation::new("role.stage", rule));
        }
        found
    }

    fn etag(&self, id: &str) -> String {
        STANDARD.encode(fnv1a(format!("{id}/{}", self.version).as_bytes()).to_be_bytes())
    }

    fn shown(&self, project: &str, id: &str) -> Role {
        Role {
            name: format!("projects/{project}/roles/{id}"),
            title: self.title.clone(),
            description: self.description.clone(),
            included_permissions: self.permissions.clone(),
            stage: self.stage.clone(),
            etag: self.etag(id),
            deleted: self.deleted.is_some(),
        }
    }
}

/// `run.services.get`, `iam.googleapis.com/workforcePools.list`.
fn is_permission(name: &str) -> bool {
    let is_word =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '/'));
    (3..=5).contains(&name.split('.').count()) && name.split('.').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_a_role_are_told_field_by_field() {
        let change = RoleChange {
            title: Some("x".repeat(101)),
            permissions: Some(vec!["run.services.*".to_owned(), "run".to_owned(), "run.services.get".to_owned()]),
            stage: Some("FINAL".to_owned()),
            ..RoleChange::default()
        };
        let error = RoleRecord::default().changed(change).expect_err("breaks rules");
        let fields: Vec<&str> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["role.title", "role.includedPermissions", "role.includedPermissions", "role.stage"]);
        assert!(check_id("ok.Role_1").is_ok() && check_id("no").is_err() && check_id("a-b-c").is_err());
        assert!(is_permission("iam.googleapis.com/workforcePools.list"));
    }

    #[test]
    fn predefined_roles_are_told_page_by_page() {
        let first = predefined_roles(&Page { size: 5, ..Page::default() }).expect("a page");
        assert!(first.roles.len() == 5 && first.roles.iter().all(|role| role.included_permissions.is_empty()));
        let token = first.next_page_token;
        let rest = predefined_roles(&Page { token, view: "FULL".to_owned(), ..Page::default() }).expect("a page");
        assert_eq!((rest.roles.len() + 5, rest.next_page_token.as_str()), (ROLES.len(), ""));
        assert!(rest.roles.iter().all(|role| !role.included_permissions.is_empty()));
        assert!(predefined("roles/run.viewer").is_ok() && predefined("roles/none").is_err());
    }
}
