//! Capped exponential backoff.

use std::time::Duration;

/// Delays that double from `first` up to `cap`, each shortened by up to a quarter at random so that
/// waiters that failed together do not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    attempt: u32,
}

// === impl Backoff ===

impl Backoff {
    /// Starts a sequence: the first delay is `first`, none is longer than `cap`.
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, attempt: 0 }
    }

    /// The next delay of the sequence, with jitter.
    pub fn next_delay(&mut self) -> Duration {
        let whole = self.next_exact();
        whole.mul_f64(1.0 - 0.25 * rand::random::<f64>())
    }

    /// The next delay of the sequence, without jitter: for polls, where nobody competes.
    pub fn next_exact(&mut self) -> Duration {
        let factor = 1u32.checked_shl(self.attempt.min(30)).unwrap_or(u32::MAX);
        self.attempt = self.attempt.saturating_add(1);
        self.first.saturating_mul(factor).min(self.cap)
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(5));
        let delays: Vec<u128> = (0..5).map(|_| backoff.next_exact().as_millis()).collect();
        assert_eq!(delays, [1, 2, 4, 5, 5]);
        backoff.reset();
        assert_eq!(backoff.next_exact(), Duration::from_millis(1));
    }

    #[test]
    fn jitter_only_shortens_and_by_at_most_a_quarter() {
        let mut backoff = Backoff::new(Duration::from_secs(4), Duration::from_secs(4));
        for _ in 0..100 {
            let delay = backoff.next_delay();
            assert!(delay <= Duration::from_secs(4) && delay >= Duration::from_secs(3), "{delay:?}");
        }
    }
}
