//! Where installation keys come from.

use std::{
    fmt, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use updraft_model::Confidential;

use super::SealingError;
use crate::durable;

/// Where systemd puts the credentials of a service.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// The mode of the file: for its owner only.
const MODE: u32 = 0o600;

/// Where installation keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file, which the server makes and writes.
    File(PathBuf),
    /// A variable of the server's environment.
    Variable(String),
    /// A credential of the server's systemd unit.
    Credential(String),
}

// === impl KeySource ===

impl KeySource {
    /// Where the key is when nobody says.
    pub fn default_of(data_dir: &Path) -> Self {
        Self::File(data_dir.join("keys/installation.key"))
    }

    /// The text of all keys.
    pub(super) fn read(&self) -> Result<Confidential, SealingError> {
        let missing = || SealingError::Missing { place: self.to_string() };
        match self {
            Self::File(path) => {
                // What a crash left of a renewal: the file itself is whole.
                durable::remove(&durable::draft(path)).map_err(failed("write", path))?;
                read_private(path)
            }
            Self::Variable(name) => match std::env::var_os(name) {
                Some(text) => Ok(Confidential::new(text.into_encoded_bytes())),
                None => Err(missing()),
            },
            Self::Credential(name) => {
                let directory = std::env::var_os(CREDENTIALS).ok_or_else(missing)?;
                // Only the unit's own user sees it, whatever its mode.
                match fs::read(Path::new(&directory).join(name)) {
                    Ok(text) => Ok(Confidential::new(text)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
                    Err(source) => {
                        Err(SealingError::File { operation: "read", path: Path::new(&directory).join(name), source })
                    }
                }
            }
        }
    }

    /// Is it a file that is not there?
    pub(super) fn is_missing_file(&self) -> bool {
        match self {
            Self::File(path) => fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound),
            Self::Variable(_) | Self::Credential(_) => false,
        }
    }

    /// Writes all keys; the old ones or the new ones are there, whatever happens.
    pub(super) fn write(&self, keys: &Confidential) -> Result<(), SealingError> {
        let Self::File(path) = self else { return Err(SealingError::NotOurs { place: self.to_string() }) };
        let written = match path.parent() {
            Some(dir) if !dir.exists() => durable::private_dir(dir),
            _ => Ok(()),
        };
        written.and_then(|()| durable::write(path, keys.expose(), MODE)).map_err(failed("write", path))
    }

    pub(super) fn unfit(&self, cause: String) -> SealingError {
        SealingError::Unfit { place: self.to_string(), cause }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Variable(name) => write!(f, "the environment variable {name}"),
            Self::Credential(name) => write!(f, "the systemd credential {name}"),
        }
    }
}

/// The rule that a spelling of a source breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be file:/PATH, env:NAME or credential:NAME")]
pub struct UnknownKeySource;

impl FromStr for KeySource {
    type Err = UnknownKeySource;

    fn from_str(text: &str) -> Result<Self, UnknownKeySource> {
        let is_name = |name: &str| !name.is_empty() && !name.contains(['/', '=', '\0']) && !matches!(name, "." | "..");
        match text.split_once(':') {
            Some(("file", path)) if path.starts_with('/') => Ok(Self::File(PathBuf::from(path))),
            Some(("env", name)) if is_name(name) => Ok(Self::Variable(name.to_owned())),
            Some(("credential", name)) if is_name(name) => Ok(Self::Credential(name.to_owned())),
            _ => Err(UnknownKeySource),
        }
    }
}

fn read_private(path: &Path) -> Result<Confidential, SealingError> {
    let mode = fs::metadata(path).map_err(failed("read", path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SealingError::Exposed { path: path.to_owned(), mode });
    }
    Ok(Confidential::new(fs::read(path).map_err(failed("read", path))?))
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> SealingError {
    move |source| SealingError::File { operation, path: path.to_owned(), source }
}
