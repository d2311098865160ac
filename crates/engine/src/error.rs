//! What an engine cannot do.

use updraft_model::{diagnosis::ImageFault, instance::InstanceId};

/// Why an engine could not do what it was told.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The image, its tag or one of its blobs is nowhere to be found.
    #[error("image '{image}' not found: {cause}")]
    ImageMissing {
        /// The image.
        image: String,
        /// What the registry said.
        cause: String,
    },
    /// The registry refused our credentials.
    #[error("access to image '{image}' was denied: {cause}")]
    ImageDenied {
        /// The image.
        image: String,
        /// What the registry said.
        cause: String,
    },
    /// The image cannot run here: another architecture, no command, a malformed layer.
    #[error("image '{image}' cannot be run: {cause}")]
    ImageUnfit {
        /// The image.
        image: String,
        /// Why, as a kind: `Platform`, `NoCommand`, `Corrupt` or `Unfit`.
        fault: ImageFault,
        /// Why.
        cause: String,
    },
    /// `start` before `prepare`.
    #[error("image '{image}' of instance {id} has not been prepared")]
    NotPrepared {
        /// The instance.
        id: InstanceId,
        /// The image.
        image: String,
    },
    /// The registry could not be reached, or the network broke; worth another try.
    #[error("image '{image}' could not be fetched: {cause}")]
    Unavailable {
        /// The image.
        image: String,
        /// What broke.
        cause: String,
    },
    /// The engine, as it is set up, cannot run such an instance at all.
    #[error("{feature}: {cause}")]
    Unsupported {
        /// What was asked for.
        feature: String,
        /// Why not.
        cause: String,
    },
    /// The disk of the host is full.
    #[error("{operation}: {cause}")]
    NoSpace {
        /// What was tried.
        operation: String,
        /// What the host said.
        cause: String,
    },
    /// The host refused: no memory, no space, no permission.
    #[error("{operation}: {cause}")]
    Host {
        /// What was tried.
        operation: String,
        /// What the host said.
        cause: String,
    },
}
