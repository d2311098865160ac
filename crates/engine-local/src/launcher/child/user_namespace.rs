//! The user namespace of a sandbox: made while it waits, entered when its root is mounted.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{Gid, Uid},
    thread::LinkNameSpaceType,
};

use super::{Birth, Place, apply, failed, shared};
use crate::{
    sandbox::{
        capabilities,
        mounts::{STAGED_PROC, furnishing},
    },
    sys::users,
};

/// A user namespace for who is to come, whose root the output is given to: later nobody may.
pub(super) fn found(first: u32) -> Result<OwnedFd, String> {
    let (user, group) = (Uid::from_raw(first), Gid::from_raw(first));
    for stream in [io::stdout().as_fd(), io::stderr().as_fd()] {
        rustix::fs::fchown(stream, Some(user), Some(group)).map_err(failed("hand over the standard streams"))?;
    }
    users::namespace(first, Path::new(STAGED_PROC)).map_err(failed("make a user namespace"))
}

/// Gives up what it will never have again.
pub(super) fn bound(birth: &Birth<'_>) -> Result<(), String> {
    capabilities::dropped(capabilities::kept(), birth.last_capability)
        .try_for_each(rustix::thread::remove_capability_from_bounding_set)
        .map_err(failed("drop capabilities"))
}

/// Becomes root of the user namespace, if there is one: what is done from here on is done as the instance would do it.
pub(super) fn inhabit(birth: &Birth<'_>, users: Option<OwnedFd>) -> Result<(), String> {
    if let Some(users) = users {
        rustix::thread::move_into_link_name_space(users.as_fd(), Some(LinkNameSpaceType::User))
            .map_err(failed("join the user namespace"))?;
        bound(birth)?;
        shared::become_root()?;
    }
    match birth.place {
        Place::Sandbox { .. } => apply(&[furnishing()], None),
        Place::Root(..) | Place::Folder(..) => Ok(()),
    }
}
