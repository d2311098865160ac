//! Jobs over the binary: tasks in real containers, some of which fail, and a server that is killed meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use reqwest::Client;
use serde_json::{Value, json};
use updraft_base::Clock;

use super::{
    adoption::log,
    host::{Host, PATIENCE, containers_run_here, eventually},
    images,
    killed::{Chance, assert_nothing_left},
    traces::Traces,
};

pub(super) const JOBS: &str = "/v2/projects/demo-project/locations/us-central1/jobs";
/// How often the server is killed.
const KILLS: usize = 20;
const TASKS: u64 = 500;

pub(super) async fn call(host: &Host, client: &Client, path: &str, body: Option<&Value>) -> Value {
    let url = format!("http://{}{path}", host.address);
    let request = match body {
        Some(body) => client.post(url).json(body),
        None => client.get(url),
    };
    let answer = request.send().await.expect("an answer");
    let (status, text) = (answer.status(), answer.text().await.expect("text"));
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_str(&text).expect("JSON")
}

/// Makes a job of the witness with these arguments and begins an execution of it; its name.
async fn begin(host: &Host, client: &Client, (id, args): (&str, &[&str]), template: Value) -> String {
    let image = format!("localhost/{id}:latest");
    host.load(&images::witness_with(id, &[]));
    let mut job = json!({"template": template});
    job["template"]["template"]["containers"] = json!([{"image": image, "args": args}]);
    call(host, client, &format!("{JOBS}?jobId={id}"), Some(&job)).await;
    let begun = call(host, client, &format!("{JOBS}/{id}:run"), Some(&json!({}))).await;
    begun["metadata"]["name"].as_str().expect("a name").to_owned()
}

/// Waits until an execution is over.
pub(super) async fn over(host: &Host, client: &Client, name: &str) -> Value {
    let (clock, path) = (Clock::system(), format!("/v2/{name}"));
    let deadline = clock.instant() + 4 * PATIENCE;
    loop {
        let execution = call(host, client, &path, None).await;
        if execution["reconciling"].is_null() {
            return execution;
        }
        assert!(clock.instant() < deadline, "{execution:#}");
        clock.sleep(Duration::from_millis(50)).await;
    }
}

async fn tasks(host: &Host, client: &Client, name: &str) -> Vec<Value> {
    let listed = call(host, client, &format!("/v2/{name}/tasks?pageSize=1000"), None).await;
    listed["tasks"].as_array().cloned().unwrap_or_default()
}

/// What attempts have written: by index, the attempts and the results, each as often as it was written. Each was told that
/// there are `count` tasks.
fn written(host: &Host, (id, count): (&str, u64)) -> BTreeMap<u64, Vec<(u64, u64)>> {
    let mut found: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for (_, text) in log(&host.data_dir(), &format!("job.{id}")) {
        let words: Vec<&str> = text.split(' ').collect();
        if let ["task", numbers @ ..] = &words[..] {
            let numbers: Vec<u64> = numbers.iter().map(|word| word.parse().expect("a number")).collect();
            let [index, attempt, told, result] = numbers[..] else { panic!("{text}") };
            assert_eq!(told, count, "{text}");
            found.entry(index).or_default().push((attempt, result));
        }
    }
    found
}

/// By index, the instances that came to a success.
fn done(host: &Host, id: &str) -> BTreeMap<u64, BTreeSet<String>> {
    let mut found: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for (instance, text) in log(&host.data_dir(), &format!("job.{id}")) {
        if let ["done", index, _] = text.split(' ').collect::<Vec<_>>()[..] {
            found.entry(index.parse().expect("a number")).or_default().insert(instance);
        }
    }
    found
}

/// The tasks of these that have succeeded: what is said of each may not change any more.
fn successes(tasks: &[Value]) -> BTreeMap<u64, Value> {
    let is_success = |task: &&Value| {
        let conditions = task["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|one| one["type"] == "Completed" && one["state"] == "CONDITION_SUCCEEDED")
    };
    let said = |task: &Value| {
        let said = json!([task["retried"], task["startTime"], task["completionTime"], task["lastAttemptResult"]]);
        (task["index"].as_u64().unwrap_or_default(), said)
    };
    tasks.iter().filter(is_success).map(said).collect()
}

fn assert_keeps(before: &BTreeMap<u64, Value>, after: &BTreeMap<u64, Value>) {
    for (index, said) in before {
        assert_eq!(after.get(index), Some(said), "task {index} had succeeded");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenth_of_two_hundred_tasks_fails_once_and_is_retried_once_each() {
    if !containers_run_here() {
        return;
    }
    let (host, client) = (Host::start(&[]), Client::new());
    let template = json!({"taskCount": 200, "parallelism": 8, "template": {"maxRetries": 2}});
    let name = begin(&host, &client, ("squares", &["task", "5", "10"]), template).await;
    let execution = over(&host, &client, &name).await;
    assert_eq!((&execution["succeededCount"], &execution["retriedCount"]), (&json!(200), &json!(20)), "{execution:#}");
    let retried: u64 = tasks(&host, &client, &name).await.iter().filter_map(|task| task["retried"].as_u64()).sum();
    assert_eq!(retried, 20);
    eventually("every attempt is in the log", async || {
        written(&host, ("squares", 200)).values().map(Vec::len).sum::<usize>() == 220
    })
    .await;
    for (index, attempts) in written(&host, ("squares", 200)) {
        let expected: BTreeSet<_> = (0..=u64::from(index % 10 == 0)).map(|attempt| (attempt, index * index)).collect();
        assert_eq!(attempts.into_iter().collect::<BTreeSet<_>>(), expected, "{index}");
    }

    // Without retries the same fails, and says which.
    let mut job = json!({"template": {"taskCount": 20, "template": {"maxRetries": 0}}});
    job["template"]["template"]["containers"] =
        json!([{"image": "localhost/squares:latest", "args": ["task", "5", "10"]}]);
    call(&host, &client, &format!("{JOBS}?jobId=strict"), Some(&job)).await;
    let begun = call(&host, &client, &format!("{JOBS}/strict:run"), Some(&json!({}))).await;
    let execution = over(&host, &client, begun["metadata"]["name"].as_str().expect("a name")).await;
    assert_eq!((&execution["failedCount"], &execution["succeededCount"]), (&json!(2), &json!(18)), "{execution:#}");
    let message = execution["conditions"][2]["message"].as_str().expect("a message");
    assert!(message.contains("2 tasks failed: 0, 10."), "{message}");
    assert_eq!(host.stop().0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_no_result_and_no_success_runs_again() {
    if !containers_run_here() {
        return;
    }
    let (chance, clock) = (Chance::seeded("jobs"), Clock::system());
    let mut host = Host::start(&[]);
    let (traces, data) = (Traces::of(&host), host.data_dir());
    let template = json!({"taskCount": TASKS, "parallelism": 8, "template": {"maxRetries": 10}});
    let name = begin(&host, &Client::new(), ("mortal", &["task", "200", "0"]), template).await;
    let (mut before, mut kills) = (BTreeMap::new(), 0);
    for _ in 0..KILLS {
        clock.sleep(chance.time(Duration::from_millis(400))).await;
        host = Host::start_in(host.kill(), &[]);
        let client = Client::new();
        let execution = call(&host, &client, &format!("/v2/{name}"), None).await;
        kills += u64::from(!execution["reconciling"].is_null());
        let counted = execution["succeededCount"].as_u64().unwrap_or_default();
        assert!(counted >= before.len() as u64, "{counted} of at least {} are counted", before.len());
        let now = successes(&tasks(&host, &client, &name).await);
        assert_keeps(&before, &now);
        before = now;
    }
    assert!(kills > 5 && !before.is_empty(), "it was over after {kills} kills, and {} had succeeded", before.len());
    let client = Client::new();
    let execution = over(&host, &client, &name).await;
    assert_eq!(execution["succeededCount"], TASKS, "{execution:#}");
    let tasks = tasks(&host, &client, &name).await;
    assert_eq!(tasks.len() as u64, TASKS);
    assert_keeps(&before, &successes(&tasks));
    let attempts: BTreeMap<u64, u64> = tasks
        .iter()
        .map(|task| (task["index"].as_u64().unwrap_or_default(), task["retried"].as_u64().unwrap_or_default() + 1))
        .collect();
    eventually("every success is in the log", async || done(&host, "mortal").len() as u64 == TASKS).await;
    for (index, instances) in done(&host, "mortal") {
        assert_eq!(instances.len(), 1, "{index} succeeded in {instances:?}");
    }
    for (index, lines) in written(&host, ("mortal", TASKS)) {
        // A line may have been written twice by a server that was killed in between; an attempt runs once.
        let ran: BTreeSet<u64> = lines.iter().map(|(attempt, _)| *attempt).collect();
        assert!(ran.iter().all(|attempt| *attempt < attempts[&index]), "{index}: {ran:?} of {}", attempts[&index]);
    }
    assert_nothing_left(&data, "after all");
    let (code, _dir) = host.stop();
    assert_eq!((code, traces.left()), (0, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_succeed_while_no_server_is_there_have_succeeded_also_if_their_time_is_over_when_one_comes() {
    if !containers_run_here() {
        return;
    }
    const TIMEOUT: Duration = Duration::from_secs(6);
    let (mut host, clock, client) = (Host::start(&[]), Clock::system(), Client::new());
    let traces = Traces::of(&host);
    let template = json!({"taskCount": 4, "template": {"maxRetries": 3, "timeout": "6s"}});
    let name = begin(&host, &client, ("alone", &["task", "3000", "0"]), template).await;
    eventually("all have begun", async || written(&host, ("alone", 4)).len() == 4).await;
    let begun = clock.instant();
    let dir = host.kill();
    eventually("all have ended", async || traces.instances().is_empty()).await;
    // Until their time would be over if they ran.
    clock.sleep_until(begun + TIMEOUT).await;
    host = Host::start_in(dir, &[]);
    let execution = over(&host, &Client::new(), &name).await;
    assert_eq!((&execution["succeededCount"], &execution["retriedCount"]), (&json!(4), &Value::Null), "{execution:#}");
    assert_eq!(host.stop().0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_done_before_the_server_has_ended_has_succeeded() {
    if !containers_run_here() {
        return;
    }
    let (mut host, client) = (Host::start(&[]), Client::new());
    let template = json!({"taskCount": 2, "template": {"maxRetries": 0}});
    let name = begin(&host, &client, ("last", &["task", "1500", "0"]), template).await;
    eventually("both have begun", async || written(&host, ("last", 2)).len() == 2).await;
    let (code, dir) = host.stop();
    assert_eq!(code, 0);
    host = Host::start_in(dir, &[]);
    let execution = over(&host, &Client::new(), &name).await;
    assert_eq!(execution["succeededCount"], 2, "{execution:#}");
    assert_eq!(host.stop().0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_execution_leaves_no_container() {
    if !containers_run_here() {
        return;
    }
    let (host, client) = (Host::start(&[]), Client::new());
    let traces = Traces::of(&host);
    let template = json!({"taskCount": 20, "parallelism": 4, "template": {}});
    let name = begin(&host, &client, ("endless", &["task", "600000", "0"]), template).await;
    eventually("four run", async || written(&host, ("endless", 20)).len() == 4).await;
    call(&host, &client, &format!("/v2/{name}:cancel"), Some(&json!({}))).await;
    let execution = over(&host, &client, &name).await;
    assert_eq!(
        (&execution["cancelledCount"], &execution["succeededCount"]),
        (&json!(4), &Value::Null),
        "{execution:#}"
    );
    eventually("no container is left", async || traces.instances().is_empty()).await;
    let (code, _dir) = host.stop();
    assert_eq!((code, traces.left()), (0, Vec::new()));
}
