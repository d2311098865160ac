//! The binary itself, with real containers.

mod host;
mod images;
mod traces;

mod compatibility;
mod failures;
mod pictures;
mod registry;
mod scaling;
mod traffic;
