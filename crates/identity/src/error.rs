//! Why nobody could be let in.

use std::{io, path::PathBuf};

use crate::key::KeyError;

/// Why the credentials of the server could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The token file could not be read or made.
    #[error("cannot {operation} the token file {}", path.display())]
    TokenFile {
        /// `read` or `write`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// Others on this machine can read the token.
    #[error("the token file {} can be read by others (mode {mode:03o})", path.display())]
    TokenExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What is in the token file cannot be sent in a header, or is too short to be a secret.
    #[error("the token file {} does not hold one line of at least {} printable characters", path.display(), crate::token::SHORTEST)]
    TokenUnfit {
        /// The file.
        path: PathBuf,
    },
    /// A file of keys could not be read or written.
    #[error("cannot {operation} the keys in {}", path.display())]
    KeyFile {
        /// `read`, `write` or `remove`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// Others on this machine can read keys.
    #[error("the keys in {} can be read by others (mode {mode:03o})", path.display())]
    KeyFileExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What is in a file of keys is none of ours.
    #[error("{} cannot be used: {rule}", path.display())]
    KeyFileUnfit {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        rule: String,
    },
    /// A key could not be made, or does not sign.
    #[error("no key to sign with")]
    Key(#[from] KeyError),
    /// There is no key that signs.
    #[error("no key to sign with")]
    NoSigner,
}

// === impl IdentityError ===

impl IdentityError {
    /// What to do about it, when there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TokenFile { .. } | Self::KeyFile { .. } | Self::Key(_) | Self::NoSigner => None,
            Self::KeyFileExposed { path, .. } => Some(format!(
                "if nobody has seen them, run 'chmod 600 {0}'; else remove it and restart: tokens that they signed end then",
                path.display()
            )),
            Self::KeyFileUnfit { path, .. } => Some(format!(
                "remove {} and restart; new keys are made then, and tokens of the old ones end",
                path.display()
            )),
            Self::TokenExposed { path, .. } => {
                Some(format!("if nobody has seen it, run 'chmod 600 {0}'; else remove it and restart", path.display()))
            }
            Self::TokenUnfit { path } => {
                Some(format!("remove {} and restart; a new token is made then", path.display()))
            }
        }
    }
}
