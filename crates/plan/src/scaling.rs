//! How many instances a revision should have: `(one revision, as it is) → starts and retirements`.
//!
//! Source of the rules: Cloud Run's documented on-demand scaling. A request that finds no free place
//! starts an instance; an instance without requests is kept for the idle time; `min` and `max` bound
//! both. Scaling by metrics has its place here, beside [`demand`], and is not built yet.
//!
//! `max` is a bound on processes, not a hint: an instance counts until it has ended, even while it
//! is drained. Who sets it to 1 must never find two.

use std::{fmt, time::Duration};

use updraft_model::channel::Check;

/// One revision as its fleet sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed<Id> {
    /// What the book says of it; `None` when it is not in the book any more.
    pub bounds: Option<Bounds>,
    /// How far the check before ready has come.
    pub check: CheckState,
    /// Requests without a place.
    pub waiting: u32,
    /// Its instances.
    pub instances: Vec<Instance<Id>>,
    /// How long an instance without requests is kept.
    pub idle: Duration,
    /// How long no instance may be started, after starts that failed.
    pub held_back: Duration,
}

/// The bounds of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Requests one instance takes at a time.
    pub concurrency: u32,
    /// Instances kept.
    pub min: u32,
    /// Instances allowed.
    pub max: u32,
    /// Is the revision to be checked?
    pub check: Check,
}

/// How far the check before ready has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CheckState {
    /// No instance has come up or failed since it was asked for.
    Open,
    /// An instance came up.
    Passed,
    /// An instance failed.
    Failed,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance<Id> {
    /// Which.
    pub id: Id,
    /// What it is about.
    pub phase: Phase,
}

/// What an instance is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// On its way up.
    Starting,
    /// Takes requests.
    Ready {
        /// Requests it has now.
        in_flight: u32,
        /// How long it has had none; zero while it has one.
        idle_for: Duration,
    },
    /// Takes no more; ends when it has none.
    Draining,
}

/// What to do, and when to look again if nothing happens before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<Id> {
    /// What to do, in this order.
    pub actions: Vec<Action<Id>>,
    /// After this time the plan may differ though nothing happened.
    pub again_in: Option<Duration>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<Id> {
    /// Start so many instances.
    Start {
        /// How many.
        count: u32,
        /// Why.
        why: StartReason,
    },
    /// Give this one no more requests, let it finish those it has, then stop it.
    Retire {
        /// Which.
        id: Id,
        /// Why.
        why: RetireReason,
    },
}

/// Why an instance is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StartReason {
    /// Requests wait and no place is free.
    Demand {
        /// How many requests have no place, those on their way up counted in.
        unplaced: u32,
    },
    /// Fewer than the minimum.
    Minimum,
    /// To learn whether the revision works.
    Check,
}

/// Why an instance is retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetireReason {
    /// It had no request for the idle time.
    Idle,
    /// More than the maximum.
    AboveMaximum,
    /// Its revision may not run any more.
    RevisionRemoved,
}

/// Decides for one revision.
pub fn plan<Id: Clone + PartialEq>(observed: &Observed<Id>) -> Plan<Id> {
    let Some(bounds) = observed.bounds else { return Plan { actions: remove_all(observed), again_in: None } };
    let mut actions = surplus(observed, bounds);
    let room = bounds.max.saturating_sub(observed.instances.len().try_into().unwrap_or(u32::MAX));
    let mut again_in = None;
    if let Some((count, why)) = starts(observed, bounds) {
        if observed.held_back > Duration::ZERO {
            again_in = Some(observed.held_back);
        } else if room > 0 {
            actions.push(Action::Start { count: count.min(room), why });
        }
    }
    let (retired, next_idle) = idle(observed, bounds);
    // What is above the maximum already goes; the same instance is not named twice.
    let surplus_taken = actions.iter().any(|action| matches!(action, Action::Retire { .. }));
    if !surplus_taken {
        actions.extend(retired);
    }
    let again_in = [again_in, next_idle].into_iter().flatten().min();
    Plan { actions, again_in }
}

/// Picks an instance for one more request: the busiest that has a free place, so that surplus
/// instances run dry and can go. `loads` are the requests of each instance that takes any.
pub fn pick(loads: impl IntoIterator<Item = u32>, concurrency: u32) -> Option<usize> {
    let mut best: Option<(usize, u32)> = None;
    for (index, load) in loads.into_iter().enumerate() {
        if load < concurrency && best.is_none_or(|(_, most)| load > most) {
            best = Some((index, load));
        }
    }
    best.map(|(index, _)| index)
}

/// How many to start, and why; the most pressing reason speaks for all.
fn starts<Id>(observed: &Observed<Id>, bounds: Bounds) -> Option<(u32, StartReason)> {
    let alive = count(observed, |phase| *phase != Phase::Draining);
    let (demanded, unplaced) = demand(observed, bounds);
    let checking = bounds.check == Check::Wanted && observed.check == CheckState::Open;
    if checking && alive == 0 {
        return Some((demanded.max(1), StartReason::Check));
    }
    // While it is open whether the revision works at all, one instance is enough to find out.
    let kept = if checking || observed.check == CheckState::Failed { 0 } else { bounds.min.saturating_sub(alive) };
    match (demanded, kept) {
        (0, 0) => None,
        (0, kept) => Some((kept, StartReason::Minimum)),
        (demanded, kept) => Some((demanded.max(kept), StartReason::Demand { unplaced })),
    }
}

/// How many more instances the waiting requests need, and how many of them have no place in sight.
fn demand<Id>(observed: &Observed<Id>, bounds: Bounds) -> (u32, u32) {
    let concurrency = bounds.concurrency.max(1);
    let coming: u32 = observed
        .instances
        .iter()
        .map(|instance| match instance.phase {
            Phase::Starting => concurrency,
            Phase::Ready { in_flight, .. } => concurrency.saturating_sub(in_flight),
            Phase::Draining => 0,
        })
        .fold(0, u32::saturating_add);
    let unplaced = observed.waiting.saturating_sub(coming);
    (unplaced.div_ceil(concurrency), unplaced)
}

/// What is beyond the maximum goes: idle ones first, then those that do not serve yet, then those
/// with the fewest requests.
fn surplus<Id: Clone>(observed: &Observed<Id>, bounds: Bounds) -> Vec<Action<Id>> {
    let mut alive: Vec<_> = observed.instances.iter().filter(|instance| instance.phase != Phase::Draining).collect();
    let beyond = alive.len().saturating_sub(usize::try_from(bounds.max).unwrap_or(usize::MAX));
    alive.sort_by_key(|instance| match instance.phase {
        Phase::Ready { in_flight: 0, .. } => (0, 0),
        Phase::Starting => (1, 0),
        Phase::Ready { in_flight, .. } => (2, in_flight),
        Phase::Draining => (3, 0),
    });
    alive.into_iter().take(beyond).map(|instance| retire(instance, RetireReason::AboveMaximum)).collect()
}

/// Who has been idle long enough goes, the longest first, down to the minimum; and when the next
/// one will have been.
fn idle<Id: Clone>(observed: &Observed<Id>, bounds: Bounds) -> (Vec<Action<Id>>, Option<Duration>) {
    let mut resting: Vec<_> = observed
        .instances
        .iter()
        .filter_map(|instance| match instance.phase {
            Phase::Ready { in_flight: 0, idle_for } => Some((idle_for, instance)),
            _ => None,
        })
        .collect();
    resting.sort_by_key(|(idle_for, _)| std::cmp::Reverse(*idle_for));
    let ready = count(observed, |phase| matches!(phase, Phase::Ready { .. }));
    let spare = usize::try_from(ready.saturating_sub(bounds.min)).unwrap_or(usize::MAX);
    resting.truncate(spare);
    let due = resting.iter().take_while(|(idle_for, _)| *idle_for >= observed.idle).count();
    let next = resting.get(due).map(|(idle_for, _)| observed.idle.saturating_sub(*idle_for));
    (resting[..due].iter().map(|(_, instance)| retire(instance, RetireReason::Idle)).collect(), next)
}

fn remove_all<Id: Clone>(observed: &Observed<Id>) -> Vec<Action<Id>> {
    let alive = observed.instances.iter().filter(|instance| instance.phase != Phase::Draining);
    alive.map(|instance| retire(instance, RetireReason::RevisionRemoved)).collect()
}

fn retire<Id: Clone>(instance: &Instance<Id>, why: RetireReason) -> Action<Id> {
    Action::Retire { id: instance.id.clone(), why }
}

fn count<Id>(observed: &Observed<Id>, wanted: impl Fn(&Phase) -> bool) -> u32 {
    observed.instances.iter().filter(|instance| wanted(&instance.phase)).count().try_into().unwrap_or(u32::MAX)
}

// === printing ===

impl<Id: fmt::Display> fmt::Display for Plan<Id> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for action in &self.actions {
            match action {
                Action::Start { count, why } => writeln!(f, "start {count}: {why}")?,
                Action::Retire { id, why } => writeln!(f, "retire {id}: {why}")?,
            }
        }
        match self.again_in {
            Some(again) => writeln!(f, "look again in {again:?}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for StartReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Demand { unplaced: 1 } => f.write_str("1 request has no place"),
            Self::Demand { unplaced } => write!(f, "{unplaced} requests have no place"),
            Self::Minimum => f.write_str("below the minimum"),
            Self::Check => f.write_str("check before ready"),
        }
    }
}

impl fmt::Display for RetireReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::AboveMaximum => "above the maximum",
            Self::RevisionRemoved => "its revision is gone",
        })
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// A world in a line: `min=1 max=5 concurrency=2 waiting=3 check held=4s`, and instances as
    /// `starting`, `draining`, `busy:2` (requests) and `idle:30` (seconds).
    fn check(world: &str, expected: Expect) {
        let mut bounds = Bounds { concurrency: 1, min: 0, max: 5, check: Check::Done };
        let mut observed = Observed {
            bounds: None,
            check: CheckState::Open,
            waiting: 0,
            instances: Vec::new(),
            idle: Duration::from_secs(900),
            held_back: Duration::ZERO,
        };
        let mut removed = false;
        for word in world.split_whitespace() {
            let (key, value) = word.split_once(['=', ':']).unwrap_or((word, "0"));
            let number: u32 = value.parse().expect("a number");
            let seconds = Duration::from_secs(number.into());
            let phase = match key {
                "starting" => Some(Phase::Starting),
                "draining" => Some(Phase::Draining),
                "busy" => Some(Phase::Ready { in_flight: number, idle_for: Duration::ZERO }),
                "idle" => Some(Phase::Ready { in_flight: 0, idle_for: seconds }),
                _ => None,
            };
            match key {
                "min" => bounds.min = number,
                "max" => bounds.max = number,
                "concurrency" => bounds.concurrency = number,
                "waiting" => observed.waiting = number,
                "held" => observed.held_back = seconds,
                "check" => bounds.check = Check::Wanted,
                "passed" => observed.check = CheckState::Passed,
                "failed" => observed.check = CheckState::Failed,
                "removed" => removed = true,
                _ => assert!(phase.is_some(), "unknown word {word}"),
            }
            let id = format!("#{}", observed.instances.len());
            observed.instances.extend(phase.map(|phase| Instance { id, phase }));
        }
        observed.bounds = (!removed).then_some(bounds);
        expected.assert_eq(&plan(&observed).to_string());
    }

    #[test]
    fn nothing_wanted_nothing_done() {
        check("", expect![[""]]);
        check("busy:1", expect![[""]]);
    }

    #[test]
    fn a_waiting_request_starts_an_instance() {
        check(
            "waiting=1",
            expect![[r#"
                start 1: 1 request has no place
            "#]],
        );
    }

    #[test]
    fn instances_on_their_way_are_counted_with_all_their_places() {
        check("waiting=2 concurrency=2 starting", expect![[""]]);
        check(
            "waiting=5 concurrency=2 starting",
            expect![[r#"
                start 2: 3 requests have no place
            "#]],
        );
        check("waiting=1 concurrency=2 busy:1", expect![[""]]);
    }

    #[test]
    fn never_more_than_the_maximum_the_drained_counted_in() {
        check(
            "waiting=100",
            expect![[r#"
                start 5: 100 requests have no place
            "#]],
        );
        check(
            "waiting=100 busy:1 starting draining",
            expect![[r#"
                start 2: 99 requests have no place
            "#]],
        );
        check("waiting=9 max=1 draining", expect![[""]]);
    }

    #[test]
    fn idle_instances_go_when_their_time_is_over_the_oldest_first() {
        check(
            "idle:899",
            expect![[r#"
                look again in 1s
            "#]],
        );
        check(
            "idle:900 idle:1000 busy:1 idle:10",
            expect![[r#"
                retire #1: idle
                retire #0: idle
                look again in 890s
            "#]],
        );
    }

    #[test]
    fn the_minimum_is_started_and_kept() {
        check(
            "min=2",
            expect![[r#"
                start 2: below the minimum
            "#]],
        );
        check("min=2 starting idle:1000", expect![[""]]);
        check(
            "min=1 idle:1000 idle:2000",
            expect![[r#"
                retire #1: idle
            "#]],
        );
        check("min=1 idle:5000", expect![[""]]);
    }

    #[test]
    fn a_lowered_maximum_takes_the_least_useful_first() {
        check(
            "max=1 busy:3 busy:1 starting idle:5 concurrency=3",
            expect![[r#"
                retire #3: above the maximum
                retire #2: above the maximum
                retire #1: above the maximum
                look again in 895s
            "#]],
        );
    }

    #[test]
    fn a_check_starts_one_and_no_more_until_it_is_decided() {
        check(
            "check min=3",
            expect![[r#"
                start 1: check before ready
            "#]],
        );
        check("check min=3 starting", expect![[""]]);
        check("check min=3 failed", expect![[""]]);
        check(
            "check min=3 passed idle:0",
            expect![[r#"
                start 2: below the minimum
            "#]],
        );
    }

    #[test]
    fn failed_starts_hold_the_next_one_back() {
        check(
            "waiting=1 held=4",
            expect![[r#"
                look again in 4s
            "#]],
        );
        check("held=4", expect![[""]]);
    }

    #[test]
    fn a_revision_that_is_gone_keeps_nothing() {
        check(
            "removed waiting=3 busy:1 starting draining idle:1",
            expect![[r#"
                retire #0: its revision is gone
                retire #1: its revision is gone
                retire #3: its revision is gone
            "#]],
        );
    }

    #[test]
    fn the_busiest_with_a_free_place_is_picked() {
        assert_eq!(pick([0, 2, 1], 3), Some(1));
        assert_eq!(pick([0, 3, 1], 3), Some(2));
        assert_eq!(pick([0, 0], 1), Some(0));
        assert_eq!(pick([1, 1], 1), None);
        assert_eq!(pick([], 1), None);
    }
}
