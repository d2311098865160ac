//! How long a request may wait for an instance.
//!
//! Source: "Maximum request queue time" of Cloud Run's documentation: up to 3.5 times the average start of the service's
//! instances, or 10 seconds, whichever is longer.

use std::time::Duration;

/// So long at least.
const LEAST: Duration = Duration::from_secs(10);
/// So many halves of a start.
const STARTS: (u32, u32) = (7, 2);

/// The average start, as far as it is known: an exponential average that the last few starts decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Starts(Option<Duration>);

/// What is waited for when there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// An instance that comes up.
    ForStart,
    /// A place in an instance that is up: there are as many as may be.
    ForPlace,
    /// An instance that has to end before another may be started; it may take so long.
    ForEnd(Duration),
}

// === impl Starts ===

impl Starts {
    /// A start took so long.
    #[must_use]
    pub fn with(self, took: Duration) -> Self {
        Self(Some(self.0.map_or(took, |average| (average * 3 + took) / 4)))
    }

    /// How long a request may wait. Before a start is known, and while it may be one that is waited for, for as long as
    /// its own time limit lets it: nothing tells how long an instance takes.
    pub fn patience(self, wait: Wait) -> Option<Duration> {
        let known = self.0.map(|average| (average * STARTS.0 / STARTS.1).max(LEAST));
        match wait {
            Wait::ForStart => known,
            Wait::ForPlace => Some(known.unwrap_or(LEAST)),
            // Only when that one is gone can the next be started.
            Wait::ForEnd(grace) => known.map(|known| known + grace),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_request_waits_for_three_and_a_half_starts_and_ten_seconds_at_least() {
        for wait in [Wait::ForStart, Wait::ForPlace] {
            assert_eq!(Starts::default().with(SECOND).patience(wait), Some(10 * SECOND));
            assert_eq!(Starts::default().with(20 * SECOND).patience(wait), Some(70 * SECOND));
        }
    }

    #[test]
    fn before_a_start_is_known_who_waits_for_one_waits_as_long_as_it_takes_and_others_do_not() {
        assert_eq!(Starts::default().patience(Wait::ForStart), None);
        assert_eq!(Starts::default().patience(Wait::ForEnd(SECOND)), None);
        assert_eq!(Starts::default().patience(Wait::ForPlace), Some(10 * SECOND));
    }

    #[test]
    fn what_has_to_end_first_is_waited_for_too() {
        assert_eq!(Starts::default().with(SECOND).patience(Wait::ForEnd(10 * SECOND)), Some(20 * SECOND));
    }

    #[test]
    fn one_slow_start_among_quick_ones_counts_for_a_quarter() {
        let starts = Starts::default().with(4 * SECOND).with(4 * SECOND).with(20 * SECOND);
        assert_eq!(starts.patience(Wait::ForPlace), Some(28 * SECOND));
    }
}
