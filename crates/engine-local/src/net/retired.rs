//! Namespaces whose instances are no more: let go together.
//!
//! What the kernel does when a network namespace dies it does for all that die at the same time at once: flush the
//! metrics of TCP, go through the sockets that wait for their end, wait for everybody to have seen that a link is
//! gone. And for every link of the host that goes down, unless there are many, it goes through all connections that
//! the host keeps track of, which is a millisecond of CPU on a machine with some memory. One by one, a hundred
//! instances a second spend a tenth of a machine on that.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::fd::OwnedFd;
use updraft_model::instance::Egress;

use super::{Listeners, subnet::Lease};

/// What is left of an instance's network. Gone, and its address free, when this is dropped.
#[derive(Debug)]
pub(super) struct Remains {
    /// What keeps the namespace alive.
    pub(super) netns: Arc<OwnedFd>,
    pub(super) listeners: Option<Listeners>,
    pub(super) lease: Lease,
    /// How it is restricted, which is to be lifted before.
    pub(super) egress: Egress,
}

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Retired {
    remains: Vec<Remains>,
    /// When the first of them came.
    since: Option<Instant>,
}

/// So many are let go at once.
const TOGETHER: usize = 64;
/// So long the first of them waits for others.
const PATIENCE: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_millis(500) };

/// When so many are due, the first of which came then.
fn due(count: usize, since: Instant) -> Instant {
    if count >= TOGETHER { since } else { since + PATIENCE }
}

// === impl Retired ===

impl Retired {
    pub(super) fn push(&mut self, remains: Remains, now: Instant) {
        self.since.get_or_insert(now);
        self.remains.push(remains);
    }

    /// When the next are due; `None` when there is none.
    pub(super) fn due(&self) -> Option<Instant> {
        self.since.map(|since| due(self.remains.len(), since))
    }

    /// All of them.
    pub(super) fn take(&mut self) -> Vec<Remains> {
        self.since = None;
        mem::take(&mut self.remains)
    }
}

#[cfg(test)]
mod tests {
    use updraft_base::Clock;

    use super::*;

    #[test]
    fn many_are_let_go_at_once_and_few_wait_for_others_but_not_for_ever() {
        let since = Clock::system().instant();
        assert_eq!(due(1, since), since + PATIENCE);
        assert_eq!(due(TOGETHER - 1, since), since + PATIENCE);
        assert_eq!(due(TOGETHER, since), since);
        assert_eq!(Retired::default().due(), None);
    }
}
