//! The thread that changes the host: namespaces belong to threads, so all of it is done by one.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::Path,
    sync::{Arc, Weak, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::fd::{AsFd, OwnedFd};
use tokio::sync::oneshot;
use updraft_base::Clock;
use updraft_model::instance::Egress;

use super::{
    Attachment, NetConfig, NetError,
    attach::{self, Cable},
    doors::Doors,
    forwarding::{Forwarding, is_global},
    link::{self, End, Via},
    link_prefix,
    listeners::Listeners,
    netlink::{Batch, Socket, Subsystem},
    netns,
    resolver::Plan,
    retired::{Remains, Retired},
    rules::{self, Firewall, Present},
    subnet::{Lease, Pool, Subnet},
};

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Command {
    Attach(oneshot::Sender<Result<Attachment, NetError>>),
    /// Restrict the instance with this address.
    Restrict(Ipv4Addr, Egress, oneshot::Sender<Result<(), NetError>>),
    /// An instance is no more.
    LetGo(Remains),
    Stop(oneshot::Sender<Result<(), NetError>>),
    /// Hand out what was kept of this address.
    Keep(Ipv4Addr, OwnedFd, oneshot::Sender<Result<Attachment, NetError>>),
    /// End without another word: instances live on.
    Abandon(mpsc::Sender<()>),
}

/// An answer that the thread is going to give.
pub(super) type Answer<T> = oneshot::Receiver<Result<T, NetError>>;

/// What a thread that has set everything up says.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) gateway: Ipv4Addr,
    pub(super) subnet: Subnet,
    /// Name servers that are asked for them.
    pub(super) forward_dns_to: Vec<IpAddr>,
    /// Takes what instances send to the metadata server's address.
    pub(super) metadata: TcpListener,
    /// The same for the server's own address, by the port of it.
    pub(super) doors: Vec<(u16, TcpListener)>,
}

/// The host, as the thread has it in hand.
#[derive(Debug)]
struct Host {
    tag: String,
    prefix: String,
    table: String,
    home: OwnedFd,
    route: Socket,
    nft: Socket,
    forwarding: Forwarding,
    /// What the guard chain holds.
    guarded: BTreeSet<String>,
}

/// A host that is set up.
#[derive(Debug)]
struct Working {
    host: Host,
    pool: Pool,
    gateway: Ipv4Addr,
    mtu: u32,
    resolv_conf: Arc<str>,
    /// Does the kernel say who listens?
    tells_listeners: bool,
    /// Addresses that were taken over and not been asked for yet, with their restrictions.
    kept: HashMap<Ipv4Addr, (Lease, Egress)>,
    retired: Retired,
}

/// What there is of a host's network once it is made.
struct Made {
    subnet: Subnet,
    mtu: u32,
    plan: Plan,
    metadata: TcpListener,
    doors: Vec<(u16, TcpListener)>,
}

/// How often the thread looks for uplinks that do not forward: a VPN that came up, a link that was
/// made anew, one that another server on this host set back when it stopped.
const REFRESH: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(1) };
/// How long cables get to disappear with their namespaces before they are cut one by one, which
/// takes the kernel some 20 ms each.
const FAREWELL: Duration = Duration::from_secs(1);
const FAREWELL_STEP: Duration = Duration::from_millis(5);
/// When no uplink says otherwise.
const DEFAULT_MTU: u32 = 1500;

/// Starts the thread, in the network namespace of the caller. It ends, and removes everything, when
/// nobody can give it orders any more.
pub(super) fn spawn(
    config: NetConfig,
    orders: mpsc::Receiver<Command>,
    clock: Clock,
) -> Result<(JoinHandle<()>, Answer<Ready>), NetError> {
    let (answer, ready) = oneshot::channel();
    let work = move || match set_up(config) {
        Ok((working, state)) => {
            // Nobody waits any more: then the channel of commands is closed too, and `run` removes everything.
            let _ = answer.send(Ok(state));
            run(working, &orders, &clock);
        }
        Err(error) => {
            let _ = answer.send(Err(error));
        }
    };
    let worker = thread::Builder::new().name("network".to_owned()).spawn(work);
    let worker = worker.map_err(NetError::io("start the network thread"))?;
    Ok((worker, ready))
}

/// Removes what a dead server with this tag left, if it left anything. Blocks for up to a second.
pub(super) fn clear(tag: String, run_dir: &Path) -> Result<(), NetError> {
    let mut host = Host::open(tag, run_dir)?;
    // Whoever has no networks may have no right to change any either.
    if host.own_links()?.is_empty() && host.forwarding.opened().next().is_none() {
        return Ok(());
    }
    host.remove()
}

fn set_up(config: NetConfig) -> Result<(Working, Ready), NetError> {
    let mut host = Host::open(config.tag.clone(), &config.run_dir)?;
    if config.kept.is_empty() {
        host.remove()?;
    }
    let made = host.set_up(&config);
    match made {
        Ok(Made { subnet, mtu, plan, metadata, doors }) => {
            let gateway = subnet.gateway();
            let resolv_conf = plan.resolv_conf(gateway).into();
            let pool = Pool::new(subnet);
            let kept =
                config.kept.into_iter().map(|(address, egress)| (address, (pool.keep(address), egress))).collect();
            let tells_listeners = Listeners::are_told(&metadata);
            let working =
                Working { host, pool, gateway, mtu, resolv_conf, tells_listeners, kept, retired: Retired::default() };
            Ok((working, Ready { gateway, subnet, forward_dns_to: plan.forward_to, metadata, doors }))
        }
        Err(error) => {
            if let Err(error) = host.remove() {
                tracing::warn!(%error, "could not remove a network that was not completed");
            }
            Err(error)
        }
    }
}

fn run(mut working: Working, orders: &mpsc::Receiver<Command>, clock: &Clock) {
    let mut refreshed = clock.instant();
    loop {
        let next = working.see_to(&mut refreshed, clock.instant());
        match orders.recv_timeout(next.saturating_duration_since(clock.instant())) {
            Ok(Command::Stop(answer)) => {
                let late = orders.try_iter();
                late.for_each(|order| working.obey(order, clock));
                let _ = answer.send(working.end());
                return;
            }
            Ok(Command::Abandon(hang_up)) => return drop(hang_up),
            Ok(order) => working.obey(order, clock),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                if let Err(error) = working.end() {
                    tracing::warn!(%error, "could not remove the network of instances");
                }
                return;
            }
        }
    }
}

// === impl Host ===

impl Host {
    fn open(tag: String, run_dir: &Path) -> Result<Self, NetError> {
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

    fn set_up(&mut self, config: &NetConfig) -> Result<Made, NetError> {
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

    fn restrict(&mut self, address: Ipv4Addr, egress: Egress) -> Result<(), NetError> {
        rules::restrict(&mut self.nft, &self.table, address, egress).map_err(NetError::from)
    }

    fn lift(&mut self, address: Ipv4Addr, egress: Egress) {
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
    fn refresh(&mut self) -> Result<(), NetError> {
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
    fn cable(&self, address: Ipv4Addr) -> String {
        let number = address.to_bits() & 0xff_ffff;
        format!("{}{number:x}", self.prefix)
    }

    /// Removes everything that carries our tag. Goes on after an error and returns the first.
    fn remove(&mut self) -> Result<(), NetError> {
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

    fn own_links(&mut self) -> Result<Vec<link::Link>, NetError> {
        let links = link::links(&mut self.route)?;
        Ok(links.into_iter().filter(|link| link.name.starts_with(&self.prefix)).collect())
    }
}

// === impl Working ===

impl Working {
    /// Does what is due, and says when to look again. `refreshed` is when the host was last looked at.
    fn see_to(&mut self, refreshed: &mut Instant, now: Instant) -> Instant {
        if now >= *refreshed + REFRESH {
            *refreshed = now;
            if let Err(error) = self.host.refresh() {
                tracing::warn!(%error, "could not bring the forwarding of uplinks up to date");
            }
        }
        if self.retired.due().is_some_and(|due| now >= due) {
            self.let_go();
        }
        let next = *refreshed + REFRESH;
        self.retired.due().map_or(next, |due| due.min(next))
    }

    /// An order that is not the last one.
    fn obey(&mut self, order: Command, clock: &Clock) {
        match order {
            Command::Attach(answer) => {
                // The caller may be gone; then the attachment dies here.
                let _ = answer.send(self.attach());
            }
            Command::Restrict(address, egress, answer) => {
                // Who gave up waiting does not start the instance.
                let _ = answer.send(self.host.restrict(address, egress));
            }
            Command::LetGo(remains) => self.retired.push(remains, clock.instant()),
            Command::Keep(address, netns, answer) => {
                // Nobody waits for it any more, but its address may be restricted.
                if let Err(Ok(unwanted)) = answer.send(self.keep(address, netns))
                    && let Some(remains) = unwanted.into_remains()
                {
                    self.retired.push(remains, clock.instant());
                }
            }
            // Asked for twice: the first answer is true of both.
            Command::Stop(answer) => drop(answer),
            Command::Abandon(hang_up) => drop(hang_up),
        }
    }

    /// Removes everything.
    fn end(&mut self) -> Result<(), NetError> {
        self.let_go();
        self.host.remove()
    }

    /// Hands out the network of an instance that lives on.
    fn keep(&mut self, address: Ipv4Addr, netns: OwnedFd) -> Result<Attachment, NetError> {
        let (lease, egress) = self.kept.remove(&address).ok_or(NetError::NotKept)?;
        Ok(self.attachment(Remains { netns: netns.into(), listeners: None, lease, egress }))
    }

    /// Attaches a new namespace. Where addresses are few, the last cable of the next one may still be
    /// on its way out: then this waits for it.
    fn attach(&mut self) -> Result<Attachment, NetError> {
        let mut waited = Duration::ZERO;
        loop {
            match self.attach_once() {
                Err(NetError::AddressesUsedUp { .. }) if self.retired.due().is_some() => self.let_go(),
                Err(NetError::Netlink(error)) if error.is_taken() && waited < FAREWELL => {
                    thread::sleep(FAREWELL_STEP);
                    waited += FAREWELL_STEP;
                }
                other => return other,
            }
        }
    }

    fn attach_once(&mut self) -> Result<Attachment, NetError> {
        let lease = self.pool.lend()?;
        let address = lease.address();
        let name = self.host.cable(address);
        let cable = Cable { home: self.host.home.as_fd(), name: &name, address, gateway: self.gateway, mtu: self.mtu };
        let (netns, listeners) = attach::attach(&mut self.host.route, cable)?;
        let listeners = listeners.filter(|_| self.tells_listeners);
        tracing::debug!(tag = self.host.tag, %address, "attached a namespace");
        Ok(self.attachment(Remains { netns: netns.into(), listeners, lease, egress: Egress::All }))
    }

    fn attachment(&self, held: Remains) -> Attachment {
        let (netns, address, resolv_conf) = (held.netns.clone(), held.lease.address(), self.resolv_conf.clone());
        Attachment { netns, address, resolv_conf, held: Some(held), network: Weak::new() }
    }

    /// Lets the namespaces go whose instances are no more.
    fn let_go(&mut self) {
        let all = self.retired.take();
        // Addresses may be lent again only when nobody takes them for what they were.
        for remains in all.iter().filter(|remains| remains.egress != Egress::All) {
            self.host.lift(remains.lease.address(), remains.egress);
        }
    }
}
