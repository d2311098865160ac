//! The binary itself, with real containers.

mod host;
mod images;
mod traces;

mod compatibility;
mod failures;
mod killed;
mod pictures;
mod scaling;
mod traffic;
