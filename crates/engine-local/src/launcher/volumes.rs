//! Volumes that are made and wait for the containers that see them, and those of secrets as long as they may change.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    time::Instant,
};

use crate::{
    protocol::{Filling, SecretFile, Volume, member},
    sys::{self, secrets::Shelf},
};

/// The volumes of all instances, as far as containers do not have them yet or files in them may change.
#[derive(Debug)]
pub(super) struct Volumes {
    /// A directory of the launcher's own mount namespace where nothing is mounted.
    spare: PathBuf,
    by_instance: HashMap<String, Result<Made, String>>,
}

/// The volumes of one instance.
#[derive(Debug, Default)]
struct Made {
    /// Mounts, by volume, that no container has yet.
    waiting: HashMap<String, Vec<OwnedFd>>,
    /// The files of secrets, by volume.
    shelves: HashMap<String, Shelf>,
}

// === impl Volumes ===

impl Volumes {
    pub(super) fn new(spare: PathBuf) -> Self {
        Self { spare, by_instance: HashMap::new() }
    }

    /// Makes the volumes of an instance; `contents` are those of its secrets. Whether that went well is for
    /// [`Volumes::take`] to tell.
    pub(super) fn make(
        &mut self,
        instance: String,
        (volumes, contents): (Vec<Volume>, Option<&OwnedFd>),
        now: Instant,
    ) {
        let mut made = Made::default();
        let mut from = 0;
        let mut one = |volume: Volume| -> io::Result<()> {
            let mounts = match &volume.filling {
                Filling::Empty { size_bytes } => sys::volumes::make(&self.spare, *size_bytes, volume.places)?,
                Filling::Secrets(files) => {
                    let contents = contents.ok_or_else(|| io::Error::other("no contents came along"))?;
                    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
                    let (mut shelf, mounts) = Shelf::make(&self.spare, &paths, volume.places)?;
                    shelf.fill(files, (contents.as_fd(), from), now)?;
                    from += length(files);
                    made.shelves.insert(volume.name.clone(), shelf);
                    mounts
                }
            };
            made.waiting.insert(volume.name, mounts);
            Ok(())
        };
        let failed = volumes.into_iter().find_map(|volume| {
            let name = volume.name.clone();
            one(volume).err().map(|error| format!("cannot make the volume '{name}': {error}"))
        });
        self.by_instance.insert(instance, failed.map_or(Ok(made), Err));
    }

    /// Exchanges the files of an instance's secrets, if it is there.
    ///
    /// # Errors
    /// The host's; the files of that volume, and of those after it, are what they were.
    pub(super) fn change(
        &mut self,
        instance: &str,
        (volumes, contents): (&[(String, Vec<SecretFile>)], &OwnedFd),
        now: Instant,
    ) -> io::Result<()> {
        let Some(Ok(made)) = self.by_instance.get_mut(instance) else { return Ok(()) };
        let mut from = 0;
        for (name, files) in volumes {
            // Without one its instance ends.
            if let Some(shelf) = made.shelves.get_mut(name) {
                shelf.fill(files, (contents.as_fd(), from), now)?;
            }
            from += length(files);
        }
        Ok(())
    }

    /// Removes files that were exchanged a while ago. Is there more to do later? Tells `failed` whose files could not be
    /// exchanged.
    pub(super) fn tidy(&mut self, now: Instant, mut failed: impl FnMut(&str, io::Error)) -> bool {
        let mut left = false;
        for (instance, made) in &mut self.by_instance {
            for shelf in made.iter_mut().flat_map(|made| made.shelves.values_mut()) {
                match shelf.tidy(now) {
                    Ok(more) => left |= more,
                    Err(error) => failed(instance, error),
                }
            }
        }
        left
    }

    /// A mount of each of `names` for a container, which is called `id`.
    ///
    /// # Errors
    /// When they could not be made, or there are no more of them.
    pub(super) fn take(&mut self, id: &str, names: &[String]) -> io::Result<Vec<OwnedFd>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let made = self.by_instance.get_mut(member(id).0).ok_or_else(|| io::Error::other("there are no volumes"))?;
        let made = made.as_mut().map_err(|cause| io::Error::other(cause.clone()))?;
        let mut taken = Vec::with_capacity(names.len());
        for name in names {
            let mount = made.waiting.get_mut(name).and_then(Vec::pop);
            taken.push(mount.ok_or_else(|| io::Error::other(format!("there is no volume '{name}'")))?);
        }
        Ok(taken)
    }

    /// A container has ended, and with it its instance: nothing changes any more. What others still read stays until
    /// they have ended, too.
    pub(super) fn ended(&mut self, id: &str) {
        if let Some(Ok(made)) = self.by_instance.get_mut(member(id).0) {
            made.shelves.clear();
        }
    }

    /// Lets go of what no container has taken.
    pub(super) fn forget(&mut self, instance: &str) {
        self.by_instance.remove(instance);
    }
}

/// How much is in these files together, in bytes.
fn length(files: &[SecretFile]) -> u64 {
    files.iter().filter_map(|file| file.bytes).sum()
}
