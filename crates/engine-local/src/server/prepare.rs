//! From an instance's spec and its image to what the launcher is told.

use std::{io, sync::Arc};

use updraft_engine::EngineError;
use updraft_model::{
    diagnosis::ImageFault,
    instance::{InstanceId, InstanceSpec},
};
use updraft_oci::{ImageError, ImageStore, Rootfs, UnfitKind};

use crate::{protocol::Launch, sandbox::process};

/// The host name of every instance, as on Cloud Run.
const HOSTNAME: &str = "localhost";

/// Pulls and unpacks the image of `spec` and checks that there is something to execute.
pub(super) async fn fetch(images: &ImageStore, spec: &InstanceSpec) -> Result<Arc<Rootfs>, EngineError> {
    images.fetch(&spec.image).await.map_err(|error| engine_error(&spec.image, error))?;
    let rootfs = images.rootfs(&spec.image).await.map_err(|error| engine_error(&spec.image, error))?;
    let unfit = |fault| move |cause| EngineError::ImageUnfit { image: spec.image.clone(), fault, cause };
    let argv = argv(&rootfs, spec);
    if argv.is_empty() {
        return Err(unfit(ImageFault::NoCommand)(
            "it has neither ENTRYPOINT nor CMD, and the template has no command".to_owned(),
        ));
    }
    process::check_size(&argv, &process::environment(&rootfs.config.env, &spec.env))
        .map_err(unfit(ImageFault::Unfit))?;
    Ok(Arc::new(rootfs))
}

/// What the launcher has to know to start `id`.
pub(super) fn launch(id: &InstanceId, spec: &InstanceSpec, rootfs: &Rootfs, resolv_conf: &str) -> Launch {
    let config = &rootfs.config;
    Launch {
        id: id.0.clone(),
        layers: rootfs.layers.clone(),
        argv: argv(rootfs, spec),
        env: process::environment(&config.env, &spec.env),
        user: config.user.clone(),
        working_dir: process::working_dir(&config.working_dir, spec.working_dir.as_deref()),
        hostname: HOSTNAME.to_owned(),
        etc: vec![
            ("hosts".to_owned(), process::hosts(HOSTNAME, &spec.container)),
            ("hostname".to_owned(), format!("{HOSTNAME}\n")),
            ("resolv.conf".to_owned(), resolv_conf.to_owned()),
        ],
        cpu_millis: spec.limits.cpu_millis,
        memory_bytes: spec.limits.memory_bytes,
        pids: spec.limits.pids,
    }
}

fn argv(rootfs: &Rootfs, spec: &InstanceSpec) -> Vec<String> {
    process::argv(&rootfs.config.entrypoint, &rootfs.config.cmd, &spec.command, &spec.args)
}

/// The engine's words for what the image store says.
fn engine_error(image: &str, error: ImageError) -> EngineError {
    let image = image.to_owned();
    match error {
        ImageError::Missing { cause, .. } => EngineError::ImageMissing { image, cause },
        ImageError::Denied { cause, .. } => EngineError::ImageDenied { image, cause },
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

/// Is the disk, or a quota on it, full?
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
