//! A pipeline as people have them: a job in Python whose tasks read one input, compute, and write their results to a
//! private service, as the account that the job runs as.

use reqwest::Client;
use serde_json::{Value, json};

use super::{
    host::{Host, containers_run_here},
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

/// What the keeper has, asked with the operator's token, which opens a service for who may call every one.
async fn results(host: &Host, client: &Client, keeper: &str) -> Value {
    let token = host.ok(&["auth", "print-identity-token", "--audiences", keeper]);
    let url = format!("http://{}/results", host.address);
    let request = client.get(url).header("host", host.host_of("keeper", None)).bearer_auth(token.trim());
    request.send().await.expect("an answer").json().await.expect("JSON")
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
    let job = |retries: u32| {
        let container = json!({"image": image, "args": ["task"], "env": [{"name": "KEEPER", "value": keeper}]});
        let task = json!({"maxRetries": retries, "serviceAccount": WORKER, "containers": [container]});
        json!({"template": {"taskCount": TASKS, "parallelism": 8, "template": task}})
    };
    let run = async |id: &str, retries| {
        call(&host, &client, &format!("{JOBS}?jobId={id}"), Some(&job(retries))).await;
        let begun = call(&host, &client, &format!("{JOBS}/{id}:run"), Some(&json!({}))).await;
        over(&host, &client, begun["metadata"]["name"].as_str().expect("a name")).await
    };

    let execution = run("primes", 3).await;
    assert_eq!(
        (&execution["succeededCount"], &execution["retriedCount"]),
        (&json!(TASKS), &json!(20)),
        "{execution:#}"
    );
    assert_eq!(execution["conditions"][2]["state"], "CONDITION_SUCCEEDED", "{execution:#}");
    let kept = results(&host, &client, &keeper).await;
    for index in 0..TASKS {
        let expected = json!([{"attempt": usize::from(index % 10 == 0), "primes": primes_below(1000 + 7 * index)}]);
        assert_eq!(kept[index.to_string()], expected, "task {index}");
    }

    let execution = run("strict", 0).await;
    assert_eq!((&execution["succeededCount"], &execution["failedCount"]), (&json!(180), &json!(20)), "{execution:#}");
    assert_eq!(execution["conditions"][2]["state"], "CONDITION_FAILED", "{execution:#}");
    let message = execution["conditions"][2]["message"].as_str().expect("a message");
    assert!(message.contains("20 tasks failed: 0, 10, 20"), "{message}");
    assert_eq!(host.stop().0, 0);
}
