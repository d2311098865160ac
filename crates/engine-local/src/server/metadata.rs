//! A place for the metadata server: what instances send to 169.254.169.254, and who it was.
//!
//! The network leads that address, from every instance, to a listener of ours and to nothing else; who asks is known by
//! the address of the connection, which an instance cannot choose (`net`). Who answers takes the connections
//! ([`updraft_engine::Engine::metadata`]). Until somebody does, the answer is that there is nothing: clients that look
//! whether they run in Google's cloud must get an answer, or they wait.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
};
use updraft_base::{Clock, OnFailure};
use updraft_model::instance::InstanceId;

use super::{callers, engine::Shared};

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
pub(super) async fn serve(shared: Arc<Shared>, listener: TcpListener, ended: watch::Receiver<bool>) {
    let answered = Arc::new(Semaphore::new(ANSWERED));
    let desk = shared.clone();
    callers::take(shared, listener, ended, move |stream, id| match desk.desk.sender() {
        // Full, or gone: the connection is closed, and the client asks again.
        Some(sender) => drop(sender.try_send((stream, id))),
        None => {
            let Ok(permit) = answered.clone().try_acquire_owned() else { return };
            let clock = desk.clock.clone();
            desk.tasks.spawn("metadata answer", OnFailure::Log, async move {
                refuse(stream, &clock).await;
                drop(permit);
            });
        }
    })
    .await;
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
