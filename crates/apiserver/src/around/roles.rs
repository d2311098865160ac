//! IAM: custom roles, and the predefined ones.

use serde::Deserialize;
use serde_json::{Value, json};
use updraft_control::around::{RoleChange, RolesPage, predefined, predefined_roles};
use updraft_model::{Error, iam::Principal};

use super::Asked;
use crate::Served;

/// A `Role` as clients send it: what only the server writes is taken and ignored, as Google does.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct RoleBody {
    title: Option<String>,
    description: Option<String>,
    included_permissions: Option<Vec<String>>,
    stage: Option<Stage>,
    etag: String,
    #[serde(rename = "name")]
    _name: Option<String>,
    #[serde(rename = "deleted")]
    _deleted: Option<bool>,
}

/// A stage, by its name or its number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stage {
    Name(String),
    Number(usize),
}

pub(super) async fn create(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Body {
        #[serde(default)]
        role_id: String,
        #[serde(default)]
        role: RoleBody,
    }
    let body: Body = asked.body()?;
    let made = deps.control.roles_create(caller, asked.field("parent"), (&body.role_id, body.role.change()?)).await?;
    Ok(json!(made))
}

pub(super) async fn get(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    Ok(json!(deps.control.roles_get(caller, asked.field("name")).await?))
}

pub(super) async fn list(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    Ok(json!(deps.control.roles_list(caller, asked.field("parent"), &page(asked)?).await?))
}

pub(super) async fn update(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    let body: RoleBody = asked.body()?;
    let sent = body.change()?;
    let mask = asked.parameter("updateMask");
    let mut change = RoleChange { etag: sent.etag.clone(), ..RoleChange::default() };
    for path in mask.split(',').filter(|path| !path.is_empty()) {
        match path {
            "title" => change.title = Some(sent.title.clone().unwrap_or_default()),
            "description" => change.description = Some(sent.description.clone().unwrap_or_default()),
            "includedPermissions" | "included_permissions" => {
                change.permissions = Some(sent.permissions.clone().unwrap_or_default());
            }
            "stage" => change.stage = Some(sent.stage.clone().unwrap_or_default()),
            "etag" => {}
            other => {
                let rule = format!("may name title, description, includedPermissions and stage, got '{other}'");
                return Err(Error::invalid_field("updateMask", rule));
            }
        }
    }
    let change = if mask.is_empty() { sent } else { change };
    Ok(json!(deps.control.roles_update(caller, asked.field("name"), &change).await?))
}

pub(super) async fn delete(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    Ok(json!(deps.control.roles_delete(caller, asked.field("name"), asked.parameter("etag")).await?))
}

pub(super) async fn undelete(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[serde(default)]
        etag: String,
    }
    let body: Body = asked.body()?;
    Ok(json!(deps.control.roles_undelete(caller, asked.field("name"), &body.etag).await?))
}

/// The predefined roles are the same for everybody: nobody is asked.
pub(super) async fn list_predefined(_: &Served, _: &Principal, asked: &Asked) -> Result<Value, Error> {
    // Those that a parent could be given are all of them.
    Ok(json!(predefined_roles(&page(asked)?)?))
}

pub(super) async fn get_predefined(_: &Served, _: &Principal, asked: &Asked) -> Result<Value, Error> {
    Ok(json!(predefined(asked.field("name"))?))
}

fn page(asked: &Asked) -> Result<RolesPage, Error> {
    Ok(RolesPage {
        size: asked.number("pageSize")?,
        token: asked.parameter("pageToken").to_owned(),
        view: asked.parameter("view").to_owned(),
        show_deleted: asked.parameter("showDeleted").to_owned(),
    })
}

// === impl RoleBody ===

impl RoleBody {
    fn change(self) -> Result<RoleChange, Error> {
        let stage = match self.stage {
            None => None,
            Some(Stage::Name(name)) => Some(name),
            Some(Stage::Number(number)) => {
                let names = ["ALPHA", "BETA", "GA", "", "DEPRECATED", "DISABLED", "EAP"];
                let name = names.get(number).filter(|name| !name.is_empty());
                let refused = || Error::invalid_field("role.stage", format!("has no such value, got {number}"));
                Some((*name.ok_or_else(refused)?).to_owned())
            }
        };
        Ok(RoleChange {
            title: self.title,
            description: self.description,
            permissions: self.included_permissions,
            stage,
            etag: self.etag,
        })
    }
}
