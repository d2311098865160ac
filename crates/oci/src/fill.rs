//! Directories that a layer has only because something lies in them.
//!
//! A tar may hold `tmp/file` without an entry for `tmp`. Unpacked on its own, such a layer has to
//! make the directory up, and overlayfs then shows the made-up owner and mode instead of those of the
//! layer below: `/tmp` would no longer be 1777. Layers are shared between images, so they cannot be
//! mended in place; a last layer with nothing but those directories puts them right.

use std::{
    collections::{BTreeMap, HashSet},
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use crate::unpack::Hides;

/// A layer with what it made up.
#[derive(Debug)]
pub(crate) struct Stratum {
    pub(crate) dir: PathBuf,
    pub(crate) implicit: HashSet<String>,
    pub(crate) hides: Hides,
}

/// What a layer says of a path.
enum Said {
    Nothing,
    /// It is a directory, by an entry of its own or made up.
    Directory {
        implicit: bool,
        hides_lower: bool,
    },
    /// It is something else, or gone, so lower layers do not matter.
    Otherwise,
}

/// The directories to put right, parents first, each with the one to copy owner, mode and time from.
/// `strata` are lowest first.
pub(crate) fn plan(strata: &[Stratum]) -> BTreeMap<String, PathBuf> {
    let mut plan = BTreeMap::new();
    let candidates: HashSet<&String> = strata.iter().skip(1).flat_map(|stratum| &stratum.implicit).collect();
    for path in candidates {
        if !matches!(true_source(strata, path), Some((_, true))) {
            continue;
        }
        // The parents come along: in the last layer they would be made up otherwise.
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        let sources: Vec<_> = ends.map(|end| (&path[..end], true_source(strata, &path[..end]))).collect();
        if sources.iter().all(|(_, source)| source.is_some()) {
            plan.extend(sources.into_iter().filter_map(|(path, source)| Some((path.to_owned(), source?.0))));
        }
    }
    plan
}

/// Makes the layer in the empty directory `into`.
pub(crate) fn build(into: &Path, plan: &BTreeMap<String, PathBuf>) -> io::Result<()> {
    for path in plan.keys() {
        fs::create_dir(into.join(path))?;
    }
    // The innermost first: each directory that is made moves the time of its parent.
    for (path, source) in plan.iter().rev() {
        let (target, metadata) = (into.join(path), fs::symlink_metadata(source)?);
        if rustix::process::geteuid().is_root() {
            chown(&target, Some(metadata.uid()), Some(metadata.gid()))?;
        }
        fs::set_permissions(&target, fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
        fs::File::open(&target)?.set_modified(metadata.modified()?)?;
    }
    Ok(())
}

/// The uppermost directory that has an entry of its own, or the uppermost at all, and whether it lies
/// below one that was made up.
fn true_source(strata: &[Stratum], path: &str) -> Option<(PathBuf, bool)> {
    let mut made_up = None;
    for stratum in strata.iter().rev() {
        match stratum.says(path) {
            Said::Nothing => {}
            Said::Otherwise => break,
            Said::Directory { implicit: false, .. } => return Some((stratum.dir.join(path), made_up.is_some())),
            Said::Directory { hides_lower, .. } => {
                made_up.get_or_insert_with(|| stratum.dir.join(path));
                if hides_lower {
                    break;
                }
            }
        }
    }
    Some((made_up?, false))
}

// === impl Stratum ===

impl Stratum {
    fn says(&self, path: &str) -> Said {
        let mut hides_lower = false;
        for end in path.match_indices('/').map(|(end, _)| end).chain([path.len()]) {
            let place = self.dir.join(&path[..end]);
            match fs::symlink_metadata(&place) {
                Ok(metadata) if metadata.is_dir() => hides_lower |= self.hides.is_opaque(&self.dir, &path[..end]),
                Ok(_) => return Said::Otherwise,
                Err(_) if self.hides.removed.contains(&path[..end]) => return Said::Otherwise,
                // Below a directory that hides the lower layers, what is not here is nowhere.
                Err(_) if hides_lower => return Said::Otherwise,
                Err(_) => return Said::Nothing,
            }
        }
        Said::Directory { implicit: self.implicit.contains(path), hides_lower }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stratum(dir: &Path, name: &str, paths: &[(&str, u32)], implicit: &[&str]) -> Stratum {
        let dir = dir.join(name);
        fs::create_dir(&dir).expect("directory");
        for (path, mode) in paths {
            fs::create_dir(dir.join(path)).expect("directory");
            fs::set_permissions(dir.join(path), fs::Permissions::from_mode(*mode)).expect("mode");
        }
        let implicit = implicit.iter().map(|path| (*path).to_owned()).collect();
        Stratum { dir, implicit, hides: Hides::default() }
    }

    #[test]
    fn a_made_up_directory_gets_the_mode_of_the_one_below() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let strata = [
            stratum(dir.path(), "a", &[("tmp", 0o1777), ("var", 0o711), ("var/x", 0o700), ("own", 0o700)], &[]),
            stratum(
                dir.path(),
                "b",
                &[("tmp", 0o755), ("var", 0o755), ("new", 0o755), ("own", 0o755)],
                &["tmp", "var", "new"],
            ),
            stratum(dir.path(), "c", &[("var", 0o755), ("var/x", 0o755)], &["var", "var/x"]),
        ];
        let plan = plan(&strata);
        assert_eq!(plan.keys().collect::<Vec<_>>(), ["tmp", "var", "var/x"]);
        let into = dir.path().join("fill");
        fs::create_dir(&into).expect("directory");
        build(&into, &plan).expect("built");
        let mode = |path: &str| fs::metadata(into.join(path)).expect(path).mode() & 0o7777;
        assert_eq!((mode("tmp"), mode("var"), mode("var/x")), (0o1777, 0o711, 0o700));
    }

    #[test]
    fn a_directory_that_is_gone_or_new_above_is_left_alone() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let strata = [
            stratum(dir.path(), "a", &[("gone", 0o700), ("again", 0o700)], &[]),
            stratum(dir.path(), "b", &[("gone", 0o755), ("again", 0o755)], &["gone", "again"]),
            stratum(dir.path(), "c", &[("again", 0o711)], &[]),
        ];
        // A file instead of a directory does what a whiteout does.
        fs::write(strata[2].dir.join("gone"), "").expect("file");
        assert!(plan(&strata).is_empty());
    }
}
