//! A service: a template for revisions, and where its traffic goes.

pub mod defaults;
pub mod lifecycle;
pub mod types;
pub mod validation;

pub use types::{Allocation, Ingress, Scaling, ScalingMode, Service, TrafficTarget};
