//! Images from files.

use std::path::Path;

use crate::{digest::Digest, error::ImageError, store::ImageStore};

/// An image that came from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    /// What to deploy it by: `localhost/repository:tag`.
    pub reference: String,
    /// The digest of its manifest.
    pub digest: Digest,
}
