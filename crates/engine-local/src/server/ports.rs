//! Ports of the network that instances share with the host.

use std::{
    collections::HashSet,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

/// The ports of instances. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Ports {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    next: u16,
    taken: HashSet<u16>,
}

/// A port that is one instance's until this is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) port: u16,
    state: Arc<Mutex<State>>,
}

/// Below the ports that Linux gives to connections by itself (from 32768 on), above those that services are known
/// by: a port that is free when it is looked at stays free until its instance listens.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

// === impl Ports ===

impl Ports {
    /// `seed` makes engines on one host begin at different ports.
    pub(super) fn new(seed: &str) -> Self {
        let start = seed.bytes().fold(0u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        Self { state: Arc::new(Mutex::new(State { next: start % COUNT, taken: HashSet::new() })) }
    }

    /// The next port that nobody listens on. Each is given once before any is given again, so that what the
    /// kernel still keeps of old connections is in nobody's way.
    ///
    /// # Errors
    /// When none is left.
    pub(super) fn lease(&self) -> io::Result<Lease> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..COUNT {
            let port = FIRST + state.next;
            state.next = (state.next + 1) % COUNT;
            if !state.taken.contains(&port) && is_free(port) {
                state.taken.insert(port);
                return Ok(Lease { port, state: self.state.clone() });
            }
        }
        Err(io::Error::other(format!("no port from {FIRST} to {} is free", FIRST + (COUNT - 1))))
    }
}

// === impl Lease ===

impl Drop for Lease {
    fn drop(&mut self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).taken.remove(&self.port);
    }
}

/// Could a program that knows nothing of `SO_REUSEADDR` listen there, on every address?
pub(super) fn is_free(port: u16) -> bool {
    let can_bind = |address: SocketAddr| -> rustix::io::Result<()> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        bind(&socket, &address)
    };
    let v4 = can_bind((Ipv4Addr::UNSPECIFIED, port).into());
    let v6 = can_bind((Ipv6Addr::UNSPECIFIED, port).into());
    // A host without IPv6 has another error.
    v4.is_ok() && v6 != Err(rustix::io::Errno::ADDRINUSE)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_is_given_once_until_it_is_given_back_and_never_while_somebody_listens() {
        let ports = Ports::new("test");
        let first = ports.lease().expect("a port");
        let second = ports.lease().expect("a port");
        assert_ne!(first.port, second.port);
        let listener = TcpListener::bind(("127.0.0.1", first.port)).expect("it was free");
        assert!(!is_free(first.port));
        drop(listener);
        let again = ports.state.clone();
        assert!(again.lock().expect("not poisoned").taken.contains(&first.port));
        let port = first.port;
        drop(first);
        assert!(!again.lock().expect("not poisoned").taken.contains(&port));
    }
}
