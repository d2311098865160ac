use expect_test::expect;
use serde_json::{Value, json};

use super::{Answer, GET_OBJECT, Try, WAIT, done, object, ok, refused, running, service, with};

const GET: &str = "GET /services/hello";
const PATCH_IMAGE: &str = "PATCH /services/hello?updateMask=template%2Cclient%2CclientVersion";
const SENTENCE: &str = "Revision 'hello-00002-abc' is not ready and cannot serve traffic. The user-provided container failed to start and listen on the port defined provided by the PORT=8080 environment variable within the allocated timeout.\n\nContainer called exit(3).\nlast lines:\n  cannot open config";

fn missing() -> Answer {
    refused(GET, 404, "NOT_FOUND", "Resource 'hello' was not found")
}

/// A service on its way to the revision of that number.
fn reconciling(number: u32, configured: &str, revision: u32) -> Value {
    let condition = |kind: &str, state: &str| json!({ "type": kind, "state": state });
    let latest = format!("{}/revisions/hello-0000{revision}-abc", super::NAME);
    let conditions =
        json!([condition("ConfigurationsReady", configured), condition("RoutesReady", "CONDITION_RECONCILING")]);
    with(
        service(number),
        json!({ "reconciling": true, "conditions": conditions, "latestCreatedRevision": latest, "latestReadyRevision": "" }),
    )
}

#[tokio::test]
async fn a_first_deploy_tells_its_stages_then_the_revision_its_share_and_the_url() {
    let answers = vec![
        missing(),
        ok("POST /services?serviceId=hello", &running(reconciling(1, "CONDITION_RECONCILING", 1))),
        ok("GET /services/hello:getIamPolicy?options.requestedPolicyVersion=3", &json!({ "etag": "ZTE=" })),
        ok("POST /services/hello:setIamPolicy", &json!({})),
        ok(WAIT, &running(reconciling(1, "CONDITION_SUCCEEDED", 1))),
        ok(WAIT, &done(service(1))),
    ];
    let expected = expect![[r#"
        exit: Done
        err:
        Deploying container to service [hello] in project [demo-project] region [us-central1]
        Deploying new service...
        Setting IAM Policy...done
        Creating Revision...done
        Routing traffic...done
        Done.
        Service [hello] revision [hello-00001-abc] has been deployed and is serving 100 percent of traffic.
        Service URL: http://hello-123.us-central1.run.localhost:8080
    "#]];
    let line = "deploy hello --image localhost:5000/hello --allow-unauthenticated --memory 256Mi";
    let fake = Try::new(line, answers).check(expected).await;
    let sent = fake.seen()[1].json();
    assert_eq!(sent["template"]["containers"][0]["image"], "localhost:5000/hello");
    assert_eq!(sent["template"]["containers"][0]["resources"]["limits"], json!({ "memory": "256Mi" }));
    assert_eq!(
        fake.seen()[3].json(),
        json!({ "policy": { "bindings": [{ "role": "roles/run.invoker", "members": ["allUsers"] }], "etag": "ZTE=", "version": 3 } })
    );
}

#[tokio::test]
async fn on_a_terminal_a_new_service_asks_who_may_call_and_stages_turn_into_ticks() {
    let answers = vec![
        missing(),
        ok("POST /services?serviceId=hello", &running(reconciling(1, "CONDITION_RECONCILING", 1))),
        ok(WAIT, &done(service(1))),
    ];
    Try::new("deploy hello --image i", answers).typing("what\nn\n").check(expect![[r#"
        exit: Done
        err:
        Allow unauthenticated invocations to [hello] (y/N)? Please enter 'y' or 'n'.
        Allow unauthenticated invocations to [hello] (y/N)? Deploying container to service [hello] in project [demo-project] region [us-central1]
        Deploying new service...
          · Creating Revision...{redraw}  ✓ Creating Revision
          · Routing traffic...{redraw}  ✓ Routing traffic
        Done.
        Service [hello] revision [hello-00001-abc] has been deployed and is serving 100 percent of traffic.
        Service URL: http://hello-123.us-central1.run.localhost:8080
    "#]]).await;
}

#[tokio::test]
async fn a_deploy_whose_container_fails_says_why_and_what_goes_on_serving() {
    let failed = with(
        reconciling(2, "CONDITION_FAILED", 2),
        json!({
            "latestReadyRevision": format!("{}/revisions/hello-00001-abc", super::NAME),
            "trafficStatuses": service(1)["trafficStatuses"],
        }),
    );
    let metadata = running(failed)["metadata"].clone();
    let end = json!({
        "name": super::OPERATION, "metadata": metadata, "done": true, "error": { "code": 9, "message": SENTENCE }
    });
    let answers = vec![
        ok(GET, &service(1)),
        ok(PATCH_IMAGE, &running(reconciling(2, "CONDITION_RECONCILING", 2))),
        ok(WAIT, &end),
    ];
    Try::new("deploy hello --image i --quiet", answers).check(expect![[r#"
        exit: Failed
        err:
        Deploying container to service [hello] in project [demo-project] region [us-central1]
        Deploying...
        Creating Revision...failed
        Deployment failed
        error: Revision 'hello-00002-abc' is not ready and cannot serve traffic. The user-provided container failed to start and listen on the port defined provided by the PORT=8080 environment variable within the allocated timeout.

        Container called exit(3).
        last lines:
          cannot open config
        hint: 'updraft services doctor hello' shows what else was seen, 'updraft services logs hello' what it wrote; revision [hello-00001-abc] goes on serving
    "#]]).await;
}

#[tokio::test]
async fn a_refused_request_shows_every_broken_rule() {
    let body = json!({ "error": {
        "code": 400, "status": "INVALID_ARGUMENT", "message": "service.template.timeout: too long (and 1 more)",
        "details": [{ "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [
            { "field": "service.template.timeout", "description": "too long" },
            { "field": "service_id", "description": "only lowercase" }
        ]}]
    }});
    let answers = vec![missing(), Answer("POST /services?serviceId=hello", 400, body.to_string())];
    Try::new("deploy hello --image i --no-allow-unauthenticated", answers)
        .check(expect![[r#"
        exit: Failed
        err:
        Deploying container to service [hello] in project [demo-project] region [us-central1]
        Deploying new service...
        error: service.template.timeout: too long (and 1 more)
          service_id: only lowercase
    "#]])
        .await;
}

#[tokio::test]
async fn a_policy_that_cannot_be_set_is_a_warning() {
    let answers = vec![
        ok(GET, &service(1)),
        ok(PATCH_IMAGE, &running(reconciling(2, "CONDITION_RECONCILING", 2))),
        refused(
            "GET /services/hello:getIamPolicy?options.requestedPolicyVersion=3",
            403,
            "PERMISSION_DENIED",
            "Permission 'run.services.getIamPolicy' denied",
        ),
        ok(WAIT, &done(service(2))),
    ];
    Try::new("deploy hello --image i --no-allow-unauthenticated", answers)
        .check(expect![[r#"
        exit: Done
        err:
        Deploying container to service [hello] in project [demo-project] region [us-central1]
        Deploying...
        Setting IAM Policy...failed
        warning: who may call [hello] was not changed: Permission 'run.services.getIamPolicy' denied
        Creating Revision...done
        Routing traffic...done
        Done.
        Service [hello] revision [hello-00002-abc] has been deployed and is serving 100 percent of traffic.
        Service URL: http://hello-123.us-central1.run.localhost:8080
    "#]])
        .await;
}

#[tokio::test]
async fn async_does_not_wait() {
    let answers = vec![ok(GET, &service(1)), ok(PATCH_IMAGE, &running(reconciling(2, "CONDITION_PENDING", 1)))];
    Try::new("deploy hello --image i --async", answers)
        .check(expect![[r#"
        exit: Done
        err:
        Deploying container to service [hello] in project [demo-project] region [us-central1]
        Deploying...
        Service [hello] is deploying asynchronously.
    "#]])
        .await;
}

#[tokio::test]
async fn a_deploy_with_a_format_prints_the_service() {
    let answers = vec![ok(GET, &service(1)), ok(PATCH_IMAGE, &done(service(2))), ok(GET_OBJECT, &object(&service(2)))];
    let (text, _) = Try::new("deploy hello --image i --format yaml", answers).run().await;
    assert!(text.starts_with("exit: Done\nout:\napiVersion: serving.knative.dev/v1\nkind: Service\n"), "{text}");
    assert!(text.contains("\n  latestReadyRevisionName: hello-00002-abc\n"), "{text}");
}

#[tokio::test]
async fn an_update_that_somebody_else_overtook_is_made_again_on_what_they_wrote() {
    let theirs = with(service(2), json!({ "description": "theirs" }));
    let mask = "PATCH /services/hello?updateMask=scaling%2Cclient%2CclientVersion";
    let answers = vec![
        ok(GET, &service(1)),
        refused(mask, 409, "ABORTED", "etag does not match"),
        ok(GET, &theirs),
        ok(mask, &done(with(theirs.clone(), json!({ "scaling": { "minInstanceCount": 1 } })))),
    ];
    let fake = Try::new("services update hello --min 1", answers)
        .check(expect![[r#"
        exit: Done
        err:
        Deploying...
        Routing traffic...done
        Done.
        Service [hello] has been updated.
        Service URL: http://hello-123.us-central1.run.localhost:8080
    "#]])
        .await;
    assert_eq!(
        (fake.seen()[1].json()["etag"].clone(), fake.seen()[3].json()["etag"].clone()),
        (json!("\"e1\""), json!("\"e2\""))
    );
}

#[tokio::test]
async fn an_update_without_a_change_sends_nothing() {
    Try::new("services update hello --concurrency 80", vec![ok(GET, &service(1))])
        .check(expect![[r#"
        exit: Done
        err:
        Service [hello] is that way already.
    "#]])
        .await;
    Try::new("services update hello", vec![])
        .check(expect![[r#"
        exit: Usage
        err:
        error: no change was asked for
        hint: see 'updraft services update --help'
    "#]])
        .await;
    Try::new("services update hello --min 1", vec![missing()])
        .check(expect![[r#"
        exit: NotFound
        err:
        error: cannot find service [hello]
        hint: 'updraft services list' shows those of this project and region
    "#]])
        .await;
}

const MASK: &str = "PATCH /services/hello?updateMask=traffic%2Cclient%2CclientVersion";

/// A service with 10 percent on its first revision, which has a tag.
fn split() -> Value {
    let first = |rest: Value| {
        with(json!({ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": "hello-00001-abc" }), rest)
    };
    let latest = json!({ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 90 });
    let uri = "http://old---hello-123.us-central1.run.localhost:8080";
    let traffic = json!([first(json!({ "percent": 10 })), latest, first(json!({ "tag": "old" }))]);
    with(service(2), json!({ "traffic": traffic, "trafficStatuses": [first(json!({ "tag": "old", "uri": uri }))] }))
}

#[tokio::test]
async fn traffic_is_split_and_shown() {
    let answers = vec![ok(GET, &service(2)), ok(MASK, &running(service(2))), ok(WAIT, &done(split()))];
    let line = "services update-traffic hello --to-revisions hello-00001-abc=10 --set-tags old=hello-00001-abc";
    let fake = Try::new(line, answers)
        .check(expect![[r#"
        exit: Done
        out:
        URL:     http://hello-123.us-central1.run.localhost:8080
        Ingress: all
        Traffic:
          10%  hello-00001-abc
                 old: http://old---hello-123.us-central1.run.localhost:8080
          90%  LATEST (currently hello-00002-abc)
        err:
        Updating traffic...
        Routing traffic...done
        Done.
    "#]])
        .await;
    assert_eq!(fake.seen()[1].json()["traffic"], split()["traffic"]);
}

#[tokio::test]
async fn traffic_goes_back_to_the_latest() {
    let answers = vec![ok(GET, &split()), ok(MASK, &done(service(2)))];
    let fake = Try::new("services update-traffic hello --to-latest --clear-tags", answers)
        .check(expect![[r#"
        exit: Done
        out:
        URL:     http://hello-123.us-central1.run.localhost:8080
        Ingress: all
        Traffic:
          100% LATEST (currently hello-00002-abc)
        err:
        Updating traffic...
        Routing traffic...done
        Done.
    "#]])
        .await;
    assert_eq!(fake.seen()[1].json()["traffic"], service(2)["traffic"]);
}

#[tokio::test]
async fn traffic_goes_to_a_tag_that_is_there() {
    let answers = vec![ok(GET, &split()), ok(MASK, &done(service(2))), ok(GET_OBJECT, &object(&service(2)))];
    let (text, fake) = Try::new("services update-traffic hello --to-tags old=100 --format json", answers).run().await;
    assert!(text.starts_with("exit: Done\nout:\n{\n  \"apiVersion\": \"serving.knative.dev/v1\",\n"), "{text}");
    let target = &fake.seen()[1].json()["traffic"][0];
    assert_eq!((&target["revision"], &target["percent"]), (&json!("hello-00001-abc"), &json!(100)));
    Try::new("services update-traffic hello --to-tags new=100", vec![ok(GET, &split())])
        .check(expect![[r#"
        exit: Usage
        err:
        error: no revision has the tag 'new'
        hint: 'updraft services describe' shows the tags of a service
    "#]])
        .await;
}

#[tokio::test]
async fn traffic_that_is_that_way_already_is_only_shown() {
    let answers = vec![ok(GET, &service(2))];
    Try::new("services update-traffic hello --to-latest", answers)
        .check(expect![[r#"
        exit: Done
        out:
        URL:     http://hello-123.us-central1.run.localhost:8080
        Ingress: all
        Traffic:
          100% LATEST (currently hello-00002-abc)
        err:
        The traffic of service [hello] is that way already.
    "#]])
        .await;
}
