//! Putting entries into the layer's directory.
//!
//! What an entry's parents are is asked of the kernel each time, with `RESOLVE_IN_ROOT`: a symbolic
//! link of the layer leads to where it leads inside the layer, as it would in the container, and
//! nothing leads out. The last component is never followed.

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, linkat, makedev, mkdirat, mkfifoat, mknodat, openat,
        openat2, readlinkat, statat, symlinkat, unlinkat,
    },
    io::Errno,
};

use super::{
    Hides, UnpackError, UnpackLimits, Unpacked,
    metadata::{self, Owner},
    tar::{Entry, Kind, Meta, TarReader},
};

/// The mark of a deleted name, from AUFS; the OCI specification kept it.
const WHITEOUT: &str = ".wh.";
/// The mark of a directory that starts anew.
const OPAQUE: &str = ".wh..wh..opq";
/// More warnings than this say nothing new.
const MAX_WARNINGS: usize = 20;
const BUFFER: usize = 128 << 10;

pub(super) struct Placer {
    root: OwnedFd,
    /// The root's path for `/proc/self/fd`, to measure how deep a symbolic link led.
    root_path: Vec<u8>,
    limits: UnpackLimits,
    owner: Owner,
    /// The parent of the entry before: most entries share it. Not kept after a removal, which may
    /// have changed where a path leads.
    last_parent: Option<(String, OwnedFd)>,
    removed: bool,
    /// Applied at the end: a directory may forbid what still has to be put in it, and each entry in
    /// it moves its time.
    directories: HashMap<String, Meta>,
    implicit: BTreeSet<String>,
    /// What is hidden of lower layers, by real paths. The marks that overlayfs reads say the same, where
    /// the host lets us make them.
    hides: Hides,
    warnings: Vec<String>,
    buffer: Vec<u8>,
}

/// What was at an entry's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Directory,
    Whiteout,
    Other,
}

// === impl Placer ===

impl Placer {
    pub(super) fn open(dir: &Path, limits: &UnpackLimits) -> Result<Self, UnpackError> {
        let root = openat(CWD, dir, OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
            .map_err(host("open the layer's directory"))?;
        let root_path = path_of(&root)?;
        let owner = if rustix::process::geteuid().is_root() { Owner::Keep } else { Owner::Ours };
        let root_meta = Meta { mode: 0o755, ..Meta::default() };
        Ok(Self {
            root,
            root_path,
            limits: *limits,
            owner,
            last_parent: None,
            removed: false,
            directories: HashMap::from([(String::new(), root_meta)]),
            implicit: BTreeSet::new(),
            hides: Hides::nothing(),
            warnings: Vec::new(),
            buffer: vec![0; BUFFER],
        })
    }

    pub(super) fn place<R: Read>(&mut self, entry: &Entry, reader: &mut TarReader<R>) -> Result<(), UnpackError> {
        let (parent_path, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
        if name.is_empty() {
            return self.place_root(entry);
        }
        let parent = self.parent(parent_path)?;
        self.removed = false;
        let result = if name.starts_with(WHITEOUT) {
            self.whiteout(&parent, name, &entry.path)
        } else {
            self.place_in(&parent, name, entry, reader)
        };
        if !self.removed {
            self.last_parent = Some((parent_path.to_owned(), parent));
        }
        result
    }

    pub(super) fn finish(mut self) -> Result<Unpacked, UnpackError> {
        let mut directories: Vec<(String, Meta)> = std::mem::take(&mut self.directories).into_iter().collect();
        // The innermost first: afterwards an unprivileged server may not be let in any more.
        directories.sort_by(|(a, _), (b, _)| b.cmp(a));
        for (path, meta) in directories {
            let Ok(directory) = self.open_dir(&path, ResolveFlags::IN_ROOT) else {
                // Replaced by a later entry.
                continue;
            };
            let refused =
                metadata::apply(&directory, &meta, self.owner).map_err(host_at("set attributes of", &path))?;
            self.warn_all(&path, refused);
        }
        rustix::fs::syncfs(&self.root).map_err(host("sync the layer"))?;
        let implicit = self.implicit.into_iter().collect();
        Ok(Unpacked { implicit, hides: self.hides, warnings: self.warnings, ..Unpacked::default() })
    }

    fn place_root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if entry.kind != Kind::Directory {
            return Err(UnpackError::layer("it has an entry for the root that is no directory"));
        }
        self.directories.insert(String::new(), entry.meta.clone());
        Ok(())
    }

    fn place_in<R: Read>(
        &mut self,
        parent: &OwnedFd,
        name: &str,
        entry: &Entry,
        reader: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        let path = &entry.path;
        match &entry.kind {
            Kind::Device => {
                self.warn(format!("'{path}' is a device and was left out"));
                return Ok(());
            }
            Kind::Directory => return self.directory(parent, name, entry),
            // Linking a name to itself would first remove it.
            Kind::HardLink(target) if target == path => return Ok(()),
            _ => {}
        }
        self.clear(parent, name, path)?;
        match &entry.kind {
            Kind::File { .. } => return self.file(parent, name, entry, reader),
            Kind::HardLink(target) => return self.hard_link(parent, name, path, target),
            Kind::Symlink(target) => symlinkat(target.as_str(), parent, name).map_err(host_at("link", path))?,
            Kind::Fifo => {
                mkfifoat(parent, name, Mode::from_raw_mode(0o600)).map_err(host_at("make pipe", path))?;
                let mode = Mode::from_raw_mode(entry.meta.mode);
                rustix::fs::chmodat(parent, name, mode, AtFlags::empty()).map_err(host_at("set mode of", path))?;
            }
            Kind::Directory | Kind::Device => {}
        }
        metadata::apply_at(parent, name, &entry.meta, self.owner).map_err(host_at("set attributes of", path))
    }

    fn directory(&mut self, parent: &OwnedFd, name: &str, entry: &Entry) -> Result<(), UnpackError> {
        let path = &entry.path;
        if self.look(parent, name, path)? != Before::Directory {
            let before = self.clear(parent, name, path)?;
            mkdirat(parent, name, Mode::RWXU).map_err(host_at("create directory", path))?;
            if before == Before::Whiteout {
                self.hide_lower(parent, name, path)?;
            }
        }
        self.implicit.remove(path);
        self.directories.insert(path.clone(), entry.meta.clone());
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        parent: &OwnedFd,
        name: &str,
        entry: &Entry,
        reader: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        let path = &entry.path;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(parent, name, flags, Mode::RUSR | Mode::WUSR).map_err(host_at("create", path))?;
        let mut file = File::from(file);
        loop {
            let read = reader.read_content(&mut self.buffer)?;
            if read == 0 {
                break;
            }
            file.write_all(&self.buffer[..read]).map_err(|error| host_io(format!("write '{path}'"), error))?;
        }
        let refused = metadata::apply(&file, &entry.meta, self.owner).map_err(host_at("set attributes of", path))?;
        self.warn_all(path, refused);
        Ok(())
    }

    /// A hard link shares a file of this very layer; there is no way to name another one.
    fn hard_link(&mut self, parent: &OwnedFd, name: &str, path: &str, target: &str) -> Result<(), UnpackError> {
        let broken = |why: &str| UnpackError::Layer(format!("'{path}' is a hard link to '{target}', {why}"));
        let (target_parent, target_name) = target.rsplit_once('/').unwrap_or(("", target));
        if target_name.is_empty() {
            return Err(broken("which is a directory"));
        }
        let from = match self.open_dir(target_parent, ResolveFlags::IN_ROOT) {
            Ok(from) => from,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(broken("which the layer does not hold")),
            Err(error) => return Err(host_at("open", target_parent)(error)),
        };
        match linkat(&from, target_name, parent, name, AtFlags::empty()) {
            Ok(()) => Ok(()),
            Err(Errno::NOENT) => Err(broken("which the layer does not hold")),
            Err(Errno::PERM) => Err(broken("which cannot be linked to")),
            Err(error) => Err(host_at("link", path)(error)),
        }
    }

    /// Whiteouts only speak of lower layers: what this layer itself has under the name stays.
    fn whiteout(&mut self, parent: &OwnedFd, name: &str, path: &str) -> Result<(), UnpackError> {
        if name == OPAQUE {
            return self.make_opaque(parent, path);
        }
        let hidden = &name[WHITEOUT.len()..];
        if hidden.starts_with(WHITEOUT) {
            // AUFS kept its own books under such names.
            return Ok(());
        }
        if matches!(hidden, "" | "." | "..") {
            return Err(UnpackError::Layer(format!("'{path}' hides no name")));
        }
        match self.look(parent, hidden, path)? {
            Before::Nothing => {
                let real = self.real_path(parent, hidden)?;
                self.hides.removed.insert(real);
                let made = mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), makedev(0, 0));
                self.marked(made).map_err(host_at("hide with", path))
            }
            Before::Directory => self.hide_lower(parent, hidden, path),
            Before::Whiteout | Before::Other => Ok(()),
        }
    }

    fn hide_lower(&mut self, parent: &OwnedFd, name: &str, path: &str) -> Result<(), UnpackError> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(parent, name, flags, Mode::empty()).map_err(host_at("open", path))?;
        self.make_opaque(&directory, path)
    }

    fn make_opaque(&mut self, directory: &OwnedFd, path: &str) -> Result<(), UnpackError> {
        let real = self.real_path(directory, "")?;
        self.hides.opaque.insert(real);
        let made = metadata::make_opaque(directory);
        self.marked(made).map_err(host_at("hide what is below", path))
    }

    /// Marks are for overlayfs. Where we may not make them (no `CAP_SYS_ADMIN`, or a file system that is
    /// an overlay itself) there is no overlayfs for us either, and what is written down has to do.
    fn marked(&mut self, made: rustix::io::Result<()>) -> rustix::io::Result<()> {
        match made {
            Err(Errno::PERM | Errno::NOTSUP) => {
                self.hides.marked = false;
                Ok(())
            }
            other => other,
        }
    }

    /// Where `name` of an open directory lies in the layer, without any symbolic link.
    fn real_path(&self, directory: &OwnedFd, name: &str) -> Result<String, UnpackError> {
        let real = path_of(directory)?;
        let below = real.get(self.root_path.len()..).unwrap_or_default();
        let below = String::from_utf8_lossy(below);
        let below = below.trim_start_matches('/');
        Ok(match (below, name) {
            ("", name) => name.to_owned(),
            (below, "") => below.to_owned(),
            (below, name) => format!("{below}/{name}"),
        })
    }

    fn look(&self, parent: &OwnedFd, name: &str, path: &str) -> Result<Before, UnpackError> {
        match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => Before::Directory,
                FileType::CharacterDevice if stat.st_rdev == makedev(0, 0) => Before::Whiteout,
                _ => Before::Other,
            }),
            Err(Errno::NOENT) if !self.hides.marked && !self.hides.removed.is_empty() => {
                let real = self.real_path(parent, name)?;
                Ok(if self.hides.removed.contains(&real) { Before::Whiteout } else { Before::Nothing })
            }
            Err(Errno::NOENT) => Ok(Before::Nothing),
            Err(error) => Err(host_at("look at", path)(error)),
        }
    }

    /// Removes what an earlier entry of the layer put here: the later one wins.
    fn clear(&mut self, parent: &OwnedFd, name: &str, path: &str) -> Result<Before, UnpackError> {
        let before = self.look(parent, name, path)?;
        match before {
            Before::Nothing => return Ok(before),
            Before::Directory => {
                let real = self.real_path(parent, name)?;
                self.hides.forget(&real);
                remove_tree(parent, name).map_err(host_at("replace", path))?;
            }
            Before::Whiteout => self.unhide(parent, name, path)?,
            Before::Other => unlinkat(parent, name, AtFlags::empty()).map_err(host_at("replace", path))?,
        }
        self.removed = true;
        let below = format!("{path}/");
        self.implicit.retain(|directory| directory != path && !directory.starts_with(&below));
        Ok(before)
    }

    fn unhide(&mut self, parent: &OwnedFd, name: &str, path: &str) -> Result<(), UnpackError> {
        let real = self.real_path(parent, name)?;
        self.hides.forget(&real);
        match unlinkat(parent, name, AtFlags::empty()) {
            Err(Errno::NOENT) if !self.hides.marked => Ok(()),
            other => other.map_err(host_at("replace", path)),
        }
    }

    /// The directory an entry goes into, made when nothing has made it.
    fn parent(&mut self, path: &str) -> Result<OwnedFd, UnpackError> {
        if let Some((last, parent)) = self.last_parent.take()
            && last == path
        {
            return Ok(parent);
        }
        match self.open_dir(path, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS) {
            Ok(parent) => Ok(parent),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => self.make_parent(path),
            Err(error) => Err(host_at("open", path)(error)),
        }
    }

    fn make_parent(&mut self, path: &str) -> Result<OwnedFd, UnpackError> {
        let mut parent = self.open_dir("", ResolveFlags::IN_ROOT).map_err(host("open the layer's directory"))?;
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        let mut start = 0;
        for end in ends {
            let (prefix, name) = (&path[..end], &path[start..end]);
            start = end + 1;
            parent = match self.open_dir(prefix, ResolveFlags::IN_ROOT) {
                Ok(directory) => directory,
                Err(Errno::NOENT | Errno::NOTDIR) => self.make_directory(&parent, name, prefix)?,
                Err(Errno::LOOP) => return Err(UnpackError::Layer(format!("'{prefix}' is a loop of symbolic links"))),
                Err(error) => return Err(host_at("open", prefix)(error)),
            };
        }
        // Through symbolic links a short path can lead deep, and again, and again.
        let real = path_of(&parent)?;
        let depth = real.get(self.root_path.len()..).unwrap_or_default().iter().filter(|byte| **byte == b'/').count();
        if depth > self.limits.depth {
            return Err(UnpackError::Layer(format!("a path leads deeper than {} directories", self.limits.depth)));
        }
        Ok(parent)
    }

    fn make_directory(&mut self, parent: &OwnedFd, name: &str, path: &str) -> Result<OwnedFd, UnpackError> {
        let before = self.look(parent, name, path)?;
        match before {
            Before::Nothing => {}
            Before::Whiteout => self.unhide(parent, name, path)?,
            Before::Directory | Before::Other => {
                return Err(UnpackError::Layer(format!("'{path}' has entries below it but is no directory")));
            }
        }
        mkdirat(parent, name, Mode::RWXU).map_err(host_at("create directory", path))?;
        if before == Before::Whiteout {
            self.hide_lower(parent, name, path)?;
        }
        self.implicit.insert(path.to_owned());
        self.directories.insert(path.to_owned(), Meta { mode: 0o755, ..Meta::default() });
        self.open_dir(path, ResolveFlags::IN_ROOT).map_err(host_at("open", path))
    }

    fn open_dir(&self, path: &str, resolve: ResolveFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { "." } else { path };
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(&self.root, path, flags, Mode::empty(), resolve | ResolveFlags::NO_MAGICLINKS)
    }

    fn warn_all(&mut self, path: &str, texts: Vec<String>) {
        for text in texts {
            self.warn(format!("'{path}': {text}"));
        }
    }

    fn warn(&mut self, text: String) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(text);
        }
    }
}

/// Removes a directory with everything in it, following nothing. As deep as paths may be, no deeper.
fn remove_tree(parent: impl AsFd, name: &str) -> rustix::io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(&parent, name, flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&directory)? {
        let entry = entry?;
        // Every name here came from an entry, and those are UTF-8.
        let Ok(child) = entry.file_name().to_str() else { continue };
        if matches!(child, "." | "..") {
            continue;
        }
        let stat = statat(&directory, child, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            remove_tree(&directory, child)?;
        } else {
            unlinkat(&directory, child, AtFlags::empty())?;
        }
    }
    unlinkat(&parent, name, AtFlags::REMOVEDIR)
}

fn path_of(directory: &OwnedFd) -> Result<Vec<u8>, UnpackError> {
    use std::os::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let path = readlinkat(CWD, link, Vec::new()).map_err(host("find the layer's directory"))?;
    Ok(path.into_bytes())
}

fn host(operation: &'static str) -> impl Fn(Errno) -> UnpackError {
    move |error| host_io(operation.to_owned(), error.into())
}

fn host_at<'a>(verb: &'static str, path: &'a str) -> impl Fn(Errno) -> UnpackError + 'a {
    move |error| host_io(format!("{verb} '{path}'"), error.into())
}

fn host_io(operation: String, source: io::Error) -> UnpackError {
    UnpackError::Host { operation, source }
}
