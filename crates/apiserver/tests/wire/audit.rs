//! What the audit log has of calls: of every method, what is in `audit.txt`, which people review.

use std::{
    collections::HashSet,
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use googleapis_tonic_google_cloud_run_v2::google::cloud::run::v2 as run;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody};
use prost::Message as _;
use serde_json::{Value, json};
use updraft_identity::AuthMode;
use updraft_model::{audit::CallerAddress, iam::Principal};
use updraft_telemetry::{Order, Search, filter::Filter};

use super::{
    SERVICES, Server,
    access::{CI_ACCOUNT, PROJECT, World, rows, user},
    of_image,
};

/// What is on record, the oldest first.
pub(super) async fn records(server: &Server) -> Vec<Value> {
    records_of(server, "demo-project").await
}

/// The same of any project.
async fn records_of(server: &Server, project: &str) -> Vec<Value> {
    let projects = vec![project.to_owned()];
    let search = Search {
        private: projects.clone(),
        projects,
        filter: Filter::parse("logName:cloudaudit").expect("sound"),
        since: None,
        order: Order::OldestFirst,
        limit: 10_000,
        after: None,
    };
    server.logs.search(search).await.entries
}

/// Who a record names, and what it says that came of it.
fn told(record: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let payload = &record["protoPayload"];
    let log = text(&record["logName"]).rsplit_once("%2F").map(|(_, log)| log.to_owned()).unwrap_or_default();
    let asked = payload["authorizationInfo"].as_array().into_iter().flatten().map(|check| {
        let granted = if check["granted"] == true { "+" } else { "-" };
        format!("{granted}{}", text(&check["permission"]))
    });
    let asked: Vec<String> = asked.collect();
    format!(
        "{log} {} {} {} {} [{}] {}",
        text(&record["severity"]),
        text(&payload["serviceName"]),
        text(&payload["methodName"]),
        text(&record["resource"]["type"]),
        asked.join(" "),
        payload["status"]["code"],
    )
}

/// Sees what is new.
#[derive(Default)]
struct Reader(HashSet<String>);

impl Reader {
    async fn new_records(&mut self, server: &Server) -> Vec<Value> {
        let mut found = records(server).await;
        found.retain(|record| self.0.insert(record["insertId"].as_str().expect("an id").to_owned()));
        found
    }
}

#[tokio::test]
async fn every_method_leaves_what_the_table_says_and_nothing_else() {
    let mut table = String::new();
    let (mut world, mut reader) = (None, Reader::default());
    for row in &rows() {
        for (name, caller) in [("denied", user("nobody")), ("let in", Principal::Local)] {
            let here = match world.take() {
                Some(world) => world,
                None => {
                    let world = World::new().await;
                    reader.new_records(&world.server).await;
                    world
                }
            };
            let outcome = here.outcome(row, &caller).await;
            let records = reader.new_records(&here.server).await;
            let (row_table, method) = (row.table, &row.name);
            match &records[..] {
                [] => {
                    assert!(!row.access.is_write() && outcome != "denied", "{row_table} {method}: nothing for {name}");
                }
                [record] => {
                    writeln!(table, "{row_table} {method}, {name}: {}", told(record)).expect("into memory");
                    assert_eq!(outcome == "denied", record["protoPayload"]["status"]["code"] == 7, "{record:#}");
                    assert_eq!(record["protoPayload"]["authenticationInfo"]["principalEmail"], caller.email());
                }
                several => panic!("{row_table} {method}: {several:#?}"),
            }
            if outcome == "denied" || !row.access.is_write() {
                world = Some(here);
            }
        }
    }
    expect_test::expect_file!["audit.txt"].assert_eq(&table);
}

pub(super) async fn call(
    server: &Server,
    caller: Principal,
    request: Request<Full<bytes::Bytes>>,
) -> (StatusCode, Value) {
    let answer = server.api.call_as(caller, request).await;
    let status = answer.status();
    let body = answer.into_body().collect().await.expect("whole").to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

fn post(path: &str, body: &Value) -> Request<Full<bytes::Bytes>> {
    let request = Request::post(path).header(header::USER_AGENT, "gcloud/9");
    let request = request.extension(CallerAddress([10, 1, 2, 3].into()));
    request.body(Full::from(body.to_string())).expect("valid")
}

/// A create whose body holds a secret.
fn create(id: &str) -> Request<Full<bytes::Bytes>> {
    let mut service = of_image();
    service["template"]["containers"][0]["env"] = json!([{"name": "PASSWORD", "value": "hunter2"}]);
    post(&format!("{SERVICES}?serviceId={id}"), &service)
}

#[tokio::test]
async fn a_create_that_is_allowed_one_that_is_denied_and_one_of_nobody_are_on_record() {
    let server = Server::start(AuthMode::Token).await;
    let start = updraft_base::Clock::system().now();
    assert_eq!(call(&server, Principal::AdminToken, create("hello")).await.0, StatusCode::OK);
    assert_eq!(call(&server, user("mallory"), create("mine")).await.0, StatusCode::FORBIDDEN);
    let mut wrong = create("other");
    wrong.headers_mut().insert(header::AUTHORIZATION, "Bearer swordfish".parse().expect("valid"));
    assert_eq!(server.send(wrong).await.0, StatusCode::UNAUTHORIZED);
    // What breaks a rule is not told either.
    let broken = json!({"template": {"containers": [{"image": "hunter2 is no image"}]}, "hunter2": 1});
    let path = format!("{SERVICES}?serviceId=hello");
    assert_eq!(call(&server, Principal::AdminToken, post(&path, &broken)).await.0, StatusCode::BAD_REQUEST);

    let found = records(&server).await;
    let [allowed, denied, nobody, invalid] = &found[..] else { panic!("{found:#?}") };
    for record in &found {
        let payload = &record["protoPayload"];
        assert_eq!(record["logName"], format!("{PROJECT}/logs/cloudaudit.googleapis.com%2Factivity"));
        assert_eq!(payload["@type"], "type.googleapis.com/google.cloud.audit.AuditLog");
        assert_eq!(payload["methodName"], "google.cloud.run.v2.Services.CreateService");
        assert_eq!(payload["requestMetadata"], json!({"callerIp": "10.1.2.3", "callerSuppliedUserAgent": "gcloud/9"}));
        let time: jiff::Timestamp = record["timestamp"].as_str().expect("a time").parse().expect("RFC 3339");
        assert!(SystemTime::from(time) + Duration::from_secs(1) >= start, "{time}");
    }
    let place = "projects/demo-project/locations/us-central1";
    let payload = &allowed["protoPayload"];
    assert_eq!(payload["resourceName"], format!("{place}/services/hello"));
    assert_eq!(payload["authenticationInfo"]["principalEmail"], "admin@updraft.local");
    assert_eq!((&payload["status"], &allowed["severity"]), (&json!({}), &json!("NOTICE")));
    assert_eq!(
        payload["authorizationInfo"][0],
        json!({"resource": place, "permission": "run.services.create", "granted": true})
    );
    assert_eq!(allowed["resource"]["labels"]["service_name"], "hello");

    let payload = &denied["protoPayload"];
    assert_eq!(payload["authenticationInfo"]["principalEmail"], "mallory@example.com");
    assert_eq!(payload["authorizationInfo"][0]["granted"], false);
    assert_eq!((&payload["status"]["code"], &denied["severity"]), (&json!(7), &json!("ERROR")));
    assert_eq!(payload["resourceName"], format!("{place}/services/mine"));

    let payload = &nobody["protoPayload"];
    assert_eq!((&payload["authenticationInfo"], &payload["authorizationInfo"]), (&json!({}), &Value::Null));
    assert_eq!((&payload["status"]["code"], &payload["resourceName"]), (&json!(16), &json!(place)));

    assert_eq!(invalid["protoPayload"]["status"]["code"], 3);
    let text = json!(found).to_string();
    assert!(!text.contains("hunter2") && !text.contains("swordfish") && !text.contains("PASSWORD"), "{text}");
}

#[tokio::test]
async fn a_call_by_grpc_is_on_record_like_one_by_rest() {
    let server = Server::start(AuthMode::Token).await;
    let name = "projects/demo-project/locations/us-central1/services/hello";
    let message = run::DeleteServiceRequest { name: name.to_owned(), ..run::DeleteServiceRequest::default() };
    let message = message.encode_to_vec();
    let frame = [&[0, 0, 0, 0, u8::try_from(message.len()).expect("short")], &message[..]].concat();
    let request = || {
        let request = Request::post("/google.cloud.run.v2.Services/DeleteService");
        request.header(header::CONTENT_TYPE, "application/grpc").body(Full::from(frame.clone())).expect("valid")
    };
    for caller in [user("mallory"), Principal::AdminToken] {
        call(&server, caller, request()).await;
    }
    server.send(request()).await;
    let found = records(&server).await;
    let codes: Vec<&Value> = found.iter().map(|record| &record["protoPayload"]["status"]["code"]).collect();
    assert_eq!(codes, [&json!(7), &json!(5), &json!(16)]);
    for record in &found {
        assert_eq!(record["protoPayload"]["methodName"], "google.cloud.run.v2.Services.DeleteService");
    }
    assert_eq!(found[0]["protoPayload"]["resourceName"], name);
}

/// A call by gRPC with this body, and what it says of its encoding.
fn by_grpc(body: &'static [u8], encoding: &'static str) -> Request<Full<bytes::Bytes>> {
    let request = Request::post("/google.cloud.run.v2.Services/DeleteService");
    let request = request.header(header::CONTENT_TYPE, "application/grpc").header("grpc-encoding", encoding);
    request.body(Full::from(body)).expect("valid")
}

#[tokio::test]
async fn a_call_by_grpc_that_nobody_can_read_is_no_success_and_cannot_fill_the_disk() {
    let server = Server::start(AuthMode::Token).await;
    for (body, encoding) in [
        (&[][..], "identity"),
        (&[0, 0xff, 0xff, 0xff, 0xff], "identity"),
        (&[7, 0, 0, 0, 0], "identity"),
        (&[0, 0, 0, 0, 0], "gzip"),
        (&[0, 0, 0, 0, 0], "hunter2"),
    ] {
        call(&server, user("mallory"), by_grpc(body, encoding)).await;
    }
    let found = records(&server).await;
    let codes: Vec<&Value> = found.iter().map(|record| &record["protoPayload"]["status"]["code"]).collect();
    assert_eq!(codes, [13, 11, 13, 12, 12].map(|code| json!(code)).iter().collect::<Vec<_>>());
    for record in &found {
        assert_eq!(
            (&record["severity"], &record["protoPayload"]["authorizationInfo"]),
            (&json!("ERROR"), &Value::Null)
        );
    }
    assert!(!json!(found).to_string().contains("hunter2"));
    for _ in 0..900 {
        call(&server, user("mallory"), by_grpc(&[], "identity")).await;
    }
    // Some more for each second that this took.
    let of_mallory = records(&server).await.len();
    assert!((600..900).contains(&of_mallory), "{of_mallory}");
}

#[tokio::test]
async fn entries_list_finds_records_for_who_may_see_them() {
    let world = World::new().await;
    let server = &world.server;
    assert_eq!(call(server, user("mallory"), create("mine")).await.0, StatusCode::FORBIDDEN);
    let list = Request::get(SERVICES).body(Full::default()).expect("valid");
    assert_eq!(call(server, user("mallory"), list).await.0, StatusCode::FORBIDDEN);

    let found = async |caller: &str, filter: &str| {
        let asked = json!({"resourceNames": [PROJECT], "filter": filter, "pageSize": 1000});
        let (status, answer) = call(server, user(caller), post("/v2/entries:list", &asked)).await;
        assert_eq!(status, StatusCode::OK, "{answer:#}");
        answer["entries"].as_array().map_or(0, Vec::len)
    };
    let who = "protoPayload.authenticationInfo.principalEmail=\"mallory@example.com\"";
    assert_eq!(found("viewer", who).await, 1, "the denied create");
    assert_eq!(found("owner", who).await, 2, "and what it was not to read");
    let log = format!("logName=\"{PROJECT}/logs/cloudaudit.googleapis.com%2Fdata_access\"");
    assert_eq!((found("owner", &log).await, found("viewer", &log).await), (1, 0));
    assert_eq!(found("viewer", "log_id(\"cloudaudit.googleapis.com/activity\") protoPayload.status.code=7").await, 1);
    assert_eq!(found("viewer", "protoPayload.authorizationInfo.granted=false").await, 1);
    assert_eq!(found("viewer", "protoPayload.methodName:CreateService resource.type=cloud_run_revision").await, 2);
    assert_eq!(found("viewer", "resource.labels.service_name=hello protoPayload.methodName:UpdateService").await, 1);
    assert_eq!(found("viewer", "resource.type=service_account").await, 2, "an account, and its key");

    let names = async |caller: &str| {
        let request = Request::get(format!("/v2/{PROJECT}/logs")).body(Full::default()).expect("valid");
        call(server, user(caller), request).await.1["logNames"].clone()
    };
    let activity = format!("{PROJECT}/logs/cloudaudit.googleapis.com%2Factivity");
    let reads = format!("{PROJECT}/logs/cloudaudit.googleapis.com%2Fdata_access");
    assert_eq!(names("viewer").await, json!([activity]));
    assert_eq!(names("owner").await, json!([activity, reads]));
}

#[tokio::test]
async fn a_project_that_refuses_a_call_of_another_one_has_it_on_record() {
    let World { server, .. } = &World::new().await;
    let mut service = of_image();
    service["template"]["serviceAccount"] = json!(CI_ACCOUNT);
    let path = "/v2/projects/other-project/locations/us-central1/services?serviceId=mine";
    assert_eq!(call(server, user("foreign"), post(path, &service)).await.0, StatusCode::FORBIDDEN);
    let both = json!({"resourceNames": ["projects/other-project", PROJECT]});
    assert_eq!(call(server, user("foreign"), post("/v2/entries:list", &both)).await.0, StatusCode::FORBIDDEN);
    let found = records(server).await;
    let [.., deployed, listed] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(deployed["protoPayload"]["resourceName"], format!("{PROJECT}/serviceAccounts/{CI_ACCOUNT}"));
    assert_eq!(listed["protoPayload"]["resourceName"], PROJECT);
    let asked = [
        "activity ERROR run.googleapis.com google.cloud.run.v2.Services.CreateService service_account \
         [+run.services.create -iam.serviceAccounts.actAs] 7",
        "data_access ERROR logging.googleapis.com google.logging.v2.LoggingServiceV2.ListLogEntries audited_resource \
         [+logging.logEntries.list -logging.logEntries.list] 7",
    ];
    assert_eq!([told(deployed), told(listed)], asked);
    assert_eq!(records_of(server, "other-project").await.len(), 1, "the policy that was set");
}

#[tokio::test]
async fn refused_calls_cannot_fill_the_disk() {
    let server = Server::start(AuthMode::Token).await;
    for _ in 0..200 {
        assert_eq!(server.send(create("hello")).await.0, StatusCode::UNAUTHORIZED);
    }
    for number in 0..200 {
        // Refused before anybody asks who may do that.
        let path = format!("/v2/projects/made-up-{number}/locations/us-central1/services?serviceId=hello");
        let status = call(&server, Principal::Anonymous, post(&path, &json!("nothing"))).await.0;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
    // One more for each second that this took.
    let of_nobody = records(&server).await.len();
    assert!((60..100).contains(&of_nobody), "{of_nobody}");
    assert_eq!(call(&server, user("mallory"), create("mine")).await.0, StatusCode::FORBIDDEN);
    assert_eq!(call(&server, Principal::AdminToken, create("hello")).await.0, StatusCode::OK);
    let after = records(&server).await;
    assert_eq!(after.len(), of_nobody + 2, "others have room of their own");
    let metrics = Request::get("/metrics").body(Full::default()).expect("valid");
    let answer = server.api.call_as(Principal::AdminToken, metrics).await;
    let text = answer.into_body().collect().await.expect("whole").to_bytes();
    let withheld = format!("updraft_audit_records_withheld_total {}", 400 - of_nobody);
    assert!(String::from_utf8_lossy(&text).contains(&withheld), "{withheld}");
}

#[tokio::test]
async fn a_project_that_is_made_up_gets_no_log() {
    let server = Server::start(AuthMode::Token).await;
    let path = "/v2/projects/made-up-project/locations/us-central1/services?serviceId=hello";
    assert_eq!(call(&server, user("mallory"), post(path, &of_image())).await.0, StatusCode::FORBIDDEN);
    let found = records(&server).await;
    assert_eq!(found.len(), 1, "it is in the default project's");
    let name = "projects/made-up-project/locations/us-central1/services/hello";
    assert_eq!(found[0]["protoPayload"]["resourceName"], name);
    assert!(!server.dir.path().join("logs/made-up-project").exists());
}

/// A part of a body.
type Part = Result<http_body::Frame<bytes::Bytes>, std::io::Error>;

/// Those of calls that nobody answers. Nobody waits for them either.
async fn unattended(server: &Server) -> Vec<Value> {
    let wait = async {
        loop {
            let found = records(server).await;
            if !found.is_empty() {
                break found;
            }
            tokio::task::yield_now().await;
        }
    };
    updraft_base::Clock::system().timeout(Duration::from_secs(30), wait).await.expect("written soon")
}

#[tokio::test]
async fn a_call_whose_handler_panics_is_on_record_as_a_fault_of_ours() {
    let server = Server::start(AuthMode::Token).await;
    let broken = futures::stream::poll_fn(|_| -> std::task::Poll<Option<Part>> { panic!("a fault") });
    let request = Request::delete(format!("{SERVICES}/hello")).body(StreamBody::new(broken)).expect("valid");
    let call = server.api.call_as(user("mallory"), request);
    assert!(futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(call)).await.is_err());
    let found = unattended(&server).await;
    assert_eq!(found.len(), 1);
    let status = &found[0]["protoPayload"]["status"];
    assert_eq!(status, &json!({"code": 13, "message": "The server failed before there was an answer."}));
}

#[tokio::test]
async fn a_client_that_goes_away_is_on_record_if_it_might_have_changed_something() {
    let server = Server::start(AuthMode::Token).await;
    for (verb, path) in [(Method::DELETE, format!("{SERVICES}/hello")), (Method::GET, SERVICES.to_owned())] {
        let never = StreamBody::new(futures::stream::pending::<Part>());
        let request = Request::builder().method(verb).uri(&path).body(never).expect("valid");
        let call = Box::pin(server.api.call_as(user("mallory"), request));
        // Polled once, it waits for the body.
        assert!(futures::FutureExt::now_or_never(call).is_none());
    }
    let found = unattended(&server).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["protoPayload"]["status"]["code"], 1);
    assert_eq!(found[0]["protoPayload"]["methodName"], "google.cloud.run.v2.Services.DeleteService");
}
