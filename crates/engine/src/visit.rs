//! Connections that instances open to the server itself.

use tokio::net::TcpStream;
use updraft_base::Seat;
use updraft_model::instance::InstanceId;

/// A connection that an instance opened to the server.
#[derive(Debug)]
pub struct Visit {
    /// The connection.
    pub stream: TcpStream,
    /// Whose it is, known by where it came in and not by what it says.
    pub id: InstanceId,
    /// Which of the server's ports it meant.
    pub port: u16,
    /// Its place among the connections of the instance, to be dropped with it.
    pub seat: Seat<InstanceId>,
}
