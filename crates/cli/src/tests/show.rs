use std::time::Duration;

use expect_test::{expect, expect_file};
use serde_json::{Value, json};

use super::{Answer, NAME, Try, WAIT, any, done, object, ok, refused, running, service, with};

const GET: &str = "GET /services/hello";
const LIST: &str = "GET /services?pageSize=100";

fn broken() -> Value {
    let ready = json!({
        "type": "Ready", "state": "CONDITION_FAILED", "message": "Revision 'hello-00002-abc' is not ready.",
        "lastTransitionTime": "2026-11-21T09:00:00Z"
    });
    with(service(2), json!({ "terminalCondition": ready, "name": NAME.replace("hello", "broken") }))
}

fn revision(number: u32, active: &str) -> Value {
    let condition = |kind: &str, state: &str| json!({ "type": kind, "state": state });
    json!({
        "name": format!("{NAME}/revisions/hello-0000{number}-abc"),
        "uid": "00e9109e-0de1-4b18-a1ae-a246ab68d976",
        "service": "hello",
        "generation": "1",
        "createTime": "2026-11-21T08:13:40.123Z",
        "creator": "local@updraft.local",
        "timeout": "300s",
        "maxInstanceRequestConcurrency": 80,
        "containers": [{
            "name": "hello-1", "image": "localhost:5000/hello@sha256:2b62", "args": ["--fast"],
            "resources": { "limits": { "cpu": "1000m", "memory": "512Mi" } },
            "ports": [{ "name": "h2c", "containerPort": 8080 }],
            "startupProbe": { "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 3, "httpGet": { "path": "/up", "port": 8080 } }
        }],
        "conditions": [condition("Ready", "CONDITION_SUCCEEDED"), condition("Active", active)]
    })
}

#[tokio::test]
async fn services_are_listed_by_name_in_columns_page_by_page() {
    let pages = || {
        vec![
            ok(LIST, &json!({ "services": [service(1)], "nextPageToken": "t/1" })),
            ok("GET /services?pageSize=100&pageToken=t%2F1", &json!({ "services": [broken()] })),
        ]
    };
    Try::new("services list", pages()).check(expect![[r#"
        exit: Done
        out:
           SERVICE  REGION       URL                                              LAST DEPLOYED BY     LAST DEPLOYED AT
        X  broken   us-central1  http://hello-123.us-central1.run.localhost:8080  local@updraft.local  2026-11-21 09:00:00 UTC
        ✔  hello    us-central1  http://hello-123.us-central1.run.localhost:8080  local@updraft.local  2026-11-21 08:36:59 UTC
    "#]]).await;
    Try::new("services list --format table", vec![ok(LIST, &json!({}))])
        .check(expect![[r#"
        exit: Done
        err:
        Listed 0 items.
    "#]])
        .await;
}

#[tokio::test]
async fn a_service_is_described_as_text() {
    let answers = vec![ok(GET, &service(1))];
    Try::new("services describe hello", answers)
        .check(expect![[r#"
        exit: Done
        out:
        ✔ Service hello in region us-central1
        team:a

        URL:     http://hello-123.us-central1.run.localhost:8080
        Ingress: all
        Traffic:
          100% LATEST (currently hello-00001-abc)

        Scaling: Auto (Min: 0)

        Last updated on 2026-11-21T08:36:59.956712Z by local@updraft.local:
          Revision hello-00001-abc
          Container
            Image:         localhost:5000/hello
            Port:          8080
            Memory:        512Mi
            CPU:           1000m
            CPU allocated: only during request processing
            Env vars:
              GREETING hi
            Startup Probe:
              TCP every 240s
              Port:              8080
              Initial delay:     0s
              Timeout:           240s
              Failure threshold: 1
          Service account: 1-compute@developer.gserviceaccount.com
          Concurrency:     80
          Max instances:   100
          Timeout:         300s
    "#]])
        .await;
    let (text, _) = Try::new("services describe broken", vec![ok("GET /services/broken", &broken())]).run().await;
    assert!(text.starts_with("exit: Done\nout:\nX Service broken in region us-central1\n"), "{text}");
    assert!(text.ends_with("\nX Revision 'hello-00002-abc' is not ready.\n"), "{text}");
}

#[tokio::test]
async fn containers_are_described_by_their_names_with_what_they_share() {
    let mut shown = service(1);
    let template = &mut shown["template"];
    let mount = json!([{"name": "shared", "mountPath": "/data"}]);
    template["volumes"] = json!([{"name": "shared", "emptyDir": {"medium": "MEMORY", "sizeLimit": "64Mi"}}, {"name": "v", "emptyDir": {}}]);
    template["containers"] = json!([
        {"name": "web", "image": "web", "ports": [{"containerPort": 8080}], "dependsOn": ["db"], "volumeMounts": mount},
        {"name": "db", "image": "db", "volumeMounts": mount},
    ]);
    let (text, _) = Try::new("services describe hello", vec![ok(GET, &shown)]).run().await;
    let (from, to) = (text.find("Last updated").expect("it is there"), text.find("  Service account").expect("there"));
    expect![[r#"
        Last updated on 2026-11-21T08:36:59.956712Z by local@updraft.local:
          Revision hello-00001-abc
          Container web
            Image:        web
            Port:         8080
            Starts after: db
            Volume mounts:
              shared /data
          Container db
            Image: db
            Volume mounts:
              shared /data
          Volumes:
            shared in memory, 64Mi
            v      in memory, half of it
    "#]]
    .assert_eq(&text[from..to]);
}

#[tokio::test]
async fn a_service_is_described_as_json_and_yaml_in_the_v1_shape() {
    let get = "GET /v1/projects/demo-project/locations/us-central1/services/hello";
    let run = |line| Try::new(line, vec![ok(get, &object(&service(1)))]).run();
    expect_file!["snapshots/service.json.txt"].assert_eq(&run("services describe hello --format json").await.0);
    expect_file!["snapshots/service.yaml.txt"].assert_eq(&run("services describe hello --format yaml").await.0);
    let list = "GET /v1/projects/demo-project/locations/us-central1/services?limit=100";
    let both = vec![ok(list, &json!({ "items": [object(&service(1)), object(&broken())] }))];
    let (text, _) = Try::new("services list --format yaml", both).run().await;
    assert_eq!(text.matches("\n---\napiVersion: serving.knative.dev/v1\n").count(), 1, "{text}");
}

#[tokio::test]
async fn what_is_not_there_has_its_own_exit() {
    let missing = |request| vec![refused(request, 404, "NOT_FOUND", "Resource 'x' was not found")];
    Try::new("services describe nope", missing("GET /services/nope"))
        .check(expect![[r#"
        exit: NotFound
        err:
        error: cannot find service [nope]
        hint: 'updraft services list' shows those of this project and region
    "#]])
        .await;
    Try::new("services delete nope -q", missing("DELETE /services/nope"))
        .check(expect![[r#"
        exit: NotFound
        err:
        error: cannot find service [nope]
        hint: 'updraft services list' shows those of this project and region
    "#]])
        .await;
    let none = vec![ok("GET /services/-/revisions?pageSize=100", &json!({}))];
    Try::new("revisions describe nope", none)
        .check(expect![[r#"
        exit: NotFound
        err:
        error: cannot find revision [nope]
        hint: 'updraft revisions list' shows those of this project and region
    "#]])
        .await;
}

#[tokio::test]
async fn a_delete_is_agreed_to_or_does_not_happen() {
    let answers = || {
        vec![
            ok("DELETE /services/hello", &running(service(1))),
            ok(WAIT, &running(service(1))),
            ok(WAIT, &done(service(1))),
        ]
    };
    Try::new("services delete hello --quiet", answers())
        .check(expect![[r#"
        exit: Done
        err:
        Deleting...done
        Deleted service [hello].
    "#]])
        .await;
    Try::new("services delete hello", answers())
        .typing("\n")
        .check(expect![[r#"
        exit: Done
        err:
        Service [hello] will be deleted.

        Do you want to continue (Y/n)?   · Deleting...{redraw}  ✓ Deleting
        Deleted service [hello].
    "#]])
        .await;
    Try::new("services delete hello", vec![])
        .typing("n\n")
        .check(expect![[r#"
        exit: Failed
        err:
        Service [hello] will be deleted.

        Do you want to continue (Y/n)? error: aborted by user
    "#]])
        .await;
    Try::new("services delete hello", vec![])
        .check(expect![[r#"
        exit: Failed
        err:
        error: Service [hello] will be deleted, and nobody can be asked whether to go on
        hint: repeat it with --quiet to agree beforehand
    "#]])
        .await;
    let begun = vec![ok("DELETE /services/hello", &running(service(1)))];
    Try::new("services delete hello --quiet --async", begun)
        .check(expect![[r#"
        exit: Done
        err:
        Service [hello] is being deleted.
    "#]])
        .await;
}

const ALL_REVISIONS: &str = "GET /services/-/revisions?pageSize=100";

fn revisions() -> Value {
    json!({ "revisions": [revision(2, "CONDITION_SUCCEEDED"), revision(1, "CONDITION_FAILED")] })
}

#[tokio::test]
async fn revisions_are_listed_and_described() {
    let of_hello = vec![ok("GET /services/hello/revisions?pageSize=100", &revisions())];
    Try::new("revisions list --service hello", of_hello)
        .check(expect![[r#"
        exit: Done
        out:
           REVISION         ACTIVE  SERVICE  DEPLOYED                 DEPLOYED BY
        ✔  hello-00002-abc  yes     hello    2026-11-21 08:13:40 UTC  local@updraft.local
        ✔  hello-00001-abc          hello    2026-11-21 08:13:40 UTC  local@updraft.local
    "#]])
        .await;
    let all = || vec![ok(ALL_REVISIONS, &revisions())];
    Try::new("revisions describe hello-00002-abc", all())
        .check(expect![[r#"
        exit: Done
        out:
        ✔ Revision hello-00002-abc in region us-central1

        Container
          Image:         localhost:5000/hello@sha256:2b62
          Args:          --fast
          Port:          8080
          Memory:        512Mi
          CPU:           1000m
          CPU allocated: always
          Startup Probe:
            HTTP every 1s
            Path:              /up
            Port:              8080
            Initial delay:     0s
            Timeout:           1s
            Failure threshold: 3
        Concurrency:    80
        Timeout:        300s
        HTTP/2 Enabled: Enabled
    "#]])
        .await;
    let get = "GET /v1/projects/demo-project/locations/us-central1/revisions/hello-00002-abc";
    let shown = vec![ok(get, &json!({"apiVersion": "serving.knative.dev/v1", "kind": "Revision", "metadata": {}}))];
    let (text, _) = Try::new("revisions describe hello-00002-abc --format yaml", shown).run().await;
    assert!(text.starts_with("exit: Done\nout:\napiVersion: serving.knative.dev/v1\nkind: Revision\n"), "{text}");
}

#[tokio::test]
async fn revisions_are_deleted_by_their_name_alone() {
    let gone = any("Revision", revision(1, "CONDITION_FAILED"));
    let operation = json!({ "name": super::OPERATION, "metadata": gone, "done": true, "response": gone });
    let delete = ok("DELETE /services/hello/revisions/hello-00001-abc", &operation);
    let answers = vec![ok(ALL_REVISIONS, &revisions()), delete];
    Try::new("revisions delete hello-00001-abc -q", answers)
        .check(expect![[r#"
        exit: Done
        err:
        Deleting...done
        Deleted revision [hello-00001-abc].
    "#]])
        .await;
    let serves = "Revision 'hello-00002-abc' is serving traffic";
    let refuses = refused("DELETE /services/hello/revisions/hello-00002-abc", 400, "FAILED_PRECONDITION", serves);
    let answers = vec![ok(ALL_REVISIONS, &revisions()), refuses];
    Try::new("revisions delete hello-00002-abc -q", answers)
        .check(expect![[r#"
        exit: Failed
        err:
        error: Revision 'hello-00002-abc' is serving traffic
    "#]])
        .await;
}

#[tokio::test]
async fn the_audit_log_says_who_did_what_the_newest_last() {
    let entry = |time: &str, who: Value, method: &str, status: Value| {
        let payload = json!({
            "authenticationInfo": who,
            "methodName": method,
            "resourceName": "projects/demo-project/roles/r",
            "status": status,
        });
        json!({"timestamp": time, "protoPayload": payload})
    };
    let page = json!({"entries": [
        entry("2026-11-21T08:14:42Z", json!({}), "google.iam.admin.v1.DeleteRole", json!({"code": 16})),
        entry("2026-11-21T08:14:41Z", json!({"principalEmail": "b@x"}), "SetIamPolicy", json!({"code": 5})),
    ], "nextPageToken": "more"});
    let last = json!({"entries": [
        entry("2026-11-21T08:14:40Z", json!({"principalEmail": "a@x"}), "google.iam.admin.v1.CreateRole", json!({})),
    ]});
    let ask = "POST /logging/v2/entries:list";
    let answers = vec![Answer(ask, 200, page.to_string()), Answer(ask, 200, last.to_string())];
    let (text, _) = Try::new("audit --limit 3", answers).run().await;
    expect![[r#"
        exit: Done
        out:
        TIME                 WHO     METHOD        RESOURCE                       OUTCOME
        2026-11-21 08:14:40  a@x     CreateRole    projects/demo-project/roles/r  ok
        2026-11-21 08:14:41  b@x     SetIamPolicy  projects/demo-project/roles/r  failed (5)
        2026-11-21 08:14:42  nobody  DeleteRole    projects/demo-project/roles/r  denied
    "#]]
    .assert_eq(&text);
    Try::new("audit --denied", vec![Answer(ask, 200, "{}".to_owned())])
        .check(expect![[r#"
        exit: Done
        err:
        Nothing is on record for project [demo-project].
    "#]])
        .await;
}

#[tokio::test]
async fn logs_are_printed_as_they_come() {
    let lines = concat!(
        r#"{"timestamp":"2026-11-21T08:14:40.5Z","severity":"DEFAULT","textPayload":"hello"}"#,
        "\n",
        r#"{"timestamp":"2026-11-21T08:14:41Z","severity":"INFO","jsonPayload":{"message":"bye","n":1}}"#,
        "\n"
    );
    let all = "GET /updraft/v1/logs?project=demo-project&location=us-central1&service=hello&limit=100";
    let some =
        "GET /updraft/v1/logs?project=demo-project&location=us-central1&service=hello&limit=5&revision=hello-00001-abc";
    let answer = |request| vec![Answer(request, 200, lines.to_owned())];
    Try::new("services logs hello", answer(all))
        .check(expect![[r#"
            exit: Done
            out:
            2026-11-21 08:14:40 hello
            2026-11-21 08:14:41 {"message":"bye","n":1}
        "#]])
        .await;
    Try::new("services logs read hello --limit 5 --revision hello-00001-abc --format json", answer(some))
        .check(expect![[r#"
            exit: Done
            out:
            [
              {
                "timestamp": "2026-11-21T08:14:40.5Z",
                "severity": "DEFAULT",
                "textPayload": "hello"
              },
              {
                "timestamp": "2026-11-21T08:14:41Z",
                "severity": "INFO",
                "jsonPayload": {
                  "message": "bye",
                  "n": 1
                }
              }
            ]
        "#]])
        .await;
    Try::new("services logs write hello", vec![])
        .check(expect![[r#"
        exit: Usage
        err:
        error: logs takes one service
        hint: write 'updraft services logs SERVICE' or 'updraft services logs read SERVICE'
    "#]])
        .await;
}

#[tokio::test]
async fn what_the_scaler_decided_is_explained() {
    let asked = "GET /updraft/v1/logs?project=demo-project&location=us-central1&service=hello&limit=50&which=decisions";
    let entry = json!({
        "logName": "projects/demo-project/logs/run.googleapis.com%2Fvarlog%2Fscaling",
        "timestamp": "2026-11-21T08:14:40Z",
        "resource": {"type": "cloud_run_revision", "labels": {"revision_name": "hello-00001-abc"}},
        "textPayload": "+2 (1 → 3): CPU 1.5 over a minute, target 0.6 = 1 × 60 %",
    });
    Try::new("services explain hello", vec![Answer(asked, 200, format!("{entry}\n"))])
        .check(expect![[r#"
            exit: Done
            out:
            2026-11-21 08:14:40 hello-00001-abc +2 (1 → 3): CPU 1.5 over a minute, target 0.6 = 1 × 60 %
        "#]])
        .await;
}

#[tokio::test]
async fn logs_of_a_service_that_never_was_are_not_found() {
    let empty = "GET /updraft/v1/logs?project=demo-project&location=us-central1&service=hello&limit=100";
    let answers = vec![Answer(empty, 200, String::new()), refused(GET, 404, "NOT_FOUND", "Resource was not found")];
    Try::new("services logs hello", answers)
        .check(expect![[r#"
            exit: NotFound
            err:
            error: cannot find service [hello]
            hint: 'updraft services list' shows those of this project and region
        "#]])
        .await;
}

#[tokio::test]
async fn a_server_that_is_not_there_or_no_updraft_is_told_apart() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut err = Vec::new();
    let line =
        <super::Line as clap::Parser>::parse_from(["updraft", "services", "list", "--endpoint", &closed.to_string()]);
    let console = crate::Console::new(std::io::sink(), &mut err, std::io::empty(), crate::Terminal::Plain);
    let clock = updraft_base::Clock::system();
    let run = crate::run::run(line.command, line.globals, console, clock.clone());
    let exit = clock.timeout(Duration::from_secs(20), run).await.expect("a closed port answers at once");
    assert_eq!(exit, crate::Exit::Unreachable);
    expect![[r#"
        error: cannot reach the server at http://ADDRESS: Connection refused (os error 111)
        hint: start one with 'updraft serve', or name another with --endpoint or UPDRAFT_ENDPOINT
    "#]]
    .assert_eq(&String::from_utf8(err).unwrap().replace(&closed.to_string(), "ADDRESS"));

    Try::new("services list", vec![Answer(LIST, 404, "<html>".to_owned())])
        .check(expect![[r#"
        exit: Failed
        err:
        error: the server answered 404 Not Found, and not as the API does
        hint: is the endpoint an Updraft server?
    "#]])
        .await;
    Try::new("services list", vec![Answer(LIST, 200, "<html>".to_owned())])
        .check(expect![[r#"
        exit: Failed
        err:
        error: the server's answer makes no sense: expected value at line 1 column 1
        hint: is the endpoint an Updraft server, and of this version?
    "#]])
        .await;
}

#[tokio::test]
async fn the_token_is_sent_and_a_wrong_one_has_its_own_exit() {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "secret-1\n").unwrap();
    let wrong = || vec![refused(LIST, 401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")];
    let from_file = Try::new("services list --token-file", wrong()).with(&[file.to_str().unwrap()]);
    let fake = from_file
        .check(expect![[r#"
        exit: Denied
        err:
        error: Request had invalid authentication credentials.
        hint: pass the server's token with UPDRAFT_TOKEN or --token-file, or run 'updraft auth login'
    "#]])
        .await;
    assert!(fake.seen()[0].head.to_lowercase().contains("authorization: bearer secret-1\r\n"));
    let fake = Try::new("services list --token secret-2", vec![ok(LIST, &json!({}))])
        .check(expect![[r#"
        exit: Done
        err:
        Listed 0 items.
    "#]])
        .await;
    assert!(fake.seen()[0].head.to_lowercase().contains("authorization: bearer secret-2\r\n"));
}
