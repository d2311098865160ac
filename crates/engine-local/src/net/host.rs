//! The host's network, as it is changed for instances: gateway, packet filter, forwarding, cables.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    thread,
    time::Duration,
};

use rustix::fd::OwnedFd;
use updraft_model::instance::Egress;

use super::{
    NetConfig, NetError,
    doors::Doors,
    forwarding::{Forwarding, is_global},
    link::{self, End, Via},
    link_prefix,
    netlink::{Batch, Socket, Subsystem},
    netns,
    resolver::Plan,
    retired::Remains,
    rules::{self, Firewall, Present},
    subnet::Subnet,
};

/// The host, as the thread has it in hand.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) tag: String,
    prefix: String,
    table: String,
    pub(super) home: OwnedFd,
    pub(super) route: Socket,
    nft: Socket,
    pub(super) forwarding: Forwarding,
    /// What the guard chain holds.
    guarded: BTreeSet<String>,
}

/// What there is of a host's network once it is made.
pub(super) struct Made {
    pub(super) subnet: Subnet,
    pub(super) mtu: u32,
    pub(super) plan: Plan,
    pub(super) metadata: TcpListener,
    pub(super) doors: Vec<(u16, TcpListener)>,
}

/// How long cables get to disappear with their namespaces before they are cut one by one, which
/// takes the kernel some 20 ms each.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);
pub(super) const FAREWELL_STEP: Duration = Duration::from_millis(5);
/// When no uplink says otherwise.
const DEFAULT_MTU: u32 = 1500;

// === impl Host ===

impl Host {
    pub(super) fn open(tag: String, run_dir: &Path) -> Result<Self, NetError> {
        let open = |subsystem| Socket::open(subsystem).map_err(NetError::io("open a netlink socket"));
        Ok(Self {
            prefix: link_prefix(&tag),
            table: format!("updraft-{tag}"),
            home: netns::current()?,
            route: open(Subsystem::Route)?,
            nft: open(Subsystem::Netfilter)?,
            forwarding: Forwarding::open(run_dir, &tag),
            guarded: BTreeSet::new(),
            tag,
        })
    }

    pub(super) fn set_up(&mut self, config: &NetConfig) -> Result<Made, NetError> {
        let kept = &config.kept;
        let addresses = link::addresses(&mut self.route)?;
        let plan = Plan::new(&config.dns);
        let routes = link::routes(&mut self.route)?;
        let mut taken: Vec<Subnet> = addresses.iter().map(|(address, length)| Subnet::of(*address, *length)).collect();
        taken.extend(routes.iter().map(|route| route.destination).filter(|destination| destination.length() > 0));
        // A name server that lies behind the default route would be hidden by our own range.
        taken.extend(plan.nameservers().map(|address| Subnet::of(address, 32)));

        let mtu = self.uplink_mtu(&routes)?;
        let subnet = match &kept[..] {
            [] => self.claim(config.subnet, &taken)?,
            _ => self.inherit(kept, &routes)?,
        };
        let Doors { metadata, place, doors, places } = Doors::open(subnet.gateway(), &config.ports)?;
        let firewall = Firewall { table: &self.table, ours: &self.prefix, subnet, metadata: place, doors: &places };
        self.forwarding.refresh(&mut self.route)?;
        // At once, and in place of what was there: instances that live on are never without.
        let guarded = self.to_be_guarded();
        rules::install(&mut self.nft, firewall, Present { restricted: kept, uplinks: &guarded })?;
        self.guarded = guarded;
        Ok(Made { subnet, mtu, plan, metadata, doors })
    }

    pub(super) fn restrict(&mut self, address: Ipv4Addr, egress: Egress) -> Result<(), NetError> {
        rules::restrict(&mut self.nft, &self.table, address, egress).map_err(NetError::from)
    }

    pub(super) fn lift(&mut self, remains: &Remains) {
        let (address, egress) = (remains.lease.address(), remains.egress);
        if egress == Egress::All {
            return;
        }
        if let Err(error) = rules::lift(&mut self.nft, &self.table, address, egress) {
            tracing::warn!(%address, %error, "an address stays restricted to egress '{egress}'");
        }
    }

    /// Makes the link that has the gateway's address, and takes a range for ours by the route to it:
    /// the kernel lets nobody else add the same.
    fn claim(&mut self, wanted: Option<Subnet>, taken: &[Subnet]) -> Result<Subnet, NetError> {
        let index = self.gateway_link()?;
        let candidates: Vec<Subnet> = match wanted {
            Some(subnet) => match taken.iter().find(|other| other.overlaps(subnet)) {
                Some(&other) => return Err(NetError::SubnetTaken { subnet, other }),
                None => vec![subnet],
            },
            None => Subnet::candidates().filter(|subnet| !taken.iter().any(|other| other.overlaps(*subnet))).collect(),
        };
        for subnet in candidates {
            let mut batch = Batch::default();
            // Without a source: the address is not there yet.
            link::route_add(&mut batch, subnet, index, Via::Nothing);
            match self.route.execute(batch) {
                Err(error) if error.is_taken() && wanted.is_none() => continue,
                other => other?,
            }
            let mut batch = Batch::default();
            link::address_add(&mut batch, index, subnet.gateway());
            self.route.execute(batch)?;
            return Ok(subnet);
        }
        Err(NetError::NoSubnet)
    }

    /// A cable from the host to itself: it carries nothing, but has the gateway's address as long as
    /// we are here. Unlike a dummy link it needs nothing of the kernel that instances do not need.
    fn gateway_link(&mut self) -> Result<u32, NetError> {
        let names = [format!("{}gw", self.prefix), format!("{}gp", self.prefix)];
        let end = |name, last| End { name, mac: [2, 0x75, 0, 0, 0, last], netns: None };
        let mut batch = Batch::default();
        link::veth(&mut batch, end(&names[0], 1), end(&names[1], 2), DEFAULT_MTU);
        self.route.execute(batch)?;
        let mut batch = Batch::default();
        for name in &names {
            netns::write_setting(&format!("net/ipv6/conf/{name}/disable_ipv6"), "1")?;
            link::link_up(&mut batch, self.route.link_index(name)?);
        }
        self.route.execute(batch)?;
        Ok(self.route.link_index(&names[0])?)
    }

    /// The smallest packet size of the links that routes lead through: what an instance sends need
    /// not be cut.
    fn uplink_mtu(&mut self, routes: &[link::Route]) -> Result<u32, NetError> {
        let defaults: Vec<u32> = routes
            .iter()
            .filter(|route| route.unicast && route.destination.length() == 0)
            .flat_map(|route| route.links.iter().copied())
            .collect();
        let links = link::links(&mut self.route)?;
        let smallest = links.iter().filter(|link| defaults.contains(&link.index)).map(|link| link.mtu).min();
        Ok(smallest.unwrap_or(DEFAULT_MTU).clamp(576, 65_535))
    }

    /// Brings forwarding, and the guard that goes with it, up to date.
    pub(super) fn refresh(&mut self) -> Result<(), NetError> {
        self.forwarding.refresh(&mut self.route)?;
        let wanted = self.to_be_guarded();
        if wanted != self.guarded {
            rules::guard(&mut self.nft, &self.table, &wanted)?;
            self.guarded = wanted;
        }
        Ok(())
    }

    /// The links that must not forward to one another.
    fn to_be_guarded(&self) -> BTreeSet<String> {
        if is_global() {
            // Whoever switched it on wants the host to be a router.
            return BTreeSet::new();
        }
        self.forwarding.opened().map(str::to_owned).collect()
    }

    /// Takes over the range of a dead server for the sake of instances that live on, and removes every cable but
    /// theirs.
    fn inherit(&mut self, kept: &[(Ipv4Addr, Egress)], routes: &[link::Route]) -> Result<Subnet, NetError> {
        let gateway = format!("{}gw", self.prefix);
        let links = self.own_links()?;
        let index = links.iter().find(|link| link.name == gateway).map(|link| link.index).ok_or(NetError::NotKept)?;
        let leads_there = |route: &&link::Route| route.links.contains(&index) && route.destination.length() < 32;
        let subnet = routes.iter().find(leads_there).map(|route| route.destination).ok_or(NetError::NotKept)?;
        let cables: BTreeSet<String> = kept.iter().map(|&(address, _)| self.cable(address)).collect();
        if !kept.iter().all(|&(address, _)| subnet.contains(address))
            || !link::addresses(&mut self.route)?.contains(&(subnet.gateway(), 32))
        {
            return Err(NetError::NotKept);
        }
        self.remove_links(|name| name != gateway && !cables.contains(name))?;
        Ok(subnet)
    }

    /// What the host's end of an instance's cable is called.
    pub(super) fn cable(&self, address: Ipv4Addr) -> String {
        let number = address.to_bits() & 0xff_ffff;
        format!("{}{number:x}", self.prefix)
    }

    /// Removes everything that carries our tag. Goes on after an error and returns the first.
    pub(super) fn remove(&mut self) -> Result<(), NetError> {
        let restored = self.forwarding.restore();
        let links = self.remove_links(|_| true);
        let table = rules::remove(&mut self.nft, &self.table).map_err(NetError::from);
        self.guarded.clear();
        restored.and(links).and(table)
    }

    /// Removes the links whose names are not wanted. Those of instances that end go by themselves, which is given a
    /// moment.
    fn remove_links(&mut self, is_unwanted: impl Fn(&str) -> bool) -> Result<(), NetError> {
        let gateway = format!("{}gw", self.prefix);
        let peer = format!("{}gp", self.prefix);
        let mut waited = Duration::ZERO;
        let unwanted = |links: Vec<link::Link>| -> Vec<link::Link> {
            // The gateway's other end goes with it.
            links.into_iter().filter(|link| link.name != peer && is_unwanted(&link.name)).collect()
        };
        let mut rest = unwanted(self.own_links()?);
        while rest.iter().any(|link| link.name != gateway) && waited < FAREWELL {
            thread::sleep(FAREWELL_STEP);
            waited += FAREWELL_STEP;
            rest = unwanted(self.own_links()?);
        }
        for link in rest {
            let mut batch = Batch::default();
            link::link_delete(&mut batch, link.index);
            match self.route.execute(batch) {
                // It went by itself meanwhile.
                Err(error) if error.is_missing() => {}
                other => other?,
            }
        }
        Ok(())
    }

    pub(super) fn own_links(&mut self) -> Result<Vec<link::Link>, NetError> {
        let links = link::links(&mut self.route)?;
        Ok(links.into_iter().filter(|link| link.name.starts_with(&self.prefix)).collect())
    }
}
