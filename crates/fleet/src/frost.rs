//! Freezing one instance between its requests.
//!
//! That it is time is decided by `updraft_plan::cpu`, from what a moment knew; a request may come before it is done.
//! So every request that has a place is counted here, too, and the instance is frozen and thawed under the lock that
//! the count has: what is frozen has no request and what has one is not frozen, whatever was decided before. The lock
//! is held for as long as the kernel takes one word, which is what the request would have to wait for anyway.
//!
//! Who asks an instance something without a request ([`crate::health`]) watches its frost, so as not to wait for an
//! answer of what cannot run.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Instant,
};

use tokio::sync::watch;
use updraft_model::instance::InstanceId;

use crate::context::Context;

/// What may keep an instance from being frozen, and whether it is.
#[derive(Debug, Default)]
pub(crate) struct Frost {
    state: Mutex<State>,
    /// Is it frozen? Changed under the lock, for who waits for that.
    told: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    /// Requests that have a place in it.
    users: u32,
    is_frozen: bool,
    /// It ends, and is not frozen any more.
    is_over: bool,
    /// When it was thawed last.
    thawed: Option<Instant>,
}

// === impl Frost ===

impl Frost {
    /// A request gets a place: from here until [`Frost::leave`] the instance is awake. Counts also when it fails.
    ///
    /// # Errors
    /// The engine's: then it is frozen still, or gone.
    pub(crate) fn enter(&self, context: &Context, id: &InstanceId) -> io::Result<()> {
        let mut state = self.lock();
        state.users += 1;
        if !state.is_frozen {
            return Ok(());
        }
        let begun = context.clock.instant();
        context.engine.thaw(id)?;
        let now = context.clock.instant();
        state.is_frozen = false;
        state.thawed = Some(now);
        self.told.send_replace(false);
        drop(state);
        context.metrics.frozen.dec();
        context.metrics.thaw_seconds.observe(now.saturating_duration_since(begun).as_secs_f64());
        Ok(())
    }

    /// A request gives its place back.
    pub(crate) fn leave(&self) {
        let mut state = self.lock();
        state.users = state.users.saturating_sub(1);
    }

    /// Freezes it, unless a request has come or it is to end.
    pub(crate) fn freeze(&self, context: &Context, id: &InstanceId) {
        let mut state = self.lock();
        if state.users > 0 || state.is_frozen || state.is_over {
            return;
        }
        match context.engine.freeze(id) {
            Ok(()) => {
                state.is_frozen = true;
                self.told.send_replace(true);
                drop(state);
                context.metrics.frozen.inc();
                context.metrics.freezes.inc();
            }
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                drop(state);
                if !context.freezes_nothing.swap(true, Ordering::Relaxed) {
                    tracing::info!("idle instances keep their CPU: this host has nothing to freeze them with");
                }
            }
            // Its end is under way.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(instance = %id, %error, "an idle instance could not be frozen"),
        }
    }

    /// It is to end, or has ended: it is thawed, if it was frozen, and stays so.
    pub(crate) fn finish(&self, context: &Context, id: &InstanceId) {
        let mut state = self.lock();
        state.is_over = true;
        if std::mem::take(&mut state.is_frozen) {
            self.told.send_replace(false);
            // What cannot be thawed is gone.
            let _ = context.engine.thaw(id);
            context.metrics.frozen.dec();
        }
    }

    /// Whether it is frozen, now and later.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.told.subscribe()
    }

    /// When it was thawed last.
    pub(crate) fn thawed(&self) -> Option<Instant> {
        self.lock().thawed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
