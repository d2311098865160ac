//! `cargo xtask streams`: the suite's own test of streams and rollouts (`crates/updraft/tests/it/reality/streams`), with
//! as many as are wanted, against the server as it is released.

use std::{path::Path, process::Command};

use crate::Error;

/// How much of it.
#[derive(Debug)]
pub(crate) struct Choice {
    /// How many WebSockets, and how many calls of gRPC.
    pub(crate) streams: u32,
    /// How many revisions follow one another while they are open.
    pub(crate) rollouts: u32,
}

/// Runs it. Needs root, as containers do.
pub(crate) fn run(root: &Path, choice: &Choice) -> Result<(), Error> {
    let mut test = Command::new("cargo");
    test.current_dir(root).args(["test", "--release", "--package", "updraft", "--test", "it", "reality::streams"]);
    test.args(["--", "--nocapture"]).env("UPDRAFT_TEST_NO_SKIP", "1");
    test.env("UPDRAFT_STREAMS", choice.streams.to_string());
    test.env("UPDRAFT_STREAMS_ROLLOUTS", choice.rollouts.to_string());
    let status = test.status()?;
    if status.success() { Ok(()) } else { Err(format!("streams did not outlive the rollouts: {status}").into()) }
}
