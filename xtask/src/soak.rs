//! `cargo xtask soak`: the suite's own soak test (`crates/updraft/tests/it/reality/soak.rs`), for as long as is wanted.

use std::{path::Path, process::Command};

use crate::Error;

/// How much of it.
#[derive(Debug)]
pub(crate) struct Choice {
    /// How many instances are to be started.
    pub(crate) starts: u32,
    /// Repeats a run; `None` takes another seed each time, and prints it.
    pub(crate) seed: Option<u64>,
}

/// Runs it. Needs root, as containers do.
pub(crate) fn run(root: &Path, choice: &Choice) -> Result<(), Error> {
    let mut test = Command::new("cargo");
    test.current_dir(root).args(["test", "--package", "updraft", "--test", "it", "reality::soak", "--", "--nocapture"]);
    test.env("UPDRAFT_SOAK_STARTS", choice.starts.to_string()).env("UPDRAFT_TEST_NO_SKIP", "1");
    if let Some(seed) = choice.seed {
        test.env("UPDRAFT_TEST_SEED", seed.to_string());
    }
    let status = test.status()?;
    if status.success() { Ok(()) } else { Err(format!("the soak failed: {status}").into()) }
}
