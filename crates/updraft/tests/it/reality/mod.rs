//! The binary itself, with real containers.

pub(crate) mod host;
mod images;
mod traces;

mod backups;
mod compatibility;
mod doctor;
mod failures;
mod full;
mod killed;
mod lan;
mod leaks;
mod pictures;
mod registry;
mod scaling;
mod stopping;
mod traffic;
