//! The firewall: what an instance may reach, and who may reach it.

use std::net::Ipv4Addr;

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
    /// Does the gateway answer DNS queries?
    pub(super) dns: Dns,
}

/// Does the gateway answer DNS queries?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dns {
    Answered,
    NotAnswered,
}

const DNS_PORT: u16 = 53;
/// Not to be forwarded at all (RFC 3927), and where clouds serve the host's credentials.
const LINK_LOCAL: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 0);
const GUARD: &str = "guard";
const GUARDED: &str = "guarded";

/// Makes the table, in place of the one that a dead server left, with the guard of `uplinks`.
pub(super) fn install<'a>(
    socket: &mut Socket,
    firewall: Firewall<'_>,
    uplinks: impl Iterator<Item = &'a str>,
) -> Result<(), NetlinkError> {
    let mut changes = Changes::to(firewall.table);
    changes.table_anew();
    for name in ["from-instance", "through", "to-instance", GUARDED, GUARD] {
        changes.chain(name);
    }
    changes.base_chain("input", Hook::Input);
    changes.base_chain("forward", Hook::Forward);
    changes.base_chain("postrouting", Hook::SourceNat);
    input(&mut changes, firewall);
    forward(&mut changes, firewall.ours);
    let from_us = [Match::Source(firewall.subnet), Match::NotOutPrefix(firewall.ours)];
    changes.rule("postrouting", &from_us, Verdict::Masquerade);
    guarding(&mut changes, uplinks);
    changes.apply(socket)
}

/// Keeps links that were switched to forwarding for our sake from forwarding to one another, as they
/// did not before.
pub(super) fn guard<'a>(
    socket: &mut Socket,
    table: &str,
    uplinks: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), NetlinkError> {
    let mut changes = Changes::to(table);
    changes.chain_flush(GUARD);
    changes.chain_flush(GUARDED);
    guarding(&mut changes, uplinks);
    changes.apply(socket)
}

fn guarding<'a>(changes: &mut Changes<'_>, uplinks: impl Iterator<Item = &'a str>) {
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
    changes.rule("from-instance", &[Match::Destination(gateway), Match::Ping], Verdict::Accept);
    if firewall.dns == Dns::Answered {
        for query in [Match::Udp(DNS_PORT), Match::Tcp(DNS_PORT)] {
            changes.rule("from-instance", &[Match::Destination(gateway), query], Verdict::Accept);
        }
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
    changes.rule("through", &[], Verdict::Accept);

    changes.rule("to-instance", &[Match::Established], Verdict::Accept);
    changes.rule("to-instance", &[], Verdict::Drop);
}
