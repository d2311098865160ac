//! What went wrong with an image, in the words of the diagnosis.

use std::io;

use updraft_engine::EngineError;
use updraft_model::{Reason, diagnosis::ImageFault};
use updraft_oci::{ImageError, UnfitKind};
use updraft_plan::diagnosis::{Happened, reason};

use crate::pull::Fault;

// === impl Fault ===

impl From<ImageError> for Fault {
    fn from(error: ImageError) -> Self {
        let image = |fault, image, cause| Happened::Image { fault, image, cause };
        Self::of(match error {
            ImageError::Denied { image: name, cause } => image(ImageFault::Denied, name, cause),
            ImageError::Forbidden { image: name, cause } => image(ImageFault::Forbidden, name, cause),
            ImageError::Missing { image: name, cause } => image(ImageFault::Missing, name, cause),
            ImageError::Invalid { image: name, rule } => image(ImageFault::Unfit, name, rule),
            ImageError::Unfit { image: name, kind, cause } => {
                let fault = match kind {
                    UnfitKind::Platform => ImageFault::Platform,
                    UnfitKind::Corrupt => ImageFault::Corrupt,
                    UnfitKind::Other => ImageFault::Unfit,
                };
                image(fault, name, cause)
            }
            ImageError::Unavailable { image: name, cause } => image(ImageFault::Unreachable, name, cause),
            ImageError::Host { operation, source } => {
                let (cause, kind) = (source.to_string(), source.kind());
                if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                    Happened::NoSpace { operation, cause }
                } else {
                    Happened::Host { operation, cause }
                }
            }
            other => Happened::Host { operation: "resolve the image".to_owned(), cause: other.to_string() },
        })
    }
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        let image = |fault, image, cause| Happened::Image { fault, image, cause };
        Self::of(match error {
            EngineError::ImageMissing { image: name, cause } => image(ImageFault::Missing, name, cause),
            EngineError::ImageDenied { image: name, cause } => image(ImageFault::Denied, name, cause),
            EngineError::ImageUnfit { image: name, fault, cause } => image(fault, name, cause),
            EngineError::Unavailable { image: name, cause } => image(ImageFault::Unreachable, name, cause),
            EngineError::Unsupported { feature, cause } => {
                return Self {
                    lasting: Some(Reason::Internal),
                    happened: Happened::Host { operation: feature, cause },
                };
            }
            EngineError::NoSpace { operation, cause } => Happened::NoSpace { operation, cause },
            EngineError::Host { operation, cause } => Happened::Host { operation, cause },
            other => Happened::Host { operation: "prepare the image".to_owned(), cause: other.to_string() },
        })
    }
}

impl Fault {
    /// Lasting is what is wrong with the image itself, or with our credentials.
    fn of(happened: Happened) -> Self {
        let lasting = match &happened {
            Happened::Image { fault: ImageFault::Unreachable, .. } => None,
            Happened::Image { .. } => Some(reason(&happened)),
            _ => None,
        };
        Self { lasting, happened }
    }
}
