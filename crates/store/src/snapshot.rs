//! Copies of the database as it is at one moment, while it is written to.

use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt, path::Path};

use sqlx::SqlitePool;

use crate::{
    StoreError,
    error::host,
    sqlite::{FILE, medium},
};

/// Takes snapshots of a [`SqliteStore`](crate::SqliteStore). Cheap to clone; useless once the store is closed.
#[derive(Debug, Clone)]
pub struct Snapshots {
    readers: SqlitePool,
}

// === impl Snapshots ===

impl Snapshots {
    pub(crate) fn of(readers: SqlitePool) -> Self {
        Self { readers }
    }

    /// Writes everything that has been committed by now to a data directory of its own: `dir`, which is there and has
    /// no database yet. Writers are not held up, and what they commit meanwhile is not in it. Another
    /// [`SqliteStore`](crate::SqliteStore) can open `dir`.
    ///
    /// # Errors
    /// [`StoreError::Full`] for want of space, [`StoreError::Medium`]; what is in `dir` then is of no use.
    pub async fn take(&self, dir: &Path) -> Result<(), StoreError> {
        const OPERATION: &str = "take a snapshot of the database";
        let path = dir.join(FILE);
        let failed = host(OPERATION, &path);
        // Made by us, because SQLite would make it readable for all. It takes an empty file for none.
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(&failed)?;
        let text = path.to_str().ok_or_else(|| failed(io::Error::other("the path is not UTF-8")))?;
        // Reads in one transaction, and copies page by page what is alive: the copy has no log and no gaps.
        let copy = sqlx::query("VACUUM INTO ?").bind(text).execute(&self.readers).await;
        copy.map(drop).map_err(medium(OPERATION))
    }
}
