//! The binary itself, with real containers.

mod host;
mod images;
mod traces;

mod compatibility;
mod doctor;
mod failures;
mod pictures;
mod scaling;
mod traffic;
