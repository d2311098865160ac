//! What a revision has to do: requests at a time and CPU, over the last minute.

use std::time::{Duration, Instant};

use updraft_plan::scaling::law::{Load, Minute};

/// Counts as it changes, under the lock of its revision.
#[derive(Debug)]
pub(super) struct Demand {
    /// Requests there are, those that wait counted in.
    now: u32,
    /// When that changed last.
    since: Instant,
    /// How long the requests took together that were there since the last [`Demand::note`].
    taken: Duration,
    minute: Minute,
}

// === impl Demand ===

impl Demand {
    pub(super) fn new(now: Instant) -> Self {
        Self { now: 0, since: now, taken: Duration::ZERO, minute: Minute::default() }
    }

    /// One more request.
    pub(super) fn more(&mut self, at: Instant) {
        self.accrue(at);
        self.now += 1;
    }

    /// So many requests fewer.
    pub(super) fn fewer(&mut self, count: u32, at: Instant) {
        self.accrue(at);
        self.now = self.now.saturating_sub(count);
    }

    /// So many requests fewer, as of the last change: who refuses has no clock.
    pub(super) fn refused(&mut self, count: u32) {
        self.now = self.now.saturating_sub(count);
    }

    /// Its instances used so much CPU since the last time; how many requests there were is known.
    pub(super) fn note(&mut self, at: Instant, cpu: Duration) {
        self.accrue(at);
        self.minute.note(at, std::mem::take(&mut self.taken), cpu);
    }

    /// The average of the last minute.
    pub(super) fn load(&mut self, at: Instant) -> Load {
        self.minute.load(at)
    }

    fn accrue(&mut self, at: Instant) {
        let span = at.saturating_duration_since(std::mem::replace(&mut self.since, at));
        if self.now > 0 {
            self.taken += span * self.now;
        }
    }
}
