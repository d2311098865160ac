//! Where a launcher without a server is found, and who it is.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd as _, BorrowedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::net::SocketAddrUnix;

/// Its socket.
const SOCKET: &str = "launcher.sock";

/// The socket of the launcher with this run directory.
pub(crate) fn socket(run_dir: &Path) -> PathBuf {
    run_dir.join(SOCKET)
}

/// Where it says how long it waits for a server.
pub(crate) fn announcement(run_dir: &Path) -> PathBuf {
    run_dir.join("launcher.waits")
}

/// The socket's address. By the open directory: an address holds a hundred bytes, and a data directory may lie deep.
///
/// # Errors
/// None that can be.
pub(crate) fn address(run_dir: BorrowedFd<'_>) -> io::Result<SocketAddrUnix> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", run_dir.as_raw_fd())).map_err(Into::into)
}

/// Until when it waits for a server, if it does.
pub(crate) fn waits_until(run_dir: &Path) -> Option<SystemTime> {
    let seconds = fs::read_to_string(announcement(run_dir)).ok()?.trim().parse().ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Does the process execute this very file? One that was replaced since by the same bytes counts as another: who made
/// sandboxes by yesterday's rules is not to go on with it.
pub(crate) fn executes(pid: u32, program: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    match (identity(Path::new(&format!("/proc/{pid}/exe"))), identity(program)) {
        (Ok(runs), Ok(wanted)) => runs == wanted,
        _ => false,
    }
}
