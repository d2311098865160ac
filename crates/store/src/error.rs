//! What a store cannot do.

use std::{io, path::Path};

use crate::Key;

/// Why a store could not do what it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Somebody else wrote first; read again and decide anew.
    #[error("{key} is not at version {expected}")]
    Conflict {
        /// What.
        key: Key,
        /// The version the change was made for; 0 for a creation.
        expected: i64,
    },
    /// Another process has the data directory.
    #[error("the data directory {dir} is in use by {holder} (lock file {dir}/LOCK)")]
    Locked {
        /// The directory.
        dir: String,
        /// Who has it: `process 4711`, or `another process` when it did not say.
        holder: String,
    },
    /// The data was written by a later version.
    #[error(
        "the data directory {dir} is in format {found}, which a later version wrote; this one reads formats up to {known}"
    )]
    TooNew {
        /// The directory.
        dir: String,
        /// The format found.
        found: u32,
        /// The latest this version reads.
        known: u32,
    },
    /// There is no room for what was to be written; nothing of it was. Reading goes on, and so does writing once there
    /// is room again.
    #[error("{operation}: no space left for the data: {cause}")]
    Full {
        /// What was tried.
        operation: &'static str,
        /// What the medium said.
        cause: String,
    },
    /// The medium failed.
    #[error("{operation}: {cause}")]
    Medium {
        /// What was tried.
        operation: &'static str,
        /// What happened.
        cause: String,
    },
}

/// What the host's refusal means.
pub(crate) fn host(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> StoreError {
    let path = path.display().to_string();
    move |error| {
        let cause = format!("{path}: {error}");
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { operation, cause },
            _ => StoreError::Medium { operation, cause },
        }
    }
}
