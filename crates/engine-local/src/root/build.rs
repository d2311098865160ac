//! Making a copy of an image.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, lchown, symlink},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, FileType, Mode, makedev, mkfifoat, mknodat};

use super::blueprint::{Blueprint, Kind};
use crate::{
    sandbox::{isolation::Isolation, mounts::DEVICES, user::Identity},
    sys::removal::remove_tree,
};

/// What comes to the image's own files.
#[derive(Debug)]
pub(crate) struct Furnishing<'a> {
    /// For which isolation.
    pub(crate) isolation: Isolation,
    /// Who is going to run there.
    pub(crate) identity: &'a Identity,
    /// Files of `/etc` that the host provides: name, contents.
    pub(crate) etc: &'a [(String, String)],
    /// How much memory the instance may use, in bytes.
    pub(crate) memory_bytes: u64,
}

/// Makes the copy in `into`, which must not exist, in a directory that nobody else can enter.
///
/// Files are copied, which file systems that can (btrfs, XFS) do by sharing blocks. For an instance that does not run
/// as root, those that it can neither write nor make writable are hard links to the unpacked layer.
///
/// # Errors
/// The host's, with the path. What has been made stays, to be removed by the caller.
pub(crate) fn build(blueprint: &Blueprint, into: &Path, furnishing: &Furnishing<'_>) -> io::Result<()> {
    private_dir(into)?;
    let is_root = rustix::process::geteuid().is_root();
    let mut names: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut directories = Vec::new();
    for (path, entry) in &blueprint.entries {
        if furnishing.isolation == Isolation::Chroot && OURS.iter().any(|ours| path.starts_with(ours)) {
            continue;
        }
        let target = into.join(path);
        let done = match &entry.kind {
            Kind::Directory => {
                directories.push((target.clone(), &entry.source));
                private_dir(&target)
            }
            Kind::File(known) => match known.and_then(|known| names.get(&known)) {
                Some(first) => fs::hard_link(first, &target),
                None => {
                    names.extend(known.map(|known| (known, target.clone())));
                    file(&entry.source, &target, furnishing.identity)
                }
            },
            Kind::Link(to) => symlink(to, &target).and_then(|()| own(&entry.source, &target)),
            Kind::Pipe => pipe(&target, 0o600).and_then(|()| attributes(&entry.source, &target)),
        };
        done.map_err(|error| named(&target, &error))?;
    }
    if furnishing.isolation == Isolation::Chroot {
        furnish(into, furnishing)?;
    }
    // The innermost first: a directory may forbid what still had to be put in it.
    for (target, source) in directories.into_iter().rev() {
        attributes(source, &target).map_err(|error| named(&target, &error))?;
    }
    fs::set_permissions(into, fs::Permissions::from_mode(0o755))?;
    if !is_root || furnishing.isolation == Isolation::Chroot {
        return Ok(());
    }
    // Where there is no root of its own the working directory is all that it has.
    chown(into, Some(furnishing.identity.uid), Some(furnishing.identity.gid))
}

fn file(source: &Path, target: &Path, identity: &Identity) -> io::Result<()> {
    let metadata = fs::symlink_metadata(source)?;
    if is_out_of_reach(&metadata, identity) && fs::hard_link(source, target).is_ok() {
        return Ok(());
    }
    let mut from = fs::File::open(source)?;
    let mut to = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
    updraft_oci::check_space(&to, metadata.len())?;
    // copy_file_range(2): within one file system that can, no block is copied.
    io::copy(&mut from, &mut to)?;
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::fchown(&to, Some(metadata.uid()), Some(metadata.gid()))?;
    }
    to.set_permissions(fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    // Interpreters tell by it whether what they compiled is still of this source.
    to.set_modified(metadata.modified()?)
}

/// Can the user neither write to the file nor change its mode? Then all its instances may share it. An unprivileged
/// user without capabilities, who cannot gain any (`no_new_privs`), is judged by owner and mode alone.
fn is_out_of_reach(metadata: &fs::Metadata, identity: &Identity) -> bool {
    const WRITABLE: u32 = 0o022;
    // A server that is not root runs everything as itself.
    let by_root = rustix::process::geteuid().is_root();
    by_root && identity.uid != 0 && metadata.uid() != identity.uid && metadata.mode() & WRITABLE == 0
}

/// What an image has in these places, and below, is not copied: a mount would cover it.
const OURS: [&str; 3] = ["dev", "proc", "sys"];

/// What a root needs that is not in the image, as far as it can be made without mounting anything.
fn furnish(root: &Path, furnishing: &Furnishing<'_>) -> io::Result<()> {
    for (name, mode) in [("dev", 0o755), ("proc", 0o555), ("sys", 0o555)] {
        let path = root.join(name);
        private_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    let etc = root.join("etc");
    if !fs::symlink_metadata(&etc).is_ok_and(|found| found.is_dir()) {
        remove(&etc)?;
        private_dir(&etc)?;
        fs::set_permissions(&etc, fs::Permissions::from_mode(0o755))?;
    }
    for (name, text) in furnishing.etc {
        text_file(&etc.join(name), text)?;
    }
    let tmp = root.join("tmp");
    if fs::symlink_metadata(&tmp).is_err() {
        private_dir(&tmp)?;
        fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777))?;
    }
    devices(root)?;
    process_files(&root.join("proc"), furnishing.memory_bytes)
}

fn devices(root: &Path) -> io::Result<()> {
    for (path, major, minor) in DEVICES {
        let path = root.join(path.trim_start_matches('/'));
        let mode = Mode::from_raw_mode(0o666);
        let made = mknodat(CWD, &path, FileType::CharacterDevice, mode, makedev(major, minor));
        // A file system may hold devices and let nobody open them. A terminal cannot be opened without one.
        let works = made.is_ok() && (path.ends_with("tty") || fs::File::open(&path).is_ok());
        if works {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
            continue;
        }
        remove(&path)?;
        // What is written there is kept, but only until the instance ends. The others have no substitute: a file of
        // random numbers that repeat would be worse than none.
        if path.ends_with("null") {
            text_file(&path, "")?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        }
    }
    let dev = root.join("dev");
    symlink("null", dev.join("stdin"))?;
    for name in ["stdout", "stderr"] {
        pipe(&dev.join(name), 0o600)?;
    }
    for (name, mode) in [("shm", 0o1777), ("mqueue", 0o1777), ("pts", 0o755)] {
        private_dir(&dev.join(name))?;
        fs::set_permissions(dev.join(name), fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// What programs read of `/proc` to find out how large the machine is: as it was at the start.
const PROCESS_FILES: [&str; 7] =
    ["cpuinfo", "stat", "version", "filesystems", "sys/kernel/osrelease", "sys/kernel/ostype", "sys/kernel/hostname"];

fn process_files(proc: &Path, memory_bytes: u64) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(proc.join("sys/kernel"))?;
    for name in PROCESS_FILES {
        // One that the host hides is hidden here, too.
        if let Ok(text) = fs::read_to_string(Path::new("/proc").join(name)) {
            text_file(&proc.join(name), &text)?;
        }
    }
    let total = memory_bytes >> 10;
    let text = format!("MemTotal: {total:>15} kB\nMemFree: {total:>16} kB\nMemAvailable: {total:>11} kB\n");
    text_file(&proc.join("meminfo"), &text)
}

fn private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
}

fn text_file(path: &Path, text: &str) -> io::Result<()> {
    remove(path)?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

fn pipe(path: &Path, mode: u32) -> io::Result<()> {
    mkfifoat(CWD, path, Mode::from_raw_mode(mode)).map_err(Into::into)
}

/// Whatever is at this path; links are not followed.
fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => remove_tree(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

fn attributes(source: &Path, target: &Path) -> io::Result<()> {
    own(source, target)?;
    fs::set_permissions(target, fs::Permissions::from_mode(fs::symlink_metadata(source)?.mode() & 0o7777))
}

fn own(source: &Path, target: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let metadata = fs::symlink_metadata(source)?;
    lchown(target, Some(metadata.uid()), Some(metadata.gid()))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("copy the image to '{}': {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::root::blueprint::Entry;

    fn identity(uid: u32) -> Identity {
        Identity { uid, gid: uid, groups: Vec::new(), home: "/".to_owned() }
    }

    fn blueprint(layer: &Path, paths: &[(&str, Kind)]) -> Blueprint {
        let entry =
            |(path, kind): &(&str, Kind)| (PathBuf::from(path), Entry { source: layer.join(path), kind: kind.clone() });
        Blueprint { entries: paths.iter().map(entry).collect::<BTreeMap<_, _>>() }
    }

    #[test]
    fn what_an_image_puts_in_our_places_is_replaced_and_never_followed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (layer, precious, into) = (dir.path().join("layer"), dir.path().join("precious"), dir.path().join("root"));
        fs::create_dir(&layer).expect("a directory");
        fs::write(&precious, "mine").expect("a file");
        for name in ["etc", "dev", "proc"] {
            symlink(dir.path(), layer.join(name)).expect("a link");
        }
        let mut entries = ["etc", "dev", "proc"].map(|name| (name, Kind::Link(dir.path().to_owned()))).to_vec();
        for name in ["sys", "sys/fs", "sys/fs/cgroup"] {
            fs::create_dir(layer.join(name)).expect("a directory");
            entries.push((name, Kind::Directory));
        }
        let etc = [("precious".to_owned(), "theirs".to_owned())];
        let furnishing =
            Furnishing { isolation: Isolation::Chroot, identity: &identity(0), etc: &etc, memory_bytes: 64 << 20 };
        build(&blueprint(&layer, &entries), &into, &furnishing).expect("built");
        assert_eq!(fs::read_to_string(&precious).expect("still there"), "mine");
        assert_eq!(fs::read_to_string(into.join("etc/precious")).expect("made"), "theirs");
        assert!(fs::symlink_metadata(into.join("dev")).expect("made").is_dir());
        assert!(into.join("sys").is_dir() && !into.join("sys/fs").exists());
        assert!(fs::read_to_string(into.join("proc/meminfo")).expect("made").contains("65536 kB"));
    }

    #[test]
    fn a_file_is_shared_only_with_who_can_never_write_to_it() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("file");
        fs::write(&path, "text").expect("a file");
        for (mode, owner, uid, shared) in [
            (0o644, 0, 1000, true),
            (0o644, 0, 0, false),
            (0o644, 1000, 1000, false),
            (0o664, 0, 1000, false),
            (0o646, 0, 1000, false),
            (0o755, 1000, 2000, true),
        ] {
            chown(&path, Some(owner), None).expect("root");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("root");
            let metadata = fs::metadata(&path).expect("there");
            assert_eq!(is_out_of_reach(&metadata, &identity(uid)), shared, "{mode:o} {owner} {uid}");
        }
    }

    #[test]
    fn names_of_one_file_stay_names_of_one_file_and_are_not_the_layers() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (layer, into) = (dir.path().join("layer"), dir.path().join("root"));
        fs::create_dir(&layer).expect("a directory");
        fs::write(layer.join("a"), "text").expect("a file");
        fs::hard_link(layer.join("a"), layer.join("b")).expect("a link");
        let inode = |path: PathBuf| fs::metadata(path).expect("there").ino();
        let known = Kind::File(Some((1, inode(layer.join("a")))));
        let both = [("a", known.clone()), ("b", known)];
        let furnishing =
            Furnishing { isolation: Isolation::None, identity: &identity(0), etc: &[], memory_bytes: 64 << 20 };
        build(&blueprint(&layer, &both), &into, &furnishing).expect("built");
        assert_eq!(inode(into.join("a")), inode(into.join("b")));
        assert_ne!(inode(into.join("a")), inode(layer.join("a")));
    }
}
