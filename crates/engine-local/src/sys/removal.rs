//! Removing what an instance left, whatever it made of it.
//!
//! The standard library goes down a tree by recursion with a descriptor for each level, and a container can make a tree
//! deeper than any stack. Here directories are lifted to the top one after the other instead: two descriptors, no
//! recursion, however deep it is. Links are not followed.

use std::{
    ffi::{CStr, CString},
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, chmodat, openat, renameat, unlinkat},
    io::Errno,
};

/// Names that are looked at in one go: a directory can hold more than there is memory for.
const BATCH: usize = 4096;
/// What lifted directories are called.
const LIFTED: &str = ".updraft-removed-";

/// A tree on its way out.
struct Removal {
    top: OwnedFd,
    lifted: u64,
}

/// Removes `path` with everything below it; one that is not there is no error.
///
/// # Errors
/// The host's; what could be removed is.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.is_dir() => return fs::remove_file(path),
        Ok(_) => {}
    }
    // Somebody else may be at it as well: what is gone is gone.
    let gone = |error: io::Error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) };
    let remove = || {
        let mut removal = Removal { top: open(rustix::fs::CWD, path)?, lifted: 0 };
        while removal.pass()? {}
        fs::remove_dir(path)
    };
    remove().or_else(gone)
}

// === impl Removal ===

impl Removal {
    /// Removes what is at the top, and lifts there what is below. False when nothing was left to do.
    fn pass(&mut self) -> io::Result<bool> {
        let names = names(self.top.as_fd())?;
        for (name, kind) in &names {
            match kind {
                FileType::Directory => self.flatten(name)?,
                _ => unlink(self.top.as_fd(), name)?,
            }
        }
        Ok(!names.is_empty())
    }

    /// Removes the directory `name` of the top; directories in it come to the top.
    fn flatten(&mut self, name: &CStr) -> io::Result<()> {
        loop {
            match unlinkat(&self.top, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(Errno::NOENT) => return Ok(()),
                done => return done.map_err(Into::into),
            }
            let inner = match open(self.top.as_fd(), name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                opened => opened?,
            };
            for (child, kind) in names(inner.as_fd())? {
                if kind == FileType::Directory {
                    self.lift(inner.as_fd(), &child)?;
                } else {
                    unlink(inner.as_fd(), &child)?;
                }
            }
        }
    }

    fn lift(&mut self, from: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        loop {
            self.lifted += 1;
            let to = CString::new(format!("{LIFTED}{}", self.lifted))?;
            match renameat(from, name, &self.top, &to) {
                // The container had the same idea for a name.
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR | Errno::ISDIR) => {}
                Err(Errno::NOENT) => return Ok(()),
                // To move a directory one has to be able to write to it.
                Err(Errno::ACCESS) => {
                    chmodat(from, name, Mode::RWXU, AtFlags::empty())?;
                    return renameat(from, name, &self.top, &to).map_err(Into::into);
                }
                done => return done.map_err(Into::into),
            }
        }
    }
}

fn unlink(at: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match unlinkat(at, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        done => done.map_err(Into::into),
    }
}

/// A directory, whatever its mode is.
fn open<P: rustix::path::Arg + Copy>(at: BorrowedFd<'_>, path: P) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(at, path, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            chmodat(at, path, Mode::RWXU, AtFlags::empty())?;
            openat(at, path, flags, Mode::empty()).map_err(Into::into)
        }
        opened => opened.map_err(Into::into),
    }
}

/// Some of what is in a directory; nothing when it is empty.
fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<(CString, FileType)>> {
    let mut names = Vec::new();
    // Which reads from the beginning, whoever has read before.
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let found = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(found.st_mode)
            }
            known => known,
        };
        names.push((name.to_owned(), kind));
        if names.len() == BATCH {
            break;
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_tree_deeper_than_any_stack_is_removed() {
        let dir = tempfile::tempdir().expect("a place for the test");
        let root = dir.path().join("root");
        fs::create_dir(&root).expect("a directory");
        let mut at = open(rustix::fs::CWD, root.as_path()).expect("just made");
        for _ in 0..20_000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).expect("made");
            at = open(at.as_fd(), "d").expect("just made");
        }
        drop(at);
        remove_tree(&root).expect("removed");
        assert!(!root.exists());
    }

    #[test]
    fn two_may_remove_the_same_tree() {
        let dir = tempfile::tempdir().expect("a place for the test");
        let root = dir.path().join("root");
        for n in 0..300 {
            fs::create_dir_all(root.join(format!("{n}/a/b"))).expect("directories");
            fs::write(root.join(format!("{n}/a/file")), "").expect("a file");
        }
        let both = [(); 2].map(|()| {
            let root = root.clone();
            std::thread::spawn(move || remove_tree(&root))
        });
        for one in both {
            one.join().expect("no panic").expect("removed");
        }
        assert!(!root.exists());
    }

    #[test]
    fn a_wide_tree_with_links_and_odd_modes_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a place for the test");
        let (root, precious) = (dir.path().join("root"), dir.path().join("precious"));
        fs::create_dir_all(precious.join("inside")).expect("directories");
        for path in ["a/b/c", "a/d", ".updraft-removed-1/x", "e"] {
            fs::create_dir_all(root.join(path)).expect("directories");
        }
        std::os::unix::fs::symlink(&precious, root.join("a/link")).expect("a link");
        std::os::unix::fs::symlink(&precious, root.join("link")).expect("a link");
        fs::write(root.join(".updraft-removed-2"), "a file of that name").expect("a file");
        for n in 0..BATCH + 10 {
            fs::write(root.join("e").join(n.to_string()), "").expect("a file");
        }
        fs::set_permissions(root.join("a/b"), fs::Permissions::from_mode(0o0)).expect("ours");
        remove_tree(&root).expect("removed");
        assert!(!root.exists() && precious.join("inside").exists());
        remove_tree(&root).expect("what is not there is no error");
    }
}
