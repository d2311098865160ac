//! On hosts of their own: each test runs in a network namespace that plays the host, with another
//! one that plays the rest of the world. Nothing of the machine is touched.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::fd::{AsFd, OwnedFd};
use tempfile::TempDir;

use super::{
    link::{End, Via},
    netlink::{Batch, Socket, Subsystem},
    *,
};

mod egress;
mod spares;

/// A host with one neighbour.
/// Something that is no question we could answer, as it is sent over TCP.
const QUERY: &[u8] = b"\0\x05query";

struct World {
    /// The neighbour's namespace.
    outside: OwnedFd,
    run_dir: TempDir,
    tasks: Tasks,
}

/// The host's address on the way to the neighbour.
const UPLINK: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// What is refused here is dropped silently: waiting longer would not show more.
const SILENCE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn an_instance_reaches_the_world_with_the_address_of_the_host() {
    World::run(async |world| {
        let network = world.network("nat").await;
        let server = world.listen_outside().await;
        for attachment in [network.attach().await.expect("attached"), network.attach().await.expect("attached")] {
            let peer = reach(&attachment.netns, OUTSIDE, &server).await.expect("reached");
            assert_eq!(peer.ip(), UPLINK);
        }
        network.stop().await.expect("stopped");
    });
}

#[test]
fn the_host_reaches_an_instance_and_the_neighbour_does_not() {
    World::run(async |world| {
        let network = world.network("in").await;
        let attachment = network.attach().await.expect("attached");
        let server = listen(&attachment.netns).await;
        let subnet = Subnet::of(attachment.address, 16);
        inside(&world.outside, move || {
            let mut socket = Socket::open(Subsystem::Route).expect("netlink");
            let index = socket.link_index("world").expect("the neighbour's link");
            let mut batch = Batch::default();
            link::route_add(&mut batch, subnet, index, Via::Gateway(UPLINK));
            socket.execute(batch).expect("a route to the instances");
        })
        .await;
        let here = netns::current().expect("a namespace");
        let peer = reach(&here, attachment.address, &server).await.expect("the host is let in");
        assert_eq!(peer.ip(), gateway(&attachment));
        assert!(reach(&world.outside, attachment.address, &server).await.is_none(), "the neighbour is not");
        network.stop().await.expect("stopped");
    });
}

#[test]
fn the_kernel_says_who_listens_in_an_instance_as_the_host_would_find_by_connecting() {
    World::run(async |world| {
        let network = world.network("diag").await;
        let attachment = network.attach().await.expect("attached");
        let here = netns::current().expect("a namespace");
        let port = listen(&attachment.netns).await.local_addr().expect("it has one").port();
        for (place, reachable) in
            [("0.0.0.0", true), ("[::]", true), (&*attachment.address.to_string(), true), ("127.0.0.1", false)]
        {
            let place: SocketAddr = format!("{place}:{port}").parse().expect("an address");
            let has = || attachment.listeners().expect("this kernel tells").has(port);
            assert_eq!(has(), Some(false), "before {place}");
            let server = inside(&attachment.netns, move || TcpListener::bind(place).expect("a free port")).await;
            assert_eq!(has(), Some(reachable), "{place}");
            let address = SocketAddr::from((attachment.address, port));
            let connected = inside(&here, move || TcpStream::connect_timeout(&address, PATIENCE).is_ok()).await;
            assert_eq!(connected, reachable, "{place}");
            drop(server);
        }
        network.stop().await.expect("stopped");
    });
}

#[test]
fn instances_do_not_reach_one_another() {
    World::run(async |world| {
        let network = world.network("apart").await;
        let (one, two) = (network.attach().await.expect("attached"), network.attach().await.expect("attached"));
        let server = listen(&two.netns).await;
        assert!(reach(&one.netns, two.address, &server).await.is_none());
        assert!(reach(&two.netns, two.address, &server).await.is_some(), "its own listener it does reach");
        network.stop().await.expect("stopped");
    });
}

#[test]
fn an_instance_reaches_no_address_of_the_host() {
    World::run(async |world| {
        let network = world.network("host").await;
        let attachment = network.attach().await.expect("attached");
        let server = TcpListener::bind("0.0.0.0:0").expect("a listener");
        for address in [gateway(&attachment), UPLINK, Ipv4Addr::LOCALHOST] {
            assert!(reach(&attachment.netns, address, &server).await.is_none(), "{address}");
        }
        network.stop().await.expect("stopped");
    });
}

#[test]
fn an_instance_cannot_speak_for_another_one() {
    World::run(async |world| only_its_own_address_leaves(world, "spoof").await);
}

/// Of what an instance sends from another one's address, from a foreign one and from its own, only the last arrives.
async fn only_its_own_address_leaves(world: &World, tag: &str) {
    let network = world.network(tag).await;
    let (one, two) = (network.attach().await.expect("attached"), network.attach().await.expect("attached"));
    let server = inside(&world.outside, || UdpSocket::bind("0.0.0.0:0").expect("a socket")).await;
    let (port, stolen, own) = (server.local_addr().expect("bound").port(), two.address, one.address);
    inside(&one.netns, move || {
        let mut socket = Socket::open(Subsystem::Route).expect("netlink");
        let mut batch = Batch::default();
        let index = socket.link_index("eth0").expect("the instance's link");
        let foreign = Ipv4Addr::new(192, 0, 2, 9);
        link::address_add(&mut batch, index, stolen);
        link::address_add(&mut batch, index, foreign);
        socket.execute(batch).expect("addresses that are not ours");
        for (address, text) in [(stolen, b"stolen"), (foreign, b"forged"), (own, b"honest")] {
            let sender = UdpSocket::bind((address, 0)).expect("a socket");
            sender.send_to(text, (OUTSIDE, port)).expect("sent");
        }
    })
    .await;
    server.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let mut text = [0; 16];
    let length = server.recv(&mut text).expect("the honest one arrives");
    assert_eq!(&text[..length], b"honest");
    network.stop().await.expect("stopped");
}

#[test]
fn there_is_no_ipv6_inside() {
    World::run(async |world| {
        let network = world.network("six").await;
        let attachment = network.attach().await.expect("attached");
        let addresses = || std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
        assert_eq!(inside(&attachment.netns, addresses).await, "");
        network.stop().await.expect("stopped");
    });
}

#[test]
fn links_that_were_opened_for_instances_do_not_forward_to_one_another() {
    World::run(async |world| {
        let (other, address) = (neighbour("up1", Ipv4Addr::new(203, 0, 113, 1)).await, Ipv4Addr::new(203, 0, 113, 2));
        for (namespace, destination, gateway) in
            [(&world.outside, address, UPLINK), (&other, OUTSIDE, Ipv4Addr::new(203, 0, 113, 1))]
        {
            inside(namespace, move || {
                let mut socket = Socket::open(Subsystem::Route).expect("netlink");
                let index = socket.link_index("world").expect("the neighbour's link");
                let mut batch = Batch::default();
                link::route_add(&mut batch, Subnet::of(destination, 24), index, Via::Gateway(gateway));
                socket.execute(batch).expect("a route through the host");
            })
            .await;
        }
        let server = listen(&other).await;
        let network = world.network("guard").await;
        assert!(reach(&world.outside, address, &server).await.is_none(), "the host is no router");
        let attachment = network.attach().await.expect("attached");
        assert!(reach(&attachment.netns, address, &server).await.is_some(), "but for instances");

        // The administrator decides otherwise.
        netns::write_setting("net/ipv4/ip_forward", "1").expect("written");
        let deadline = Clock::system();
        let opened = async { while reach(&world.outside, address, &server).await.is_none() {} };
        deadline.timeout(Duration::from_secs(20), opened).await.expect("the guard steps back");
        network.stop().await.expect("stopped");
        assert_eq!(netns::read_setting("net/ipv4/conf/up1/forwarding").as_deref(), Some("1"));
    });
}

#[test]
fn after_stop_the_host_is_as_it_was() {
    World::run(async |world| {
        let before = snapshot();
        let network = world.network("stop").await;
        let kept = network.attach().await.expect("attached");
        drop(network.attach().await.expect("attached"));
        assert_ne!(snapshot(), before);
        network.stop().await.expect("stopped");
        assert_eq!(snapshot(), before);
        assert_eq!(std::fs::read_dir(world.run_dir.path()).expect("the run directory").count(), 0);
        assert!(matches!(network.attach().await, Err(NetError::Stopped)));
        drop(kept);
    });
}

#[test]
fn a_network_that_nobody_stopped_goes_when_it_is_dropped() {
    World::run(async |world| {
        let before = snapshot();
        let network = world.network("drop").await;
        drop(network.attach().await.expect("attached"));
        drop(network);
        assert_eq!(snapshot(), before);
    });
}

#[test]
fn a_start_removes_what_a_killed_server_of_the_same_tag_left_and_nothing_else() {
    World::run(async |world| {
        let neighbour = world.network("kill2").await;
        let before = snapshot();
        let killed = world.network("kill").await;
        let kept = killed.attach().await.expect("attached");
        killed.abandon();
        assert!(snapshot().len() > before.len() + 3);

        let network = world.network("kill").await;
        let attachment = network.attach().await.expect("attached");
        let server = world.listen_outside().await;
        assert!(reach(&attachment.netns, OUTSIDE, &server).await.is_some());
        assert!(reach(&kept.netns, OUTSIDE, &server).await.is_none(), "the old cable is cut");
        drop(attachment);
        network.stop().await.expect("stopped");
        assert_eq!(snapshot(), before);
        neighbour.stop().await.expect("stopped");
    });
}

#[test]
fn two_servers_take_different_ranges_and_do_not_see_each_other() {
    World::run(async |world| {
        let (one, two) = (world.network("a").await, world.network("ab").await);
        let (inner, other) = (one.attach().await.expect("attached"), two.attach().await.expect("attached"));
        assert_ne!(gateway(&inner), gateway(&other));
        let server = listen(&other.netns).await;
        assert!(reach(&inner.netns, other.address, &server).await.is_none());
        one.stop().await.expect("stopped");
        let outside = world.listen_outside().await;
        // Set back by the first, and found and set again by the second in its own time.
        let reached = async { while reach(&other.netns, OUTSIDE, &outside).await.is_none() {} };
        Clock::system().timeout(Duration::from_secs(20), reached).await.expect("the second works on");
        two.stop().await.expect("stopped");
    });
}

#[test]
fn a_configured_range_that_is_in_use_is_refused() {
    World::run(async |world| {
        let config = NetConfig { subnet: "198.51.100.0/24".parse().ok(), ..world.config("taken") };
        let before = snapshot();
        let refused = Network::start(config, &world.tasks, &Clock::system()).await;
        assert!(matches!(refused, Err(NetError::SubnetTaken { .. })), "{refused:?}");
        assert_eq!(snapshot(), before);
    });
}

#[test]
fn few_addresses_are_enough_for_many_short_lives() {
    World::run(async |world| {
        let config = NetConfig { subnet: "10.99.0.0/28".parse().ok(), ..world.config("few") };
        let network = Network::start(config, &world.tasks, &Clock::system()).await.expect("started");
        let server = world.listen_outside().await;
        for _ in 0..60 {
            let attachment = network.attach().await.expect("attached");
            assert!(reach(&attachment.netns, OUTSIDE, &server).await.is_some(), "{}", attachment.address);
        }
        network.stop().await.expect("stopped");
    });
}

#[test]
fn the_survey_tries_everything_out_and_leaves_nothing() {
    World::run(async |_| {
        let before = snapshot();
        let findings = thread::spawn(survey).join().expect("surveyed");
        assert_eq!(findings.len(), 4);
        assert!(findings.iter().all(|(_, ok, ..)| *ok), "{findings:?}");
        assert_eq!(snapshot(), before);
    });
}

#[test]
fn many_cables_go_with_their_namespaces() {
    World::run(async |world| {
        let network = world.network("many").await;
        let before = snapshot();
        for _ in 0..8 {
            let mut kept = Vec::new();
            for _ in 0..25 {
                kept.push(network.attach().await.expect("attached"));
            }
        }
        let gone = async {
            while snapshot() != before {
                Clock::system().sleep(Duration::from_millis(5)).await;
            }
        };
        Clock::system().timeout(PATIENCE, gone).await.expect("all cables disappear");
        network.stop().await.expect("stopped");
    });
}

// === helpers ===

impl World {
    /// Runs `test` on a host of its own, or says why not.
    #[expect(clippy::print_stderr, reason = "a skipped test says why")]
    fn run(test: impl AsyncFnOnce(&Self) + Send + 'static) {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: network namespaces need root");
            return;
        }
        let host = thread::spawn(move || {
            netns::leave().expect("a network namespace");
            netns::write_setting("net/ipv4/ip_forward", "0").expect("written");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                loopback_up();
                let outside = neighbour("up0", UPLINK).await;
                let run_dir = tempfile::tempdir().expect("a directory");
                test(&Self { outside, run_dir, tasks: Tasks::new() }).await;
            });
        });
        if let Err(panic) = host.join() {
            std::panic::resume_unwind(panic);
        }
    }

    fn config(&self, tag: &str) -> NetConfig {
        NetConfig {
            tag: tag.to_owned(),
            dns: Vec::new(),
            domain: "run.localhost".to_owned(),
            ports: Vec::new(),
            subnet: None,
            run_dir: self.run_dir.path().to_owned(),
            kept: Vec::new(),
        }
    }

    async fn network(&self, tag: &str) -> Network {
        Network::start(self.config(tag), &self.tasks, &Clock::system()).await.expect("started")
    }

    async fn listen_outside(&self) -> TcpListener {
        listen(&self.outside).await
    }
}

/// Another machine on a link `name` of the host, which has `address`; the machine has the next one.
async fn neighbour(name: &str, address: Ipv4Addr) -> OwnedFd {
    let here = netns::current().expect("a namespace");
    let theirs = Ipv4Addr::from_bits(address.to_bits() + 1);
    let mut namespace = netns::create(here.as_fd()).expect("a namespace");
    let end = |name, last, netns| End { name, mac: [2, 1, 1, 1, 1, last], netns };
    let mut batch = Batch::default();
    link::link_up(&mut batch, 1);
    link::veth(&mut batch, end("world", 1, None), end(name, 2, Some(here.as_fd())), 1500);
    namespace.socket.execute(batch).expect("a cable");
    let mut host = Socket::open(Subsystem::Route).expect("netlink");
    let index = namespace.socket.link_index("world").expect("a link");
    for (socket, index, own, other) in
        [(&mut namespace.socket, index, theirs, address), (&mut host, 0, address, theirs)]
    {
        let index = if index == 0 { socket.link_index(name).expect("a link") } else { index };
        let mut batch = Batch::default();
        link::link_up(&mut batch, index);
        link::address_add(&mut batch, index, own);
        link::route_add(&mut batch, Subnet::of(other, 24), index, Via::Nothing);
        socket.execute(batch).expect("an address");
    }
    netns::write_setting(&format!("net/ipv4/conf/{name}/forwarding"), "0").expect("written");
    while !link::link_sends(&mut namespace.socket, index).expect("a link") {}
    namespace.fd
}

/// Ranges that nobody configured are a /16.
fn gateway(attachment: &Attachment) -> Ipv4Addr {
    Subnet::of(attachment.address, 16).gateway()
}

fn loopback_up() {
    let mut batch = Batch::default();
    link::link_up(&mut batch, 1);
    Socket::open(Subsystem::Route)
        .and_then(|mut socket| socket.execute(batch).map_err(|e| e.source))
        .expect("loopback");
}

/// Runs `work` in a namespace, on a thread that ends with it.
async fn inside<T: Send + 'static>(namespace: &OwnedFd, work: impl FnOnce() -> T + Send + 'static) -> T {
    let namespace = namespace.try_clone().expect("a descriptor");
    let (answer, answered) = oneshot::channel();
    thread::spawn(move || {
        netns::enter(namespace.as_fd()).expect("a namespace");
        let _ = answer.send(work());
    });
    answered.await.expect("the thread answers")
}

async fn listen(namespace: &OwnedFd) -> TcpListener {
    inside(namespace, || TcpListener::bind("0.0.0.0:0").expect("a listener")).await
}

/// Connects from a namespace to `address` with the port of `server`, which is the one that has to
/// answer; whom the server saw, if it did.
async fn reach(from: &OwnedFd, address: Ipv4Addr, server: &TcpListener) -> Option<SocketAddr> {
    reach_with(from, address, (server, b"")).await
}

/// The same for a server that says nothing before the client does.
async fn reach_with(
    from: &OwnedFd,
    address: Ipv4Addr,
    (server, first): (&TcpListener, &'static [u8]),
) -> Option<SocketAddr> {
    let target = SocketAddr::from((address, server.local_addr().expect("bound").port()));
    let server = server.try_clone().expect("a descriptor");
    server.set_nonblocking(false).expect("blocking");
    inside(from, move || {
        let mut client = TcpStream::connect_timeout(&target, SILENCE).ok()?;
        client.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        client.write_all(first).expect("sent");
        // Over the forwarder a connection is answered before its server is asked.
        let (mut seen, peer) = server.accept().expect("a connection that was answered");
        let mut said = vec![0; first.len()];
        seen.read_exact(&mut said).expect("received");
        assert_eq!(said, first);
        seen.write_all(b"seen").expect("sent");
        let mut text = [0; 4];
        client.read_exact(&mut text).expect("received");
        Some(peer)
    })
    .await
}

/// What there is on the host of this thread: links with their forwarding, addresses, routes, tables.
fn snapshot() -> Vec<String> {
    let mut socket = Socket::open(Subsystem::Route).expect("netlink");
    let links = link::links(&mut socket).expect("listed");
    let mut all: Vec<String> = links
        .iter()
        .map(|link| {
            let forwarding = netns::read_setting(&format!("net/ipv4/conf/{}/forwarding", link.name));
            format!("link {} forwarding {forwarding:?}", link.name)
        })
        .collect();
    all.extend(link::addresses(&mut socket).expect("listed").iter().map(|address| format!("address {address:?}")));
    all.extend(link::routes(&mut socket).expect("listed").iter().map(|route| format!("{route:?}")));
    all.extend(nft::tables(&mut Socket::open(Subsystem::Netfilter).expect("netlink")).expect("listed"));
    all.sort();
    all
}
