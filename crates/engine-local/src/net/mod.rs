//! The network of instances: each has a namespace of its own, a cable to the host, one IPv4 address
//! and a way out.
//!
//! Everything is asked of the kernel directly (rtnetlink, nftables): no `ip`, `nft` or `iptables`
//! is needed on the host.
//!
//! * An instance reaches whatever the host can reach, with the source address of the host.
//! * It reaches neither another instance nor the host's own addresses, nor link-local addresses, where clouds keep the
//!   host's credentials. What the gateway address answers is echo requests and DNS: names of ours itself
//!   ([`names`]), others by asking the host's name servers.
//! * An instance may be restricted to private addresses, or to none ([`Network::restrict`]): an element of a set of
//!   the packet filter, so that rules do not grow with instances.
//! * An instance speaks with its own address only: what comes in through a cable from an address that does not
//!   lead back through it is dropped before anything else.
//! * 169.254.169.254, port 80, is a listener of ours ([`Network::metadata`]), which knows by the address who asks;
//!   and so is, at each port of the server, 169.254.169.252 ([`Network::doors`]).
//! * Nobody but the host opens connections to an instance.
//! * There is no IPv6 inside: it is off in the namespace, off on the cable, and dropped.
//! * The host forwards only what comes in through our cables and through the links its routes lead
//!   to. Forwarding is switched on link by link; the global switch stays as it is. Links that we
//!   switched on forward nothing to one another that they did not forward before. What was changed
//!   is written down first and set back by [`Network::stop`] or, after a crash, the next
//!   [`Network::start`].
//!
//! What carries our tag: links `ud<tag>-…`, the nftables table `updraft-<tag>`, the file
//! `net-<tag>.json` in the run directory.

mod attach;
mod doors;
mod error;
mod forwarding;
mod host;
mod link;
mod listeners;
mod names;
mod netlink;
mod netns;
mod nft;
mod resolver;
mod retired;
mod rules;
mod spares;
mod subnet;
mod survey;
pub(crate) mod traces;
mod worker;

#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use rustix::fd::OwnedFd;
use tokio::{net::TcpListener, sync::oneshot};
use updraft_base::{Clock, Shutdown, Tasks};
use updraft_model::instance::Egress;

pub(crate) use error::NetError;
pub(crate) use listeners::Listeners;
pub(crate) use rules::METADATA;
pub(crate) use subnet::Subnet;
pub(crate) use survey::{survey, try_out};

use names::Names;
use resolver::Forwarder;
use retired::Remains;
use spares::Spares;
use worker::Command;

/// How the network is set up.
#[derive(Debug, Clone)]
pub(crate) struct NetConfig {
    /// Tells what is ours from what is another server's: 1 to 6 of `[a-z0-9]`, the caller's alone.
    pub(crate) tag: String,
    /// Name servers that are asked for instances; empty for those that the host has at the start.
    pub(crate) dns: Vec<IpAddr>,
    /// Names below it lead instances to the server itself, as does the API's; two others lead to the metadata server ([`names`]).
    pub(crate) domain: String,
    /// The server's ports, which are all that they reach there.
    pub(crate) ports: Vec<u16>,
    /// Where addresses come from; `None` picks a private range that the host does not use.
    pub(crate) subnet: Option<Subnet>,
    /// Where what was changed on the host is written down.
    pub(crate) run_dir: PathBuf,
    /// Instances that live on and are to keep their network: addresses, and how each is restricted. With any the range
    /// is the one they are in, whatever `subnet` says.
    pub(crate) kept: Vec<(Ipv4Addr, Egress)>,
}

/// The network of one server. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// `None` only while it is being dropped.
    commands: Option<mpsc::Sender<Command>>,
    worker: Option<thread::JoinHandle<()>>,
    forwarder: Shutdown,
    spares: Arc<Spares>,
    /// Is all of it to be left as it is when nobody stopped it?
    stays: AtomicBool,
    /// Until somebody takes it.
    metadata: Mutex<Option<TcpListener>>,
    doors: Mutex<Vec<(u16, TcpListener)>>,
}

/// A network namespace, ready for one instance: loopback is up, `eth0` has the address, the default
/// route leads to the host.
///
/// The namespace and its cable live as long as `netns`, a copy of it, or a process inside. Drop the
/// attachment when the instance has ended: soon after, they are let go and the address is given back.
#[derive(Debug)]
pub(crate) struct Attachment {
    /// The namespace.
    pub(crate) netns: Arc<OwnedFd>,
    /// The instance's address.
    pub(crate) address: Ipv4Addr,
    resolv_conf: Arc<str>,
    /// `None` only while it is being dropped.
    held: Option<Remains>,
    /// Whose it may be next, instead of being let go.
    next: Option<Arc<str>>,
    /// Who lets it go.
    network: Weak<Inner>,
}

// === impl Network ===

impl Network {
    /// Removes what a dead server with the same tag left, but for the network of the instances that are kept, then sets
    /// up the gateway, the firewall and forwarding, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`NetError`] when the host refuses, [`NetError::NotKept`] when what is to be kept is not there; nothing is left
    /// behind then.
    pub(crate) async fn start(config: NetConfig, tasks: &Tasks, clock: &Clock) -> Result<Self, NetError> {
        check_tag(&config.tag)?;
        let (commands, orders) = mpsc::channel();
        let names = Names::new(&config.domain);
        let spares = Arc::new(Spares::default());
        let (worker, ready) = worker::spawn(config, (orders, spares.clone()), clock.clone())?;
        // From here on, dropping this removes everything.
        let forwarder = Shutdown::default();
        let inner = Inner {
            commands: Some(commands),
            worker: Some(worker),
            forwarder: forwarder.clone(),
            spares,
            metadata: Mutex::default(),
            stays: AtomicBool::new(false),
            doors: Mutex::default(),
        };
        let ready = ready.await.map_err(|_| NetError::Stopped)??;
        let listener = |std| TcpListener::from_std(std).map_err(NetError::io("listen for instances"));
        *inner.metadata.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener(ready.metadata)?);
        let doors = ready.doors.into_iter().map(|(port, door)| Ok((port, listener(door)?)));
        *inner.doors.lock().unwrap_or_else(PoisonError::into_inner) = doors.collect::<Result<_, NetError>>()?;
        let forwarding = Forwarder::bind(ready.gateway, ready.subnet, (names, ready.forward_dns_to)).await?;
        forwarding.spawn(tasks, clock, &forwarder);
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Removes what a dead server with this tag left, for one that gives its instances no network.
    ///
    /// # Errors
    /// [`NetError`] when the host refuses.
    pub(crate) async fn clear(tag: String, run_dir: PathBuf) -> Result<(), NetError> {
        // Without threads the runtime is going down.
        tokio::task::spawn_blocking(move || worker::clear(tag, &run_dir)).await.map_err(|_| NetError::Stopped)?
    }

    /// Makes a namespace with an address and a way out.
    ///
    /// # Errors
    /// [`NetError`] when the host refuses, all addresses are in use or the network was stopped.
    pub(crate) async fn attach(&self) -> Result<Attachment, NetError> {
        let (answer, answered) = oneshot::channel();
        self.inner.tell(Command::Attach(answer))?;
        let attachment = answered.await.map_err(|_| NetError::Stopped)??;
        Ok(attachment.of(&self.inner))
    }

    /// The network of an instance like this one that has ended, as good as new, restricted as it was; `None` if there is
    /// none. Those are alike that are called so by [`Attachment::for_next`].
    pub(crate) fn again(&self, whose: &str) -> Option<Attachment> {
        Some(self.inner.spares.take(whose)?.of(&self.inner))
    }

    /// The network of an instance that was kept, whose namespace this is, restricted as it is. Each can be had once.
    ///
    /// # Errors
    /// [`NetError::NotKept`] when it is not among those that were named at the start.
    pub(crate) async fn attachment(&self, address: Ipv4Addr, netns: OwnedFd) -> Result<Attachment, NetError> {
        let (answer, answered) = oneshot::channel();
        self.inner.tell(Command::Keep(address, netns, answer))?;
        let attachment = answered.await.map_err(|_| NetError::Stopped)??;
        Ok(attachment.of(&self.inner))
    }

    /// From now on there are instances that outlive this server: unless [`Network::stop`] is called, all is left to the
    /// next one.
    pub(crate) fn outlive(&self) {
        self.inner.stays.store(true, Ordering::Relaxed);
    }

    /// Restricts where an instance may open connections to. In effect when this returns; to be done before its program
    /// runs. With [`Egress::All`], which needs nothing, and where it is restricted so already it returns at once.
    ///
    /// # Errors
    /// [`NetError`] when the host refuses: then the instance must not start.
    pub(crate) async fn restrict(&self, attachment: &mut Attachment, egress: Egress) -> Result<(), NetError> {
        if attachment.is(egress) {
            return Ok(());
        }
        // Noted first: if nobody waits for the answer any more, it is still lifted.
        attachment.note(egress);
        let (answer, answered) = oneshot::channel();
        self.inner.tell(Command::Restrict(attachment.address, egress, answer))?;
        answered.await.map_err(|_| NetError::Stopped)?
    }

    /// The listener that takes what instances send to the metadata server's address; peers are instances, by their
    /// addresses, or the host itself. The first call gets it.
    pub(crate) fn metadata(&self) -> Option<TcpListener> {
        self.inner.metadata.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The listeners that take what instances send to the server's own address, by the port of it; peers as there. The
    /// first call gets them.
    pub(crate) fn doors(&self) -> Vec<(u16, TcpListener)> {
        std::mem::take(&mut *self.inner.doors.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Removes cables, firewall and gateway and sets forwarding back. Instances are best ended
    /// before: their cables go with them, and are only cut here when they stay.
    ///
    /// # Errors
    /// The first thing that could not be removed; the others are.
    pub(crate) async fn stop(&self) -> Result<(), NetError> {
        self.inner.forwarder.ask();
        let (answer, answered) = oneshot::channel();
        if self.inner.tell(Command::Stop(answer)).is_err() {
            // Stopped before.
            return Ok(());
        }
        answered.await.map_err(|_| NetError::Stopped)?
    }

    /// Ends as SIGKILL ends a server: everything stays.
    #[cfg(test)]
    fn abandon(&self) {
        // The name server's port goes with the process.
        self.inner.forwarder.ask();
        self.inner.abandon();
    }
}

// === impl Inner ===

impl Inner {
    /// Lets the thread end and leave everything as it is.
    fn abandon(&self) {
        let (answer, abandoned) = mpsc::channel();
        if self.tell(Command::Abandon(answer)).is_ok() {
            // It never answers, it hangs up.
            let _ = abandoned.recv();
        }
    }

    fn tell(&self, command: Command) -> Result<(), NetError> {
        let commands = self.commands.as_ref().ok_or(NetError::Stopped)?;
        commands.send(command).map_err(|_| NetError::Stopped)
    }
}

impl Drop for Inner {
    /// Who could not stop the network, because a test or a start failed, must not leave it either:
    /// the process may end right after this, so it waits for the thread to have removed everything.
    fn drop(&mut self) {
        self.forwarder.ask();
        if self.stays.load(Ordering::Relaxed) {
            self.abandon();
        }
        self.commands = None;
        if let Some(worker) = self.worker.take() {
            // It has said itself why it failed, if it did.
            let _ = worker.join();
        }
    }
}

// === impl Attachment ===

impl Attachment {
    /// What `/etc/resolv.conf` of the instance has to say.
    pub(crate) fn resolv_conf(&self) -> &str {
        &self.resolv_conf
    }

    /// Who listens inside; `None` where only connecting can tell.
    pub(crate) fn listeners(&self) -> Option<&Listeners> {
        self.held.as_ref()?.listeners.as_ref()
    }

    /// When the instance has ended, and with it all that it had opened, another one that is called the same may have it.
    pub(crate) fn for_next(&mut self, whose: &str) {
        self.next = Some(whose.into());
    }

    /// Is it restricted like this?
    fn is(&self, egress: Egress) -> bool {
        self.held.as_ref().is_some_and(|held| held.egress == egress)
    }

    /// It is restricted, or about to be: before it is let go that is lifted.
    fn note(&mut self, egress: Egress) {
        if let Some(held) = &mut self.held {
            held.egress = egress;
        }
    }

    fn into_remains(mut self) -> Option<Remains> {
        self.held.take()
    }

    fn of(mut self, network: &Arc<Inner>) -> Self {
        self.network = Arc::downgrade(network);
        self
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // Without a network there is nobody to wait for others, or to lend the address to.
        if let (Some(held), Some(network)) = (self.held.take(), self.network.upgrade()) {
            let _ = network.tell(Command::LetGo(held, self.next.take()));
        }
    }
}

/// What the names of our links begin with. The hyphen keeps a tag from being the beginning of
/// another one.
fn link_prefix(tag: &str) -> String {
    format!("ud{tag}-")
}

fn check_tag(tag: &str) -> Result<(), NetError> {
    let well_formed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    if (1..=6).contains(&tag.len()) && tag.bytes().all(well_formed) {
        return Ok(());
    }
    Err(NetError::Tag { tag: tag.to_owned() })
}
