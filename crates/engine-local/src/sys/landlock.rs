//! Landlock: a process gives up what lies outside of a directory, for itself and whatever it starts.
//!
//! The kernel has it since Linux 5.13, where it is switched on. Source: the kernel's userspace documentation of Landlock.
#![expect(unsafe_code, reason = "the three calls have no safe interface")]

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
};

use rustix::fs::{Mode, OFlags};

/// How much of it the kernel has: its version, 0 for none of it.
pub(crate) fn version() -> u32 {
    const ASK: u32 = 1;
    // SAFETY: with this flag the call takes no attributes and reads no memory.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, ASK) };
    u32::try_from(version).unwrap_or(0)
}

/// `struct landlock_ruleset_attr`.
#[repr(C)]
struct Ruleset {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    allowed_access: u64,
    parent_fd: i32,
}

const PATH_BENEATH: u32 = 1;
/// Abstract UNIX sockets and signals, as of version 6.
const SCOPES: u64 = 0b11;

/// From here on the calling thread, and what it starts, opens files only below `root`, also by a descriptor of a
/// directory that somebody hands over; and as of version 6 of Landlock neither signals nor abstract UNIX sockets reach
/// anybody else, so that nobody can. What takes no opening (stat, chmod, chown) is not governed. It must have given up
/// gaining privileges before.
///
/// # Errors
/// The kernel's; nothing is restricted then.
pub(crate) fn keep_below(root: &Path, version: u32) -> io::Result<()> {
    // Thirteen rights in the first version; then moving between directories, truncating, and ioctl(2) of devices.
    let rights = match version {
        0 => return Err(io::ErrorKind::Unsupported.into()),
        1 => (1u64 << 13) - 1,
        2 => (1 << 14) - 1,
        3 | 4 => (1 << 15) - 1,
        _ => (1 << 16) - 1,
    };
    let scoped = if version >= 6 { SCOPES } else { 0 };
    let ruleset = Ruleset { handled_access_fs: rights, handled_access_net: 0, scoped };
    // Older kernels take a shorter one; the rest of a longer one must be zero, which it is.
    let size = if version >= 6 { size_of::<Ruleset>() } else { size_of::<u64>() };
    // SAFETY: `ruleset` outlives the call and has at least the size that is passed.
    let made = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const ruleset, size, 0u32) };
    let made = i32::try_from(made).ok().filter(|&fd| fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else has it.
    let made = unsafe { OwnedFd::from_raw_fd(made) };
    let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let beneath = Beneath { allowed_access: rights, parent_fd: root.as_raw_fd() };
    // SAFETY: `beneath` outlives the call and is what this kind of rule consists of.
    let added =
        unsafe { libc::syscall(libc::SYS_landlock_add_rule, made.as_raw_fd(), PATH_BENEATH, &raw const beneath, 0u32) };
    if added != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: takes a descriptor and reads no memory.
    match unsafe { libc::syscall(libc::SYS_landlock_restrict_self, made.as_raw_fd(), 0u32) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::ffi::OsStrExt as _};

    use rustix::io::Errno;

    use super::*;
    use crate::sys::process::in_a_child;

    #[test]
    fn a_descriptor_of_a_directory_outside_leads_nowhere() {
        let version = version();
        if version == 0 || !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().expect("a place for the test");
        fs::write(dir.path().join("inside"), "").expect("a file");
        let place = std::ffi::CString::new(dir.path().as_os_str().as_bytes()).expect("no zero");
        let outside = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).expect("the root");
        let tried = in_a_child(move || {
            let step = |step: u8| move |error| (step, error);
            rustix::process::chroot(place.as_c_str()).map_err(step(1))?;
            let read = |path: &std::ffi::CStr| rustix::fs::openat(&outside, path, OFlags::RDONLY, Mode::empty());
            // Which is what it is against.
            read(c"etc/passwd").map_err(step(2))?;
            rustix::thread::set_no_new_privs(true).map_err(step(3))?;
            keep_below(Path::new("/"), version).map_err(|_| (4, Errno::INVAL))?;
            rustix::fs::open("/inside", OFlags::RDWR, Mode::empty()).map_err(step(5))?;
            match read(c"etc/passwd") {
                Err(Errno::ACCESS) => Ok(()),
                Err(error) => Err((6, error)),
                Ok(_) => Err((7, Errno::PERM)),
            }
        });
        assert_eq!(tried.expect("a process"), Ok(()));
    }
}
