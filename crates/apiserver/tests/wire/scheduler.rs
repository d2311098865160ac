//! Cloud Scheduler, as gcloud (REST) and Google's client libraries (gRPC) call it.

use http::{Method, StatusCode};
use prost::Message as _;
use serde_json::{Value, json};
use updraft_api::scheduler::{
    CreateJobRequest, DeleteJobRequest, GetJobRequest, HttpTarget, Job, ListJobsRequest, RunJobRequest,
    UpdateJobRequest, cloud_scheduler_client::CloudSchedulerClient, job,
};
use updraft_identity::AuthMode;

use super::Server;

const PLACE: &str = "projects/demo-project/locations/us-central1";
const JOBS: &str = "/cloudscheduler/v1/projects/demo-project/locations/us-central1/jobs";

async fn ok(server: &Server, method: Method, path: &str, body: Value) -> Value {
    let (status, answer) = server.ask(method.clone(), path, body).await;
    assert_eq!(status, StatusCode::OK, "{method} {path}: {answer:#}");
    answer
}

/// What gcloud sends.
fn sent(id: &str) -> Value {
    json!({
        "httpTarget": {"body": "aGk=", "httpMethod": "POST", "uri": "https://demo.example.com/"},
        "name": format!("{PLACE}/jobs/{id}"),
        "retryConfig": {
            "maxBackoffDuration": "3600s", "maxDoublings": 5, "minBackoffDuration": "5s", "retryCount": 0,
        },
        "schedule": "*/5 * * * *",
        "timeZone": "Etc/UTC",
    })
}

#[tokio::test]
async fn a_job_lives_by_rest_as_gcloud_sends_it() {
    let server = Server::start(AuthMode::None).await;
    let made = ok(&server, Method::POST, JOBS, sent("sj1")).await;
    assert_eq!(made["name"], format!("{PLACE}/jobs/sj1"));
    assert_eq!((&made["state"], &made["attemptDeadline"]), (&json!("ENABLED"), &json!("180s")));
    assert_eq!(made["httpTarget"]["headers"]["User-Agent"], "Google-Cloud-Scheduler");
    assert_eq!(made["httpTarget"]["headers"]["Content-Type"], "application/octet-stream");
    assert_eq!(made["retryConfig"]["maxRetryDuration"], "0s");
    for time in ["scheduleTime", "userUpdateTime"] {
        assert!(made[time].as_str().is_some_and(|time| time.parse::<jiff::Timestamp>().is_ok()), "{made:#}");
    }
    assert_eq!(made["lastAttemptTime"], Value::Null, "there was none");
    let path = format!("{JOBS}/sj1");
    assert_eq!(ok(&server, Method::GET, &path, Value::Null).await, made);
    assert_eq!(ok(&server, Method::GET, &format!("/v1/{PLACE}/jobs/sj1"), Value::Null).await, made, "at the root");
    assert_eq!(ok(&server, Method::GET, JOBS, Value::Null).await, json!({"jobs": [made]}));
    let changed = json!({"schedule": "every day 09:30", "timeZone": "Europe/Berlin", "description": "not meant"});
    let changed = ok(&server, Method::PATCH, &format!("{path}?updateMask=schedule,timeZone"), changed).await;
    assert_eq!(
        (&changed["schedule"], &changed["timeZone"], &changed["description"], &changed["httpTarget"]),
        (&json!("every day 09:30"), &json!("Europe/Berlin"), &Value::Null, &made["httpTarget"])
    );
    let paused = ok(&server, Method::POST, &format!("{path}:pause"), json!({})).await;
    assert_eq!((&paused["state"], &paused["scheduleTime"]), (&json!("PAUSED"), &Value::Null));
    let (status, answer) = server.ask(Method::POST, &format!("{path}:pause"), json!({})).await;
    assert_eq!((status, &answer["error"]["status"]), (StatusCode::BAD_REQUEST, &json!("FAILED_PRECONDITION")));
    let run = ok(&server, Method::POST, &format!("{path}:run"), json!({})).await;
    assert!(run["scheduleTime"].is_string(), "it is asked for: {run:#}");
    assert_eq!(ok(&server, Method::POST, &format!("{path}:resume"), json!({})).await["state"], "ENABLED");
    assert_eq!(ok(&server, Method::DELETE, &path, Value::Null).await, json!({}));
    let (status, answer) = server.ask(Method::GET, &path, Value::Null).await;
    assert_eq!((status, &answer["error"]["message"]), (StatusCode::NOT_FOUND, &json!("Job not found.")));
    let info = answer["error"]["details"].as_array().and_then(|details| details.last()).expect("details");
    assert_eq!(info["domain"], "cloudscheduler.googleapis.com");
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_field_and_googles_sentence() {
    let server = Server::start(AuthMode::None).await;
    let refused = async |change: &dyn Fn(&mut Value)| {
        let mut body = sent("sj1");
        change(&mut body);
        let (status, answer) = server.ask(Method::POST, JOBS, body).await;
        assert_eq!((status, &answer["error"]["status"]), (StatusCode::BAD_REQUEST, &json!("INVALID_ARGUMENT")));
        let violations = answer["error"]["details"][0]["fieldViolations"].clone();
        let told =
            (answer["error"]["message"].clone(), violations[0]["field"].clone(), violations[0]["description"].clone());
        (told.0.as_str().expect("text").to_owned(), told.1.as_str().unwrap_or_default().to_owned(), told.2.to_string())
    };
    let sentence = "Schedule or time zone is invalid.";
    let (message, field, rule) = refused(&|body| body["schedule"] = json!("61 * * * *")).await;
    assert_eq!((message.as_str(), field.as_str()), (sentence, "job.schedule"));
    assert_eq!(rule, "\"minute must be between 0 and 59, got '61'\"");
    let (message, field, _) = refused(&|body| body["timeZone"] = json!("Mars/Base")).await;
    assert_eq!((message.as_str(), field.as_str()), (sentence, "job.time_zone"));
    let (_, field, rule) = refused(&|body| body["schedule"] = json!("0 0 30 2 *")).await;
    assert!(field == "job.schedule" && rule.contains("never happens"), "{rule}");
    for (expected, change) in [
        (
            "job.pubsub_target",
            &(|body: &mut Value| {
                body["pubsubTarget"] = json!({"topicName": "t"});
                body.as_object_mut().expect("one").remove("httpTarget");
            }) as &dyn Fn(&mut Value),
        ),
        ("job.http_target", &|body| drop(body.as_object_mut().expect("one").remove("httpTarget"))),
        ("job.http_target.uri", &|body| body["httpTarget"]["uri"] = json!("ftp://a/")),
        ("job.attempt_deadline", &|body| body["attemptDeadline"] = json!("1801s")),
        ("job.retry_config.retry_count", &|body| body["retryConfig"]["retryCount"] = json!(6)),
        ("job.name", &|body| body["name"] = json!(format!("{PLACE}/jobs/a b"))),
        ("job.http_target.oidc_token.service_account_email", &|body| {
            body["httpTarget"]["oidcToken"] = json!({"serviceAccountEmail": "a@other-project.iam.gserviceaccount.com"});
        }),
        ("job.http_target.oauth_token", &|body| {
            body["httpTarget"]["oauthToken"] = json!({"serviceAccountEmail": "a@demo-project.iam.gserviceaccount.com"});
        }),
    ] {
        assert_eq!(refused(change).await.1, expected);
    }
    let large = "A".repeat(1_500_000);
    let (message, field, _) = refused(&|body| body["httpTarget"]["body"] = json!(large)).await;
    assert!(field == "job" && !message.contains("AAAA"), "{message}");
}

#[tokio::test]
async fn a_name_is_taken_once_and_one_of_chance_is_given() {
    let server = Server::start(AuthMode::None).await;
    ok(&server, Method::POST, JOBS, sent("sj1")).await;
    let (status, answer) = server.ask(Method::POST, JOBS, sent("sj1")).await;
    let message = format!("Job {PLACE}/jobs/sj1 already exists.");
    assert_eq!((status, &answer["error"]["message"]), (StatusCode::CONFLICT, &json!(message)));
    let mut nameless = sent("");
    nameless.as_object_mut().expect("one").remove("name");
    let names =
        [ok(&server, Method::POST, JOBS, nameless.clone()).await, ok(&server, Method::POST, JOBS, nameless).await];
    assert_ne!(names[0]["name"], names[1]["name"]);
    assert!(names[0]["name"].as_str().is_some_and(|name| name.starts_with(&format!("{PLACE}/jobs/"))));
}

#[tokio::test]
async fn acting_as_an_account_needs_the_right_to_and_the_account_to_be_there() {
    let server = Server::start(AuthMode::None).await;
    let mut body = sent("sj1");
    let account = "runner@demo-project.iam.gserviceaccount.com";
    body["httpTarget"]["oidcToken"] = json!({"serviceAccountEmail": account});
    let (status, answer) = server.ask(Method::POST, JOBS, body.clone()).await;
    assert_eq!((status, &answer["error"]["status"]), (StatusCode::FORBIDDEN, &json!("PERMISSION_DENIED")));
    assert!(answer["error"]["message"].as_str().is_some_and(|message| message.contains(account)), "{answer:#}");
    ok(&server, Method::POST, "/v1/projects/demo-project/serviceAccounts", json!({"accountId": "runner"})).await;
    let made = ok(&server, Method::POST, JOBS, body).await;
    let token = json!({"serviceAccountEmail": account, "audience": "https://demo.example.com/"});
    assert_eq!(made["httpTarget"]["oidcToken"], token, "it is for the target");
}

#[tokio::test]
async fn both_wires_reach_the_same_job() {
    let server = Server::start(AuthMode::None).await;
    let address = server.listen().await;
    let channel =
        tonic::transport::Channel::from_shared(address).expect("an address").connect().await.expect("connects");
    let mut client = CloudSchedulerClient::new(channel);
    let target = HttpTarget { uri: "https://demo.example.com/".to_owned(), ..HttpTarget::default() };
    let name = format!("{PLACE}/jobs/sj1");
    let sent = Job {
        name: name.clone(),
        schedule: "every 5 minutes".to_owned(),
        target: Some(job::Target::HttpTarget(target)),
        ..Job::default()
    };
    let request = CreateJobRequest { parent: PLACE.to_owned(), job: Some(sent.clone()) };
    let made = client.create_job(request).await.expect("is made").into_inner();
    assert_eq!(
        (made.name.as_str(), made.state(), made.time_zone.as_str()),
        (name.as_str(), job::State::Enabled, "Etc/UTC")
    );
    let read = client.get_job(GetJobRequest { name: name.clone() }).await.expect("is read").into_inner();
    assert_eq!(read, made);
    let listed = client.list_jobs(ListJobsRequest { parent: PLACE.to_owned(), ..Default::default() }).await;
    assert_eq!(listed.expect("lists").into_inner().jobs, [made]);
    // Without a mask all of it is meant.
    let whole = UpdateJobRequest { job: Some(Job { description: "d".to_owned(), ..sent }), update_mask: None };
    assert_eq!(client.update_job(whole).await.expect("is changed").into_inner().description, "d");
    let run = client.run_job(RunJobRequest { name: name.clone() }).await.expect("is asked for").into_inner();
    assert!(run.schedule_time.is_some());
    let by_rest = ok(&server, Method::GET, &format!("{JOBS}/sj1"), Value::Null).await;
    assert_eq!(by_rest["description"], "d");
    client.delete_job(DeleteJobRequest { name: name.clone() }).await.expect("is deleted");
    let status = client.get_job(GetJobRequest { name }).await.expect_err("is gone");
    assert_eq!(status.code(), tonic::Code::NotFound);
    let details = updraft_api::rpc::Status::decode(status.details()).expect("details");
    let info: updraft_api::rpc::ErrorInfo = updraft_api::unpack(&details.details[0]).expect("whose it is");
    assert_eq!(info.domain, "cloudscheduler.googleapis.com");
    server.tasks.shutdown().ask();
}

#[tokio::test]
async fn the_prefix_leads_to_cloud_scheduler_only() {
    let server = Server::start(AuthMode::None).await;
    for path in [
        format!("/run/v1/{PLACE}/jobs"),
        format!("/secretmanager/v1/{PLACE}/jobs"),
        format!("/cloudscheduler/v2/{PLACE}/services"),
        "/cloudscheduler/apis/serving.knative.dev/v1/namespaces/demo-project/services".to_owned(),
    ] {
        assert_eq!(server.refusal(Method::GET, &path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let (status, message) = server.refusal(Method::PUT, &format!("{JOBS}/sj1")).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(message.ends_with("only GET, PATCH, DELETE"), "{message}");
    let (status, message) =
        server.refusal(Method::GET, "/cloudscheduler/v1/projects/demo-project/locations/mars/jobs").await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{message}");
}
