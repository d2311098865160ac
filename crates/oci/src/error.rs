//! What can go wrong with images and with their store.

use std::io;

use crate::digest::Digest;

/// Why an image could not be resolved, fetched, unpacked or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The reference, or a name given for an image, breaks a rule.
    #[error("invalid image reference '{image}': {rule}")]
    Invalid {
        /// What was given.
        image: String,
        /// The rule.
        rule: String,
    },
    /// The image, its tag or one of its blobs is nowhere to be found.
    #[error("image '{image}' not found: {cause}")]
    Missing {
        /// The image.
        image: String,
        /// Where it was looked for.
        cause: String,
    },
    /// The registry wants other credentials, or any.
    #[error("access to image '{image}' was denied: {cause}")]
    Denied {
        /// The image.
        image: String,
        /// What the registry said.
        cause: String,
    },
    /// The image, or where its registry sends us, is where the server fetches nothing for its users.
    #[error("image '{image}' is not fetched: {cause}")]
    Forbidden {
        /// The image.
        image: String,
        /// Which rule says so, and which setting would allow it.
        cause: String,
    },
    /// The image cannot run here: another architecture, a malformed or hostile layer, no image at all.
    #[error("image '{image}' cannot be run: {cause}")]
    Unfit {
        /// The image.
        image: String,
        /// Why, as a kind.
        kind: UnfitKind,
        /// Why.
        cause: String,
    },
    /// The registry could not be reached, or broke off; worth another try.
    #[error("image '{image}' could not be fetched: {cause}")]
    Unavailable {
        /// The image.
        image: String,
        /// What broke.
        cause: String,
    },
    /// A later version laid the store out.
    #[error(
        "the images in {dir} are in layout {found}, which a later version wrote; this one knows layouts up to {known}"
    )]
    TooNew {
        /// The store's directory.
        dir: String,
        /// The layout found.
        found: u32,
        /// The latest that this version knows.
        known: u32,
    },
    /// Nothing can be removed while somebody copies it (see [`Hold`](crate::Hold)).
    #[error("the images are being copied, so nothing can be removed from them now; try again later")]
    Held,
    /// The host refused: no space, no permission.
    #[error("{operation}")]
    Host {
        /// What was tried, with the path.
        operation: String,
        /// What the host said.
        #[source]
        source: io::Error,
    },
}

/// Why an image cannot run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnfitKind {
    /// It is for other machines.
    Platform,
    /// A part of it is not what its digest or its manifest says, or cannot be unpacked.
    Corrupt,
    /// It breaks another rule.
    Other,
}

/// Why the content store refused. Each variant has its own error code in the distribution protocol.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// Not a repository name.
    #[error("invalid repository name '{name}': {rule}")]
    NameInvalid {
        /// What was given.
        name: String,
        /// The rule.
        rule: &'static str,
    },
    /// Not a tag.
    #[error(
        "invalid tag '{0}': a tag is 1 to 128 letters, digits, '_', '.' or '-' and starts with none of the last two"
    )]
    TagInvalid(String),
    /// There is no such repository.
    #[error("repository '{0}' is not known")]
    RepositoryUnknown(String),
    /// The repository has no such manifest or tag.
    #[error("manifest '{0}' is not known")]
    ManifestUnknown(String),
    /// The manifest cannot be understood.
    #[error("invalid manifest: {0}")]
    ManifestInvalid(String),
    /// The manifest names a blob or a manifest that the repository does not hold.
    #[error("the manifest refers to {0}, which the repository does not hold")]
    ManifestBlobUnknown(Digest),
    /// The repository has no such blob.
    #[error("blob {0} is not known")]
    BlobUnknown(Digest),
    /// The bytes are not what their digest says.
    #[error("the content is {actual}, not {expected}")]
    DigestMismatch {
        /// The digest announced.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// Nothing can be removed while somebody copies it (see [`Hold`](crate::Hold)).
    #[error("the images are being copied, so nothing can be removed from them now; try again later")]
    Held,
    /// The repository has no such upload under way.
    #[error("upload '{0}' is not known")]
    UploadUnknown(String),
    /// There are too many uploads under way.
    #[error("{0} uploads are under way, and more are not taken")]
    UploadsTooMany(usize),
    /// An upload that broke earlier was written to again.
    #[error("the upload broke off in the middle of a write")]
    UploadBroken,
    /// The host refused: no space, no permission.
    #[error("{operation}")]
    Host {
        /// What was tried, with the path.
        operation: String,
        /// What the host said.
        #[source]
        source: io::Error,
    },
}

// === impl ImageError ===

impl ImageError {
    pub(crate) fn missing(image: &str, cause: impl Into<String>) -> Self {
        Self::Missing { image: image.to_owned(), cause: cause.into() }
    }

    pub(crate) fn unfit(image: &str, cause: impl Into<String>) -> Self {
        Self::Unfit { image: image.to_owned(), kind: UnfitKind::Other, cause: cause.into() }
    }

    pub(crate) fn corrupt(image: &str, cause: impl Into<String>) -> Self {
        Self::Unfit { image: image.to_owned(), kind: UnfitKind::Corrupt, cause: cause.into() }
    }

    pub(crate) fn other_platform(image: &str, cause: impl Into<String>) -> Self {
        Self::Unfit { image: image.to_owned(), kind: UnfitKind::Platform, cause: cause.into() }
    }

    pub(crate) fn host(operation: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Host { operation: operation.into(), source: source.into() }
    }

    /// What `error` of the content store means for `image`.
    pub(crate) fn of_content(image: &str, error: ContentError) -> Self {
        match error {
            ContentError::Host { operation, source } => Self::Host { operation, source },
            ContentError::NameInvalid { rule, .. } => Self::Invalid { image: image.to_owned(), rule: rule.to_owned() },
            ContentError::TagInvalid(_) => Self::Invalid { image: image.to_owned(), rule: error.to_string() },
            ContentError::RepositoryUnknown(_)
            | ContentError::ManifestUnknown(_)
            | ContentError::BlobUnknown(_)
            | ContentError::UploadUnknown(_)
            | ContentError::ManifestBlobUnknown(_) => Self::missing(image, error.to_string()),
            ContentError::Held => Self::Held,
            ContentError::UploadsTooMany(_) => Self::Unavailable { image: image.to_owned(), cause: error.to_string() },
            ContentError::ManifestInvalid(_) | ContentError::DigestMismatch { .. } | ContentError::UploadBroken => {
                Self::corrupt(image, error.to_string())
            }
        }
    }
}

// === impl ContentError ===

impl ContentError {
    /// Did the host refuse for want of space, on the disk or in a quota?
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Host { source, .. } if crate::space::is_full(source))
    }

    pub(crate) fn host(operation: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Host { operation: operation.into(), source: source.into() }
    }
}
