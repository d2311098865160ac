//! Listeners for what instances send to addresses of ours. On any port: the address is the gateway's, and others may listen
//! on all addresses.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
};

use super::NetError;

/// Listeners, and where they are.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) metadata: TcpListener,
    pub(super) place: SocketAddrV4,
    /// By the port of the server that is meant.
    pub(super) doors: Vec<(u16, TcpListener)>,
    pub(super) places: Vec<(u16, SocketAddrV4)>,
}

// === impl Doors ===

impl Doors {
    /// Listens for the metadata server, and for each of these ports.
    pub(super) fn open(gateway: Ipv4Addr, ports: &[u16]) -> Result<Self, NetError> {
        let listen = || listen(gateway).map_err(NetError::io("listen for instances"));
        let (metadata, place) = listen()?;
        let mut opened = Self { metadata, place, doors: Vec::new(), places: Vec::new() };
        for &port in ports {
            let (door, place) = listen()?;
            opened.doors.push((port, door));
            opened.places.push((port, place));
        }
        Ok(opened)
    }
}

fn listen(gateway: Ipv4Addr) -> io::Result<(TcpListener, SocketAddrV4)> {
    let listener = TcpListener::bind((gateway, 0))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    Ok((listener, SocketAddrV4::new(gateway, port)))
}
