//! What a revision makes of the probes of an instance that is up, and of who could not get to it.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use updraft_plan::scaling::RetireReason;

use super::{About, Effects, End, Revision, State};
use crate::instance::Instance;

/// An instance that its liveness probe ends after it was well for so long shows that the revision works: the next one is
/// not held back for what happened before. Kubernetes forgets restarts after as long.
const WELL_WINDOW: Duration = Duration::from_secs(600);

// === impl Revision ===

impl Revision {
    /// A readiness probe of an instance has failed: it gets no new requests. Several containers of it may say so, each
    /// until its [`Revision::became_ready`].
    pub(crate) fn became_unready(self: &Arc<Self>, instance: &Arc<Instance>) {
        let mut state = self.lock();
        if let Some(place) = state.place(instance) {
            place.unready += 1;
            place.frozen = false;
        }
        self.settle(state, Effects::default());
        // No request would thaw it, and frozen it could never say that it is well again: it stays awake until then, as
        // if it had one. It may have been decided just now to freeze it.
        if let Err(error) = instance.frost.enter(&self.context, &instance.id)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!(instance = %instance.id, %error, "a frozen instance cannot be thawed and is ended");
            self.retire_broken(instance, RetireReason::Stuck);
        }
    }

    /// Nobody can get to an instance that was ready.
    pub(crate) fn retire_broken(self: &Arc<Self>, instance: &Arc<Instance>, why: RetireReason) {
        let mut state = self.lock();
        let mut effects = Effects::default();
        let live = state.live();
        if let Some(place) = state.place(instance)
            && place.about == About::Ready
        {
            place.about = About::Draining;
            if why == RetireReason::Unreachable {
                instance.lose_reach();
            }
            // Its other requests break off by themselves, if they do.
            effects.stops.push(instance.clone());
            effects.retired.push((instance.clone(), why));
            effects.decisions.push(format!("-1 ({live} → {}): {why}", live.saturating_sub(1)));
            state.learn_from_end(instance, End::Crash, self.context.clock.instant());
        }
        self.settle(state, effects);
    }

    /// That probe has succeeded often enough again.
    pub(crate) fn became_ready(self: &Arc<Self>, instance: &Arc<Instance>) {
        instance.frost.leave();
        let now = self.context.clock.instant();
        let mut state = self.lock();
        if let Some(place) = state.place(instance) {
            place.unready = place.unready.saturating_sub(1);
            if place.unready == 0 && place.in_flight == 0 {
                // It could not have had any: who was idle for that is not to be retired the moment that it can.
                place.idle_since = now;
            }
        }
        self.settle(state, Effects::default());
    }

    /// A liveness probe has failed: the instance is about to be killed, and gets no new requests.
    pub(crate) fn became_ill(self: &Arc<Self>, instance: &Arc<Instance>) {
        let now = self.context.clock.instant();
        let mut state = self.lock();
        if let Some(place) = state.place(instance)
            && place.about != About::Draining
        {
            place.about = About::Draining;
            // Before the plan is asked: it is to start the next one only then.
            state.learn_from_illness(instance, now);
        }
        self.settle(state, Effects::default());
    }
}

// === impl State ===

impl State {
    /// However long it lived, the next start is held back: a program that ends up ill again and again would be started
    /// again and again, each time with all that a start costs.
    fn learn_from_illness(&mut self, instance: &Instance, now: Instant) {
        let lived = instance.timing().map(|timing| now.saturating_duration_since(timing.ready));
        if lived.is_some_and(|lived| lived >= WELL_WINDOW) {
            self.hold_back.reset();
        }
        self.hold_back(now);
    }
}
