//! The binary itself, with real containers.

mod host;
mod images;
mod traces;

mod backups;
mod compatibility;
mod failures;
mod lan;
mod pictures;
mod scaling;
mod stopping;
mod tls;
mod traffic;
