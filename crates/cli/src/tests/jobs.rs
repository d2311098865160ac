//! Jobs as a whole: what is typed, what is asked of the server, what is printed.

use expect_test::expect;
use serde_json::{Value, json};

use super::{Answer, OPERATION, Try, WAIT, any, ok, refused, with};

pub(super) const JOB: &str = "projects/demo-project/locations/us-central1/jobs/batch";
const GET: &str = "GET /jobs/batch";
const POST: &str = "POST /jobs?jobId=batch";
const PATCH: &str = "PATCH /jobs/batch";
pub(super) const RUN: &str = "POST /jobs/batch:run";
pub(super) const GET_EXECUTION: &str = "GET /jobs/batch/executions/batch-dcb4a";
pub(super) const TASKS: &str = "GET /jobs/batch/executions/batch-dcb4a/tasks?pageSize=100";

/// A job that has run once.
pub(super) fn job() -> Value {
    let ready = json!({ "type": "Ready", "state": "CONDITION_SUCCEEDED" });
    json!({
        "name": JOB, "uid": "u", "generation": "2", "etag": "\"e2\"", "labels": { "team": "a" },
        "createTime": "2026-11-21T08:16:00Z", "updateTime": "2026-11-21T08:16:20Z",
        "creator": "local@updraft.local", "lastModifier": "local@updraft.local",
        "terminalCondition": ready, "executionCount": 1,
        "latestCreatedExecution": {
            "name": "batch-dcb4a", "createTime": "2026-11-21T08:16:31Z", "completionStatus": "EXECUTION_SUCCEEDED"
        },
        "template": { "taskCount": 3, "parallelism": 1, "template": {
            "maxRetries": 1, "timeout": "300s", "serviceAccount": "1-compute@developer.gserviceaccount.com",
            "containers": [{
                "name": "batch-1", "image": "localhost:5000/batch", "env": [{ "name": "A", "value": "1" }],
                "resources": { "limits": { "cpu": "1000m", "memory": "512Mi" } }
            }]
        } }
    })
}

/// An execution of it with three tasks: how it stands, and so many that run, succeeded, failed.
pub(super) fn execution(completed: &Value, started: &str, [running, succeeded, failed]: [u32; 3]) -> Value {
    let started = json!({ "type": "Started", "state": started });
    json!({
        "name": format!("{JOB}/executions/batch-dcb4a"), "uid": "e", "job": "batch", "creator": "local@updraft.local",
        "createTime": "2026-11-21T08:16:31Z", "taskCount": 3, "parallelism": 1, "template": job()["template"]["template"],
        "runningCount": running, "succeededCount": succeeded, "failedCount": failed,
        "conditions": [completed, started]
    })
}

/// One that waits to start.
pub(super) fn waiting() -> Value {
    execution(&completed("CONDITION_RECONCILING"), "CONDITION_RECONCILING", [0, 0, 0])
}

/// One that runs.
pub(super) fn under_way() -> Value {
    execution(&completed("CONDITION_RECONCILING"), "CONDITION_SUCCEEDED", [1, 1, 0])
}

/// One that has ended well.
pub(super) fn succeeded() -> Value {
    let ended = execution(&completed("CONDITION_SUCCEEDED"), "CONDITION_SUCCEEDED", [0, 3, 0]);
    with(ended, json!({ "completionTime": "2026-11-21T08:17:34Z" }))
}

/// One of which two tasks failed.
pub(super) fn failed() -> Value {
    let completed = json!({
        "type": "Completed", "state": "CONDITION_FAILED", "executionReason": "NON_ZERO_EXIT_CODE",
        "message": "Task batch-dcb4a-task1 failed with message: The container exited with an error."
    });
    execution(&completed, "CONDITION_SUCCEEDED", [0, 1, 2])
}

pub(super) fn completed(state: &str) -> Value {
    json!({ "type": "Completed", "state": state })
}

/// A task of it.
pub(super) fn task(index: u32, completed: &Value, more: Value) -> Value {
    let task = json!({
        "name": format!("{JOB}/executions/batch-dcb4a/tasks/batch-dcb4a-task{index}"), "index": index, "job": "batch",
        "execution": "batch-dcb4a", "startTime": "2026-11-21T08:16:32Z", "maxRetries": 1, "timeout": "300s",
        "containers": job()["template"]["template"]["containers"], "conditions": [completed]
    });
    with(task, more)
}

/// The tasks of the one that failed.
pub(super) fn failed_tasks() -> Value {
    let failed = |index, result: Value| {
        task(index, &completed("CONDITION_FAILED"), json!({ "retried": 1, "lastAttemptResult": result }))
    };
    let tasks = [
        failed(2, json!({ "termSignal": 9 })),
        task(0, &completed("CONDITION_SUCCEEDED"), json!({ "completionTime": "2026-11-21T08:16:33Z" })),
        failed(1, json!({ "exitCode": 3, "status": { "code": 2, "message": "The container exited with an error." } })),
    ];
    json!({ "tasks": tasks })
}

/// An operation that has begun an execution.
pub(super) fn begun(execution: Value) -> Value {
    json!({ "name": OPERATION, "metadata": any("Execution", execution) })
}

fn operation(kind: &str, resource: Value, is_done: bool) -> Value {
    let resource = any(kind, resource);
    match is_done {
        true => json!({ "name": OPERATION, "metadata": resource, "done": true, "response": resource }),
        false => json!({ "name": OPERATION, "metadata": resource }),
    }
}

#[tokio::test]
async fn a_job_is_created_and_says_how_to_execute_it() {
    let answers = vec![ok(POST, &operation("Job", job(), false)), ok(WAIT, &operation("Job", job(), true))];
    let line = "jobs create batch --image localhost:5000/batch --tasks 3 --max-retries 1 --parallelism 1";
    let fake = Try::new(line, answers)
        .check(expect![[r#"
            exit: Done
            err:
            Creating job [batch] in project [demo-project] region [us-central1]
            Creating job...done
            Job [batch] has successfully been created.

            To execute this job, use:
            updraft jobs execute batch
        "#]])
        .await;
    let template = &fake.seen()[0].json()["template"];
    assert_eq!((&template["taskCount"], &template["parallelism"]), (&json!(3), &json!(1)));
    assert_eq!(template["template"]["containers"], json!([{ "image": "localhost:5000/batch" }]));
}

#[tokio::test]
async fn a_deploy_of_a_job_that_is_there_changes_and_runs_it() {
    let answers = vec![
        ok(GET, &job()),
        ok(PATCH, &operation("Job", job(), true)),
        ok(RUN, &begun(waiting())),
        ok(GET_EXECUTION, &under_way()),
        ok(GET_EXECUTION, &succeeded()),
    ];
    let fake = Try::new("jobs deploy batch --image localhost:5000/batch:v2 --wait", answers)
        .check(expect![[r#"
            exit: Done
            err:
            Deploying container to job [batch] in project [demo-project] region [us-central1]
            Updating job...done
            Running execution [batch-dcb4a] of job [batch]: 3 tasks
            Job [batch] has successfully been deployed and completed execution [batch-dcb4a].

            To execute this job again, use:
            updraft jobs execute batch
        "#]])
        .await;
    let sent = fake.seen()[1].json();
    assert_eq!((&sent["etag"], &sent["template"]["taskCount"]), (&json!("\"e2\""), &json!(3)));
    assert_eq!(sent["template"]["template"]["containers"][0]["image"], "localhost:5000/batch:v2");
}

#[tokio::test]
async fn an_update_is_made_anew_on_what_somebody_else_wrote_meanwhile() {
    let theirs = with(job(), json!({ "etag": "\"e3\"", "labels": { "team": "b" } }));
    let answers = vec![
        ok(GET, &job()),
        refused(PATCH, 409, "ABORTED", "The resource was changed."),
        ok(GET, &theirs),
        ok(PATCH, &operation("Job", theirs.clone(), true)),
    ];
    let fake = Try::new("jobs update batch --tasks 5", answers).run().await.1;
    let sent = fake.seen()[3].json();
    assert_eq!((&sent["etag"], &sent["labels"]), (&json!("\"e3\""), &json!({ "team": "b" })));
    assert_eq!(sent["template"]["taskCount"], 5);
}

#[tokio::test]
async fn an_update_that_asks_for_nothing_or_for_what_is_there_sends_nothing() {
    Try::new("jobs update batch", vec![])
        .check(expect![[r#"
            exit: Usage
            err:
            error: no change was asked for
            hint: see 'updraft jobs update --help'
        "#]])
        .await;
    Try::new("jobs update batch --tasks 3", vec![ok(GET, &job())])
        .check(expect![[r#"
            exit: Done
            err:
            Updating job [batch] in project [demo-project] region [us-central1]
            Job [batch] is that way already.

            To execute this job, use:
            updraft jobs execute batch
        "#]])
        .await;
    Try::new("jobs update other --tasks 3", vec![refused("GET /jobs/other", 404, "NOT_FOUND", "no")])
        .check(expect![[r#"
            exit: NotFound
            err:
            error: cannot find job [other]
            hint: 'updraft jobs list' shows those of this project and region
        "#]])
        .await;
}

#[tokio::test]
async fn jobs_are_listed_and_described() {
    let never = with(job(), json!({ "name": JOB.replace("batch", "a"), "latestCreatedExecution": null }));
    let list = json!({ "jobs": [job(), never] });
    Try::new("jobs list", vec![ok("GET /jobs?pageSize=100", &list)])
        .check(expect![[r#"
        exit: Done
        out:
           JOB    REGION       LAST RUN AT              CREATED                  CREATED BY
        ✔  a      us-central1                           2026-11-21 08:16:00 UTC  local@updraft.local
        ✔  batch  us-central1  2026-11-21 08:16:31 UTC  2026-11-21 08:16:00 UTC  local@updraft.local
    "#]])
        .await;
    Try::new("job describe batch", vec![ok(GET, &job())])
        .check(expect![[r#"
            exit: Done
            out:
            ✔ Job batch in region us-central1
            Executed 1 time
            Last executed 2026-11-21T08:16:31Z with execution batch-dcb4a
            Last updated on 2026-11-21T08:16:20Z by local@updraft.local

            team:a

            Tasks:       3
            Parallelism: 1
            Container
              Image:  localhost:5000/batch
              Memory: 512Mi
              CPU:    1000m
              Env vars:
                A 1
            Task Timeout:    5m
            Max Retries:     1
            Service account: 1-compute@developer.gserviceaccount.com
        "#]])
        .await;
}

/// What the server says of itself.
fn info() -> Answer {
    ok("GET /updraft/v1/info", &json!({ "defaultLocation": "us-central1" }))
}

#[tokio::test]
async fn objects_of_another_region_than_the_paths_without_one_mean_are_not_shown() {
    Try::new("jobs describe batch --region europe-west1 --format json", vec![info()])
        .check(expect![[r#"
            exit: Usage
            err:
            error: objects of v1 for jobs are those of the server's first region, us-central1, not of europe-west1
            hint: verbs have all regions when they print no objects: without --format and manifests
        "#]])
        .await;
}

#[tokio::test]
async fn json_has_the_objects_of_v1() {
    let (object, objects) = (json!({ "kind": "Job" }), json!({ "items": [{ "kind": "Execution" }] }));
    let parent = "GET /apis/run.googleapis.com/v1/namespaces/demo-project";
    let cases = [
        ("jobs describe batch", "/jobs/batch", &object),
        ("jobs list", "/jobs?limit=100", &objects),
        ("executions describe e", "/executions/e", &object),
        (
            "executions list --job batch",
            "/executions?limit=100&labelSelector=run.googleapis.com%2Fjob%3Dbatch",
            &objects,
        ),
        ("tasks describe e-task1", "/tasks/e-task1", &object),
        (
            "tasks list --execution e --failed --running",
            "/tasks?limit=100&labelSelector=run.googleapis.com%2Fexecution%3De%2Crun.googleapis.com%2FrunningState+in+%28Failed%2CRunning%29",
            &objects,
        ),
        ("worker-pools describe wp", "/workerpools/wp", &object),
    ];
    for (line, path, answer) in cases {
        let request: &'static str = format!("{parent}{path}").leak();
        let line = format!("{line} --format json");
        let (text, _) = Try::new(&line, vec![info(), ok(request, answer)]).run().await;
        assert!(text.starts_with("exit: Done\nout:\n") && text.contains("\"kind\""), "{line}: {text}");
    }
}

#[tokio::test]
async fn a_job_that_runs_is_not_deleted_and_what_to_do_is_said() {
    let message = "Job [batch] has running executions.";
    Try::new("jobs delete batch --quiet", vec![refused("DELETE /jobs/batch", 400, "FAILED_PRECONDITION", message)])
        .check(expect![[r#"
            exit: Failed
            err:
            error: Job [batch] has running executions.
            hint: 'updraft executions list --job batch' shows what runs, 'updraft executions cancel' ends it
        "#]])
        .await;
    let answers = vec![ok("DELETE /jobs/batch", &operation("Job", job(), true))];
    Try::new("jobs delete batch --quiet", answers)
        .check(expect![[r#"
            exit: Done
            err:
            Deleting...done
            Deleted job [batch].
        "#]])
        .await;
}

#[tokio::test]
async fn manifests_of_jobs_are_applied_and_others_are_not() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("job.yaml");
    let manifest = "apiVersion: run.googleapis.com/v1\nkind: Job\nmetadata:\n  name: batch\nspec:\n  template: {}\n";
    std::fs::write(&path, manifest).unwrap();
    let file = path.to_str().unwrap();
    let object = json!({
        "kind": "Job", "metadata": { "name": "batch", "annotations": { "run.googleapis.com/operation-id": "op-1" } }
    });
    let answers = vec![
        info(),
        refused("GET /apis/run.googleapis.com/v1/namespaces/demo-project/jobs/batch", 404, "NOT_FOUND", "no"),
        info(),
        ok("POST /apis/run.googleapis.com/v1/namespaces/demo-project/jobs", &object),
        ok(WAIT, &operation("Job", job(), true)),
    ];
    Try::new("jobs replace", answers)
        .with(&[file])
        .check_path(
            file,
            expect![[r#"
                exit: Done
                err:
                Applying...done
                New configuration has been applied to job [batch].

                To execute this job, use:
                updraft jobs execute batch
            "#]],
        )
        .await;
    Try::new("services replace", vec![])
        .with(&[file])
        .check_path(
            file,
            expect![[r#"
                exit: Usage
                err:
                error: PATH: must hold serving.knative.dev/v1 Service, got run.googleapis.com/v1 Job
                hint: 'updraft jobs replace' takes that
            "#]],
        )
        .await;
}

#[tokio::test]
async fn lines_of_a_job_say_whose_they_are() {
    let entry = |task: u32, text: &str| {
        let labels = json!({
            "run.googleapis.com/execution_name": "batch-dcb4a", "run.googleapis.com/task_index": task.to_string()
        });
        json!({ "timestamp": "2026-11-21T08:16:40.5Z", "textPayload": text, "labels": labels }).to_string() + "\n"
    };
    let lines = entry(0, "first") + &entry(2, "second");
    let asked = "GET /updraft/v1/logs?project=demo-project&location=us-central1&job=batch&limit=100";
    Try::new("jobs logs read batch", vec![Answer(asked, 200, lines)])
        .check(expect![[r#"
            exit: Done
            out:
            2026-11-21 08:16:40 batch-dcb4a/0 first
            2026-11-21 08:16:40 batch-dcb4a/2 second
        "#]])
        .await;
    let narrow = "GET /updraft/v1/logs?project=demo-project&location=us-central1&job=batch&limit=5&execution=batch-dcb4a&task=2&follow=true";
    let answers = vec![ok(GET_EXECUTION, &succeeded()), Answer(narrow, 200, entry(2, "second"))];
    let (text, _) = Try::new("executions logs tail batch-dcb4a --task 2 --limit 5", answers).run().await;
    assert_eq!(text, "exit: Done\nout:\n2026-11-21 08:16:40 batch-dcb4a/2 second\n");
    let other = "GET /updraft/v1/logs?project=demo-project&location=us-central1&job=other&limit=100";
    let answers = vec![Answer(other, 200, String::new()), refused("GET /jobs/other", 404, "NOT_FOUND", "no")];
    let (text, _) = Try::new("jobs logs read other", answers).run().await;
    assert!(text.starts_with("exit: NotFound\nerr:\nerror: cannot find job [other]"), "{text}");
}

#[tokio::test]
async fn who_may_run_a_job_is_said_by_its_policy() {
    let read = "GET /jobs/batch:getIamPolicy?options.requestedPolicyVersion=3";
    let answers =
        vec![ok(read, &json!({ "etag": "ZTE=" })), ok("POST /jobs/batch:setIamPolicy", &json!({ "version": 1 }))];
    let line = "jobs add-iam-policy-binding batch --member user:a@b.c --role roles/run.invoker";
    let (text, fake) = Try::new(line, answers).run().await;
    assert!(text.contains("Updated IAM policy for job [batch].\n"), "{text}");
    let bindings = &fake.seen()[1].json()["policy"]["bindings"];
    assert_eq!(*bindings, json!([{ "role": "roles/run.invoker", "members": ["user:a@b.c"] }]));
    let of_pool = "GET /workerPools/wp:getIamPolicy?options.requestedPolicyVersion=3";
    let (text, _) =
        Try::new("worker-pools get-iam-policy wp", vec![ok(of_pool, &json!({ "etag": "ZTE=" }))]).run().await;
    assert!(text.starts_with("exit: Done\nout:\netag: ZTE="), "{text}");
}
