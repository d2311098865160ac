//! From an instance's spec and its image to what the launcher is told.

use std::{
    fs,
    io::{self, Read as _},
    sync::Arc,
};

use updraft_engine::EngineError;
use updraft_model::{
    diagnosis::ImageFault,
    instance::{ContainerSpec, Egress, InstanceSpec},
    owner::Owner,
};
use updraft_oci::{ImageError, ImageStore, Rootfs, UnfitKind, is_full};

use super::engine::host;
use crate::{
    net::METADATA,
    protocol::Launch,
    root::Blueprint,
    sandbox::{
        cgroups::{Limits, Priority},
        entrypoint,
        isolation::Isolation,
        process,
    },
};

/// The host name of every instance, as on Cloud Run.
const HOSTNAME: &str = "localhost";

/// An image that is ready to be started.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) rootfs: Rootfs,
}

/// Can instances of `spec` be kept apart so?
pub(super) fn check(spec: &InstanceSpec, isolation: Isolation) -> Result<(), EngineError> {
    if isolation == Isolation::Namespaces || (spec.sidecars.is_empty() && spec.volumes.is_empty()) {
        return Ok(());
    }
    let feature = if spec.volumes.is_empty() { "run several containers in an instance" } else { "mount volumes" };
    let cause = format!("that needs namespaces, and the server runs with isolation '{isolation}' (docs/isolation.md)");
    Err(EngineError::Unsupported { feature: feature.to_owned(), cause })
}

/// Pulls and unpacks the image of a container and checks that there is something to execute.
pub(super) async fn fetch(
    images: &ImageStore,
    spec: &ContainerSpec,
    isolation: Isolation,
) -> Result<Arc<Prepared>, EngineError> {
    images.fetch(&spec.image).await.map_err(|error| engine_error(&spec.image, error))?;
    let rootfs = images.rootfs(&spec.image).await.map_err(|error| engine_error(&spec.image, error))?;
    let unfit = |fault| move |cause| EngineError::ImageUnfit { image: spec.image.clone(), fault, cause };
    let argv = argv(&rootfs, spec);
    if argv.is_empty() {
        return Err(unfit(ImageFault::NoCommand)(
            "it has neither ENTRYPOINT nor CMD, and the template has no command".to_owned(),
        ));
    }
    process::check_size(&argv, &process::environment(&rootfs.config.env, spec.env.clone()))
        .map_err(unfit(ImageFault::Unfit))?;
    if isolation == Isolation::Namespaces {
        if rootfs.hides.iter().flatten().any(|hides| !hides.marked) {
            let cause = "the file system of the data directory does not take the marks of overlayfs".to_owned();
            return Err(EngineError::Host { operation: format!("stack the layers of image '{}'", spec.image), cause });
        }
        return Ok(Arc::new(Prepared { rootfs }));
    }
    // Said at the deploy, not only at the first start.
    let work = move || Blueprint::of(&rootfs).map(|blueprint| (blueprint, rootfs));
    let stacked = tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten();
    let (blueprint, rootfs) = stacked.map_err(host("stack the layers of an image"))?;
    let prepared = Prepared { rootfs };
    if isolation == Isolation::None {
        check_static((&prepared, &blueprint), spec, &argv).map_err(unfit(ImageFault::Unfit))?;
    }
    Ok(Arc::new(prepared))
}

/// Can egress be restricted where instances are kept apart so far?
///
/// # Errors
/// [`EngineError::Host`] when not, and it is to be.
pub(super) fn check_egress(egress: Egress, isolation: Isolation) -> Result<(), EngineError> {
    if egress == Egress::All || !isolation.is_shared() {
        return Ok(());
    }
    let cause = format!("with isolation '{isolation}' instances have no network of their own");
    Err(EngineError::Host { operation: format!("restrict the egress of instances to '{egress}'"), cause })
}

/// With the host's root directory only a program can run that needs no file of its image by an absolute path, above
/// all neither a dynamic linker nor an interpreter.
fn check_static(
    (prepared, blueprint): (&Prepared, &Blueprint),
    spec: &ContainerSpec,
    argv: &[String],
) -> Result<(), String> {
    let Some(program) = argv.first() else { return Ok(()) };
    let config = &prepared.rootfs.config;
    let env = process::environment(&config.env, spec.env.clone());
    let path = env.iter().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value.as_str());
    let dir = process::working_dir(&config.working_dir, spec.working_dir.as_deref());
    let candidates = entrypoint::candidates(program, path).into_iter();
    let place = |candidate: String| entrypoint::in_directory(&dir, &candidate);
    // One that is not there is told when it is started, in the same words as always.
    let Some(file) = candidates.map(place).find_map(|place| blueprint.find(&place)) else { return Ok(()) };
    let mut head = Vec::new();
    let read = fs::File::open(file).and_then(|file| file.take(entrypoint::HEAD as u64).read_to_end(&mut head));
    read.map_err(|error| format!("'{program}' cannot be read: {error}"))?;
    match entrypoint::needs_its_image(&head) {
        None => Ok(()),
        Some(why) => Err(format!(
            "with isolation 'none' only static programs run, and '{program}' is none: {why}. Isolation 'chroot' gives it \
             the files of its image"
        )),
    }
}

/// How an instance finds others by their names.
#[derive(Debug, Clone, Copy)]
pub(super) enum Names<'a> {
    /// In a network of its own, where the metadata server is ours. What `/etc/resolv.conf` says.
    Own(&'a str),
    /// In the host's, where its address is whoever's the host says.
    Shared(&'a str),
}

/// What the launcher has to know to start a container of `spec` with this environment, which it calls `id`.
pub(super) fn launch(
    id: &str,
    (spec, container, env): (&InstanceSpec, &ContainerSpec, Vec<(String, String)>),
    rootfs: &Rootfs,
    names: Names<'_>,
) -> Launch {
    let config = &rootfs.config;
    let (resolv_conf, more) = match names {
        Names::Own(resolv_conf) => (resolv_conf, metadata_names()),
        Names::Shared(resolv_conf) => (resolv_conf, String::new()),
    };
    let containers = spec.containers().map(|container| container.name.as_str());
    let hosts = process::hosts(HOSTNAME, containers, &more);
    Launch {
        id: id.to_owned(),
        layers: rootfs.layers.clone(),
        root: None,
        argv: argv(rootfs, container),
        env: process::environment(&config.env, env),
        user: config.user.clone(),
        working_dir: process::working_dir(&config.working_dir, container.working_dir.as_deref()),
        hostname: HOSTNAME.to_owned(),
        etc: [vec![("hosts".to_owned(), hosts)], etc_of_all(resolv_conf)].concat(),
        mounts: container.mounts.iter().map(|mount| mount.path.clone()).collect(),
        limits: limits(&spec.owner, container),
    }
}

/// The metadata server in `/etc/hosts`: libraries that look for it give it a moment, and no name server stands between.
fn metadata_names() -> String {
    format!("{METADATA}\tmetadata.google.internal metadata\n")
}

/// The files of `/etc` that are the same in every container: name and contents.
pub(super) fn etc_of_all(resolv_conf: &str) -> Vec<(String, String)> {
    vec![("hostname".to_owned(), format!("{HOSTNAME}\n")), ("resolv.conf".to_owned(), resolv_conf.to_owned())]
}

/// The volumes that a container sees, in the order of its mounts.
pub(super) fn volumes_of(container: &ContainerSpec) -> Vec<String> {
    container.mounts.iter().map(|mount| mount.volume.clone()).collect()
}

/// What a container of `owner` may use, as its control groups take it.
pub(super) fn limits(owner: &Owner, spec: &ContainerSpec) -> Limits {
    let updraft_model::instance::Limits { cpu_millis, memory_bytes, pids } = spec.limits;
    Limits { cpu_millis, priority: priority(owner), memory_bytes, pids }
}

/// Nobody waits for an answer of a task.
pub(super) fn priority(owner: &Owner) -> Priority {
    match owner {
        Owner::Revision(_) => Priority::Serving,
        Owner::Attempt(_) => Priority::Batch,
    }
}

fn argv(rootfs: &Rootfs, spec: &ContainerSpec) -> Vec<String> {
    process::argv(&rootfs.config.entrypoint, &rootfs.config.cmd, &spec.command, &spec.args)
}

/// The engine's words for what the image store says.
fn engine_error(image: &str, error: ImageError) -> EngineError {
    let image = image.to_owned();
    match error {
        ImageError::Missing { cause, .. } => EngineError::ImageMissing { image, cause },
        ImageError::Denied { cause, .. } => EngineError::ImageDenied { image, cause },
        ImageError::Forbidden { cause, .. } => EngineError::ImageUnfit { image, fault: ImageFault::Forbidden, cause },
        ImageError::Unfit { kind, cause, .. } => EngineError::ImageUnfit { image, fault: fault(kind), cause },
        ImageError::Unavailable { cause, .. } => EngineError::Unavailable { image, cause },
        ImageError::Invalid { rule, .. } => EngineError::ImageUnfit { image, fault: ImageFault::Unfit, cause: rule },
        ImageError::Host { operation, source } if is_full(&source) => {
            EngineError::NoSpace { operation, cause: source.to_string() }
        }
        ImageError::Host { operation, source } => EngineError::Host { operation, cause: source.to_string() },
        other => EngineError::Host { operation: format!("image '{image}'"), cause: other.to_string() },
    }
}

fn fault(kind: UnfitKind) -> ImageFault {
    match kind {
        UnfitKind::Platform => ImageFault::Platform,
        UnfitKind::Corrupt => ImageFault::Corrupt,
        UnfitKind::Other => ImageFault::Unfit,
    }
}
