//! What all proxies have behind them: one instance of the static server, started by Updraft, at its own address.

use std::{
    collections::HashSet,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use crate::{
    Error,
    bench::{
        cold_start::apps::App,
        http::Connection,
        process::{Processors, entries, family},
        server::Server,
    },
};

/// The port that containers are told to listen on.
const PORT: u16 = 8080;
/// The service that all load goes to.
const SERVICE: &str = "target";
/// Its image, and that of all other services.
pub(super) const IMAGE: &str = "localhost/static:latest";

/// The server under test, and what its service leads to.
pub(super) struct Ours {
    /// The server.
    pub(super) server: Server,
    /// The host of the service.
    pub(super) host: String,
    /// The instance's own address.
    pub(super) backend: SocketAddr,
}

// === impl Ours ===

impl Ours {
    /// Starts the server with one worker, and the service with one instance that stays.
    pub(super) fn start(program: &Path, app: &App, processors: &Processors) -> Result<Self, Error> {
        // It would be frozen while a peer's turn is on, whose requests we do not see.
        let arguments = ["--freeze-after", "never", "--idle-timeout", "1h"];
        let server = Server::spawn_with(program.to_owned(), &arguments, &[("TOKIO_WORKER_THREADS", "1")])?;
        server.load(&app.archive(IMAGE)?)?;
        let deploy = ["deploy", SERVICE, "--image", IMAGE, "--allow-unauthenticated", "--quiet"];
        let one = ["--min-instances", "1", "--max-instances", "1", "--concurrency", "1000", "--cpu", "2"];
        server.updraft(&[&deploy[..], &one[..]].concat())?;
        let host = server.host_of(SERVICE)?;
        let mut door = Connection::open(server.address)?;
        let ours = door.get(&host, "/")?;
        let backend = instance_of(server.pid())?;
        let direct = Connection::open(backend)?.get(&host, "/")?;
        if (direct.status, &direct.body) != (ours.status, &ours.body) || ours.status != 200 {
            return Err(format!("{backend} does not answer as the service does").into());
        }
        let this = Self { server, host, backend };
        this.place(processors);
        Ok(this)
    }

    /// The server is measured; its launcher and what that has started are not.
    fn place(&self, processors: &Processors) {
        let server = self.server.pid();
        processors.measured(server);
        family(server).into_iter().filter(|&pid| pid != server).for_each(|pid| processors.rest(pid));
    }

    /// Hosts for a peer: as many, of the same form. The one that is asked for is in the middle.
    pub(super) fn hosts(&self, count: usize) -> Vec<String> {
        let rest = self.host.strip_prefix(SERVICE).unwrap_or_default();
        let name = |number| if number == count / 2 { SERVICE.to_owned() } else { format!("at-zero-{number:06}") };
        (0..count).map(|number| name(number) + rest).collect()
    }
}

/// Where a server has a connection that can only be one to an instance.
fn instance_of(server: u32) -> Result<SocketAddr, Error> {
    let sockets: HashSet<String> = entries(&format!("/proc/{server}/fd"))
        .iter()
        .filter_map(|path| fs::read_link(path).ok())
        .filter_map(|to| Some(to.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let table = fs::read_to_string(format!("/proc/{server}/net/tcp"))?;
    let mut remotes = table.lines().skip(1).filter_map(|line| remote(line, &sockets));
    remotes.next().ok_or_else(|| "the server has no connection to the instance that answered".into())
}

/// The other end of a line of the table, if the socket is one of these and leads to a container.
fn remote(line: &str, sockets: &HashSet<String>) -> Option<SocketAddr> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = fields.get(2)?.split_once(':')?;
    // As the kernel has it in memory.
    let address = Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?.to_ne_bytes());
    let port = u16::from_str_radix(port, 16).ok()?;
    let is_instance = sockets.contains(*fields.get(9)?) && !address.is_loopback() && port == PORT;
    is_instance.then(|| SocketAddr::from((address, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn an_instance_is_found_among_the_connections_of_the_whole_machine() {
        let line = "5: 0100400A:EC7C 0200400A:1F90 01 00000000:00000000 00:00000000 00000000 0 0 15791594 2 x 20 4";
        let own = |inode: &str| HashSet::from([inode.to_owned()]);
        assert_eq!(remote(line, &own("15791594")), Some(SocketAddr::from(([10, 64, 0, 2], 8080))));
        assert_eq!(remote(line, &own("1")), None, "another server's");
        assert_eq!(remote("sl local_address rem_address", &own("1")), None);
    }
}
