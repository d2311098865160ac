//! Worker pools.

use serde_json::Value;
use updraft_model::Violation;

use super::{Annotations, check_keys, own, service, template};
use crate::{
    run::{self, InstanceSplitAllocationType as Allocation, service_scaling::ScalingMode},
    v1::{
        alike,
        keys::{self, Scope},
        tree::{integer, items, text},
    },
};

/// The message of a worker pool in its normal form; what is wrong with its annotations goes to `found`.
pub(in crate::v1) fn worker_pool(object: &Value, found: &mut Vec<Violation>) -> run::WorkerPool {
    check_keys(Scope::WorkerPool, object, "", found);
    let spec = &object["spec"];
    check_keys(Scope::Worker, &spec["template"], "spec.template.", found);
    let template = spec.get("template").map(|value| alike::to_worker(template::template(value, found)));
    let mut annotations = Annotations::of(object, "", found);
    let modes = [("manual", ScalingMode::Manual), ("automatic", ScalingMode::Automatic)];
    if annotations.word(keys::SCALING_MODE, &modes) == Some(ScalingMode::Automatic) {
        let rule = "must be manual, got 'automatic': how many instances a worker pool has is set by hand";
        annotations.refuse(keys::SCALING_MODE, rule.to_owned());
    }
    let count = annotations.count(keys::MANUAL_COUNT);
    run::WorkerPool {
        description: annotations.owned(keys::DESCRIPTION),
        labels: own(object, "labels"),
        annotations: own(object, "annotations"),
        client: annotations.owned(keys::CLIENT_NAME),
        client_version: annotations.owned(keys::CLIENT_VERSION),
        launch_stage: annotations.word(keys::LAUNCH_STAGE, &service::STAGES).unwrap_or_default().into(),
        binary_authorization: service::binary_authorization(&annotations),
        template,
        instance_splits: items(spec, "instanceSplits").map(split).collect(),
        scaling: count.map(|count| run::WorkerPoolScaling { manual_instance_count: Some(count) }),
        ..run::WorkerPool::default()
    }
}

/// An entry without the name of a revision means the latest one.
fn split(split: &Value) -> run::InstanceSplit {
    let revision = text(split, "revisionName").to_owned();
    // Both at once is for the model to refuse.
    let latest = revision.is_empty() || split["latestRevision"] == true;
    run::InstanceSplit {
        r#type: if latest { Allocation::Latest.into() } else { Allocation::Revision.into() },
        revision,
        percent: integer(split, "percent"),
    }
}
