//! Whether instances have users of their own.

use std::path::Path;

use super::{leftovers::Premises, runtime::Runtime};
use crate::{
    sandbox::{isolation::Isolation, users::Identities},
    survey::trial,
};

/// Users of their own where the kernel and the file system of the images can do it; said in the log where not. An OCI
/// runtime is not asked for them: docs/runtime.md says why.
pub(super) async fn choose(isolation: Isolation, runtime: Option<&Runtime>, premises: &Premises) -> Identities {
    if isolation.is_shared() || runtime.is_some() {
        return Identities::Hosts;
    }
    let run_dir = premises.run_dir.clone();
    let data_dir = run_dir.parent().map(Path::to_owned).unwrap_or_default();
    let tried = tokio::task::spawn_blocking(move || {
        let images = data_dir.join("images");
        trial::identities(if images.is_dir() { &images } else { &data_dir }, &run_dir)
    });
    match tried.await {
        Ok(Ok(())) => Identities::Own,
        Ok(Err(cause)) => {
            tracing::warn!(cause, "instances have no user namespace: their root is the host's, with few capabilities");
            Identities::Hosts
        }
        Err(_) => Identities::Hosts,
    }
}
