//! Files that are written for somebody: whole or not at all, and with their mode from the first byte.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use crate::error::CliError;

/// Writes a file, and the directories above it where there are none.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), CliError> {
    let dir = path.parent().map_or(Ok(()), |dir| fs::DirBuilder::new().recursive(true).mode(0o700).create(dir));
    dir.and_then(|()| replace(path, content, mode)).map_err(|error| unwritable(path, &error))
}

/// Writes a file beside its place and moves it there: nobody reads half of one. It has this mode, whatever the one before
/// had, and is new: no link that somebody put in its way is followed, and who has the old one open does not see it.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let draft = path.with_extension(format!("new-{}", std::process::id()));
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
    let written = file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // Half of a secret is one.
        let _ = fs::remove_file(&draft);
    }
    written
}

/// What is said when that does not work.
pub(crate) fn unwritable(path: &Path, error: &io::Error) -> CliError {
    CliError::failed(format!("cannot write {}: {error}", path.display()))
}
