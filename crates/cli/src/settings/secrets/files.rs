//! Files of secrets: a mount for each directory, and a volume of one secret for each mount.

use updraft_api::run::{RevisionTemplate, SecretVolumeSource, VersionToPath, Volume, VolumeMount, volume::VolumeType};
use updraft_model::{name::LABEL_MAX, secret::SecretReference};

use super::{LATEST, Pinned};
use crate::{error::CliError, output::id};

/// How much of a secret's name the name of its volume has, which leaves room for a number.
const NAME_MAX: usize = LABEL_MAX - 8;

/// Is it the path of a file in a directory that is not the root?
pub(super) fn is_place(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    parts.len() > 1 && parts.iter().all(|part| !matches!(*part, "" | "." | ".."))
}

/// Leaves, of what the container at `at` sees of secrets, only these files.
pub(super) fn keep(template: &mut RevisionTemplate, at: usize, files: &[(&str, Pinned)]) {
    let kept: Vec<(String, String)> = files.iter().map(|(path, _)| place(template, at, path)).collect();
    for mount in template.containers[at].volume_mounts.clone() {
        let Some(shown) = source(template, &mount.name).map(files_of) else { continue };
        let is_kept = |item: &VersionToPath| kept.iter().any(|(of, name)| of == dir(&mount) && *name == item.path);
        let Some(index) = position(template, at, dir(&mount)) else { continue };
        match shown.iter().any(is_kept) {
            true => own(template, at, index).items.retain(is_kept),
            // Without items it would show the one file that is called like the secret.
            false => drop(template.containers[at].volume_mounts.remove(index)),
        }
    }
}

/// Takes a file away, and its directory with its last file.
pub(super) fn remove(template: &mut RevisionTemplate, at: usize, path: &str) {
    let (dir, name) = place(template, at, path);
    let Some(index) = position(template, at, &dir) else { return };
    if source(template, &template.containers[at].volume_mounts[index].name).is_none() {
        return;
    }
    let source = own(template, at, index);
    source.items.retain(|item| item.path != name);
    if source.items.is_empty() {
        template.containers[at].volume_mounts.remove(index);
    }
}

/// Takes away the volumes of secrets that no container sees.
pub(super) fn prune(template: &mut RevisionTemplate) {
    let mounts = template.containers.iter().flat_map(|container| &container.volume_mounts);
    let seen: Vec<String> = mounts.map(|mount| mount.name.clone()).collect();
    template
        .volumes
        .retain(|volume| !matches!(volume.volume_type, Some(VolumeType::Secret(_))) || seen.contains(&volume.name));
}

/// Puts files into the container at `at`; `project` is what a secret without one is of.
pub(super) fn put(
    template: &mut RevisionTemplate,
    (at, project): (usize, &str),
    files: &[(&str, Pinned)],
) -> Result<(), CliError> {
    let mut dirs: Vec<(String, SecretVolumeSource)> = Vec::new();
    for (path, pinned) in files {
        let (dir, name) = place(template, at, path);
        let item = VersionToPath { path: name, version: pinned.version.clone(), mode: 0 };
        match dirs.iter_mut().find(|(other, _)| *other == dir) {
            Some((_, source)) if is_same(project, &source.secret, &pinned.secret) => source.items.push(item),
            Some(_) => {
                return Err(CliError::usage(format!(
                    "Cannot update secret at [{path}] because a different secret is already mounted in the same directory."
                )));
            }
            None => {
                let secret = pinned.secret.clone();
                dirs.push((dir, SecretVolumeSource { secret, items: vec![item], default_mode: 0 }));
            }
        }
    }
    dirs.into_iter().try_for_each(|(dir, source)| mount(template, (at, project), &dir, source))
}

/// Shows a secret in a directory: beside what is there of the same one.
fn mount(
    template: &mut RevisionTemplate,
    (at, project): (usize, &str),
    dir: &str,
    new: SecretVolumeSource,
) -> Result<(), CliError> {
    let Some(index) = position(template, at, dir) else {
        let name = free_name(template, &new.secret);
        let mount = VolumeMount { name: name.clone(), mount_path: dir.to_owned(), ..VolumeMount::default() };
        template.containers[at].volume_mounts.push(mount);
        template.volumes.push(Volume { name, volume_type: Some(VolumeType::Secret(new)) });
        return Ok(());
    };
    if source(template, &template.containers[at].volume_mounts[index].name).is_none() {
        return Err(CliError::usage(format!(
            "Cannot update mount [{dir}] because its mounted volume is of a different source type."
        )));
    }
    let before = own(template, at, index);
    if !is_same(project, &before.secret, &new.secret) {
        // Another secret takes the place of this one, if nothing of this one is left.
        if before.items.iter().any(|old| new.items.iter().all(|item| item.path != old.path)) {
            return Err(CliError::usage(format!(
                "Multiple secrets are specified for directory [{dir}]. Cloud Run only supports one secret per directory"
            )));
        }
        before.secret = new.secret;
    }
    for item in new.items {
        match before.items.iter_mut().find(|old| old.path == item.path) {
            // Its mode stays: who asks for another version does not mean that others may read it.
            Some(old) => old.version = item.version,
            None => before.items.push(item),
        }
    }
    Ok(())
}

/// The directory that is mounted for a file, and the file's name in it: what is there, else all but the last part.
fn place(template: &RevisionTemplate, at: usize, path: &str) -> (String, String) {
    let found = template.containers[at].volume_mounts.iter().find_map(|mount| {
        let name = path.strip_prefix(dir(mount))?.strip_prefix('/')?;
        let items = files_of(source(template, &mount.name)?);
        items.iter().any(|item| item.path == name).then(|| (dir(mount).to_owned(), name.to_owned()))
    });
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    found.unwrap_or_else(|| (dir.to_owned(), name.to_owned()))
}

fn dir(mount: &VolumeMount) -> &str {
    mount.mount_path.trim_end_matches('/')
}

fn position(template: &RevisionTemplate, at: usize, place: &str) -> Option<usize> {
    template.containers[at].volume_mounts.iter().position(|mount| dir(mount) == place)
}

/// What the volume shows, if it is one of a secret.
fn source<'a>(template: &'a RevisionTemplate, volume: &str) -> Option<&'a SecretVolumeSource> {
    template.volumes.iter().find(|other| other.name == volume).and_then(|volume| match &volume.volume_type {
        Some(VolumeType::Secret(source)) => Some(source),
        _ => None,
    })
}

/// The files of a volume, also of one that says none: it has one, which is called like the secret.
fn files_of(source: &SecretVolumeSource) -> Vec<VersionToPath> {
    if source.items.is_empty() {
        let (path, version) = (id(&source.secret).to_owned(), LATEST.to_owned());
        vec![VersionToPath { path, version, mode: 0 }]
    } else {
        source.items.clone()
    }
}

/// What is shown at a mount, which is of a secret, with its files. If the same volume is seen elsewhere too, this mount
/// gets a copy first: what is changed here must not change there.
fn own(template: &mut RevisionTemplate, at: usize, index: usize) -> &mut SecretVolumeSource {
    let name = template.containers[at].volume_mounts[index].name.clone();
    let mounts = template.containers.iter().flat_map(|container| &container.volume_mounts);
    let is_shared = mounts.filter(|mount| mount.name == name).count() > 1;
    let mut place = template.volumes.iter().position(|volume| volume.name == name).unwrap_or_default();
    if is_shared {
        let mut copy = template.volumes[place].clone();
        copy.name = free_name(template, source(template, &name).map(|source| &*source.secret).unwrap_or_default());
        copy.name.clone_into(&mut template.containers[at].volume_mounts[index].name);
        template.volumes.push(copy);
        place = template.volumes.len() - 1;
    }
    match &mut template.volumes[place].volume_type {
        Some(VolumeType::Secret(source)) => {
            source.items = files_of(source);
            source
        }
        _ => unreachable!("the caller has seen that it is one of a secret"),
    }
}

fn is_same(project: &str, one: &str, other: &str) -> bool {
    let read = |text| SecretReference::read("", text, project).ok();
    one == other || read(one).is_some_and(|one| read(other) == Some(one))
}

/// A name for a volume of a secret that no volume has yet: the secret's as far as it can be one, then a number. The same
/// command on the same service gives the same name, so that it makes no new revision.
fn free_name(template: &RevisionTemplate, secret: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let base: String = id(secret).chars().map(letter).take(NAME_MAX).collect();
    let base = match base.trim_matches('-') {
        "" => "secret",
        base => base,
    };
    let numbered = (2_u32..).map(|number| format!("{base}-{number}"));
    let is_free = |name: &String| template.volumes.iter().all(|volume| volume.name != *name);
    std::iter::once(base.to_owned()).chain(numbered).find(is_free).unwrap_or_default()
}
