//! What the one authorisation point decided in the course of a call, for whoever keeps account of calls.
//!
//! A call is a task's from its beginning to its end, so a decision finds the trail of its call without every use case
//! handing it on: one that forgot to would be missing in the audit log, and nobody would see that. What reconcilers do is
//! no call, and leaves no trail.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use updraft_model::audit::{AccessCheck, BindingDelta};

tokio::task_local! {
    static TRAIL: Trail;
}

/// The most decisions of one call that are kept: lists of projects ask once for each.
const CHECKS_MAX: usize = 16;

/// The trail of one call. Clones are the same one: whoever follows a call that is cut off has it still.
#[derive(Debug, Clone, Default)]
pub struct Trail(Arc<Mutex<Seen>>);

/// What was seen of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The decisions, in their order.
    pub checks: Vec<AccessCheck>,
    /// What the call makes, when the permission is asked on something above it.
    pub subject: Option<String>,
    /// What the call changes in a policy.
    pub deltas: Vec<BindingDelta>,
}

// === impl Trail ===

impl Trail {
    /// Follows a call.
    pub async fn follow<F: Future>(&self, call: F) -> F::Output {
        TRAIL.scope(self.clone(), call).await
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn with(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Notes a decision.
pub(crate) fn decided(check: impl FnOnce() -> AccessCheck) {
    let note = |trail: &Trail| {
        trail.with(|seen| {
            let check = check();
            // A use case that another one is made of asks the same again.
            if seen.checks.contains(&check) {
                return;
            }
            // What was refused is what the call ended with, and the record is about it.
            if seen.checks.len() == CHECKS_MAX && !check.is_granted {
                seen.checks.pop();
            }
            if seen.checks.len() < CHECKS_MAX {
                seen.checks.push(check);
            }
        });
    };
    // Without a trail nobody asks.
    let _ = TRAIL.try_with(note);
}

/// Notes the name of what the call makes. Also for whoever keeps something beside the store, such as images.
pub fn makes(name: impl ToString) {
    let _ = TRAIL.try_with(|trail| trail.with(|seen| seen.subject = Some(name.to_string())));
}

/// Notes what the call changes in a policy. A try that another write forestalled has changed nothing.
pub(crate) fn changes(deltas: impl FnOnce() -> Vec<BindingDelta>) {
    let _ = TRAIL.try_with(|trail| trail.with(|seen| seen.deltas = deltas()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(permission: &str) -> AccessCheck {
        AccessCheck {
            permission: permission.to_owned(),
            resource: "projects/p".to_owned(),
            is_granted: true,
            project: None,
        }
    }

    #[tokio::test]
    async fn calls_at_the_same_time_have_trails_of_their_own() {
        let (one, two) = (Trail::default(), Trail::default());
        let call = async |permission: &str| {
            decided(|| check(permission));
            tokio::task::yield_now().await;
            makes(permission);
        };
        tokio::join!(one.follow(call("a")), two.follow(call("b")));
        for (trail, permission) in [(one, "a"), (two, "b")] {
            let subject = Some(permission.to_owned());
            let expected = Seen { checks: vec![check(permission)], subject, deltas: Vec::new() };
            assert_eq!(trail.seen(), expected);
        }
        decided(|| panic!("nobody follows"));
    }

    #[tokio::test]
    async fn what_a_call_that_is_cut_off_had_decided_is_known() {
        let trail = Trail::default();
        let call = trail.follow(async {
            decided(|| check("a"));
            std::future::pending::<()>().await;
        });
        tokio::select! {
            biased;
            () = call => {}
            () = std::future::ready(()) => {}
        }
        assert_eq!(trail.seen().checks, [check("a")]);
    }

    #[tokio::test]
    async fn a_trail_does_not_grow_without_end() {
        let trail = Trail::default();
        trail.follow(async { (0..1000).for_each(|n| decided(|| check(&n.to_string()))) }).await;
        assert_eq!(trail.seen().checks.len(), CHECKS_MAX);
        let refused = AccessCheck { is_granted: false, ..check("refused") };
        trail.follow(async { decided(|| refused.clone()) }).await;
        let checks = trail.seen().checks;
        assert_eq!((checks.len(), checks.last()), (CHECKS_MAX, Some(&refused)), "what it ended with is known");
    }
}
