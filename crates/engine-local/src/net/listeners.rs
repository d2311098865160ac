//! Who listens in a network namespace: asked of the kernel, not of the program.
//!
//! Connecting to see whether an application is up costs two packets with all that looks at them, for every time that
//! it is not, and the application's own CPU has to pay for them. The kernel's socket diagnosis looks the port up as it
//! does for a packet that comes in, and sends none (`sock_diag(7)`: one socket by its addresses, `inet_diag_req_v2`).

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Mutex, PoisonError},
};

use super::netlink::{Batch, Socket, Subsystem};

/// The listeners of one namespace. Keeps the namespace alive.
#[derive(Debug)]
pub(crate) struct Listeners {
    socket: Mutex<Socket>,
    address: Ipv4Addr,
    link: u32,
}

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `TCP_LISTEN`, as `inet_diag_msg` has it.
const LISTEN: u8 = 10;
/// `INET_DIAG_NOCOOKIE`: any socket with these addresses.
const ANY: [u8; 8] = [0xff; 8];

// === impl Listeners ===

impl Listeners {
    /// Those that connections to `address` meet which come in through the link with this index (0: through any). The
    /// socket belongs to the namespace that is meant.
    pub(super) fn new(socket: Socket, address: Ipv4Addr, link: u32) -> Self {
        Self { socket: Mutex::new(socket), address, link }
    }

    /// Does this kernel tell? One without the diagnosis of TCP says that nobody listens, so it is asked of `one` that
    /// does, in the namespace of the calling thread.
    pub(super) fn are_told(one: &TcpListener) -> bool {
        let Ok(SocketAddr::V4(place)) = one.local_addr() else { return false };
        let here = Socket::open(Subsystem::Diagnosis).map(|socket| Self::new(socket, *place.ip(), 0));
        here.is_ok_and(|listeners| listeners.has(place.port()) == Some(true))
    }

    /// Would somebody take a connection to this port? `None` when the kernel does not say; to be relied on where
    /// [`Listeners::are_told`].
    pub(crate) fn has(&self, port: u16) -> Option<bool> {
        let mut batch = Batch::default();
        batch.plain("look for a listener", BY_FAMILY, 0, &self.request(port));
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        match socket.ask(batch) {
            // `idiag_state` follows `idiag_family`.
            Ok(found) => Some(*found.body.get(1)? == LISTEN),
            Err(error) if error.is_missing() => Some(false),
            Err(_) => None,
        }
    }

    /// `struct inet_diag_req_v2`: family, protocol, extensions, padding, states; then `struct inet_diag_sockid`, whose
    /// source is the listener's side.
    fn request(&self, port: u16) -> [u8; 56] {
        let mut request = [0; 56];
        request[0] = libc::AF_INET as u8;
        request[1] = libc::IPPROTO_TCP as u8;
        request[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
        request[8..10].copy_from_slice(&port.to_be_bytes());
        request[12..16].copy_from_slice(&self.address.octets());
        request[44..48].copy_from_slice(&self.link.to_ne_bytes());
        request[48..56].copy_from_slice(&ANY);
        request
    }
}
