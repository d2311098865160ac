//! Why a server could not start.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use updraft_apiserver::BoxError;
use updraft_engine::EngineError;
use updraft_engine_local::{Isolation, Possible, isolations};
use updraft_identity::{IdentityError, OpenBind, TlsError};
use updraft_oci::ImageError;
use updraft_store::StoreError;
use updraft_telemetry::LogError;

use crate::backup::RestoreError;

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
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
    /// The token cannot be read or made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
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
