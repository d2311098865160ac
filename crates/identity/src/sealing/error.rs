//! Why nothing can be sealed or opened.

use std::{io, path::PathBuf};

/// Why the installation key cannot be used. None of these tells anything of the key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealingError {
    /// The file cannot be read or written.
    #[error("cannot {operation} the installation key {}", path.display())]
    File {
        /// `read` or `write`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// Others on this machine can read the file.
    #[error("the installation key {} can be read by others (mode {mode:03o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is no such variable or credential.
    #[error("the installation key is to be in {place}, and that is not there")]
    Missing {
        /// Where it was to be.
        place: String,
    },
    /// What is there is no key.
    #[error("the installation key in {place} is not fit: {cause}")]
    Unfit {
        /// Where it is.
        place: String,
        /// What is wrong, without the key.
        cause: String,
    },
    /// The keys come from somebody who has to change them there.
    #[error(
        "the installation key is in {place}, which is not the server's to write: put a new key before the others there and start the server again, which then seals everything anew"
    )]
    NotOurs {
        /// Where it is.
        place: String,
    },
    /// Something was sealed with a key that is not there.
    #[error("{count} stored values of secrets are sealed with the key {key}, which is not in {place}")]
    Unknown {
        /// How many values.
        count: usize,
        /// The id of the key; of several, one.
        key: String,
        /// Where the keys are.
        place: String,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for an installation key")]
    Random,
}

// === impl SealingError ===

impl SealingError {
    /// What to do about it, when there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exposed { path, .. } => Some(format!(
                "if nobody has seen it, run 'chmod 600 {}'; else change the key after that",
                path.display()
            )),
            Self::Missing { .. } | Self::Unknown { .. } => Some(
                "put the key back that was there; without it the values of secrets cannot be read, by nobody"
                    .to_owned(),
            ),
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("put the file back; without it the values of secrets cannot be read, by nobody".to_owned())
            }
            Self::Unfit { .. } => Some("a key is 32 random bytes in base64: `openssl rand -base64 32`".to_owned()),
            Self::File { .. } | Self::NotOurs { .. } | Self::Random => None,
        }
    }

    /// Would it be the same at every start?
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::File { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Random => false,
            _ => true,
        }
    }

    /// The cause as an addition to a sentence, for a log.
    pub(super) fn because(&self) -> String {
        std::error::Error::source(self).map(|cause| format!(": {cause}")).unwrap_or_default()
    }
}
