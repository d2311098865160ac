//! What a layer hides of the layers below it.
//!
//! overlayfs reads it from marks: devices with the number 0:0 and an extended attribute of directories.
//! Those need privileges, so it is written down as well, for who stacks layers without overlayfs.

use std::{collections::BTreeSet, io, path::Path};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, makedev, mknodat, openat},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::metadata;

/// What a layer hides of the layers below it. Paths are relative to the layer, without links in them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hides {
    /// Directories of which nothing of lower layers is seen; `""` is the root.
    pub opaque: BTreeSet<String>,
    /// Names of lower layers that are gone. The layer itself has nothing there but perhaps a mark.
    pub removed: BTreeSet<String>,
    /// Does the layer carry the marks that overlayfs reads?
    pub marked: bool,
}

// === impl Hides ===

impl Hides {
    /// Of a layer that hides nothing; it has all the marks it needs.
    pub(crate) fn nothing() -> Self {
        Self { marked: true, ..Self::default() }
    }

    /// What was at `path` and below it has been replaced.
    pub(super) fn forget(&mut self, path: &str) {
        let kept =
            |known: &String| !known.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.opaque.retain(kept);
        self.removed.retain(kept);
    }

    /// Does the layer in `dir` hide what lower layers have in its directory `path`?
    pub(crate) fn is_opaque(&self, dir: &Path, path: &str) -> bool {
        self.opaque.contains(path) || metadata::is_opaque(&dir.join(path))
    }

    /// Makes the marks that could not be made when the layer in `dir` was unpacked.
    ///
    /// # Errors
    /// The host's: marks need root, `CAP_SYS_ADMIN` and a file system that takes them.
    pub(crate) fn mark(&mut self, dir: &Path) -> io::Result<()> {
        for path in &self.removed {
            match mknodat(CWD, dir.join(path), FileType::CharacterDevice, Mode::empty(), makedev(0, 0)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for path in &self.opaque {
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            metadata::make_opaque(openat(CWD, dir.join(path), flags, Mode::empty())?)?;
        }
        self.marked = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_replaced_hides_nothing_any_more_and_its_neighbours_do() {
        let set = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect();
        let mut hides = Hides { opaque: set(&["a", "ab"]), removed: set(&["a/b/c", "a/x", "ab/c"]), marked: true };
        hides.forget("a/b");
        assert_eq!(hides.removed, set(&["a/x", "ab/c"]));
        hides.forget("a");
        assert_eq!((hides.opaque, hides.removed), (set(&["ab"]), set(&["ab/c"])));
    }
}
