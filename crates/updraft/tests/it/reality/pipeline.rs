//! A pipeline as people have them: a job in Python whose tasks read one input, compute, and write their results to a
//! private service, as the account that the job runs as.

use std::collections::BTreeMap;

use reqwest::Client;
use serde_json::{Value, json};

use super::{
    adoption::log,
    host::{Host, containers_run_here, eventually},
    images,
    jobs::{JOBS, call, over},
};

/// Tasks; the input has as many numbers.
const TASKS: usize = 200;
const WORKER: &str = "worker@demo-project.iam.gserviceaccount.com";

/// The service that has the input and keeps the results; its URL.
fn keeper(host: &Host, image: &str) -> String {
    host.ok(&["iam", "service-accounts", "create", "worker"]);
    let bounds = ["--min-instances", "1", "--max-instances", "1", "--no-allow-unauthenticated", "--quiet"];
    host.ok(&[&["deploy", "keeper", "--image", image], &bounds[..]].concat());
    let binding = ["--role", "roles/run.invoker", "--member", &format!("serviceAccount:{WORKER}")];
    host.ok(&[&["services", "add-iam-policy-binding", "keeper"], &binding[..]].concat());
    host.describe("keeper")["status"]["url"].as_str().expect("a URL").to_owned()
}

/// What the keeper has by now, by the indexes of the tasks: a task writes it.
fn gathered(host: &Host) -> BTreeMap<usize, Value> {
    let result = |text: &str| -> Option<(usize, Value)> {
        let (index, results) = text.strip_prefix("result ")?.split_once(' ')?;
        Some((index.parse().ok()?, serde_json::from_str(results).ok()?))
    };
    log(&host.data_dir(), "job.gather").iter().filter_map(|(_, text)| result(text)).collect()
}

fn primes_below(limit: usize) -> usize {
    (2..limit).filter(|number| (2..).take_while(|by| by * by <= *number).all(|by| number % by > 0)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_in_python_ends_with_every_result_although_a_tenth_of_its_tasks_fails_first() {
    if !containers_run_here() {
        return;
    }
    let (host, client) = (Host::start(&[]), Client::new());
    let Some(image) = images::pipeline(&host) else { return };
    let keeper = keeper(&host, &image);
    let run = async |id: &str, verb: &str, (tasks, retries): (usize, u32)| {
        let container = json!({"image": image, "args": [verb], "env": [{"name": "KEEPER", "value": keeper}]});
        let task = json!({"maxRetries": retries, "serviceAccount": WORKER, "containers": [container]});
        let job = json!({"template": {"taskCount": tasks, "parallelism": tasks.min(8), "template": task}});
        call(&host, &client, &format!("{JOBS}?jobId={id}"), Some(&job)).await;
        let begun = call(&host, &client, &format!("{JOBS}/{id}:run"), Some(&json!({}))).await;
        over(&host, &client, begun["metadata"]["name"].as_str().expect("a name")).await
    };

    let execution = run("primes", "task", (TASKS, 3)).await;
    assert_eq!(
        (&execution["succeededCount"], &execution["retriedCount"]),
        (&json!(TASKS), &json!(20)),
        "{execution:#}"
    );
    assert_eq!(execution["conditions"][2]["state"], "CONDITION_SUCCEEDED", "{execution:#}");
    let execution = run("gather", "gather", (1, 0)).await;
    assert_eq!(execution["succeededCount"], 1, "{execution:#}");
    eventually("all results are written", async || gathered(&host).len() == TASKS).await;
    for (index, results) in gathered(&host) {
        let expected = json!([{"attempt": usize::from(index % 10 == 0), "primes": primes_below(1000 + 7 * index)}]);
        assert_eq!(results, expected, "task {index}");
    }

    let execution = run("strict", "task", (40, 0)).await;
    assert_eq!((&execution["succeededCount"], &execution["failedCount"]), (&json!(36), &json!(4)), "{execution:#}");
    assert_eq!(execution["conditions"][2]["state"], "CONDITION_FAILED", "{execution:#}");
    let message = execution["conditions"][2]["message"].as_str().expect("a message");
    assert!(message.contains("4 tasks failed: 0, 10, 20, 30."), "{message}");
    assert_eq!(host.stop().0, 0);
}
