//! The binary itself, with real containers.

mod docker;
mod host;
mod images;
mod traces;

mod backups;
mod compatibility;
mod failures;
mod lan;
mod pictures;
mod poor;
mod scaling;
mod stopping;
mod traffic;
