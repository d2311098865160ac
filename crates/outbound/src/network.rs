//! What the client asks of the machine: where names lead.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use futures::future::BoxFuture;

/// Where names lead. [`System`] is the real one; tests have one of their own.
pub trait Network: fmt::Debug + Send + Sync {
    /// All addresses of the host `name`.
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;

    /// Does this machine have `address`?
    fn is_own(&self, address: IpAddr) -> bool;

    /// Where to connect to for an address that was checked: there. Tests, which have no public addresses to listen on,
    /// listen elsewhere.
    fn place(&self, checked: SocketAddr) -> SocketAddr {
        checked
    }
}

/// This machine: its resolver, its addresses.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

// === impl System ===

impl Network for System {
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|found| found.ip()).collect()) })
    }

    /// The kernel chooses an address to send from; for its own it is that one (of loopback the first, which the table
    /// knows anyway). Nothing is sent. Binding would tell too, but not where addresses of others may be bound.
    fn is_own(&self, address: IpAddr) -> bool {
        let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let from = || -> io::Result<SocketAddr> {
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect((address, 9))?;
            socket.local_addr()
        };
        from().is_ok_and(|from| from.ip() == address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_knows_its_own_addresses() {
        for (address, own) in [("127.0.0.1", true), ("192.0.2.1", false), ("8.8.8.8", false)] {
            assert_eq!(System.is_own(address.parse().expect(address)), own, "{address}");
        }
    }

    #[tokio::test]
    async fn localhost_leads_to_loopback() {
        let found = System.lookup("localhost").await.expect("every machine knows it");
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
    }
}
