//! The kernel's tables of sockets, read: `/proc/PID/net/{tcp,tcp6,udp,udp6,unix}`.
//!
//! Source: the formats in `net/ipv4/tcp_ipv4.c`, `net/ipv4/udp.c` and `net/unix/af_unix.c` of Linux,
//! which are part of its interface.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use updraft_model::instance::Listener;

/// A table of a network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// TCP, of either version of IP.
    Tcp,
    /// UDP, of either version of IP.
    Udp,
    /// UNIX sockets.
    Unix,
}

/// What was found in tables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Found {
    /// Sockets that wait for somebody.
    pub(crate) listeners: Vec<Listener>,
    /// Connections that have been asked for and not been answered.
    pub(crate) connecting: Vec<SocketAddr>,
}

/// The tables, by their name below `/proc/PID/net`.
pub(crate) const TABLES: [(&str, Table); 5] =
    [("tcp", Table::Tcp), ("tcp6", Table::Tcp), ("udp", Table::Udp), ("udp6", Table::Udp), ("unix", Table::Unix)];

/// States of `include/net/tcp_states.h`, as the tables write them. A UDP socket without a peer is "closed".
const SYN_SENT: &str = "02";
const CLOSED: &str = "07";
const LISTEN: &str = "0A";
/// `__SO_ACCEPTCON` among the flags of a UNIX socket: it listens.
const ACCEPTS: u64 = 1 << 16;

// === impl Found ===

impl Found {
    /// Adds what `text` says of the sockets with these inodes.
    pub(crate) fn read(&mut self, table: Table, text: &str, inodes: &HashSet<u64>) {
        for line in text.lines().skip(1) {
            match table {
                Table::Tcp | Table::Udp => self.internet(table, line, inodes),
                Table::Unix => self.unix(line, inodes),
            }
        }
    }

    /// The same in the same order for the same sockets, each once.
    pub(crate) fn sorted(mut self) -> Self {
        self.listeners.sort();
        self.listeners.dedup();
        self.connecting.sort();
        self.connecting.dedup();
        self
    }

    fn internet(&mut self, table: Table, line: &str, inodes: &HashSet<u64>) {
        // sl local remote state queues timer retransmits uid timeout inode …
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[_, local, remote, state, _, _, _, _, _, inode, ..] = &fields[..] else { return };
        if !inode.parse().is_ok_and(|inode| inodes.contains(&inode)) {
            return;
        }
        match (table, state) {
            (Table::Tcp, LISTEN) => self.listeners.extend(address(local).map(Listener::Tcp)),
            (Table::Tcp, SYN_SENT) => self.connecting.extend(address(remote)),
            (Table::Udp, CLOSED) => self.listeners.extend(address(local).map(Listener::Udp)),
            _ => {}
        }
    }

    fn unix(&mut self, line: &str, inodes: &HashSet<u64>) {
        // Num: RefCount Protocol Flags Type St Inode Path
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[_, _, _, flags, _, _, inode, ref path @ ..] = &fields[..] else { return };
        let accepts = u64::from_str_radix(flags, 16).is_ok_and(|flags| flags & ACCEPTS != 0);
        if accepts && inode.parse().is_ok_and(|inode| inodes.contains(&inode)) {
            self.listeners.push(Listener::Unix(path.join(" ")));
        }
    }
}

/// The sockets of a TCP table that listen on `port`, by their inodes.
pub(crate) fn listening(text: &str, port: u16) -> Vec<u64> {
    let inode = |line: &str| -> Option<u64> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[_, local, _, state, _, _, _, _, _, inode, ..] = &fields[..] else { return None };
        (state == LISTEN && address(local)?.port() == port).then(|| inode.parse().ok()).flatten()
    };
    text.lines().skip(1).filter_map(inode).collect()
}

/// `0100007F:1F90`: words of four bytes, each as the machine has it in memory, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match ip.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index * 8)?);
            }
            IpAddr::from(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0000000000000000 100 0 0 10 0
   1: 00000000:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 0000000000000000 100 0 0 10 0
   2: 0200A8C0:C001 0500000A:1538 02 00000001:00000000 01:00000064 00000001     0        0 13 2 0000000000000000 800 0 0 1 7
   3: 0100007F:1F90 0100007F:C002 01 00000000:00000000 00:00000000 00000000     0        0 14 1 0000000000000000 20 4 30 10 -1
";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 15 1 0000000000000000 100 0 0 10 0
   1: 00000000000000000000000001000000:0051 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 16 1 0000000000000000 100 0 0 10 0
";
    const UDP: &str = "\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  101: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 17 2 0000000000000000 0
  102: 0200A8C0:D001 0101A8C0:0035 01 00000000:00000000 00:00000000 00000000     0        0 18 2 0000000000000000 0
";
    const UNIX: &str = "\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 19 /run/my app.sock
0000000000000000: 00000003 00000000 00000000 0001 03 20 /run/my app.sock
0000000000000000: 00000002 00000000 00010000 0001 01 21 @abstract
";

    fn read(table: Table, text: &str) -> String {
        let mut found = Found::default();
        found.read(table, text, &(11..=21).filter(|inode| *inode != 12).collect());
        let found = found.sorted();
        let listeners: Vec<String> = found.listeners.iter().map(ToString::to_string).collect();
        let connecting: Vec<String> = found.connecting.iter().map(|address| format!("-> {address}")).collect();
        [listeners, connecting].concat().join(", ")
    }

    #[test]
    fn who_listens_on_a_port_is_found_and_who_is_connected_to_it_is_not() {
        assert_eq!(listening(TCP, 8080), [11]);
        assert_eq!(listening(TCP6, 80), [15]);
        assert_eq!(listening(TCP, 49153), Vec::<u64>::new());
    }

    #[test]
    fn only_sockets_that_wait_are_told_and_only_ones_own() {
        for (table, text, want) in [
            (Table::Tcp, TCP, "127.0.0.1:8080, -> 10.0.0.5:5432"),
            (Table::Tcp, TCP6, "[::]:80, [::1]:81"),
            (Table::Udp, UDP, "0.0.0.0:53 (UDP)"),
            (Table::Unix, UNIX, "/run/my app.sock (UNIX socket), @abstract (UNIX socket)"),
        ] {
            assert_eq!(read(table, text), want);
        }
    }

    #[test]
    fn a_line_that_is_not_understood_is_passed_over() {
        for line in
            ["", "0:", "0: 1 2 0A 4 5 6 7 8 11", "0: 0100007:1F90 0:0 0A 4 5 6 7 8 11", "0: é:é 0:0 0A 4 5 6 7 8 11"]
        {
            for table in [Table::Tcp, Table::Udp, Table::Unix] {
                assert_eq!(read(table, &format!("head\n{line}\n")), "", "{line}");
            }
        }
    }
}
