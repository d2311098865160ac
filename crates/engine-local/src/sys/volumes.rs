//! Volumes in memory: file systems that containers of one instance share.
//!
//! A container is given a mount as a descriptor and puts it into its own tree. It is the same file system for all of
//! them; the kernel removes it when the last one that has it mounted is gone.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::CWD,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
        fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
    },
};

/// Whoever may write to a directory that everybody may write to owns what it puts there.
const MODE: &str = "1777";

/// Makes an empty file system for `size` bytes, with a mount for each of `places`. `spare` is a directory of the
/// calling process' own mount namespace where nothing is mounted; it is used and free again when this returns.
///
/// # Errors
/// The kernel's; nothing is left.
pub(crate) fn make(spare: &Path, size: u64, places: usize) -> io::Result<Vec<OwnedFd>> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // A tmpfs of size 0 has no limit.
    fsconfig_set_string(context.as_fd(), "size", size.max(1).to_string())?;
    fsconfig_set_string(context.as_fd(), "mode", MODE)?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let first = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    // Before Linux 6.15 only what is mounted somewhere can be cloned.
    move_mount(first.as_fd(), "", CWD, spare, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let clones = (0..places).map(|_| open_tree(CWD, spare, flags).map_err(io::Error::from)).collect();
    unmount(spare, UnmountFlags::DETACH)?;
    clones
}

/// Puts a mount that was made by [`make`] over the directory `place` of the calling process' mount namespace.
///
/// # Errors
/// The kernel's.
pub(crate) fn attach(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", place, "", flags).map_err(Into::into)
}
