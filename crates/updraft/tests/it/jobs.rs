//! Worlds of jobs: the whole server in this process, with a fake engine and virtual time.

use std::time::Duration;

use serde_json::{Value, json};
use updraft_base::Clock;
use updraft_testkit::World;

const JOBS: &str = "/v2/projects/demo-project/locations/us-central1/jobs";

fn job(image: &str, args: &[&str], more: Value) -> Value {
    let mut task = json!({"containers": [{"image": image, "args": args}]});
    let mut template = json!({});
    for (name, value) in more.as_object().expect("an object") {
        match name.as_str() {
            "taskCount" | "parallelism" => template[name] = value.clone(),
            _ => task[name] = value.clone(),
        }
    }
    template["template"] = task;
    json!({"template": template})
}

async fn create(world: &World, id: &str, body: Value) {
    let operation = world.ok("POST", &format!("{JOBS}?jobId={id}"), body).await;
    assert_eq!(operation["done"], true, "{operation:#}");
    assert_eq!(operation["response"]["terminalCondition"]["state"], "CONDITION_SUCCEEDED", "{operation:#}");
}

/// Begins an execution; its operation.
async fn run(world: &World, id: &str, body: Value) -> Value {
    world.ok("POST", &format!("{JOBS}/{id}:run"), body).await
}

fn name(operation: &Value) -> &str {
    operation["metadata"]["name"].as_str().expect("its execution")
}

async fn execution(world: &World, operation: &Value) -> Value {
    world.ok("GET", &format!("/v2/{}", name(operation)), Value::Null).await
}

async fn tasks(world: &World, operation: &Value) -> Vec<Value> {
    let listed = world.ok("GET", &format!("/v2/{}/tasks?pageSize=1000", name(operation)), Value::Null).await;
    listed["tasks"].as_array().cloned().unwrap_or_default()
}

fn conditions(resource: &Value) -> Vec<String> {
    let all = resource["conditions"].as_array().expect("conditions");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.iter().map(|one| format!("{} {}", text(&one["type"]), text(&one["state"]))).collect()
}

#[tokio::test]
async fn a_job_runs_its_tasks_to_their_end_and_says_so() {
    let world = World::start().await;
    let image = world.image("batch").await;
    create(&world, "batch", job(&image, &["print=done"], json!({"taskCount": 5, "parallelism": 2}))).await;
    let begun = run(&world, "batch", json!({})).await;
    let done = world.done(&begun).await;
    assert!(done["error"].is_null(), "{done:#}");
    let ended = execution(&world, &begun).await;
    assert_eq!(
        (&ended["succeededCount"], &ended["taskCount"], &ended["reconciling"]),
        (&json!(5), &json!(5), &Value::Null)
    );
    assert_eq!(
        conditions(&ended),
        ["ResourcesAvailable CONDITION_SUCCEEDED", "Started CONDITION_SUCCEEDED", "Completed CONDITION_SUCCEEDED"]
    );
    let tasks = tasks(&world, &begun).await;
    assert_eq!(tasks.len(), 5);
    for (index, task) in tasks.iter().enumerate() {
        assert_eq!(task["index"].as_u64().unwrap_or_default(), index as u64);
        assert_eq!(conditions(task), ["Started CONDITION_SUCCEEDED", "Completed CONDITION_SUCCEEDED"]);
        assert_eq!(task["lastAttemptResult"]["status"], json!({}), "{task:#}");
    }
    assert!(world.engine.peak_live() <= 2, "never more at a time than the job allows");
    let job = world.ok("GET", &format!("{JOBS}/batch"), Value::Null).await;
    assert_eq!(job["executionCount"], 1);
    assert_eq!(job["latestCreatedExecution"]["completionStatus"], "EXECUTION_SUCCEEDED", "{job:#}");
    world.end().await;
}

#[tokio::test]
async fn a_task_that_fails_is_tried_again_and_then_fails_its_execution() {
    let world = World::start().await;
    let image = world.image("batch").await;
    create(&world, "batch", job(&image, &["exit=3"], json!({"taskCount": 2, "maxRetries": 1}))).await;
    let begun = run(&world, "batch", json!({})).await;
    let done = world.done(&begun).await;
    assert_eq!(done["error"]["code"], 9, "{done:#}");
    let ended = execution(&world, &begun).await;
    assert_eq!((&ended["failedCount"], &ended["retriedCount"]), (&json!(2), &json!(2)));
    let message = ended["conditions"][2]["message"].as_str().unwrap_or_default();
    assert!(message.contains("-task0") && message.contains("exit code was 3"), "{message}");
    assert_eq!(world.engine.records().len(), 4);
    for task in tasks(&world, &begun).await {
        assert_eq!((&task["retried"], &task["lastAttemptResult"]["exitCode"]), (&json!(1), &json!(3)), "{task:#}");
    }
    world.end().await;
}

#[tokio::test]
async fn what_one_run_has_otherwise_is_of_that_run_alone() {
    let world = World::start().await;
    let image = world.image("batch").await;
    create(&world, "batch", job(&image, &["exit=1"], json!({"maxRetries": 0}))).await;
    let overrides = json!({"overrides": {
        "containerOverrides": [{"args": ["exit=0"], "env": [{"name": "A", "value": "1"}]}],
        "taskCount": 3, "parallelism": 1, "timeout": "30s",
    }});
    let begun = run(&world, "batch", overrides).await;
    let done = world.done(&begun).await;
    assert!(done["error"].is_null(), "{done:#}");
    let response = &done["response"];
    assert_eq!((&response["succeededCount"], &response["parallelism"]), (&json!(3), &json!(1)));
    assert_eq!(response["template"]["containers"][0]["args"], json!(["exit=0"]));
    let job = world.ok("GET", &format!("{JOBS}/batch"), Value::Null).await;
    assert_eq!(job["template"]["template"]["containers"][0]["args"], json!(["exit=1"]));
    let refused = world.call("POST", &format!("{JOBS}/batch:run"), json!({"overrides": {"taskCount": 10_001}})).await;
    assert_eq!(refused.status, 400, "{:?}", refused.body);
    world.end().await;
}

#[tokio::test]
async fn an_execution_that_is_cancelled_ends_what_runs_and_begins_nothing_more() {
    let world = World::start().await;
    let image = world.image("batch").await;
    create(&world, "batch", job(&image, &["sleep"], json!({"taskCount": 10, "parallelism": 2}))).await;
    let begun = run(&world, "batch", json!({})).await;
    world.until("two run", || world.engine.live() == 2).await;
    let cancelled = world.ok("POST", &format!("/v2/{}:cancel", name(&begun)), json!({})).await;
    let done = world.done(&cancelled).await;
    assert_eq!(done["response"]["cancelledCount"], 2, "{done:#}");
    assert_eq!(world.engine.records().len(), 2);
    let whole = world.done(&begun).await;
    assert_eq!(whole["error"]["code"], 1, "{whole:#}");
    let tasks = tasks(&world, &begun).await;
    let told: Vec<&str> =
        tasks.iter().map(|task| task["conditions"][1]["executionReason"].as_str().unwrap_or_default()).collect();
    assert_eq!(told, ["CANCELLED"; 10]);
    let again = world.call("POST", &format!("/v2/{}:cancel", name(&begun)), json!({})).await;
    assert_eq!(again.status, 400, "it is over: {:?}", again.body);
    world.end().await;
}

#[tokio::test]
async fn a_task_that_takes_too_long_is_ended_and_counts_as_failed() {
    let world = World::start().await;
    let image = world.image("batch").await;
    create(&world, "batch", job(&image, &["sleep"], json!({"maxRetries": 0, "timeout": "60s"}))).await;
    let begun = run(&world, "batch", json!({})).await;
    world.until("it runs", || world.engine.live() == 1).await;
    world.hand.advance(Duration::from_secs(61));
    let done = world.done(&begun).await;
    let message = done["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("timeout"), "{done:#}");
    world.end().await;
}

#[tokio::test]
async fn a_job_whose_execution_runs_is_not_deleted_and_then_nothing_of_it_is_left() {
    let world = World::start().await;
    let image = world.image("batch").await;
    create(&world, "batch", job(&image, &["ignore-term", "sleep"], json!({}))).await;
    let begun = run(&world, "batch", json!({})).await;
    world.until("it runs", || world.engine.live() == 1).await;
    let refused = world.call("DELETE", &format!("{JOBS}/batch"), Value::Null).await;
    assert_eq!(refused.status, 400, "{:?}", refused.body);
    let deleted = world.ok("DELETE", &format!("/v2/{}", name(&begun)), Value::Null).await;
    assert_eq!((&deleted["done"], world.engine.live()), (&Value::Null, 1), "it has ten seconds to end");
    world.done(&deleted).await;
    assert_eq!(world.engine.live(), 0, "that was waited for");
    let ended = series(&world).await;
    assert!(ended[0].contains(r#"result="cancelled"} 1"#) && ended.len() == 2, "{ended:?}");
    let operation = world.ok("DELETE", &format!("{JOBS}/batch"), Value::Null).await;
    world.done(&operation).await;
    for path in [format!("{JOBS}/batch"), format!("/v2/{}", name(&begun))] {
        assert_eq!(world.call("GET", &path, Value::Null).await.status, 404, "{path}");
    }
    world.end().await;
}

#[tokio::test]
async fn only_what_failed_is_run_again_under_its_own_indexes() {
    let world = World::start().await;
    let image = world.image("batch").await;
    create(&world, "batch", job(&image, &["sleep"], json!({"taskCount": 3, "maxRetries": 0}))).await;
    let begun = run(&world, "batch", json!({})).await;
    world.until("all run", || world.engine.live() == 3).await;
    for record in world.engine.records() {
        let code = i32::from(!record.owner.to_string().contains("-task1/"));
        assert!(world.engine.kill(&record.id, updraft_model::instance::Exit::Code(code)));
    }
    let done = world.done(&begun).await;
    assert_eq!(done["error"]["code"], 9, "{done:#}");
    let id = name(&begun).rsplit('/').next().expect("an id");
    let path = format!("/updraft/v1/executions:rerun?job=batch&execution={id}");
    let again = world.ok("POST", &path, Value::Null).await;
    world.until("two run", || world.engine.live() == 2).await;
    let indexes: Vec<Value> = tasks(&world, &again).await.iter().map(|task| task["index"].clone()).collect();
    assert_eq!(indexes, [Value::Null, json!(2)], "0 is left out, as proto3 does");
    for owner in world.engine.owners() {
        assert!(owner.to_string().contains(name(&again)), "{owner}");
    }
    for record in world.engine.records() {
        world.engine.kill(&record.id, updraft_model::instance::Exit::Code(4));
    }
    world.done(&again).await;
    let message = execution(&world, &again).await["conditions"][2]["message"].take();
    let message = message.as_str().expect("a message");
    assert!(message.contains("-task0 failed") && message.contains("2 tasks failed: 0, 2."), "{message}");
    let id = name(&again).rsplit('/').next().expect("an id");
    let path = format!("/updraft/v1/executions:rerun?job=batch&execution={id}");
    let again = world.ok("POST", &path, Value::Null).await;
    world.until("two run", || world.engine.live() == 2).await;
    for record in world.engine.records() {
        world.engine.kill(&record.id, updraft_model::instance::Exit::Code(0));
    }
    let done = world.done(&again).await;
    assert_eq!(done["response"]["succeededCount"], 2, "{done:#}");
    let refused =
        world.call("POST", &path.replace(id, name(&again).rsplit('/').next().expect("an id")), Value::Null).await;
    assert_eq!(refused.status, 400, "nothing failed: {:?}", refused.body);
    world.end().await;
}

/// How many tasks this machine runs at a time, found out by running more; the execution that has them.
async fn full(world: &World) -> (usize, Value) {
    let image = world.image("batch").await;
    create(world, "batch", job(&image, &["sleep"], json!({"taskCount": 10_000}))).await;
    let begun = run(world, "batch", json!({})).await;
    world.until("as many run as may", || world.engine.live() >= 16).await;
    let counts = world.drive(execution(world, &begun)).await;
    (usize::try_from(counts["runningCount"].as_u64().expect("a count")).expect("few"), begun)
}

/// Waits while no time passes.
async fn at_once(what: &str, condition: impl Fn() -> bool) {
    let real = Clock::system();
    let deadline = real.instant() + Duration::from_secs(20);
    while !condition() {
        assert!(real.instant() < deadline, "{what}");
        real.sleep(Duration::from_millis(1)).await;
    }
}

/// One of an execution's tasks that run ends well.
fn end_one(world: &World, of: &str) {
    let record = world.engine.records().into_iter().find(|record| {
        record.owner.to_string().contains(of) && world.engine.kill(&record.id, updraft_model::instance::Exit::Code(0))
    });
    assert!(record.is_some(), "one runs");
}

#[tokio::test]
async fn a_place_that_comes_free_on_a_full_machine_is_taken_at_once() {
    let world = World::start().await;
    let (places, begun) = full(&world).await;
    for ended in 1..=3 {
        end_one(&world, name(&begun));
        at_once("another begins", || world.engine.records().len() == places + ended).await;
    }
    assert_eq!(world.engine.live(), places);
    world.end().await;
}

#[tokio::test]
async fn an_execution_that_comes_later_has_the_next_places_and_no_more_than_its_part() {
    let world = World::start().await;
    let (places, first) = full(&world).await;
    let second = run(&world, "batch", json!({"overrides": {"taskCount": 40}})).await;
    // Its image is there, so it waits for nothing but places.
    world.drive(async { while !execution(&world, &second).await.to_string().contains("Waiting for memory") {} }).await;
    let owned = |of: &Value| world.engine.owners().iter().filter(|one| one.to_string().contains(name(of))).count();
    for ended in 1..=places / 2 {
        end_one(&world, name(&first));
        at_once("the second begins one", || owned(&second) == ended).await;
    }
    end_one(&world, name(&first));
    at_once("the first begins one", || world.engine.records().len() == places + places / 2 + 1).await;
    assert_eq!((owned(&first), owned(&second)), (places - places / 2, places / 2));
    world.end().await;
}

#[tokio::test]
async fn the_token_of_a_write_means_one_execution_however_often_it_is_written() {
    let world = World::start().await;
    let image = world.image("batch").await;
    let path = format!("{JOBS}/batch");
    let with = |token: &str| {
        let mut wanted = job(&image, &["exit=0"], json!({}));
        wanted["startExecutionToken"] = json!(token);
        wanted
    };
    let created = world.ok("POST", &format!("{JOBS}?jobId=batch"), with("v1")).await;
    world.done(&created).await;
    let by_hand = run(&world, "batch", json!({})).await;
    world.done(&by_hand).await;
    let again = world.ok("PATCH", &path, with("v1")).await;
    assert_eq!(again["done"], true, "{again:#}");
    let another = world.ok("PATCH", &path, with("v2")).await;
    world.done(&another).await;
    let job = world.ok("GET", &path, Value::Null).await;
    assert_eq!((&job["executionCount"], &job["latestCreatedExecution"]["name"]), (&json!(3), &json!("batch-v2")));
    // One that is gone is not run again for it.
    let gone = world.ok("DELETE", &format!("{path}/executions/batch-v2"), Value::Null).await;
    world.done(&gone).await;
    let again = world.ok("PATCH", &path, with("v2")).await;
    assert_eq!(again["done"], true, "{again:#}");
    assert_eq!(world.engine.records().len(), 3);
    world.end().await;
}

/// What Prometheus is told of jobs: `metric{labels without the place} value`.
async fn series(world: &World) -> Vec<String> {
    let text = world.call("GET", "/metrics", Value::Null).await.body;
    let of_jobs = text.lines().filter_map(|line| line.strip_prefix("updraft_job_"));
    of_jobs.map(|line| line.replace(r#"project_id="demo-project",location="us-central1","#, "")).collect()
}

#[tokio::test]
async fn what_there_is_and_was_of_a_job_is_told_prometheus_until_it_is_deleted() {
    let world = World::start().await;
    let image = world.image("batch").await;
    assert!(series(&world).await.is_empty(), "nothing has run");
    create(&world, "failing", job(&image, &["exit=3"], json!({"taskCount": 2, "maxRetries": 1}))).await;
    let begun = run(&world, "failing", json!({})).await;
    world.done(&begun).await;
    let failed = [
        r#"completed_execution_count_total{job_name="failing",result="failed"} 1"#,
        r#"completed_task_attempt_count_total{job_name="failing",attempt="0",result="failed"} 2"#,
        r#"completed_task_attempt_count_total{job_name="failing",attempt="1",result="failed"} 2"#,
    ];
    assert_eq!(series(&world).await, failed);

    create(&world, "long", job(&image, &["sleep"], json!({"taskCount": 9, "parallelism": 2}))).await;
    let begun = run(&world, "long", json!({})).await;
    world.until("two run", || world.engine.live() == 2).await;
    let running = [r#"running_executions{job_name="long"} 1"#, r#"running_task_attempts{job_name="long"} 2"#];
    assert_eq!(series(&world).await[..2], running);
    let cancelled = world.ok("POST", &format!("/v2/{}:cancel", name(&begun)), json!({})).await;
    world.done(&cancelled).await;
    let operation = world.ok("DELETE", &format!("{JOBS}/failing"), Value::Null).await;
    world.done(&operation).await;
    let cancelled = [
        r#"completed_execution_count_total{job_name="long",result="cancelled"} 1"#,
        r#"completed_task_attempt_count_total{job_name="long",attempt="0",result="cancelled"} 2"#,
    ];
    assert_eq!(series(&world).await, cancelled);
    world.end().await;
}
