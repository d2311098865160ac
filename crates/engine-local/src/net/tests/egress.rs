//! Where instances may go, and as whom.

use std::net::SocketAddrV4;

use super::*;

/// The host's address on the way to a neighbour with a private one, and that.
const PRIVATE_UPLINK: Ipv4Addr = Ipv4Addr::new(100, 64, 7, 1);
const PRIVATE: Ipv4Addr = Ipv4Addr::new(100, 64, 7, 2);
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

async fn restricted(network: &Network, egress: Egress) -> Attachment {
    let mut attachment = network.attach().await.expect("attached");
    network.restrict(&mut attachment, egress).await.expect("restricted");
    attachment
}

#[test]
fn an_instance_reaches_what_its_egress_allows_and_answers_in_any_case() {
    World::run(async |world| {
        let inner = neighbour("up1", PRIVATE_UPLINK).await;
        let (public, private) = (world.listen_outside().await, listen(&inner).await);
        let network = world.network("where").await;
        for (egress, to_public, to_private) in
            [(Egress::None, false, false), (Egress::Private, false, true), (Egress::All, true, true)]
        {
            let instance = restricted(&network, egress).await;
            let seen = reach(&instance.netns, OUTSIDE, &public).await.is_some();
            assert_eq!(seen, to_public, "{egress}");
            assert_eq!(reach(&instance.netns, PRIVATE, &private).await.is_some(), to_private, "{egress}");
            let (here, server) = (netns::current().expect("a namespace"), listen(&instance.netns).await);
            assert!(reach(&here, instance.address, &server).await.is_some(), "{egress}: the host is answered");
        }
        network.stop().await.expect("stopped");
    });
}

#[test]
fn private_addresses_of_the_host_and_of_other_instances_are_not_meant() {
    World::run(async |world| {
        let _inner = neighbour("up1", PRIVATE_UPLINK).await;
        let network = world.network("inner").await;
        let (instance, other) =
            (restricted(&network, Egress::Private).await, network.attach().await.expect("attached"));
        let server = listen(&other.netns).await;
        assert!(reach(&instance.netns, other.address, &server).await.is_none());
        let server = TcpListener::bind("0.0.0.0:0").expect("a listener");
        for address in [gateway(&instance), PRIVATE_UPLINK, UPLINK] {
            assert!(reach(&instance.netns, address, &server).await.is_none(), "{address}");
        }
        network.stop().await.expect("stopped");
    });
}

#[test]
fn a_server_that_only_the_host_reaches_is_asked_through_the_gateway() {
    World::run(async |world| {
        let config = NetConfig { dns: vec![Ipv4Addr::LOCALHOST.into()], ..world.config("dns") };
        let network = Network::start(config, &world.tasks, &Clock::system()).await.expect("started");
        let attachment = network.attach().await.expect("attached");
        assert_eq!(attachment.resolv_conf(), format!("nameserver {}\n", gateway(&attachment)));

        let server = UdpSocket::bind("127.0.0.1:53").expect("the host's name server");
        let echo = thread::spawn(move || {
            let mut query = [0; 512];
            let (length, peer) = server.recv_from(&mut query).expect("a query");
            server.send_to(b"no answer to this query", peer).expect("sent");
            query[length] = b'!';
            server.send_to(&query[..=length], peer).expect("sent");
        });
        let gateway = gateway(&attachment);
        let answer = inside(&attachment.netns, move || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            socket.set_read_timeout(Some(PATIENCE)).expect("a deadline");
            socket.send_to(b"query", (gateway, 53)).expect("sent");
            let mut answer = [0; 512];
            let length = socket.recv(&mut answer).expect("an answer");
            answer[..length].to_vec()
        });
        assert_eq!(answer.await, b"query!");
        echo.join().expect("the name server answered");

        let server = TcpListener::bind("127.0.0.1:53").expect("the host's name server");
        assert!(reach_with(&attachment.netns, gateway, (&server, QUERY)).await.is_some(), "over TCP too");
        network.stop().await.expect("stopped");
    });
}

#[test]
fn names_are_for_those_who_may_go_somewhere() {
    World::run(async |world| {
        let config = NetConfig { dns: vec![Ipv4Addr::LOCALHOST.into()], ..world.config("names") };
        let network = Network::start(config, &world.tasks, &Clock::system()).await.expect("started");
        let server = TcpListener::bind("127.0.0.1:53").expect("the host's name server");
        for (egress, answered) in [(Egress::None, false), (Egress::Private, true), (Egress::All, true)] {
            let instance = restricted(&network, egress).await;
            let gateway = gateway(&instance);
            assert_eq!(reach_with(&instance.netns, gateway, (&server, QUERY)).await.is_some(), answered, "{egress}");
        }
        network.stop().await.expect("stopped");
    });
}

#[test]
fn an_address_is_lent_again_without_the_restriction_of_its_last_owner() {
    World::run(async |world| {
        let config = NetConfig { subnet: "10.99.0.0/28".parse().ok(), ..world.config("again") };
        let network = Network::start(config, &world.tasks, &Clock::system()).await.expect("started");
        let server = world.listen_outside().await;
        let first = restricted(&network, Egress::None).await;
        let address = first.address;
        drop(first);
        for round in 0.. {
            // One whose cable is still on its way out is passed over.
            assert!(round < 1000, "there are 13 addresses");
            let next = network.attach().await.expect("attached");
            assert!(reach(&next.netns, OUTSIDE, &server).await.is_some(), "{}", next.address);
            if next.address == address {
                break;
            }
        }
        network.stop().await.expect("stopped");
    });
}

#[test]
fn an_instance_cannot_speak_for_another_one_where_the_host_is_lenient() {
    World::run(async |world| {
        // The looser of this and the cable's own setting counts.
        netns::write_setting("net/ipv4/conf/all/rp_filter", "2").expect("written");
        only_its_own_address_leaves(world, "loose").await;
    });
}

#[test]
fn the_metadata_address_is_the_servers_and_tells_who_asks() {
    World::run(async |world| {
        let network = world.network("meta").await;
        let (one, two) = (network.attach().await.expect("attached"), restricted(&network, Egress::Private).await);
        let closed = restricted(&network, Egress::None).await;
        let listener = network.metadata().expect("asked for once");
        assert!(network.metadata().is_none());
        for instance in [&one, &two] {
            let ask = inside(&instance.netns, || TcpStream::connect_timeout(&place(80), PATIENCE).map(drop));
            let (asked, accepted) = tokio::join!(ask, listener.accept());
            asked.expect("connected");
            assert_eq!(accepted.expect("accepted").1.ip(), instance.address);
        }
        for (instance, port) in [(&one, 81), (&one, 22), (&closed, 80)] {
            let asked = inside(&instance.netns, move || TcpStream::connect_timeout(&place(port), SILENCE).map(drop));
            assert!(asked.await.is_err(), "{port}");
        }
        network.stop().await.expect("stopped");
    });
}

/// A name server that answers whatever it is asked would hide who did.
fn ask(gateway: Ipv4Addr, name: &str) -> Option<Ipv4Addr> {
    let mut query = vec![1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).expect("short"));
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    socket.send_to(&query, (gateway, 53)).expect("sent");
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).expect("an answer, or that there is none");
    (answer[3] & 0xf == 0).then(|| answer[..length].last_chunk::<4>().copied().map(Ipv4Addr::from)).flatten()
}

#[test]
fn our_names_lead_to_the_ports_of_the_server_and_to_no_others_of_the_host() {
    World::run(async |world| {
        let config =
            NetConfig { dns: vec![Ipv4Addr::LOCALHOST.into()], ports: vec![8080, 8443], ..world.config("door") };
        let network = Network::start(config, &world.tasks, &Clock::system()).await.expect("started");
        let doors = network.doors();
        assert!(doors.iter().map(|(port, _)| *port).eq([8080, 8443]) && network.doors().is_empty());
        // What else there is at those ports of the host is not meant.
        let _others = [8080, 22].map(|port| TcpListener::bind(("0.0.0.0", port)).expect("the host's own"));
        let (one, two) = (network.attach().await.expect("attached"), restricted(&network, Egress::Private).await);
        let closed = restricted(&network, Egress::None).await;
        let gateway = gateway(&one);
        let server = inside(&one.netns, move || {
            assert_eq!(ask(gateway, "metadata.google.internal"), Some(METADATA));
            // No name server is there: said at once.
            assert_eq!(ask(gateway, "example.com"), None);
            assert_eq!(ask(gateway, "app-1.run.localhost"), ask(gateway, "updraft.internal"));
            ask(gateway, "updraft.internal").expect("an address")
        })
        .await;
        for instance in [&one, &two] {
            for (port, door) in &doors {
                let target = SocketAddr::from((server, *port));
                let ask = inside(&instance.netns, move || TcpStream::connect_timeout(&target, PATIENCE).map(drop));
                let (asked, accepted) = tokio::join!(ask, door.accept());
                asked.expect("connected");
                assert_eq!(accepted.expect("accepted").1.ip(), instance.address);
            }
        }
        for (instance, address, port) in [
            (&one, server, 22),
            (&one, server, 80),
            (&one, METADATA, 8080),
            (&one, gateway, 8080),
            (&one, UPLINK, 8080),
            (&one, Ipv4Addr::new(169, 254, 169, 253), 8080),
            (&closed, server, 8080),
        ] {
            let target = SocketAddr::from((address, port));
            let asked = inside(&instance.netns, move || TcpStream::connect_timeout(&target, SILENCE).map(drop));
            assert!(asked.await.is_err(), "{target}");
        }
        network.stop().await.expect("stopped");
    });
}

#[test]
fn those_who_live_on_are_restricted_at_every_moment_of_a_restart() {
    World::run(async |world| {
        let inner = neighbour("up1", PRIVATE_UPLINK).await;
        let (public, private) = (world.listen_outside().await, listen(&inner).await);
        let outside = inside(&world.outside, || UdpSocket::bind("0.0.0.0:0").expect("a socket")).await;
        let target = (OUTSIDE, outside.local_addr().expect("bound").port());
        let network = world.network("on").await;
        let mut before = Vec::new();
        for egress in Egress::EVERY {
            before.push((restricted(&network, egress).await, egress));
        }
        network.abandon();
        let kept: Vec<_> = before.iter().map(|(one, egress)| (one.address, *egress)).collect();
        let again = async || {
            let config = NetConfig { kept: kept.clone(), ..world.config("on") };
            Network::start(config, &world.tasks, &Clock::system()).await.expect("started")
        };

        // Both that may not go there try to all the time.
        let over = Arc::new(AtomicBool::new(false));
        let flood = |index: usize| {
            let over = over.clone();
            inside(&before[index].0.netns, move || {
                let sender = UdpSocket::bind("0.0.0.0:0").expect("a socket");
                while !over.load(Ordering::Relaxed) {
                    sender.send_to(b"escaped", target).expect("sent");
                    thread::yield_now();
                }
            })
        };
        let restarts = async {
            for _ in 0..10 {
                again().await.abandon();
            }
            over.store(true, Ordering::Relaxed);
        };
        tokio::join!(flood(0), flood(1), restarts);
        let marker = move || UdpSocket::bind("0.0.0.0:0").and_then(|sender| sender.send_to(b"allowed", target));
        inside(&before[2].0.netns, marker).await.expect("sent");
        outside.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        let mut text = [0; 16];
        let length = outside.recv(&mut text).expect("the one that may go there arrives");
        assert_eq!(&text[..length], b"allowed");

        let network = again().await;
        let listener = network.metadata().expect("asked for once");
        for ((old, egress), (to_public, to_private)) in before.iter().zip([(false, false), (false, true), (true, true)])
        {
            let netns = old.netns.try_clone().expect("a descriptor");
            let instance = network.attachment(old.address, netns).await.expect("it was kept");
            assert_eq!(reach(&instance.netns, OUTSIDE, &public).await.is_some(), to_public, "{egress}");
            assert_eq!(reach(&instance.netns, PRIVATE, &private).await.is_some(), to_private, "{egress}");
            if *egress != Egress::None {
                let ask = inside(&instance.netns, || TcpStream::connect_timeout(&place(80), PATIENCE).map(drop));
                let (asked, accepted) = tokio::join!(ask, listener.accept());
                asked.expect("connected");
                assert_eq!(accepted.expect("accepted").1.ip(), instance.address);
            }
            // Its restriction goes with it, for whoever has the address next.
            drop(instance);
            assert_eq!(
                network
                    .attachment(old.address, old.netns.try_clone().expect("a descriptor"))
                    .await
                    .err()
                    .map(|error| error.to_string()),
                Some(NetError::NotKept.to_string())
            );
            let reached = async { while reach(&old.netns, OUTSIDE, &public).await.is_none() {} };
            Clock::system().timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{egress} stays"));
        }
        network.stop().await.expect("stopped");
    });
}

fn place(port: u16) -> SocketAddr {
    SocketAddrV4::new(METADATA, port).into()
}
