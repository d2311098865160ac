//! Worlds of worker pools: the whole server in this process, with a fake engine and virtual time.

use std::time::Duration;

use serde_json::{Value, json};
use updraft_base::Clock;
use updraft_testkit::World;

const POOLS: &str = "/v2/projects/demo-project/locations/us-central1/workerPools";
/// How long a test waits, in real time, for what must happen.
const DEADLINE: Duration = Duration::from_secs(60);

fn template(image: &str, args: &[&str]) -> Value {
    json!({"containers": [{"image": image, "args": args}]})
}

/// Creates a pool and waits until it is ready; the pool.
async fn deploy(world: &World, id: &str, pool: Value) -> Value {
    let operation = world.done(&world.ok("POST", &format!("{POOLS}?workerPoolId={id}"), pool).await).await;
    assert!(operation["error"].is_null(), "{operation:#}");
    operation["response"].clone()
}

/// PATCHes a pool and waits for the operation.
async fn patch(world: &World, id: &str, mask: &str, body: Value) -> Value {
    let operation = world.ok("PATCH", &format!("{POOLS}/{id}?updateMask={mask}"), body).await;
    world.done(&operation).await
}

async fn scale(world: &World, id: &str, count: usize) {
    let operation = patch(world, id, "scaling", json!({"scaling": {"manualInstanceCount": count}})).await;
    assert!(operation["error"].is_null(), "{operation:#}");
    world.until("there are as many", || world.engine.live() == count).await;
}

/// How many instances of a revision run now.
fn live_of(world: &World, revision: &Value) -> usize {
    let name = revision.as_str().expect("a name");
    world.engine.owners().iter().filter(|owner| owner.to_string() == name).count()
}

/// Asks again until something is there: entries are written a moment after what they tell of.
async fn found(mut look: impl AsyncFnMut() -> Vec<Value>) -> Vec<Value> {
    let clock = Clock::system();
    let deadline = clock.instant() + DEADLINE;
    loop {
        let found = look().await;
        if !found.is_empty() {
            return found;
        }
        assert!(clock.instant() < deadline, "nothing was found");
        clock.sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_pool_runs_as_many_instances_as_it_says_none_and_again() {
    let world = World::start().await;
    let image = world.image("consumer").await;
    let body = json!({"template": template(&image, &["sleep"]), "scaling": {"manualInstanceCount": 3}});
    let pool = deploy(&world, "consumer", body).await;
    assert_eq!(pool["terminalCondition"]["state"], "CONDITION_SUCCEEDED");
    assert_eq!(pool["template"]["containers"][0]["ports"], Value::Null, "nothing is sent to it");
    world.until("three run", || world.engine.live() == 3).await;
    world.hand.advance(Duration::from_secs(3600));
    assert_eq!(world.engine.live(), 3, "nobody is idle who is never asked");
    scale(&world, "consumer", 0).await;
    scale(&world, "consumer", 2).await;
    world.end().await;
}

#[tokio::test]
async fn a_new_revision_takes_over_and_a_broken_one_does_not() {
    let world = World::start().await;
    let image = world.image("consumer").await;
    let body = json!({"template": template(&image, &["sleep"]), "scaling": {"manualInstanceCount": 2}});
    let pool = deploy(&world, "consumer", body).await;
    let old = &pool["latestReadyRevision"];
    world.until("two run", || live_of(&world, old) == 2).await;
    let broken = json!({"template": template(&image, &["eprint=no queue", "exit=1"])});
    let operation = patch(&world, "consumer", "template", broken).await;
    assert_eq!(operation["error"]["code"], 9, "{operation:#}");
    let message = operation["error"]["message"].as_str().expect("a message");
    assert!(
        message.contains("The user-provided container failed to start.") && message.contains("no queue"),
        "{message}"
    );
    assert_eq!(live_of(&world, old), 2, "they go on");
    let told = world.ok("GET", "/updraft/v1/diagnosis?workerPool=consumer", Value::Null).await;
    assert_eq!((&told["state"], &told["diagnosis"]["code"]), (&"FAILED".into(), &"exited".into()), "{told:#}");
    let fixed = json!({"template": template(&image, &["print=new", "sleep"])});
    let operation = patch(&world, "consumer", "template", fixed).await;
    assert!(operation["error"].is_null(), "{operation:#}");
    let new = &operation["response"]["latestReadyRevision"];
    assert_ne!(new, old);
    world.until("the new ones took over", || live_of(&world, new) == 2 && world.engine.live() == 2).await;
    world.end().await;
}

#[tokio::test]
async fn workers_that_ran_for_long_go_on_until_the_new_ones_are_up() {
    let world = World::start().await;
    let image = world.image("consumer").await;
    let body = json!({"template": template(&image, &["sleep"]), "scaling": {"manualInstanceCount": 3}});
    let pool = deploy(&world, "consumer", body).await;
    let old = &pool["latestReadyRevision"];
    world.until("three run", || live_of(&world, old) == 3).await;
    world.hand.advance(Duration::from_secs(20 * 60));
    let changed = json!({"template": template(&image, &["print=new", "sleep"])});
    world.ok("PATCH", &format!("{POOLS}/consumer?updateMask=template"), changed).await;
    // A new one has to run for a second until it is up; this looks four times in each.
    let mut beside = 0;
    let took_over = || {
        let (old, all) = (live_of(&world, old), world.engine.live());
        beside += u32::from((old, all) == (3, 6));
        (old, all) == (0, 3)
    };
    world.until("the new ones took over", took_over).await;
    assert!(beside >= 3, "the old ones are at work until the new ones are, not {beside} looks long");
    world.end().await;
}

#[tokio::test]
async fn instances_are_divided_among_two_revisions() {
    let world = World::start().await;
    let image = world.image("consumer").await;
    let body = json!({"template": template(&image, &["sleep"]), "scaling": {"manualInstanceCount": 4}});
    let pool = deploy(&world, "consumer", body).await;
    let old = &pool["latestReadyRevision"];
    let halves = json!([
        {"type": "INSTANCE_SPLIT_ALLOCATION_TYPE_REVISION", "revision": old, "percent": 50},
        {"type": "INSTANCE_SPLIT_ALLOCATION_TYPE_LATEST", "percent": 50},
    ]);
    let body = json!({"template": template(&image, &["print=new", "sleep"]), "instanceSplits": halves});
    let operation = patch(&world, "consumer", "template,instanceSplits", body).await;
    let splits = &operation["response"]["instanceSplitStatuses"];
    assert_eq!((&splits[0]["percent"], &splits[1]["percent"]), (&json!(50), &json!(50)), "{operation:#}");
    let new = &operation["response"]["latestReadyRevision"];
    let are_divided = || (live_of(&world, old), live_of(&world, new)) == (2, 2);
    world.until("two and two run", are_divided).await;
    world.end().await;
}

#[tokio::test]
async fn who_crashes_is_started_again() {
    let world = World::start().await;
    let image = world.image("consumer").await;
    deploy(&world, "consumer", json!({"template": template(&image, &["wait=20000", "exit=1"])})).await;
    world.until("it was started again twice", || world.engine.records().len() >= 3).await;
    world.until("one runs", || world.engine.live() == 1).await;
    world.end().await;
}

#[tokio::test]
async fn deletion_ends_its_instances_and_removes_its_log() {
    let world = World::start().await;
    let image = world.image("consumer").await;
    let body =
        json!({"template": template(&image, &["print=at work", "sleep"]), "scaling": {"manualInstanceCount": 2}});
    deploy(&world, "consumer", body).await;
    world.until("two run", || world.engine.live() == 2).await;
    let logs = async || {
        let answer = world.call("GET", "/updraft/v1/logs?workerPool=consumer", Value::Null).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let entries = answer.body.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        entries.filter(|entry| entry["textPayload"] == "at work").collect()
    };
    found(logs).await;
    let operation = world.done(&world.ok("DELETE", &format!("{POOLS}/consumer"), Value::Null).await).await;
    assert!(operation["response"]["deleteTime"].is_string(), "{operation:#}");
    assert_eq!(world.call("GET", &format!("{POOLS}/consumer"), Value::Null).await.status, 404);
    world.until("none is left", || world.engine.live() == 0).await;
    // Also what they wrote at the end.
    world.hand.advance(Duration::from_secs(20));
    let clock = Clock::system();
    let deadline = clock.instant() + DEADLINE;
    while !world.call("GET", "/updraft/v1/logs?workerPool=consumer", Value::Null).await.body.is_empty() {
        assert!(clock.instant() < deadline, "its log is still there");
        clock.sleep(Duration::from_millis(10)).await;
    }
    world.end().await;
}

#[tokio::test]
async fn what_workers_write_is_found_by_cloud_loggings_filter() {
    let world = World::start().await;
    let image = world.image("consumer").await;
    deploy(&world, "consumer", json!({"template": template(&image, &["print=at work", "sleep"])})).await;
    let list = async || {
        let filter = "resource.type=\"cloud_run_worker_pool\" AND resource.labels.worker_pool_name=\"consumer\" \
                      AND textPayload=\"at work\"";
        let body = json!({"resourceNames": ["projects/demo-project"], "filter": filter});
        let answer = world.ok("POST", "/v2/entries:list", body).await;
        answer["entries"].as_array().cloned().unwrap_or_default()
    };
    let entries = found(list).await;
    let labels = &entries[0]["resource"]["labels"];
    assert_eq!((&labels["location"], &labels["service_name"]), (&json!("us-central1"), &Value::Null), "{entries:#?}");
    assert!(labels["revision_name"].as_str().is_some_and(|name| name.starts_with("consumer-00001-")), "{labels}");
    world.end().await;
}
