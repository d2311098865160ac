//! Jobs, executions and tasks in the v1 shape.

use expect_test::expect_file;
use googleapis_tonic_google_api::google::api::LaunchStage;
use proptest::{option, prelude::*, sample::select};
use serde_json::{Value, json};
use updraft_api::{
    json::from_json,
    longrunning::{Operation, operation},
    pack,
    run::{self, task_template::Retries},
    v1::{self, Stored, WrittenJob},
};

use crate::{
    assert_within,
    objects::{annotations, container, labels, object, some, volumes},
};

const NAME: &str = "projects/demo-project/locations/us-central1/jobs/nightly";

/// Annotations of a job: a key and the values it may have.
const JOB: [(&str, &[&str]); 4] = [
    ("example.com/own", &["text", ""]),
    ("run.googleapis.com/client-name", &["gcloud"]),
    ("run.googleapis.com/client-version", &["578.0.0"]),
    ("run.googleapis.com/launch-stage", &["ALPHA", "BETA", "GA"]),
];

/// Annotations of an execution's template.
const EXECUTION: [(&str, &[&str]); 13] = [
    ("example.com/own", &["text"]),
    ("run.googleapis.com/client-name", &["gcloud"]),
    ("run.googleapis.com/cloudsql-instances", &["p:r:a", "p:r:a,p:r:b"]),
    ("run.googleapis.com/encryption-key", &["projects/p/locations/l/keyRings/r/cryptoKeys/k"]),
    ("run.googleapis.com/encryption-key-shutdown-hours", &["0", "24"]),
    ("run.googleapis.com/execution-environment", &["gen1", "gen2"]),
    ("run.googleapis.com/gpu-zonal-redundancy-disabled", &["true", "false"]),
    (
        "run.googleapis.com/network-interfaces",
        &["[{\"network\":\"default\",\"subnetwork\":\"default\",\"tags\":[\"a\"]}]"],
    ),
    ("run.googleapis.com/post-key-revocation-action-type", &["prevent-new", "shut-down"]),
    ("run.googleapis.com/secrets", &["alias:projects/1/secrets/s"]),
    ("run.googleapis.com/sources", &["{\"main\":\"gs://b/o#7\"}"]),
    ("run.googleapis.com/vpc-access-connector", &["conn"]),
    ("run.googleapis.com/vpc-access-egress", &["all-traffic", "private-ranges-only"]),
];

/// A job with something in any corner; in the spelling that is shown.
fn job() -> BoxedStrategy<Value> {
    let counts = (some(select(vec![1, 7])), some(select(vec![1, 10_000])), some(select(vec![0, 3])));
    let odd = (some(Just(true)), some(select(vec![10, 300])), some(Just("again")));
    let task = (
        container("main"),
        option::of(container("side")),
        volumes(),
        some(select(vec!["1", "86400"])),
        some(Just("sa@demo-project.iam.gserviceaccount.com")),
        option::of(Just(json!({"run.googleapis.com/accelerator": "nvidia-l4"}))),
    );
    ((annotations(&JOB), labels()), (annotations(&EXECUTION), labels()), counts, odd, task)
        .prop_map(|(of_job, of_execution, (parallelism, tasks, retries), (delay, grace, token), task)| {
            let meta = |(annotations, labels), name: Value| {
                object(vec![("annotations", annotations), ("labels", labels), ("name", name)])
            };
            let (main, side, volumes, timeout, account, selector) = task;
            let task = object(vec![
                ("containers", std::iter::once(main).chain(side).collect()),
                ("maxRetries", retries),
                ("nodeSelector", json!(selector)),
                ("serviceAccountName", account),
                ("terminationGracePeriodSeconds", grace),
                ("timeoutSeconds", timeout),
                ("volumes", volumes),
            ]);
            let execution = object(vec![
                ("delayExecution", delay),
                ("parallelism", parallelism),
                ("taskCount", tasks),
                ("template", json!({"spec": task})),
            ]);
            let template = object(vec![("metadata", meta(of_execution, Value::Null)), ("spec", execution)]);
            object(vec![
                ("apiVersion", json!("run.googleapis.com/v1")),
                ("kind", json!("Job")),
                ("metadata", meta(of_job, json!("nightly"))),
                ("spec", object(vec![("startExecutionToken", token), ("template", template)])),
            ])
        })
        .boxed()
}

fn read(object: &Value) -> WrittenJob {
    WrittenJob::read(object).unwrap_or_else(|error| panic!("{error}\n{object:#}"))
}

/// What happens to an intent on its way to the store: defaults are written into the message.
fn stored(written: &WrittenJob, before: Option<&Stored<run::Job>>) -> Stored<run::Job> {
    let mut message = run::Job { etag: String::new(), ..written.message(before) };
    if message.launch_stage == 0 {
        message.set_launch_stage(LaunchStage::Ga);
    }
    if let Some(execution) = &mut message.template {
        execution.task_count = execution.task_count.max(1);
        if let Some(task) = &mut execution.template {
            task.timeout.get_or_insert(prost_types::Duration { seconds: 600, nanos: 0 });
            task.retries.get_or_insert(Retries::MaxRetries(3));
        }
    }
    let rest = written.rest(&message);
    message.name = NAME.to_owned();
    Stored { message, rest, operation: String::new() }
}

/// A message of any kind as its JSON has it.
fn message<M: updraft_api::Named>(json: &Value) -> M {
    from_json(json, "").unwrap_or_else(|error| panic!("{error}"))
}

fn task_template() -> Value {
    json!({
        "containers": [{"image": "localhost:5000/batch@sha256:00", "args": ["--all"],
                        "env": [{"name": "A", "value": "1"}],
                        "resources": {"limits": {"cpu": "1000m", "memory": "512Mi"}}}],
        "maxRetries": 0, "timeout": "300s", "serviceAccount": "1-compute@developer.gserviceaccount.com",
        "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN2",
        "vpcAccess": {"connector": "conn", "egress": "ALL_TRAFFIC"},
    })
}

fn rich_job() -> run::Job {
    message(&json!({
        "name": NAME, "uid": "48f050dd-40ec-4612-acc9-9f13fac2d571", "generation": "2",
        "labels": {"team": "core"}, "annotations": {"example.com/note": "kept"},
        "createTime": "2026-11-21T08:36:59.956485Z", "updateTime": "2026-11-21T08:37:59.956485Z",
        "creator": "ann@example.com", "lastModifier": "bob@example.com", "client": "gcloud", "clientVersion": "578.0.0",
        "launchStage": "BETA", "binaryAuthorization": {"useDefault": true},
        "template": {"parallelism": 1, "taskCount": 2, "labels": {"client.knative.dev/nonce": "abc"},
                     "template": task_template()},
        "observedGeneration": "2",
        "terminalCondition": {"type": "Ready", "state": "CONDITION_SUCCEEDED",
                              "lastTransitionTime": "2026-11-21T08:37:00Z"},
        "executionCount": 3,
        "latestCreatedExecution": {"name": format!("{NAME}/executions/nightly-x2v9k"),
                                   "createTime": "2026-11-21T08:40:00Z", "completionTime": "2026-11-21T08:41:00Z",
                                   "completionStatus": "EXECUTION_SUCCEEDED"},
        "etag": "\"abc\"",
    }))
}

fn rich_execution() -> run::Execution {
    let condition = |kind: &str, state: &str| json!({"type": kind, "state": state});
    let conditions = json!([
        {"type": "Completed", "state": "CONDITION_FAILED", "message": "The execution was cancelled.",
         "executionReason": "CANCELLED", "lastTransitionTime": "2026-11-21T08:41:00Z"},
        condition("Started", "CONDITION_SUCCEEDED"),
        {"type": "Retry", "state": "CONDITION_SUCCEEDED", "severity": "INFO", "reason": "IMMEDIATE_RETRY"},
        condition("ContainerReady", "CONDITION_SUCCEEDED"),
        condition("ResourcesAvailable", "CONDITION_SUCCEEDED"),
    ]);
    message(&json!({
        "name": format!("{NAME}/executions/nightly-x2v9k"), "uid": "f0c9fbbf", "generation": "1",
        "creator": "ann@example.com", "labels": {"client.knative.dev/nonce": "abc"},
        "createTime": "2026-11-21T08:40:00Z", "startTime": "2026-11-21T08:40:01Z",
        "completionTime": "2026-11-21T08:41:00Z", "job": "nightly", "parallelism": 1, "taskCount": 6,
        "template": task_template(), "conditions": conditions,
        "runningCount": 1, "succeededCount": 2, "failedCount": 1, "cancelledCount": 2, "retriedCount": 1,
        "logUri": "http://localhost/logs", "etag": "\"def\"",
    }))
}

fn rich_task() -> run::Task {
    let mut task = task_template();
    let more = json!({
        "name": format!("{NAME}/executions/nightly-x2v9k/tasks/nightly-x2v9k-task0"), "uid": "988ea63e",
        "generation": "1", "createTime": "2026-11-21T08:40:00Z", "startTime": "2026-11-21T08:40:01Z",
        "completionTime": "2026-11-21T08:40:09Z", "job": "nightly", "execution": "nightly-x2v9k",
        "conditions": [{"type": "Completed", "state": "CONDITION_FAILED", "executionReason": "NON_ZERO_EXIT_CODE"},
                       {"type": "Started", "state": "CONDITION_SUCCEEDED"}],
        "lastAttemptResult": {"status": {"code": 10, "message": "The container exited with code 7."}, "exitCode": 7},
        "logUri": "http://localhost/logs", "etag": "\"ghi\"",
    });
    let fields = task.as_object_mut().expect("an object");
    fields.extend(more.as_object().cloned().unwrap_or_default());
    message(&task)
}

fn printed(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("prints")
}

#[test]
fn a_job_in_the_v1_shape() {
    let stored = Stored { operation: "66470352".to_owned(), ..Stored::of(rich_job()) };
    expect_file!["job.json"].assert_eq(&printed(&v1::job_json(&stored)));
}

#[test]
fn an_execution_in_the_v1_shape() {
    let rest = Stored::of(rich_job()).execution_rest();
    let stored = Stored { message: rich_execution(), rest, operation: String::new() };
    expect_file!["execution.json"].assert_eq(&printed(&v1::execution_json(&stored)));
}

#[test]
fn a_task_in_the_v1_shape() {
    expect_file!["task.json"].assert_eq(&printed(&v1::task_json(&Stored::of(rich_task()))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// v1 → stored → v1 is what was sent, with defaults; and what comes out, sent again, changes nothing.
    #[test]
    fn nothing_that_v1_says_of_a_job_is_lost(sent in job()) {
        let first = stored(&read(&sent), None);
        let shown = v1::job_json(&first);
        assert_within(&sent, &shown, "");
        let again = stored(&read(&shown), Some(&first));
        prop_assert_eq!(&again.message, &first.message);
        prop_assert_eq!(&again.rest, &first.rest);
        prop_assert_eq!(v1::job_json(&again), shown);
        prop_assert_eq!(v1::Rest::from_bytes(&first.rest.to_bytes()).expect("just written"), first.rest);
    }

    /// A change by v2 keeps what v2 cannot say; v1 then shows both.
    #[test]
    fn a_change_of_a_job_by_v2_keeps_what_only_v1_says(sent in job(), client in "[a-z]{1,9}") {
        let first = stored(&read(&sent), None);
        let mut changed = first.clone();
        changed.message.client.clone_from(&client);
        changed.rest = changed.rest.beside(&changed.message);
        let mut expected = v1::job_json(&first);
        expected["metadata"]["annotations"]["run.googleapis.com/client-name"] = json!(client);
        prop_assert_eq!(v1::job_json(&changed), expected);
    }

    /// A job that v2 wrote, read and written again by v1 as it is, stays what it was.
    #[test]
    fn v1_changes_nothing_of_a_job_of_v2s_that_it_leaves_alone(sent in job(), idle: bool) {
        let mut message = stored(&read(&sent), None).message;
        // What v1 has no word for.
        if let Some(task) = message.template.as_mut().and_then(|execution| execution.template.as_mut()) {
            task.containers[0].resources.get_or_insert_default().cpu_idle = idle;
        }
        let by_v2 = Stored::of(message);
        let again = stored(&read(&v1::job_json(&by_v2)), Some(&by_v2));
        prop_assert_eq!(again.message, by_v2.message);
        prop_assert!(again.rest.is_empty(), "{:?}", again.rest);
    }

    /// An execution and its tasks say what the job's template said when they were made.
    #[test]
    fn an_execution_and_its_tasks_say_what_the_template_said(sent in job()) {
        let job = stored(&read(&sent), None);
        let (template, shown) = (job.message.template.clone().expect("set"), v1::job_json(&job));
        let task = template.template.clone().expect("set");
        let message = run::Execution {
            name: format!("{NAME}/executions/nightly-1"), labels: template.labels.clone(),
            annotations: template.annotations.clone(), parallelism: template.parallelism,
            task_count: template.task_count, template: template.template.clone(), ..run::Execution::default()
        };
        let execution = Stored { message, rest: job.execution_rest(), operation: String::new() };
        let execution_shown = v1::execution_json(&execution);
        prop_assert_eq!(&execution_shown["spec"], &shown["spec"]["template"]["spec"]);
        let template_metadata = shown["spec"]["template"].get("metadata");
        let metadata = &template_metadata.cloned().unwrap_or_else(|| json!({}));
        assert_within(metadata, &execution_shown["metadata"], "metadata");
        let message = run::Task {
            name: format!("{NAME}/executions/nightly-1/tasks/nightly-1-task0"), labels: template.labels,
            annotations: template.annotations, containers: task.containers, volumes: task.volumes,
            max_retries: match task.retries { Some(Retries::MaxRetries(retries)) => retries, None => 0 },
            timeout: task.timeout, service_account: task.service_account,
            execution_environment: task.execution_environment, encryption_key: task.encryption_key,
            vpc_access: task.vpc_access, node_selector: task.node_selector,
            gpu_zonal_redundancy_disabled: task.gpu_zonal_redundancy_disabled, ..run::Task::default()
        };
        let task = v1::task_json(&Stored { message, rest: execution.task_rest(), operation: String::new() });
        prop_assert_eq!(&task["spec"], &shown["spec"]["template"]["spec"]["template"]["spec"]);
        assert_within(metadata, &task["metadata"], "metadata");
    }
}

#[test]
fn what_gcloud_sends_for_a_new_job_is_read_and_asks_for_nothing_that_is_not_done() {
    let client = json!({"run.googleapis.com/client-name": "gcloud", "run.googleapis.com/client-version": "578.0.0"});
    let object = json!({
        "apiVersion": "run.googleapis.com/v1", "kind": "Job",
        "metadata": {"annotations": client, "labels": {}, "name": "nightly", "namespace": "demo-project"},
        "spec": {"template": {
            "metadata": {"annotations": client, "labels": {"client.knative.dev/nonce": "abc"}},
            "spec": {"parallelism": 1, "taskCount": 2, "template": {"spec": {
                "containers": [{"env": [{"name": "A", "value": "1"}], "image": "localhost/batch", "name": ""}],
                "maxRetries": 0, "nodeSelector": {}, "timeoutSeconds": "300",
            }}},
        }},
        "status": {"latestCreatedExecution": {}},
    });
    let written = read(&object);
    assert_eq!((written.name.as_str(), written.namespace.as_str(), written.version()), ("nightly", "demo-project", ""));
    let message = written.message(None);
    let execution = message.template.clone().expect("set");
    assert_eq!((message.client.as_str(), execution.parallelism, execution.task_count), ("gcloud", 1, 2));
    let task = execution.template.expect("set");
    assert_eq!(task.retries, Some(Retries::MaxRetries(0)), "no second attempt is not the same as not said");
    assert_eq!(task.timeout.map(|timeout| timeout.seconds), Some(300));
    assert_eq!(task.containers[0].resources, None);
    let rest = written.rest(&message);
    assert!(v1::job_notice_condition(&message, &rest).is_none());
    let later = json!({"spec": {"template": {"spec": {"delayExecution": true}}}});
    let written = read(&later);
    let said = v1::job_notice_condition(&message, &written.rest(&written.message(None))).expect("it is not done");
    assert_eq!(said.message, "Stored, but not acted on by this version: spec.template.spec.delayExecution.");
}

#[test]
fn a_job_that_was_read_can_be_sent_back_whole() {
    let before = Stored { operation: "1".to_owned(), ..Stored::of(rich_job()) };
    let shown = v1::job_json(&before);
    let written = read(&shown);
    assert_eq!(
        (written.version(), written.namespace.as_str()),
        ("abc", shown["metadata"]["namespace"].as_str().expect("set"))
    );
    let message = written.message(Some(&before));
    assert_eq!((&message.template, &message.labels), (&before.message.template, &before.message.labels));
    assert!(written.rest(&message).is_empty());
}

#[test]
fn what_a_job_cannot_say_is_refused_by_its_path() {
    let refused = |object: Value| WrittenJob::read(&object).expect_err("wrong").violations()[0].field.clone();
    let on_template =
        |key: &str, value: &str| json!({"spec": {"template": {"metadata": {"annotations": {key: value}}}}});
    for (object, field) in [
        (json!({"kind": "Service"}), "kind"),
        (json!({"apiVersion": "serving.knative.dev/v1"}), "apiVersion"),
        (
            json!({"metadata": {"annotations": {"run.googleapis.com/ingress": "all"}}}),
            "metadata.annotations[run.googleapis.com/ingress]",
        ),
        (
            on_template("run.googleapis.com/cpu-throttling", "true"),
            "spec.template.metadata.annotations[run.googleapis.com/cpu-throttling]",
        ),
        (
            on_template("run.googleapis.com/execution-environment", "gen3"),
            "spec.template.metadata.annotations[run.googleapis.com/execution-environment]",
        ),
        (json!({"spec": {"runExecutionToken": "a", "startExecutionToken": "b"}}), "spec.runExecutionToken"),
        (json!({"spec": {"template": {"spec": {"taskCount": 1.5}}}}), "spec.template.spec.taskCount"),
    ] {
        if field.contains("execution-environment") {
            let whole = json!({"spec": {"template": {"metadata": object["spec"]["template"]["metadata"],
                                                     "spec": {"template": {"spec": {"maxRetries": 1}}}}}});
            assert_eq!(refused(whole), field);
        }
        assert_eq!(refused(object), field);
    }
}

#[test]
fn what_a_run_has_otherwise_is_read() {
    let request = v1::run_job_request(&json!({"overrides": {
        "containerOverrides": [{"args": ["one", "two"], "clearArgs": false, "env": [
            {"name": "X", "value": "9"}, {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "latest"}}},
        ]}, {"name": "side", "clearArgs": true}],
        "taskCount": 3, "timeoutSeconds": "100", "parallelism": 2,
    }}));
    let request = request.expect("well formed");
    let overrides = request.overrides().expect("there are some");
    assert_eq!((overrides.task_count, overrides.parallelism), (3, Some(2)));
    assert_eq!(overrides.timeout.map(|timeout| timeout.seconds), Some(100));
    let [first, second] = &overrides.container_overrides[..] else { panic!("{overrides:?}") };
    assert_eq!((first.args.len(), first.env.len(), first.clear_args), (2, 2, false));
    assert_eq!((second.name.as_str(), second.clear_args), ("side", true));
    for plain in [json!({}), json!({"overrides": null}), json!({"overrides": {}})] {
        assert_eq!(v1::run_job_request(&plain).expect("well formed").overrides(), None, "{plain}");
    }
    for (wrong, field) in [
        (json!({"overrides": {"tasks": 1}}), "overrides"),
        (json!({"overrides": {"taskCount": "many"}}), "overrides.taskCount"),
        (json!({"overrides": {"delayExecution": true}}), "overrides.delayExecution"),
    ] {
        assert_eq!(v1::run_job_request(&wrong).expect_err("wrong").violations()[0].field, field);
    }
}

#[test]
fn a_task_says_in_one_word_where_it_stands() {
    let task = |started: bool, completed: Value| -> run::Task {
        let started =
            json!({"type": "Started", "state": if started { "CONDITION_SUCCEEDED" } else { "CONDITION_PENDING" }});
        message(&json!({"conditions": [completed, started]}))
    };
    let completed = |state: &str| json!({"type": "Completed", "state": state});
    let again = json!({"type": "Completed", "state": "CONDITION_RECONCILING", "reason": "POSTPONED_RETRY"});
    let cancelled = json!({"type": "Completed", "state": "CONDITION_FAILED", "executionReason": "CANCELLED"});
    for (is_started, completed, word) in [
        (false, completed("CONDITION_PENDING"), "Pending"),
        (true, completed("CONDITION_RECONCILING"), "Running"),
        (true, again, "Pending"),
        (true, completed("CONDITION_SUCCEEDED"), "Succeeded"),
        (true, completed("CONDITION_FAILED"), "Failed"),
        (false, completed("CONDITION_FAILED"), "Failed"),
        (true, cancelled.clone(), "Cancelled"),
        (false, cancelled, "Abandoned"),
    ] {
        let task = task(is_started, completed);
        assert_eq!(v1::task_state(&task), word, "{task:?}");
        assert!(v1::task_labels(&task).contains(&("run.googleapis.com/runningState".to_owned(), word.to_owned())));
    }
    assert_eq!(v1::task_state(&run::Task::default()), "Pending");
}

#[test]
fn what_ended_by_a_signal_has_no_exit_code() {
    let ended = |result: Value| {
        let task = message(&json!({"lastAttemptResult": result}));
        v1::task_json(&Stored::of(task))["status"]["lastAttemptResult"].clone()
    };
    assert_eq!(ended(json!({"status": {}, "exitCode": 0})), json!({"status": {"code": 0}, "exitCode": 0}));
    assert_eq!(ended(json!({"termSignal": 9})), json!({"termSignal": 9}));
}

#[test]
fn selectors_find_executions_by_their_job_and_tasks_by_their_execution_and_state() {
    let matches = |selector: &str, labels: &[(String, String)]| {
        v1::selector::Selector::parse(selector).expect("a selector").matches(labels)
    };
    let (execution, task) = (v1::execution_labels(&rich_execution()), v1::task_labels(&rich_task()));
    assert!(matches("run.googleapis.com/job = nightly", &execution));
    assert!(!matches("run.googleapis.com/job = weekly", &execution));
    assert!(matches("run.googleapis.com/execution = nightly-x2v9k", &task));
    assert!(matches("run.googleapis.com/runningState in (Failed,Cancelled)", &task));
    assert!(!matches("run.googleapis.com/runningState in (Running)", &task));
    assert!(matches("team=core,cloud.googleapis.com/location", &v1::job_labels(&rich_job())));
}

#[test]
fn an_operation_answers_with_the_job_or_the_execution_that_it_is_about() {
    let about = |any: prost_types::Any| {
        let message = Operation { done: true, result: Some(operation::Result::Response(any)), ..Default::default() };
        v1::operation_json(&Stored { operation: "66470352".to_owned(), ..Stored::of(message) })["response"].clone()
    };
    let job = about(pack(&rich_job()));
    assert_eq!((&job["kind"], &job["metadata"]["name"]), (&json!("Job"), &json!("nightly")));
    assert_eq!(job["metadata"]["annotations"]["run.googleapis.com/operation-id"], "66470352");
    assert_eq!(about(pack(&rich_execution()))["kind"], "Execution");
}
