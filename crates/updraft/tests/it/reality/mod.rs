//! The binary itself, with real containers.

mod docker;
pub(crate) mod host;
mod images;
mod traces;

mod adoption;
mod backups;
mod compatibility;
mod doctor;
mod failures;
mod frozen;
mod full;
mod health;
mod jobs;
mod killed;
mod lan;
mod leaks;
mod libraries;
mod metadata;
mod mounted_secrets;
mod outbound;
mod pictures;
mod pipeline;
mod poor;
mod refusals;
mod registry;
mod runtimes;
mod scaling;
mod scheduler;
mod secrets;
mod sidecars;
mod soak;
mod stopping;
mod streams;
mod tls;
mod tokens;
mod traffic;
