//! From the values of secrets to what the launcher gets: the files' names in the request, what is in them as a file in
//! memory beside it, which the launcher hands to the kernel unread.

use std::{fs::File, io::Write as _, os::fd::OwnedFd};

use updraft_engine::EngineError;
use updraft_model::instance::{ContainerSpec, Contents, InstanceId, InstanceSpec, SecretPath, Secrets, VolumeSpec};

use super::{
    causes::{chain, refused},
    engine::Shared,
};
use crate::protocol::{Filling, Request, SecretFile, Volume};

/// A request with what comes along.
pub(super) type Accompanied = (Request, Vec<OwnedFd>);

/// The environment of a container: what its spec says, and its variables from secrets.
///
/// # Errors
/// A sentence that names the variable for which there is no value, or one that is none for a variable.
pub(super) fn environment(container: &ContainerSpec, secrets: &Secrets) -> Result<Vec<(String, String)>, String> {
    let values = secrets.env_of(container).map_err(|name| format!("the variable '{name}' has no value"))?;
    let mut env = container.env.clone();
    for (name, value) in values {
        let text = std::str::from_utf8(value.expose()).ok().filter(|text| !text.contains('\0'));
        // Without the value, nor where in it the fault is.
        let text = text.ok_or_else(|| format!("the value of the variable '{name}' is no text"))?;
        env.push((name.to_owned(), text.to_owned()));
    }
    Ok(env)
}

/// What makes the volumes of an instance, if it has some.
pub(super) fn volumes(
    id: &InstanceId,
    spec: &InstanceSpec,
    secrets: &Secrets,
) -> Result<Option<Accompanied>, EngineError> {
    let volume = |volume: &VolumeSpec| Volume {
        name: volume.name.clone(),
        places: places(spec, volume),
        filling: match &volume.contents {
            Contents::Memory { size_bytes } => Filling::Empty { size_bytes: *size_bytes },
            Contents::Secret { paths, .. } => Filling::Secrets(files((volume, paths), secrets)),
        },
    };
    let volumes: Vec<Volume> = seen(spec).map(volume).collect();
    if volumes.is_empty() {
        return Ok(None);
    }
    let contents = contents(id, spec, secrets)?;
    Ok(Some((Request::Volumes { id: id.0.clone(), volumes }, contents.into_iter().collect())))
}

/// In how many places containers see a volume.
fn places(spec: &InstanceSpec, volume: &VolumeSpec) -> usize {
    let mounts = spec.containers().flat_map(|container| &container.mounts);
    mounts.filter(|mount| mount.volume == volume.name).count()
}

/// The volumes that some container sees.
fn seen(spec: &InstanceSpec) -> impl Iterator<Item = &VolumeSpec> {
    spec.volumes.iter().filter(|volume| places(spec, volume) > 0)
}

/// The files of a volume.
fn files((volume, paths): (&VolumeSpec, &[SecretPath]), secrets: &Secrets) -> Vec<SecretFile> {
    let mut values = secrets.files.get(&volume.name).into_iter().flatten();
    let file = |path: &SecretPath| SecretFile {
        path: path.path.clone(),
        mode: path.mode,
        bytes: values.next().and_then(|value| value.as_ref().ok()).map(|value| value.expose().len() as u64),
    };
    paths.iter().map(file).collect()
}

/// What is in the files of all volumes that are seen, one after the other; nothing if none is a secret's.
fn contents(id: &InstanceId, spec: &InstanceSpec, secrets: &Secrets) -> Result<Option<OwnedFd>, EngineError> {
    let of_secrets: Vec<_> = seen(spec).filter_map(|volume| Some((volume, volume.secret_paths()?.len()))).collect();
    if of_secrets.is_empty() {
        return Ok(None);
    }
    let write = || {
        let mut file = File::from(rustix::fs::memfd_create(c"secrets", rustix::fs::MemfdFlags::CLOEXEC)?);
        for (volume, count) in of_secrets {
            let values = secrets.files.get(&volume.name).into_iter().flatten().take(count);
            values.flatten().try_for_each(|value| file.write_all(value.expose()))?;
        }
        Ok::<OwnedFd, std::io::Error>(file.into())
    };
    write().map(Some).map_err(|error| refused(id, &chain(&error)))
}

// === impl Shared ===

impl Shared {
    /// Has the files of an instance's secret volumes exchanged.
    pub(super) fn show_secrets(
        &self,
        id: &InstanceId,
        spec: &InstanceSpec,
        secrets: &Secrets,
    ) -> Result<(), EngineError> {
        let Some(live) = self.table.get(id) else { return Ok(()) };
        let failed = |cause: String| EngineError::Host { operation: format!("show secrets to {id}"), cause };
        let of = |volume: &VolumeSpec| Some((volume.name.clone(), files((volume, volume.secret_paths()?), secrets)));
        let volumes: Vec<_> = seen(spec).filter_map(of).collect();
        let Some(contents) = contents(id, spec, secrets)? else { return Ok(()) };
        // One that the launcher has not been told of yet has no files that could change.
        if !live.hold().sent {
            return Err(failed("it is being started".to_owned()));
        }
        self.send(&Request::Secrets { id: id.0.clone(), volumes }, vec![contents]).map_err(failed)
    }
}
