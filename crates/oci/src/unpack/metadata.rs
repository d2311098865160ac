//! Owner, mode, times and extended attributes.

use std::os::fd::AsFd;

use rustix::{
    fs::{
        AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_NOW, Uid, XattrFlags, chownat, fchmod, fchown, fsetxattr,
        futimens, utimensat,
    },
    io::Errno,
};

use super::tar::Meta;

/// Marks a directory that hides what lower layers have in it.
const OPAQUE: &str = "trusted.overlay.opaque";

/// Is this attribute an image's to set? `trusted.*` steers overlayfs itself, and `security.*` other
/// than capabilities belongs to the host's policy.
pub(super) fn may_set(name: &str) -> bool {
    name == "security.capability" || (name.starts_with("user.") && !name.starts_with("user.overlay."))
}

/// Applies everything to an open file or directory. The order matters: a change of owner clears the
/// set-id bits and capabilities, and every other change moves the times.
pub(super) fn apply(file: impl AsFd, meta: &Meta, owner: Owner) -> rustix::io::Result<Vec<String>> {
    let mut refused = Vec::new();
    if owner == Owner::Keep {
        let (uid, gid) = ids(meta);
        fchown(&file, Some(uid), Some(gid))?;
    }
    fchmod(&file, Mode::from_raw_mode(meta.mode))?;
    for (name, value) in &meta.xattrs {
        if !may_set(name) {
            refused.push(format!("the extended attribute {name} is not an image's to set"));
            continue;
        }
        match fsetxattr(&file, name.as_str(), value, XattrFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOTSUP) => refused.push(format!("the file system has no extended attribute {name}")),
            // Capabilities need a privilege that an unprivileged server does not have.
            Err(Errno::PERM) if owner == Owner::Ours => refused.push(format!("may not set {name}")),
            Err(error) => return Err(error),
        }
    }
    futimens(&file, &times(meta))?;
    Ok(refused)
}

/// Applies owner and times to what cannot be opened: symbolic links and pipes.
pub(super) fn apply_at(dir: impl AsFd, name: &str, meta: &Meta, owner: Owner) -> rustix::io::Result<()> {
    if owner == Owner::Keep {
        let (uid, gid) = ids(meta);
        chownat(&dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    utimensat(&dir, name, &times(meta), AtFlags::SYMLINK_NOFOLLOW)
}

pub(super) fn make_opaque(dir: impl AsFd) -> rustix::io::Result<()> {
    fsetxattr(dir, OPAQUE, b"y", XattrFlags::empty())
}

/// Does the layer's root hide all lower layers? overlayfs does not look at the mark there.
pub(crate) fn is_opaque(dir: &std::path::Path) -> bool {
    let mut value = [0u8; 1];
    rustix::fs::lgetxattr(dir, OPAQUE, &mut value[..]).is_ok_and(|length| length == 1 && value[0] == b'y')
}

/// Whose the files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The layer's owners are kept: the server is root.
    Keep,
    /// Everything belongs to the server, who may not give files away.
    Ours,
}

fn ids(meta: &Meta) -> (Uid, Gid) {
    // The tar reader has refused the one value that is not an id.
    (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid))
}

fn times(meta: &Meta) -> Timestamps {
    let (seconds, nanos) = meta.mtime;
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanos.into() },
    }
}
