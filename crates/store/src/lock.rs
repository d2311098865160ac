//! One process per data directory.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use crate::{StoreError, error::host};

/// The lock on a data directory: an flock on `DIR/LOCK`, so that the kernel frees it however the
/// holder ends. The file stays, and holds the number of the process that had it last.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

// === impl DirLock ===

impl DirLock {
    /// Makes the directory (mode 0700: tokens and specs are nobody else's business) if there is
    /// none, and takes its lock. The mode of a directory that is there is left to its owner.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another store has it, [`StoreError::Medium`] when the directory
    /// cannot be made or written.
    pub(crate) fn take(dir: &Path) -> Result<Self, StoreError> {
        let failed = host("lock the data directory", dir);
        make(dir).map_err(&failed)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join("LOCK"))
            .map_err(&failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(StoreError::Locked { dir: dir.display().to_string(), holder: holder(&mut file) });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// Makes the directory and those above it that are missing, each synced into its parent: what is written below is not
/// durable before its directory is.
fn make(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    make(parent)?;
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(parent)?.sync_all()
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(32).read_to_string(&mut text).map(|_| text.trim().parse::<u32>()) {
        Ok(Ok(pid)) => format!("process {pid}"),
        // Between taking the lock and writing its number, or not a number: then nobody knows.
        _ => "another process".to_owned(),
    }
}
