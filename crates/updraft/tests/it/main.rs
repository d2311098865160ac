//! The whole server: worlds (in this process, virtual time, fake engine) and reality (the binary, real containers).
//!
//! One binary, many modules. Reality needs root and a Linux that lets it make namespaces; where that is missing the
//! tests say so and pass, unless `UPDRAFT_TEST_NO_SKIP` is set.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]

mod formats;
mod gcloud;
mod input;
mod jobs;
mod metadata;
mod pools;
mod reality;
mod scheduler;
mod secrets;
mod signing;
mod tokens;
mod world;
