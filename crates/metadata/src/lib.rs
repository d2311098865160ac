//! The metadata server: what code inside an instance learns of itself, and how it gets tokens.
//!
//! Connections come from the engine with the instance that each is of ([`Metadata::serve`]): nothing in a request says who
//! asks. What an instance is comes from the fleet ([`InstanceBook`]), whether its account may be used from the control
//! plane ([`AccountBook`]), tokens from [`Tokens`].
//!
//! * [`ask`]: a request, read and held against the rules of every request. Pure.
//! * [`tree`]: what there is to be asked, and its forms. Pure.
//! * [`answer`]: status, headers, body.
//! * [`mint`]: tokens, kept until shortly before they expire.
//! * [`serve`]: connections, and what waits.
//!
//! Tasks: one `metadata connection` for each. Channels: connections, `instances` and `accounts` in.
//!
//! Source of paths and forms: the container runtime contract of Cloud Run, and Compute Engine's documentation of its
//! metadata server, which Google's client libraries are written against. `docs/metadata.md` is the list.

mod answer;
mod ask;
mod mint;
mod serve;
mod tree;

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
};
use updraft_base::{Clock, Tasks};
use updraft_identity::Tokens;
use updraft_model::{account::AccountBook, channel::InstanceBook, instance::InstanceId};

pub use serve::Metadata;

/// What a metadata server works with.
pub struct MetadataDeps {
    /// Connections, and whose each is.
    pub callers: mpsc::Receiver<(TcpStream, InstanceId)>,
    /// What the instances are.
    pub instances: watch::Receiver<Arc<InstanceBook>>,
    /// Which accounts may be used.
    pub accounts: watch::Receiver<Arc<AccountBook>>,
    /// Makes tokens.
    pub tokens: Tokens,
    /// Time.
    pub clock: Clock,
    /// Where the connections live.
    pub tasks: Tasks,
}

impl fmt::Debug for MetadataDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetadataDeps").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}
