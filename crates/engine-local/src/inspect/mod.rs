//! What processes look like from outside: their state, and the sockets that are theirs.
//!
//! It goes by processes and not by the network namespace, so that it tells apart instances that share
//! one: a socket is theirs when one of their descriptors leads to it.

mod sockets;

use std::{
    collections::HashSet,
    fs, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use updraft_model::instance::{Inspection, Listener, Process, ProcessState};

use self::sockets::{Found, TABLES};

/// Looks at these processes. Those that have ended meanwhile are passed over. Blocks for some milliseconds.
pub(crate) fn inspect(pids: &[u32]) -> Inspection {
    let mut processes: Vec<(u32, Process)> = pids.iter().filter_map(|pid| process(&place(*pid))).collect();
    processes.sort_by_key(|(number, _)| *number);
    let mut inspection =
        Inspection { processes: processes.into_iter().map(|(_, process)| process).collect(), ..Inspection::default() };
    if let Some(found) = sockets(pids) {
        inspection.listeners = Some(found.listeners);
        inspection.connecting = found.connecting;
    }
    inspection
}

/// The TCP ports on which it listens at every address of IPv6, and perhaps at none of IPv4: the tables do not say whether a
/// socket takes both.
pub(crate) fn only_ipv6(seen: &Inspection) -> Vec<u16> {
    let listens: Vec<SocketAddr> = seen.listeners.iter().flatten().filter_map(Listener::tcp).collect();
    let mut ports: Vec<u16> =
        listens.iter().filter(|at| at.ip() == Ipv6Addr::UNSPECIFIED).map(SocketAddr::port).collect();
    ports.dedup();
    ports.retain(|port| !listens.contains(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port))));
    ports
}

/// The process of this machine that listens on a TCP port of this network, with its name; `None` also when the host
/// does not let us see whose it is. Blocks for some milliseconds.
pub(crate) fn owner(port: u16) -> Option<(u32, String)> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let wanted: Vec<u64> = tables.iter().flat_map(|text| sockets::listening(text, port)).collect();
    let pids =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        let mut inodes = HashSet::new();
        let _ = socket_inodes(&place(pid), &mut inodes);
        if wanted.iter().any(|inode| inodes.contains(inode)) {
            let name = fs::read_to_string(place(pid).join("comm")).unwrap_or_default();
            return Some((pid, name.trim().to_owned()));
        }
    }
    None
}

fn place(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

/// A process and its number in its innermost PID namespace: the first of an instance has 1 there.
fn process(place: &Path) -> Option<(u32, Process)> {
    let status = fs::read_to_string(place.join("status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let state = match field("State")?.as_bytes().first()? {
        b'R' => ProcessState::Running,
        b'D' => ProcessState::Blocked,
        b'T' | b't' => ProcessState::Stopped,
        b'Z' | b'X' => ProcessState::Zombie,
        _ => ProcessState::Sleeping,
    };
    let number = field("NSpid").and_then(|numbers| numbers.split_whitespace().last()?.parse().ok()).unwrap_or(0);
    let threads = field("Threads").and_then(|threads| threads.parse().ok()).unwrap_or(1);
    Some((number, Process { name: field("Name")?.to_owned(), state, threads }))
}

/// `None` when the host hides whose sockets are whose, as it does from a server that may not trace
/// processes of other users: then nothing can be said, not even that there is none.
fn sockets(pids: &[u32]) -> Option<Found> {
    let mut found = Found::default();
    let mut inodes = HashSet::new();
    for &pid in pids {
        match socket_inodes(&place(pid), &mut inodes) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return None,
            // It has ended.
            Ok(()) | Err(_) => {}
        }
    }
    // An instance may make network namespaces of its own; each is read once.
    let mut seen = HashSet::new();
    for &pid in pids {
        let place = place(pid);
        let Ok(namespace) = fs::read_link(place.join("ns/net")) else { continue };
        if !seen.insert(namespace) {
            continue;
        }
        for (name, table) in TABLES {
            // Without IPv6 there are no tables of it.
            let Ok(text) = fs::read(place.join("net").join(name)) else { continue };
            found.read(table, &String::from_utf8_lossy(&text), &inodes);
        }
    }
    Some(found.sorted())
}

fn socket_inodes(place: &Path, inodes: &mut HashSet<u64>) -> io::Result<()> {
    for entry in fs::read_dir(place.join("fd"))? {
        // A descriptor may be closed, or its process end, between the listing and the look.
        let Some(target) = entry.ok().and_then(|entry| fs::read_link(entry.path()).ok()) else { continue };
        let number = |target: &Path| -> Option<u64> {
            target.to_str()?.strip_prefix("socket:[")?.strip_suffix("]")?.parse().ok()
        };
        inodes.extend(number(&target));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn this_very_process_is_seen_with_its_own_sockets() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let seen = inspect(&[std::process::id()]);
        let listeners = seen.listeners.expect("one's own can be seen");
        assert!(listeners.contains(&Listener::Tcp(tcp.local_addr().expect("bound"))), "{listeners:?}");
        assert!(listeners.contains(&Listener::Udp(udp.local_addr().expect("bound"))), "{listeners:?}");
        assert_eq!(seen.processes.len(), 1);
    }

    #[test]
    fn a_listener_at_every_address_of_ipv6_may_be_for_ipv6_only_unless_another_is_there_for_ipv4() {
        let on = |text: &str| Listener::Tcp(text.parse().expect("an address"));
        let udp = Listener::Udp("[::]:53".parse().expect("an address"));
        for (listeners, want) in [
            (vec![on("[::]:80"), on("[::]:80"), on("0.0.0.0:81"), on("[::]:81")], vec![80]),
            (vec![on("127.0.0.1:80"), on("[::]:80")], vec![80]),
            (vec![on("[::1]:80"), udp], Vec::new()),
        ] {
            assert_eq!(only_ipv6(&Inspection { listeners: Some(listeners), ..Inspection::default() }), want);
        }
    }

    #[test]
    fn processes_that_are_gone_are_passed_over() {
        // Beyond the highest number that Linux gives.
        assert_eq!(inspect(&[u32::MAX]), Inspection { listeners: Some(Vec::new()), ..Inspection::default() });
    }
}
