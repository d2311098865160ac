//! Services.

use googleapis_tonic_google_api::google::api::LaunchStage;
use serde_json::Value;
use updraft_model::Violation;

use super::{Annotations, check_keys, is_list, is_map, own, template};
use crate::{
    run::{
        self, IngressTraffic, TrafficTargetAllocationType as Allocation, binary_authorization::BinauthzMethod,
        service_scaling::ScalingMode,
    },
    v1::{
        keys::{self, Scope},
        tree::{integer, items, pairs, text, texts},
    },
};

/// The words for launch stages.
pub(super) const STAGES: [(&str, LaunchStage); 3] =
    [("ALPHA", LaunchStage::Alpha), ("BETA", LaunchStage::Beta), ("GA", LaunchStage::Ga)];

/// The message of a service in its normal form; what is wrong with its annotations goes to `found`.
pub(in crate::v1) fn service(object: &Value, found: &mut Vec<Violation>) -> run::Service {
    check_keys(Scope::Service, object, "", found);
    check_keys(Scope::Template, &object["spec"]["template"], "spec.template.", found);
    let template = object["spec"].get("template").map(|template| template::template(template, found));
    let mut annotations = Annotations::of(object, "", found);
    let ingresses = [
        ("all", IngressTraffic::All),
        ("internal", IngressTraffic::InternalOnly),
        ("internal-and-cloud-load-balancing", IngressTraffic::InternalLoadBalancer),
        ("none", IngressTraffic::None),
    ];
    let local =
        pairs(&object["metadata"], "labels").any(|pair| pair == (&keys::VISIBILITY_LABEL.to_owned(), "cluster-local"));
    let ingress = match annotations.word(keys::INGRESS, &ingresses) {
        None if local => IngressTraffic::InternalOnly,
        given => given.unwrap_or_default(),
    };
    let audiences = annotations.json(keys::CUSTOM_AUDIENCES, is_list, r#"["audience"]"#);
    let regions = annotations.text(keys::REGIONS).filter(|regions| !regions.is_empty());
    let multi_region_settings = regions.map(|regions| run::service::MultiRegionSettings {
        regions: regions.split(',').map(|region| region.trim().to_owned()).collect(),
        ..run::service::MultiRegionSettings::default()
    });
    run::Service {
        description: annotations.owned(keys::DESCRIPTION),
        labels: own(object, "labels"),
        annotations: own(object, "annotations"),
        client: annotations.owned(keys::CLIENT_NAME),
        client_version: annotations.owned(keys::CLIENT_VERSION),
        ingress: ingress.into(),
        launch_stage: annotations.word(keys::LAUNCH_STAGE, &STAGES).unwrap_or_default().into(),
        binary_authorization: binary_authorization(&annotations),
        template,
        traffic: items(&object["spec"], "traffic").map(target).collect(),
        scaling: scaling(&mut annotations),
        invoker_iam_disabled: annotations.switch(keys::INVOKER_IAM_DISABLED).unwrap_or_default(),
        default_uri_disabled: annotations.switch(keys::DEFAULT_URL_DISABLED).unwrap_or_default(),
        iap_enabled: annotations.switch(keys::IAP).unwrap_or_default(),
        multi_region_settings,
        custom_audiences: audiences.map(|list| texts(&serde_json::json!({"list": list}), "list")).unwrap_or_default(),
        build_config: build_config(&mut annotations),
        ..run::Service::default()
    }
}

fn scaling(annotations: &mut Annotations<'_>) -> Option<run::ServiceScaling> {
    let modes = [("automatic", ScalingMode::Automatic), ("manual", ScalingMode::Manual)];
    let scaling = run::ServiceScaling {
        min_instance_count: annotations.count(keys::MIN).unwrap_or_default(),
        max_instance_count: annotations.count(keys::MAX).unwrap_or_default(),
        manual_instance_count: annotations.count(keys::MANUAL_COUNT),
        scaling_mode: match annotations.word(keys::SCALING_MODE, &modes) {
            Some(ScalingMode::Manual) => ScalingMode::Manual.into(),
            _ => ScalingMode::Unspecified.into(),
        },
    };
    (scaling != run::ServiceScaling::default()).then_some(scaling)
}

/// Which images may run.
pub(super) fn binary_authorization(annotations: &Annotations<'_>) -> Option<run::BinaryAuthorization> {
    let method = match annotations.text(keys::BINARY_AUTHORIZATION) {
        None | Some("") => None,
        Some("default") => Some(BinauthzMethod::UseDefault(true)),
        Some(policy) => Some(BinauthzMethod::Policy(policy.to_owned())),
    };
    let authorization = run::BinaryAuthorization {
        breakglass_justification: annotations.owned(keys::BREAKGLASS),
        binauthz_method: method,
    };
    (authorization != run::BinaryAuthorization::default()).then_some(authorization)
}

fn build_config(annotations: &mut Annotations<'_>) -> Option<run::BuildConfig> {
    let env = annotations.json(keys::BUILD_ENV, is_map, r#"{"NAME":"value"}"#).unwrap_or_default();
    let env = serde_json::json!({ "env": env });
    let config = run::BuildConfig {
        name: annotations.owned(keys::BUILD_NAME),
        source_location: annotations.owned(keys::BUILD_SOURCE),
        function_target: annotations.owned(keys::BUILD_TARGET),
        image_uri: annotations.owned(keys::BUILD_IMAGE),
        base_image: annotations.owned(keys::BUILD_BASE_IMAGE),
        enable_automatic_updates: annotations.switch(keys::BUILD_UPDATES).unwrap_or_default(),
        worker_pool: annotations.owned(keys::BUILD_POOL),
        environment_variables: pairs(&env, "env").map(|(name, value)| (name.clone(), value.to_owned())).collect(),
        service_account: annotations.owned(keys::BUILD_SERVICE_ACCOUNT),
    };
    (config != run::BuildConfig::default()).then_some(config)
}

/// An entry without the name of a revision means the latest one.
fn target(target: &Value) -> run::TrafficTarget {
    let revision = text(target, "revisionName").to_owned();
    let latest = revision.is_empty();
    run::TrafficTarget {
        // Both at once is for the model to refuse.
        r#type: match latest || target["latestRevision"] == true {
            true => Allocation::Latest.into(),
            false => Allocation::Revision.into(),
        },
        revision,
        percent: integer(target, "percent"),
        tag: text(target, "tag").to_owned(),
    }
}
