//! What the file system of a sandbox is made with, step by step.

use std::{fmt, path::PathBuf};

use rustix::mount::MountFlags;

/// One step. Paths are relative to the directory that was entered last, unless they are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make a directory with this mode; one that is there is left alone.
    Directory(String, u32),
    /// Make a symbolic link: path, target.
    Link(String, PathBuf),
    /// Write a file: path, contents.
    File(String, String),
    /// Remove a file.
    Remove(String),
    /// Make a character device: path, major, minor.
    Device(String, u32, u32),
    /// Mount a file system.
    Mount {
        /// Its type.
        kind: &'static str,
        /// Where.
        target: String,
        /// How.
        flags: MountFlags,
        /// Its own options.
        options: String,
    },
    /// From now on a mount cannot be written to, though its file system can elsewhere.
    Seal(String, MountFlags),
    /// Make a directory the current one.
    Enter(String),
    /// Make the current directory the root and let go of the old one.
    Pivot,
    /// Say how large a tmpfs may become, in bytes: path, how it is mounted, size.
    Resize(String, MountFlags, u64),
    /// Put what is mounted somewhere elsewhere: from, to.
    Move(String, String),
    /// Hide a path, if it is there: a file becomes the null device, a directory an empty one.
    Mask(String, Blank),
    /// The same, if others than its owner may read it.
    Conceal(String, Blank),
    /// Make a path read-only, if it is there.
    ReadOnly(String),
    /// Give a path to this user and group of the host.
    Give(String, u32),
    /// From now on files and directories are made as those of this user and group of the host.
    Author(u32),
    /// Put a tree of the host somewhere, read-only, with its files' users being the instance's: path, tree.
    Show(String, PathBuf),
}

/// What hides things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blank {
    /// The null device.
    pub(crate) file: &'static str,
    /// A directory with nothing in it.
    pub(crate) directory: &'static str,
}

// === impl Step ===

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path, mode) => write!(f, "directory {path} {mode:04o}"),
            Self::Link(path, target) => write!(f, "link {path} -> {}", target.display()),
            Self::File(path, text) => write!(f, "file {path} ({} bytes)", text.len()),
            Self::Remove(path) => write!(f, "remove {path}"),
            Self::Device(path, major, minor) => write!(f, "device {path} {major}:{minor}"),
            Self::Mount { kind, target, flags, options } => {
                write!(f, "mount {kind} {target} [{}] {options}", names(*flags))
            }
            Self::Seal(target, flags) => write!(f, "seal {target} [{}]", names(*flags)),
            Self::Enter(path) => write!(f, "enter {path}"),
            Self::Pivot => f.write_str("pivot"),
            Self::Resize(path, _, size) => write!(f, "resize {path} {size}"),
            Self::Move(from, to) => write!(f, "move {from} {to}"),
            Self::Mask(path, _) => write!(f, "mask {path}"),
            Self::Conceal(path, _) => write!(f, "conceal {path}"),
            Self::ReadOnly(path) => write!(f, "read-only {path}"),
            Self::Give(path, user) => write!(f, "give {path} {user}"),
            Self::Author(user) => write!(f, "author {user}"),
            Self::Show(path, tree) => write!(f, "show {path} <- {}", tree.display()),
        }
    }
}

fn names(flags: MountFlags) -> String {
    flags.iter_names().map(|(name, _)| name.to_lowercase()).collect::<Vec<_>>().join(",")
}
