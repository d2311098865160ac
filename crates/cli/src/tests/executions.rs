//! Executions: started, watched, ended, shown.

use expect_test::expect;
use serde_json::json;

use super::{
    Answer, OPERATION, Try, any,
    jobs::{
        GET_EXECUTION, JOB, RUN, TASKS, begun, completed, execution, failed, failed_tasks, job, succeeded, task,
        under_way, waiting,
    },
    ok, refused, with,
};

const LIST_ALL: &str = "GET /jobs/-/executions?pageSize=100";

#[tokio::test]
async fn an_execution_that_has_started_is_enough_unless_it_is_waited_for() {
    let answers = vec![ok(RUN, &begun(waiting())), ok(GET_EXECUTION, &waiting()), ok(GET_EXECUTION, &under_way())];
    let fake = Try::new("jobs execute batch", answers)
        .check(expect![[r#"
            exit: Done
            err:
            Creating execution...
            Provisioning resources...done
            Execution [batch-dcb4a] has successfully started running.

            View details about this execution by running:
            updraft executions describe batch-dcb4a
        "#]])
        .await;
    assert_eq!(fake.seen()[0].json(), json!({}));
    Try::new("jobs execute batch --async", vec![ok(RUN, &begun(waiting()))])
        .check(expect![[r#"
            exit: Done
            err:
            Creating execution...
            Execution [batch-dcb4a] is being started asynchronously.

            View details about this execution by running:
            updraft executions describe batch-dcb4a
        "#]])
        .await;
}

#[tokio::test]
async fn an_execution_that_has_started_and_failed_by_the_first_look_has_started() {
    let answers = vec![ok(RUN, &begun(waiting())), ok(GET_EXECUTION, &failed())];
    let (text, _) = Try::new("jobs execute batch", answers).run().await;
    assert!(text.contains("has successfully started running"), "{text}");
}

#[tokio::test]
async fn where_nobody_watches_waiting_takes_a_line_at_each_end() {
    let answers = vec![ok(RUN, &begun(waiting())), ok(GET_EXECUTION, &under_way()), ok(GET_EXECUTION, &succeeded())];
    Try::new("jobs execute batch --wait", answers)
        .check(expect![[r#"
            exit: Done
            err:
            Creating execution...
            Running execution [batch-dcb4a] of job [batch]: 3 tasks
            Execution [batch-dcb4a] has successfully completed.

            View details about this execution by running:
            updraft executions describe batch-dcb4a
        "#]])
        .await;
}

#[tokio::test]
async fn a_failed_execution_names_its_failed_tasks_and_where_to_read_on() {
    let answers = vec![ok(RUN, &begun(waiting())), ok(GET_EXECUTION, &failed()), ok(TASKS, &failed_tasks())];
    Try::new("jobs execute batch --wait", answers).check(expect![[r#"
        exit: Failed
        err:
        Creating execution...
        Running execution [batch-dcb4a] of job [batch]: 3 tasks
        error: execution [batch-dcb4a] has failed: Task batch-dcb4a-task1 failed with message: The container exited with an error.
          task 1 failed: exit code 3, tried 2 times
          task 2 failed: ended by signal 9, tried 2 times
        hint: 'updraft executions logs read batch-dcb4a --task 1' shows what the first of them wrote, 'updraft jobs rerun batch-dcb4a --failed-only' runs only those again
    "#]]).await;
}

#[tokio::test]
async fn an_execution_that_somebody_else_cancelled_did_not_succeed() {
    let cancelled = json!({ "type": "Completed", "state": "CONDITION_FAILED", "executionReason": "CANCELLED" });
    let cancelled = execution(&cancelled, "CONDITION_SUCCEEDED", [0, 1, 0]);
    let answers = vec![ok(RUN, &begun(waiting())), ok(GET_EXECUTION, &cancelled)];
    let (text, _) = Try::new("jobs execute batch --wait", answers).run().await;
    assert!(text.starts_with("exit: Failed\n"), "{text}");
    assert!(text.contains("error: execution [batch-dcb4a] was cancelled\n"), "{text}");
}

#[tokio::test]
async fn on_a_terminal_the_tasks_are_shown_one_by_one() {
    let three = json!({ "tasks": [
        task(0, &completed("CONDITION_SUCCEEDED"), json!({})),
        task(1, &completed("CONDITION_SUCCEEDED"), json!({ "retried": 1 })),
        task(2, &completed("CONDITION_SUCCEEDED"), json!({})),
    ] });
    let end = with(succeeded(), json!({ "retriedCount": 1 }));
    let answers = vec![ok(RUN, &begun(waiting())), ok(GET_EXECUTION, &end), ok(TASKS, &three)];
    let (text, _) = Try::new("jobs execute batch --wait", answers).typing("").run().await;
    let begin = "Running execution [batch-dcb4a] of job [batch]: 3 tasks\n  ···\n  · 3 pending\n  0s\n";
    let end = "\u{1b}[3A\r\u{1b}[J  ■■■\n  ■ 3 succeeded  1 retried\n  0s\nExecution [batch-dcb4a] has successfully completed.\n";
    assert!(text.contains(&format!("{begin}{end}")), "{text:?}");
}

#[tokio::test]
async fn who_may_not_see_the_tasks_is_shown_the_counts() {
    let answers = vec![
        ok(RUN, &begun(waiting())),
        ok(GET_EXECUTION, &succeeded()),
        refused(TASKS, 403, "PERMISSION_DENIED", "Permission 'run.tasks.list' denied."),
    ];
    let (text, _) = Try::new("jobs execute batch --wait", answers).typing("").run().await;
    assert!(text.contains("■ 3 succeeded\n") && text.starts_with("exit: Done\n"), "{text}");
}

#[tokio::test]
async fn a_server_that_is_away_for_a_moment_ends_no_wait() {
    let hangs_up = Answer(GET_EXECUTION, 0, String::new());
    let answers = vec![
        ok(RUN, &begun(waiting())),
        hangs_up.clone(),
        ok(GET_EXECUTION, &under_way()),
        hangs_up,
        ok(GET_EXECUTION, &succeeded()),
    ];
    let (text, _) = Try::new("jobs execute batch --wait", answers).run().await;
    assert!(text.starts_with("exit: Done\n"), "{text}");
}

#[tokio::test]
async fn of_ten_thousand_tasks_only_the_counts_are_asked_for() {
    let many = |counts: serde_json::Value| with(with(succeeded(), json!({ "taskCount": 10_000 })), counts);
    let running = with(many(json!({})), json!({ "conditions": waiting()["conditions"], "succeededCount": 0 }));
    let end = many(json!({ "succeededCount": 10_000 }));
    let answers = vec![ok(RUN, &begun(running)), ok(GET_EXECUTION, &end)];
    let (text, _) = Try::new("jobs execute batch --wait", answers).typing("").run().await;
    assert!(text.contains(&format!("  {}\n  ■ 10000 succeeded\n", "■".repeat(60))), "{text}");
}

#[tokio::test]
async fn what_is_to_be_otherwise_goes_with_the_call() {
    let line = "jobs execute batch --async --args=one,two --update-env-vars X=9 --tasks 3 --task-timeout 100s";
    let fake = Try::new(line, vec![ok(RUN, &begun(waiting()))]).run().await.1;
    let overrides = json!({
        "containerOverrides": [{ "args": ["one", "two"], "env": [{ "name": "X", "value": "9" }] }],
        "taskCount": 3, "timeout": "100s"
    });
    assert_eq!(fake.seen()[0].json(), json!({ "overrides": overrides }));
    let fake = Try::new("jobs execute batch --async --tasks 3 --parallelism 2", vec![ok(RUN, &begun(waiting()))]);
    let fake = fake.run().await.1;
    assert_eq!(fake.seen()[0].json(), json!({ "overrides": { "taskCount": 3, "parallelism": 2 } }));
}

#[tokio::test]
async fn a_job_that_is_not_there_cannot_be_executed() {
    Try::new("jobs execute batch", vec![refused(RUN, 404, "NOT_FOUND", "Job 'batch' does not exist.")])
        .check(expect![[r#"
            exit: NotFound
            err:
            Creating execution...
            error: cannot find job [batch]
            hint: 'updraft jobs list' shows those of this project and region
        "#]])
        .await;
}

#[tokio::test]
async fn failed_tasks_are_run_again_by_the_name_of_the_execution_or_of_its_job() {
    let rerun =
        "POST /updraft/v1/executions:rerun?project=demo-project&location=us-central1&job=batch&execution=batch-dcb4a";
    let again = with(succeeded(), json!({ "name": format!("{JOB}/executions/batch-x2y3z"), "taskCount": 2 }));
    let next = "GET /jobs/batch/executions/batch-x2y3z";
    let by_job = vec![
        ok("GET /jobs/batch", &job()),
        ok(rerun, &begun(with(again.clone(), json!({ "conditions": [] })))),
        ok(next, &again),
    ];
    let fake = Try::new("jobs rerun batch --failed-only --wait", by_job)
        .check(expect![[r#"
            exit: Done
            err:
            Running the failed tasks of execution [batch-dcb4a] again...
            Running execution [batch-x2y3z] of job [batch]: 2 tasks
            Execution [batch-x2y3z] has successfully completed.

            View details about this execution by running:
            updraft executions describe batch-x2y3z
        "#]])
        .await;
    assert_eq!(fake.seen().len(), 3);
    let by_execution = vec![
        refused("GET /jobs/batch-dcb4a", 404, "NOT_FOUND", "no"),
        ok(GET_EXECUTION, &failed()),
        ok(rerun, &begun(again)),
    ];
    let (text, _) = Try::new("jobs rerun batch-dcb4a --failed-only --async", by_execution).run().await;
    assert!(text.contains("Execution [batch-x2y3z] is being started asynchronously."), "{text}");
}

#[tokio::test]
async fn an_execution_whose_name_was_chosen_is_found_among_all() {
    let chosen = with(succeeded(), json!({ "name": format!("{JOB}/executions/batch-of-the-day") }));
    let answers = || {
        vec![
            refused("GET /jobs/batch-of-the/executions/batch-of-the-day", 404, "NOT_FOUND", "no"),
            ok(LIST_ALL, &json!({ "executions": [failed(), chosen], "nextPageToken": "unread" })),
        ]
    };
    let (text, _) = Try::new("executions describe batch-of-the-day", answers()).run().await;
    assert!(text.starts_with("exit: Done\nout:\n✔ Execution batch-of-the-day in region us-central1\n"), "{text}");
    let nowhere = vec![ok(LIST_ALL, &json!({ "executions": [failed()] }))];
    Try::new("executions describe nowhere", nowhere)
        .check(expect![[r#"
            exit: NotFound
            err:
            error: cannot find execution [nowhere]
            hint: 'updraft executions list' shows those of this project and region
        "#]])
        .await;
}

#[tokio::test]
async fn executions_are_listed_the_newest_first_and_described() {
    let older = with(
        failed(),
        json!({ "name": format!("{JOB}/executions/batch-aaaaa"), "createTime": "2026-11-20T08:16:31Z" }),
    );
    let list = json!({ "executions": [older, succeeded()] });
    Try::new("jobs executions list", vec![ok(LIST_ALL, &list)])
        .check(expect![[r#"
        exit: Done
        out:
           JOB    EXECUTION    REGION       RUNNING  COMPLETE  CREATED                  RUN BY
        ✔  batch  batch-dcb4a  us-central1  0        3 / 3     2026-11-21 08:16:31 UTC  local@updraft.local
        X  batch  batch-aaaaa  us-central1  0        1 / 3     2026-11-20 08:16:31 UTC  local@updraft.local
    "#]])
        .await;
    let (text, _) = Try::new("executions describe batch-dcb4a", vec![ok(GET_EXECUTION, &succeeded())]).run().await;
    let begin = "exit: Done\nout:\n✔ Execution batch-dcb4a in region us-central1\n3 tasks completed successfully\nElapsed time: 1 minute and 3 seconds\n\nTasks:       3\nParallelism: 1\nContainer\n";
    assert!(text.starts_with(begin), "{text}");
    let (text, _) = Try::new("executions describe batch-dcb4a", vec![ok(GET_EXECUTION, &under_way())]).run().await;
    assert!(text.contains("\n1 task currently running\n1 task waiting\n1 task completed successfully\n"), "{text}");
}

#[tokio::test]
async fn executions_are_cancelled_and_deleted() {
    let done = |execution: serde_json::Value| {
        let execution = any("Execution", execution);
        json!({ "name": OPERATION, "done": true, "metadata": execution, "response": execution })
    };
    let cancel = "POST /jobs/batch/executions/batch-dcb4a:cancel";
    let answers = vec![ok(GET_EXECUTION, &under_way()), ok(cancel, &done(under_way()))];
    Try::new("executions cancel batch-dcb4a --quiet", answers)
        .check(expect![[r#"
            exit: Done
            err:
            Cancelling...done
            Cancelled execution [batch-dcb4a].
        "#]])
        .await;
    let delete = "DELETE /jobs/batch/executions/batch-dcb4a";
    let answers = vec![ok(GET_EXECUTION, &succeeded()), ok(delete, &done(succeeded()))];
    Try::new("jobs executions delete batch-dcb4a --quiet", answers)
        .check(expect![[r#"
            exit: Done
            err:
            Deleting...done
            Deleted execution [batch-dcb4a].
        "#]])
        .await;
    let (text, _) = Try::new("executions cancel batch-dcb4a", vec![]).run().await;
    assert!(text.contains("hint: repeat it with --quiet to agree beforehand"), "{text}");
}

#[tokio::test]
async fn tasks_are_listed_by_index_and_by_state() {
    let answers = |tasks: serde_json::Value| vec![ok(GET_EXECUTION, &failed()), ok(TASKS, &tasks)];
    Try::new("tasks list --execution batch-dcb4a", answers(failed_tasks()))
        .check(expect![[r#"
        exit: Done
        out:
           INDEX  STATE      TASK               STARTED                  COMPLETED                RETRIES
        ✔  0      Succeeded  batch-dcb4a-task0  2026-11-21 08:16:32 UTC  2026-11-21 08:16:33 UTC  0
        X  1      Failed     batch-dcb4a-task1  2026-11-21 08:16:32 UTC                           1
        X  2      Failed     batch-dcb4a-task2  2026-11-21 08:16:32 UTC                           1
    "#]])
        .await;
    let line = "jobs executions tasks list --execution batch-dcb4a --succeeded --running";
    let (text, _) = Try::new(line, answers(failed_tasks())).run().await;
    assert!(text.contains("task0") && !text.contains("task1"), "{text}");
}

#[tokio::test]
async fn a_task_is_described_with_how_its_last_attempt_ended() {
    let answers = vec![
        ok(GET_EXECUTION, &failed()),
        ok("GET /jobs/batch/executions/batch-dcb4a/tasks/batch-dcb4a-task1", &failed_tasks()["tasks"][2]),
    ];
    Try::new("tasks describe batch-dcb4a-task1", answers)
        .check(expect![[r#"
            exit: Done
            out:
            X Task batch-dcb4a-task1 in region us-central1
            Running state: Failed
            Last Attempt Result:
              Ended:   exit code 3
              Message: The container exited with an error.
              Retries: 1

            Container
              Image:  localhost:5000/batch
              Memory: 512Mi
              CPU:    1000m
              Env vars:
                A 1
            Task Timeout: 5m
            Max Retries:  1
        "#]])
        .await;
    let (text, _) = Try::new("tasks describe batch-dcb4a", Vec::<Answer>::new()).run().await;
    assert!(text.starts_with("exit: NotFound\nerr:\nerror: cannot find task [batch-dcb4a]\n"), "{text}");
}
