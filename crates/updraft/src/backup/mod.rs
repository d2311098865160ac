//! Backups: one file with everything that a server needs to go on elsewhere.
//!
//! A backup is a tar archive, compressed with zstd. Its first member, [`format::MANIFEST`], lists all others with their
//! sizes and digests, in the order in which they come:
//!
//! ```text
//! updraft-backup.json   format, version, time, files
//! state.db              a snapshot of the database
//! token                 the admin token, if there is one
//! tls/                  the key and the certificate of the server's own authority, if there is one
//! identity/             the keys that sign tokens, if there are any
//! images/…              names of the registry, then the blobs that they and the snapshot's revisions need
//! logs/…                what containers wrote, if that was asked for
//! ```
//!
//! Everything but the first member is a file of the data directory at its place. [`take`] writes one while the server
//! runs, at constant memory but for the list; [`restore()`] fills an empty data directory from one.

mod format;
mod restore;
mod take;

pub use format::{FORMAT, FileEntry, Manifest};
pub use restore::{RestoreError, Restored, check_restored, restore};
pub(crate) use take::{BackupDeps, ServerBackups, sweep};
