//! Filling an empty data directory from a backup.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, FlockOperation, StatxAttributes, StatxFlags, flock};
use sha2::{Digest as _, Sha256};

use super::format::{FORMAT, FileEntry, MANIFEST, MANIFEST_MAX, Manifest, is_allowed};

/// Says of a directory that a restore made it, and is held locked while one fills it.
const MARK: &str = "RESTORING";
/// The most memory that an archive may ask for to be unpacked, as a power of two: what any level of zstd needs.
const WINDOW_LOG_MAX: u32 = 27;

/// Why nothing was restored. The data directory is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// It does not begin as a backup does.
    #[error("this is no backup of Updraft: {0}")]
    Foreign(String),
    /// It is a backup, but not the whole of it or not as it was written.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// A later version wrote it.
    #[error(
        "the backup was taken by Updraft {version}, whose {what} {found} is newer than the {known} that this version reads"
    )]
    TooNew {
        /// The version that took it.
        version: String,
        /// Which format.
        what: &'static str,
        /// The format found.
        found: u32,
        /// The latest that is known.
        known: u32,
    },
    /// There is something in the data directory.
    #[error("{} is not empty; a backup is only restored into a directory that is empty or not there", .0.display())]
    Occupied(PathBuf),
    /// The data directory is the root of a mount, which nothing can be moved to.
    #[error("{} is a mount point, which cannot be replaced; restore into a directory below it that is not there yet, and serve from that", .0.display())]
    MountPoint(PathBuf),
    /// There is something where the data is gathered first.
    #[error("{} is in the way, and was not made by a restore", .0.display())]
    InTheWay(PathBuf),
    /// Another restore is filling the directory.
    #[error("another restore is filling {}", .0.display())]
    UnderWay(PathBuf),
    /// A restore into the data directory was broken off.
    #[error("a restore into {} did not end; run it again, or remove {}", .target.display(), .partial.display())]
    Unfinished {
        /// The data directory.
        target: PathBuf,
        /// What the restore left.
        partial: PathBuf,
    },
    /// The host refused.
    #[error("cannot {operation} {}", .path.display())]
    Host {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The version of the server that took the backup.
    pub version: String,
    /// When it was taken, in seconds since 1970.
    pub taken: u64,
    /// How many files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// A directory that is being filled; removed again unless it is completed.
struct Partial {
    path: PathBuf,
    /// Locked.
    _mark: File,
    keep: bool,
}

/// Restores the backup that `source` gives into `target`, which must be absent or empty. Everything is gathered and
/// verified beside it, in `target.partial`, and moved there last: whatever happens before that, `target` is not touched.
///
/// # Errors
/// [`RestoreError`]; nothing is left behind then.
pub fn restore(source: impl Read, target: &Path) -> Result<Restored, RestoreError> {
    let target = &*resolved(target);
    if !is_free(target)? {
        return Err(RestoreError::Occupied(target.to_owned()));
    }
    if is_mount_point(target) {
        return Err(RestoreError::MountPoint(target.to_owned()));
    }
    let foreign = |error: io::Error| RestoreError::Foreign(error.to_string());
    let mut zstd = zstd::Decoder::new(source).map_err(foreign)?;
    zstd.window_log_max(WINDOW_LOG_MAX).map_err(foreign)?;
    let mut archive = tar::Archive::new(zstd);
    let mut members = archive.entries().map_err(foreign)?;
    let manifest = read_manifest(members.next())?;
    let mut partial = Partial::make(target)?;
    for entry in &manifest.files {
        match members.next() {
            Some(Ok(member)) => unpack(member, entry, &partial.path)?,
            Some(Err(error)) => return Err(RestoreError::Damaged(error.to_string())),
            None => return Err(RestoreError::Damaged(format!("it ends before {}", entry.path))),
        }
    }
    if members.next().is_some() {
        return Err(RestoreError::Damaged("it holds more than it lists".to_owned()));
    }
    // To its very end: the checksum of the whole is there.
    let rest = io::copy(&mut archive.into_inner(), &mut io::sink());
    rest.map_err(|error| RestoreError::Damaged(error.to_string()))?;
    partial.complete(target)?;
    Ok(Restored {
        version: manifest.version,
        taken: manifest.taken,
        files: manifest.files.len(),
        bytes: manifest.files.iter().map(|file| file.size).sum(),
    })
}

/// Refuses a data directory that a restore was to fill but did not: to start there would make an empty server, which
/// nobody wants who restores a backup.
///
/// # Errors
/// [`RestoreError::Unfinished`].
pub fn check_restored(target: &Path) -> Result<(), RestoreError> {
    let target = resolved(target);
    let partial = partial_path(&target);
    if partial.join(MARK).exists() && is_free(&target)? {
        return Err(RestoreError::Unfinished { target, partial });
    }
    Ok(())
}

fn read_manifest<R: Read>(first: Option<io::Result<tar::Entry<'_, R>>>) -> Result<Manifest, RestoreError> {
    let foreign = |error: io::Error| RestoreError::Foreign(error.to_string());
    let mut member = first.ok_or_else(|| RestoreError::Foreign("it is empty".to_owned()))?.map_err(foreign)?;
    if &*member.path_bytes() != MANIFEST.as_bytes() || member.size() > MANIFEST_MAX {
        return Err(RestoreError::Foreign(format!("its first member is not {MANIFEST}")));
    }
    let mut text = Vec::new();
    member.read_to_end(&mut text).map_err(|error| RestoreError::Damaged(error.to_string()))?;
    // Before the rest: a later format may have another shape.
    let unreadable = |error: serde_json::Error| RestoreError::Damaged(format!("{MANIFEST}: {error}"));
    let head: serde_json::Value = serde_json::from_slice(&text).map_err(unreadable)?;
    let number = |name: &str| head[name].as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(u32::MAX);
    let version = head["version"].as_str().unwrap_or("of an unknown version").to_owned();
    for (what, name, known) in
        [("backup format", "format", FORMAT), ("data format", "storeFormat", updraft_store::FORMAT)]
    {
        if number(name) > known {
            return Err(RestoreError::TooNew { version, what, found: number(name), known });
        }
    }
    let manifest: Manifest = serde_json::from_value(head).map_err(unreadable)?;
    match manifest.files.iter().find(|file| !is_allowed(&file.path)) {
        Some(file) => Err(RestoreError::Damaged(format!("it holds {:?}, which has no place here", file.path))),
        None if !manifest.files.iter().any(|file| file.path == "state.db") => {
            Err(RestoreError::Damaged("it holds no database".to_owned()))
        }
        None => Ok(manifest),
    }
}

/// Writes one member, and compares it with what was listed.
fn unpack<R: Read>(mut member: tar::Entry<'_, R>, entry: &FileEntry, dir: &Path) -> Result<(), RestoreError> {
    let expected = member.header().entry_type().is_file()
        && &*member.path_bytes() == entry.path.as_bytes()
        && member.size() == entry.size;
    if !expected {
        return Err(RestoreError::Damaged(format!("{} is not where it is listed", entry.path)));
    }
    let path = dir.join(&entry.path);
    if let Some(parent) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(at("create", parent))?;
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let mut file = file.map_err(at("create", &path))?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 256 << 10]);
    loop {
        let read = member.read(&mut buffer);
        let read = read.map_err(|error| RestoreError::Damaged(format!("{}: {error}", entry.path)))?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        file.write_all(&buffer[..read]).map_err(at("write", &path))?;
    }
    if hex::encode(hash.finalize()) != entry.sha256 {
        return Err(RestoreError::Damaged(format!("{} is not what it was", entry.path)));
    }
    Ok(())
}

// === impl Partial ===

impl Partial {
    /// Makes the directory beside `target`, removing what a broken restore left there.
    fn make(target: &Path) -> Result<Self, RestoreError> {
        let path = partial_path(target);
        let mark_path = path.join(MARK);
        if fs::symlink_metadata(&path).is_ok() {
            let Ok(mark) = File::open(&mark_path) else { return Err(RestoreError::InTheWay(path)) };
            if flock(&mark, FlockOperation::NonBlockingLockExclusive).is_err() {
                return Err(RestoreError::UnderWay(target.to_owned()));
            }
            fs::remove_dir_all(&path).map_err(at("remove", &path))?;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(at("create", parent))?;
        }
        DirBuilder::new().mode(0o700).create(&path).map_err(at("create", &path))?;
        let mark = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&mark_path);
        let mark = mark.map_err(at("create", &mark_path))?;
        if flock(&mark, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(RestoreError::UnderWay(target.to_owned()));
        }
        Ok(Self { path, _mark: mark, keep: false })
    }

    /// Makes it last and moves it to `target`. The mark goes after that: until then a broken restore is known by it.
    fn complete(&mut self, target: &Path) -> Result<(), RestoreError> {
        let dir = File::open(&self.path).map_err(at("open", &self.path))?;
        // One call for what may be a hundred thousand files.
        rustix::fs::syncfs(&dir).map_err(|errno| at("sync", &self.path)(errno.into()))?;
        fs::rename(&self.path, target).map_err(at("move the restored data to", target))?;
        self.keep = true;
        let mark = target.join(MARK);
        fs::remove_file(&mark).map_err(at("remove", &mark))?;
        for dir in [Some(target), target.parent()].into_iter().flatten() {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(at("sync", dir))?;
        }
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.keep {
            // What stays is known by its mark, and removed by the next restore.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Is there nothing at `target`, or an empty directory?
fn is_free(target: &Path) -> Result<bool, RestoreError> {
    match fs::read_dir(target) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(at("read", target)(error)),
    }
}

/// Where a link leads: beside that is the same file system, and that can be replaced.
fn resolved(target: &Path) -> PathBuf {
    fs::canonicalize(target).unwrap_or_else(|_| target.to_owned())
}

fn is_mount_point(path: &Path) -> bool {
    let found = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS);
    // A kernel that does not tell lets the move fail, later.
    found.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn partial_path(target: &Path) -> PathBuf {
    let mut name = target.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".partial");
    target.with_file_name(name)
}

fn at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RestoreError {
    move |source| RestoreError::Host { operation, path: path.to_owned(), source }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
