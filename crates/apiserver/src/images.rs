//! Images from files: upload, list, delete.

use std::{io, path::Path, time::Duration};

use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use updraft_control::{Permitted, audit};
use updraft_model::{Error, ErrorKind};
use updraft_oci::{ImageError, check_space, is_full};

use crate::{
    Api, Served,
    body::{Allowance, Bounded},
    call::AnyBody,
    own::Parameters,
};

/// The largest archive, in bytes.
const ARCHIVE_MAX: u64 = 64 << 30;
/// How many archives may come in at a time. Each is written to the disk whole before it is looked at.
pub(crate) const LOADS_MAX: usize = 4;
/// How much of an archive is written between two looks at the room on the disk, in bytes.
const STRIDE: u64 = 4 << 20;
/// What files of uploads are called, so that those a crash left behind can be told.
const PREFIX: &str = "upload-";
const SUFFIX: &str = ".tar";

/// Removes what uploads left behind when the server was killed. Only one server uses the directory.
pub(crate) fn sweep(scratch: &Path) {
    let entries = std::fs::read_dir(scratch).into_iter().flatten().filter_map(Result::ok);
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            let path = entry.path();
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "an upload that was broken off cannot be removed");
            }
        }
    }
}

/// `POST /updraft/v1/images:load?name=repository:tag`: the body is a docker or OCI archive.
///
/// # Errors
/// `InvalidArgument` for no archive of images or one that is too large, `DeadlineExceeded` for a client that falls
/// silent, `ResourceExhausted` for too many at a time and on a full disk.
pub(crate) async fn load<B: AnyBody>(
    api: &Api,
    permit: &Permitted,
    parameters: &Parameters,
    body: B,
) -> Result<Value, Error> {
    let deps = api.deps();
    let busy = |_| {
        let message = format!("{LOADS_MAX} archives are being loaded already; try again later.");
        Error::new(ErrorKind::ResourceExhausted, message).retry_after(Duration::from_secs(10))
    };
    let _turn = api.loads().try_acquire().map_err(busy)?;
    let archive = receive(deps, api.bound(body, Allowance::upload(ARCHIVE_MAX))).await?;
    let loaded = deps.images.open(permit).load(archive.path(), parameters.get("name")).await;
    let loaded = loaded.map_err(|error| {
        // The caller knows nothing of the file that the upload went to.
        let error = of_images(&error);
        let message = error.message().replace(&archive.path().display().to_string(), "the uploaded archive");
        error.with_message(message)
    })?;
    // An archive says itself what is in it.
    let references: Vec<&str> = loaded.iter().map(|image| image.reference.as_str()).collect();
    audit::makes(format!("projects/{}/images/{}", deps.info.default_project, references.join(",")));
    let image = |image: updraft_oci::LoadedImage| json!({"reference": image.reference, "digest": image.digest});
    Ok(json!({"images": loaded.into_iter().map(image).collect::<Vec<_>>()}))
}

/// `GET /updraft/v1/images`.
///
/// # Errors
/// `Internal` when the store cannot be read.
pub(crate) async fn list(deps: &Served, permit: &Permitted) -> Result<Value, Error> {
    let images = deps.images.open(permit).list().await.map_err(|error| of_images(&error))?;
    let image = |image: updraft_oci::ListedImage| {
        json!({
            "reference": image.reference,
            "digest": image.digest,
            "size": image.size.to_string(),
            "created": image.created,
        })
    };
    Ok(json!({"images": images.into_iter().map(image).collect::<Vec<_>>()}))
}

/// `DELETE /updraft/v1/images?name=reference`.
///
/// # Errors
/// `NotFound`.
pub(crate) async fn delete(deps: &Served, permit: &Permitted, parameters: &Parameters) -> Result<Value, Error> {
    deps.images.open(permit).delete(parameters.need("name")?).await.map_err(|error| of_images(&error))?;
    Ok(json!({}))
}

/// Writes a body to a file that goes when it is dropped: with the call, or with the client.
async fn receive<B: AnyBody>(deps: &Served, mut body: Bounded<B>) -> Result<tempfile::NamedTempFile, Error> {
    let host = |error: io::Error| of_host(&format!("upload to {}", deps.scratch.display()), &error);
    let named = tempfile::Builder::new().prefix(PREFIX).suffix(SUFFIX).tempfile_in(&deps.scratch).map_err(host)?;
    let mut file = tokio::fs::File::from_std(named.reopen().map_err(host)?);
    // Room that was seen and not yet written to.
    let mut room = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| error.to_error())?.into_data() else { continue };
        let size = data.len() as u64;
        if room < size {
            room = size.max(STRIDE);
            check_space(named.as_file(), room).map_err(host)?;
        }
        room -= size;
        file.write_all(&data).await.map_err(host)?;
    }
    file.flush().await.map_err(host)?;
    Ok(named)
}

fn of_images(error: &ImageError) -> Error {
    let kind = match error {
        ImageError::Invalid { .. } | ImageError::Unfit { .. } => ErrorKind::InvalidArgument,
        ImageError::Missing { .. } => ErrorKind::NotFound,
        ImageError::Denied { .. } | ImageError::Forbidden { .. } => ErrorKind::PermissionDenied,
        ImageError::Unavailable { .. } | ImageError::Held => ErrorKind::Unavailable,
        ImageError::Host { operation, source } => return of_host(operation, source),
        other => return Error::internal(other),
    };
    Error::new(kind, error.to_string())
}

fn of_host(operation: &str, error: &io::Error) -> Error {
    if is_full(error) {
        tracing::warn!(%error, operation, "the disk is full: nothing can be loaded until there is space");
        return Error::new(ErrorKind::ResourceExhausted, "The disk of the server is full: nothing was loaded.");
    }
    Error::internal(format!("{operation}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_as_one() {
        let full = |kind: io::ErrorKind| ImageError::Host { operation: "write x".to_owned(), source: kind.into() };
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let error = of_images(&full(kind));
            assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
            assert!(error.message().contains("disk"), "{error}");
        }
        assert_eq!(of_images(&full(io::ErrorKind::PermissionDenied)).kind(), ErrorKind::Internal);
    }
}
