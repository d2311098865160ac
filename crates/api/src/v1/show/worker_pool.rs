//! Worker pools.

use serde_json::{Value, json};

use super::{RUN, WORKER_POOL, condition, metadata, metadata::facts, take_map, template_json};
use crate::{
    run::{self, InstanceSplitAllocationType as Allocation},
    v1::{
        Rest, Stored, Words, alike, keys,
        notice::of_worker_pool,
        show::annotations,
        tree::{number, object, short, sorted},
    },
};

/// A worker pool in the v1 shape.
pub fn worker_pool_json(stored: &Stored<run::WorkerPool>) -> Value {
    let pool = &stored.message;
    let mut shown = intent_of_worker_pool(pool, &stored.rest);
    stored.rest.put_back(&mut shown);
    let outputs = [
        (keys::CREATOR, json!(pool.creator)),
        (keys::LAST_MODIFIER, json!(pool.last_modifier)),
        (keys::OPERATION, json!(stored.operation)),
    ];
    let set = take_map(&mut shown, "metadata");
    let warning = (of_worker_pool(pool, (&stored.rest, Words::V1)), pool.update_time.as_ref());
    let conditions = pool.terminal_condition.iter().chain(&pool.conditions);
    sorted(object(vec![
        ("apiVersion", json!(RUN)),
        ("kind", json!(WORKER_POOL)),
        ("metadata", facts!(pool, "workerpools").metadata(set, &outputs, worker_pool_labels(pool))),
        ("spec", shown["spec"].take()),
        (
            "status",
            object(vec![
                ("conditions", condition::in_order(conditions, warning)),
                ("instanceSplits", pool.instance_split_statuses.iter().map(status_json).collect()),
                ("latestCreatedRevisionName", json!(short(&pool.latest_created_revision))),
                ("latestReadyRevisionName", json!(short(&pool.latest_ready_revision))),
                ("observedGeneration", json!(pool.generation)),
            ]),
        ),
    ]))
}

/// The labels of a worker pool as v1 has them, which selectors look at.
pub fn worker_pool_labels(pool: &run::WorkerPool) -> Vec<(String, String)> {
    metadata::labels(&pool.labels, &pool.name)
}

/// What of a worker pool's v1 object a client can set: the view that the rest is measured against.
pub(in crate::v1) fn intent_of_worker_pool(pool: &run::WorkerPool, rest: &Rest) -> Value {
    let template = pool
        .template
        .as_ref()
        .map(|template| template_json(&alike::of_worker(template), &rest.below(&["spec", "template"])));
    let metadata = object(vec![
        ("annotations", Value::Object(annotations::of_worker_pool(pool))),
        ("labels", pool.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect()),
        ("name", json!(short(&pool.name))),
    ]);
    let spec = object(vec![
        ("instanceSplits", pool.instance_splits.iter().map(split_json).collect()),
        ("template", template.unwrap_or_default()),
    ]);
    object(vec![("metadata", metadata), ("spec", spec)])
}

fn split_json(split: &run::InstanceSplit) -> Value {
    let named = split.r#type() == Allocation::Revision;
    object(vec![
        ("latestRevision", if named { Value::Null } else { json!(true) }),
        ("percent", number(split.percent)),
        ("revisionName", json!(if named { short(&split.revision) } else { "" })),
    ])
}

fn status_json(split: &run::InstanceSplitStatus) -> Value {
    let latest = split.r#type() == Allocation::Latest;
    object(vec![
        ("latestRevision", if latest { json!(true) } else { Value::Null }),
        ("percent", number(split.percent)),
        ("revisionName", json!(short(&split.revision))),
    ])
}
