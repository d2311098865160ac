//! How many instances a revision should have: `(one revision, as it is) → starts and retirements`.
//!
//! Source of the rules: Cloud Run's documented scaling, of two kinds. On demand: a request that finds no free place
//! starts an instance, and only this starts the first. By what was measured over the last minute ([`law`]): there are
//! to be so many that each has some room. An instance without requests is kept for the idle time; `min` and `max` bound
//! all of it.
//!
//! `max` is a bound on processes, not a hint: an instance counts until it has ended, even while it
//! is drained. Who sets it to 1 must never find two.

use std::{fmt, time::Duration};

use updraft_model::channel::Check;

pub mod law;

use law::{Capacity, Driver, Load, Recommendation, Targets};

/// One revision as its fleet sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed<Id> {
    /// What the book says of it; `None` when it is not in the book any more.
    pub bounds: Option<Bounds>,
    /// How far the check before ready has come.
    pub check: CheckState,
    /// Requests without a place.
    pub waiting: u32,
    /// What it had to do over the last minute.
    pub load: Load,
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
    /// CPU of one instance, in thousandths; 0: it is not limited.
    pub cpu_milli: u32,
    /// How much of what it has an instance is to use.
    pub targets: Targets,
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
    /// It is up, and its readiness probe has failed: it takes no new requests until that succeeds again. It counts like
    /// any other, but has no free place.
    Unready {
        /// Requests it has still.
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
    /// What would have been started and was not.
    pub withheld: Option<Withheld>,
    /// So many instances, the oldest, are to have the requests; the others are to run dry. At least 1.
    pub kept: u32,
    /// After this time the plan may differ though nothing happened.
    pub again_in: Option<Duration>,
}

/// Instances that are wanted and are not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Withheld {
    /// What they are wanted for.
    pub why: StartReason,
    /// What is in the way.
    pub by: Limit,
}

/// What is in the way of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// There are as many as may be.
    Maximum(u32),
    /// Starts failed, and the next one is not due yet.
    HeldBack,
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
    /// Those there are have more to do than they are to have.
    Load(Driver),
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
    /// It was ready, and cannot be connected to any more. Nothing that is planned: a request found out.
    Unreachable,
    /// It was frozen, and cannot be thawed. As above.
    Stuck,
}

/// Decides for one revision.
pub fn plan<Id: Clone + PartialEq>(observed: &Observed<Id>) -> Plan<Id> {
    let Some(bounds) = observed.bounds else {
        return Plan { actions: remove_all(observed), withheld: None, kept: 1, again_in: None };
    };
    let recommended = recommended(observed, bounds);
    let mut actions = surplus(observed, bounds);
    let room = bounds.max.saturating_sub(observed.instances.len().try_into().unwrap_or(u32::MAX));
    let (mut again_in, mut withheld) = (None, None);
    if let Some((count, why)) = starts(observed, bounds, recommended) {
        if observed.held_back > Duration::ZERO {
            again_in = Some(observed.held_back);
            withheld = Some(Withheld { why, by: Limit::HeldBack });
        } else {
            if room > 0 {
                actions.push(Action::Start { count: count.min(room), why });
            }
            withheld = (count > room).then_some(Withheld { why, by: Limit::Maximum(bounds.max) });
        }
    }
    // What the last minute had holds several instances, and not the last: it goes when its idle time is over, also when that is
    // shorter than the minute. One that stands in for another that is not ready would be started again at once.
    let held = recommended.map_or(0, |found| found.instances);
    let is_last = held == 1 && count(observed, |phase| matches!(phase, Phase::Unready { .. })) == 0;
    let kept = if is_last { 0 } else { held }.max(bounds.min).min(bounds.max);
    let (retired, next_idle) = idle(observed, kept);
    // What is above the maximum already goes; the same instance is not named twice.
    let surplus_taken = actions.iter().any(|action| matches!(action, Action::Retire { .. }));
    if !surplus_taken {
        actions.extend(retired);
    }
    let again_in = [again_in, next_idle].into_iter().flatten().min();
    Plan { actions, withheld, kept: kept.max(1), again_in }
}

/// An instance that takes requests, in the order in which they were started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Requests it has.
    pub load: u32,
    /// Must it be thawed first?
    pub frozen: bool,
}

/// How requests are to be spread over instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// Places of an instance.
    pub concurrency: u32,
    /// Of them are to be taken. With more in all that are awake, one that is frozen is thawed.
    pub target: u32,
    /// So many instances, the oldest, are to have the requests.
    pub kept: u32,
}

/// Picks an instance for one more request, of `candidates` with their index: of the first kind in which there is one,
/// the one with the fewest requests, so that all have the same room for what comes next. The oldest that are kept come
/// first, up to their target, so that the others run dry and can go (Cloud Run prefers those that its autoscaler
/// recommends to keep). How many are kept follows the average of a minute: until it has, those that are awake anyway
/// take what is above the target.
pub fn pick(candidates: impl IntoIterator<Item = (usize, Candidate)>, spread: Spread) -> Option<usize> {
    let ranked = (0u32..).zip(candidates).filter(|(_, (_, one))| one.load < spread.concurrency);
    let kind = |age: u32, one: Candidate| match (age < spread.kept, one.load < spread.target, one.frozen) {
        (true, true, false) => 0,
        (true, true, true) => 1,
        (false, true, false) => 2,
        (true, false, _) => 3,
        (false, _, _) => 4,
    };
    let best = ranked.min_by_key(|(age, (_, one))| (kind(*age, *one), one.load));
    best.map(|(_, (index, _))| index)
}

// === impl Bounds ===

impl Bounds {
    /// How requests are to be spread when so many instances are kept.
    pub fn spread(&self, kept: u32) -> Spread {
        let part = u64::from(self.concurrency) * u64::from(self.targets.concurrency) / 100;
        let target = u32::try_from(part).ok().filter(|&target| target > 0).unwrap_or(self.concurrency);
        Spread { concurrency: self.concurrency, target, kept }
    }
}

/// What the load of the last minute speaks for. What has no instance is started on demand alone.
fn recommended<Id>(observed: &Observed<Id>, bounds: Bounds) -> Option<Recommendation> {
    let capacity = Capacity { concurrency: bounds.concurrency, cpu_milli: bounds.cpu_milli };
    let alive = count(observed, |phase| *phase != Phase::Draining);
    law::recommend(observed.load, capacity, bounds.targets).filter(|_| alive > 0)
}

/// How many to start, and why; the most pressing reason speaks for all.
fn starts<Id>(
    observed: &Observed<Id>,
    bounds: Bounds,
    recommended: Option<Recommendation>,
) -> Option<(u32, StartReason)> {
    let alive = count(observed, |phase| *phase != Phase::Draining);
    let (demanded, unplaced) = demand(observed, bounds);
    let checking = bounds.check == Check::Wanted && observed.check == CheckState::Open;
    if checking && alive == 0 {
        return Some((demanded.max(1), StartReason::Check));
    }
    // While it is open whether the revision works at all, one instance is enough to find out.
    let is_unsure = checking || observed.check == CheckState::Failed;
    let kept = if is_unsure { 0 } else { bounds.min.saturating_sub(alive) };
    // Those that are not ready do none of the work.
    let able = count(observed, |phase| matches!(phase, Phase::Starting | Phase::Ready { .. }));
    let driven = recommended.filter(|_| !is_unsure).map(|found| (found.instances.saturating_sub(able), found.driver));
    let wishes = [
        Some((demanded, StartReason::Demand { unplaced })),
        driven.map(|(count, driver)| (count, StartReason::Load(driver))),
        Some((kept, StartReason::Minimum)),
    ];
    let mut wishes = wishes.into_iter().flatten().filter(|(count, _)| *count > 0);
    let (first, why) = wishes.next()?;
    Some((wishes.map(|(count, _)| count).fold(first, u32::max), why))
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
            Phase::Unready { .. } | Phase::Draining => 0,
        })
        .fold(0, u32::saturating_add);
    let unplaced = observed.waiting.saturating_sub(coming);
    (unplaced.div_ceil(concurrency), unplaced)
}

/// What is beyond the maximum goes: idle ones first, of these the ones that are not ready, then those that do not serve
/// yet, then those with the fewest requests.
fn surplus<Id: Clone>(observed: &Observed<Id>, bounds: Bounds) -> Vec<Action<Id>> {
    let mut alive: Vec<_> = observed.instances.iter().filter(|instance| instance.phase != Phase::Draining).collect();
    let beyond = alive.len().saturating_sub(usize::try_from(bounds.max).unwrap_or(usize::MAX));
    alive.sort_by_key(|instance| match instance.phase {
        Phase::Unready { in_flight: 0, .. } => (0, 0),
        Phase::Ready { in_flight: 0, .. } => (1, 0),
        Phase::Starting => (2, 0),
        Phase::Ready { in_flight, .. } | Phase::Unready { in_flight, .. } => (3, in_flight),
        Phase::Draining => (4, 0),
    });
    alive.into_iter().take(beyond).map(|instance| retire(instance, RetireReason::AboveMaximum)).collect()
}

/// Who has been idle long enough goes, down to those that are kept: the longest first, and those that are not ready
/// before the others. One that is ready goes only if as many are there without it and without those that are not. And
/// when the next one will have been.
fn idle<Id: Clone>(observed: &Observed<Id>, kept: u32) -> (Vec<Action<Id>>, Option<Duration>) {
    let unready = |phase: &Phase| match *phase {
        Phase::Unready { in_flight, idle_for } => Some((in_flight, idle_for)),
        _ => None,
    };
    let ready = |phase: &Phase| match *phase {
        Phase::Ready { in_flight, idle_for } => Some((in_flight, idle_for)),
        _ => None,
    };
    let serving = count(observed, |phase| ready(phase).is_some());
    let up = serving + count(observed, |phase| unready(phase).is_some());
    let (mut actions, next_unready) = rested(observed, up.saturating_sub(kept), unready);
    let (retired, next_ready) = rested(observed, serving.saturating_sub(kept), ready);
    actions.extend(retired);
    (actions, next_unready.into_iter().chain(next_ready).min())
}

/// Of those that `load` has an answer for, requests and idle time, the ones that go, at most `spare`; and when the next
/// one will.
fn rested<'a, Id: Clone>(
    observed: &'a Observed<Id>,
    spare: u32,
    load: impl Fn(&Phase) -> Option<(u32, Duration)>,
) -> (Vec<Action<Id>>, Option<Duration>) {
    let idle = |instance: &'a Instance<Id>| match load(&instance.phase) {
        Some((0, idle_for)) => Some((idle_for, instance)),
        _ => None,
    };
    let mut resting: Vec<_> = observed.instances.iter().filter_map(idle).collect();
    resting.sort_by_key(|(idle_for, _)| std::cmp::Reverse(*idle_for));
    resting.truncate(usize::try_from(spare).unwrap_or(usize::MAX));
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
        if let Some(withheld) = self.withheld {
            writeln!(f, "{withheld}")?;
        }
        match self.again_in {
            Some(again) => writeln!(f, "look again in {again:?}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by {
            Limit::Maximum(max) => write!(f, "no more than the maximum of {max}: {}", self.why),
            Limit::HeldBack => write!(f, "held back after starts that failed: {}", self.why),
        }
    }
}

impl fmt::Display for StartReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Demand { unplaced: 1 } => f.write_str("1 request has no place"),
            Self::Demand { unplaced } => write!(f, "{unplaced} requests have no place"),
            Self::Load(driver) => driver.fmt(f),
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
            Self::Unreachable => "it cannot be connected to any more",
            Self::Stuck => "it cannot be given its CPU back",
        })
    }
}

#[cfg(test)]
mod tests;
