//! A server with services at zero, and what is asked of it.

use std::{path::Path, time::Duration};

use crate::{
    Error,
    bench::{
        cold_start::clock::now,
        http::Connection,
        interrupt, memory,
        server::{PATIENCE, Server},
        services::{self, Made, Wanted},
    },
};

/// What all services would run.
pub(super) const IMAGE: &str = "localhost/static:latest";
/// Services that are asked, spread over all.
const ASKED: usize = 200;
/// Services that are made before they are waited for.
const BATCH: usize = 1_000;
/// After how many it is told how far it is.
const TOLD: usize = 10_000;
/// How often a server that starts is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// It.
pub(super) struct Site {
    server: Server,
    made: Making,
    /// Their numbers and hosts.
    asked: Vec<(usize, String)>,
}

/// How the making went.
#[derive(Debug, Clone, Copy, Default)]
struct Making {
    /// So many services were made, and all of them are ready.
    count: usize,
    /// How long it took until they were accepted, without the waits in between.
    accepted: Duration,
    /// And until they were ready.
    ready: Duration,
}

// === impl Site ===

impl Site {
    /// Starts a server and makes so many services, or as many as there is time for: batch by batch, so that none is made
    /// that is not ready in the end.
    pub(super) fn make(program: &Path, archive: &Path, (count, patience): (usize, Duration)) -> Result<Self, Error> {
        let server = Server::spawn(program.to_owned(), &[])?;
        server.updraft(&["images", "load", &archive.display().to_string()])?;
        let wanted = Wanted { api: server.address, image: IMAGE, deadline: now() + patience };
        let made = Making::of(wanted, count)?;
        eprintln!("{} services, ready after {:.1?}", made.count, made.ready);
        let mut api = Connection::open(server.address)?;
        let numbers = services::spread(made.count, ASKED).into_iter();
        let mut asked = Vec::new();
        for number in numbers {
            asked.push((number, services::host(&mut api, number)?));
        }
        Ok(Self { server, made, asked })
    }

    /// How many services there are.
    pub(super) fn count(&self) -> usize {
        self.made.count
    }

    /// How the making went, of which so many were wanted.
    pub(super) fn made_figures(&self, wanted: usize) -> Vec<(String, f64)> {
        let Making { count, accepted, ready } = self.made;
        let figures = [
            ("services", count as f64),
            ("services_wanted", wanted as f64),
            ("all_made_and_ready", if count == wanted { 1.0 } else { 0.0 }),
            ("accepted_per_s", count as f64 / accepted.as_secs_f64()),
            ("ready_per_s", count as f64 / ready.as_secs_f64()),
        ];
        figures.map(|(name, figure)| (name.to_owned(), figure)).into()
    }

    /// The server's memory, without that of its launcher.
    pub(super) fn pss_mib(&self) -> Result<f64, Error> {
        Ok(memory::pss_kib(self.server.pid())? as f64 / 1024.0)
    }

    /// Asks the API for services, one after the other.
    pub(super) fn gets(&self, requests: usize) -> Result<Vec<Duration>, Error> {
        let mut api = Connection::open(self.server.address)?;
        let numbers = self.asked.iter().map(|(number, _)| services::path(*number)).cycle();
        numbers.take(requests).map(|path| timed(&mut api, ("localhost", &path), 200)).collect()
    }

    /// Asks for services that nobody may call.
    pub(super) fn lookups(&self, requests: usize) -> Result<Vec<Duration>, Error> {
        let mut door = Connection::open(self.server.address)?;
        let hosts = self.asked.iter().map(|(_, host)| host).cycle();
        hosts.take(requests).map(|host| timed(&mut door, (host, "/"), 403)).collect()
    }

    /// Ends the server and starts it again: how long it took until it told its address, and until all routes that are
    /// asked for lead somewhere again.
    pub(super) fn restart(&mut self) -> Result<(Duration, Duration), Error> {
        let started = self.server.restart()?;
        let begun = now();
        let mut door = Connection::open(self.server.address)?;
        for (_, host) in &self.asked {
            loop {
                match door.get(host, "/") {
                    Ok(answer) if answer.status == 403 => break,
                    Ok(_) => {}
                    // The server lets whom it does not know yet wait, longer than a connection here does.
                    Err(_) => door = Connection::open(self.server.address)?,
                }
                interrupt::check()?;
                if begun.elapsed() > PATIENCE * 10 {
                    return Err(format!("{host} does not lead anywhere after a start").into());
                }
                std::thread::sleep(LOOK);
            }
        }
        Ok((started, started + begun.elapsed()))
    }
}

// === impl Making ===

impl Making {
    fn of(wanted: Wanted<'_>, count: usize) -> Result<Self, Error> {
        let begun = now();
        let mut all = Self::default();
        while all.count < count && (all.count == 0 || now() < wanted.deadline) {
            let before = all.count;
            let Made { count: made, accepted, ready } = services::make(wanted, before, count.min(before + BATCH))?;
            if ready.is_none() || made == 0 {
                return Err(format!("of {made} services those from {before} on did not become ready in time").into());
            }
            all = Self { count: made, accepted: all.accepted + accepted, ready: begun.elapsed() };
            if made % TOLD < BATCH {
                eprintln!("{made} services so far, ready after {:.0?}", all.ready);
            }
        }
        Ok(all)
    }
}

fn timed(connection: &mut Connection, (host, path): (&str, &str), status: u16) -> Result<Duration, Error> {
    let begun = now();
    let answer = connection.get(host, path)?;
    let taken = begun.elapsed();
    match answer.status == status {
        true => Ok(taken),
        false => Err(format!("{host}{path}: {} and not {status}", answer.status).into()),
    }
}
