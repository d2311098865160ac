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

// === impl Starts ===

impl Starts {
    /// A start took so long.
    #[must_use]
    pub fn with(self, took: Duration) -> Self {
        Self(Some(self.0.map_or(took, |average| (average * 3 + took) / 4)))
    }

    /// How long a request may wait. Before a start is known, for as long as its own time limit lets it: nothing tells
    /// how long an instance takes.
    pub fn patience(self) -> Option<Duration> {
        Some((self.0? * STARTS.0 / STARTS.1).max(LEAST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_request_waits_for_three_and_a_half_starts_and_ten_seconds_at_least() {
        assert_eq!(Starts::default().patience(), None);
        assert_eq!(Starts::default().with(SECOND).patience(), Some(10 * SECOND));
        assert_eq!(Starts::default().with(20 * SECOND).patience(), Some(70 * SECOND));
    }

    #[test]
    fn one_slow_start_among_quick_ones_counts_for_a_quarter() {
        let starts = Starts::default().with(4 * SECOND).with(4 * SECOND).with(20 * SECOND);
        assert_eq!(starts.patience(), Some(28 * SECOND));
    }
}
