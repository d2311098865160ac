//! The calls around a deploy, as gcloud sends them.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use updraft_identity::AuthMode;

use super::Server;

/// Sends a call that must succeed.
async fn ok(server: &Server, method: Method, path: &str, body: Value) -> Value {
    let (status, answer) = server.ask(method.clone(), path, body).await;
    assert_eq!(status, StatusCode::OK, "{method} {path}: {answer:#}");
    answer
}

/// Sends a call that must be refused; gives status and message.
async fn refused(server: &Server, method: Method, path: &str, body: Value) -> (String, String) {
    let (status, answer) = server.ask(method, path, body).await;
    assert_ne!(status, StatusCode::OK, "{path}: {answer:#}");
    let error = &answer["error"];
    (error["status"].as_str().expect("a status").to_owned(), error["message"].as_str().expect("a message").to_owned())
}

#[tokio::test]
async fn apis_are_on_by_themselves_or_switched_on_and_the_operation_can_be_read() {
    let server = Server::start(AuthMode::None).await;
    let run = ok(&server, Method::GET, "/v1/projects/demo-project/services/run.googleapis.com", Value::Null).await;
    let number = updraft_model::name::project_number("demo-project");
    assert_eq!(run["name"], format!("projects/{number}/services/run.googleapis.com"));
    assert_eq!((&run["state"], &run["config"]["name"]), (&json!("ENABLED"), &json!("run.googleapis.com")));

    let sql = "/serviceusage/v1/projects/demo-project/services/sqladmin.googleapis.com";
    assert_eq!(ok(&server, Method::GET, sql, Value::Null).await["state"], "DISABLED");
    let body = json!({"serviceIds": ["sqladmin.googleapis.com", "run.googleapis.com"]});
    let batch = "/v1/projects/demo-project/services:batchEnable";
    let operation = ok(&server, Method::POST, batch, body).await;
    assert_eq!(operation["done"], true);
    assert_eq!(operation["response"]["services"][0]["state"], "ENABLED");
    let name = operation["name"].as_str().expect("a name");
    assert_eq!(ok(&server, Method::GET, &format!("/v1/{name}"), Value::Null).await, operation);
    assert_eq!(ok(&server, Method::GET, sql, Value::Null).await["state"], "ENABLED");

    ok(&server, Method::POST, &format!("{sql}:disable"), json!({"disableDependentServices": false})).await;
    assert_eq!(ok(&server, Method::GET, sql, Value::Null).await["state"], "DISABLED");
    let path = "/v1/projects/demo-project/services?filter=state:ENABLED&pageSize=200";
    let list = ok(&server, Method::GET, path, Value::Null).await;
    assert!(list["services"].as_array().expect("a list").iter().all(|service| service["state"] == "ENABLED"));

    let (status, message) = refused(&server, Method::POST, batch, json!({"serviceIds": []})).await;
    assert!(status == "INVALID_ARGUMENT" && message.contains("serviceIds"), "{message}");
    let made_up = format!("/v1/operations/acf.p2-{number}-made-up");
    assert_eq!(refused(&server, Method::GET, &made_up, Value::Null).await.0, "NOT_FOUND");
    assert_eq!(refused(&server, Method::GET, "/v1/operations/x", Value::Null).await.0, "NOT_FOUND");
}

#[tokio::test]
async fn projects_are_read_by_id_and_number_in_both_versions() {
    let server = Server::start(AuthMode::None).await;
    let number = updraft_model::name::project_number("demo-project");
    let by_id = ok(&server, Method::GET, "/v1/projects/demo-project", Value::Null).await;
    assert_eq!((&by_id["projectId"], &by_id["lifecycleState"]), (&json!("demo-project"), &json!("ACTIVE")));
    assert_eq!(by_id["projectNumber"], number.to_string());
    let by_number = format!("/cloudresourcemanager/v1/projects/{number}");
    assert_eq!(ok(&server, Method::GET, &by_number, Value::Null).await, by_id);
    let newer = ok(&server, Method::GET, "/v3/projects/demo-project", Value::Null).await;
    assert_eq!((&newer["name"], &newer["state"]), (&json!(format!("projects/{number}")), &json!("ACTIVE")));
    let filter = "/v1/projects?filter=lifecycleState:ACTIVE+AND+(id:demo*)";
    let list = ok(&server, Method::GET, filter, Value::Null).await;
    assert_eq!(list["projects"], json!([by_id]));
    assert_eq!(ok(&server, Method::GET, "/v1/projects?filter=id:x*", Value::Null).await["projects"], json!([]));
    assert_eq!(
        refused(&server, Method::GET, "/v1/projects?filter=labels.a:b", Value::Null).await.0,
        "INVALID_ARGUMENT"
    );
    assert_eq!(refused(&server, Method::GET, "/v1/projects/1234", Value::Null).await.0, "NOT_FOUND");
}

#[tokio::test]
async fn a_projects_policy_is_kept_and_an_old_etag_does_not_overwrite_it() {
    let server = Server::start(AuthMode::None).await;
    let verb = |verb: &str| format!("/v1/projects/demo-project:{verb}");
    let read = json!({"options": {"requestedPolicyVersion": 3}});
    let empty = ok(&server, Method::POST, &verb("getIamPolicy"), read.clone()).await;
    assert!(empty["etag"].is_string() && empty.get("bindings").is_none(), "{empty:#}");
    let member = "serviceAccount:runner@demo-project.iam.gserviceaccount.com";
    let policy = json!({"version": 3, "etag": empty["etag"], "bindings": [
        {"role": "roles/run.invoker", "members": [member]},
    ]});
    let set = ok(&server, Method::POST, &verb("setIamPolicy"), json!({"policy": policy.clone()})).await;
    assert_eq!(set["bindings"], policy["bindings"]);
    assert_ne!(set["etag"], empty["etag"]);
    assert_eq!(ok(&server, Method::POST, &verb("getIamPolicy"), read).await, set);
    assert_eq!(ok(&server, Method::POST, "/v3/projects/demo-project:getIamPolicy", Value::Null).await, set);
    let (status, _) = refused(&server, Method::POST, &verb("setIamPolicy"), json!({"policy": policy})).await;
    assert_eq!(status, "ABORTED");
    let bad = json!({"policy": {"bindings": [{"role": "owner", "members": ["me"]}]}});
    assert_eq!(refused(&server, Method::POST, &verb("setIamPolicy"), bad).await.0, "INVALID_ARGUMENT");
    let asked = json!({"permissions": ["resourcemanager.projects.get", "run.services.setIamPolicy"]});
    assert_eq!(ok(&server, Method::POST, &verb("testIamPermissions"), asked.clone()).await, asked);
}

#[tokio::test]
async fn service_accounts_are_made_changed_listed_and_deleted() {
    let server = Server::start(AuthMode::None).await;
    let accounts = "/v1/projects/demo-project/serviceAccounts";
    let body = json!({"accountId": "runner", "serviceAccount": {"displayName": "Runs things"}});
    let made = ok(&server, Method::POST, accounts, body.clone()).await;
    let email = "runner@demo-project.iam.gserviceaccount.com";
    assert_eq!(made["name"], format!("projects/demo-project/serviceAccounts/{email}"));
    assert_eq!((&made["email"], &made["displayName"]), (&json!(email), &json!("Runs things")));
    assert_eq!(made["uniqueId"].as_str().map(str::len), Some(21));
    let (status, message) = refused(&server, Method::POST, accounts, body).await;
    assert_eq!(status, "ALREADY_EXISTS");
    assert_eq!(message, "Service account runner already exists within project projects/demo-project.");

    // By address, by unique id, and without the project.
    let unique = made["uniqueId"].as_str().expect("digits");
    for path in [
        format!("{accounts}/{email}"),
        format!("{accounts}/{unique}"),
        format!("/iam/v1/projects/-/serviceAccounts/{email}"),
    ] {
        assert_eq!(ok(&server, Method::GET, &path, Value::Null).await, made, "{path}");
    }
    let default =
        format!("{}-compute@developer.gserviceaccount.com", updraft_model::name::project_number("demo-project"));
    let list = ok(&server, Method::GET, &format!("{accounts}?pageSize=1"), Value::Null).await;
    assert_eq!(list["accounts"][0]["email"], default);
    let token = list["nextPageToken"].as_str().expect("there is more");
    let rest = ok(&server, Method::GET, &format!("{accounts}?pageToken={token}"), Value::Null).await;
    assert_eq!(rest, json!({"accounts": [made]}));

    let patch = json!({"serviceAccount": {"description": "new", "etag": made["etag"]}, "updateMask": "description"});
    let path = format!("{accounts}/{email}");
    let patched = ok(&server, Method::PATCH, &path, patch.clone()).await;
    assert_eq!((&patched["description"], &patched["displayName"]), (&json!("new"), &json!("Runs things")));
    assert_eq!(refused(&server, Method::PATCH, &path, patch).await.0, "ABORTED");
    ok(&server, Method::POST, &format!("{path}:disable"), json!({})).await;
    assert_eq!(ok(&server, Method::GET, &path, Value::Null).await["disabled"], true);
    ok(&server, Method::POST, &format!("{path}:enable"), json!({})).await;

    let binding = json!([{"role": "roles/iam.serviceAccountUser", "members": ["user:me@example.com"]}]);
    let set = json!({"policy": {"bindings": binding}});
    ok(&server, Method::POST, &format!("{path}:setIamPolicy"), set).await;
    let read = format!("{path}:getIamPolicy?options.requestedPolicyVersion=3");
    assert_eq!(ok(&server, Method::POST, &read, Value::Null).await["bindings"], binding);

    assert_eq!(ok(&server, Method::DELETE, &path, Value::Null).await, json!({}));
    assert_eq!(refused(&server, Method::GET, &path, Value::Null).await.0, "NOT_FOUND");
    let path = format!("{accounts}/{default}");
    assert_eq!(refused(&server, Method::DELETE, &path, Value::Null).await.0, "FAILED_PRECONDITION");
    for id in ["short", "Upper-case", "ends-with-", &"x".repeat(31)] {
        let (status, message) = refused(&server, Method::POST, accounts, json!({"accountId": id})).await;
        assert!(status == "INVALID_ARGUMENT" && message.contains("accountId") && message.contains(id), "{message}");
    }
}

#[tokio::test]
async fn errors_name_their_api_and_what_is_not_built_says_so() {
    let server = Server::start(AuthMode::None).await;
    let (_, answer) = server
        .ask(
            Method::POST,
            "/v2/entries:list",
            json!({"filter": "severity>=LOUD", "resourceNames": ["projects/demo-project"]}),
        )
        .await;
    assert_eq!(answer["error"]["status"], "INVALID_ARGUMENT");
    assert!(answer["error"]["message"].as_str().expect("text").starts_with("Unparseable filter: "), "{answer:#}");
    assert_eq!(answer["error"]["details"][0]["domain"], "logging.googleapis.com");
    let (_, answer) = server.ask(Method::POST, "/v2/entries:list", json!({"filtre": "x"})).await;
    assert!(answer["error"]["message"].as_str().expect("text").contains("filtre"), "{answer:#}");
    let (status, _) = server.ask(Method::GET, "/pubsub/v1/projects/p/topics", Value::Null).await;
    assert_eq!(status, StatusCode::NOT_IMPLEMENTED);
    let (status, _) = server.ask(Method::PUT, "/v2/entries:list", Value::Null).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    let (status, _) = server.ask(Method::GET, "/iam/v1/nothing", Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn nobody_gets_in_without_the_token() {
    let server = Server::start(AuthMode::Token).await;
    for (method, path) in [
        (Method::GET, "/v1/projects/demo-project"),
        (Method::GET, "/serviceusage/v1/projects/demo-project/services"),
        (Method::POST, "/v2/entries:list"),
        (Method::DELETE, "/iam/v1/projects/-/serviceAccounts/a@demo-project.iam.gserviceaccount.com"),
    ] {
        assert_eq!(refused(&server, method, path, Value::Null).await.0, "UNAUTHENTICATED", "{path}");
    }
}

#[tokio::test]
async fn log_entries_are_listed_by_filter_order_and_page() {
    let server = Server::start(AuthMode::None).await;
    server.write_logs(&["one", r#"{"severity":"ERROR","message":"two"}"#, "three"]).await;
    let list = |body: Value| {
        let mut whole = json!({"resourceNames": ["projects/demo-project"]});
        whole.as_object_mut().expect("an object").extend(body.as_object().expect("an object").clone());
        ok(&server, Method::POST, "/logging/v2/entries:list", whole)
    };
    let texts = |answer: &Value| {
        let entries = answer["entries"].as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| entry["textPayload"].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(texts(&list(json!({"orderBy": "timestamp asc"})).await), ["one", "two", "three"]);
    assert_eq!(texts(&list(json!({"filter": "severity>=ERROR"})).await), ["two"]);
    // What `gcloud run services logs read` sends.
    let filter = "resource.type = cloud_run_revision \n AND resource.labels.service_name = hello \n AND \
                  resource.labels.location = us-central1 \n AND severity >= DEFAULT \n AND \
                  timestamp>=\"2020-01-01T00:00:00.576741Z\"";
    let page = json!({"filter": filter, "orderBy": "timestamp desc", "pageSize": 2});
    let first = list(page.clone()).await;
    assert_eq!(texts(&first), ["three", "two"]);
    let mut next = page;
    next["pageToken"] = first["nextPageToken"].clone();
    let second = list(next.clone()).await;
    assert_eq!(texts(&second), ["one"]);
    assert!(second.get("nextPageToken").is_none(), "{second:#}");
    next["filter"] = json!("severity>=DEFAULT");
    next["resourceNames"] = json!(["projects/demo-project"]);
    let (status, message) = refused(&server, Method::POST, "/v2/entries:list", next).await;
    assert!(status == "INVALID_ARGUMENT" && message.contains("pageToken"), "{message}");
    let logs = ok(&server, Method::GET, "/v2/projects/demo-project/logs", Value::Null).await;
    assert_eq!(logs["logNames"], json!(["projects/demo-project/logs/run.googleapis.com%2Fstdout"]));
}

#[tokio::test]
async fn custom_roles_are_made_changed_told_and_deleted_as_gcloud_does_it() {
    let server = Server::start(AuthMode::None).await;
    let roles = "/iam/v1/projects/demo-project/roles";
    let role = json!({
        "title": "Deployer",
        "description": "Deploys",
        "includedPermissions": ["run.services.update", "run.services.get"],
        "stage": "BETA",
    });
    let made = ok(&server, Method::POST, roles, json!({"roleId": "deployer", "role": role})).await;
    assert_eq!(made["name"], "projects/demo-project/roles/deployer");
    assert_eq!(made["includedPermissions"], json!(["run.services.get", "run.services.update"]), "sorted");
    let path = format!("{roles}/deployer");
    assert_eq!(ok(&server, Method::GET, &path, Value::Null).await, made);
    let change = json!({"title": "Other", "stage": 2, "includedPermissions": [], "etag": made["etag"]});
    let changed = ok(&server, Method::PATCH, &format!("{path}?updateMask=title,stage"), change).await;
    assert_eq!((&changed["title"], &changed["stage"]), (&json!("Other"), &json!("GA")));
    assert_eq!(changed["includedPermissions"], made["includedPermissions"], "not in the mask");
    let stale = refused(&server, Method::DELETE, &format!("{path}?etag=AAAA"), Value::Null).await;
    assert_eq!(stale.0, "ABORTED");
    let list = ok(&server, Method::GET, roles, Value::Null).await;
    assert_eq!((&list["roles"][0]["name"], &list["roles"][0]["includedPermissions"]), (&made["name"], &Value::Null));
    assert_eq!(ok(&server, Method::DELETE, &path, Value::Null).await["deleted"], true);
    assert_eq!(ok(&server, Method::GET, roles, Value::Null).await, json!({}));
    let all = ok(&server, Method::GET, &format!("{roles}?showDeleted=true&view=FULL"), Value::Null).await;
    assert_eq!(all["roles"][0]["includedPermissions"], made["includedPermissions"]);
    ok(&server, Method::POST, &format!("{path}:undelete"), json!({})).await;
    let (status, message) = refused(&server, Method::POST, roles, json!({"roleId": "deployer", "role": {}})).await;
    assert_eq!((status.as_str(), message.contains("already exists")), ("ALREADY_EXISTS", true));
    let bad = json!({"roleId": "x", "role": {"includedPermissions": ["run.*"]}});
    assert_eq!(refused(&server, Method::POST, roles, bad).await.0, "INVALID_ARGUMENT");
    assert_eq!(refused(&server, Method::GET, &format!("{roles}/none"), Value::Null).await.0, "NOT_FOUND");
}

#[tokio::test]
async fn predefined_roles_are_told() {
    let server = Server::start(AuthMode::None).await;
    let invoker = ok(&server, Method::GET, "/v1/roles/run.invoker", Value::Null).await;
    assert_eq!((&invoker["title"], &invoker["stage"]), (&json!("Cloud Run Invoker"), &json!("GA")));
    let granted = invoker["includedPermissions"].as_array().expect("a list");
    assert!(granted.contains(&json!("run.routes.invoke")));
    let first = ok(&server, Method::GET, "/iam/v1/roles?pageSize=3", Value::Null).await;
    assert_eq!(first["roles"].as_array().map(Vec::len), Some(3));
    let next = format!("/v1/roles?pageToken={}", first["nextPageToken"].as_str().expect("there are more"));
    let rest = ok(&server, Method::GET, &next, Value::Null).await;
    assert!(rest["roles"].as_array().is_some_and(|roles| roles.len() > 30) && rest["nextPageToken"].is_null());
    assert_eq!(refused(&server, Method::GET, "/v1/roles/none", Value::Null).await.0, "NOT_FOUND");
}

#[tokio::test]
async fn a_condition_is_seen_by_who_asks_for_version_three() {
    let server = Server::start(AuthMode::None).await;
    let condition = json!({"title": "night", "expression": "request.time.getHours('Europe/Berlin') < 6"});
    let binding = json!({"role": "roles/run.admin", "members": ["user:a@example.com"], "condition": condition});
    let path = "/cloudresourcemanager/v1/projects/demo-project";
    let policy = json!({"policy": {"version": 3, "bindings": [binding]}});
    ok(&server, Method::POST, &format!("{path}:setIamPolicy"), policy).await;
    let get = format!("{path}:getIamPolicy");
    let seen = ok(&server, Method::POST, &get, json!({"options": {"requestedPolicyVersion": 3}})).await;
    assert_eq!((&seen["version"], &seen["bindings"][0]["condition"]), (&json!(3), &condition));
    let old = ok(&server, Method::POST, &get, json!({})).await;
    assert_eq!((&old["version"], &old["bindings"][0]["condition"]), (&json!(1), &Value::Null));
    assert!(old["bindings"][0]["role"].as_str().expect("a role").starts_with("roles/run.admin_withcond_"));
    let back = json!({"policy": {"version": 1, "etag": old["etag"], "bindings": []}});
    let (status, message) = refused(&server, Method::POST, &format!("{path}:setIamPolicy"), back).await;
    assert_eq!(status, "INVALID_ARGUMENT");
    assert!(message.starts_with("Specified policy version (1) cannot be less than the existing policy version (3)."));
}
