//! Jobs, executions and tasks, as gcloud 578 asks for them: all by API v1, in whose paths they stand beside each other.
//! Written down from measurements.

use serde_json::{Value, json};
use updraft_testkit::World;

use super::{assert_reads, assert_shows, at, merge};

const NAMESPACE: &str = "/run/apis/run.googleapis.com/v1/namespaces";
const POLICY: &str = "/run/v1/projects/demo-project/locations/us-central1/jobs/job1:getIamPolicy";
/// Whether the API is enabled, which gcloud asks before it deploys.
const ENABLED: &str = "/serviceusage/v1/projects/demo-project/services/run.googleapis.com";

/// gcloud, for as long as a test runs.
struct Gcloud {
    world: World,
    token: String,
    image: String,
}

// === impl Gcloud ===

impl Gcloud {
    async fn start() -> Self {
        let world = World::start_with(&[("auth", "token")]).await;
        let (token, image) = (world.token(), world.image("batch").await);
        Self { world, token, image }
    }

    async fn send(&self, call: &str, body: Value) -> (u16, Value) {
        let (verb, path) = call.split_once(' ').expect("a verb and a path");
        let path = format!("{path}{}alt=json", if path.contains('?') { '&' } else { '?' });
        let answer = self.world.drive(self.world.call_as(&self.token, verb, &path, body)).await;
        (answer.status, serde_json::from_str(&answer.body).expect("JSON"))
    }

    async fn ok(&self, call: &str, body: Value) -> Value {
        let (status, answer) = self.send(call, body).await;
        assert_eq!(status, 200, "{call}: {answer:#}");
        answer
    }

    /// What is below the namespace of the project.
    async fn get(&self, path: &str) -> Value {
        self.ok(&format!("GET {NAMESPACE}/demo-project/{path}"), Value::Null).await
    }

    /// gcloud asks before it makes something whether that is there.
    async fn assert_missing(&self, path: &str) {
        let (status, answer) = self.send(&format!("GET {NAMESPACE}/demo-project/{path}"), Value::Null).await;
        assert_eq!(status, 404, "{path}: {answer:#}");
        assert_reads(&json!(["error.code", "error.message", "error.status"]), &answer, path);
        assert_shows(&json!({"error.code": 404, "error.status": "NOT_FOUND"}), &answer, path);
    }

    /// Asks whether a job was taken up, which gcloud does twice: until `Ready` says so, and then for what it prints.
    async fn settled(&self, id: &str) -> Value {
        self.get(&format!("jobs/{id}")).await;
        let job = self.get(&format!("jobs/{id}")).await;
        assert_job(&job, id);
        job
    }

    /// Makes a job; `more` is what the flags say.
    async fn create(&self, id: &str, more: Value) -> Value {
        let made = self.ok(&format!("POST {NAMESPACE}/demo-project/jobs"), manifest(id, &self.image, &more)).await;
        assert_job(&made, id);
        self.settled(id).await
    }

    /// Writes a whole job back with a change of it.
    async fn replace(&self, mut job: Value, change: &Value) -> Value {
        let id = text(&job, "metadata.name").to_owned();
        merge(&mut job, change);
        let written = self.ok(&format!("PUT {NAMESPACE}/demo-project/jobs/{id}"), job).await;
        assert_job(&written, &id);
        self.settled(&id).await
    }

    /// Begins an execution; gives it as it was answered.
    async fn execute(&self, job: &str, body: Value) -> Value {
        let begun = self.ok(&format!("POST {NAMESPACE}/demo-project/jobs/{job}:run"), body).await;
        assert_execution(&begun, job);
        begun
    }

    /// Asks for an execution, by the number of its project, until a condition of it is decided.
    async fn until(&self, begun: &Value, condition: &str) -> Value {
        let path = format!("{NAMESPACE}/{}/executions/{}", text(begun, "metadata.namespace"), name(begun));
        loop {
            let now = self.ok(&format!("GET {path}"), Value::Null).await;
            assert_execution(&now, text(&now, "metadata.labels.run~googleapis~com/job"));
            if conditions(&now).iter().any(|(kind, status)| *kind == condition && *status != "Unknown") {
                return now;
            }
        }
    }

    /// Deletes something, and asks for it until it is not there.
    async fn delete(&self, path: &str) {
        let gone = self.ok(&format!("DELETE {NAMESPACE}/demo-project/{path}"), Value::Null).await;
        assert_shows(&json!({"apiVersion": "v1", "kind": "Status", "status": "Success"}), &gone, path);
        while self.send(&format!("GET {NAMESPACE}/demo-project/{path}"), Value::Null).await.0 == 200 {}
        self.assert_missing(path).await;
    }

    /// A secret with one version that what runs as `account` may read.
    async fn secret(&self, account: &str) {
        let secrets = "/secretmanager/v1/projects/demo-project/secrets";
        let automatic = json!({"replication": {"automatic": {}}});
        self.ok(&format!("POST {secrets}?secretId=sec"), automatic).await;
        self.ok(&format!("POST {secrets}/sec:addVersion"), json!({"payload": {"data": "aHVzaA=="}})).await;
        let member = format!("serviceAccount:{account}");
        let policy = json!({"bindings": [{"role": "roles/secretmanager.secretAccessor", "members": [member]}]});
        self.ok(&format!("POST {secrets}/sec:setIamPolicy"), json!({"policy": policy})).await;
    }
}

/// What gcloud writes of a new job.
fn manifest(id: &str, image: &str, more: &Value) -> Value {
    let client = json!({"run.googleapis.com/client-name": "gcloud", "run.googleapis.com/client-version": "578.0.0"});
    let task = json!({"containers": [{"image": image, "name": ""}], "nodeSelector": {}});
    let mut job = json!({
        "apiVersion": "run.googleapis.com/v1",
        "kind": "Job",
        "metadata": {"annotations": client, "labels": {}, "name": id, "namespace": "demo-project"},
        "spec": {"template": {
            "metadata": {"annotations": client, "labels": {"client.knative.dev/nonce": "aaa_bbb_ccc"}},
            "spec": {"template": {"spec": task}},
        }},
        "status": {"latestCreatedExecution": {}},
    });
    let spec = &mut job["spec"]["template"]["spec"];
    let container = spec["template"]["spec"]["containers"][0].as_object_mut().expect("an object");
    container.extend(more["container"].as_object().cloned().unwrap_or_default());
    if !more["execution"].is_null() {
        merge(spec, &more["execution"]);
    }
    job
}

/// The same, of which nothing but an execution's or a container's part was said.
fn flags(execution: Value, container: Value) -> Value {
    json!({"execution": execution, "container": container})
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or_else(|| panic!("{path} is no text: {value:#}"))
}

fn name(object: &Value) -> &str {
    text(object, "metadata.name")
}

/// The types of an object's conditions in their order, each with how it stands.
fn conditions(object: &Value) -> Vec<(&str, &str)> {
    let all = object["status"]["conditions"].as_array().expect("conditions");
    all.iter().map(|one| (text(one, "type"), text(one, "status"))).collect()
}

fn assert_job(job: &Value, id: &str) {
    let reads = json!([
        "metadata.namespace",
        "metadata.uid",
        "metadata.resourceVersion",
        "metadata.selfLink",
        "metadata.creationTimestamp",
        "metadata.labels.cloud~googleapis~com/location",
        "metadata.labels.run~googleapis~com/lastUpdatedTime",
        "metadata.annotations.run~googleapis~com/creator",
        "metadata.annotations.run~googleapis~com/lastModifier",
        "spec.template.spec.taskCount",
        "spec.template.spec.template.spec.containers.0.image",
        "spec.template.spec.template.spec.maxRetries",
        "spec.template.spec.template.spec.timeoutSeconds",
        "spec.template.spec.template.spec.serviceAccountName",
        "status.conditions.0.lastTransitionTime",
        "status.executionCount"
    ]);
    assert_reads(&reads, job, id);
    assert_shows(&json!({"apiVersion": "run.googleapis.com/v1", "kind": "Job", "metadata.name": id}), job, id);
    assert_eq!(conditions(job), [("Ready", "True")], "{job:#}");
    assert_eq!(job["status"]["observedGeneration"], job["metadata"]["generation"], "{job:#}");
}

fn assert_execution(execution: &Value, job: &str) {
    let reads = json!([
        "metadata.namespace",
        "metadata.uid",
        "metadata.creationTimestamp",
        "metadata.labels.cloud~googleapis~com/location",
        "metadata.annotations.run~googleapis~com/creator",
        "spec.taskCount",
        "spec.template.spec.containers.0.image",
        "spec.template.spec.maxRetries",
        "spec.template.spec.timeoutSeconds",
        "status.observedGeneration"
    ]);
    assert_reads(&reads, execution, job);
    let shows = json!({
        "apiVersion": "run.googleapis.com/v1",
        "kind": "Execution",
        "metadata.generation": 1,
        "metadata.labels.run~googleapis~com/job": job,
    });
    assert_shows(&shows, execution, job);
    assert!(name(execution).starts_with(&format!("{job}-")), "{execution:#}");
    let kinds: Vec<&str> = conditions(execution).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["ResourcesAvailable", "Started", "Completed"], "{execution:#}");
}

/// An execution that is over, all of whose tasks succeeded.
fn assert_succeeded(execution: &Value, tasks: u64) {
    assert!(conditions(execution).iter().all(|(_, status)| *status == "True"), "{execution:#}");
    assert_reads(&json!(["status.startTime", "status.completionTime"]), execution, "an execution that is over");
    assert_shows(&json!({"spec.taskCount": tasks, "status.succeededCount": tasks}), execution, "a success");
    for count in ["runningCount", "failedCount", "cancelledCount", "retriedCount"] {
        assert_eq!(execution["status"][count].as_u64().unwrap_or_default(), 0, "{count}: {execution:#}");
    }
}

fn assert_task(task: &Value, execution: &str, index: usize) {
    let reads = json!([
        "metadata.namespace",
        "metadata.uid",
        "metadata.creationTimestamp",
        "metadata.labels.cloud~googleapis~com/location",
        "spec.containers.0.image",
        "spec.maxRetries",
        "spec.timeoutSeconds",
        "status.startTime",
        "status.completionTime"
    ]);
    assert_reads(&reads, task, execution);
    let shows = json!({
        "apiVersion": "run.googleapis.com/v1",
        "kind": "Task",
        "metadata.name": format!("{execution}-task{index}"),
        "metadata.labels.run~googleapis~com/job": "job1",
        "metadata.labels.run~googleapis~com/execution": execution,
        "metadata.labels.run~googleapis~com/runningState": "Succeeded",
        "status.index": index,
        "status.retried": 0,
        "status.lastAttemptResult.exitCode": 0,
        "status.lastAttemptResult.status.code": 0,
    });
    assert_shows(&shows, task, execution);
    assert_eq!(conditions(task), [("Started", "True"), ("Completed", "True")], "{task:#}");
}

#[tokio::test]
async fn gcloud_creates_updates_describes_lists_and_deletes_jobs() {
    let gcloud = Gcloud::start().await;

    // gcloud run jobs create job1 --image … --tasks 2 --max-retries 1 --set-env-vars A=1 --task-timeout 5m --parallelism 1
    let task = json!({"maxRetries": 1, "timeoutSeconds": "300"});
    let execution = json!({"parallelism": 1, "taskCount": 2, "template": {"spec": task}});
    let env = json!([{"name": "A", "value": "1"}]);
    let made = gcloud.create("job1", flags(execution, json!({"env": env}))).await;
    let shows = json!({
        "metadata.generation": 1,
        "spec.template.spec.parallelism": 1,
        "spec.template.spec.taskCount": 2,
        "spec.template.spec.template.spec.maxRetries": 1,
        "spec.template.spec.template.spec.timeoutSeconds": "300",
        "spec.template.spec.template.spec.containers.0.env.0.value": "1",
        "status.executionCount": 0,
    });
    assert_shows(&shows, &made, "create");

    // … update job1 --update-env-vars B=2 --set-secrets S=sec:latest
    gcloud.secret(text(&made, "spec.template.spec.template.spec.serviceAccountName")).await;
    let there = gcloud.get("jobs/job1").await;
    let mut containers = there["spec"]["template"]["spec"]["template"]["spec"]["containers"].clone();
    let variables = containers[0]["env"].as_array_mut().expect("variables");
    variables.push(json!({"name": "B", "value": "2"}));
    variables.push(json!({"name": "S", "valueFrom": {"secretKeyRef": {"key": "latest", "name": "sec"}}}));
    let change = json!({"spec": {"template": {"spec": {"template": {"spec": {"containers": containers}}}}}});
    let updated = gcloud.replace(there, &change).await;
    let env = "spec.template.spec.template.spec.containers.0.env";
    assert_shows(&json!({"metadata.generation": 2}), &updated, "update");
    assert_eq!(at(&updated, env), containers[0].get("env"), "{updated:#}");

    // … deploy job2 --image …, and again with --memory 1Gi --command /bin/x --args a,b
    let enabled = gcloud.ok(&format!("GET {ENABLED}"), Value::Null).await;
    assert_shows(&json!({"state": "ENABLED"}), &enabled, "deploy");
    gcloud.assert_missing("jobs/job2").await;
    let deployed = gcloud.create("job2", Value::Null).await;
    let defaults = json!({
        "spec.template.spec.taskCount": 1,
        "spec.template.spec.template.spec.maxRetries": 3,
        "spec.template.spec.template.spec.timeoutSeconds": "600",
    });
    assert_shows(&defaults, &deployed, "deploy");
    let there = gcloud.settled("job2").await;
    let resources = json!({"limits": {"memory": "1Gi"}, "requests": {}});
    let container = json!({
        "image": gcloud.image, "name": "", "command": ["/bin/x"], "args": ["a", "b"], "resources": resources,
    });
    let template = json!({
        "metadata": {"labels": {"client.knative.dev/nonce": "ddd_eee_fff"}},
        "spec": {"template": {"spec": {"containers": [container]}}},
    });
    let again = gcloud.replace(there, &json!({"spec": {"template": template}})).await;
    let shows = json!({
        "metadata.generation": 2,
        "spec.template.spec.template.spec.containers.0.command": ["/bin/x"],
        "spec.template.spec.template.spec.containers.0.args": ["a", "b"],
        "spec.template.spec.template.spec.containers.0.resources.limits.memory": "1Gi",
    });
    assert_shows(&shows, &again, "deploy");

    // … replace job.yaml
    gcloud.assert_missing("jobs/job-yaml").await;
    let resources = json!({"resources": {"limits": {"cpu": "1000m", "memory": "512Mi"}}});
    let execution = json!({"taskCount": 2, "template": {"spec": {"maxRetries": 1, "timeoutSeconds": "600"}}});
    gcloud.create("job-yaml", flags(execution, resources)).await;

    // … list, get-iam-policy job1, delete job2 --quiet
    let list = gcloud.get("jobs").await;
    assert_shows(&json!({"apiVersion": "run.googleapis.com/v1", "kind": "JobList"}), &list, "list");
    let mut names: Vec<&str> = list["items"].as_array().expect("items").iter().map(name).collect();
    names.sort_unstable();
    assert_eq!(names, ["job-yaml", "job1", "job2"]);
    list["items"].as_array().into_iter().flatten().for_each(|job| assert_job(job, name(job)));
    let policy = gcloud.ok(&format!("GET {POLICY}"), Value::Null).await;
    assert_reads(&json!(["etag"]), &policy, "get-iam-policy");
    gcloud.delete("jobs/job2").await;
    gcloud.world.end().await;
}

#[tokio::test]
async fn gcloud_executes_a_job_waits_for_it_and_reads_its_tasks_and_logs() {
    let gcloud = Gcloud::start().await;
    let execution = json!({"parallelism": 1, "taskCount": 2, "template": {"spec": {"maxRetries": 1}}});
    let job = gcloud.create("job1", flags(execution, json!({"args": ["print=hello"]}))).await;

    // gcloud run jobs execute job1 --wait
    let begun = gcloud.execute("job1", json!({})).await;
    assert_eq!(begun["metadata"]["namespace"], job["metadata"]["namespace"]);
    let ended = gcloud.until(&begun, "Completed").await;
    assert_succeeded(&ended, 2);

    // … describe job1, list
    let described = gcloud.get("jobs/job1").await;
    let shows = json!({
        "status.executionCount": 1,
        "status.latestCreatedExecution.name": name(&ended),
        "status.latestCreatedExecution.completionStatus": "EXECUTION_SUCCEEDED",
        "status.latestCreatedExecution.creationTimestamp": ended["metadata"]["creationTimestamp"],
        "status.latestCreatedExecution.completionTimestamp": ended["status"]["completionTime"],
    });
    assert_shows(&shows, &described, "describe");
    assert_shows(&shows, &gcloud.get("jobs").await["items"][0], "list");

    // … executions describe, executions tasks list and describe
    let described = gcloud.get(&format!("executions/{}", name(&ended))).await;
    assert_execution(&described, "job1");
    assert_succeeded(&described, 2);
    let selector = format!("labelSelector=run.googleapis.com%2Fexecution+%3D+{}", name(&ended));
    let list = gcloud.get(&format!("tasks?{selector}&limit=100")).await;
    assert_shows(&json!({"kind": "TaskList"}), &list, "tasks list");
    let tasks = list["items"].as_array().expect("items");
    assert_eq!(tasks.len(), 2, "{list:#}");
    tasks.iter().enumerate().for_each(|(index, task)| assert_task(task, name(&ended), index));
    let task = gcloud.get(&format!("tasks/{}-task0", name(&ended))).await;
    assert_task(&task, name(&ended), 0);

    // … logs read job1
    let filter = "resource.type = cloud_run_job \n AND resource.labels.job_name = job1 \n AND resource.labels.location = \
                  us-central1 \n AND severity >= DEFAULT \n AND timestamp>=\"2025-12-31T00:00:00.000000Z\"";
    let asked = json!({
        "filter": filter, "orderBy": "timestamp desc", "pageSize": 50, "resourceNames": ["projects/demo-project"],
    });
    let said = |answer: &Value| {
        let entries = answer["entries"].as_array().into_iter().flatten();
        entries.filter(|entry| entry["textPayload"] == "hello").cloned().collect::<Vec<_>>()
    };
    let lines = loop {
        // What was printed last is written down a moment later.
        let lines = said(&gcloud.ok("POST /logging/v2/entries:list", asked.clone()).await);
        if lines.len() == 2 {
            break lines;
        }
    };
    for line in &lines {
        assert_shows(&json!({"resource.type": "cloud_run_job", "resource.labels.job_name": "job1"}), line, "logs read");
        assert_reads(&json!(["timestamp", "insertId", "logName"]), line, "logs read");
    }

    // … deploy job3 --image … --execute-now --wait
    gcloud.assert_missing("jobs/job3").await;
    gcloud.create("job3", flags(Value::Null, json!({"args": ["print=hello"]}))).await;
    let begun = gcloud.execute("job3", json!({})).await;
    assert_succeeded(&gcloud.until(&begun, "Completed").await, 1);
    gcloud.world.end().await;
}

#[tokio::test]
async fn gcloud_overrides_cancels_lists_and_deletes_executions() {
    let gcloud = Gcloud::start().await;
    let execution = json!({"parallelism": 1, "taskCount": 2, "template": {"spec": {"maxRetries": 1}}});
    gcloud.create("job1", flags(execution, json!({"args": ["sleep"], "env": [{"name": "A", "value": "1"}]}))).await;

    // gcloud run jobs execute job1 --args=print=one,exit=0 --update-env-vars=X=9 --tasks=3 --task-timeout=100s --wait
    gcloud.get("jobs/job1").await;
    let env = json!([{"name": "X", "value": "9"}]);
    let container = json!({"args": ["print=one", "exit=0"], "clearArgs": false, "env": env});
    let overrides = json!({"containerOverrides": [container], "taskCount": 3, "timeoutSeconds": 100});
    let overridden = gcloud.execute("job1", json!({"overrides": overrides})).await;
    let ended = gcloud.until(&overridden, "Completed").await;
    assert_succeeded(&ended, 3);
    let shows = json!({
        "spec.template.spec.timeoutSeconds": "100",
        "spec.template.spec.containers.0.args": ["print=one", "exit=0"],
    });
    assert_shows(&shows, &ended, "execute");
    let variables = at(&ended, "spec.template.spec.containers.0.env").and_then(Value::as_array).expect("variables");
    assert!(variables.contains(&env[0]), "{ended:#}");

    // … execute job1, which waits until it has started; executions cancel
    let begun = gcloud.execute("job1", json!({})).await;
    let started = gcloud.until(&begun, "Started").await;
    assert!(conditions(&started).contains(&("Started", "True")), "{started:#}");
    gcloud.world.until("it runs", || gcloud.world.engine.live() == 1).await;
    let path = format!("{NAMESPACE}/demo-project/executions/{}", name(&begun));
    assert_execution(&gcloud.ok(&format!("POST {path}:cancel"), json!({})).await, "job1");
    let cancelled = gcloud.until(&begun, "Completed").await;
    assert!(conditions(&cancelled).contains(&("Completed", "False")), "{cancelled:#}");
    assert_eq!(cancelled["status"]["succeededCount"].as_u64().unwrap_or_default(), 0, "{cancelled:#}");
    gcloud.world.until("nothing of it runs", || gcloud.world.engine.live() == 0).await;
    let job = gcloud.get("jobs/job1").await;
    let shows = json!({"status.latestCreatedExecution.completionStatus": "EXECUTION_CANCELLED"});
    assert_shows(&shows, &job, "describe");

    // … execute job1 --async, which waits for nothing; executions list --job job1
    let started = gcloud.execute("job1", json!({})).await;
    let list = gcloud.get("executions?labelSelector=run.googleapis.com%2Fjob+%3D+job1&limit=100").await;
    assert_shows(&json!({"kind": "ExecutionList"}), &list, "executions list");
    let items = list["items"].as_array().expect("items");
    items.iter().for_each(|execution| assert_execution(execution, "job1"));
    let mut names: Vec<&str> = items.iter().map(name).collect();
    names.sort_unstable();
    let mut made = [&overridden, &begun, &started].map(name);
    made.sort_unstable();
    assert_eq!(names, made);

    // … executions delete, of one that is over and of one that runs; delete job1
    gcloud.delete(&format!("executions/{}", name(&overridden))).await;
    gcloud.delete(&format!("executions/{}", name(&started))).await;
    gcloud.world.until("nothing of it runs", || gcloud.world.engine.live() == 0).await;
    gcloud.delete("jobs/job1").await;
    // The job is not shown any more from the call on; its executions go one by one.
    let path = format!("GET {NAMESPACE}/demo-project/executions/{}", name(&begun));
    for _ in 0..1000 {
        if gcloud.send(&path, Value::Null).await.0 == 404 {
            break;
        }
    }
    gcloud.assert_missing(&format!("executions/{}", name(&begun))).await;
    gcloud.world.end().await;
}
