//! `updraft restore`.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::{ServeArgs, fail, print};
use crate::backup::{RestoreError, Restored, restore};

/// What can be typed after `restore`.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The backup; `-` is standard input.
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Whose data directory it is: as for `serve`.
    #[command(flatten)]
    pub(super) settings: ServeArgs,
}

/// Restores `file` into `data_dir`.
pub(super) fn run(file: &Path, data_dir: &Path) -> ExitCode {
    let restored = if file.as_os_str() == "-" {
        restore(io::stdin().lock(), data_dir)
    } else {
        match File::open(file) {
            Ok(source) => restore(source, data_dir),
            Err(source) => Err(RestoreError::Host { operation: "open the backup", path: file.to_owned(), source }),
        }
    };
    match restored {
        Ok(Restored { version, files, bytes, .. }) => {
            let (mib, dir) = (bytes >> 20, data_dir.display());
            print(format_args!("Restored {files} files ({mib} MiB) of Updraft {version} into {dir}."));
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error, hint(&error)),
    }
}

fn hint(error: &RestoreError) -> Option<&'static str> {
    match error {
        RestoreError::Occupied(_) => Some("name another directory with --data-dir, or move this one away first"),
        RestoreError::TooNew { .. } => Some("restore it with that version, or a later one"),
        RestoreError::InTheWay(_) => Some("move it away"),
        RestoreError::Damaged(_) => Some("copy the file again, or take another backup"),
        _ => None,
    }
}
