//! Scheduled jobs in a world: from the call that makes one to the request that a service, or the API, answers.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use updraft_testkit::World;

const JOBS: &str = "/cloudscheduler/v1/projects/demo-project/locations/us-central1/jobs";
const SERVICES: &str = "/v2/projects/demo-project/locations/us-central1/services";
const PROJECT: &str = "/v1/projects/demo-project";
const CALLER: &str = "caller@demo-project.iam.gserviceaccount.com";

async fn account(world: &World) {
    world.ok("POST", &format!("{PROJECT}/serviceAccounts"), json!({"accountId": "caller"})).await;
}

fn policy(role: &str) -> Value {
    json!({"policy": {"bindings": [{"role": role, "members": [format!("serviceAccount:{CALLER}")]}]}})
}

/// Makes a job that runs every minute.
async fn job(world: &World, id: &str, target: Value) -> Value {
    let name = format!("projects/demo-project/locations/us-central1/jobs/{id}");
    world.ok("POST", JOBS, json!({"name": name, "schedule": "* * * * *", "httpTarget": target})).await
}

async fn get(world: &World, id: &str) -> Value {
    world.ok("GET", &format!("{JOBS}/{id}"), Value::Null).await
}

/// What time it is in the world, a moment later than whatever has begun so far.
fn mark(world: &World) -> Timestamp {
    world.hand.advance(Duration::from_millis(1));
    let now = Timestamp::from_second(1_767_225_600).expect("the beginning of 2026") + world.hand.elapsed();
    world.hand.advance(Duration::from_millis(1));
    now
}

fn time_of(value: &Value) -> Option<Timestamp> {
    value.as_str().map(|text| text.parse().expect("a time"))
}

/// The job after its next attempt.
async fn attempted(world: &World, id: &str) -> Value {
    attempted_since(world, id, mark(world)).await
}

/// The job after an attempt that began later than `since`: what was under way at that time may know nothing of what the test
/// has done. Nothing is hurried but the wait until it is due, so that a slow machine has one attempt for one.
async fn attempted_since(world: &World, id: &str, since: Timestamp) -> Value {
    let real = updraft_base::Clock::system();
    let begun = real.instant();
    loop {
        let job = get(world, id).await;
        if time_of(&job["lastAttemptTime"]).is_some_and(|began| began > since) {
            return job;
        }
        assert!(real.instant() - begun < Duration::from_secs(30), "no attempt: {job:#}");
        let step = match time_of(&job["scheduleTime"]).is_some_and(|due| due > mark(world)) {
            true => Duration::from_secs(5),
            false => Duration::from_millis(20),
        };
        world.hand.advance(step);
        real.sleep(Duration::from_millis(5)).await;
    }
}

/// What the log of a job says, the oldest first, once it says so much: nobody waits for it to be written.
async fn log(world: &World, id: &str, count: usize) -> Vec<Value> {
    let begun = updraft_base::Clock::system().instant();
    loop {
        let entries = logged(world, id).await;
        if entries.len() >= count {
            return entries;
        }
        assert!(updraft_base::Clock::system().instant() - begun < Duration::from_secs(30), "{entries:#?}");
        updraft_base::Clock::system().sleep(Duration::from_millis(5)).await;
    }
}

async fn logged(world: &World, id: &str) -> Vec<Value> {
    let filter = format!("resource.type=\"cloud_scheduler_job\" resource.labels.job_id=\"{id}\"");
    let ask = json!({"resourceNames": ["projects/demo-project"], "filter": filter, "orderBy": "timestamp asc"});
    let answer = world.ok("POST", "/v2/entries:list", ask).await;
    answer["entries"].as_array().cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_private_service_is_requested_as_the_account_of_the_job_and_only_while_that_may_call_it() {
    let world = World::start().await;
    account(&world).await;
    let image = world.image("hello").await;
    let template = json!({"containers": [{"image": image, "args": ["serve"]}]});
    let operation = world.ok("POST", &format!("{SERVICES}?serviceId=hello"), json!({"template": template})).await;
    let service = world.done(&operation).await["response"].take();
    let uri = service["uri"].as_str().expect("a URL").to_owned();
    world.ok("POST", &format!("{SERVICES}/hello:setIamPolicy"), policy("roles/run.invoker")).await;

    let target = json!({"uri": format!("{uri}/echo"), "body": "aGk=",
        "oidcToken": {"serviceAccountEmail": CALLER, "audience": uri}});
    let made = job(&world, "nightly", target).await;
    assert_eq!((&made["scheduleTime"], &made["lastAttemptTime"]), (&json!("2026-01-01T00:01:00Z"), &Value::Null));
    let served = || world.engine.records().iter().map(|record| record.served()).sum::<u64>();
    let before = served();
    let first = attempted(&world, "nightly").await;
    assert_eq!(first["status"], json!({}), "{first:#}");
    assert_eq!(served(), before + 1);
    assert_ne!(first["scheduleTime"], made["scheduleTime"], "the next time is another one");
    let entries = log(&world, "nightly", 2).await;
    let kinds: Vec<&str> = entries.iter().filter_map(|entry| entry["jsonPayload"]["@type"].as_str()).collect();
    assert!(kinds[0].ends_with(".AttemptStarted") && kinds[1].ends_with(".AttemptFinished"), "{entries:#?}");
    assert_eq!((&entries[1]["httpRequest"]["status"], &entries[1]["severity"]), (&json!(200), &json!("INFO")));

    // Whoever may not call it any more is refused like everybody else.
    world.ok("POST", &format!("{SERVICES}/hello:setIamPolicy"), json!({"policy": {}})).await;
    let second = attempted(&world, "nightly").await;
    assert_eq!(second["status"], json!({"code": 7, "message": "The target answered 403."}));
    assert_eq!(served(), before + 1);
    // Switched off, it has no token to show.
    world.ok("POST", &format!("{PROJECT}/serviceAccounts/{CALLER}:disable"), json!({})).await;
    let third = attempted(&world, "nightly").await;
    assert_eq!(third["status"]["code"], 16, "{third:#}");
    assert!(third["status"]["message"].as_str().is_some_and(|message| message.contains("is disabled")), "{third:#}");
    world.end().await;
}

#[tokio::test]
async fn calls_of_the_api_are_this_servers_to_answer_and_without_a_token_nobody_makes_them() {
    let world = World::start().await;
    account(&world).await;
    let address = world.server.address;
    let token = json!({"serviceAccountEmail": CALLER});
    let get_with = |uri: String, token: &Value| json!({"uri": uri, "httpMethod": "GET", "oauthToken": token});
    // Everybody on this machine is its owner while nobody is asked for a token; what a job requests is not.
    let none = json!({"uri": format!("http://{address}{SERVICES}"), "httpMethod": "GET"});
    let by_name = json!({"uri": format!("http://localhost:{}{SERVICES}", address.port()), "httpMethod": "GET"});
    let by_host = json!({"uri": format!("https://run.googleapis.com{SERVICES}"), "httpMethod": "GET"});
    for (id, target) in [("none", none), ("by-name", by_name), ("by-host", by_host)] {
        job(&world, id, target).await;
        let tried = attempted(&world, id).await;
        assert_eq!(tried["status"], json!({"code": 16, "message": "The target answered 401."}), "{id}");
    }
    let uri = format!("https://run.googleapis.com{SERVICES}");
    let made = job(&world, "list", get_with(uri, &token)).await;
    assert_eq!(made["httpTarget"]["oauthToken"]["scope"], "https://www.googleapis.com/auth/cloud-platform");
    let first = attempted(&world, "list").await;
    assert_eq!(first["status"]["code"], 7, "it may nothing: {first:#}");
    world.ok("POST", &format!("{PROJECT}:setIamPolicy"), policy("roles/run.viewer")).await;
    let second = attempted(&world, "list").await;
    assert_eq!(second["status"], json!({}), "{second:#}");
    // As version 1 is called, at the host of the region.
    let v1 = "https://us-central1-run.googleapis.com/apis/serving.knative.dev/v1/namespaces/demo-project/services";
    job(&world, "v1", get_with(v1.to_owned(), &token)).await;
    assert_eq!(attempted(&world, "v1").await["status"], json!({}));
    world.end().await;
}

#[tokio::test]
async fn a_service_for_internal_requests_is_reached_by_jobs_of_its_project_and_by_no_others() {
    let world = World::start().await;
    let image = world.image("hello").await;
    let template = json!({"containers": [{"image": image, "args": ["serve"]}]});
    let body = json!({"template": template, "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY", "invokerIamDisabled": true});
    let operation = world.ok("POST", &format!("{SERVICES}?serviceId=hello"), body).await;
    let service = world.done(&operation).await["response"].take();
    let uri = service["uri"].as_str().expect("a URL").to_owned();
    assert_eq!(world.get(&uri, "/").await.status, 404);
    let made = job(&world, "near", json!({"uri": uri})).await;
    assert_eq!(attempted(&world, "near").await["status"], json!({}));
    let (far, name) = (JOBS.replace("demo-project", "far-project"), made["name"].as_str().expect("a name"));
    let name = name.replace("demo-project", "far-project");
    let body = json!({"name": name, "schedule": "* * * * *", "httpTarget": {"uri": uri}});
    world.ok("POST", &far, body).await;
    let ran = async || world.ok("GET", &format!("{far}/near"), Value::Null).await;
    world.ok("POST", &format!("{far}/near:run"), json!({})).await;
    let tried = world.drive(async {
        loop {
            let job = ran().await;
            if job["lastAttemptTime"].is_string() {
                return job;
            }
        }
    });
    assert_eq!(tried.await["status"], json!({"code": 5, "message": "The target answered 404."}));
    world.end().await;
}

#[tokio::test]
async fn no_spelling_of_this_machine_leads_to_the_server_as_its_owner() {
    let world = World::start().await;
    world.allow("was not", "what is refused on the way out is told the operator");
    let (port, registry) = (world.server.address.port(), world.server.registry.port());
    for (id, uri) in [
        ("short", format!("http://127.1:{port}{SERVICES}")),
        ("number", format!("http://2130706433:{port}{SERVICES}")),
        ("hex", format!("http://0x7f.0.0.1:{port}{SERVICES}")),
        ("other", format!("http://127.0.0.2:{port}{SERVICES}")),
        ("registry", format!("http://127.0.0.1:{registry}/v2/")),
    ] {
        job(&world, id, json!({"uri": uri, "httpMethod": "DELETE"})).await;
        let tried = attempted(&world, id).await;
        let status = &tried["status"];
        let is_refused = status["message"].as_str().is_some_and(|message| message.contains("never reached for users"));
        // 127.0.0.2 is taken for the server before it comes to that.
        let is_nobody = status["code"] == 16;
        assert!((status["code"] == 7 && is_refused) || is_nobody, "{uri}: {tried:#}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_run_is_had_at_once_also_of_a_job_that_rests() {
    let world = World::start().await;
    let image = world.image("hello").await;
    let service = world.deploy("hello", json!({"containers": [{"image": image, "args": ["serve"]}]})).await;
    let uri = service["uri"].as_str().expect("a URL");
    let target = json!({"uri": format!("{uri}/"), "httpMethod": "GET"});
    let name = "projects/demo-project/locations/us-central1/jobs/yearly";
    let made = json!({"name": name, "schedule": "0 0 1 1 *", "timeZone": "Europe/Berlin", "httpTarget": target});
    let made = world.ok("POST", JOBS, made).await;
    assert_eq!(made["scheduleTime"], "2026-12-31T23:00:00Z");
    world.ok("POST", &format!("{JOBS}/yearly:pause"), json!({})).await;
    let before = mark(&world);
    world.ok("POST", &format!("{JOBS}/yearly:run"), json!({})).await;
    let run = attempted_since(&world, "yearly", before).await;
    assert_eq!((&run["status"], &run["state"], &run["scheduleTime"]), (&json!({}), &json!("PAUSED"), &Value::Null));
    world.end().await;
}
