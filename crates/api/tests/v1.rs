//! The v1 shape, as gcloud prints it.

mod common;

use expect_test::expect_file;
use updraft_api::{run, v1, view};

#[test]
fn a_service_in_the_v1_shape() {
    let printed = serde_json::to_string_pretty(&v1::service_json(&common::rich())).expect("prints");
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
    let printed = serde_json::to_string_pretty(&v1::revision_json(&revision)).expect("prints");
    expect_file!["v1/revision.json"].assert_eq(&printed);
}
