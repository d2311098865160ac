//! The binary itself, with real containers.

pub(crate) mod host;
mod images;
mod traces;

mod compatibility;
mod failures;
mod full;
mod killed;
mod leaks;
mod pictures;
mod scaling;
mod traffic;
