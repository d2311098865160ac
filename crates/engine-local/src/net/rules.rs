//! The firewall: what an instance may reach, and who may reach it.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddrV4},
};

use updraft_model::instance::Egress;

use super::{
    netlink::{NetlinkError, Socket},
    nft::{Changes, Hook, Match, Verdict},
    subnet::Subnet,
};

/// What the rules are made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Firewall<'a> {
    /// The table's name.
    pub(super) table: &'a str,
    /// What the names of our links begin with.
    pub(super) ours: &'a str,
    pub(super) subnet: Subnet,
    /// Where the server listens for who asks [`METADATA`].
    pub(super) metadata: SocketAddrV4,
    /// The same for each port of [`SERVER`].
    pub(super) doors: &'a [(u16, SocketAddrV4)],
}

/// What is there when the table is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Present<'a> {
    /// Instances that live on, and how each is restricted.
    pub(super) restricted: &'a [(Ipv4Addr, Egress)],
    /// Links that must not forward to one another.
    pub(super) uplinks: &'a BTreeSet<String>,
}

const DNS_PORT: u16 = 53;
/// Not to be forwarded at all (RFC 3927), and where clouds serve the host's credentials.
const LINK_LOCAL: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 0);
/// Where an instance asks who it is: the platform's own server, and never the host's or its cloud's.
pub(crate) const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const METADATA_PORT: u16 = 80;
/// Where an instance reaches the server itself, at the ports that it has on the host and at no other.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 252);
/// RFC 1918 and RFC 6598.
const PRIVATE: [(Ipv4Addr, u8); 4] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
];
/// The addresses of instances that may open no connection, and of those that may to private addresses.
const SETS: [&str; 2] = ["egress-none", "egress-private"];
const GUARD: &str = "guard";
const GUARDED: &str = "guarded";

/// Makes the table, in place of the one that a dead server left: with the guard, and with what restricts instances that
/// live on, so that there is no moment without.
pub(super) fn install(socket: &mut Socket, firewall: Firewall<'_>, present: Present<'_>) -> Result<(), NetlinkError> {
    let mut changes = Changes::to(firewall.table);
    changes.table_anew();
    for (number, set) in (1..).zip(SETS) {
        changes.set(set, number);
    }
    for name in ["from-instance", "through", "private", "to-instance", GUARDED, GUARD] {
        changes.chain(name);
    }
    changes.base_chain("arrival", Hook::Arrival);
    changes.base_chain("redirect", Hook::DestinationNat);
    changes.base_chain("input", Hook::Input);
    changes.base_chain("forward", Hook::Forward);
    changes.base_chain("postrouting", Hook::SourceNat);
    input(&mut changes, firewall);
    forward(&mut changes, firewall.ours);
    // The cable's own check (`rp_filter`) the administrator can loosen for the whole host.
    changes.rule("arrival", &[Match::InPrefix(firewall.ours), Match::Misplaced], Verdict::Drop);
    let metadata = [(METADATA, METADATA_PORT, firewall.metadata)];
    let doors = firewall.doors.iter().map(|&(port, place)| (SERVER, port, place));
    for (address, port, place) in metadata.into_iter().chain(doors) {
        let asks = [Match::InPrefix(firewall.ours), Match::Destination(Subnet::of(address, 32)), Match::Tcp(port)];
        changes.rule("redirect", &asks, Verdict::Redirect(place));
    }
    let from_us = [Match::Source(firewall.subnet), Match::NotOutPrefix(firewall.ours)];
    changes.rule("postrouting", &from_us, Verdict::Masquerade);
    guarding(&mut changes, present.uplinks);
    for (name, egress) in SETS.into_iter().zip([Egress::None, Egress::Private]) {
        let restricted = present.restricted.iter().filter(|(_, its)| *its == egress);
        changes.elements_add(name, &restricted.map(|(address, _)| *address).collect::<Vec<_>>());
    }
    changes.apply(socket)
}

/// Restricts where the instance with this address may open connections to; takes effect before it returns.
pub(super) fn restrict(
    socket: &mut Socket,
    table: &str,
    address: Ipv4Addr,
    egress: Egress,
) -> Result<(), NetlinkError> {
    let Some(set) = set_of(egress) else { return Ok(()) };
    let mut changes = Changes::to(table);
    changes.elements_add(set, &[address]);
    changes.apply(socket)
}

/// The instance with this address and restriction is no more.
pub(super) fn lift(socket: &mut Socket, table: &str, address: Ipv4Addr, egress: Egress) -> Result<(), NetlinkError> {
    let Some(set) = set_of(egress) else { return Ok(()) };
    let mut changes = Changes::to(table);
    changes.element_delete(set, address);
    match changes.apply(socket) {
        Err(error) if error.is_missing() => Ok(()),
        other => other,
    }
}

fn set_of(egress: Egress) -> Option<&'static str> {
    match egress {
        Egress::None => Some(SETS[0]),
        Egress::Private => Some(SETS[1]),
        Egress::All => None,
    }
}

/// Keeps links that were switched to forwarding for our sake from forwarding to one another, as they
/// did not before.
pub(super) fn guard(socket: &mut Socket, table: &str, uplinks: &BTreeSet<String>) -> Result<(), NetlinkError> {
    let mut changes = Changes::to(table);
    changes.chain_flush(GUARD);
    changes.chain_flush(GUARDED);
    guarding(&mut changes, uplinks);
    changes.apply(socket)
}

fn guarding(changes: &mut Changes<'_>, uplinks: &BTreeSet<String>) {
    for uplink in uplinks {
        changes.rule(GUARD, &[Match::In(uplink)], Verdict::Goto(GUARDED));
        changes.rule(GUARDED, &[Match::Out(uplink)], Verdict::Drop);
    }
}

/// Removes the table; none there is no error.
pub(super) fn remove(socket: &mut Socket, table: &str) -> Result<(), NetlinkError> {
    let mut changes = Changes::to(table);
    changes.table_delete();
    match changes.apply(socket) {
        Err(error) if error.is_missing() => Ok(()),
        other => other,
    }
}

/// Packets for the host itself.
fn input(changes: &mut Changes<'_>, firewall: Firewall<'_>) {
    let gateway = Subnet::of(firewall.subnet.gateway(), 32);
    changes.rule("input", &[Match::InPrefix(firewall.ours)], Verdict::Goto("from-instance"));
    // The gateway address is for instances and the host: a neighbour of the host that sets a route
    // to it must not get at the DNS forwarder.
    changes.rule("input", &[Match::Destination(gateway), Match::NotIn("lo")], Verdict::Drop);

    changes.rule("from-instance", &[Match::NotIpv4], Verdict::Drop);
    changes.rule("from-instance", &[Match::Established], Verdict::Accept);
    changes.rule("from-instance", &[Match::SourceIn(SETS[0])], Verdict::Drop);
    let doors = firewall.doors.iter().map(|(_, place)| Match::Tcp(place.port()));
    let ours = [Match::Tcp(firewall.metadata.port()), Match::Ping, Match::Udp(DNS_PORT), Match::Tcp(DNS_PORT)];
    for one in ours.into_iter().chain(doors) {
        changes.rule("from-instance", &[Match::Destination(gateway), one], Verdict::Accept);
    }
    changes.rule("from-instance", &[], Verdict::Drop);
}

/// Packets that pass through the host.
fn forward(changes: &mut Changes<'_>, ours: &str) {
    changes.rule("forward", &[Match::InPrefix(ours)], Verdict::Goto("through"));
    changes.rule("forward", &[Match::OutPrefix(ours)], Verdict::Goto("to-instance"));
    changes.rule("forward", &[], Verdict::Goto(GUARD));

    changes.rule("through", &[Match::NotIpv4], Verdict::Drop);
    changes.rule("through", &[Match::OutPrefix(ours)], Verdict::Drop);
    changes.rule("through", &[Match::Destination(Subnet::of(LINK_LOCAL, 16))], Verdict::Drop);
    changes.rule("through", &[Match::SourceIn(SETS[0])], Verdict::Drop);
    changes.rule("through", &[Match::SourceIn(SETS[1])], Verdict::Goto("private"));
    changes.rule("through", &[], Verdict::Accept);

    for (base, length) in PRIVATE {
        changes.rule("private", &[Match::Destination(Subnet::of(base, length))], Verdict::Accept);
    }
    changes.rule("private", &[], Verdict::Drop);

    changes.rule("to-instance", &[Match::Established], Verdict::Accept);
    changes.rule("to-instance", &[], Verdict::Drop);
}
