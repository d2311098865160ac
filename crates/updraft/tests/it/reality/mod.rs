//! The binary itself, with real containers.

mod docker;
mod host;
mod images;
mod traces;

mod compatibility;
mod failures;
mod pictures;
mod poor;
mod scaling;
mod traffic;
