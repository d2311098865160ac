//! One instance's cable: from its namespace to the host.

use std::{net::Ipv4Addr, thread, time::Duration};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{
    NetError,
    link::{self, End, Mac, Via},
    listeners::Listeners,
    netlink::{Batch, Socket},
    netns,
    subnet::Subnet,
};

/// The link's name inside.
const INNER: &str = "eth0";
/// Loopback is always the first link of a namespace.
const LOOPBACK: u32 = 1;

/// How long an older kernel gets to notice that a cable is complete; it does so by itself, soon.
const SETTLE_STEP: Duration = Duration::from_micros(200);
const SETTLE_STEPS: usize = 100;

/// What a cable is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cable<'a> {
    /// The namespace of the host.
    pub(super) home: BorrowedFd<'a>,
    /// What the host's end is called.
    pub(super) name: &'a str,
    pub(super) address: Ipv4Addr,
    pub(super) gateway: Ipv4Addr,
    pub(super) mtu: u32,
}

/// Makes a namespace and the cable to it, and what tells who listens inside, where the kernel does. `host` is a socket
/// of the host. When it fails the new namespace dies, and what there is of the cable with it.
pub(super) fn attach(host: &mut Socket, cable: Cable<'_>) -> Result<(OwnedFd, Option<Listeners>), NetError> {
    let mut namespace = netns::create(cable.home)?;
    let (inner_mac, outer_mac) = (mac(0x02, cable.address), mac(0x06, cable.address));

    let mut batch = Batch::default();
    link::link_up(&mut batch, LOOPBACK);
    let inner = End { name: INNER, mac: inner_mac, netns: None };
    let outer = End { name: cable.name, mac: outer_mac, netns: Some(cable.home.as_fd()) };
    link::veth(&mut batch, inner, outer, cable.mtu);
    namespace.socket.execute(batch)?;

    let inner_index = namespace.socket.link_index(INNER)?;
    let mut batch = Batch::default();
    link::link_up(&mut batch, inner_index);
    link::address_add(&mut batch, inner_index, cable.address);
    link::neighbour_add(&mut batch, inner_index, cable.gateway, outer_mac);
    link::route_add(&mut batch, Subnet::of(Ipv4Addr::UNSPECIFIED, 0), inner_index, Via::Gateway(cable.gateway));
    namespace.socket.execute(batch)?;

    netns::write_setting(&format!("net/ipv6/conf/{}/disable_ipv6", cable.name), "1")?;
    let index = host.link_index(cable.name)?;
    let mut batch = Batch::default();
    link::link_forwarding(&mut batch, index);
    link::link_up(&mut batch, index);
    link::neighbour_add(&mut batch, index, cable.address, inner_mac);
    link::route_add(&mut batch, Subnet::of(cable.address, 32), index, Via::Link { source: cable.gateway });
    host.execute(batch)?;
    settle(&mut namespace.socket, inner_index)?;
    let listeners = namespace.diagnosis.map(|socket| Listeners::new(socket, cable.address, inner_index));
    Ok((namespace.fd, listeners))
}

/// Waits until the end inside, which was up first, sends: otherwise the first packet of the instance
/// could be lost, and its first connection would take a second.
fn settle(inside: &mut Socket, index: u32) -> Result<(), NetError> {
    for _ in 0..SETTLE_STEPS {
        if link::link_sends(inside, index)? {
            break;
        }
        thread::sleep(SETTLE_STEP);
    }
    Ok(())
}

/// A locally administered Ethernet address made of an IPv4 one, so that both ends know each other's
/// without asking.
fn mac(first: u8, address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [first, 0x75, a, b, c, d]
}
