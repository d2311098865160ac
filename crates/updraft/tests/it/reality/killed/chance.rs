//! Chance with a seed: a run that failed can be made again.

use std::{cell::Cell, time::Duration};

/// A stream of numbers (SplitMix64).
#[derive(Debug)]
pub(in super::super) struct Chance(Cell<u64>);

// === impl Chance ===

impl Chance {
    /// The seed of `UPDRAFT_TEST_SEED`, or one of the clock's; it is printed.
    pub(in super::super) fn seeded(test: &str) -> Self {
        let given = std::env::var("UPDRAFT_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = updraft_base::Clock::system().now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let seed = given.unwrap_or_else(|| u64::try_from(now.as_nanos()).unwrap_or(0));
        eprintln!("{test}: UPDRAFT_TEST_SEED={seed}");
        Self(Cell::new(seed))
    }

    /// Another stream, of its own from here on.
    pub(in super::super) fn branch(&self) -> Self {
        Self(Cell::new(self.next()))
    }

    pub(in super::super) fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub(in super::super) fn below(&self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap_or(0)
    }

    pub(in super::super) fn one_in(&self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// A time up to `longest`.
    pub(in super::super) fn time(&self, longest: Duration) -> Duration {
        longest.mul_f64(self.below(1 << 20) as f64 / f64::from(1 << 20))
    }

    pub(in super::super) fn bytes(&self, length: usize) -> Vec<u8> {
        (0..length.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(length).collect()
    }
}
