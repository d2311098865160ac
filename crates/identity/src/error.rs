//! Why nobody could be let in.

use std::{io, path::PathBuf};

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
}

// === impl IdentityError ===

impl IdentityError {
    /// What to do about it, when there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TokenFile { .. } => None,
            Self::TokenExposed { path, .. } => {
                Some(format!("if nobody has seen it, run 'chmod 600 {0}'; else remove it and restart", path.display()))
            }
            Self::TokenUnfit { path } => {
                Some(format!("remove {} and restart; a new token is made then", path.display()))
            }
        }
    }
}
