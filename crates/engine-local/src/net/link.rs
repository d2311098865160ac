//! Links, addresses, routes and neighbours: what we ask rtnetlink for.

use std::net::Ipv4Addr;

use rustix::fd::{AsRawFd, BorrowedFd};

use super::{
    netlink::{Batch, NetlinkError, Socket, attributes, number, short, string},
    subnet::Subnet,
};

/// A link, as far as we look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mtu: u32,
    pub(super) loopback: bool,
    /// The namespace of a cable's other end, by the number it has here; `None` for no cable, or one with both ends here.
    pub(super) peer: Option<i32>,
}

/// An Ethernet address.
pub(super) type Mac = [u8; 6];

/// One end of a virtual cable that is to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct End<'a> {
    pub(super) name: &'a str,
    pub(super) mac: Mac,
    /// Where it is put; `None` is the namespace of the socket.
    pub(super) netns: Option<BorrowedFd<'a>>,
}

/// An IPv4 route of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) destination: Subnet,
    /// Links it leads through.
    pub(super) links: Vec<u32>,
    /// It leads to another machine: neither to the host itself nor into nothing.
    pub(super) unicast: bool,
}

/// Where a new route leads.
#[derive(Debug, Clone, Copy)]
pub(super) enum Via {
    /// Straight to the link.
    Nothing,
    /// Straight to the link; packets of the host get this source.
    Link { source: Ipv4Addr },
    /// To a gateway that is reachable through the link although no address says so.
    Gateway(Ipv4Addr),
}

// Numbers of the kernel's interface (linux/if_link.h, linux/veth.h, linux/rtnetlink.h) that libc lacks.
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const INET_CONF: u16 = 1;
const CONF_FORWARDING: u16 = 1;
const CONF_RP_FILTER: u16 = 8;
const ONLINK: u32 = 4;
const NAMESPACE_NUMBER: u16 = 1;
const NAMESPACE_FD: u16 = 3;

// === writing ===

/// A virtual cable between `inner`, which may not be put elsewhere, and `outer`. Both ends are down.
/// Each has one queue: the default is one per CPU, and each costs time to register.
pub(super) fn veth(batch: &mut Batch, inner: End<'_>, outer: End<'_>, mtu: u32) {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let operation = format!("create link {}", outer.name);
    batch
        .request(operation, libc::RTM_NEWLINK, flags, &ifinfo(0, 0))
        .text(libc::IFLA_IFNAME, inner.name)
        .attribute(libc::IFLA_ADDRESS, &inner.mac)
        .number(libc::IFLA_MTU, mtu)
        .number(libc::IFLA_NUM_TX_QUEUES, 1)
        .number(libc::IFLA_NUM_RX_QUEUES, 1)
        .nest(libc::IFLA_LINKINFO, |info| {
            info.attribute(INFO_KIND, b"veth").nest(INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    let peer = peer
                        .raw(&ifinfo(0, 0))
                        .text(libc::IFLA_IFNAME, outer.name)
                        .attribute(libc::IFLA_ADDRESS, &outer.mac)
                        .number(libc::IFLA_MTU, mtu)
                        .number(libc::IFLA_NUM_TX_QUEUES, 1)
                        .number(libc::IFLA_NUM_RX_QUEUES, 1);
                    match outer.netns {
                        Some(fd) => peer.number(libc::IFLA_NET_NS_FD, fd.as_raw_fd() as u32),
                        None => peer,
                    }
                })
            })
        });
}

/// Brings a link up.
pub(super) fn link_up(batch: &mut Batch, index: u32) {
    batch.request(format!("bring link {index} up"), libc::RTM_NEWLINK, 0, &ifinfo(index, libc::IFF_UP as u32));
}

/// Lets the host forward what comes in through the link, and drops what comes from an address that
/// does not lead back through it: an instance cannot speak for another one.
pub(super) fn link_forwarding(batch: &mut Batch, index: u32) {
    batch.request(format!("enable forwarding on link {index}"), libc::RTM_NEWLINK, 0, &ifinfo(index, 0)).nest(
        libc::IFLA_AF_SPEC,
        |spec| {
            spec.nest(libc::AF_INET as u16, |inet| {
                inet.nest(INET_CONF, |conf| conf.number(CONF_FORWARDING, 1).number(CONF_RP_FILTER, 1))
            })
        },
    );
}

/// Removes a link and, if it is an end of a cable, the other end.
pub(super) fn link_delete(batch: &mut Batch, index: u32) {
    batch.request(format!("delete link {index}"), libc::RTM_DELLINK, 0, &ifinfo(index, 0));
}

/// Gives the link an address that no neighbour shares a network with.
pub(super) fn address_add(batch: &mut Batch, index: u32, address: Ipv4Addr) {
    let mut header = [0; 8];
    header[0] = libc::AF_INET as u8;
    header[1] = 32;
    header[4..].copy_from_slice(&index.to_ne_bytes());
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    batch
        .request(format!("add address {address}"), libc::RTM_NEWADDR, flags, &header)
        .attribute(libc::IFA_LOCAL, &address.octets())
        .attribute(libc::IFA_ADDRESS, &address.octets());
}

/// Adds a route; one to the same destination that is there already is an error.
pub(super) fn route_add(batch: &mut Batch, destination: Subnet, index: u32, via: Via) {
    let (scope, onlink) = match via {
        Via::Nothing | Via::Link { .. } => (libc::RT_SCOPE_LINK, 0),
        Via::Gateway(_) => (libc::RT_SCOPE_UNIVERSE, ONLINK),
    };
    let mut header = [0; 12];
    header[0] = libc::AF_INET as u8;
    header[1] = destination.length();
    header[4] = libc::RT_TABLE_MAIN;
    header[5] = libc::RTPROT_BOOT;
    header[6] = scope;
    header[7] = libc::RTN_UNICAST;
    header[8..].copy_from_slice(&onlink.to_ne_bytes());
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let mut request = batch.request(format!("add route to {destination}"), libc::RTM_NEWROUTE, flags, &header);
    if destination.length() > 0 {
        request = request.attribute(libc::RTA_DST, &destination.base().octets());
    }
    let request = request.number(libc::RTA_OIF, index);
    match via {
        Via::Nothing => request,
        Via::Link { source } => request.attribute(libc::RTA_PREFSRC, &source.octets()),
        Via::Gateway(gateway) => request.attribute(libc::RTA_GATEWAY, &gateway.octets()),
    };
}

/// Tells the link who has `address`, for ever: nobody asks, so nobody can answer wrongly, and the
/// first packet does not wait for an answer.
pub(super) fn neighbour_add(batch: &mut Batch, index: u32, address: Ipv4Addr, mac: Mac) {
    let mut header = [0; 12];
    header[0] = libc::AF_INET as u8;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..10].copy_from_slice(&libc::NUD_PERMANENT.to_ne_bytes());
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    batch
        .request(format!("add neighbour {address}"), libc::RTM_NEWNEIGH, flags, &header)
        .attribute(libc::NDA_DST, &address.octets())
        .attribute(libc::NDA_LLADDR, &mac);
}

// === reading ===

impl Socket {
    /// The number of the link with this name.
    pub(super) fn link_index(&self, name: &str) -> Result<u32, NetlinkError> {
        rustix::net::netdevice::name_to_index(self, name).map_err(|error| NetlinkError {
            operation: format!("find link {name}"),
            detail: None,
            source: error.into(),
        })
    }
}

/// Every link of the namespace.
pub(super) fn links(socket: &mut Socket) -> Result<Vec<Link>, NetlinkError> {
    let replies = socket.dump(|| list("list links", libc::RTM_GETLINK, &ifinfo(0, 0)))?;
    Ok(replies
        .iter()
        .filter_map(|reply| {
            let mut link = Link {
                index: number(&reply.body, 4)?,
                name: String::new(),
                mtu: 0,
                loopback: number(&reply.body, 8)? & libc::IFF_LOOPBACK as u32 != 0,
                peer: None,
            };
            for (kind, payload) in attributes(reply.body.get(16..)?) {
                match kind {
                    libc::IFLA_IFNAME => link.name = string(payload),
                    libc::IFLA_MTU => link.mtu = number(payload, 0)?,
                    libc::IFLA_LINK_NETNSID => link.peer = number(payload, 0).map(u32::cast_signed),
                    _ => {}
                }
            }
            Some(link)
        })
        .collect())
}

/// The number that another namespace has in the namespace of the socket, if it has one.
pub(super) fn namespace_number(socket: &mut Socket, namespace: BorrowedFd<'_>) -> Result<Option<i32>, NetlinkError> {
    let replies = socket.dump(|| {
        let mut batch = Batch::default();
        batch
            .request("find a network namespace".to_owned(), libc::RTM_GETNSID, 0, &[0; 4])
            .number(NAMESPACE_FD, namespace.as_raw_fd() as u32);
        batch
    })?;
    let found = replies.iter().find_map(|reply| {
        let (_, payload) = attributes(reply.body.get(4..)?).find(|(kind, _)| *kind == NAMESPACE_NUMBER)?;
        number(payload, 0).map(u32::cast_signed)
    });
    Ok(found.filter(|number| *number >= 0))
}

/// Does the link send? A link that was up before the other end of its cable drops everything until
/// the kernel has noticed in the background that it has a carrier; asking makes newer kernels (6.8)
/// notice at once.
pub(super) fn link_sends(socket: &mut Socket, index: u32) -> Result<bool, NetlinkError> {
    let replies = socket.dump(|| {
        let mut batch = Batch::default();
        batch.request(format!("read link {index}"), libc::RTM_GETLINK, 0, &ifinfo(index, 0));
        batch
    })?;
    let queue = replies.iter().find_map(|reply| {
        let (_, payload) = attributes(reply.body.get(16..)?).find(|(kind, _)| *kind == libc::IFLA_QDISC)?;
        Some(string(payload))
    });
    Ok(queue.is_some_and(|queue| queue != "noop"))
}

/// The IPv4 addresses of the namespace, each with the length of its network.
pub(super) fn addresses(socket: &mut Socket) -> Result<Vec<(Ipv4Addr, u8)>, NetlinkError> {
    let mut header = [0; 8];
    header[0] = libc::AF_INET as u8;
    let replies = socket.dump(|| list("list addresses", libc::RTM_GETADDR, &header))?;
    Ok(replies
        .iter()
        .filter_map(|reply| {
            let length = *reply.body.get(1)?;
            let (_, payload) = attributes(reply.body.get(8..)?).find(|(kind, _)| *kind == libc::IFA_LOCAL)?;
            Some((address(payload)?, length))
        })
        .collect())
}

/// The IPv4 routes of the namespace, of every table.
pub(super) fn routes(socket: &mut Socket) -> Result<Vec<Route>, NetlinkError> {
    let mut header = [0; 12];
    header[0] = libc::AF_INET as u8;
    let replies = socket.dump(|| list("list routes", libc::RTM_GETROUTE, &header))?;
    Ok(replies.iter().filter_map(|reply| route(&reply.body)).collect())
}

fn route(body: &[u8]) -> Option<Route> {
    let (length, kind) = (*body.get(1)?, *body.get(7)?);
    let (mut destination, mut links) = (Ipv4Addr::UNSPECIFIED, Vec::new());
    for (kind, payload) in attributes(body.get(12..)?) {
        match kind {
            libc::RTA_DST => destination = address(payload)?,
            libc::RTA_OIF => links.extend(number(payload, 0)),
            libc::RTA_MULTIPATH => links.extend(next_hops(payload)),
            _ => {}
        }
    }
    Some(Route { destination: Subnet::of(destination, length), links, unicast: kind == libc::RTN_UNICAST })
}

/// The links of `struct rtnexthop`s: length, flags, weight, link, attributes.
fn next_hops(mut bytes: &[u8]) -> Vec<u32> {
    let mut links = Vec::new();
    while let (Some(length), Some(link)) = (short(bytes, 0), number(bytes, 4)) {
        links.push(link);
        let length = usize::from(length).max(8).next_multiple_of(4);
        bytes = bytes.get(length..).unwrap_or_default();
    }
    links
}

fn list(operation: &str, kind: u16, header: &[u8]) -> Batch {
    let mut batch = Batch::default();
    batch.plain(operation, kind, libc::NLM_F_DUMP, header);
    batch
}

fn ifinfo(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&flags.to_ne_bytes());
    header
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    bytes.first_chunk::<4>().map(|octets| Ipv4Addr::from_octets(*octets))
}
