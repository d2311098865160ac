//! What this host offers to the network of instances.

use std::{
    collections::BTreeSet,
    error::Error,
    net::{Ipv4Addr, SocketAddrV4},
    thread,
};

use super::{
    NetError,
    attach::{self, Cable},
    link_prefix,
    netlink::{Socket, Subsystem},
    netns, nft,
    resolver::Plan,
    rules::{self, Firewall, Present},
    subnet::Subnet,
};

/// A name, whether all is well, what was found, and what to do when it is not.
pub(crate) type Finding = (&'static str, bool, String, String);

/// Tries out, in a namespace that is thrown away, what instances will need, and looks for what is
/// in their way on the host. Changes nothing on the host.
pub(crate) fn survey() -> Vec<Finding> {
    let tried = thread::spawn(|| [try_cable(), try_firewall()]).join();
    let mut findings = tried.map(Vec::from).unwrap_or_default();
    findings.push(find_droppers());
    findings.push(find_name_servers());
    findings
}

/// Can instances be given a network here?
///
/// # Errors
/// What is in the way.
pub(crate) fn try_out() -> Result<(), String> {
    let tried = thread::spawn(|| [try_cable(), try_firewall()]).join();
    let findings = tried.map_err(|_| "the trial failed".to_owned())?;
    findings.into_iter().try_for_each(|(_, fine, detail, _)| if fine { Ok(()) } else { Err(detail) })
}

/// The tag of what is made for trying; it lives in a namespace of its own.
const TAG: &str = "survey";

fn scratch() -> Subnet {
    Subnet::of(Ipv4Addr::new(10, 64, 0, 0), 16)
}

fn try_cable() -> Finding {
    let try_out = || -> Result<(), NetError> {
        netns::leave()?;
        let home = netns::current()?;
        let mut socket = Socket::open(Subsystem::Route).map_err(NetError::io("open a netlink socket"))?;
        let name = format!("{}1", link_prefix(TAG));
        let (address, gateway) = (Ipv4Addr::new(10, 64, 0, 2), scratch().gateway());
        let cable = Cable { home: rustix::fd::AsFd::as_fd(&home), name: &name, address, gateway, mtu: 1500 };
        // Loopback of the scratch host is down, its gateway address missing: a cable needs neither,
        // but the route's preferred source does.
        let mut batch = super::netlink::Batch::default();
        super::link::address_add(&mut batch, 1, gateway);
        super::link::link_up(&mut batch, 1);
        socket.execute(batch)?;
        attach::attach(&mut socket, cable).map(drop)
    };
    let hint = "run as root; load the kernel module 'veth' (modprobe veth)";
    finding("network namespaces and veth", try_out(), "an instance can be given a network", hint)
}

fn try_firewall() -> Finding {
    let try_out = || -> Result<(), NetError> {
        // In the namespace that `try_cable` left this thread in, or in the host's if that failed;
        // so again.
        netns::leave()?;
        let mut socket = Socket::open(Subsystem::Netfilter).map_err(NetError::io("open a netlink socket"))?;
        let ours = link_prefix(TAG);
        let metadata = SocketAddrV4::new(scratch().gateway(), 1);
        let firewall = Firewall { table: "updraft-survey", ours: &ours, subnet: scratch(), metadata, doors: &[] };
        rules::install(&mut socket, firewall, Present { restricted: &[], uplinks: &BTreeSet::new() })?;
        Ok(())
    };
    let hint = "run as root; load the kernel modules 'nf_tables', 'nft_masq', 'nft_ct', 'nft_nat', 'nft_fib_inet' and 'nf_nat'";
    finding("nftables", try_out(), "filtering, masquerading and the check of source addresses work", hint)
}

fn find_droppers() -> Finding {
    const NAME: &str = "other firewalls";
    let found = Socket::open(Subsystem::Netfilter)
        .map_err(NetError::io("open a netlink socket"))
        .and_then(|mut socket| nft::forward_droppers(&mut socket).map_err(NetError::from));
    match found {
        Ok(chains) if chains.is_empty() => {
            (NAME, true, "none drops what instances send by default".to_owned(), String::new())
        }
        Ok(chains) => {
            let names: Vec<String> =
                chains.iter().map(|chain| format!("table {} chain {}", chain.table, chain.chain)).collect();
            let detail = format!("drops forwarded packets by default: {}", names.join(", "));
            let hint = "let instances out, for example: iptables -I FORWARD -i ud+ -j ACCEPT; \
                        iptables -I FORWARD -o ud+ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
            (NAME, false, detail, hint.to_owned())
        }
        Err(error) => (NAME, false, chain(&error), "run as root".to_owned()),
    }
}

fn find_name_servers() -> Finding {
    let servers: Vec<String> = Plan::new(&[]).forward_to.iter().map(ToString::to_string).collect();
    let detail = format!("instances ask the host, which asks {}", servers.join(", "));
    ("name servers", true, detail, String::new())
}

fn finding(name: &'static str, result: Result<(), NetError>, detail: &str, hint: &str) -> Finding {
    match result {
        Ok(()) => (name, true, detail.to_owned(), String::new()),
        Err(error) => (name, false, chain(&error), hint.to_owned()),
    }
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
