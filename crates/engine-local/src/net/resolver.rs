//! Names: what instances have in `/etc/resolv.conf`, and who answers them. That is always us: our own names are known to
//! nobody else ([`names`]), and a list of two name servers is asked in any order, or at once. What is not ours
//! the host's name servers are asked, also those that only the host reaches.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
};
use updraft_base::{Clock, OnFailure, Seats, Shutdown, Tasks};

use super::{
    NetError, Subnet,
    names::{self, Names},
};

/// Who is asked for instances, and how they are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// Name servers that are asked what is not ours to answer.
    pub(super) forward_to: Vec<IpAddr>,
    /// The other lines of the host's file that mean something inside (`search`, `options`).
    lines: Vec<String>,
}

/// Answers DNS queries on the gateway address.
#[derive(Debug)]
pub(super) struct Forwarder {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
    upstream: Arc<Upstream>,
    subnet: Subnet,
}

#[derive(Debug)]
struct Upstream {
    names: Names,
    servers: Vec<IpAddr>,
    /// Queries that wait for an answer.
    queries: Seats<IpAddr>,
    connections: Seats<IpAddr>,
}

const PORT: u16 = 53;
/// More than this at once, of all and of one instance, are dropped; resolvers ask again.
const QUERIES_MAX: (usize, usize) = (1024, 64);
/// More than this at once are closed.
const CONNECTIONS_MAX: (usize, usize) = (128, 8);
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

// === impl Plan ===

impl Plan {
    /// From the configuration or, when that is empty, the host's file.
    pub(super) fn new(configured: &[IpAddr]) -> Self {
        Self::from_file(configured, &fs::read_to_string(HOST_FILE).unwrap_or_default())
    }

    fn from_file(configured: &[IpAddr], file: &str) -> Self {
        let listed = if configured.is_empty() { nameservers(file) } else { configured.to_vec() };
        let lines = if configured.is_empty() { other_lines(file) } else { Vec::new() };
        let forward_to = match listed.is_empty() {
            // What the C library asks when the file names nobody.
            true => vec![Ipv4Addr::LOCALHOST.into()],
            false => listed.into_iter().take(SERVERS_MAX).collect(),
        };
        Self { forward_to, lines }
    }

    /// Every IPv4 name server that will be asked.
    pub(super) fn nameservers(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.forward_to.iter().filter_map(|server| as_v4(*server))
    }

    /// The file for instances.
    pub(super) fn resolv_conf(&self, gateway: Ipv4Addr) -> String {
        let server = format!("nameserver {gateway}\n");
        std::iter::once(server).chain(self.lines.iter().map(|line| format!("{line}\n"))).collect()
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
    pub(super) async fn bind(
        gateway: Ipv4Addr,
        subnet: Subnet,
        (names, servers): (Names, Vec<IpAddr>),
    ) -> Result<Self, NetError> {
        let address = SocketAddr::from((gateway, PORT));
        let failed = |source| NetError::Dns { address, source };
        let udp = Arc::new(UdpSocket::bind(address).await.map_err(failed)?);
        let tcp = TcpListener::bind(address).await.map_err(failed)?;
        let seats = |(all, each)| Seats::new(all, each);
        let (queries, connections) = (seats(QUERIES_MAX), seats(CONNECTIONS_MAX));
        let upstream = Arc::new(Upstream { names, servers, queries, connections });
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
            if !self.is_ours(peer) {
                continue;
            }
            let Some(place) = upstream.queries.take(&peer.ip()) else { continue };
            let (query, socket) = (buffer[..length].to_vec(), socket.clone());
            let (upstream, clock) = (upstream.clone(), self.clock.clone());
            self.tasks.spawn("dns-query", OnFailure::Log, async move {
                if let Some(answer) = upstream.answer(&clock, &query).await {
                    let _ = socket.send_to(&answer, peer).await;
                }
                drop(place);
            });
        }
    }

    async fn streams(self, listener: TcpListener, upstream: Arc<Upstream>) {
        loop {
            let (client, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(_) => {
                    self.clock.sleep(PAUSE).await;
                    continue;
                }
            };
            if !self.is_ours(peer) {
                continue;
            }
            let Some(place) = upstream.connections.take(&peer.ip()) else { continue };
            let (upstream, clock) = (upstream.clone(), self.clock.clone());
            self.tasks.spawn("dns-connection", OnFailure::Log, async move {
                // How it ends is the instance's affair.
                let _ = clock.timeout(CONNECTION_TIME, upstream.converse(&clock, client)).await;
                drop(place);
            });
        }
    }
}

// === impl Upstream ===

impl Upstream {
    /// Ours, or that of a name server, or that there is none.
    async fn answer(&self, clock: &Clock, query: &[u8]) -> Option<Vec<u8>> {
        if let Some(answer) = self.names.answer(query) {
            return Some(answer);
        }
        match self.ask(clock, query).await {
            Some(answer) => Some(answer),
            // Said at once, where a resolver would wait and ask again, several times.
            None => names::failure(query),
        }
    }

    /// Answers queries over TCP, each after its length, for as long as they are for names of ours. From the first other one
    /// on a name server has the connection.
    async fn converse(&self, clock: &Clock, mut client: TcpStream) -> std::io::Result<()> {
        loop {
            let mut length = [0; 2];
            client.read_exact(&mut length).await?;
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            client.read_exact(&mut query).await?;
            if let Some(answer) = self.names.answer(&query) {
                let length = u16::try_from(answer.len()).unwrap_or_default().to_be_bytes();
                client.write_all(&[&length[..], &answer].concat()).await?;
                continue;
            }
            let Some(mut server) = self.connect(clock).await else { return Ok(()) };
            server.write_all(&[&length[..], &query].concat()).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await?;
            return Ok(());
        }
    }

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

    #[test]
    fn instances_ask_us_with_the_search_list_of_the_host() {
        let file = "# a comment\nnameserver 10.0.0.53\nsearch corp.example\noptions edns0\nnameserver fd00::1\n";
        let plan = Plan::from_file(&[], file);
        assert_eq!(plan.resolv_conf(GATEWAY), "nameserver 10.64.0.1\nsearch corp.example\noptions edns0\n");
        let servers: Vec<_> = plan.forward_to.iter().map(ToString::to_string).collect();
        assert_eq!((servers, plan.nameservers().count()), (vec!["10.0.0.53".to_owned(), "fd00::1".to_owned()], 1));
    }

    #[test]
    fn servers_on_the_host_itself_are_asked_too() {
        for server in ["127.0.0.1", "127.0.0.53", "192.168.1.2", "169.254.169.254", "fd00::1"] {
            let plan = Plan::from_file(&[], &format!("nameserver {server}\n"));
            assert_eq!(plan.forward_to, [server.parse::<IpAddr>().expect("an address")]);
        }
    }

    #[test]
    fn a_host_that_names_nobody_asks_itself_as_the_c_library_does() {
        assert_eq!(Plan::from_file(&[], "").forward_to, [IpAddr::from(Ipv4Addr::LOCALHOST)]);
    }

    #[test]
    fn configured_servers_win_and_bring_no_search_list() {
        let configured: IpAddr = "9.9.9.9".parse().expect("an address");
        let plan = Plan::from_file(&[configured], "nameserver 10.0.0.53\nsearch corp.example\n");
        assert_eq!((plan.resolv_conf(GATEWAY).as_str(), plan.forward_to), ("nameserver 10.64.0.1\n", vec![configured]));
    }
}
