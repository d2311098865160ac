//! Operations whose resources are v1 objects.

use serde_json::{Value, json};

use super::{Rest, Stored, execution_json, job_json, revision_json, service_json, tree::object, worker_pool_json};
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

/// The v1 object of a resource. The operation's rest is the resource's; of a revision it is that of what the revision is
/// of.
fn resource(any: &prost_types::Any, stored: &Stored<Operation>) -> Value {
    fn beside<M>(message: M, stored: &Stored<Operation>) -> Stored<M> {
        Stored { message, rest: stored.rest.clone(), operation: stored.operation.clone() }
    }
    if let Some(message) = unpack::<run::Service>(any) {
        service_json(&beside(message, stored))
    } else if let Some(message) = unpack::<run::Job>(any) {
        job_json(&beside(message, stored))
    } else if let Some(message) = unpack::<run::Execution>(any) {
        execution_json(&beside(message, stored))
    } else if let Some(message) = unpack::<run::WorkerPool>(any) {
        worker_pool_json(&beside(message, stored))
    } else if let Some(message) = unpack::<run::Revision>(any) {
        revision_json(&Stored { message, rest: Rest::of_template(&stored.rest), operation: String::new() })
    } else {
        Value::Null
    }
}
