//! Every method of every table, asked for by every kind of caller. What each may do is in `access.txt`, which people
//! review; a method that is not in it fails the test.

use std::{fmt::Write as _, sync::OnceLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use updraft_api::{
    around,
    method::{self, Access, Product},
    v1,
};
use updraft_apiserver::{OWN_CALLS, On};
use updraft_base::Clock;
use updraft_identity::{AuthMode, Tokens, account_key};
use updraft_model::iam::{Account, PERMISSIONS, Principal, User};

use super::{SERVICES, Server, of_image};

pub(super) const PROJECT: &str = "projects/demo-project";
const PLACE: &str = "projects/demo-project/locations/us-central1";
pub(super) const CI_ACCOUNT: &str = "ci-account@demo-project.iam.gserviceaccount.com";
const CI: &str = "ci@demo-project.iam.gserviceaccount.com";

/// A method, as a client would call it.
pub(super) struct Row {
    pub(super) table: &'static str,
    pub(super) name: String,
    pub(super) access: Access,
    verb: Method,
    /// With the names of patterns still in it.
    path: String,
}

/// A server with something of everything in it, and what that is called.
pub(super) struct World {
    pub(super) server: Server,
    operation: String,
    usage_operation: String,
    revision: String,
    key: String,
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for method in method::methods() {
        let binding = &method.bindings[0];
        let name = method.name.rsplit('.').next().expect("a name").replace("SecretManagerService/", "SecretManager/");
        let (verb, path) = (binding.verb.clone(), binding.path.to_owned());
        let table = match method.product() {
            Product::Run => "run v2",
            Product::SecretManager => "secretmanager",
            Product::CloudScheduler => "cloudscheduler",
        };
        rows.push(Row { table, name, access: method.access, verb, path });
    }
    for row in &v1::method::METHODS {
        let (name, verb, path) = (format!("{:?}", row.method), row.verb.clone(), row.paths[0].to_owned());
        rows.push(Row { table: "run v1", name, access: row.access, verb, path });
    }
    for call in &around::CALLS {
        let path = format!("/{}{}", call.api.prefix(), call.rest.1[0]);
        let (name, verb) = (call.name.to_owned(), call.rest.0.clone());
        rows.push(Row { table: call.api.prefix(), name, access: call.access, verb, path });
    }
    for call in &OWN_CALLS {
        let (name, path) = (format!("{} {}", call.verb, call.path), call.path.to_owned());
        rows.push(Row { table: "updraft", name, access: call.access, verb: call.verb.clone(), path });
    }
    rows
}

pub(super) fn user(name: &str) -> Principal {
    let (email, issuer) = (format!("{name}@example.com"), "https://accounts.example.com".to_owned());
    Principal::User(User { email, issuer, groups: Vec::new(), domain: None })
}

fn callers() -> Vec<(&'static str, Principal)> {
    let (email, unique_id, project) = (CI.to_owned(), "1".repeat(21), "demo-project".to_owned());
    vec![
        ("nobody", Principal::Anonymous),
        ("user", user("nobody")),
        ("viewer", user("viewer")),
        ("developer", user("developer")),
        ("admin", user("admin")),
        ("owner", user("owner")),
        ("foreign", user("foreign")),
        ("account", Principal::ServiceAccount(Account { email, unique_id, project })),
    ]
}

fn binding(role: &str, member: &str) -> Value {
    json!({"role": role, "members": [member]})
}

// === impl World ===

impl World {
    pub(super) async fn new() -> Self {
        let server = Server::start(AuthMode::None).await;
        let ok = async |verb: Method, path: &str, body: Value| {
            let (status, answer) = server.ask(verb, path, body).await;
            assert_eq!(status, StatusCode::OK, "{path}: {answer:#}");
            answer
        };
        let made = ok(Method::POST, &format!("{SERVICES}?serviceId=hello"), of_image()).await;
        let id = |name: &Value| name.as_str().and_then(|name| name.rsplit('/').next()).expect("a name").to_owned();
        let (operation, revision) = (id(&made["name"]), id(&made["metadata"]["latestCreatedRevision"]));
        // A second one, so that the first can be deleted.
        let mut changed = of_image();
        changed["template"]["timeout"] = json!("10s");
        ok(Method::PATCH, &format!("{SERVICES}/hello"), changed).await;
        let own = json!({"policy": {"bindings": [binding("roles/run.viewer", &format!("serviceAccount:{CI}"))]}});
        ok(Method::POST, &format!("{SERVICES}/hello:setIamPolicy"), own).await;
        ok(Method::POST, &format!("/v2/{PLACE}/workerPools?workerPoolId=consumer"), of_image()).await;
        // Its execution cannot begin, for there is no such image, and so is over once its operation is.
        let made = ok(Method::POST, &format!("/v2/{PLACE}/jobs?jobId=batch"), job_that_runs()).await;
        let wait = format!("/v2/{}:wait", made["name"].as_str().expect("a name"));
        assert_eq!(ok(Method::POST, &wait, json!({"timeout": "20s"})).await["done"], true);
        ok(Method::POST, &format!("/v1/{PROJECT}/serviceAccounts"), json!({"accountId": "ci-account"})).await;
        let keys = format!("/v1/{PROJECT}/serviceAccounts/{CI_ACCOUNT}/keys:upload");
        let key = id(&ok(Method::POST, &keys, uploaded(0)).await["name"]);
        ok(Method::POST, &format!("/v1/{PROJECT}/roles"), json!({"roleId": "mine"})).await;
        ok(Method::POST, &format!("/v1/{PROJECT}/roles"), json!({"roleId": "gone"})).await;
        ok(Method::DELETE, &format!("/v1/{PROJECT}/roles/gone"), Value::Null).await;
        ok(Method::POST, &format!("/v1/{PLACE}/domainmappings"), mapping("app.example.com")).await;
        let secret = json!({"replication": {"automatic": {}}});
        ok(Method::POST, &format!("/v1/{PROJECT}/secrets?secretId=db"), secret).await;
        let payload = json!({"payload": {"data": "aHVudGVyMg=="}});
        ok(Method::POST, &format!("/v1/{PROJECT}/secrets/db:addVersion"), payload).await;
        for id in ["nightly", "resting"] {
            ok(Method::POST, &format!("/v1/{PLACE}/jobs"), scheduled(id)).await;
        }
        ok(Method::POST, &format!("/v1/{PLACE}/jobs/resting:pause"), json!({})).await;
        let api = format!("/v1/{PROJECT}/services/sqladmin.googleapis.com:enable");
        let usage = ok(Method::POST, &api, json!({})).await;
        let usage_operation = usage["name"].as_str().expect("a name").to_owned();
        let world = Self { server, operation, usage_operation, revision, key };
        world
            .bind(
                "demo-project",
                &[
                    ("roles/viewer", "viewer"),
                    ("roles/run.developer", "developer"),
                    ("roles/iam.serviceAccountUser", "developer"),
                    ("roles/run.admin", "admin"),
                    ("roles/iam.serviceAccountUser", "admin"),
                    ("roles/owner", "owner"),
                ],
            )
            .await;
        world.bind("other-project", &[("roles/owner", "foreign")]).await;
        world
    }

    async fn bind(&self, project: &str, grants: &[(&str, &str)]) {
        let grants = grants.iter().map(|(role, name)| binding(role, &format!("user:{name}@example.com")));
        let policy = json!({"policy": {"bindings": grants.collect::<Vec<_>>()}});
        let path = format!("/v1/projects/{project}:setIamPolicy");
        assert_eq!(self.server.ask(Method::POST, &path, policy).await.0, StatusCode::OK);
    }

    /// What came of a call: `ok`, `denied`, or another status.
    pub(super) async fn outcome(&self, row: &Row, caller: &Principal) -> String {
        let (query, body) = sent(row);
        let path = format!("{}{query}", self.path(row));
        let body = if body.is_null() { Full::default() } else { Full::from(body.to_string()) };
        let request = Request::builder().method(row.verb.clone()).uri(&path).body(body).expect("valid");
        let answer = self.server.api.call_as(caller.clone(), request).await;
        let status = answer.status();
        let text = answer.into_body().collect().await.expect("whole").to_bytes();
        match status {
            StatusCode::OK => "ok".to_owned(),
            StatusCode::FORBIDDEN => "denied".to_owned(),
            // Who was let in and asked for something that this server cannot do here.
            other => {
                let told = String::from_utf8_lossy(&text).replace('\n', " ");
                let is_over = row.name.ends_with("/CancelExecution") || row.name == "ExecutionsCancel";
                let is_absent = other == StatusCode::NOT_IMPLEMENTED || row.path == "/updraft/v1/ca" || is_over;
                assert!(is_absent || row.path.contains("/images"), "{} {path}: {other} {told}", row.verb);
                "let in".to_owned()
            }
        }
    }

    fn path(&self, row: &Row) -> String {
        let role = if row.name == "IAM/UndeleteRole" { "gone" } else { "mine" };
        let v1_name = match row.name.as_str() {
            name if name.starts_with("Revisions") => self.revision.as_str(),
            name if name.starts_with("Operations") => &self.operation,
            name if name.starts_with("Domain") => "app.example.com",
            name if name.starts_with("WorkerPools") => "consumer",
            name if name.starts_with("Jobs") => "batch",
            name if name.starts_with("Executions") => EXECUTION,
            name if name.starts_with("Tasks") => TASK,
            _ => "hello",
        };
        let is_v1 = row.table == "run v1";
        // Only what rests can be resumed.
        let job = match row.table {
            "cloudscheduler" if row.name.ends_with("/ResumeJob") => "resting",
            "cloudscheduler" => "nightly",
            _ => "batch",
        };
        let execution = format!("{PLACE}/jobs/batch/executions/{EXECUTION}");
        let names = [
            ("projects/*/locations/*/jobs/*/executions/*/tasks/*", format!("{execution}/tasks/{TASK}")),
            ("projects/*/locations/*/jobs/*/executions/*", execution),
            ("projects/*/locations/*/jobs/*", format!("{PLACE}/jobs/{job}")),
            (
                "projects/*/locations/*/services/*/revisions/*",
                format!("{PLACE}/services/hello/revisions/{}", self.revision),
            ),
            ("projects/*/locations/*/services/*", format!("{PLACE}/services/hello")),
            ("projects/*/locations/*/workerPools/*", format!("{PLACE}/workerPools/consumer")),
            ("projects/*/locations/*/operations/*", format!("{PLACE}/operations/{}", self.operation)),
            ("projects/*/locations/*", PLACE.to_owned()),
            (
                "projects/*/serviceAccounts/*/keys/*",
                format!("{PROJECT}/serviceAccounts/{CI_ACCOUNT}/keys/{}", self.key),
            ),
            ("projects/*/serviceAccounts/*", format!("{PROJECT}/serviceAccounts/{CI_ACCOUNT}")),
            ("projects/*/services/*", format!("{PROJECT}/services/sqladmin.googleapis.com")),
            ("projects/*/secrets/*/versions/*", format!("{PROJECT}/secrets/db/versions/1")),
            ("projects/*/secrets/*", format!("{PROJECT}/secrets/db")),
            ("projects/*/roles/*", format!("{PROJECT}/roles/{role}")),
            ("operations/*", self.usage_operation.clone()),
            ("roles/*", "roles/run.viewer".to_owned()),
            ("projects/*", PROJECT.to_owned()),
        ];
        let mut path = String::new();
        let mut rest = row.path.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let (field, after) = after.split_once('}').expect("closed");
            let value = match field.split_once('=') {
                Some((_, pattern)) => {
                    names.iter().find(|(known, _)| *known == pattern).map(|(_, value)| value.as_str())
                }
                None if field == "location" => Some("us-central1"),
                None if field == "name" && is_v1 => Some(v1_name),
                None => Some("demo-project"),
            };
            path.push_str(before);
            path.push_str(value.unwrap_or_else(|| panic!("no example for {}", row.path)));
            rest = after;
        }
        path + rest
    }
}

/// The execution of the job `batch`, and its task.
const EXECUTION: &str = "batch-one";
const TASK: &str = "batch-one-task0";

fn mapping(domain: &str) -> Value {
    json!({
        "apiVersion": "domains.cloudrun.com/v1",
        "kind": "DomainMapping",
        "metadata": {"name": domain, "namespace": "demo-project"},
        "spec": {"routeName": "hello"},
    })
}

fn knative(name: &str) -> Value {
    json!({
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "demo-project"},
        "spec": {"template": {"spec": {"containers": [{"image": "localhost/hello:v1"}]}}},
    })
}

/// A job, to be run when it is made, as [`EXECUTION`].
fn job_that_runs() -> Value {
    json!({"template": {"template": of_image()["template"]}, "runExecutionToken": "one"})
}

fn job(name: &str) -> Value {
    json!({
        "apiVersion": "run.googleapis.com/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "demo-project"},
        "spec": {"template": {"spec": {"template": {"spec": {"containers": [{"image": "localhost/hello:v1"}]}}}}},
    })
}

fn worker_pool(name: &str) -> Value {
    let mut pool = knative(name);
    (pool["apiVersion"], pool["kind"]) = (json!("run.googleapis.com/v1"), json!("WorkerPool"));
    pool
}

/// A job of Cloud Scheduler.
fn scheduled(id: &str) -> Value {
    let target = json!({"uri": "https://example.com/", "oidcToken": {"serviceAccountEmail": CI_ACCOUNT}});
    json!({"name": format!("{PLACE}/jobs/{id}"), "schedule": "0 0 * * *", "httpTarget": target})
}

/// A key that somebody made elsewhere, one of two; making one takes a while.
fn uploaded(which: usize) -> Value {
    static MADE: OnceLock<[String; 2]> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a directory");
        let accounts = tokio::sync::watch::channel(std::sync::Arc::default()).1;
        let tokens = Tokens::open(dir.path(), "http://127.0.0.1:8080", accounts, Clock::system()).expect("opens");
        let (email, unique_id, project) = (CI_ACCOUNT.to_owned(), "1".repeat(21), "demo-project".to_owned());
        let account = Account { email, unique_id, project };
        let make = || account_key::make(&account, &tokens, Clock::system().now()).expect("a key").kept.certificate;
        [make(), make()].map(|certificate| STANDARD.encode(certificate))
    });
    json!({"publicKeyData": made[which]})
}

/// Query and body of a call that succeeds for who may make it.
fn sent(row: &Row) -> (&'static str, Value) {
    let policy = json!({"policy": {"bindings": [binding("roles/viewer", "user:new@example.com")]}});
    match (row.table, row.name.as_str()) {
        ("run v2", "Services/CreateService") => ("?serviceId=new", of_image()),
        ("run v2", "Services/UpdateService") => ("", of_image()),
        ("run v2", "WorkerPools/CreateWorkerPool") => ("?workerPoolId=new", of_image()),
        ("run v2", "WorkerPools/UpdateWorkerPool") => ("", of_image()),
        ("run v2", "Jobs/CreateJob") => ("?jobId=new", json!({"template": {"template": of_image()["template"]}})),
        ("run v2", "Jobs/UpdateJob") => ("", json!({"template": {"template": of_image()["template"]}})),
        ("run v1", "JobsCreate") => ("", job("new")),
        ("run v1", "JobsReplace") => ("", job("batch")),
        ("updraft", name) if name.ends_with(":rerun") => ("?job=batch&execution=batch-one", Value::Null),
        ("run v1", "WorkerPoolsCreate") => ("", worker_pool("new")),
        ("run v1", "WorkerPoolsReplace") => ("", worker_pool("consumer")),
        ("run v1", "ServicesCreate") => ("", knative("new")),
        ("run v1", "ServicesReplace") => ("", knative("hello")),
        ("run v1", "DomainMappingsCreate") => ("", mapping("new.example.com")),
        (_, "Operations/WaitOperation" | "OperationsWait") => ("", json!({"timeout": "0.001s"})),
        (_, name) if name.ends_with("/SetIamPolicy") => ("", policy),
        ("secretmanager", name) if name.ends_with("/TestIamPermissions") => {
            ("", json!({"permissions": ["secretmanager.secrets.get"]}))
        }
        ("secretmanager", name) if name.ends_with("/CreateSecret") => {
            ("?secretId=new", json!({"replication": {"automatic": {}}}))
        }
        ("secretmanager", name) if name.ends_with("/AddSecretVersion") => ("", json!({"payload": {"data": "eA=="}})),
        ("cloudscheduler", name) if name.ends_with("/CreateJob") => ("", scheduled("new")),
        ("cloudscheduler", name) if name.ends_with("/UpdateJob") => ("?updateMask=description", json!({})),
        ("secretmanager", name) if name.ends_with("/UpdateSecret") => ("?updateMask=labels", json!({"labels": {}})),
        (_, name) if name.ends_with("/TestIamPermissions") => ("", json!({"permissions": ["run.services.get"]})),
        (_, "ServiceUsage/BatchEnableServices") => ("", json!({"serviceIds": ["run.googleapis.com"]})),
        (_, "IAM/CreateServiceAccount") => ("", json!({"accountId": "new-account"})),
        (_, "IAM/UploadServiceAccountKey") => ("", uploaded(1)),
        (_, "IAMCredentials/GenerateAccessToken") => ("", json!({"scope": ["a"]})),
        (_, "IAMCredentials/GenerateIdToken") => ("", json!({"audience": "a"})),
        (_, "IAMCredentials/SignJwt") => ("", json!({"payload": "{}"})),
        (_, "IAMCredentials/SignBlob") => ("", json!({"payload": "AAAA"})),
        (_, "IAM/CreateRole") => ("", json!({"roleId": "new", "role": {"title": "New"}})),
        (_, "IAM/UpdateRole") => ("?updateMask=title", json!({"title": "Other"})),
        (_, "IAM/PatchServiceAccount") => ("", json!({"serviceAccount": {}, "updateMask": ""})),
        (_, "LoggingServiceV2/ListLogEntries") => ("", json!({"resourceNames": [PROJECT]})),
        ("updraft", "DELETE /updraft/v1/images") => ("?name=localhost/none:v1", Value::Null),
        ("updraft", name) if name.ends_with("/logs") || name.ends_with("/diagnosis") => ("?service=hello", Value::Null),
        _ => ("", Value::Null),
    }
}

/// What comes of every method for each caller. A call that was let in may have changed the world: the next one gets a new
/// one.
async fn outcomes(row: &Row, callers: &[(&'static str, Principal)], world: &mut Option<World>) -> Vec<String> {
    let mut outcomes = Vec::new();
    for (_, caller) in callers {
        let here = match world.take() {
            Some(world) => world,
            None => World::new().await,
        };
        let outcome = here.outcome(row, caller).await;
        if outcome == "denied" || !row.access.is_write() {
            *world = Some(here);
        }
        outcomes.push(outcome);
    }
    outcomes
}

#[tokio::test]
async fn everybody_may_do_what_the_table_says_and_nothing_else() {
    let callers = callers();
    let mut table = format!("{:<21}{:<40}{:<48}", "table", "method", "permission");
    callers.iter().for_each(|(name, _)| write!(table, "{name:<10}").expect("into memory"));
    let mut world = None;
    for row in &rows() {
        let permission = match row.access {
            Access::Permission(permission) => permission,
            Access::Free => "-",
        };
        write!(table, "\n{:<21}{:<40}{permission:<48}", row.table, row.name).expect("into memory");
        for outcome in outcomes(row, &callers, &mut world).await {
            write!(table, "{outcome:<10}").expect("into memory");
        }
    }
    let table: String = table.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    expect_test::expect_file!["access.txt"].assert_eq(&table);
}

#[tokio::test]
async fn a_method_needs_the_permission_of_its_row_and_no_other_one_will_do() {
    let mut calls = 0;
    let mut world = Some(World::new().await);
    for row in rows() {
        let Access::Permission(permission) = row.access else { continue };
        // Lists of projects leave out what the caller may not see; the server's own are nobody's to give.
        let is_filtered = matches!(row.name.as_str(), "Projects/ListProjects" | "Projects/SearchProjects");
        let of_server = OWN_CALLS.iter().any(|call| call.on == On::Server && row.name.ends_with(call.path));
        if is_filtered || of_server {
            continue;
        }
        for (caller, permissions) in [
            ("only", vec![permission, "iam.serviceAccounts.actAs"]),
            ("allbut", PERMISSIONS.iter().copied().filter(|other| *other != permission).collect()),
        ] {
            let here = match world.take() {
                Some(world) => world,
                None => World::new().await,
            };
            let role = format!("{caller}_{calls}");
            let body = json!({"roleId": role, "role": {"includedPermissions": permissions}});
            let (status, answer) = here.server.ask(Method::POST, &format!("/v1/{PROJECT}/roles"), body).await;
            assert_eq!(status, StatusCode::OK, "{answer:#}");
            here.bind("demo-project", &[(&format!("{PROJECT}/roles/{role}"), caller)]).await;
            let outcome = here.outcome(&row, &user(caller)).await;
            assert_eq!(outcome == "denied", caller == "allbut", "{} {} for {caller}", row.table, row.name);
            if caller == "allbut" || !row.access.is_write() {
                world = Some(here);
            }
            calls += 1;
            if calls % 20 == 0 {
                // Calls and roles of a project are bounded.
                world = None;
            }
        }
    }
    assert!(calls > 120, "{calls}");
}
