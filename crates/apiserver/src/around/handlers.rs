//! One handler per method.

use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Value, json};
use updraft_api::{around::Call, iam};
use updraft_control::{
    Control,
    around::{AccountChange, NewAccount, Project, UsageOperation},
};
use updraft_model::{Error, ErrorKind, iam::Principal};

use super::{Asked, Nothing, credentials, json as message_json, keys, logging, roles};
use crate::{Served, oauth::blocking};

macro_rules! handlers {
    ($($name:literal => $handler:path,)*) => {
        /// Answers a call of `call`.
        pub(super) async fn serve(
            deps: &Served,
            caller: &Principal,
            call: &Call,
            asked: &Asked,
        ) -> Result<Value, Error> {
            match call.name {
                $($name => $handler(deps, caller, asked).await,)*
                name => Err(Error::new(ErrorKind::Unimplemented, format!("{name} is not implemented"))),
            }
        }

        /// The methods that have a handler.
        #[cfg(test)]
        const HANDLED: &[&str] = &[$($name),*];
    };
}

handlers! {
    "ServiceUsage/GetService" => usage_get,
    "ServiceUsage/ListServices" => usage_list,
    "ServiceUsage/EnableService" => usage_enable,
    "ServiceUsage/DisableService" => usage_disable,
    "ServiceUsage/BatchEnableServices" => usage_batch_enable,
    "Operations/GetOperation" => usage_operation,
    "Projects/ListProjects" => projects_list,
    "Projects/SearchProjects" => projects_search,
    "Projects/GetProject" => projects_get,
    "Projects/GetAncestry" => projects_ancestry,
    "Projects/GetIamPolicy" => projects_get_policy,
    "Projects/SetIamPolicy" => projects_set_policy,
    "Projects/TestIamPermissions" => projects_test,
    "IAM/CreateServiceAccount" => accounts_create,
    "IAM/ListServiceAccounts" => accounts_list,
    "IAM/GetServiceAccount" => accounts_get,
    "IAM/PatchServiceAccount" => accounts_patch,
    "IAM/UpdateServiceAccount" => accounts_update,
    "IAM/DeleteServiceAccount" => accounts_delete,
    "IAM/EnableServiceAccount" => accounts_enable,
    "IAM/DisableServiceAccount" => accounts_disable,
    "IAM/GetIamPolicy" => accounts_get_policy,
    "IAM/SetIamPolicy" => accounts_set_policy,
    "IAM/TestIamPermissions" => accounts_test,
    "IAM/CreateRole" => roles::create,
    "IAM/ListRoles" => roles::list,
    "IAM/GetRole" => roles::get,
    "IAM/UpdateRole" => roles::update,
    "IAM/DeleteRole" => roles::delete,
    "IAM/UndeleteRole" => roles::undelete,
    "IAM/ListRoles(predefined)" => roles::list_predefined,
    "IAM/GetRole(predefined)" => roles::get_predefined,
    "IAM/CreateServiceAccountKey" => keys::create,
    "IAM/UploadServiceAccountKey" => keys::upload,
    "IAM/ListServiceAccountKeys" => keys::list,
    "IAM/GetServiceAccountKey" => keys::get,
    "IAM/DeleteServiceAccountKey" => keys::delete,
    "IAM/EnableServiceAccountKey" => keys::enable,
    "IAM/DisableServiceAccountKey" => keys::disable,
    "IAMCredentials/GenerateAccessToken" => credentials::generate_access_token,
    "IAMCredentials/GenerateIdToken" => credentials::generate_id_token,
    "IAMCredentials/SignJwt" => credentials::sign_jwt,
    "IAMCredentials/SignBlob" => credentials::sign_blob,
    "LoggingServiceV2/ListLogEntries" => logging::list_entries,
    "LoggingServiceV2/ListLogs" => logging::list_logs,
}

// === Service Usage ===

async fn usage_get(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    Ok(deps.control.usage_get(caller, asked.field("name")).await?.to_json())
}

async fn usage_list(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    let wanted = match asked.parameter("filter") {
        "" => None,
        "state:ENABLED" => Some(true),
        "state:DISABLED" => Some(false),
        other => {
            let rule = format!("must be state:ENABLED or state:DISABLED, got '{other}'");
            return Err(Error::invalid_field("filter", rule));
        }
    };
    let all = deps.control.usage_list(caller, asked.field("parent")).await?;
    // All fit on one page.
    let shown = all.iter().filter(|usage| wanted.is_none_or(|wanted| usage.is_enabled == wanted));
    Ok(json!({"services": shown.map(|usage| usage.to_json()).collect::<Vec<_>>()}))
}

async fn usage_enable(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    let Nothing {} = asked.body()?;
    Ok(ended(deps.control.usage_enable(caller, asked.field("name")).await?))
}

async fn usage_disable(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    // What depends on an API is not known here, so these change nothing.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Body {
        #[serde(default, rename = "disableDependentServices")]
        _dependent: bool,
        #[serde(default, rename = "checkIfServiceHasUsage")]
        _check: Option<String>,
    }
    let _: Body = asked.body()?;
    Ok(ended(deps.control.usage_disable(caller, asked.field("name")).await?))
}

async fn usage_batch_enable(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Body {
        #[serde(default)]
        service_ids: Vec<String>,
    }
    let body: Body = asked.body()?;
    Ok(ended(deps.control.usage_batch_enable(caller, asked.field("parent"), &body.service_ids).await?))
}

async fn usage_operation(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    Ok(ended(deps.control.usage_operation(caller, asked.field("name")).await?))
}

fn ended(operation: UsageOperation) -> Value {
    json!({"name": operation.name, "done": true, "response": operation.response})
}

// === Resource Manager ===

async fn projects_list(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    let found = filtered(&deps.control, caller, asked.parameter("filter"), "filter").await?;
    Ok(json!({"projects": found.iter().map(v1).collect::<Vec<_>>()}))
}

async fn projects_search(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    let found = filtered(&deps.control, caller, asked.parameter("query"), "query").await?;
    Ok(json!({"projects": found.iter().map(v3).collect::<Vec<_>>()}))
}

async fn projects_get(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    let name = asked.field("name");
    let project = deps.control.projects_get(caller, name).await?;
    // v3 has the whole name in its path.
    Ok(if name.starts_with("projects/") { v3(&project) } else { v1(&project) })
}

async fn projects_ancestry(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    let Nothing {} = asked.body()?;
    let project = deps.control.projects_get(caller, asked.field("name")).await?;
    Ok(json!({"ancestor": [{"resourceId": {"type": "project", "id": project.id}}]}))
}

async fn projects_get_policy(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    message_json(&deps.control.projects_get_iam_policy(caller, get_policy(asked)?).await?)
}

async fn projects_set_policy(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    message_json(&deps.control.projects_set_iam_policy(caller, set_policy(asked)?).await?)
}

async fn projects_test(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    message_json(&deps.control.projects_test_iam_permissions(caller, test(asked)?).await?)
}

/// `lifecycleState:ACTIVE`, `id:demo*` and their like, joined by AND or spaces.
async fn filtered(control: &Control, caller: &Principal, filter: &str, field: &str) -> Result<Vec<Project>, Error> {
    let mut projects = control.projects_list(caller).await?;
    for term in filter.split([' ', '(', ')']).filter(|term| !matches!(*term, "" | "AND")) {
        let refused =
            || Error::invalid_field(field, format!("is about id, name, projectId or state here, got '{term}'"));
        let (key, value) = term.split_once([':', '=']).ok_or_else(refused)?;
        let value = value.trim_matches('"').to_ascii_lowercase();
        match key {
            "lifecycleState" | "state" => projects.retain(|_| matches!(value.as_str(), "active" | "*")),
            "id" | "projectId" | "name" | "displayName" => projects.retain(|project| match value.strip_suffix('*') {
                Some(start) => project.id.starts_with(start),
                None => project.id == value,
            }),
            "projectNumber" => projects.retain(|project| project.number.to_string() == value),
            _ => return Err(refused()),
        }
    }
    Ok(projects)
}

fn v1(project: &Project) -> Value {
    let mut shown = json!({
        "projectNumber": project.number.to_string(),
        "projectId": project.id,
        "lifecycleState": "ACTIVE",
        "name": project.id,
    });
    shown.as_object_mut().into_iter().for_each(|shown| shown.extend(created(project)));
    shown
}

fn v3(project: &Project) -> Value {
    let mut shown = json!({
        "name": format!("projects/{}", project.number),
        "projectId": project.id,
        "state": "ACTIVE",
        "displayName": project.id,
    });
    shown.as_object_mut().into_iter().for_each(|shown| shown.extend(created(project)));
    shown
}

fn created(project: &Project) -> Option<(String, Value)> {
    project.created.map(|time| ("createTime".to_owned(), Value::from(rfc3339(time))))
}

fn rfc3339(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::MAX).to_string()
}

fn get_policy(asked: &Asked) -> Result<iam::GetIamPolicyRequest, Error> {
    let mut request: iam::GetIamPolicyRequest = asked
        .message(|request: &mut iam::GetIamPolicyRequest| asked.field("resource").clone_into(&mut request.resource))?;
    // Of service accounts it is in the query.
    let version = asked.number("options.requestedPolicyVersion")?;
    if version > 0 {
        let requested_policy_version = i32::try_from(version).unwrap_or(i32::MAX);
        request.options = Some(iam::GetPolicyOptions { requested_policy_version });
    }
    Ok(request)
}

fn set_policy(asked: &Asked) -> Result<iam::SetIamPolicyRequest, Error> {
    asked.message(|request: &mut iam::SetIamPolicyRequest| asked.field("resource").clone_into(&mut request.resource))
}

fn test(asked: &Asked) -> Result<iam::TestIamPermissionsRequest, Error> {
    asked.message(|request: &mut iam::TestIamPermissionsRequest| {
        asked.field("resource").clone_into(&mut request.resource)
    })
}

// === IAM ===

/// A `ServiceAccount` as clients send it: what only the server writes is taken and ignored, as Google does.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct AccountBody {
    display_name: Option<String>,
    description: Option<String>,
    etag: String,
    #[serde(rename = "name")]
    _name: Option<String>,
    #[serde(rename = "projectId")]
    _project: Option<String>,
    #[serde(rename = "uniqueId")]
    _unique: Option<String>,
    #[serde(rename = "email")]
    _email: Option<String>,
    #[serde(rename = "oauth2ClientId")]
    _client: Option<String>,
    #[serde(rename = "disabled")]
    _disabled: Option<bool>,
}

async fn accounts_create(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Body {
        #[serde(default)]
        account_id: String,
        #[serde(default)]
        service_account: AccountBody,
    }
    let body: Body = asked.body()?;
    let account = NewAccount {
        id: body.account_id,
        display_name: body.service_account.display_name.unwrap_or_default(),
        description: body.service_account.description.unwrap_or_default(),
    };
    Ok(json!(deps.control.accounts_create(caller, asked.field("name"), account).await?))
}

async fn accounts_list(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    let page = (asked.number("pageSize")?, asked.parameter("pageToken"));
    Ok(json!(deps.control.accounts_list(caller, asked.field("name"), page).await?))
}

async fn accounts_get(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    Ok(json!(deps.control.accounts_get(caller, asked.field("name")).await?))
}

async fn accounts_patch(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Body {
        #[serde(default)]
        service_account: AccountBody,
        #[serde(default)]
        update_mask: String,
    }
    let Body { service_account, update_mask } = asked.body()?;
    let mut change = AccountChange { etag: service_account.etag, ..AccountChange::default() };
    for path in update_mask.split(',').filter(|path| !path.is_empty()) {
        match path {
            "displayName" | "display_name" => {
                change.display_name = Some(service_account.display_name.clone().unwrap_or_default());
            }
            "description" => change.description = Some(service_account.description.clone().unwrap_or_default()),
            "etag" => {}
            other => {
                let rule = format!("may name displayName and description, got '{other}'");
                return Err(Error::invalid_field("updateMask", rule));
            }
        }
    }
    changed(deps, caller, (asked, "iam.serviceAccounts.update"), &change).await
}

async fn accounts_update(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    let body: AccountBody = asked.body()?;
    let change = AccountChange {
        display_name: body.display_name,
        description: body.description,
        disabled: None,
        etag: body.etag,
    };
    changed(deps, caller, (asked, "iam.serviceAccounts.update"), &change).await
}

async fn accounts_delete(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    let unique_id = deps.control.accounts_delete(caller, asked.field("name")).await?;
    let tokens = deps.tokens.clone();
    // Nobody accepts what they sign any more; that they could not be removed is the operator's matter.
    if let Err(error) = blocking(move || tokens.forget(&unique_id)).await {
        tracing::warn!(cause = error.cause(), "the keys of a deleted service account are left");
    }
    Ok(json!({}))
}

async fn accounts_enable(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    let Nothing {} = asked.body()?;
    let change = AccountChange { disabled: Some(false), ..AccountChange::default() };
    changed(deps, caller, (asked, "iam.serviceAccounts.enable"), &change).await.map(|_| json!({}))
}

async fn accounts_disable(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    let Nothing {} = asked.body()?;
    let change = AccountChange { disabled: Some(true), ..AccountChange::default() };
    changed(deps, caller, (asked, "iam.serviceAccounts.disable"), &change).await.map(|_| json!({}))
}

async fn changed(
    deps: &Served,
    caller: &Principal,
    (asked, permission): (&Asked, &'static str),
    change: &AccountChange,
) -> Result<Value, Error> {
    Ok(json!(deps.control.accounts_change(caller, (asked.field("name"), permission), change).await?))
}

async fn accounts_get_policy(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    message_json(&deps.control.accounts_get_iam_policy(caller, get_policy(asked)?).await?)
}

async fn accounts_set_policy(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    message_json(&deps.control.accounts_set_iam_policy(caller, set_policy(asked)?).await?)
}

async fn accounts_test(deps: &Served, caller: &Principal, asked: &Asked) -> Result<Value, Error> {
    message_json(&deps.control.accounts_test_iam_permissions(caller, test(asked)?).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_has_its_handler() {
        let rows: Vec<&str> = updraft_api::around::CALLS.iter().map(|call| call.name).collect();
        assert_eq!(rows, HANDLED);
    }
}
