//! Worker pools: what is typed, what is asked of the server, what is printed.

use expect_test::expect;
use serde_json::{Value, json};

use super::{OPERATION, Try, WAIT, any, ok, refused, with};

const POOL: &str = "projects/demo-project/locations/us-central1/workerPools/wp";
const GET: &str = "GET /workerPools/wp";

fn pool(number: u32) -> Value {
    let revision = format!("{POOL}/revisions/wp-0000{number}-abc");
    let ready =
        json!({ "type": "Ready", "state": "CONDITION_SUCCEEDED", "lastTransitionTime": "2026-11-21T08:36:41.990586Z" });
    json!({
        "name": POOL, "uid": "u", "etag": format!("\"e{number}\""), "createTime": "2026-11-21T08:36:41.990371Z",
        "creator": "local@updraft.local", "lastModifier": "local@updraft.local", "client": "updraft",
        "clientVersion": env!("CARGO_PKG_VERSION"),
        "template": { "containers": [{ "name": "wp-1", "image": "localhost:5000/worker" }] },
        "scaling": { "manualInstanceCount": 2 },
        "instanceSplits": [{ "type": "INSTANCE_SPLIT_ALLOCATION_TYPE_LATEST", "percent": 100 }],
        "terminalCondition": ready, "latestReadyRevision": revision, "latestCreatedRevision": revision
    })
}

fn done(pool: Value) -> Value {
    let pool = any("WorkerPool", pool);
    json!({ "name": OPERATION, "metadata": pool, "done": true, "response": pool })
}

#[tokio::test]
async fn a_first_deploy_creates_the_worker_pool() {
    let running = json!({ "name": OPERATION, "metadata": any("WorkerPool", pool(1)) });
    let answers = vec![
        refused(GET, 404, "NOT_FOUND", "no"),
        ok("POST /workerPools?workerPoolId=wp", &running),
        ok(WAIT, &done(pool(1))),
    ];
    let fake = Try::new("worker-pools deploy wp --image localhost:5000/worker --instances 2", answers)
        .check(expect![[r#"
            exit: Done
            err:
            Deploying container to worker pool [wp] in project [demo-project] region [us-central1]
            Deploying new worker pool...
            Creating Revision...done
            Done.
            Worker pool [wp] revision [wp-00001-abc] has been deployed.

            See logs with:
            updraft worker-pools logs tail wp
        "#]])
        .await;
    let sent = fake.seen()[1].json();
    assert_eq!(sent["scaling"], json!({ "manualInstanceCount": 2 }));
    assert_eq!(sent["template"], json!({ "containers": [{ "image": "localhost:5000/worker" }] }));
}

#[tokio::test]
async fn a_deploy_of_what_is_there_makes_a_revision_and_an_update_of_the_number_does_not() {
    let patch = "PATCH /workerPools/wp?updateMask=template&forceNewRevision=true";
    let answers = vec![ok(GET, &pool(1)), ok(patch, &done(pool(2)))];
    let (text, _) = Try::new("worker-pools deploy wp --image localhost:5000/worker", answers).run().await;
    assert!(text.contains("Worker pool [wp] revision [wp-00002-abc] has been deployed."), "{text}");
    let answers = vec![ok(GET, &pool(1)), ok("PATCH /workerPools/wp?updateMask=scaling", &done(pool(1)))];
    Try::new("worker-pools update wp --instances 3", answers)
        .check(expect![[r#"
            exit: Done
            err:
            Updating...
            Applying...done
            Done.
            Worker pool [wp] has been updated.
        "#]])
        .await;
}

#[tokio::test]
async fn a_deploy_that_fails_says_where_to_read_why() {
    let failed = json!({
        "name": OPERATION, "metadata": any("WorkerPool", pool(2)), "done": true,
        "error": { "code": 9, "message": "Revision 'wp-00002-abc' is not ready." }
    });
    let patch = "PATCH /workerPools/wp?updateMask=template&forceNewRevision=true";
    let answers = vec![ok(GET, &pool(1)), ok(patch, &failed)];
    let (text, _) = Try::new("worker-pools deploy wp --image i", answers).run().await;
    assert!(text.starts_with("exit: Failed\n"), "{text}");
    let end =
        "error: Revision 'wp-00002-abc' is not ready.\nhint: 'updraft worker-pools logs read wp' shows what it wrote\n";
    assert!(text.ends_with(end), "{text}");
}

#[tokio::test]
async fn instances_are_split_between_revisions() {
    let split = json!({ "instanceSplits": [
        { "type": "INSTANCE_SPLIT_ALLOCATION_TYPE_REVISION", "revision": "wp-00001-abc", "percent": 20 },
        { "type": "INSTANCE_SPLIT_ALLOCATION_TYPE_LATEST", "percent": 80 }
    ] });
    let patch = "PATCH /workerPools/wp?updateMask=instanceSplits";
    let answers = vec![ok(GET, &pool(2)), ok(patch, &done(with(pool(2), split.clone())))];
    let fake = Try::new("worker-pools update-instance-split wp --to-revisions wp-00001-abc=20", answers)
        .check(expect![[r#"
            exit: Done
            out:
            Instance Split:
              20%  wp-00001-abc
              80%  LATEST (currently wp-00002-abc)
            err:
            Updating instance split...
            Applying...done
            Done.
        "#]])
        .await;
    assert_eq!(fake.seen()[1].json()["instanceSplits"], split["instanceSplits"]);
    let too_much = "worker-pools update-instance-split wp --to-revisions a=60,b=60";
    let (text, _) = Try::new(too_much, vec![ok(GET, &pool(2))]).run().await;
    assert!(text.starts_with("exit: Usage\nerr:\nerror: the shares make 120 percent"), "{text}");
}

#[tokio::test]
async fn worker_pools_are_listed_described_and_deleted() {
    let list = json!({ "workerPools": [pool(1)] });
    Try::new("worker-pools list", vec![ok("GET /workerPools?pageSize=100", &list)]).check(expect![[r#"
        exit: Done
        out:
           WORKER_POOL  REGION       LAST DEPLOYED BY     LAST DEPLOYED AT             CREATED BY           CREATED
        ✔  wp           us-central1  local@updraft.local  2026-11-21T08:36:41.990586Z  local@updraft.local  2026-11-21T08:36:41.990371Z
    "#]]).await;
    Try::new("worker-pools describe wp", vec![ok(GET, &pool(1))])
        .check(expect![[r#"
            exit: Done
            out:
            ✔ WorkerPool wp in region us-central1

            Instance Split:
              100% LATEST (currently wp-00001-abc)

            Scaling: Manual (Instances: 2)

            Last updated on 2026-11-21T08:36:41.990586Z by local@updraft.local:
              Revision wp-00001-abc
              Container
                Image: localhost:5000/worker
        "#]])
        .await;
    Try::new("worker-pools delete wp --quiet", vec![ok("DELETE /workerPools/wp", &done(pool(1)))])
        .check(expect![[r#"
            exit: Done
            err:
            Deleting...done
            Deleted worker pool [wp].
        "#]])
        .await;
}

#[tokio::test]
async fn revisions_of_worker_pools_are_listed() {
    let condition = |kind: &str, state: &str| json!({ "type": kind, "state": state });
    let revision = |number: u32, active: &str| {
        json!({
            "name": format!("{POOL}/revisions/wp-0000{number}-abc"), "createTime": "2026-11-21T08:36:41Z",
            "creator": "local@updraft.local",
            "conditions": [condition("Ready", "CONDITION_SUCCEEDED"), condition("Active", active)]
        })
    };
    let list = json!({ "revisions": [revision(2, "CONDITION_SUCCEEDED"), revision(1, "CONDITION_FAILED")] });
    let answers = || vec![ok(GET, &pool(2)), ok("GET /workerPools/wp/revisions?pageSize=100", &list)];
    Try::new("worker-pools revisions list --worker-pool wp", answers())
        .check(expect![[r#"
        exit: Done
        out:
           REVISION      ACTIVE  WORKER_POOL  DEPLOYED                 DEPLOYED BY
        ✔  wp-00002-abc  yes     wp           2026-11-21 08:36:41 UTC  local@updraft.local
        ✔  wp-00001-abc          wp           2026-11-21 08:36:41 UTC  local@updraft.local
    "#]])
        .await;
    // JSON has the shape of v1, as everything has.
    let object =
        json!({ "apiVersion": "serving.knative.dev/v1", "kind": "Revision", "metadata": { "name": "wp-00002-abc" } });
    let objects = json!({ "items": [object], "metadata": {} });
    const LIST: &str = "GET /v1/projects/demo-project/locations/us-central1/revisions?limit=100&labelSelector=run.googleapis.com%2FworkerPool";
    let of_one: &'static str = format!("{LIST}%3Dwp").leak();
    for (words, answers) in [
        ("worker-pools revisions list --worker-pool wp", vec![ok(GET, &pool(2)), ok(of_one, &objects)]),
        ("worker-pools revisions list", vec![ok(LIST, &objects)]),
    ] {
        let (text, _) = Try::new(&format!("{words} --format json"), answers).run().await;
        assert!(text.contains("\"kind\": \"Revision\""), "{text}");
    }
}

#[tokio::test]
async fn a_revision_of_a_worker_pool_is_shown_and_deleted_by_its_id_alone() {
    let of_pool = json!({"metadata": {"name": "wp-00001-abc", "labels": {"run.googleapis.com/workerPool": "wp"}}});
    let revision = json!({
        "name": format!("{POOL}/revisions/wp-00001-abc"), "serviceAccount": "me@demo-project.iam.gserviceaccount.com",
        "containers": [{ "name": "wp-1", "image": "localhost:5000/worker@sha256:aa", "args": ["sleep"] }],
        "conditions": [{ "type": "Ready", "state": "CONDITION_SUCCEEDED" }]
    });
    const OBJECT: &str = "GET /v1/projects/demo-project/locations/us-central1/revisions/wp-00001-abc";
    const REVISION: &str = "GET /workerPools/wp/revisions/wp-00001-abc";
    Try::new("worker-pools revisions describe wp-00001-abc", vec![ok(OBJECT, &of_pool), ok(REVISION, &revision)])
        .check(expect![[r#"
            exit: Done
            out:
            ✔ Revision wp-00001-abc in region us-central1

            Container
              Image: localhost:5000/worker@sha256:aa
              Args:  sleep
            Service account: me@demo-project.iam.gserviceaccount.com
        "#]])
        .await;
    let gone = any("Revision", revision);
    let gone = json!({ "name": OPERATION, "metadata": gone, "done": true, "response": gone });
    let answers = vec![ok(OBJECT, &of_pool), ok("DELETE /workerPools/wp/revisions/wp-00001-abc", &gone)];
    Try::new("worker-pools revisions delete wp-00001-abc --quiet", answers)
        .check(expect![[r#"
        exit: Done
        err:
        Deleting...done
        Deleted revision [wp-00001-abc].
    "#]])
        .await;
    let of_service =
        json!({"metadata": {"name": "hello-00001-abc", "labels": {"serving.knative.dev/service": "hello"}}});
    let answers =
        vec![ok("GET /v1/projects/demo-project/locations/us-central1/revisions/hello-00001-abc", &of_service)];
    Try::new("worker-pools revisions delete hello-00001-abc --quiet", answers)
        .check(expect![[r#"
        exit: NotFound
        err:
        error: cannot find revision [hello-00001-abc] of a worker pool
        hint: 'updraft worker-pools revisions list' shows those of this project and region
    "#]])
        .await;
}
