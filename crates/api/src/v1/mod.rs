//! API v1: Knative's shape as a view on the stored v2 messages.
//!
//! `show` turns messages into v1 objects, `read` turns objects into messages, [`Rest`] keeps what a
//! message cannot hold, `schema` says which fields there are. [`method`] is the table of v1's methods.
//! See docs/api-v1.md.
//!
//! Source: the v1 API as gcloud 578 reads and writes it.

mod alike;
pub mod domain;
mod fields;
mod keys;
pub mod method;
mod notice;
mod object;
mod operation;
mod read;
mod rest;
mod schema;
pub mod selector;
mod show;
pub mod status;
mod tree;
mod write;

pub use fields::in_v1_words;
pub use notice::{
    NOTICE, Words, execution_notice_condition, job_notice_condition, notice, notice_condition,
    worker_pool_notice_condition,
};
pub use object::Object;
pub use operation::operation_json;
pub use read::run_job_request;
pub use rest::Rest;
pub use show::{
    CONFIGURATION, EXECUTION, JOB, REVISION, ROUTE, RUN, SERVICE, TASK, WORKER_POOL, configuration_json,
    execution_json, execution_labels, job_json, job_labels, list_json, revision_json, revision_labels, route_json,
    service_json, service_labels, task_json, task_labels, task_state, worker_pool_json, worker_pool_labels,
};
pub use write::{Written, WrittenAs, WrittenJob, WrittenWorkerPool};

use serde_json::json;

use crate::run;

/// A message as it is stored, with what v1 says beside it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stored<M> {
    /// The message, as v2's clients see it.
    pub message: M,
    /// What v1's clients said and the message does not.
    pub rest: Rest,
    /// The id of the operation that the last write began; empty when there was none.
    pub operation: String,
}

// === impl Stored ===

impl<M> Stored<M> {
    /// A message that no v1 client wrote.
    pub fn of(message: M) -> Self {
        Self { message, rest: Rest::default(), operation: String::new() }
    }
}

impl<M: Object> Stored<M> {
    /// What a revision made of the template keeps of the rest.
    pub fn template_rest(&self) -> Rest {
        Rest::of_template(&self.rest)
    }
}

impl Stored<run::Job> {
    /// What an execution of the job keeps: the template's rest, and which job of its name it is of, which the message of
    /// an execution has no field for.
    pub fn execution_rest(&self) -> Rest {
        let job = &self.message;
        let labels =
            [(keys::JOB_UID_LABEL, json!(job.uid)), (keys::JOB_GENERATION_LABEL, json!(job.generation.to_string()))];
        self.template_rest().and(&["metadata", "labels"], &labels)
    }
}

impl Stored<run::Execution> {
    /// What v1 says of each task of the execution and its message does not.
    pub fn task_rest(&self) -> Rest {
        self.rest.moved(&[(&["metadata"], "metadata"), (&["spec", "template", "spec"], "spec")])
    }
}
