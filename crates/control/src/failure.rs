//! Errors of what lies below, in the words of the API.

use updraft_model::{Error, ErrorKind};
use updraft_store::StoreError;

/// What a store error means to a caller.
pub(crate) fn of_store(error: StoreError) -> Error {
    match error {
        StoreError::Conflict { key, .. } => {
            Error::new(ErrorKind::Aborted, format!("Resource '{}' was changed meanwhile; try again.", key.name))
        }
        StoreError::Full { .. } => {
            tracing::warn!(%error, "the disk is full: nothing can be changed until there is space");
            Error::new(ErrorKind::ResourceExhausted, "The disk of the server is full: nothing was changed.")
        }
        other => Error::internal(other),
    }
}

/// The etag is not that of the resource.
pub(crate) fn etag_mismatch(resource: &str) -> Error {
    let rule = "The etag provided does not match the current etag of the resource";
    Error::new(ErrorKind::Aborted, format!("{rule} '{resource}'."))
}
