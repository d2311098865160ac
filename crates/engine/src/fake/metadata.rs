//! The metadata server of the reference engine's instances, as they ask it.

use std::io;

use tokio::net::{TcpListener, TcpStream};
use updraft_model::instance::InstanceId;

use super::FakeEngine;

impl FakeEngine {
    /// A connection of the instance `id` to the metadata server, as its program would open it.
    ///
    /// # Errors
    /// Those of the connection; `NotFound` when nobody answers.
    pub async fn ask_metadata(&self, id: &InstanceId) -> io::Result<TcpStream> {
        let sender = self.lock().metadata.clone().ok_or(io::ErrorKind::NotFound)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let client = TcpStream::connect(listener.local_addr()?).await?;
        let (server, _) = listener.accept().await?;
        sender.send((server, id.clone())).await.map_err(|_| io::ErrorKind::NotFound)?;
        Ok(client)
    }
}
