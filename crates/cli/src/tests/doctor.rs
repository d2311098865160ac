use expect_test::expect;
use serde_json::{Value, json};

use super::{Try, ok, refused};

const GET: &str = "GET /updraft/v1/diagnosis?project=demo-project&location=us-central1&service=hello";

fn failed() -> Value {
    json!({
        "service": "hello", "revision": "hello-00002-abc", "state": "FAILED", "message": "S. C. A.",
        "diagnosis": {
            "code": "listens-on-other-port",
            "sentence": "The user-provided container failed to start.",
            "cause": "It listens on 0.0.0.0:3000, and nothing listens on port 8080.",
            "advice": "Make it listen on the port that PORT names, or deploy with --port 3000.",
            "facts": ["Listens on: 0.0.0.0:3000.", "Processes: node (sleeping, 11 threads)."],
            "lastLines": ["listening on 3000", "\u{1b}[2J"],
            "isPlatformFault": false
        },
        "serving": ["hello-00001-abc"]
    })
}

#[tokio::test]
async fn a_failure_is_told_with_its_cause_and_what_else_was_seen() {
    Try::new("services doctor hello", vec![ok(GET, &failed())])
        .check(expect![[r#"
            exit: Done
            out:
            X Revision [hello-00002-abc] of service [hello] did not start: listens-on-other-port

            The user-provided container failed to start.

            Cause:  It listens on 0.0.0.0:3000, and nothing listens on port 8080.
            Advice: Make it listen on the port that PORT names, or deploy with --port 3000.

            What was seen:
              Listens on: 0.0.0.0:3000.
              Processes: node (sleeping, 11 threads).

            Last lines of the container's output:
              listening on 3000
              \u{1b}[2J

            Revision [hello-00001-abc] takes the traffic.
        "#]])
        .await;
}

#[tokio::test]
async fn what_is_fine_is_called_fine() {
    let fine = json!({
        "service": "hello", "revision": "hello-00001-abc", "state": "READY", "message": "", "diagnosis": null,
        "serving": ["hello-00001-abc"]
    });
    Try::new("services doctor hello", vec![ok(GET, &fine)])
        .check(expect![[r#"
        exit: Done
        out:
        ✔ Revision [hello-00001-abc] of service [hello] started and is ready; nothing is wrong with it
    "#]])
        .await;
}

#[tokio::test]
async fn what_an_earlier_version_stored_is_told_as_it_is() {
    let old = json!({
        "service": "hello", "revision": "hello-00001-abc", "state": "FAILED", "message": "It failed.",
        "diagnosis": null, "serving": []
    });
    Try::new("services doctor hello", vec![ok(GET, &old)])
        .check(expect![[r#"
        exit: Done
        out:
        X Revision [hello-00001-abc] of service [hello] is not ready

        It failed.

        No revision takes traffic.
    "#]])
        .await;
}

#[tokio::test]
async fn programs_get_json_and_a_service_that_is_not_there_is_not_found() {
    let of_revision =
        "GET /updraft/v1/diagnosis?project=demo-project&location=us-central1&service=hello&revision=hello-00002-abc";
    let (text, _) =
        Try::new("services doctor hello --revision hello-00002-abc --format json", vec![ok(of_revision, &failed())])
            .run()
            .await;
    assert!(text.contains("\"code\": \"listens-on-other-port\""), "{text}");
    let missing = refused(GET, 404, "NOT_FOUND", "Resource 'hello' was not found.");
    Try::new("services doctor hello", vec![missing])
        .check(expect![[r#"
        exit: NotFound
        err:
        error: cannot find service [hello]
        hint: 'updraft services list' shows those of this project and region
    "#]])
        .await;
}
