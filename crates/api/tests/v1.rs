//! The v1 shape: as gcloud prints it, and back again without a loss.

mod common;
#[path = "v1/jobs.rs"]
mod jobs;
#[path = "v1/objects.rs"]
mod objects;
#[path = "v1/worker_pools.rs"]
mod worker_pools;

use expect_test::expect_file;
use proptest::prelude::*;
use serde_json::{Value, json};
use updraft_api::{
    run,
    v1::{self, Stored, Written},
    view,
};
use updraft_model::{ServiceName, service::defaults};

const NAME: &str = "projects/demo-project/locations/us-central1/services/demo";

/// What happens to an intent on its way to the store: defaults are written into the message.
fn stored(written: &Written, before: Option<&Stored<run::Service>>) -> Stored<run::Service> {
    let name: ServiceName = NAME.parse().expect("a name");
    let mut message = run::Service { etag: String::new(), ..written.message(before) };
    let mut model = view::service::to_model(&name, &message).unwrap_or_else(|error| panic!("{error}"));
    defaults::apply(&mut model);
    view::service::write_defaults(&mut message, &model);
    let rest = written.rest(&message);
    message.name = NAME.to_owned();
    Stored { message, rest, operation: String::new() }
}

fn read(object: &Value) -> Written {
    Written::read(object).unwrap_or_else(|error| panic!("{error}\n{object:#}"))
}

/// Every value of `sent` is in `shown`, at its place.
fn assert_within(sent: &Value, shown: &Value, at: &str) {
    match (sent, shown) {
        (Value::Object(sent), Value::Object(shown)) => {
            for (field, value) in sent {
                let at = format!("{at}.{field}");
                assert_within(value, shown.get(field).unwrap_or_else(|| panic!("{at} is lost: {value}")), &at);
            }
        }
        (Value::Array(sent), Value::Array(shown)) => {
            assert_eq!(sent.len(), shown.len(), "{at}");
            for (index, (sent, shown)) in sent.iter().zip(shown).enumerate() {
                assert_within(sent, shown, &format!("{at}[{index}]"));
            }
        }
        _ => assert_eq!(sent, shown, "{at}"),
    }
}

#[test]
fn a_service_in_the_v1_shape() {
    let printed = serde_json::to_string_pretty(&v1::service_json(&Stored::of(common::rich()))).expect("prints");
    expect_file!["v1/service.json"].assert_eq(&printed);
}

#[test]
fn a_revision_in_the_v1_shape() {
    let name = "projects/demo-project/locations/us-central1/services/hello/revisions/hello-v3".parse().expect("a name");
    let template = common::rich().template.expect("set");
    let mut revision = view::revision::from_template(&name, &template);
    revision.containers[0].image = "localhost:5000/hello@sha256:00".to_owned();
    revision.creator = "local@updraft.local".to_owned();
    revision.conditions = vec![run::Condition {
        r#type: "Ready".to_owned(),
        state: run::condition::State::ConditionSucceeded.into(),
        ..run::Condition::default()
    }];
    let printed = serde_json::to_string_pretty(&v1::revision_json(&Stored::of(revision))).expect("prints");
    expect_file!["v1/revision.json"].assert_eq(&printed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// v1 → stored → v1 is what was sent, with defaults; and what comes out, sent again, changes nothing.
    #[test]
    fn nothing_that_v1_says_is_lost(sent in objects::service()) {
        let first = stored(&read(&sent), None);
        let shown = v1::service_json(&first);
        assert_within(&sent, &shown, "");
        let again = stored(&read(&shown), Some(&first));
        prop_assert_eq!(&again.message, &first.message);
        prop_assert_eq!(&again.rest, &first.rest);
        prop_assert_eq!(v1::service_json(&again), shown);
    }

    /// The rest survives the store.
    #[test]
    fn the_rest_is_read_as_it_was_written(sent in objects::service()) {
        let first = stored(&read(&sent), None);
        prop_assert_eq!(v1::Rest::from_bytes(&first.rest.to_bytes()).expect("just written"), first.rest);
    }

    /// A change by v2 keeps what v2 cannot say; v1 then shows both.
    #[test]
    fn a_change_by_v2_keeps_what_only_v1_says(sent in objects::service(), description in "[a-z]{1,9}") {
        let first = stored(&read(&sent), None);
        let mut changed = first.clone();
        changed.message.description.clone_from(&description);
        changed.rest = changed.rest.beside(&changed.message);
        let mut expected = v1::service_json(&first);
        expected["metadata"]["annotations"]["run.googleapis.com/description"] = json!(description);
        prop_assert_eq!(v1::service_json(&changed), expected);
    }

    /// A service that v2 wrote, read and written again by v1 as it is, stays what it was.
    #[test]
    fn v1_changes_nothing_of_v2s_that_it_leaves_alone(sent in objects::service(), volume in "[a-z]{1,9}") {
        let mut message = stored(&read(&sent), None).message;
        // What v1 has no word for.
        if let Some(template) = &mut message.template {
            let sockets = run::volume::VolumeType::CloudSqlInstance(run::CloudSqlInstance { instances: vec!["p:r:i".to_owned()] });
            template.volumes.push(run::Volume { name: format!("{volume}-sql"), volume_type: Some(sockets) });
            let mount_path = "/cloudsql".to_owned();
            template.containers[0].volume_mounts.push(run::VolumeMount { name: format!("{volume}-sql"), mount_path, ..Default::default() });
        }
        let by_v2 = Stored::of(message);
        let again = stored(&read(&v1::service_json(&by_v2)), Some(&by_v2));
        prop_assert_eq!(again.message, by_v2.message);
        prop_assert!(again.rest.is_empty(), "{:?}", again.rest);
    }
}

#[test]
fn names_of_secrets_of_other_projects_are_translated() {
    let object = json!({
        "metadata": {"name": "demo"},
        "spec": {"template": {
            "metadata": {"annotations": {"run.googleapis.com/secrets": "mine:projects/123456789012/secrets/db"}},
            "spec": {"containers": [{"image": "i", "env": [
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "latest"}}},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "own", "key": "1"}}},
            ]}]},
        }},
    });
    let first = stored(&read(&object), None);
    let env = &first.message.template.as_ref().expect("set").containers[0].env[0];
    let Some(run::env_var::Values::ValueSource(source)) = &env.values else { panic!("{env:?}") };
    assert_eq!(source.secret_key_ref.as_ref().expect("set").secret, "projects/123456789012/secrets/db");
    assert_within(&object, &v1::service_json(&first), "");
    // Without the annotation, as v2 writes it, v1 makes a name up and says what it stands for.
    let shown = v1::service_json(&Stored::of(first.message));
    let template = &shown["spec"]["template"];
    assert_eq!(
        template["metadata"]["annotations"]["run.googleapis.com/secrets"],
        "db:projects/123456789012/secrets/db"
    );
    assert_eq!(template["spec"]["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"]["name"], "db");
}

#[test]
fn what_gcloud_sends_for_a_new_service_is_read() {
    let object = json!({
        "apiVersion": "serving.knative.dev/v1", "kind": "Service",
        "metadata": {"annotations": {"run.googleapis.com/client-name": "gcloud", "run.googleapis.com/client-version": "578.0.0"},
                     "labels": {}, "name": "demo", "namespace": "demo-project"},
        "spec": {"template": {
            "metadata": {"annotations": {"run.googleapis.com/client-name": "gcloud", "run.googleapis.com/startup-cpu-boost": "True"},
                         "labels": {"client.knative.dev/nonce": "abc"}},
            "spec": {"containers": [{"image": "localhost/hello", "name": ""}], "nodeSelector": {}},
        }},
        "status": {"address": {}},
    });
    let first = stored(&read(&object), None);
    let template = first.message.template.clone().expect("set");
    let resources = template.containers[0].resources.as_ref().expect("set");
    assert!(resources.startup_cpu_boost && resources.cpu_idle);
    assert_eq!(
        (first.message.client.as_str(), template.labels["client.knative.dev/nonce"].as_str()),
        ("gcloud", "abc")
    );
    let shown = v1::service_json(&first);
    let annotations = &shown["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(annotations["run.googleapis.com/client-name"], "gcloud");
    assert_eq!(annotations["run.googleapis.com/startup-cpu-boost"], "true");
    assert!(v1::notice_condition(Some(&first.message), &template, &first.rest).is_none());
}

#[test]
fn targets_of_scaling_are_kept_for_v2_and_shown_once() {
    let targets = json!({
        "run.googleapis.com/scaling-cpu-target": "0.8",
        "run.googleapis.com/scaling-concurrency-target": "disabled",
    });
    let sent = json!({
        "apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "hello"},
        "spec": {"template": {"metadata": {"annotations": targets}, "spec": {"containers": [{"image": "hello"}]}}},
    });
    let first = stored(&read(&sent), None);
    let kept = first.message.template.as_ref().map(|template| &template.annotations).expect("a template");
    assert_eq!(kept["updraft.dev/scaling-cpu-target"], "0.8");
    assert_eq!(kept["updraft.dev/scaling-concurrency-target"], "disabled");
    let shown = v1::service_json(&first);
    let shown = &shown["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(shown["run.googleapis.com/scaling-cpu-target"], "0.8");
    assert!(!shown.to_string().contains("updraft.dev/"), "{shown}");
}

#[test]
fn what_is_not_known_is_refused_by_its_path() {
    let refused = |object: Value| Written::read(&object).expect_err("wrong").violations()[0].field.clone();
    let on_service = |key: &str, value: &str| json!({"metadata": {"annotations": {key: value}}});
    assert_eq!(
        refused(on_service("run.googleapis.com/ingres", "all")),
        "metadata.annotations[run.googleapis.com/ingres]"
    );
    assert_eq!(
        refused(on_service("run.googleapis.com/minScale", "many")),
        "metadata.annotations[run.googleapis.com/minScale]"
    );
    assert_eq!(
        refused(on_service("run.googleapis.com/custom-audiences", "x")),
        "metadata.annotations[run.googleapis.com/custom-audiences]"
    );
    assert_eq!(refused(json!({"kind": "Job"})), "kind");
    let template = json!({"spec": {"template": {"metadata": {"annotations": {"run.googleapis.com/ingress": "all"}}}}});
    assert_eq!(refused(template), "spec.template.metadata.annotations[run.googleapis.com/ingress]");
}
