//! How many calls a caller may make: a token bucket, decided purely.
//!
//! A bucket holds `burst` tokens and gains one per `interval`; a call takes one. All that has to be kept of it is
//! the moment at which it will be full again.

use std::time::{Duration, Instant};

/// How many calls are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The calls that may come at once; at least 1.
    pub burst: u32,
    /// The time in which one more is allowed.
    pub interval: Duration,
}

/// The state of one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    full_at: Instant,
}

// === impl Rate ===

impl Rate {
    /// `count` calls per minute, all of which may come at once.
    pub const fn per_minute(count: u32) -> Self {
        let interval = Duration::from_millis(60_000 / if count == 0 { 1 } else { count as u64 });
        Self { burst: count, interval }
    }
}

// === impl Bucket ===

impl Bucket {
    /// A full one.
    pub fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// The bucket after one call more.
    ///
    /// # Errors
    /// The time after which a call would be allowed, when there is no token; the bucket is then as before.
    pub fn take(self, rate: Rate, now: Instant) -> Result<Self, Duration> {
        let full_at = self.full_at.max(now) + rate.interval;
        let room = rate.interval * rate.burst.max(1);
        let wait = full_at.saturating_duration_since(now).saturating_sub(room);
        if wait.is_zero() { Ok(Self { full_at }) } else { Err(wait) }
    }

    /// Is it the same as a new one?
    pub fn is_full(self, now: Instant) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes at each of these milliseconds; `.` for a call that is allowed, the wait for one that is not.
    fn run(rate: Rate, times: &[u64]) -> String {
        #[expect(clippy::disallowed_methods, reason = "any origin will do, only differences count")]
        let origin = Instant::now();
        let mut bucket = Bucket::new(origin);
        let mut told = Vec::new();
        for &time in times {
            match bucket.take(rate, origin + Duration::from_millis(time)) {
                Ok(after) => {
                    bucket = after;
                    told.push(".".to_owned());
                }
                Err(wait) => told.push(format!("{}ms", wait.as_millis())),
            }
        }
        told.join(" ")
    }

    #[test]
    fn a_burst_is_allowed_and_then_one_per_interval() {
        let rate = Rate { burst: 3, interval: Duration::from_millis(100) };
        assert_eq!(run(rate, &[0, 0, 0, 0, 50, 100, 100, 200]), ". . . 100ms 50ms . 100ms .");
        // After a long rest it is full, and no fuller.
        assert_eq!(run(rate, &[0, 9000, 9000, 9000, 9000]), ". . . . 100ms");
    }

    #[test]
    fn a_refusal_costs_nothing() {
        let rate = Rate { burst: 1, interval: Duration::from_millis(100) };
        assert_eq!(run(rate, &[0, 10, 20, 30, 100]), ". 90ms 80ms 70ms .");
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_away() {
        let rate = Rate { burst: 1, interval: Duration::from_millis(100) };
        assert_eq!(run(rate, &[1000, 0]), ". 1100ms");
    }

    #[test]
    fn rates_are_written_per_minute() {
        assert_eq!(Rate::per_minute(600), Rate { burst: 600, interval: Duration::from_millis(100) });
    }
}
