//! What a store cannot do.

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
        "the data directory was written in format {found} by a later version; this one reads formats up to {known}"
    )]
    TooNew {
        /// The format found.
        found: u32,
        /// The latest this version reads.
        known: u32,
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
