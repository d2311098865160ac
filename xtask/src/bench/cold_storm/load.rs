//! The loops that make the load. Each ends by its time, and has one thing under way at most.

use std::{net::TcpStream, time::Duration};

use super::Error;
use crate::bench::{
    cold_start::{apps::App, clock::now, first_byte, peers::Runc, request},
    server::Server,
};

/// What came of one side's turn.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// From before each request to its first byte; for runc from before the container is made.
    pub(super) taken: Vec<Duration>,
    /// How long it lasted, until nothing was left.
    pub(super) time: Duration,
}

/// Asks every service once.
pub(super) fn warm(server: &Server, hosts: &[Vec<String>]) -> Result<(), Error> {
    hosts.iter().flatten().try_for_each(|host| ask(server, host).map(drop))
}

/// Every client asks its services in turn.
pub(super) fn storm(server: &Server, hosts: &[Vec<String>], time: Duration) -> Result<Turn, Error> {
    let begun = now();
    let taken = all(hosts, |hosts| {
        let asked = hosts.iter().cycle().take_while(|_| begun.elapsed() < time);
        asked.map(|host| ask(server, host)).collect()
    })?;
    server.until_zero()?;
    Ok(Turn { taken, time: begun.elapsed() })
}

/// Every worker runs and deletes containers. `turn` tells their names apart.
pub(super) fn peers(peers: &[Runc], app: &App, (turn, time): (usize, Duration)) -> Result<Turn, Error> {
    let begun = now();
    let numbered: Vec<(usize, &Runc)> = peers.iter().enumerate().collect();
    let taken = all(&numbered, |(worker, runc)| {
        // No more than a million in a turn: the time sees to it.
        let first = (turn * peers.len() + worker) * 1_000_000;
        let rounds = (first..).take_while(|_| begun.elapsed() < time);
        rounds.map(|round| runc.start(app, round)).collect()
    })?;
    Ok(Turn { taken, time: begun.elapsed() })
}

/// Does the work for each of `them` in a thread, and puts together what came of it.
fn all<T: Sync>(them: &[T], work: impl Fn(&T) -> Result<Vec<Duration>, Error> + Sync) -> Result<Vec<Duration>, Error> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = them.iter().map(|one| scope.spawn(|| work(one))).collect();
        let mut taken = Vec::new();
        for thread in threads {
            taken.extend(thread.join().map_err(|_| "a client failed")??);
        }
        Ok(taken)
    })
}

fn ask(server: &Server, host: &str) -> Result<Duration, Error> {
    first_byte(|| request(TcpStream::connect(server.address)?, host))
}
