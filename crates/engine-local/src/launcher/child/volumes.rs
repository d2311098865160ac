//! The volumes of an instance in the tree of one of its containers.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use super::failed;
use crate::{
    fault::Fault,
    sandbox::users::Users,
    sys::{
        paths,
        users::{self, Access},
        volumes,
    },
};

/// Puts them below the root of the calling process, with the users that its container has, whose namespace comes along
/// if there is one. `places` are paths that the user of the platform chose, in an image of anybody.
pub(super) fn show(
    places: &[String],
    volumes: &[OwnedFd],
    (who, namespace): (Users, Option<BorrowedFd<'_>>),
) -> Result<(), Fault> {
    if places.is_empty() && volumes.is_empty() {
        return Ok(());
    }
    if let Some(namespace) = namespace {
        let shown = volumes.iter().try_for_each(|volume| users::translate(volume.as_fd(), namespace, Access::Full));
        shown.map_err(failed("show volumes with the users of the instance"))?;
    }
    let owner = match who {
        Users::Hosts => None,
        Users::Mapped(first) => Some(first),
    };
    mount(places, volumes, |place| paths::mount_point(None, place, owner)).map_err(Fault::Settings)
}

/// Puts the volumes of the instance where the container is to see them, which `find` leads to.
pub(in crate::launcher) fn mount(
    places: &[String],
    volumes: &[OwnedFd],
    find: impl Fn(&str) -> io::Result<OwnedFd>,
) -> Result<(), String> {
    if places.len() != volumes.len() {
        return Err("cannot make the sandbox: its volumes did not come along".to_owned());
    }
    for (place, volume) in places.iter().zip(volumes) {
        let mounted = find(place).and_then(|at| volumes::attach(volume.as_fd(), at.as_fd()));
        mounted.map_err(|error| format!("cannot mount a volume at '{place}': {error}"))?;
    }
    Ok(())
}
