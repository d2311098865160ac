//! For simulations: worlds that chance makes, many of them, and whose seed it was when one ends badly.
//!
//! | variable | meaning |
//! |--|--|
//! | `SIMULATION_SEED` | only this one |
//! | `SIMULATION_SEEDS` | so many, from 0 on |

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use updraft_base::Clock;

/// Worlds at a time. Those with sockets wait most of their time.
const THREADS: usize = 8;
/// How long a world may take, in real time; most are over in a twentieth of a second.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs a world for each of the first `count` seeds, each in a runtime of its own thread. A thread that has seen one fail
/// goes on with no other.
///
/// # Panics
/// When a world has; with the seeds, and what they said.
pub fn all_end_well<W: Future<Output = ()>>(count: u64, world: impl Fn(u64) -> W + Sync) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = number("SIMULATION_SEED") {
        return run(world(seed));
    }
    let count = number("SIMULATION_SEEDS").unwrap_or(count);
    let (next, failed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        return;
                    }
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(world(seed)))) {
                        let text = panic.downcast_ref::<String>().map(String::as_str);
                        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(format!("seed {seed}: {text}"));
                        return;
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(failed.is_empty(), "{failed:#?}");
}

fn run(world: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // One that waits for what never happens would wait for ever, as its own time stands still.
    let ended = runtime.block_on(Clock::system().timeout(DEADLINE, world));
    ended.expect("it ends in time");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_has_its_turn_and_one_that_fails_is_named() {
        let seen = Mutex::new(Vec::new());
        all_end_well(100, |seed| {
            seen.lock().expect("no panic").push(seed);
            async {}
        });
        let mut seen = seen.into_inner().expect("no panic");
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        let failed = catch_unwind(|| all_end_well(20, |seed| async move { assert_ne!(seed, 7, "it is the seventh") }));
        let panic = failed.expect_err("one fails");
        let text = panic.downcast_ref::<String>().expect("a text");
        assert!(text.contains("seed 7: ") && text.contains("it is the seventh") && !text.contains("seed 8"), "{text}");
    }
}
