//! A place for the metadata server: what instances send to 169.254.169.254, and who it was.
//!
//! The network leads that address, from every instance, to a listener of ours and to nothing else; who asks is known by
//! the address of the connection, which an instance cannot choose (`net`). Who answers takes the connections
//! ([`super::LocalEngine::metadata`]). Until somebody does, the answer is that there is nothing: clients that look
//! whether they run in Google's cloud must get an answer, or they wait.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
};
use updraft_base::{Backoff, Clock, OnFailure};
use updraft_model::instance::InstanceId;

use super::engine::Shared;

/// Who answers, if anybody does.
#[derive(Debug, Default)]
pub(super) struct Desk(Mutex<Option<mpsc::Sender<(TcpStream, InstanceId)>>>);

/// Connections that wait for who answers; more than that are closed.
const WAITING: usize = 64;
/// Connections that are answered by us at once; more than that are closed.
const ANSWERED: usize = 64;
/// How long a question may take, and the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest head of a request, in bytes.
const HEAD: usize = 8 << 10;
const NOTHING: &[u8] =
    b"HTTP/1.1 404 Not Found\r\nMetadata-Flavor: Google\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 10\r\nConnection: close\r\n\r\nNot found\n";
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_secs(1);

// === impl Desk ===

impl Desk {
    /// From now on connections come out of what is returned; `None` if they come out elsewhere already.
    pub(super) fn take(&self) -> Option<mpsc::Receiver<(TcpStream, InstanceId)>> {
        let mut desk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if desk.is_some() {
            return None;
        }
        let (sender, receiver) = mpsc::channel(WAITING);
        *desk = Some(sender);
        Some(receiver)
    }

    fn sender(&self) -> Option<mpsc::Sender<(TcpStream, InstanceId)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Takes connections until the engine has ended.
pub(super) async fn serve(shared: Arc<Shared>, listener: TcpListener, mut ended: watch::Receiver<bool>) {
    let answered = Arc::new(Semaphore::new(ANSWERED));
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
                tracing::debug!(%error, "no connection to the metadata server could be taken");
                shared.clock.sleep(backoff.next_delay()).await;
                continue;
            }
        };
        backoff.reset();
        let IpAddr::V4(address) = peer.ip() else { continue };
        // The host itself, or an instance that has just ended.
        let Some(id) = shared.table.at(address) else { continue };
        match shared.desk.sender() {
            // Full, or gone: the connection is closed, and the client asks again.
            Some(sender) => drop(sender.try_send((stream, id))),
            None => {
                let Ok(permit) = answered.clone().try_acquire_owned() else { continue };
                let clock = shared.clock.clone();
                shared.tasks.spawn("metadata answer", OnFailure::Log, async move {
                    refuse(stream, &clock).await;
                    drop(permit);
                });
            }
        }
    }
}

/// Reads a question and answers that there is nothing.
async fn refuse(mut stream: TcpStream, clock: &Clock) {
    let talk = async {
        let mut head = Vec::new();
        let mut buffer = [0; 1024];
        while head.len() < HEAD && !head.windows(4).any(|four| four == b"\r\n\r\n") {
            match stream.read(&mut buffer).await? {
                0 => return Ok(()),
                length => head.extend_from_slice(&buffer[..length]),
            }
        }
        stream.write_all(NOTHING).await?;
        stream.shutdown().await
    };
    // Who does not read the answer does not want it.
    let _: Result<std::io::Result<()>, _> = clock.timeout(PATIENCE, talk).await;
}

// === impl Table ===

impl super::live::Table {
    /// The instance with this address of its own.
    fn at(&self, address: Ipv4Addr) -> Option<InstanceId> {
        self.find(|ground| matches!(ground, super::live::Ground::Own(own) if own.address == address))
    }
}
