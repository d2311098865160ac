//! API v1: Knative's shape as a view on the stored v2 messages.
//!
//! `show` turns messages into v1 objects, `read` turns objects into messages, [`Rest`] keeps what a
//! message cannot hold, `schema` says which fields there are. [`method`] is the table of v1's methods.
//! See docs/api-v1.md.
//!
//! Source: the v1 API as gcloud 578 reads and writes it.

pub mod domain;
mod fields;
mod keys;
pub mod method;
mod notice;
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
pub use notice::{NOTICE, Words, notice, notice_condition};
pub use operation::operation_json;
pub use rest::Rest;
pub use show::{
    CONFIGURATION, REVISION, ROUTE, SERVICE, configuration_json, list_json, revision_json, revision_labels, route_json,
    service_json, service_labels,
};
pub use write::Written;

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

impl Stored<run::Service> {
    /// What a revision made of the service's template keeps of the rest.
    pub fn template_rest(&self) -> Rest {
        Rest::of_template(&self.rest)
    }
}
