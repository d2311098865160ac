//! Where the next server finds a launcher whose server is gone: a socket in the run directory.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, accept_with, bind, listen, socket_with},
};

use crate::sys::succession;

/// The socket. Dropping it removes it and its announcement.
#[derive(Debug)]
pub(super) struct Gate {
    socket: OwnedFd,
    run_dir: PathBuf,
}

// === impl Gate ===

impl Gate {
    /// Makes the socket in `run_dir`, which nobody but us and the server may enter.
    ///
    /// # Errors
    /// The host's.
    pub(super) fn open(run_dir: &Path) -> io::Result<Self> {
        let path = succession::socket(run_dir);
        match fs::remove_file(&path) {
            // Of a launcher that was killed.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let dir = rustix::fs::open(run_dir, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        bind(&socket, &succession::address(dir.as_fd())?)?;
        listen(&socket, 4)?;
        Ok(Self { socket, run_dir: run_dir.to_owned() })
    }

    /// For polling.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whoever knocks, if it is of our own user. The directory keeps others out; this is for the case that somebody
    /// opened it.
    pub(super) fn accept(&self) -> Option<OwnedFd> {
        loop {
            match accept_with(&self.socket, SocketFlags::CLOEXEC) {
                Ok(peer) => {
                    let own = rustix::process::geteuid();
                    return rustix::net::sockopt::socket_peercred(&peer)
                        .is_ok_and(|one| one.uid == own)
                        .then_some(peer);
                }
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }

    /// Says how long it is waited for the next server; for `updraft doctor --leaks`.
    pub(super) fn announce(&self, until: SystemTime) {
        let seconds = until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        // Only told: without it the waiting is taken for a leak.
        let _ = fs::write(succession::announcement(&self.run_dir), seconds.to_string());
    }

    /// Nobody is waited for any more.
    pub(super) fn conceal(&self) {
        let _ = fs::remove_file(succession::announcement(&self.run_dir));
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.conceal();
        let _ = fs::remove_file(succession::socket(&self.run_dir));
    }
}
