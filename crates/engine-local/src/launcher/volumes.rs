//! Volumes that are made and wait for the containers that see them.

use std::{collections::HashMap, io, os::fd::OwnedFd, path::PathBuf};

use crate::{
    protocol::{Volume, member},
    sys,
};

/// The volumes of all instances, as far as containers do not have them yet.
#[derive(Debug)]
pub(super) struct Volumes {
    /// A directory of the launcher's own mount namespace where nothing is mounted.
    spare: PathBuf,
    by_instance: HashMap<String, Waiting>,
}

/// The mounts of one instance's volumes, by volume; or why there are none.
type Waiting = Result<HashMap<String, Vec<OwnedFd>>, String>;

// === impl Volumes ===

impl Volumes {
    pub(super) fn new(spare: PathBuf) -> Self {
        Self { spare, by_instance: HashMap::new() }
    }

    /// Makes the volumes of an instance. Whether that went well is for [`Volumes::take`] to tell.
    pub(super) fn make(&mut self, instance: String, volumes: Vec<Volume>) {
        let one = |volume: Volume| match sys::volumes::make(&self.spare, volume.size_bytes, volume.places) {
            Ok(mounts) => Ok((volume.name, mounts)),
            Err(error) => Err(format!("cannot make the volume '{}': {error}", volume.name)),
        };
        let made = volumes.into_iter().map(one).collect();
        self.by_instance.insert(instance, made);
    }

    /// A mount of each of `names` for a container, which is called `id`.
    ///
    /// # Errors
    /// When they could not be made, or there are no more of them.
    pub(super) fn take(&mut self, id: &str, names: &[String]) -> io::Result<Vec<OwnedFd>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let waiting = self.by_instance.get_mut(member(id).0).ok_or_else(|| io::Error::other("there are no volumes"))?;
        let waiting = waiting.as_mut().map_err(|cause| io::Error::other(cause.clone()))?;
        let mut taken = Vec::with_capacity(names.len());
        for name in names {
            let mount = waiting.get_mut(name).and_then(Vec::pop);
            taken.push(mount.ok_or_else(|| io::Error::other(format!("there is no volume '{name}'")))?);
        }
        Ok(taken)
    }

    /// Lets go of what no container has taken.
    pub(super) fn forget(&mut self, instance: &str) {
        self.by_instance.remove(instance);
    }
}
