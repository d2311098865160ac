//! Why a server could not start.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use rustix::fs::Access;
use updraft_apiserver::BoxError;
use updraft_engine::EngineError;
use updraft_engine_local::{Isolation, Possible, UnusableRuntime, isolations};
use updraft_identity::{IdentityError, OpenBind, SealingError, TlsError};
use updraft_oci::ImageError;
use updraft_store::StoreError;
use updraft_telemetry::LogError;

use crate::{backup::RestoreError, config::Config};

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used, now or later.
    #[error("the data directory {} cannot be used: {cause}", dir.display())]
    DataDir {
        /// The directory.
        dir: PathBuf,
        /// What is in the way.
        cause: String,
    },
    /// An address that others can reach, and nobody asks who calls.
    #[error(transparent)]
    Bind(#[from] OpenBind),
    /// The isolation that was asked for is not possible here.
    #[error("isolation '{wanted}' is not possible on this host: {cause}")]
    Isolation {
        /// What was asked for.
        wanted: Isolation,
        /// What is in the way.
        cause: String,
        /// What is possible, the strongest first.
        instead: Vec<Isolation>,
    },
    /// The OCI runtime that was asked for is none, or is not there.
    #[error("the OCI runtime cannot be used: {0}")]
    Runtime(#[from] UnusableRuntime),
    /// The token cannot be read or made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The installation key cannot be used, or is not the one that stored secrets are sealed with.
    #[error(transparent)]
    Sealing(#[from] SealingError),
    /// The certificate cannot be read, made or used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The stored state cannot be taken up.
    #[error(transparent)]
    Control(#[from] updraft_model::Error),
    /// The descriptors of the API do not make a service; a fault of the build.
    #[error("the API's descriptors: {0}")]
    Descriptors(BoxError),
    /// The log cannot be opened.
    #[error(transparent)]
    Logs(#[from] LogError),
    /// The data directory was to be restored, and is not.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The state cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The images cannot be opened.
    #[error(transparent)]
    Images(#[from] ImageError),
    /// Containers cannot be run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

// === impl StartError ===

impl StartError {
    /// Would it be the same at every other start, until somebody changes the configuration or the host? Then nobody
    /// should try again by themselves. A port that is taken or a disk that is full may be free the next time.
    pub fn is_unusable(&self) -> bool {
        match self {
            Self::DataDir { .. } | Self::Bind(_) | Self::Isolation { .. } | Self::Runtime(_) => true,
            Self::Identity(error) => {
                use IdentityError as E;
                matches!(
                    error,
                    E::TokenExposed { .. } | E::TokenUnfit { .. } | E::KeyFileExposed { .. } | E::KeyFileUnfit { .. }
                )
            }
            Self::Sealing(error) => error.is_lasting(),
            Self::Tls(error) => matches!(error, TlsError::Exposed { .. } | TlsError::Unfit { .. }),
            Self::Store(error) => matches!(error, StoreError::TooNew { .. }),
            Self::Images(error) => matches!(error, ImageError::TooNew { .. }),
            // Also of an unfinished restore: who runs it again mends it beside us.
            Self::Control(_)
            | Self::Descriptors(_)
            | Self::Logs(_)
            | Self::Restore(_)
            | Self::Engine(_)
            | Self::Listen { .. } => false,
        }
    }
}

/// Can what the configuration says be had on this machine? Only looks.
///
/// # Errors
/// [`StartError::Bind`] and [`StartError::DataDir`].
pub(crate) fn check_config(config: &Config) -> Result<(), StartError> {
    let tls = config.tls.as_ref().map(|tls| tls.listen);
    for address in [config.listen, config.registry_listen].into_iter().chain(tls) {
        updraft_identity::check_bind(config.auth, address)?;
    }
    check_data_dir(&config.data_dir)
}

/// The directory, or the nearest one above it where it can be made, has to take files.
fn check_data_dir(dir: &Path) -> Result<(), StartError> {
    let refused = |cause: String| StartError::DataDir { dir: dir.to_owned(), cause };
    for place in dir.ancestors() {
        let found = match place.metadata() {
            Ok(found) => found,
            // What is below a file is looked for at the file.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
            Err(error) => return Err(refused(format!("{}: {error}", place.display()))),
        };
        if !found.is_dir() {
            return Err(refused(format!("{} is not a directory", place.display())));
        }
        let taken = rustix::fs::access(place, Access::WRITE_OK | Access::EXEC_OK);
        return taken.map_err(|errno| refused(format!("{}: {}", place.display(), io::Error::from(errno))));
    }
    Ok(())
}

/// Why an engine did not start: because its isolation is not possible here, if it is not.
pub(super) fn explained(error: EngineError, wanted: Isolation, data_dir: &Path) -> StartError {
    match impossible(wanted, data_dir) {
        known @ StartError::Isolation { .. } => known,
        _ => error.into(),
    }
}

/// [`StartError::Isolation`] with what is in the way of `wanted`; when nothing seems to be, [`StartError::Engine`] that
/// says so. Blocks for some milliseconds: nothing else is running yet.
pub(super) fn impossible(wanted: Isolation, data_dir: &Path) -> StartError {
    let possible = isolations(&trial_dir(data_dir));
    let is_possible = |one: &Possible| one.outcome.is_ok();
    let cause = possible.iter().find(|one| one.isolation == wanted).and_then(|one| one.outcome.clone().err());
    let instead = possible.iter().filter(|one| is_possible(one)).map(|one| one.isolation).collect();
    match cause {
        Some(cause) => StartError::Isolation { wanted, cause, instead },
        None => StartError::Engine(EngineError::Host {
            operation: format!("start with isolation '{wanted}'"),
            cause: "it seems possible".to_owned(),
        }),
    }
}

/// Where it can be tried out what the file system of the data directory allows: there, or as near as there is a
/// directory.
fn trial_dir(data_dir: &Path) -> PathBuf {
    let mut dirs = data_dir.ancestors();
    dirs.find(|dir| dir.is_dir()).unwrap_or(data_dir).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_is_there_or_can_be_made() {
        let dir = tempfile::TempDir::new().expect("a temporary directory");
        std::fs::write(dir.path().join("file"), "").expect("writable");
        for (name, fits) in [("", true), ("new/er", true), ("file", false), ("file/below", false)] {
            let checked = check_data_dir(&dir.path().join(name));
            assert_eq!(checked.is_ok(), fits, "{name}");
        }
    }

    #[test]
    fn what_may_be_better_at_the_next_start_is_worth_one() {
        let address = ([127, 0, 0, 1], 80).into();
        let taken = StartError::Listen { address, source: io::ErrorKind::AddrInUse.into() };
        let full = StartError::Store(StoreError::Full { operation: "open", cause: "13".to_owned() });
        let locked = StartError::Store(StoreError::Locked { dir: "/d".to_owned(), holder: "process 1".to_owned() });
        for error in [taken, full, locked] {
            assert!(!error.is_unusable(), "{error}");
        }
        let path = PathBuf::from("/d/token");
        let too_new = StartError::Store(StoreError::TooNew { dir: "/d".to_owned(), found: 9, known: 1 });
        for error in [too_new, IdentityError::TokenUnfit { path }.into(), OpenBind { address }.into()] {
            assert!(error.is_unusable(), "{error}");
        }
    }
}
