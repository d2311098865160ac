//! The metadata of jobs, of what comes of them, and of worker pools.

use prost_types::Timestamp;
use serde_json::{Map, Value, json};

use super::{RUN, namespace, take_map_of, time, version};
use crate::v1::{
    keys,
    tree::{id_in, is_empty, put, short},
};

/// What every message says about its resource.
pub(super) struct Facts<'a> {
    pub(super) name: &'a str,
    pub(super) uid: &'a str,
    pub(super) etag: &'a str,
    pub(super) generation: i64,
    pub(super) created: Option<&'a Timestamp>,
    pub(super) deleted: Option<&'a Timestamp>,
    /// The collection, as v1 spells it.
    pub(super) collection: &'static str,
}

/// The facts of a message.
macro_rules! facts {
    ($message:expr, $collection:literal) => {
        super::metadata::Facts {
            name: &$message.name,
            uid: &$message.uid,
            etag: &$message.etag,
            generation: $message.generation,
            created: $message.create_time.as_ref(),
            deleted: $message.delete_time.as_ref(),
            collection: $collection,
        }
    };
}
pub(super) use facts;

// === impl Facts ===

impl Facts<'_> {
    /// The metadata: what clients set, in `set`; what only the server writes, in annotations and labels; and the facts.
    pub(super) fn metadata(
        &self,
        mut set: Map<String, Value>,
        annotations: &[(&str, Value)],
        labels: Vec<(String, String)>,
    ) -> Value {
        let mut all = take_map_of(&mut set, "annotations");
        for (key, value) in annotations {
            put(&mut all, key, value.clone());
        }
        let mut all_labels = take_map_of(&mut set, "labels");
        all_labels.extend(labels.into_iter().map(|(key, value)| (key, json!(value))));
        let (id, project) = (short(self.name), id_in(self.name, "projects"));
        let link =
            project.map(|project| format!("/apis/{RUN}/namespaces/{}/{}/{id}", namespace(project), self.collection));
        for (key, value) in [
            ("annotations", Value::Object(all)),
            ("labels", Value::Object(all_labels)),
            ("name", json!(id)),
            ("namespace", json!(project.map(namespace))),
            ("selfLink", json!(link)),
            ("uid", json!(self.uid)),
            ("resourceVersion", json!(version(self.etag))),
            ("generation", json!(self.generation)),
            ("creationTimestamp", time(self.created)),
            ("deletionTimestamp", time(self.deleted)),
        ] {
            set.insert(key.to_owned(), value);
        }
        set.retain(|_, value| !is_empty(value));
        Value::Object(set)
    }
}

/// The label that says where a resource is.
pub(super) fn location(name: &str) -> Option<(String, String)> {
    id_in(name, "locations").map(|location| (keys::LOCATION_LABEL.to_owned(), location.to_owned()))
}

/// The labels that clients set, and where the resource is.
pub(super) fn labels(own: &std::collections::HashMap<String, String>, name: &str) -> Vec<(String, String)> {
    let own = own.iter().map(|(key, value)| (key.clone(), value.clone()));
    own.chain(location(name)).collect()
}
