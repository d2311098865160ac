//! The lock that lives as long as the launcher, however the server ends.

use std::{
    fs, io,
    os::{fd::AsFd, unix::fs::FileExt as _},
    path::Path,
};

use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// Opens the lock file.
///
/// # Errors
/// Those of open(2).
pub(crate) fn open(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// Takes the lock if nobody has it. It belongs to the open file, so also to every process that
/// inherits it.
///
/// # Errors
/// Those of flock(2).
pub(crate) fn try_take(file: &fs::File) -> io::Result<bool> {
    match flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Lets go of the lock, if this open file has it.
///
/// # Errors
/// Those of flock(2).
pub(crate) fn give_up(file: &fs::File) -> io::Result<()> {
    flock(file.as_fd(), FlockOperation::NonBlockingUnlock).map_err(Into::into)
}

/// Notes whose lock it is, for who finds it taken.
///
/// # Errors
/// Those of write(2).
pub(crate) fn note_owner(path: &Path, pid: u32) -> io::Result<()> {
    let file = fs::OpenOptions::new().write(true).open(path)?;
    // Always as long, and in one piece: whoever reads meanwhile sees the one or the other.
    file.write_all_at(format!("{pid:>10}\n").as_bytes(), 0)
}

/// Ends the process that is noted as the owner, if it is one of ours: a process that holds the lock
/// file open. The number may have gone to somebody else since.
pub(crate) fn kill_owner(path: &Path) {
    let Some(pid) = fs::read_to_string(path).ok().and_then(|text| Pid::from_raw(text.trim().parse().ok()?)) else {
        return;
    };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let Ok(descriptors) = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())) else { return };
    let holds = descriptors.filter_map(|one| fs::read_link(one.ok()?.path()).ok()).any(|target| target == path);
    if holds {
        let _ = pidfd_send_signal(&handle, Signal::KILL);
    }
}
