//! The thread that changes the host: namespaces belong to threads, so all of it is done by one.

use std::{
    collections::HashMap,
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
    host::{FAREWELL, FAREWELL_STEP, Host, Made},
    listeners::Listeners,
    netns,
    retired::{Remains, Retired},
    spares::{self, Spares},
    subnet::{Lease, Pool, Subnet},
};

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Command {
    Attach(oneshot::Sender<Result<Attachment, NetError>>),
    /// Restrict the instance with this address.
    Restrict(Ipv4Addr, Egress, oneshot::Sender<Result<(), NetError>>),
    /// An instance is no more. Another one of those that are called so may have its network.
    LetGo(Remains, Option<Arc<str>>),
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
    spares: Arc<Spares>,
}

/// How often the thread looks for uplinks that do not forward: a VPN that came up, a link that was
/// made anew, one that another server on this host set back when it stopped.
const REFRESH: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(1) };

/// Starts the thread, in the network namespace of the caller. It ends, and removes everything, when
/// nobody can give it orders any more.
pub(super) fn spawn(
    config: NetConfig,
    (orders, spares): (mpsc::Receiver<Command>, Arc<Spares>),
    clock: Clock,
) -> Result<(JoinHandle<()>, Answer<Ready>), NetError> {
    let (answer, ready) = oneshot::channel();
    let work = move || match set_up(config, spares) {
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

fn set_up(config: NetConfig, spares: Arc<Spares>) -> Result<(Working, Ready), NetError> {
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
            let working = Working {
                host,
                pool,
                gateway,
                mtu,
                resolv_conf,
                tells_listeners: Listeners::are_told(&metadata),
                kept,
                retired: Retired::default(),
                spares,
            };
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
        self.retire(self.spares.expired(now), now);
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
            Command::LetGo(remains, next) => self.spare_or_retire((remains, next), clock.instant()),
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
        self.let_go_of_spares();
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
                Err(NetError::AddressesUsedUp { .. }) if self.let_go_of_spares() => {}
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
        Attachment { netns, address, resolv_conf, held: Some(held), next: None, network: Weak::new() }
    }

    /// Keeps the network of an instance that has ended for another one, if it is as good as new.
    fn spare_or_retire(&mut self, (remains, next): (Remains, Option<Arc<str>>), now: Instant) {
        let Some(next) = next else { return self.retired.push(remains, now) };
        match netns::inside(remains.netns.as_fd(), self.host.home.as_fd(), spares::is_quiet) {
            Ok(true) => {}
            Ok(false) => return self.retired.push(remains, now),
            Err(error) => {
                tracing::warn!(%error, "the sockets of a network could not be counted");
                return self.retired.push(remains, now);
            }
        }
        let left = self.spares.put(next, self.attachment(remains), now);
        self.retire(left, now);
    }

    fn retire(&mut self, attachments: impl IntoIterator<Item = Attachment>, now: Instant) {
        for remains in attachments.into_iter().filter_map(Attachment::into_remains) {
            self.retired.push(remains, now);
        }
    }

    /// Lets all of them go that nobody has; false if there is none.
    fn let_go_of_spares(&mut self) -> bool {
        let spares = self.spares.all();
        let there = !spares.is_empty();
        for attachment in spares {
            if let Some(remains) = attachment.into_remains() {
                self.host.lift(&remains);
            }
        }
        there
    }

    /// Lets the namespaces go whose instances are no more.
    fn let_go(&mut self) {
        let all = self.retired.take();
        // Addresses may be lent again only when nobody takes them for what they were.
        all.iter().for_each(|remains| self.host.lift(remains));
    }
}
