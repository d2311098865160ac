//! A revision: an immutable template, made real.

pub mod defaults;
pub(crate) mod egress;
pub mod lifecycle;
mod order_rules;
mod probe_rules;
mod resource_rules;
mod secret_rules;
pub mod targets;
pub mod types;
pub mod validation;
mod volume_rules;

pub use egress::EGRESS;
pub use secret_rules::SECRET_ITEMS_MAX;
pub use targets::{CONCURRENCY_TARGET, CPU_TARGET, ScalingTargets};
pub use types::{
    Container, EnvValue, EnvVar, Probe, ProbeKind, Protocol, Resources, RevisionScaling, RevisionTemplate, SecretItem,
    SecretSource, Volume, VolumeKind,
};
