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
        // Readings are made before the lock is had, so one may be older than the last: no time is counted twice.
        let until = self.since.max(at);
        let span = until.saturating_duration_since(std::mem::replace(&mut self.since, until));
        if self.now > 0 {
            self.taken += span * self.now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an arbitrary origin for readings that only differences are made of")]
    fn readings_that_are_out_of_order_count_no_time_twice() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut demand = Demand::new(begun);
        demand.more(at(0));
        demand.more(at(30));
        demand.fewer(1, at(10));
        demand.note(at(60), Duration::ZERO);
        assert_eq!(demand.load(at(60)).requests_milli, 1000, "thirty seconds of one, and thirty of one");
    }
}
