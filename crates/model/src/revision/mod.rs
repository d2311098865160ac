//! A revision: an immutable template, made real.

pub mod defaults;
pub(crate) mod egress;
pub mod lifecycle;
mod probe_rules;
mod resource_rules;
pub mod types;
pub mod validation;

pub use egress::EGRESS;
pub use types::{
    Container, EnvValue, EnvVar, Probe, ProbeKind, Protocol, Resources, RevisionScaling, RevisionTemplate, Volume,
    VolumeKind,
};
