//! The connections to one instance.

use std::{
    future, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::{Notify, oneshot};
use updraft_base::{Clock, OnFailure, Shutdown, Tasks};
use updraft_fleet::Slot;

use crate::{config::list_bytes, inbound::Inbound, wire::Wire};

/// Lives with the instance: see [`Slot::attached`]. HTTP/1.1 connections are used one request at a
/// time, the last one first; of HTTP/2 there is one for every [`STREAMS`] at a time.
pub(crate) struct Pool {
    header_bytes: usize,
    shelf: Arc<Shelf>,
    /// A connection has come to rest.
    rested: Arc<Notify>,
    shared: Mutex<Vec<Resting<Shared>>>,
    /// Held while a shared connection is made, so that a burst makes no more than it needs.
    connecting: tokio::sync::Mutex<()>,
    /// Dropped with the pool, which ends [`look_after`].
    _alive: oneshot::Sender<()>,
}

/// The connections of HTTP/1.1 that rest.
struct Shelf {
    runner: Runner,
    clock: Clock,
    wires: Mutex<Vec<Resting<Wire>>>,
}

/// Gives connections tasks of their own.
#[derive(Clone)]
struct Runner {
    tasks: Tasks,
    cut: Shutdown,
}

/// A connection of HTTP/2, with its streams.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) sender: http2::SendRequest<Inbound>,
    /// Is had by the pool, and by each request that the connection is used for.
    stream: Stream,
}

/// A request's use of a shared connection, until it is dropped.
pub(crate) type Stream = Arc<()>;

/// So many requests share a connection. Servers have bounds, of which the library does not tell: it keeps back what is
/// above them until another request ends, and one that waits for that holds its place meanwhile. This is the least that
/// they are to allow (RFC 9113, 6.5.2), and what Kestrel does; Go allows 250.
const STREAMS: usize = 100;

/// A connection that was used before.
struct Resting<C> {
    connection: C,
    /// When it was used last.
    since: Instant,
}

/// A connection that rested for so long, and whose instance was frozen meanwhile, is not used again. A server may close
/// what rests, typically after two to five seconds; one that could not, because it was frozen, does it in the moment in
/// which it is thawed, and a request that is under way to it by then is lost. None of the usual ones does so within a
/// second.
const RESTED: Duration = Duration::from_secs(1);

/// What rests for so long gets a task of its own, which sees when the instance closes the connection. Before that nobody
/// looks, and between two requests nobody has to be woken.
const SETTLED: Duration = Duration::from_secs(1);

/// After the end of an answer, what is left of its request has so long: it has no place any more, and no time limit. Who
/// reads the answer only once all is sent still gets it, unless that takes longer; nginx gives as much.
const LINGER: Duration = Duration::from_secs(30);

/// A connection of HTTP/1.1 that a request has for itself. Dropped before the end of the answer,
/// it is closed.
pub(crate) struct Lease {
    wire: Wire,
    pool: Arc<Pool>,
}

// === impl Pool ===

impl Pool {
    pub(crate) fn new(tasks: Tasks, cut: Shutdown, clock: Clock, header_bytes: usize) -> Self {
        let (alive, gone) = oneshot::channel();
        let rested = Arc::new(Notify::new());
        let runner = Runner { tasks: tasks.clone(), cut };
        let shelf = Arc::new(Shelf { runner, clock, wires: Mutex::default() });
        let looks_after = look_after(Arc::downgrade(&shelf), rested.clone());
        tasks.spawn("resting connections", OnFailure::Log, async move {
            tokio::select! {
                () = looks_after => {}
                _ = gone => {}
            }
        });
        let (shared, connecting) = Default::default();
        Self { header_bytes, shelf, rested, shared, connecting, _alive: alive }
    }

    /// A connection that was used before and seems to be open still.
    pub(crate) fn take(self: &Arc<Self>, slot: &Slot) -> Option<Lease> {
        loop {
            let resting = self.shelf.wires().pop()?;
            let since = resting.since;
            let wire = resting.connection;
            if wire.seems_free() && !self.may_be_closing(since, slot) {
                return Some(Lease { wire, pool: self.clone() });
            }
        }
    }

    /// May the instance be about to close it, because it could not while it was frozen? See [`RESTED`].
    fn may_be_closing(&self, since: Instant, slot: &Slot) -> bool {
        slot.thawed().is_some_and(|thawed| thawed > since)
            && self.shelf.clock.instant().saturating_duration_since(since) >= RESTED
    }

    /// A new connection.
    pub(crate) async fn connect(self: &Arc<Self>, slot: &Slot) -> io::Result<Lease> {
        let stream = slot.connect().await?;
        // Nagle's algorithm would hold back the end of small messages.
        stream.set_nodelay(true)?;
        let mut builder = http1::Builder::new();
        let handshake = builder.max_buf_size(self.header_bytes.max(64 << 10)).handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(broke_off)?;
        Ok(Lease { wire: Wire::new(sender, connection.with_upgrades()), pool: self.clone() })
    }

    /// A shared connection of HTTP/2 with room for one more, new if there is none.
    pub(crate) async fn shared(&self, slot: &Slot) -> io::Result<Shared> {
        if let Some(shared) = self.open(slot) {
            return Ok(shared);
        }
        let _connecting = self.connecting.lock().await;
        if let Some(shared) = self.open(slot) {
            return Ok(shared);
        }
        let stream = slot.connect().await?;
        stream.set_nodelay(true)?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let handshake = builder.max_header_list_size(list_bytes(self.header_bytes)).handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(broke_off)?;
        self.shelf.runner.run(connection, future::pending());
        let shared = Shared { sender, stream: Arc::default() };
        let made = Resting { connection: shared.clone(), since: self.shelf.clock.instant() };
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).push(made);
        Ok(shared)
    }

    /// The first that has room: the others come to rest.
    fn open(&self, slot: &Slot) -> Option<Shared> {
        let mut all = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| !known.connection.sender.is_closed() && !self.may_be_closing(known.since, slot));
        let known = all.iter_mut().find(|known| known.connection.streams() < STREAMS)?;
        known.since = self.shelf.clock.instant();
        Some(known.connection.clone())
    }

    fn put(&self, wire: Wire) {
        let has_task = wire.has_task();
        self.shelf.wires().push(Resting { connection: wire, since: self.shelf.clock.instant() });
        if !has_task {
            self.rested.notify_one();
        }
    }
}

// === impl Shared ===

impl Shared {
    /// How many requests it is used for.
    fn streams(&self) -> usize {
        // The pool has one, too.
        Arc::strong_count(&self.stream) - 1
    }

    pub(crate) fn into_stream(self) -> Stream {
        self.stream
    }
}

/// What goes wrong in the first moment of a connection is the other side's doing.
fn broke_off(error: hyper::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

// === impl Shelf ===

impl Shelf {
    /// Gives tasks to what has rested long enough. Is there more that will have?
    fn settle(&self) -> bool {
        let now = self.clock.instant();
        let mut wires = self.wires();
        let mut is_more = false;
        for resting in wires.iter_mut().filter(|resting| !resting.connection.has_task()) {
            if now.saturating_duration_since(resting.since) < SETTLED {
                is_more = true;
            } else if let Some((driver, gone)) = resting.connection.hand_over() {
                self.runner.run(driver, gone.map(drop));
            }
        }
        is_more
    }

    fn wires(&self) -> MutexGuard<'_, Vec<Resting<Wire>>> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives tasks to connections that rest. The shelf is not kept by this: with the pool the connections end.
async fn look_after(shelf: Weak<Shelf>, rested: Arc<Notify>) {
    loop {
        rested.notified().await;
        loop {
            let Some(clock) = shelf.upgrade().map(|shelf| shelf.clock.clone()) else { return };
            clock.sleep(SETTLED).await;
            if !shelf.upgrade().is_some_and(|shelf| shelf.settle()) {
                break;
            }
        }
    }
}

// === impl Runner ===

impl Runner {
    /// Serves a connection until it ends, nobody has it any more, or it is cut.
    fn run<F>(&self, connection: F, let_go: impl Future<Output = ()> + Send + 'static)
    where
        F: Future<Output = hyper::Result<()>> + Send + 'static,
    {
        let cut = self.cut.clone();
        self.tasks.spawn("upstream connection", OnFailure::Log, async move {
            tokio::select! {
                // Its requests are told of an error.
                _ = connection => {}
                () = let_go => {}
                () = cut.asked() => {}
            }
        });
    }
}

// === impl Lease ===

impl Lease {
    pub(crate) fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// From now on the connection does its work whether or not anybody waits for it.
    pub(crate) fn set_going(&mut self) {
        if let Some((driver, gone)) = self.wire.hand_over() {
            self.pool.shelf.runner.run(driver, gone.map(drop));
        }
    }

    /// The answer is read to its end: the connection is free for the next request, as soon as the
    /// rest of this one is sent, for which there is not all the time in the world ([`LINGER`]).
    pub(crate) fn give_back(mut self) {
        if self.wire.is_free() {
            self.pool.put(self.wire);
        } else if !self.wire.is_closed() {
            self.set_going();
            let Self { mut wire, pool } = self;
            let (tasks, clock) = (pool.shelf.runner.tasks.clone(), pool.shelf.clock.clone());
            // Held weakly: the connections of an instance that ends must not be kept by this wait.
            let pool = Arc::downgrade(&pool);
            tasks.spawn("upstream connection", OnFailure::Log, async move {
                let freed = clock.timeout(LINGER, wire.freed()).await;
                if freed == Ok(true)
                    && let Some(pool) = pool.upgrade()
                {
                    pool.put(wire);
                }
            });
        }
    }
}
