//! The connections to one instance.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use updraft_base::{Clock, OnFailure, Shutdown, Tasks};
use updraft_fleet::Slot;

use crate::inbound::Inbound;

/// Lives with the instance: see [`Slot::attached`]. HTTP/1.1 connections are used one request at a
/// time, the last one first; of HTTP/2 there is one for all.
pub(crate) struct Pool {
    tasks: Tasks,
    cut: Shutdown,
    clock: Clock,
    header_bytes: usize,
    idle: Mutex<Vec<Resting<http1::SendRequest<Inbound>>>>,
    shared: Mutex<Option<Resting<http2::SendRequest<Inbound>>>>,
    /// Held while the shared connection is made, so that a burst makes one.
    connecting: tokio::sync::Mutex<()>,
}

/// A connection that was used before.
struct Resting<Sender> {
    sender: Sender,
    /// When it was used last.
    since: Instant,
}

/// A connection that rested for so long, and whose instance was frozen meanwhile, is not used again. A server may close
/// what rests, typically after two to five seconds; one that could not, because it was frozen, does it in the moment in
/// which it is thawed, and a request that is under way to it by then is lost. None of the usual ones does so within a
/// second.
const RESTED: Duration = Duration::from_secs(1);

/// A connection of HTTP/1.1 that a request has for itself. Dropped before the end of the answer,
/// it is closed.
pub(crate) struct Lease {
    sender: http1::SendRequest<Inbound>,
    pool: Arc<Pool>,
}

// === impl Pool ===

impl Pool {
    pub(crate) fn new(tasks: Tasks, cut: Shutdown, clock: Clock, header_bytes: usize) -> Self {
        Self {
            tasks,
            cut,
            clock,
            header_bytes,
            idle: Mutex::default(),
            shared: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    /// A connection that was used before and seems to be open still.
    pub(crate) fn take(self: &Arc<Self>, slot: &Slot) -> Option<Lease> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(resting) = idle.pop() {
            if resting.sender.is_ready() && !self.may_be_closing(&resting, slot) {
                return Some(Lease { sender: resting.sender, pool: self.clone() });
            }
        }
        None
    }

    /// May the instance be about to close it, because it could not while it was frozen? See [`RESTED`].
    fn may_be_closing<S>(&self, resting: &Resting<S>, slot: &Slot) -> bool {
        slot.thawed().is_some_and(|thawed| thawed > resting.since)
            && self.clock.instant().saturating_duration_since(resting.since) >= RESTED
    }

    /// A new connection.
    pub(crate) async fn connect(self: &Arc<Self>, slot: &Slot) -> io::Result<Lease> {
        let stream = slot.connect().await?;
        // Nagle's algorithm would hold back the end of small messages.
        stream.set_nodelay(true)?;
        let mut builder = http1::Builder::new();
        let handshake = builder.max_buf_size(self.header_bytes.max(64 << 10)).handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(io::Error::other)?;
        self.run(connection.with_upgrades());
        Ok(Lease { sender, pool: self.clone() })
    }

    /// The shared connection of HTTP/2, new if there is none or it is closed.
    pub(crate) async fn shared(&self, slot: &Slot) -> io::Result<http2::SendRequest<Inbound>> {
        if let Some(sender) = self.open(slot) {
            return Ok(sender);
        }
        let _connecting = self.connecting.lock().await;
        if let Some(sender) = self.open(slot) {
            return Ok(sender);
        }
        let stream = slot.connect().await?;
        stream.set_nodelay(true)?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        // The default of the library is 16 KiB, less than the metadata that gRPC allows itself.
        let limit = u32::try_from(self.header_bytes).unwrap_or(u32::MAX).max(64 << 10);
        let handshake = builder.max_header_list_size(limit).handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(io::Error::other)?;
        self.run(connection);
        let made = Resting { sender: sender.clone(), since: self.clock.instant() };
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
        Ok(sender)
    }

    /// Serves a connection until it ends or is cut.
    fn run<F>(&self, connection: F)
    where
        F: Future<Output = hyper::Result<()>> + Send + 'static,
    {
        let cut = self.cut.clone();
        self.tasks.spawn("upstream connection", OnFailure::Log, async move {
            tokio::select! {
                // Its requests are told of an error.
                _ = connection => {}
                () = cut.asked() => {}
            }
        });
    }

    fn open(&self, slot: &Slot) -> Option<http2::SendRequest<Inbound>> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            shared.as_mut().filter(|shared| !shared.sender.is_closed() && !self.may_be_closing(shared, slot))?;
        known.since = self.clock.instant();
        Some(known.sender.clone())
    }

    fn put(&self, sender: http1::SendRequest<Inbound>) {
        let resting = Resting { sender, since: self.clock.instant() };
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(resting);
    }
}

// === impl Lease ===

impl Lease {
    pub(crate) fn sender(&mut self) -> &mut http1::SendRequest<Inbound> {
        &mut self.sender
    }

    /// The answer is read to its end: the connection is free for the next request, as soon as the
    /// rest of this one is sent.
    pub(crate) fn give_back(self) {
        let Self { mut sender, pool } = self;
        if sender.is_ready() {
            pool.put(sender);
        } else if !sender.is_closed() {
            let tasks = pool.tasks.clone();
            // Held weakly: the connections of an instance that ends must not be kept by this wait.
            let pool = Arc::downgrade(&pool);
            tasks.spawn("upstream connection", OnFailure::Log, async move {
                if sender.ready().await.is_ok()
                    && let Some(pool) = pool.upgrade()
                {
                    pool.put(sender);
                }
            });
        }
    }
}
