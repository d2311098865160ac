//! A warm service beside tasks.
//!
//! It is asked at a fixed pace on one connection. A request that is due while the last one is still under way is late, and
//! counted from when it was due: an answer that takes long makes those behind it wait, as it would users.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::{COMPUTE, NO_OP, Size, batch::Batch, loops};
use crate::{
    Error,
    bench::{
        cold_start::{apps::App, clock::now, peers::Runc},
        http::Connection,
        report::Row,
        server::Server,
    },
};

/// The pace.
const EVERY: Duration = Duration::from_millis(4);

/// The service.
pub(super) struct Neighbour<'a> {
    server: &'a Server,
    host: String,
}

/// How long its answers took.
#[derive(Debug, Default)]
pub(super) struct Beside {
    alone: Vec<Duration>,
    no_op: Vec<Duration>,
    compute: Vec<Duration>,
    runc: Vec<Duration>,
}

// === impl Neighbour ===

impl<'a> Neighbour<'a> {
    /// Deploys it, with an instance that stays.
    pub(super) fn deploy(server: &'a Server, image: &str) -> Result<Self, Error> {
        const NAME: &str = "neighbour";
        let deploy = ["deploy", NAME, "--image", image, "--min-instances", "1", "--allow-unauthenticated", "--quiet"];
        server.updraft(&deploy)?;
        Ok(Self { server, host: server.host_of(NAME)? })
    }

    /// Asks it in every company, in turn.
    pub(super) fn all(&self, batch: &mut Batch<'_>, (runc, app): (&Runc, &App), size: Size) -> Result<Beside, Error> {
        let mut beside = Beside::default();
        let alone = || {
            std::thread::sleep(size.time);
            Ok(())
        };
        for turn in size.turns..2 * size.turns {
            beside.alone.extend(self.ask(alone)?);
            beside.no_op.extend(self.ask(|| batch.run(&NO_OP, size.beside).map(drop))?);
            beside.alone.extend(self.ask(alone)?);
            beside.compute.extend(self.ask(|| batch.run(&COMPUTE, size.beside).map(drop))?);
            beside
                .runc
                .extend(self.ask(|| loops::runc(self.server.pid(), (runc, app), (turn, size.containers)).map(drop))?);
        }
        Ok(beside)
    }

    /// Asks until the work is done.
    fn ask(&self, work: impl FnOnce() -> Result<(), Error>) -> Result<Vec<Duration>, Error> {
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| self.until(&is_done));
            let done = work();
            is_done.store(true, Ordering::Relaxed);
            let taken = asking.join().map_err(|_| "the client failed")??;
            done.map(|()| taken)
        })
    }

    fn until(&self, is_done: &AtomicBool) -> Result<Vec<Duration>, Error> {
        let mut connection = Connection::open(self.server.address)?;
        // The first opens what stays open.
        self.get(&mut connection)?;
        let (mut taken, mut due) = (Vec::new(), now());
        while !is_done.load(Ordering::Relaxed) {
            due += EVERY;
            let wait = due.saturating_duration_since(now());
            std::thread::sleep(wait);
            // One that wakes up late is not the server's to answer for.
            let from = if wait.is_zero() { due } else { now() };
            self.get(&mut connection)?;
            taken.push(from.elapsed());
        }
        Ok(taken)
    }

    fn get(&self, connection: &mut Connection) -> Result<(), Error> {
        match connection.get(&self.host, "/")?.status {
            200 => Ok(()),
            status => Err(format!("an answer was {status}").into()),
        }
    }
}

// === impl Beside ===

impl Beside {
    /// Rows: alone, beside tasks that do nothing, beside tasks that compute, beside runc.
    pub(super) fn rows(self) -> Result<[Row; 4], Error> {
        Ok([
            Row::of("warm service: alone", self.alone)?,
            Row::of("warm service: beside tasks that do nothing", self.no_op)?,
            Row::of("warm service: beside tasks that compute", self.compute)?,
            Row::of("warm service: beside xargs -P2 runc run", self.runc)?,
        ])
    }
}
