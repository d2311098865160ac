//! A worker pool: a template for revisions whose instances take no requests, and how many there are of each.

pub mod defaults;
pub mod types;
pub mod validation;

pub use types::{InstanceSplit, WorkerPool};
