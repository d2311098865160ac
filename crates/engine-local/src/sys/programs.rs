//! A program of the host that may be seen from inside a container.
#![expect(unsafe_code, reason = "mount_setattr has no safe interface")]

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::CWD,
    mount::{OpenTreeFlags, open_tree},
};

/// The kernel's `struct mount_attr`.
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

const MOUNT_ATTR_RDONLY: u64 = 1;
const MOUNT_ATTR_NOSUID: u64 = 2;
const MOUNT_ATTR_NODEV: u64 = 4;

/// The file `program`, on a read-only mount of its own that is nowhere in the tree.
///
/// A process that executes it by `/proc/self/fd/N` has that mount behind its `/proc/self/exe`, for as
/// long as it lives: whoever gets hold of that link can neither write to the host's file nor change
/// its mode, owner or attributes (the way of CVE-2019-5736), and can read no more than a program. It
/// costs no memory, as a copy would. The file may have been replaced or removed since it was opened.
///
/// # Errors
/// Those of open_tree(2) and mount_setattr(2): no such file, not root, a kernel before 5.12.
pub(crate) fn read_only(program: &Path) -> io::Result<OwnedFd> {
    let tree = open_tree(CWD, program, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    let wanted = Attributes {
        set: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
        clear: 0,
        propagation: libc::MS_PRIVATE,
        user_namespace: 0,
    };
    // SAFETY: the path is a string that ends with a zero byte; the kernel reads `wanted`, whose size
    // is passed, and keeps no pointer.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const wanted,
            size_of::<Attributes>(),
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(tree) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt},
    };

    #[test]
    fn a_file_cannot_be_changed_through_its_read_only_view_even_when_it_has_been_removed() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().expect("a place for the test");
        let path = dir.path().join("program");
        fs::write(&path, "text").expect("a file of the test");
        let host = fs::File::open(&path).expect("just made");
        for removed in [false, true] {
            if removed {
                fs::remove_file(&path).expect("still there");
            }
            // As `/proc/self/exe` is: it leads there even when there is no path any more.
            let link = format!("/proc/self/fd/{}", host.as_raw_fd());
            let view = read_only(Path::new(&link)).expect("root may do it");
            let again = format!("/proc/self/fd/{}", view.as_raw_fd());
            let seen = fs::File::open(&again).expect("it can be read");
            assert_eq!(seen.metadata().expect("open").ino(), host.metadata().expect("open").ino());
            let changes = [
                seen.set_permissions(fs::Permissions::from_mode(0o4755)),
                std::os::unix::fs::fchown(&seen, Some(1), None),
                fs::OpenOptions::new().write(true).open(&again).map(drop),
                seen.set_modified(std::time::UNIX_EPOCH),
            ];
            for change in changes {
                assert_eq!(change.expect_err("read-only").kind(), io::ErrorKind::ReadOnlyFilesystem);
            }
        }
        assert_eq!(host.metadata().expect("open").mode() & 0o7000, 0);
    }
}
