//! The list at the front of a backup.

use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

/// The name of the first member.
pub(super) const MANIFEST: &str = "updraft-backup.json";
/// The format of backups that this version writes, and the latest that it reads.
pub const FORMAT: u32 = 1;
/// The largest list, in bytes; each file takes about 200 of them.
pub(super) const MANIFEST_MAX: u64 = 256 << 20;
/// Where files of a backup may go: these files, and whatever is below these folders.
const FILES: [&str; 5] = ["state.db", "token", "tls/ca.key", "tls/ca.pem", "identity/keys.json"];
const FOLDERS: [&str; 5] = ["images/repositories", "images/pulled", "images/blobs", "logs", "identity/accounts"];

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The format of the backup; see [`FORMAT`].
    pub format: u32,
    /// The version of the server that took it.
    pub version: String,
    /// When its snapshot was taken, in seconds since 1970.
    pub taken: u64,
    /// The format of the database in it.
    pub store_format: u32,
    /// Every other member, in order.
    #[serde(default)]
    pub files: Vec<FileEntry>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its path below the data directory.
    pub path: String,
    /// Its size, in bytes.
    pub size: u64,
    /// The SHA-256 of what is in it, in hexadecimal.
    pub sha256: String,
}

/// Is this a place where a file of a backup belongs? A backup comes from somewhere: it must not choose where it writes.
pub(super) fn is_allowed(path: &str) -> bool {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    let clean = plain && !path.ends_with('/') && !path.contains("//") && !path.contains('\0');
    let below = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'));
    clean && (FILES.contains(&path) || FOLDERS.iter().any(|folder| below(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_cannot_write_outside_of_its_places() {
        for (path, allowed) in [
            ("state.db", true),
            ("token", true),
            ("tls/ca.key", true),
            ("tls/other", false),
            ("identity/keys.json", true),
            ("identity/accounts/1.json", true),
            ("identity/keys.new", false),
            ("images/blobs/sha256/ab/abcd", true),
            ("images/repositories/a/b/_tags/v1", true),
            ("logs/p/l/s/1.jsonl", true),
            ("", false),
            ("state.db/x", false),
            ("images/layers/evil", false),
            ("images/blobs", false),
            ("images/blobs/", false),
            ("images/blobs/../../../etc/passwd", false),
            ("images/blobs//x", false),
            ("/etc/passwd", false),
            ("./state.db", false),
            ("LOCK", false),
            ("images/blobs/a\0b", false),
        ] {
            assert_eq!(is_allowed(path), allowed, "{path:?}");
        }
    }
}
