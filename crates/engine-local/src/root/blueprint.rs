//! What layers look like when they are stacked: which file comes from where.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Component, Path, PathBuf},
};

use rustix::thread::CapabilitySet;
use updraft_oci::{Hides, Rootfs};

/// A stacked image: paths relative to its root, parents first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Blueprint {
    pub(super) entries: BTreeMap<PathBuf, Entry>,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where it is in a layer.
    pub(super) source: PathBuf,
    pub(super) kind: Kind,
}

/// The kinds of files that an image can have; devices are left out when it is unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    /// A file; `Some` is what it is known by where it has several names.
    File(Option<(u64, u64)>),
    Link(PathBuf),
    Pipe,
}

/// Links that are followed before a path is called a circle, as Linux does.
const LINKS: usize = 40;

// === impl Blueprint ===

impl Blueprint {
    /// Stacks the layers of `rootfs`. Reads every directory of them.
    ///
    /// # Errors
    /// The host's; also when a layer was unpacked before it was written down what it hides, and we may
    /// not read the marks.
    pub(crate) fn of(rootfs: &Rootfs) -> io::Result<Self> {
        let mut blueprint = Self::default();
        for (layer, hides) in rootfs.layers.iter().zip(&rootfs.hides) {
            if hides.is_none() && !may_read_marks() {
                return Err(io::Error::other(format!(
                    "'{}' was unpacked by an older version, and without CAP_SYS_ADMIN it cannot be seen what it hides of \
                     the layers below it: remove the directory and its '.json' file to have it unpacked anew",
                    layer.display()
                )));
            }
            blueprint.stack(layer, hides.as_ref())?;
        }
        Ok(blueprint)
    }

    /// Where the file is that a path of the image leads to, through its links; `None` when that is no file.
    pub(crate) fn find(&self, path: &str) -> Option<&Path> {
        let mut open: Vec<PathBuf> = vec![PathBuf::from(path)];
        let (mut place, mut links) = (PathBuf::new(), 0);
        while let Some(next) = open.pop() {
            let mut parts = next.components();
            let Some(part) = parts.next() else { continue };
            let rest = parts.as_path().to_owned();
            if rest.components().next().is_some() {
                open.push(rest);
            }
            match part {
                Component::RootDir | Component::Prefix(_) => place = PathBuf::new(),
                Component::CurDir => {}
                Component::ParentDir => {
                    place.pop();
                }
                Component::Normal(name) => {
                    place.push(name);
                    if let Kind::Link(target) = &self.entries.get(&place)?.kind {
                        links += 1;
                        if links > LINKS {
                            return None;
                        }
                        open.push(target.clone());
                        place.pop();
                    }
                }
            }
        }
        let found = self.entries.get(&place)?;
        matches!(found.kind, Kind::File(_)).then_some(&found.source)
    }

    fn stack(&mut self, layer: &Path, hides: Option<&Hides>) -> io::Result<()> {
        if let Some(hides) = hides {
            hides.removed.iter().for_each(|path| self.clear(Path::new(path)));
            hides.opaque.iter().for_each(|path| self.clear_below(Path::new(path)));
        }
        let mut open = vec![PathBuf::new()];
        while let Some(directory) = open.pop() {
            if hides.is_none() && is_marked_opaque(&layer.join(&directory)) {
                self.clear_below(&directory);
            }
            for entry in fs::read_dir(layer.join(&directory))? {
                let entry = entry?;
                let path = directory.join(entry.file_name());
                let source = entry.path();
                let metadata = fs::symlink_metadata(&source)?;
                let kind = metadata.file_type();
                if kind.is_dir() {
                    let known = self.entries.get(&path).is_some_and(|entry| entry.kind == Kind::Directory);
                    if !known {
                        self.clear(&path);
                    }
                    self.entries.insert(path.clone(), Entry { source, kind: Kind::Directory });
                    open.push(path);
                    continue;
                }
                self.clear(&path);
                let kind = if kind.is_symlink() {
                    Kind::Link(fs::read_link(&source)?)
                } else if kind.is_file() {
                    Kind::File((metadata.nlink() > 1).then(|| (metadata.dev(), metadata.ino())))
                } else if kind.is_fifo() {
                    Kind::Pipe
                } else {
                    // The mark of a name that is gone.
                    continue;
                };
                self.entries.insert(path, Entry { source, kind });
            }
        }
        Ok(())
    }

    fn clear(&mut self, path: &Path) {
        self.entries.remove(path);
        self.clear_below(path);
    }

    fn clear_below(&mut self, path: &Path) {
        let below: Vec<PathBuf> = self
            .entries
            .range(path.to_owned()..)
            .map(|(known, _)| known)
            .take_while(|known| known.starts_with(path))
            .filter(|known| *known != path)
            .cloned()
            .collect();
        for path in below {
            self.entries.remove(&path);
        }
    }
}

fn is_marked_opaque(directory: &Path) -> bool {
    let mut value = [0u8; 1];
    rustix::fs::lgetxattr(directory, "trusted.overlay.opaque", &mut value[..]).is_ok_and(|_| value[0] == b'y')
}

fn may_read_marks() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|own| own.effective.contains(CapabilitySet::SYS_ADMIN))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use updraft_oci::ImageConfig;

    use super::*;

    fn layer(dir: &Path, name: &str, files: &[&str]) -> PathBuf {
        let layer = dir.join(name);
        for file in files {
            let (file, target) = file.split_once(" -> ").unwrap_or((file, ""));
            let path = layer.join(file);
            fs::create_dir_all(path.parent().expect("below the layer")).expect("a directory");
            if target.is_empty() {
                fs::write(&path, name).expect("a file");
            } else {
                std::os::unix::fs::symlink(target, &path).expect("a link");
            }
        }
        layer
    }

    fn hides(opaque: &[&str], removed: &[&str]) -> Option<Hides> {
        let set = |paths: &[&str]| -> BTreeSet<String> { paths.iter().map(|&path| path.to_owned()).collect() };
        Some(Hides { opaque: set(opaque), removed: set(removed), marked: false })
    }

    #[test]
    fn upper_layers_win_and_hide_by_what_is_written_down() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let base = layer(
            dir.path(),
            "base",
            &["etc/a", "etc/b", "opt/x/1", "opt/x/2", "var/gone/deep", "file/below", "etcetera"],
        );
        let top = layer(dir.path(), "top", &["etc/b", "opt/x/3", "file"]);
        let hidden = vec![hides(&[], &[]), hides(&["opt/x"], &["var/gone", "etc/a"])];
        let rootfs = Rootfs { layers: vec![base, top], hides: hidden, config: ImageConfig::default() };
        let blueprint = Blueprint::of(&rootfs).expect("readable");
        let shown: Vec<String> = blueprint.entries.keys().map(|path| path.display().to_string()).collect();
        assert_eq!(shown, ["etc", "etc/b", "etcetera", "file", "opt", "opt/x", "opt/x/3", "var"]);
        assert!(blueprint.find("/etc/b").is_some_and(|file| file.ends_with("top/etc/b")));
    }

    #[test]
    fn paths_are_followed_through_links_and_never_out_or_for_ever() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let files =
            ["bin/app", "run -> bin", "a -> /run/app", "b -> ../../../bin/app", "c -> d", "d -> c", "e -> bin/../a"];
        let rootfs = Rootfs {
            layers: vec![layer(dir.path(), "base", &files)],
            hides: vec![hides(&[], &[])],
            config: ImageConfig::default(),
        };
        let blueprint = Blueprint::of(&rootfs).expect("readable");
        for path in ["/bin/app", "bin/app", "/run/app", "/a", "/b", "/e", "/bin/./app", "/bin/../bin/app"] {
            assert!(blueprint.find(path).is_some_and(|file| file.ends_with("base/bin/app")), "{path}");
        }
        for path in ["/c", "/bin", "/nowhere", "/bin/app/x", ""] {
            assert_eq!(blueprint.find(path), None, "{path}");
        }
    }
}
