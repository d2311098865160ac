//! The binary as a library: parse → config → wire → run. The only crate that knows everybody.
//!
//! * [`config`]: settings, their layers, where each value came from.
//! * [`server`]: makes every part and joins the channels; [`server::Server::start`] is the whole wiring.
//! * [`commands`]: what the binary itself does; every other verb is a client and lives in `updraft-cli`.
//! * [`backup`]: one file with everything that a server needs to go on elsewhere.
//! * [`systemd`]: being a service of systemd.
//! * [`image`]: small images made from files at hand, for quickstart, benches and tests.

pub mod backup;
pub mod commands;
pub mod config;
pub mod image;
pub mod server;
pub mod systemd;

/// The program of `examples/hello`: static, serves HTTP on `$PORT`.
pub const HELLO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello"));
