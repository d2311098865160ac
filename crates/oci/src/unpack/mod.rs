//! From a layer's blob to a directory that overlayfs can use.
//!
//! A layer is hostile until proven otherwise. Everything happens below one directory handle, paths
//! are resolved by the kernel with `RESOLVE_IN_ROOT`, and every quantity that a tar can announce has
//! a bound. What may not be is refused with a sentence, never repaired silently.

mod files;
mod hides;
mod metadata;
mod place;
mod stream;
mod tar;
#[cfg(test)]
mod tests;

pub use self::hides::Hides;
pub(crate) use self::{files::Files, metadata::is_opaque, stream::Compression};

use std::{
    io::{self, Read},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use self::{place::Placer, stream::LayerStream, tar::TarReader};
use crate::{digest::Digest, error::ImageError};

/// Bounds on what an image may unpack to. They are far above what images are and below what hurts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Uncompressed bytes of all layers of an image.
    pub bytes: u64,
    /// Entries of one layer.
    pub entries: u64,
    /// How many times larger than its blob a layer may be, once it exceeds `ratio_from`.
    pub ratio: u64,
    /// Uncompressed bytes of one layer below which the ratio does not matter.
    pub ratio_from: u64,
    /// Length of a path, in bytes.
    pub path: usize,
    /// Directories on a path.
    pub depth: usize,
}

/// What all layers of one image may still unpack to, in bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    left: AtomicU64,
}

/// What became of a layer.
#[derive(Debug, Default)]
pub(crate) struct Unpacked {
    /// The digest of the uncompressed tar.
    pub(crate) diff_id: Option<Digest>,
    /// The size of the uncompressed tar.
    pub(crate) bytes: u64,
    /// Directories that entries lie in but that have no entry of their own, relative, in order.
    pub(crate) implicit: Vec<String>,
    /// What it hides of lower layers.
    pub(crate) hides: Hides,
    /// What was left out, in sentences.
    pub(crate) warnings: Vec<String>,
}

/// Why a layer could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    /// It is malformed, or wants what it must not have.
    #[error("{0}")]
    Layer(String),
    /// The host refused.
    #[error("{operation}")]
    Host { operation: String, source: io::Error },
}

/// Unpacks the layer in `blob` into the empty directory `into`, whose name is the caller's to settle.
pub(crate) fn unpack(
    blob: impl Read,
    into: &Path,
    limits: &UnpackLimits,
    budget: &Budget,
) -> Result<Unpacked, UnpackError> {
    let mut reader = TarReader::new(LayerStream::open(blob, limits, budget)?, limits);
    let mut placer = Placer::open(into, limits)?;
    let mut entries = 0;
    while let Some(entry) = reader.next()? {
        entries += 1;
        if entries > limits.entries {
            return Err(UnpackError::Layer(format!("the layer has more than {} entries", limits.entries)));
        }
        placer.place(&entry, &mut reader)?;
    }
    let mut unpacked = placer.finish()?;
    let (diff_id, bytes) = reader.into_inner().finish()?;
    unpacked.diff_id = Some(diff_id);
    unpacked.bytes = bytes;
    Ok(unpacked)
}

// === impl UnpackLimits ===

impl Default for UnpackLimits {
    /// 64 GiB, a million entries, 500-fold beyond 256 MiB, and Linux's own bounds for paths.
    fn default() -> Self {
        Self { bytes: 64 << 30, entries: 1_000_000, ratio: 500, ratio_from: 256 << 20, path: 4095, depth: 200 }
    }
}

// === impl Budget ===

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, left: AtomicU64::new(limit) }
    }

    /// Takes `bytes` from what is left.
    pub(crate) fn spend(&self, bytes: u64) -> Result<(), UnpackError> {
        let taken = self.left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        match taken {
            Ok(_) => Ok(()),
            Err(_) => Err(UnpackError::Layer(format!("its layers unpack to more than {} bytes", self.limit))),
        }
    }
}

// === impl UnpackError ===

impl UnpackError {
    fn layer(text: impl Into<String>) -> Self {
        Self::Layer(text.into())
    }

    /// An error of reading: of the blob's file if the kernel said it, otherwise of its content.
    fn reading(error: io::Error) -> Self {
        if error.raw_os_error().is_some() {
            return Self::Host { operation: "read the layer".to_owned(), source: error };
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::layer("the layer ends in the middle of an entry"),
            _ => Self::Layer(error.to_string()),
        }
    }

    /// For `image`, as everybody else sees it.
    pub(crate) fn of_image(self, image: &str, layer: &Digest) -> ImageError {
        match self {
            Self::Layer(cause) => ImageError::corrupt(image, format!("layer {layer}: {cause}")),
            Self::Host { operation, source } => ImageError::host(format!("unpack layer {layer}: {operation}"), source),
        }
    }
}
