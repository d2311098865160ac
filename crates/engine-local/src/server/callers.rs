//! Connections that instances open to listeners of ours, and whose each is.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use updraft_base::Backoff;
use updraft_model::instance::InstanceId;

use super::engine::Shared;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// Takes connections until the engine has ended. Who it is says the address of the connection: what comes in through a
/// cable from any other than the one at its end was dropped before it came here (`net`).
pub(super) async fn take(
    shared: Arc<Shared>,
    listener: TcpListener,
    mut ended: watch::Receiver<bool>,
    hand_on: impl Fn(TcpStream, InstanceId),
) {
    let mut backoff = Backoff::new(FIRST_PAUSE, LAST_PAUSE);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ended.wait_for(|&ended| ended) => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Most often too many open files: some will be closed.
                tracing::debug!(%error, "no connection of an instance could be taken");
                shared.clock.sleep(backoff.next_delay()).await;
                continue;
            }
        };
        backoff.reset();
        let IpAddr::V4(address) = peer.ip() else { continue };
        // Nobody: the host itself, or an instance that has just ended.
        if let Some(id) = shared.table.at(address) {
            hand_on(stream, id);
        }
    }
}

// === impl Table ===

impl super::live::Table {
    /// The instance with this address of its own.
    fn at(&self, address: Ipv4Addr) -> Option<InstanceId> {
        self.find(|ground| matches!(ground, super::live::Ground::Own(own) if own.address == address))
    }
}
