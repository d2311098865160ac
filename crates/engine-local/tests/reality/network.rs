//! What an instance reaches, on a host of the test's own: a network namespace that plays the host, with an engine in
//! it, and another one that plays a machine on its network. Nothing of this machine is touched.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use rustix::{
    fd::AsFd as _,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use updraft_engine::{Engine as _, EngineEvent};
use updraft_engine_local::Isolation;
use updraft_model::instance::{Egress, Exit, InstanceSpec};

use crate::{
    bed::{BY_RUNC, Bed, DEADLINE, Kind, PLAIN, is_root},
    image::Image,
};

/// The machine on the host's network, at a public address (TEST-NET-2) and at a private one.
const PUBLIC: &str = "198.51.100.2:7001";
const PRIVATE: &str = "192.168.77.2:7001";
const NAME_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 77, 2));
/// Where the host listens on all addresses: for us, its API.
const API: u16 = 7002;

/// Two network namespaces with a cable between them, until this is dropped.
struct Place {
    host: String,
    other: String,
}

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = |role| format!("ud-it-{}-{}{role}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let place = Self { host: name("h"), other: name("o") };
        let (host, other) = (&place.host, &place.other);
        for line in [
            format!("netns add {host}"),
            format!("netns add {other}"),
            format!("-n {host} link add up0 type veth peer name world netns {other}"),
            format!("-n {host} address add 198.51.100.1/24 dev up0"),
            format!("-n {host} address add 192.168.77.1/24 dev up0"),
            format!("-n {host} link set up0 up"),
            format!("-n {host} link set lo up"),
            format!("-n {other} address add 198.51.100.2/24 dev world"),
            format!("-n {other} address add 192.168.77.2/24 dev world"),
            format!("-n {other} link set world up"),
            format!("-n {other} link set lo up"),
            // The machine plays the host's cloud, too.
            format!("-n {other} address add 169.254.169.253/32 dev lo"),
            format!("-n {other} address add 169.254.169.254/32 dev lo"),
            format!("-n {host} route add default via 198.51.100.2"),
        ] {
            let done = Command::new("ip").args(line.split(' ')).output().expect("iproute2 is installed");
            assert!(done.status.success(), "ip {line}: {}", String::from_utf8_lossy(&done.stderr));
        }
        place
    }

    /// Runs `work` on a thread in one of the namespaces.
    fn within<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
        let namespace = fs::File::open(format!("/run/netns/{name}")).expect("just made");
        thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root");
            work()
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for name in [&self.host, &self.other] {
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}

/// Says a word to everybody who connects. The thread ends with the test's process.
fn greet(listener: TcpListener) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            // Who has gone does not hear it.
            let _ = stream.and_then(|mut stream| stream.write_all(b"welcome\n"));
        }
    });
}

/// A name server that knows one address for every name: the other machine's private one.
fn answer_names() {
    let socket = UdpSocket::bind("0.0.0.0:53").expect("nobody else is here");
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut query) {
            let Some(end) = query[..length].iter().skip(12).position(|&byte| byte == 0) else { continue };
            let (question, kind) = (&query[12..length.min(12 + end + 5)], query[length.min(12 + end + 2)]);
            let mut answer = query[..2].to_vec();
            let is_address = kind == 1;
            answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
            answer.extend(question);
            if is_address {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 168, 77, 2]);
            }
            // Who has gone does not hear it.
            let _ = socket.send_to(&answer, peer);
        }
    });
}

/// Runs `test` with an engine on a host of its own.
fn on_a_host(kind: Kind, test: impl AsyncFnOnce(&mut Bed) + Send + 'static) {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let listen = || {
        greet(TcpListener::bind("0.0.0.0:7001").expect("nobody else is here"));
        greet(TcpListener::bind("169.254.169.254:80").expect("nobody else is here"));
        answer_names();
    };
    Place::within(&place.other, listen).join().expect("they listen");
    let host = Place::within(&place.host, move || {
        greet(TcpListener::bind(("0.0.0.0", API)).expect("nobody else is here"));
        for place in ["169.254.169.253:7001", "169.254.169.254:7001", "169.254.169.254:80"] {
            let mut cloud = TcpStream::connect(place).expect("the host reaches its cloud");
            cloud.read_exact(&mut [0; 8]).expect("it greets the host");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let kind = Kind { dns: Some(NAME_SERVER), ..kind };
            let mut bed = Bed::of(kind, Image::plain()).await.expect("root");
            bed.until("sandboxes are made", || bed.engine.spare_sandboxes() == kind.sandboxes).await;
            test(&mut bed).await;
            bed.end().await;
        });
    });
    if let Err(panic) = host.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Starts an instance that serves, and says at which address.
async fn neighbour(bed: &mut Bed) -> String {
    bed.start(&bed.spec(&["address", "serve"])).await;
    loop {
        if let EngineEvent::Output { text, .. } = bed.event().await {
            return text;
        }
    }
}

/// What an instance is to try, and what it is to say: what is to be reached has more time than what is to stay silent.
fn reach(place: &str, is_reached: bool) -> (String, String) {
    match is_reached {
        true => (format!("reaches={place}"), format!("{place}: reached")),
        false => (format!("reach={place}"), format!("{place}: out of reach")),
    }
}

async fn what_is_reached_is_what_the_egress_says(bed: &mut Bed) {
    let other = neighbour(bed).await;
    let gateway = {
        let [a, b, ..] = other.parse::<Ipv4Addr>().expect("an address").octets();
        Ipv4Addr::new(a, b, 0, 1)
    };
    for (egress, public, private) in
        [(Egress::None, false, false), (Egress::Private, false, true), (Egress::All, true, true)]
    {
        let query = match private {
            true => (format!("queries={NAME_SERVER}:53"), format!("{NAME_SERVER}:53: answered")),
            false => (format!("query={NAME_SERVER}:53"), format!("{NAME_SERVER}:53: silent")),
        };
        let mut want = vec![reach(PUBLIC, public), reach(PRIVATE, private), query];
        if private {
            want.push(("resolve=box.test".to_owned(), "192.168.77.2".to_owned()));
        }
        let hosts =
            ["127.0.0.1", "198.51.100.1", "192.168.77.1", &gateway.to_string()].map(|one| format!("{one}:{API}"));
        // Whoever it is that listens there: host, API, another instance, the metadata server of the host's cloud.
        let cloud = ["169.254.169.253:7001", "169.254.169.254:7001"].map(str::to_owned);
        for place in hosts.into_iter().chain([format!("{other}:8080")]).chain(cloud) {
            want.push(reach(&place, false));
        }
        let steps: Vec<&str> = want.iter().map(|(step, _)| step.as_str()).collect();
        let spec = InstanceSpec { egress, ..bed.spec(&steps) };
        let seen = bed.run_spec(&spec).await;
        assert_eq!(seen.exit, Exit::Code(0), "{egress}: {seen:?}");
        assert_eq!(seen.out, want.iter().map(|(_, line)| line.clone()).collect::<Vec<_>>(), "{egress}");
        // The network is the instance's, whichever container asks.
        let sidecars = vec![bed.container("side", &steps[..3])];
        let seen = bed.run_spec(&InstanceSpec { egress, sidecars, ..bed.spec(&["sleep"]) }).await;
        assert_eq!(seen.out, want[..3].iter().map(|(_, line)| line.clone()).collect::<Vec<_>>(), "{egress}");
        let serving = bed.start(&InstanceSpec { egress, ..bed.spec(&["serve"]) }).await;
        assert!(bed.get(&serving, "/").await.ends_with("ok"), "{egress}: it answers all the same");
        bed.engine.stop(&serving, Duration::ZERO).await;
        bed.until_exit(&serving).await;
    }
}

#[test]
fn an_instance_reaches_another_host_and_names_and_nothing_of_this_host() {
    on_a_host(PLAIN, what_is_reached_is_what_the_egress_says);
}

#[test]
fn egress_holds_in_a_sandbox_that_was_made_before_anybody_knew_of_it() {
    on_a_host(Kind { sandboxes: 2, ..PLAIN }, what_is_reached_is_what_the_egress_says);
}

#[test]
fn egress_holds_in_a_container_of_a_runtime() {
    on_a_host(BY_RUNC, what_is_reached_is_what_the_egress_says);
}

#[test]
fn who_asks_the_metadata_server_is_known_and_told_that_there_is_nothing_until_somebody_answers() {
    on_a_host(PLAIN, async |bed| {
        let seen = bed.run(&["get=169.254.169.254:80"]).await.out;
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert!(seen[0].starts_with("HTTP/1.1 404 Not Found|Metadata-Flavor: Google|"), "{seen:?}");

        let mut calls = bed.engine.metadata().expect("asked for once");
        assert!(bed.engine.metadata().is_none());
        neighbour(bed).await;
        let alone = bed.spec(&["get=169.254.169.254:80"]);
        let sidecars = vec![bed.container("side", &["get=169.254.169.254:80"])];
        let beside = InstanceSpec { sidecars, ..bed.spec(&["sleep"]) };
        for spec in [&alone, &alone, &beside] {
            let id = bed.start(spec).await;
            let call = bed.clock.timeout(DEADLINE, calls.recv()).await;
            let (mut stream, asking) = call.expect("a call in time").expect("the engine is there");
            assert_eq!(asking, id);
            stream.write_all(format!("you are {asking}").as_bytes()).await.expect("it listens");
            stream.shutdown().await.expect("it listens");
            let question = bed.clock.timeout(DEADLINE, async {
                let mut question = String::new();
                stream.read_to_string(&mut question).await.map(|_| question)
            });
            let question = question.await.expect("in time").expect("text");
            assert!(question.starts_with("GET /computeMetadata/v1/ "), "{question}");
            assert_eq!(bed.until_exit(&id).await.out, [format!("you are {id}")]);
        }
    });
}

async fn a_successor_keeps_the_egress_and_answers_for_the_metadata_server(bed: &mut Bed) {
    let wanted = [(Egress::None, [false; 3]), (Egress::Private, [false, true, true]), (Egress::All, [true; 3])];
    let mut ids = Vec::new();
    for (egress, [public, private, _]) in wanted {
        let (public, private) = (reach(PUBLIC, public).0, reach(PRIVATE, private).0);
        let steps = ["accept=9000", &public, &private, "get=169.254.169.254:80"];
        ids.push(bed.start(&InstanceSpec { egress, ..bed.spec(&steps) }).await);
    }
    bed.succeed().await;
    assert_eq!(bed.engine.adopted().await.len(), wanted.len());
    for (id, (egress, [public, private, metadata])) in ids.iter().zip(wanted) {
        bed.knock(id, 9000).await;
        let seen = bed.until_exit(id).await;
        assert_eq!(seen.out[..2], [reach(PUBLIC, public).1, reach(PRIVATE, private).1], "{egress}");
        assert_eq!(seen.out[2].starts_with("HTTP/1.1 404 Not Found|"), metadata, "{egress}: {seen:?}");
    }
}

#[test]
fn the_server_after_a_killed_one_keeps_the_egress_of_its_instances() {
    on_a_host(Kind { sandboxes: 2, ..PLAIN }, a_successor_keeps_the_egress_and_answers_for_the_metadata_server);
}

#[test]
fn the_server_after_a_killed_one_keeps_the_egress_of_a_runtimes_containers() {
    on_a_host(BY_RUNC, a_successor_keeps_the_egress_and_answers_for_the_metadata_server);
}

#[tokio::test]
async fn egress_cannot_be_restricted_where_instances_share_the_hosts_network_and_a_deploy_says_so() {
    let Some(bed) = Bed::under(Isolation::Chroot, Image::plain()).await else { return };
    let spec = InstanceSpec { egress: Egress::Private, ..bed.spec(&["serve"]) };
    let refused = bed.engine.prepare(&spec).await.expect_err("there is nothing to restrict").to_string();
    assert!(refused.contains("to 'private'") && refused.contains("isolation 'chroot'"), "{refused}");
    bed.end().await;
}
