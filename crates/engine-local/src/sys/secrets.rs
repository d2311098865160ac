//! Secrets as files in memory: a file system that we alone write, and that containers see read-only.
//!
//! All files are exchanged at once, in the layout of Kubernetes' projected volumes: each name at the top is a link through
//! `..data`, which is itself a link to the directory with the present files and is replaced by a rename. Contents are
//! copied by the kernel, from one file in memory to another: they are never in the memory of the calling process.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fchmod, mkdirat, openat, renameat, sendfile, symlinkat, unlinkat},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
        fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
    },
};

use super::users;
use crate::protocol::SecretFile;

/// What leads to the present files, and what replaces it.
const PRESENT: &str = "..data";
const NEXT: &str = "..next";
/// Room for one file, in bytes: a value has at most 64 KiB. For the present ones, the next ones and those that stay for
/// a while.
const PER_FILE: usize = (2 + OLD) * (68 << 10);
/// How often files may be exchanged while those of before stay.
const OLD: usize = 2;
/// How long they do: whoever is on the way to one of them when they are exchanged is to arrive.
const ARRIVAL: Duration = Duration::from_secs(1);
/// Room for directories and links, in bytes.
const REST: usize = 1 << 20;
/// Directories on the way to files.
const DIRECTORY: Mode = Mode::from_raw_mode(0o755);

/// The files of one volume, for who may change them.
#[derive(Debug)]
pub(crate) struct Shelf {
    /// Our own mount of it.
    root: OwnedFd,
    /// How often they were put there.
    times: u64,
    /// The files of before that are there still, by when they were put there, and since when they are not the present
    /// ones.
    old: VecDeque<(u64, Instant)>,
    /// Files that have to wait until some of those are gone, with what is in them and where.
    next: Option<(Vec<SecretFile>, OwnedFd, u64)>,
}

// === impl Shelf ===

impl Shelf {
    /// Makes a file system with links for the files of `paths` and nothing behind them, with a mount for each of
    /// `places`. `spare` is as for [`super::volumes::make`].
    ///
    /// # Errors
    /// The kernel's; nothing is left.
    pub(crate) fn make(spare: &Path, paths: &[&str], places: usize) -> io::Result<(Self, Vec<OwnedFd>)> {
        let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(context.as_fd(), "size", (REST + PER_FILE * paths.len()).to_string())?;
        fsconfig_set_string(context.as_fd(), "mode", "0755")?;
        // Never on a disk; before Linux 6.4 that cannot be asked for.
        let _ = fsconfig_set_flag(context.as_fd(), "noswap");
        fsconfig_create(context.as_fd())?;
        let attributes =
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let root = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        let tops: BTreeSet<&str> = paths.iter().filter_map(|path| path.split('/').next()).collect();
        for top in tops {
            symlinkat(format!("{PRESENT}/{top}"), &root, top)?;
        }
        // Before Linux 6.15 only what is mounted somewhere can be cloned.
        move_mount(root.as_fd(), "", CWD, spare, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let clone = |_| {
            let clone = open_tree(CWD, spare, flags)?;
            users::restrict(clone.as_fd()).map(|()| clone)
        };
        let clones = (0..places).map(clone).collect::<io::Result<_>>();
        unmount(spare, UnmountFlags::DETACH)?;
        Ok((Self { root, times: 0, old: VecDeque::new(), next: None }, clones?))
    }

    /// From now on the files are these, all of them at once; their contents are in the file in memory that comes along,
    /// one after the other from that place on. Those of before stay for a moment, for whoever is on the way to one of
    /// them; who exchanges files faster than that has the last of them shown by [`Shelf::tidy`].
    ///
    /// # Errors
    /// The kernel's; the files are what they were.
    pub(crate) fn fill(
        &mut self,
        files: &[SecretFile],
        (contents, from): (BorrowedFd<'_>, u64),
        now: Instant,
    ) -> io::Result<()> {
        self.tidy(now)?;
        if self.old.len() >= OLD {
            self.next = Some((files.to_vec(), contents.try_clone_to_owned()?, from));
            return Ok(());
        }
        self.next = None;
        self.exchange(files, (contents, from), now)
    }

    /// Removes the files of before for which nobody can be on the way any more. Is there more to do later?
    ///
    /// # Errors
    /// As of [`Shelf::fill`], of files that had to wait.
    pub(crate) fn tidy(&mut self, now: Instant) -> io::Result<bool> {
        while let Some(&(times, since)) = self.old.front()
            && now.saturating_duration_since(since) >= ARRIVAL
        {
            self.old.pop_front();
            // It is ours alone: what cannot be removed now goes with the file system.
            let _ = remove(self.root.as_fd(), &format!("..{times}"));
        }
        if self.old.len() < OLD
            && let Some((files, contents, from)) = self.next.take()
        {
            self.exchange(&files, (contents.as_fd(), from), now)?;
        }
        Ok(!self.old.is_empty())
    }

    fn exchange(&mut self, files: &[SecretFile], contents: (BorrowedFd<'_>, u64), now: Instant) -> io::Result<()> {
        let (before, next) = (self.times, self.times + 1);
        let name = format!("..{next}");
        let filled = self.write(&name, files, contents).and_then(|()| self.turn_to(&name));
        if filled.is_err() {
            // The next one uses the name.
            let _ = remove(self.root.as_fd(), &name);
            return filled;
        }
        self.times = next;
        if before > 0 {
            self.old.push_back((before, now));
        }
        Ok(())
    }

    fn write(&self, name: &str, files: &[SecretFile], (contents, mut from): (BorrowedFd<'_>, u64)) -> io::Result<()> {
        mkdirat(&self.root, name, DIRECTORY)?;
        for file in files {
            let Some(length) = file.bytes else { continue };
            let path = format!("{name}/{}", file.path);
            for (at, _) in path.match_indices('/').skip(1) {
                match mkdirat(&self.root, &path[..at], DIRECTORY) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let to = openat(&self.root, &*path, flags, Mode::RUSR | Mode::WUSR)?;
            copy(contents, &mut from, (&to, length))?;
            fchmod(&to, Mode::from_raw_mode(file.mode))?;
        }
        Ok(())
    }

    fn turn_to(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.root, NEXT, AtFlags::empty()) {
            // Of a time that went wrong.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        symlinkat(name, &self.root, NEXT)?;
        renameat(&self.root, NEXT, &self.root, PRESENT).map_err(Into::into)
    }
}

fn copy(contents: BorrowedFd<'_>, from: &mut u64, (to, length): (&OwnedFd, u64)) -> io::Result<()> {
    let end = *from + length;
    while *from < end {
        let left = usize::try_from(end - *from).unwrap_or(usize::MAX);
        match sendfile(to, contents, Some(from), left) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Removes the directory `name` with everything in it; only we write here, and there are no links in it.
fn remove(dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = openat(dir, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&inner)? {
        let entry = entry?;
        let name = entry.file_name();
        match (name.to_bytes(), entry.file_type()) {
            (b"." | b"..", _) => {}
            (_, FileType::Directory) => remove(inner.as_fd(), &name.to_string_lossy())?,
            _ => unlinkat(&inner, name, AtFlags::empty())?,
        }
    }
    unlinkat(dir, name, AtFlags::REMOVEDIR).map_err(Into::into)
}
