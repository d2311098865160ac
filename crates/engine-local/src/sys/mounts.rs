//! Does the steps of `sandbox::mounts`, in the process whose mount namespace they are for.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::BorrowedFd,
        unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    },
    path::Path,
};

use rustix::{
    fs::{CWD, FileType, Mode, makedev, mknodat},
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_move, mount_remount, unmount},
    process::pivot_root,
};

use crate::sandbox::{
    mounts::CLOSED,
    step::{Blank, Step},
};

/// Does one step. `users` is the instance's user namespace, if it has one.
///
/// # Errors
/// The kernel's; nothing is undone, the namespace is to be given up.
pub(crate) fn apply(step: &Step, users: Option<BorrowedFd<'_>>) -> io::Result<()> {
    match step {
        Step::Directory(path, mode) => directory(path, *mode),
        Step::Link(path, target) => std::os::unix::fs::symlink(target, path),
        Step::File(path, text) => fs::write(path, text),
        Step::Remove(path) => fs::remove_file(path),
        Step::Device(path, major, minor) => device(path, *major, *minor),
        Step::Mount { kind, target, flags, options } => {
            let options = CString::new(options.as_str())?;
            mount(*kind, target.as_str(), *kind, *flags, options.as_c_str()).map_err(Into::into)
        }
        Step::Seal(target, flags) => seal(target, *flags),
        Step::Enter(path) => rustix::process::chdir(path.as_str()).map_err(Into::into),
        Step::Pivot => pivot(),
        Step::Resize(path, flags, size) => {
            let options = CString::new(format!("size={size}"))?;
            mount_remount(path.as_str(), *flags, options.as_c_str()).map_err(Into::into)
        }
        Step::Move(from, to) => mount_move(from.as_str(), to.as_str()).map_err(Into::into),
        Step::Mask(path, blank) => mask(path, *blank),
        Step::Conceal(path, blank) => match fs::symlink_metadata(path) {
            Ok(found) if found.permissions().mode() & 0o077 == 0 => Ok(()),
            // It may only be there for others; what is not there is no error.
            _ => mask(path, *blank),
        },
        Step::ReadOnly(path) => read_only(path),
        Step::Give(path, user) => std::os::unix::fs::lchown(path, Some(*user), Some(*user)),
        Step::Author(user) => super::users::author(*user),
        Step::Show(path, tree) => {
            let users = users.ok_or_else(|| io::Error::other("there is no user namespace"))?;
            super::users::show(tree, Path::new(path), users)
        }
    }
}

/// What a process with the usual mask (022), which that of an instance is, can give with a name.
const PLAIN: u32 = 0o755;

fn directory(path: &str, mode: u32) -> io::Result<()> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        // The mask of the process takes bits away, and the sticky bit is not for mkdir.
        Ok(()) if mode & !PLAIN != 0 => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn device(path: &str, major: u32, minor: u32) -> io::Result<()> {
    mknodat(CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(major, minor))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))
}

/// Read-only for this mount alone: a remount of the file system would be seen everywhere.
fn seal(target: &str, flags: MountFlags) -> io::Result<()> {
    mount_remount(target, flags | MountFlags::BIND | MountFlags::RDONLY, c"").map_err(Into::into)
}

/// The current directory becomes the root; the old root is stacked below it and let go, so that no
/// place of the host's tree is needed to put it.
fn pivot() -> io::Result<()> {
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/").map_err(Into::into)
}

fn mask(path: &str, blank: Blank) -> io::Result<()> {
    // Of all that may be there, most is a file or is not there.
    match mount_bind(blank.file, path) {
        Ok(()) => return Ok(()),
        // Unless it is what hides that is not there.
        Err(Errno::NOENT) => return fs::symlink_metadata(blank.file).map(drop),
        Err(Errno::NOTDIR) => {}
        Err(error) => return Err(error.into()),
    }
    // Not a file system of its own for each: to make and to remove one takes as much as ten of these.
    mount_bind(blank.directory, path)?;
    seal(path, CLOSED)
}

fn read_only(path: &str) -> io::Result<()> {
    match mount_bind_recursive(path, path) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    seal(path, CLOSED)
}
