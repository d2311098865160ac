//! `scheduler jobs`.

use expect_test::expect;
use serde_json::{Value, json};

use super::{Try, fake::Answer, ok, refused};

const JOB: &str = "projects/demo-project/locations/us-central1/jobs/nightly";

fn made() -> Value {
    json!({
        "name": JOB,
        "schedule": "*/5 * * * *",
        "timeZone": "Etc/UTC",
        "state": "ENABLED",
        "scheduleTime": "2026-11-27T10:05:00Z",
        "httpTarget": {"uri": "https://example.com/", "httpMethod": "POST", "headers": {"User-Agent": "Google-Cloud-Scheduler", "X-A": "1"}},
    })
}

fn answer(line: &'static str) -> Answer {
    ok(line, &made())
}

#[tokio::test]
async fn a_job_is_created_with_what_the_flags_say() {
    let post = "POST /cloudscheduler/v1/projects/demo-project/locations/us-central1/jobs";
    let line = "scheduler jobs create http nightly --uri https://example.com/ --http-method put --headers X-A=1,X-B=2 \
                --message-body hi --oidc-service-account-email a@p.iam.gserviceaccount.com --time-zone Europe/Berlin \
                --attempt-deadline 5m --max-retry-attempts 3 --min-backoff 10s --max-backoff 1h --max-doublings 2 \
                --max-retry-duration 0 --description d";
    let fake = Try::new(line, vec![answer(post)])
        .with(&["--schedule", "*/5 * * * *"])
        .check(expect![[r#"
            exit: Done
            out:
            name: projects/demo-project/locations/us-central1/jobs/nightly
            schedule: "*/5 * * * *"
            timeZone: Etc/UTC
            state: ENABLED
            scheduleTime: "2026-11-27T10:05:00Z"
            httpTarget:
              uri: https://example.com/
              httpMethod: POST
              headers:
                User-Agent: Google-Cloud-Scheduler
                X-A: "1"
        "#]])
        .await;
    assert_eq!(
        fake.seen()[0].json(),
        json!({
            "name": JOB,
            "description": "d",
            "schedule": "*/5 * * * *",
            "timeZone": "Europe/Berlin",
            "attemptDeadline": "300s",
            "retryConfig": {
                "retryCount": 3,
                "maxRetryDuration": "0s",
                "minBackoffDuration": "10s",
                "maxBackoffDuration": "3600s",
                "maxDoublings": 2,
            },
            "httpTarget": {
                "uri": "https://example.com/",
                "httpMethod": "PUT",
                "headers": {"X-A": "1", "X-B": "2"},
                "body": "aGk=",
                "oidcToken": {"serviceAccountEmail": "a@p.iam.gserviceaccount.com"},
            },
        })
    );
}

#[tokio::test]
async fn a_change_names_what_it_changes_and_keeps_the_rest() {
    let get = "GET /cloudscheduler/v1/projects/demo-project/locations/us-east1/jobs/nightly";
    let patch = "PATCH /cloudscheduler/v1/projects/demo-project/locations/us-east1/jobs/nightly?updateMask=\
                 schedule%2Chttp_target.headers%2Chttp_target.oidc_token%2Chttp_target.oauth_token%2Cretry_config.retry_count";
    let line = "scheduler jobs update http nightly --location us-east1 --update-headers x-a=2 --clear-auth-token \
                --max-retry-attempts 1";
    let fake = Try::new(line, vec![answer(get), answer(patch)]).with(&["--schedule", "every 5 minutes"]).run().await.1;
    let sent = fake.seen()[1].json();
    assert_eq!((&sent["schedule"], &sent["retryConfig"]["retryCount"]), (&json!("every 5 minutes"), &json!(1)));
    assert_eq!(sent["httpTarget"]["headers"], json!({"User-Agent": "Google-Cloud-Scheduler", "x-a": "2"}));
    let nothing = Try::new("scheduler jobs update http nightly --location us-east1", vec![answer(get)]).run().await.0;
    assert!(nothing.contains("nothing is to be changed"), "{nothing}");
}

#[tokio::test]
async fn jobs_are_listed_with_when_they_run_next() {
    let get = "GET /cloudscheduler/v1/projects/demo-project/locations/us-central1/jobs?pageSize=500";
    let mut paused = made();
    paused["name"] = json!("projects/demo-project/locations/us-central1/jobs/paused");
    paused["state"] = json!("PAUSED");
    paused.as_object_mut().expect("one").remove("scheduleTime");
    Try::new("scheduler jobs list", vec![ok(get, &json!({"jobs": [made(), paused]}))])
        .check(expect![[r#"
            exit: Done
            out:
            ID       LOCATION     SCHEDULE (TZ)          TARGET_TYPE  STATE    NEXT
            nightly  us-central1  */5 * * * * (Etc/UTC)  HTTP         ENABLED  2026-11-27 10:05:00 UTC
            paused   us-central1  */5 * * * * (Etc/UTC)  HTTP         PAUSED   -
        "#]])
        .await;
}

#[tokio::test]
async fn a_job_is_run_paused_resumed_and_deleted_once_that_is_confirmed() {
    for (verb, line, said) in [
        (
            "run",
            "POST /cloudscheduler/v1/projects/demo-project/locations/us-central1/jobs/nightly:run",
            "Job [nightly] is run now.",
        ),
        (
            "pause",
            "POST /cloudscheduler/v1/projects/demo-project/locations/us-central1/jobs/nightly:pause",
            "Job has been paused.",
        ),
        (
            "resume",
            "POST /cloudscheduler/v1/projects/demo-project/locations/us-central1/jobs/nightly:resume",
            "Job has been resumed.",
        ),
        (
            "delete",
            "DELETE /cloudscheduler/v1/projects/demo-project/locations/us-central1/jobs/nightly",
            "Deleted job [nightly].",
        ),
    ] {
        let command = format!("scheduler jobs {verb} nightly --quiet");
        let text = Try::new(&command, vec![answer(line)]).run().await.0;
        assert!(text.starts_with("exit: Done") && text.contains(said), "{text}");
    }
    let text = Try::new("scheduler jobs delete nightly", Vec::new()).run().await.0;
    assert!(text.contains("nobody can be asked whether to go on"), "{text}");
    let get = "GET /cloudscheduler/v1/projects/demo-project/locations/us-central1/jobs/absent";
    let text = Try::new("scheduler jobs describe absent", vec![refused(get, 404, "NOT_FOUND", "Job not found.")])
        .run()
        .await
        .0;
    assert!(text.contains("error: Job not found."), "{text}");
}
