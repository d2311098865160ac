//! Which revision?

use std::{sync::Arc, time::Duration};

use updraft_fleet::Affinity;
use updraft_model::{
    iam::InvokerAccess,
    name::RevisionName,
    revision::Protocol,
    route::{Route, RouteTarget, SessionAffinity},
};

use crate::{authorise::Permitted, respond::Rejection};

/// A request whose revision is chosen.
#[derive(Debug)]
pub(crate) struct Chosen {
    permitted: Permitted,
    index: usize,
    /// The instance that the client wants to stay with.
    wanted: Option<Affinity>,
}

// === impl Chosen ===

impl Chosen {
    fn target(&self) -> &RouteTarget {
        &self.permitted.routed().route().targets[self.index]
    }

    /// The route and which of its targets it is: to be kept for the log without copying a name.
    pub(crate) fn place(&self) -> (Arc<Route>, usize) {
        (self.permitted.routed().shared(), self.index)
    }

    /// Who may call where it leads.
    pub(crate) fn access(&self) -> &InvokerAccess {
        &self.permitted.routed().route().invoker
    }

    pub(crate) fn revision(&self) -> &RevisionName {
        &self.target().revision
    }

    /// The instance that the client wants to stay with, if that is to be heeded.
    pub(crate) fn wanted(&self) -> Option<Affinity> {
        self.wanted.filter(|_| self.target().affinity == SessionAffinity::Client)
    }

    /// What the client is to be told after it got a place in this instance: nothing if it knows, or need not.
    pub(crate) fn news(&self, got: Affinity) -> Option<Affinity> {
        (self.target().affinity == SessionAffinity::Client && self.wanted != Some(got)).then_some(got)
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.target().timeout
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.target().protocol
    }
}

/// Chooses by share, or the revision that has the instance which is `wanted`, if it has a share. `dice` is a number that
/// any `u32` is as likely as any other.
pub(crate) fn split(
    permitted: Permitted,
    wanted: Option<Affinity>,
    has: impl Fn(&RevisionName, Affinity) -> bool,
    dice: u32,
) -> Result<Chosen, Rejection> {
    let targets = &permitted.routed().route().targets;
    let keeps =
        |target: &RouteTarget| target.affinity == SessionAffinity::Client && (target.percent > 0 || targets.len() == 1);
    let known =
        wanted.and_then(|wanted| targets.iter().position(|target| keeps(target) && has(&target.revision, wanted)));
    // A service without a ready revision has a host and no target.
    let by_share = || choose(targets.iter().map(|target| target.percent), dice);
    let index = known.or_else(by_share).ok_or(Rejection::NoRevision)?;
    Ok(Chosen { permitted, index, wanted })
}

/// The share that `dice` falls into. A single share of zero, as a tag has, is all there is and
/// takes everything.
fn choose(shares: impl Iterator<Item = u32> + Clone, dice: u32) -> Option<usize> {
    let sum: u64 = shares.clone().map(u64::from).sum();
    if sum == 0 {
        return shares.clone().next().map(|_| 0);
    }
    let point = (u64::from(dice) * sum) >> 32;
    let mut end = 0;
    for (index, share) in shares.enumerate() {
        end += u64::from(share);
        if point < end {
            return Some(index);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    fn counts(shares: &[u32], throws: u32) -> Vec<u32> {
        let mut random = rand::rngs::StdRng::seed_from_u64(7);
        let mut counts = vec![0; shares.len()];
        for _ in 0..throws {
            let index = choose(shares.iter().copied(), random.random()).expect("there is a share");
            counts[index] += 1;
        }
        counts
    }

    #[test]
    fn ninety_and_ten_of_ten_thousand_are_within_chance() {
        // The standard deviation is 30; five of them are exceeded once in 1.7 million seeds.
        let counts = counts(&[90, 10], 10_000);
        assert!(counts[0].abs_diff(9000) <= 150 && counts[1].abs_diff(1000) <= 150, "{counts:?}");
    }

    #[test]
    fn nothing_goes_to_a_share_of_zero_beside_others() {
        let counts = counts(&[0, 100, 0], 10_000);
        assert_eq!(counts, [0, 10_000, 0]);
    }

    #[test]
    fn the_edges_belong_to_the_first_and_the_last() {
        assert_eq!(choose([1, 99].into_iter(), 0), Some(0));
        assert_eq!(choose([99, 1].into_iter(), u32::MAX), Some(1));
        assert_eq!(choose([0].into_iter(), u32::MAX), Some(0));
        assert_eq!(choose(std::iter::empty(), 0), None);
    }
}
