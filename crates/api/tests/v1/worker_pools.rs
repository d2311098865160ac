//! Worker pools in the v1 shape.

use expect_test::expect_file;
use googleapis_tonic_google_api::google::api::LaunchStage;
use proptest::{option, prelude::*, sample::select};
use serde_json::{Value, json};
use updraft_api::{
    json::from_json,
    run,
    v1::{self, Stored, WrittenWorkerPool},
};

use crate::{
    assert_within,
    objects::{annotations, container, labels, object, some, volumes},
};

const NAME: &str = "projects/demo-project/locations/us-central1/workerPools/puller";

/// Annotations of a worker pool: a key and the values it may have.
const POOL: [(&str, &[&str]); 8] = [
    ("example.com/own", &["text", ""]),
    ("run.googleapis.com/client-name", &["gcloud"]),
    ("run.googleapis.com/description", &["pulls"]),
    ("run.googleapis.com/launch-stage", &["ALPHA", "BETA", "GA"]),
    ("run.googleapis.com/manualInstanceCount", &["0", "3"]),
    ("run.googleapis.com/maxScale", &["10"]),
    ("run.googleapis.com/minScale", &["0", "2"]),
    ("run.googleapis.com/scalingMode", &["manual"]),
];

/// Annotations of its template.
const TEMPLATE: [(&str, &[&str]); 9] = [
    ("client.knative.dev/user-image", &["hello:v1"]),
    ("run.googleapis.com/client-name", &["gcloud"]),
    ("run.googleapis.com/cloudsql-instances", &["p:r:a"]),
    ("run.googleapis.com/encryption-key-shutdown-hours", &["0", "24"]),
    ("run.googleapis.com/execution-environment", &["gen2"]),
    ("run.googleapis.com/mesh", &["projects/p/locations/global/meshes/m"]),
    ("run.googleapis.com/post-key-revocation-action-type", &["prevent-new", "shut-down"]),
    ("run.googleapis.com/secrets", &["alias:projects/1/secrets/s"]),
    ("run.googleapis.com/vpc-access-egress", &["all-traffic", "private-ranges-only"]),
];

/// A worker pool with something in any corner; in the spelling that is shown.
fn worker_pool() -> BoxedStrategy<Value> {
    let template = (annotations(&TEMPLATE), labels(), option::of(Just("puller-v1")));
    let spec = (container("main"), option::of(container("side")), volumes(), some(select(vec![10, 300])));
    (annotations(&POOL), labels(), template, spec, option::of(1..100))
        .prop_map(|(of_pool, pool_labels, (annotations, labels, name), (main, side, volumes, grace), percent)| {
            let spec = object(vec![
                ("containers", std::iter::once(main).chain(side).collect()),
                ("terminationGracePeriodSeconds", grace),
                ("volumes", volumes),
            ]);
            let meta = object(vec![("annotations", annotations), ("labels", labels), ("name", json!(name))]);
            let splits = percent.map(|percent| {
                json!([{"latestRevision": true, "percent": percent},
                       {"revisionName": "puller-v0", "percent": 100 - percent}])
            });
            let template = object(vec![("metadata", meta), ("spec", spec)]);
            object(vec![
                ("apiVersion", json!("run.googleapis.com/v1")),
                ("kind", json!("WorkerPool")),
                (
                    "metadata",
                    object(vec![("annotations", of_pool), ("labels", pool_labels), ("name", json!("puller"))]),
                ),
                ("spec", object(vec![("instanceSplits", json!(splits)), ("template", template)])),
            ])
        })
        .boxed()
}

fn read(object: &Value) -> WrittenWorkerPool {
    WrittenWorkerPool::read(object).unwrap_or_else(|error| panic!("{error}\n{object:#}"))
}

/// What happens to an intent on its way to the store: the count is written into the message.
fn stored(written: &WrittenWorkerPool, before: Option<&Stored<run::WorkerPool>>) -> Stored<run::WorkerPool> {
    let mut message = run::WorkerPool { etag: String::new(), ..written.message(before) };
    if message.launch_stage == 0 {
        message.set_launch_stage(LaunchStage::Ga);
    }
    message.scaling.get_or_insert_default().manual_instance_count.get_or_insert(1);
    let rest = written.rest(&message);
    message.name = NAME.to_owned();
    Stored { message, rest, operation: String::new() }
}

#[test]
fn a_worker_pool_in_the_v1_shape() {
    let pool: run::WorkerPool = from_json(
        &json!({
            "name": NAME, "uid": "a4067222", "generation": "1", "description": "pulls",
            "createTime": "2026-11-21T08:36:41.990371Z", "creator": "ann@example.com",
            "lastModifier": "bob@example.com", "scaling": {"manualInstanceCount": 2},
            "template": {"revision": "puller-v1", "containers": [{"image": "localhost/puller",
                         "resources": {"limits": {"cpu": "1000m"}}}]},
            "instanceSplits": [{"type": "INSTANCE_SPLIT_ALLOCATION_TYPE_LATEST", "percent": 100}],
            "terminalCondition": {"type": "Ready", "state": "CONDITION_SUCCEEDED",
                                  "lastTransitionTime": "2026-11-21T08:36:41.990586Z"},
            "latestReadyRevision": format!("{NAME}/revisions/puller-v1"),
            "latestCreatedRevision": format!("{NAME}/revisions/puller-v1"),
            "instanceSplitStatuses": [{"type": "INSTANCE_SPLIT_ALLOCATION_TYPE_LATEST",
                                       "revision": format!("{NAME}/revisions/puller-v1"), "percent": 100}],
            "etag": "\"abc\"",
        }),
        "",
    )
    .expect("well formed");
    let printed = serde_json::to_string_pretty(&v1::worker_pool_json(&Stored::of(pool))).expect("prints");
    expect_file!["worker_pool.json"].assert_eq(&printed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// v1 → stored → v1 is what was sent, with defaults; and what comes out, sent again, changes nothing.
    #[test]
    fn nothing_that_v1_says_of_a_worker_pool_is_lost(sent in worker_pool()) {
        let first = stored(&read(&sent), None);
        let shown = v1::worker_pool_json(&first);
        assert_within(&sent, &shown, "");
        let again = stored(&read(&shown), Some(&first));
        prop_assert_eq!(&again.message, &first.message);
        prop_assert_eq!(&again.rest, &first.rest);
        prop_assert_eq!(v1::worker_pool_json(&again), shown);
    }

    /// A worker pool that v2 wrote, read and written again by v1 as it is, stays what it was.
    #[test]
    fn v1_changes_nothing_of_a_worker_pool_of_v2s_that_it_leaves_alone(sent in worker_pool(), boost: bool) {
        let mut message = stored(&read(&sent), None).message;
        // What v1 has no word for.
        if let Some(template) = &mut message.template {
            template.containers[0].resources.get_or_insert_default().startup_cpu_boost = boost;
        }
        let by_v2 = Stored::of(message);
        let again = stored(&read(&v1::worker_pool_json(&by_v2)), Some(&by_v2));
        prop_assert_eq!(again.message, by_v2.message);
        prop_assert!(again.rest.is_empty(), "{:?}", again.rest);
    }
}

#[test]
fn a_worker_pool_that_is_to_scale_by_itself_is_refused_and_bounds_of_it_are_told() {
    let with = |key: &str, value: &str| json!({"metadata": {"annotations": {key: value}}});
    let error = WrittenWorkerPool::read(&with("run.googleapis.com/scalingMode", "automatic")).expect_err("refused");
    assert_eq!(error.violations()[0].field, "metadata.annotations[run.googleapis.com/scalingMode]");
    let written = read(&json!({"metadata": {"annotations": {"run.googleapis.com/maxScale": "5"}},
                               "spec": {"template": {"spec": {"containers": [{"image": "i"}]}}}}));
    let message = written.message(None);
    let said = v1::worker_pool_notice_condition(&message, &written.rest(&message)).expect("nothing acts on it");
    assert!(said.message.ends_with("metadata.annotations[run.googleapis.com/maxScale]."), "{}", said.message);
}

#[test]
fn a_revision_of_a_worker_pool_says_whose_it_is() {
    let revision = run::Revision { name: format!("{NAME}/revisions/puller-v1"), ..run::Revision::default() };
    let labels = v1::revision_labels(&revision);
    for (key, value) in [("run.googleapis.com/workerPool", "puller"), ("cloud.googleapis.com/location", "us-central1")]
    {
        assert!(labels.contains(&(key.to_owned(), value.to_owned())), "{labels:?}");
    }
}
