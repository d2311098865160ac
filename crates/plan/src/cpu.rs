//! When an instance has its CPU, and how much.
//!
//! Source of the rules: Cloud Run's documented billing settings (with request-based billing an instance without
//! requests has no CPU) and its startup CPU boost (more CPU during the start and for ten seconds after it). The table
//! of the boost is as its documentation had it, and could not be confirmed.

use std::time::Duration;

use updraft_model::cpu::{Billing, StartupBoost};

/// So long after it is ready an instance keeps the CPU of its start.
pub const BOOST_AFTER_READY: Duration = Duration::from_secs(10);

/// Up to so much CPU of an instance (thousandths), and what it has while it starts.
const BOOSTS: [(u32, u32); 3] = [(1000, 2000), (2000, 4000), (8000, 8000)];

/// Which instances to freeze, and when to look again if nothing happens before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freezing<Id> {
    /// Those that have been idle long enough.
    pub due: Vec<Id>,
    /// When the next one will have been.
    pub again_in: Option<Duration>,
}

/// How long an instance may be idle before it is frozen; `None`: it is not. `after` is the server's setting.
pub fn grace(billing: Billing, after: Option<Duration>) -> Option<Duration> {
    match billing {
        Billing::Requests => after,
        Billing::Instance => None,
    }
}

/// Decides which of the instances without requests that are not frozen, each with how long it has had none, are to be.
/// Whether they are kept for a minimum makes no difference.
pub fn freezing<Id>(idle: impl IntoIterator<Item = (Id, Duration)>, grace: Option<Duration>) -> Freezing<Id> {
    let mut freezing = Freezing { due: Vec::new(), again_in: None };
    let Some(grace) = grace else { return freezing };
    for (id, idle_for) in idle {
        match grace.checked_sub(idle_for) {
            None | Some(Duration::ZERO) => freezing.due.push(id),
            Some(left) => freezing.again_in = Some(freezing.again_in.map_or(left, |next| next.min(left))),
        }
    }
    freezing
}

/// The CPU of an instance while it starts, in thousandths: never less than it is given, and beyond that never more
/// than the machine has.
pub fn at_start(boost: StartupBoost, given_millis: u32, machine_millis: u32) -> u32 {
    if boost == StartupBoost::Off {
        return given_millis;
    }
    let row = BOOSTS.iter().find(|(up_to, _)| given_millis <= *up_to);
    row.map_or(given_millis, |(_, boosted)| *boosted).min(machine_millis).max(given_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn idle(seconds: &[u32]) -> Vec<(usize, Duration)> {
        seconds.iter().map(|&seconds| SECOND * seconds).enumerate().collect()
    }

    #[test]
    fn only_who_pays_for_requests_is_frozen() {
        assert_eq!(grace(Billing::Requests, Some(SECOND)), Some(SECOND));
        assert_eq!(grace(Billing::Requests, None), None);
        assert_eq!(grace(Billing::Instance, Some(SECOND)), None);
    }

    #[test]
    fn those_are_frozen_that_were_idle_long_enough_and_the_next_is_awaited() {
        let found = freezing(idle(&[10, 3, 7, 11]), Some(SECOND * 10));
        assert_eq!(found, Freezing { due: vec![0, 3], again_in: Some(SECOND * 3) });
    }

    #[test]
    fn without_a_grace_all_are_frozen_at_once_and_with_none_set_none_ever() {
        assert_eq!(freezing(idle(&[0, 5]), Some(Duration::ZERO)), Freezing { due: vec![0, 1], again_in: None });
        assert_eq!(freezing(idle(&[0, 5]), None), Freezing { due: Vec::new(), again_in: None });
        assert_eq!(freezing(idle(&[]), Some(SECOND)), Freezing { due: Vec::new(), again_in: None });
    }

    #[test]
    fn a_start_is_boosted_by_the_table_within_the_machine() {
        let large = 64_000;
        for (given, boosted) in [(80, 2000), (500, 2000), (1000, 2000), (2000, 4000), (4000, 8000), (8000, 8000)] {
            assert_eq!(at_start(StartupBoost::On, given, large), boosted, "{given}");
            assert_eq!(at_start(StartupBoost::Off, given, large), given, "{given}");
        }
        assert_eq!(at_start(StartupBoost::On, 6000, large), 8000);
        assert_eq!(at_start(StartupBoost::On, 20_000, large), 20_000);
        // A machine of two CPUs.
        assert_eq!(at_start(StartupBoost::On, 1000, 2000), 2000);
        assert_eq!(at_start(StartupBoost::On, 2000, 2000), 2000);
        assert_eq!(at_start(StartupBoost::On, 4000, 2000), 4000);
    }
}
