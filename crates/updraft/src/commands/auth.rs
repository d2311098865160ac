//! `updraft auth print-access-token`.

use std::process::ExitCode;

use updraft_cli::Exit;

use super::{fail, print};
use crate::config::Config;

/// Prints the token in the data directory: to whoever may read it.
pub(super) fn print_token(config: &Config) -> ExitCode {
    match updraft_identity::read_token(&config.data_dir) {
        Ok(token) => {
            print(token);
            ExitCode::SUCCESS
        }
        Err(error) => {
            fail(&error, error.hint().as_deref().or(Some("a server makes it when it starts with --auth token")));
            Exit::Denied.into()
        }
    }
}
