//! Messages and the model.

mod common;
mod fields;

use updraft_api::{run, view};
use updraft_model::{
    Condition, Reason, ServiceName, Severity, State,
    condition::kind,
    revision::{EnvValue, ProbeKind, Protocol},
    service::{Allocation, Ingress, ScalingMode, defaults},
};

fn name() -> ServiceName {
    "projects/demo-project/locations/us-central1/services/hello".parse().expect("a name")
}

fn of_image(image: &str) -> run::Service {
    let container = run::Container { image: image.to_owned(), ..run::Container::default() };
    let template = run::RevisionTemplate { containers: vec![container], ..run::RevisionTemplate::default() };
    run::Service { template: Some(template), ..run::Service::default() }
}

#[test]
fn a_rich_service_is_read() {
    let service = view::service::to_model(&name(), &common::rich()).expect("readable");
    assert_eq!(service.ingress, Some(Ingress::All));
    assert_eq!((service.scaling.mode, service.scaling.manual_count), (ScalingMode::Manual, Some(0)));
    assert_eq!(service.traffic[0].allocation, Allocation::Revision("hello-v2".to_owned()));
    assert_eq!(service.traffic[1].tag.as_deref(), Some("next"));
    let container = &service.template.containers[0];
    assert_eq!(container.port, Some((Protocol::Http1, 8080)));
    assert_eq!(container.env[2].value, EnvValue::Secret { secret: "s".to_owned(), version: "latest".to_owned() });
    let startup = container.startup_probe.as_ref().map(|probe| &probe.kind);
    assert_eq!(startup, Some(&ProbeKind::Tcp { port: 8080 }));
}

#[test]
fn an_image_alone_comes_back_with_every_default() {
    let mut message = of_image("gcr.io/p/app:v1");
    let mut service = view::service::to_model(&name(), &message).expect("readable");
    defaults::apply(&mut service);
    view::service::write_defaults(&mut message, &service);
    let printed = updraft_api::json::to_json(&message, Default::default()).expect("prints");
    expect_test::expect_file!["view/defaults.json"].assert_eq(&serde_json::to_string_pretty(&printed).expect("prints"));
    let again = view::service::to_model(&name(), &message).expect("readable");
    let mut twice = again.clone();
    defaults::apply(&mut twice);
    assert_eq!(twice, again, "defaults are written whole");
}

#[test]
fn what_was_sent_is_kept() {
    let mut message = common::rich();
    let mut service = view::service::to_model(&name(), &message).expect("readable");
    defaults::apply(&mut service);
    view::service::write_defaults(&mut message, &service);
    let mut expected = common::rich();
    let probe = expected.template.as_mut().and_then(|template| template.containers[0].liveness_probe.as_mut());
    let probe = probe.expect("set");
    (probe.timeout_seconds, probe.period_seconds, probe.failure_threshold) = (1, 10, 3);
    if let Some(run::probe::ProbeType::HttpGet(get)) = &mut probe.probe_type {
        get.port = 8080;
    }
    assert_eq!(message, expected);
}

#[test]
fn what_the_model_cannot_hold_is_refused_by_name() {
    let mut message = of_image("x");
    message.ingress = 99;
    message.traffic = vec![run::TrafficTarget {
        r#type: run::TrafficTargetAllocationType::Latest.into(),
        revision: "hello-v1".to_owned(),
        percent: 100,
        tag: String::new(),
    }];
    let template = message.template.as_mut().expect("set");
    template.max_instance_request_concurrency = -1;
    template.timeout = Some(prost_types::Duration { seconds: -5, nanos: 0 });
    let error = view::service::to_model(&name(), &message).expect_err("refused");
    let fields: Vec<&str> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
    let expected = [
        "service.ingress",
        "service.template.timeout",
        "service.template.max_instance_request_concurrency",
        "service.traffic[0].revision",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn fields_that_nothing_acts_on_are_named() {
    let mut message = of_image("x");
    message.iap_enabled = true;
    let template = message.template.as_mut().expect("set");
    template.vpc_access = Some(run::VpcAccess::default());
    template.node_selector = Some(run::NodeSelector::default());
    template.containers[0].source_code = Some(run::SourceCode::default());
    let service = view::service::to_model(&name(), &message).expect("readable");
    assert_eq!(service.unsupported, ["iap_enabled"]);
    assert_eq!(service.template.unsupported, ["vpc_access", "node_selector", "containers[0].source_code"]);
}

#[test]
fn a_revision_keeps_what_its_template_said() {
    let template = common::rich().template.expect("set");
    let revision = view::revision::from_template(&name().revision("hello-v3"), &template);
    assert_eq!(view::revision::template_of(&revision), template);
    assert_eq!(revision.service, "hello");
}

#[test]
fn conditions_go_there_and_back() {
    let now = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_123);
    let failed = Condition::failed(kind::CONTAINER_HEALTHY, Reason::HealthCheckContainerError, "did not listen", now);
    let info = Condition { severity: Severity::Info, ..Condition::new(kind::ACTIVE, State::Reconciling, now) };
    for condition in [failed, info, Condition::new(kind::READY, State::Succeeded, now)] {
        let message = view::condition::from_model(&condition);
        assert_eq!(view::condition::to_model(&message), Some(condition));
    }
}

#[test]
fn ready_stands_alone_in_a_service() {
    let now = std::time::UNIX_EPOCH;
    let conditions = [kind::READY, kind::ROUTES_READY, kind::CONFIGURATIONS_READY]
        .map(|kind| Condition::new(kind, State::Succeeded, now));
    let mut message = run::Service::default();
    view::condition::write_to_service(&mut message, &conditions);
    assert_eq!(message.terminal_condition.map(|condition| condition.r#type).as_deref(), Some("Ready"));
    assert_eq!(message.conditions.len(), 2);
}
