//! Names: what instances write into `/etc/resolv.conf`, and a DNS forwarder for hosts whose name
//! servers cannot be reached from inside.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
};
use updraft_base::{Clock, OnFailure, Shutdown, Tasks};

use super::{NetError, Subnet};

/// Who answers the questions of instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// Name servers that instances ask themselves; empty when they ask the gateway.
    direct: Vec<Ipv4Addr>,
    /// Name servers that the forwarder asks for them; empty when there is no need.
    pub(super) forward_to: Vec<IpAddr>,
    /// The other lines of the host's file that mean something inside (`search`, `options`).
    lines: Vec<String>,
}

/// Answers DNS queries on the gateway address by asking the host's name servers.
#[derive(Debug)]
pub(super) struct Forwarder {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
    upstream: Arc<Upstream>,
    subnet: Subnet,
}

#[derive(Debug)]
struct Upstream {
    servers: Vec<IpAddr>,
    /// Queries that wait for an answer.
    queries: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

const PORT: u16 = 53;
/// More than this at once are dropped; resolvers ask again.
const QUERIES_MAX: usize = 256;
/// More than this at once are closed.
const CONNECTIONS_MAX: usize = 32;
/// How long one name server gets to answer.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// How long a connection may last, whatever happens on it.
const CONNECTION_TIME: Duration = Duration::from_secs(30);
/// Larger than any size that resolvers announce.
const DATAGRAM: usize = 8 << 10;
/// How many name servers are asked, as many as the C library would ask.
const SERVERS_MAX: usize = 3;
/// A pause after an error of a listening socket, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

const HOST_FILE: &str = "/etc/resolv.conf";
/// Where systemd-resolved writes the name servers that it asks itself.
const RESOLVED_FILE: &str = "/run/systemd/resolve/resolv.conf";

// === impl Plan ===

impl Plan {
    /// From the configuration or, when that is empty, the host's files. `own` are addresses of the
    /// host, which instances cannot reach.
    pub(super) fn new(configured: &[IpAddr], own: &[Ipv4Addr]) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::from_files(configured, own, &[read(HOST_FILE), read(RESOLVED_FILE)])
    }

    fn from_files(configured: &[IpAddr], own: &[Ipv4Addr], files: &[String; 2]) -> Self {
        let usable = |servers: &[IpAddr]| -> Vec<Ipv4Addr> {
            let reachable = |address: &Ipv4Addr| {
                !address.is_loopback()
                    && !address.is_link_local()
                    && !address.is_unspecified()
                    && !own.contains(address)
            };
            servers.iter().filter_map(|server| as_v4(*server)).filter(reachable).take(SERVERS_MAX).collect()
        };
        let listed = if configured.is_empty() { nameservers(&files[0]) } else { configured.to_vec() };
        let lines = if configured.is_empty() { other_lines(&files[0]) } else { Vec::new() };
        let mut direct = usable(&listed);
        if direct.is_empty() && configured.is_empty() {
            direct = usable(&nameservers(&files[1]));
        }
        let forward_to = match (direct.is_empty(), listed.is_empty()) {
            (false, _) => Vec::new(),
            // What the C library asks when the file names nobody.
            (true, true) => vec![Ipv4Addr::LOCALHOST.into()],
            (true, false) => listed.into_iter().take(SERVERS_MAX).collect(),
        };
        Self { direct, forward_to, lines }
    }

    /// Every IPv4 name server that will be asked.
    pub(super) fn nameservers(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.direct.iter().copied().chain(self.forward_to.iter().filter_map(|server| as_v4(*server)))
    }

    /// The file for instances.
    pub(super) fn resolv_conf(&self, gateway: Ipv4Addr) -> String {
        let servers = if self.direct.is_empty() { &[gateway][..] } else { &self.direct };
        let servers = servers.iter().map(|server| format!("nameserver {server}\n"));
        servers.chain(self.lines.iter().map(|line| format!("{line}\n"))).collect()
    }
}

fn as_v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn nameservers(text: &str) -> Vec<IpAddr> {
    let words = text.lines().map(str::split_whitespace);
    words
        .filter_map(|mut words| words.next().filter(|word| *word == "nameserver").and_then(|_| words.next()))
        .filter_map(|address| address.parse().ok())
        .collect()
}

fn other_lines(text: &str) -> Vec<String> {
    let means_something = |line: &&str| matches!(line.split_whitespace().next(), Some("search" | "domain" | "options"));
    text.lines().map(str::trim).filter(means_something).map(str::to_owned).collect()
}

// === impl Forwarder ===

impl Forwarder {
    /// Listens on the gateway address.
    pub(super) async fn bind(gateway: Ipv4Addr, subnet: Subnet, servers: Vec<IpAddr>) -> Result<Self, NetError> {
        let address = SocketAddr::from((gateway, PORT));
        let failed = |source| NetError::Dns { address, source };
        let udp = Arc::new(UdpSocket::bind(address).await.map_err(failed)?);
        let tcp = TcpListener::bind(address).await.map_err(failed)?;
        let queries = Arc::new(Semaphore::new(QUERIES_MAX));
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let upstream = Arc::new(Upstream { servers, queries, connections });
        Ok(Self { udp, tcp, upstream, subnet })
    }

    /// Answers until `stop` is asked for.
    pub(super) fn spawn(self, tasks: &Tasks, clock: &Clock, stop: &Shutdown) {
        let Self { udp, tcp, upstream, subnet } = self;
        let (datagrams, streams) = (Serving::new(tasks, clock, subnet), Serving::new(tasks, clock, subnet));
        let (also, stop_datagrams, stop_streams) = (upstream.clone(), stop.clone(), stop.clone());
        tasks.spawn("dns-udp", OnFailure::Log, async move {
            tokio::select! {
                () = stop_datagrams.asked() => {}
                () = datagrams.datagrams(udp, upstream) => {}
            }
        });
        tasks.spawn("dns-tcp", OnFailure::Log, async move {
            tokio::select! {
                () = stop_streams.asked() => {}
                () = streams.streams(tcp, also) => {}
            }
        });
    }
}

/// What both listeners need.
#[derive(Debug, Clone)]
struct Serving {
    tasks: Tasks,
    clock: Clock,
    subnet: Subnet,
}

// === impl Serving ===

impl Serving {
    fn new(tasks: &Tasks, clock: &Clock, subnet: Subnet) -> Self {
        Self { tasks: tasks.clone(), clock: clock.clone(), subnet }
    }

    fn is_ours(&self, peer: SocketAddr) -> bool {
        as_v4(peer.ip()).is_some_and(|address| self.subnet.contains(address))
    }

    async fn datagrams(self, socket: Arc<UdpSocket>, upstream: Arc<Upstream>) {
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let (length, peer) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(_) => {
                    self.clock.sleep(PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = upstream.queries.clone().try_acquire_owned() else { continue };
            if !self.is_ours(peer) {
                continue;
            }
            let (query, socket) = (buffer[..length].to_vec(), socket.clone());
            let (upstream, clock) = (upstream.clone(), self.clock.clone());
            self.tasks.spawn("dns-query", OnFailure::Log, async move {
                // No answer: the resolver asks again, or somebody else.
                if let Some(answer) = upstream.ask(&clock, &query).await {
                    let _ = socket.send_to(&answer, peer).await;
                }
                drop(place);
            });
        }
    }

    async fn streams(self, listener: TcpListener, upstream: Arc<Upstream>) {
        loop {
            let (mut client, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(_) => {
                    self.clock.sleep(PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = upstream.connections.clone().try_acquire_owned() else { continue };
            if !self.is_ours(peer) {
                continue;
            }
            let (upstream, clock) = (upstream.clone(), self.clock.clone());
            self.tasks.spawn("dns-connection", OnFailure::Log, async move {
                if let Some(mut server) = upstream.connect(&clock).await {
                    let copy = tokio::io::copy_bidirectional(&mut client, &mut server);
                    let _ = clock.timeout(CONNECTION_TIME, copy).await;
                }
                drop(place);
            });
        }
    }
}

// === impl Upstream ===

impl Upstream {
    /// The first answer of a name server, asked one after the other.
    async fn ask(&self, clock: &Clock, query: &[u8]) -> Option<Vec<u8>> {
        for server in &self.servers {
            if let Ok(Ok(answer)) = clock.timeout(ANSWER_TIME, ask_one(*server, query)).await {
                return Some(answer);
            }
        }
        None
    }

    async fn connect(&self, clock: &Clock) -> Option<TcpStream> {
        for server in &self.servers {
            if let Ok(Ok(stream)) = clock.timeout(ANSWER_TIME, TcpStream::connect((*server, PORT))).await {
                return Some(stream);
            }
        }
        None
    }
}

/// Asks from a socket of its own, so that only that name server can answer, and only this query.
async fn ask_one(server: IpAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect((server, PORT)).await?;
    socket.send(query).await?;
    let mut answer = vec![0; DATAGRAM];
    loop {
        let length = socket.recv(&mut answer).await?;
        // The identification must be that of the query.
        if length >= 2 && answer.get(..2) == query.get(..2) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);

    fn plan(configured: &[IpAddr], host: &str, resolved: &str) -> Plan {
        let own = [Ipv4Addr::new(192, 168, 1, 2)];
        Plan::from_files(configured, &own, &[host.to_owned(), resolved.to_owned()])
    }

    #[test]
    fn name_servers_that_instances_reach_are_passed_on_with_the_search_list() {
        let plan = plan(&[], "# a comment\nnameserver 10.0.0.53\nsearch corp.example\nnameserver fd00::1\n", "");
        assert_eq!(plan.resolv_conf(GATEWAY), "nameserver 10.0.0.53\nsearch corp.example\n");
        assert!(plan.forward_to.is_empty());
    }

    #[test]
    fn a_local_stub_is_replaced_by_the_servers_that_it_asks() {
        let plan = plan(&[], "nameserver 127.0.0.53\noptions edns0\n", "nameserver 192.0.2.53\n");
        assert_eq!(plan.resolv_conf(GATEWAY), "nameserver 192.0.2.53\noptions edns0\n");
    }

    #[test]
    fn servers_on_the_host_itself_are_asked_by_the_forwarder() {
        for server in ["127.0.0.1", "192.168.1.2", "169.254.169.254", "fd00::1"] {
            let plan = plan(&[], &format!("nameserver {server}\n"), "");
            assert_eq!(plan.resolv_conf(GATEWAY), "nameserver 10.64.0.1\n", "{server}");
            assert_eq!(plan.forward_to, [server.parse::<IpAddr>().expect("an address")]);
        }
    }

    #[test]
    fn a_host_that_names_nobody_asks_itself_as_the_c_library_does() {
        assert_eq!(plan(&[], "", "").forward_to, [IpAddr::from(Ipv4Addr::LOCALHOST)]);
    }

    #[test]
    fn configured_servers_win_and_bring_no_search_list() {
        let configured = ["9.9.9.9".parse().expect("an address")];
        let plan = plan(&configured, "nameserver 10.0.0.53\nsearch corp.example\n", "");
        assert_eq!(plan.resolv_conf(GATEWAY), "nameserver 9.9.9.9\n");
    }
}
