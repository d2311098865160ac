//! Paths that an image chose: where they lead is looked at before they are used.
//!
//! The links of `/proc` that lead to what a process has open, and not to a path ("magic links"), are
//! the way out of a sandbox. Nothing of the host is open when these functions run; they refuse the
//! links all the same.

use std::{
    fs,
    io::{self, Read as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fstat, mkdirat, openat2},
    io::Errno,
    process::{fchdir, getcwd},
};

/// The text of a file of an image, such as its accounts: at most 4 MiB of it, and nothing of what is not a regular
/// file, which might block or never end.
pub(crate) fn small_text(file: fs::File) -> String {
    const LIMIT: u64 = 4 << 20;
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        return String::new();
    }
    let mut bytes = Vec::new();
    let _ = file.take(LIMIT).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The directory `dir`, made with all directories on the way to it that are missing.
///
/// # Errors
/// The kernel's; also for a path through a magic link.
fn directory(dir: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || openat2(CWD, dir, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS);
    let found = match open() {
        Err(Errno::NOENT) => {
            fs::create_dir_all(dir)?;
            open()
        }
        found => found,
    };
    found.map_err(|error| match error {
        Errno::LOOP => io::Error::other("its path leads through a link of /proc, or in a circle"),
        other => other.into(),
    })
}

/// Makes `dir` the current directory, with all directories on the way to it that are missing.
///
/// # Errors
/// The kernel's; also for a path through a magic link, and for a directory that is
/// not below the root (CVE-2024-21626).
pub(crate) fn enter(dir: &str) -> io::Result<()> {
    fchdir(directory(dir)?)?;
    // What is not below the root is "(unreachable)" to the kernel.
    if getcwd(Vec::new())?.as_bytes().starts_with(b"/") {
        return Ok(());
    }
    Err(io::Error::other("it is outside of the container"))
}

/// Opens what `path` leads to if the directory `root` is taken for the root, by links too.
///
/// # Errors
/// The kernel's.
pub(crate) fn open_below(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    open_where(root, path, flags, BELOW)
}

/// The directory `dir` of the tree in `root`, made with all directories on the way to it that are missing. Links lead
/// where they would if the tree were the root.
///
/// # Errors
/// The kernel's.
pub(crate) fn directory_below(root: BorrowedFd<'_>, dir: &str) -> io::Result<OwnedFd> {
    walk(root, dir, BELOW, |_| Ok(())).map_err(Into::into)
}

/// Where to mount something in the tree in `root`, or else in that of the calling process: as [`directory_below`], with
/// what is made on the way belonging to the user `owner` of the host, and its group, if there is one.
///
/// # Errors
/// The kernel's. Also when links lead to the root itself or to another file system: to `/proc`, `/sys` and `/dev`, over
/// which nothing may lie; or into what is mounted already, which somebody else may be changing meanwhile.
pub(crate) fn mount_point(root: Option<BorrowedFd<'_>>, dir: &str, owner: Option<u32>) -> io::Result<OwnedFd> {
    let give = |made: BorrowedFd<'_>| match owner {
        Some(owner) => {
            let (user, group) = (Uid::from_raw(owner), Gid::from_raw(owner));
            chownat(made, "", Some(user), Some(group), AtFlags::EMPTY_PATH)
        }
        None => Ok(()),
    };
    let (base, resolve) = root.map_or((CWD, ResolveFlags::NO_MAGICLINKS), |root| (root, BELOW));
    let resolve = resolve | ResolveFlags::NO_XDEV;
    let found = walk(base, dir, resolve, give).map_err(|error| match error {
        Errno::XDEV => io::Error::other("its path leads to another file system by a link"),
        Errno::LOOP => io::Error::other("its path leads through a link of /proc, or in a circle"),
        other => other.into(),
    })?;
    let (here, top) = (fstat(&found)?, fstat(open_where(base, "/", OFlags::PATH, resolve)?)?);
    if (here.st_dev, here.st_ino) == (top.st_dev, top.st_ino) {
        return Err(io::Error::other("its path leads to the root directory by a link"));
    }
    Ok(found)
}

/// Links lead where they would if the tree were the root.
const BELOW: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

fn open_where(base: BorrowedFd<'_>, path: &str, flags: OFlags, resolve: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    // Below a root the kernel gives up on `..` when anything on the host is renamed or mounted meanwhile, as happens
    // all the time beside other instances; it does not tell whether that had to do with the path.
    const TRIES: usize = 128;
    let open = || openat2(base, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
    let mut tries = (1..TRIES).map(|_| open());
    tries.find(|found| !matches!(found, Err(Errno::AGAIN))).unwrap_or_else(open)
}

/// Goes to `dir`, from the root on, and makes what is missing, each with `give`.
fn walk(
    base: BorrowedFd<'_>,
    dir: &str,
    resolve: ResolveFlags,
    give: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<()>,
) -> rustix::io::Result<OwnedFd> {
    let open = |path: &str| open_where(base, path, OFlags::PATH | OFlags::DIRECTORY, resolve);
    let mut here = open("/")?;
    let mut path = String::new();
    for part in dir.split('/').filter(|part| !part.is_empty()) {
        path = format!("{path}/{part}");
        here = match open(&path) {
            Err(Errno::NOENT) => {
                mkdirat(&here, part, Mode::from_raw_mode(0o755))?;
                let made = open(&path)?;
                give(made.as_fd())?;
                made
            }
            found => found?,
        };
    }
    Ok(here)
}

/// Makes `dir` of the tree in `root` the current directory, as of [`directory_below`].
///
/// # Errors
/// The kernel's.
pub(crate) fn enter_below(root: BorrowedFd<'_>, dir: &str) -> io::Result<()> {
    fchdir(directory_below(root, dir)?).map_err(Into::into)
}

/// Does the path lead through a magic link, or in a circle? What else is wrong with it, its user finds.
pub(crate) fn is_magic(path: &str) -> bool {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS).is_err_and(|error| error == Errno::LOOP)
}
