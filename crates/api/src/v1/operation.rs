//! Operations whose resources are v1 objects.

use serde_json::{Value, json};

use super::{Rest, Stored, revision_json, service_json, tree::object};
use crate::{
    json::{EnumEncoding, to_json},
    longrunning::{Operation, operation},
    run, unpack,
};

/// An operation in the v1 shape: as v2's, but for its metadata and response, which are v1 objects.
pub fn operation_json(stored: &Stored<Operation>) -> Value {
    let operation = &stored.message;
    let about = |any: &prost_types::Any| resource(any, stored);
    let metadata = operation.metadata.as_ref().map(about).unwrap_or_default();
    let mut shown = object(vec![("name", json!(operation.name)), ("metadata", metadata)]);
    if operation.done {
        shown["done"] = json!(true);
    }
    match &operation.result {
        Some(operation::Result::Response(any)) => shown["response"] = about(any),
        Some(operation::Result::Error(status)) => {
            let status = to_json(status, EnumEncoding::Names).unwrap_or_default();
            shown["error"] = status;
        }
        None => {}
    }
    shown
}

fn resource(any: &prost_types::Any, stored: &Stored<Operation>) -> Value {
    if let Some(message) = unpack::<run::Service>(any) {
        let (rest, operation) = (stored.rest.clone(), stored.operation.clone());
        return service_json(&Stored { message, rest, operation });
    }
    match unpack::<run::Revision>(any) {
        Some(message) => {
            revision_json(&Stored { message, rest: Rest::of_template(&stored.rest), operation: String::new() })
        }
        None => Value::Null,
    }
}
