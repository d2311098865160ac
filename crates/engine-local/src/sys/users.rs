//! User namespaces, and mounts that show files with the users of one.
#![expect(unsafe_code, reason = "a process of raw system calls, and mount_setattr, have no safe interface")]

use std::{
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags},
    io::Errno,
    mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount, move_mount, open_tree},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, WaitOptions, waitpid},
};

use crate::sandbox::users::COUNT;

/// A user namespace whose users are the host's from `first` on. It belongs to the first of them, so that what the
/// kernel counts per user is counted for that one. `proc` is where the processes of the caller's PID namespace are
/// seen.
///
/// # Errors
/// The kernel's.
pub(crate) fn namespace(first: u32, proc: &Path) -> io::Result<OwnedFd> {
    let (ready, says_ready) = pipe_with(PipeFlags::CLOEXEC)?;
    let (waits, stays) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: without CLONE_VM the child goes on with a copy of memory and stack; it makes nothing but system calls, so
    // that neither other threads nor what they had locked matter to it, and never returns.
    let pid = unsafe { libc::syscall(libc::SYS_clone, i64::from(libc::SIGCHLD), 0usize, 0usize, 0usize, 0usize) };
    match pid {
        -1 => return Err(io::Error::last_os_error()),
        0 => found(first, (says_ready.as_raw_fd(), waits.as_raw_fd(), stays.as_raw_fd())),
        _ => drop((says_ready, waits)),
    }
    let made = describe(first, &proc.join(pid.to_string()), &ready);
    // Said, and not only closed: a process that another thread forks meanwhile has this end of the pipe, too, and may
    // be waiting for ours in the same way.
    let _ = rustix::io::write(&stays, &[1]);
    drop(stays);
    match ended(pid) {
        Some(0) | None => made,
        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// What its maker does to a namespace: who is who, and a descriptor.
fn describe(first: u32, process: &Path, ready: &OwnedFd) -> io::Result<OwnedFd> {
    let mut byte = [0];
    if rustix::io::retry_on_intr(|| rustix::io::read(ready, &mut byte))? == 0 {
        return Err(io::Error::other("it ended early"));
    }
    let map = format!("0 {first} {COUNT}\n");
    fs::write(process.join("uid_map"), &map)?;
    fs::write(process.join("gid_map"), &map)?;
    rustix::fs::open(process.join("ns/user"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(Into::into)
}

/// The child: becomes the user `first`, makes the namespace as that one, and stays until nobody needs it.
fn found(first: u32, (says_ready, waits, stays): (i32, i32, i32)) -> ! {
    const SET_KEEPCAPS: i32 = 8;
    const VERSION_3: u32 = 0x2008_0522;
    const SYS_ADMIN: u32 = 1 << 21;
    let header = [VERSION_3, 0];
    let sets = [SYS_ADMIN, SYS_ADMIN, 0, 0, 0, 0];
    let byte = [1u8];
    // SAFETY: system calls on numbers and on arrays that live until the end of the process, in a process with a single
    // thread; nothing of Rust's runs any more.
    unsafe {
        let call = |result: i64| {
            if result < 0 {
                libc::_exit(*libc::__errno_location());
            }
        };
        libc::close(stays);
        call(libc::syscall(libc::SYS_prctl, SET_KEEPCAPS, 1, 0, 0, 0));
        call(libc::syscall(libc::SYS_setresgid, first, first, first));
        call(libc::syscall(libc::SYS_setresuid, first, first, first));
        // Hosts that forbid user namespaces to others allow them to who has this capability.
        call(libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()));
        call(libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER));
        call(libc::syscall(libc::SYS_write, says_ready, byte.as_ptr(), 1));
        let mut end = [0u8];
        libc::syscall(libc::SYS_read, waits, end.as_mut_ptr(), 1);
        libc::_exit(0)
    }
}

/// From now on the calling thread makes files as this user and group, with no more rights to files than they have; 0 is
/// root, and has all again.
///
/// # Errors
/// When the kernel did not do it, of which it does not say why.
pub(crate) fn author(user: u32) -> io::Result<()> {
    for call in [libc::SYS_setfsgid, libc::SYS_setfsuid] {
        // SAFETY: takes a number and touches no memory. What it returns is who it was before; asked again with a number
        // that cannot be, it changes nothing.
        let now = unsafe {
            libc::syscall(call, user);
            libc::syscall(call, u32::MAX)
        };
        if u32::try_from(now) != Ok(user) {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
    }
    Ok(())
}

/// What may be done with the files of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// They are read.
    ReadOnly,
    /// Whatever their rights allow.
    Full,
}

/// Puts the tree at `source` to the directory `target`, read-only, with its files' users being those of `users`.
///
/// # Errors
/// The kernel's; `InvalidInput` for a file system that cannot do that.
pub(crate) fn show(source: &Path, target: &Path, users: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, source, flags)?;
    translate(tree.as_fd(), users, Access::ReadOnly)?;
    move_mount(&tree, c"", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(Into::into)
}

/// From now on the files of a mount that is in no tree yet are those of `users`: what belongs to the user 0 belongs to
/// their first one, and so on.
///
/// # Errors
/// As of [`show`].
pub(crate) fn translate(mount: BorrowedFd<'_>, users: BorrowedFd<'_>, access: Access) -> io::Result<()> {
    /// `struct mount_attr`.
    #[repr(C)]
    struct Attributes {
        set: u64,
        clear: u64,
        propagation: u64,
        users: u64,
    }
    const READ_ONLY: u64 = 0x1;
    const ID_MAP: u64 = 0x10_0000;
    let set = if access == Access::ReadOnly { READ_ONLY | ID_MAP } else { ID_MAP };
    let users = users.as_raw_fd().unsigned_abs().into();
    let attributes = Attributes { set, clear: 0, propagation: 0, users };
    // SAFETY: the empty path stands for the descriptor, which is open; `attributes` outlives the call and has the size
    // that is passed.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The exit code of a child, when it has ended by itself.
fn ended(pid: i64) -> Option<i32> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?);
    let ended = rustix::io::retry_on_intr(|| waitpid(pid, WaitOptions::empty())).ok()??;
    ended.1.exit_status()
}

/// Can the files of `dir` be shown with the users of a namespace, and be the lower side of an overlay? Tried in
/// `place`, an empty directory, in the mount namespace of the caller, which is of no other use afterwards.
///
/// # Errors
/// What is in the way, as a sentence without an end.
pub(crate) fn try_out(dir: &Path, place: &Path, first: u32) -> Result<(), String> {
    let users = namespace(first, Path::new("/proc")).map_err(|error| format!("no user namespace: {error}"))?;
    let mounted = || -> rustix::io::Result<()> {
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("tmpfs", place, "tmpfs", flags, c"mode=0755,size=64k")?;
        for name in ["lower", "upper", "work", "root"] {
            rustix::fs::mkdir(place.join(name), Mode::RWXU)?;
        }
        rustix::process::chdir(place)
    };
    mounted().map_err(|error| format!("nothing can be mounted: {error}"))?;
    // Volumes in memory.
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let in_memory = open_tree(CWD, ".", flags).map_err(io::Error::from);
    in_memory.and_then(|tree| translate(tree.as_fd(), users.as_fd(), Access::Full)).map_err(|error| {
        format!("file systems in memory cannot show files with other users (Linux before 6.3): {error}")
    })?;
    show(dir, Path::new("lower"), users.as_fd()).map_err(|error| {
        format!("the file system of '{}' cannot show files with other users: {error}", dir.display())
    })?;
    let options = c"lowerdir=lower,upperdir=upper,workdir=work";
    let stacked = mount("overlay", "root", "overlay", MountFlags::NOSUID | MountFlags::NODEV, options);
    stacked.map_err(|error: Errno| format!("overlays do not take such files (Linux before 5.19): {error}"))
}
