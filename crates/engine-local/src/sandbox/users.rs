//! Which users of the host an instance's users are.
//!
//! In a user namespace of its own an instance's root is nobody on the host: what it could do to the host as root it
//! cannot do, even if everything else failed. Files of its image are shown with its own users by id-mapped mounts; on
//! disk nothing changes. Every instance that is alive has a range of its own, so that what the kernel counts per user
//! (inotify instances, bytes in POSIX queues and pipes, pending signals) is counted per instance.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

use serde::{Deserialize, Serialize};

use super::user::Identity;

/// How many users an instance has: those of its images, which have 65534 for nobody.
pub(crate) const COUNT: u32 = 1 << 16;

/// The first of the first range. Above what systemd gives to containers (up to 1879048191), and what distributions give
/// to people (`/etc/subuid`).
pub(crate) const LOWEST: u32 = 1_900_019_712;
/// How many ranges there are: up to where numbers turn negative to those who take them for signed, and to where
/// `net.ipv4.ping_group_range` ends.
const RANGES: u32 = (i32::MAX as u32 - LOWEST) / COUNT;

/// Whether instances have users of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Identities {
    /// Each has a range of the host's that nobody else has.
    Own,
    /// The host's, number for number: where the kernel or the file system of the images cannot do otherwise.
    Hosts,
}

/// Who an instance's users are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Users {
    /// The host's, number for number.
    Hosts,
    /// A range of the host's that nobody else has, from this number on.
    Mapped(u32),
}

/// Ranges, and which are taken.
#[derive(Debug, Clone)]
pub(crate) struct Ranges {
    state: Rc<RefCell<Taken>>,
}

#[derive(Debug)]
struct Taken {
    next: u32,
    taken: BTreeSet<u32>,
}

/// A range on loan; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Range {
    index: u32,
    state: Rc<RefCell<Taken>>,
}

// === impl Users ===

impl Users {
    /// The host's number of this user or group of the instance.
    pub(crate) fn of_host(self, id: u32) -> u32 {
        match self {
            Self::Hosts => id,
            Self::Mapped(first) => first.saturating_add(id),
        }
    }

    /// Can the instance have this user?
    ///
    /// # Errors
    /// A sentence that names the number that is too high.
    pub(crate) fn check(self, identity: &Identity) -> Result<(), String> {
        let all = [identity.uid, identity.gid];
        let beyond = all.iter().chain(&identity.groups).find(|&&id| id >= COUNT);
        match (self, beyond) {
            (Self::Mapped(_), Some(id)) => Err(format!(
                "the user or group {id} of the image: an instance has users and groups up to {}",
                COUNT - 1
            )),
            _ => Ok(()),
        }
    }
}

// === impl Ranges ===

impl Ranges {
    /// All of them. Engines with another `tag` begin elsewhere, so that they seldom meet.
    pub(crate) fn new(tag: &str) -> Self {
        let start = tag.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
        Self { state: Rc::new(RefCell::new(Taken { next: start % RANGES, taken: BTreeSet::new() })) }
    }

    /// One that nobody has; `None` when there is none left. The one that was given back last comes last.
    pub(crate) fn lease(&self) -> Option<Range> {
        let mut state = self.state.borrow_mut();
        let start = state.next;
        let index = (0..RANGES).map(|n| (start + n) % RANGES).find(|index| !state.taken.contains(index))?;
        state.taken.insert(index);
        state.next = (index + 1) % RANGES;
        Some(Range { index, state: self.state.clone() })
    }
}

// === impl Range ===

impl Range {
    /// Its first number.
    pub(crate) fn first(&self) -> u32 {
        LOWEST + self.index * COUNT
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        self.state.borrow_mut().taken.remove(&self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_is_lent_once_and_stays_within_31_bits() {
        let ranges = Ranges::new("ab12cd");
        let all: Vec<Range> = std::iter::from_fn(|| ranges.lease()).collect();
        assert_eq!(all.len(), RANGES as usize);
        let mut firsts: Vec<u32> = all.iter().map(Range::first).collect();
        firsts.sort_unstable();
        assert!(firsts.windows(2).all(|pair| pair[1] - pair[0] == COUNT));
        assert_eq!(firsts[0], LOWEST);
        assert!(firsts.last().is_some_and(|&last| i32::try_from(last + COUNT - 1).is_ok()));
    }

    #[test]
    fn what_was_given_back_rests_before_it_is_lent_again() {
        let ranges = Ranges::new("t");
        let first = ranges.lease().expect("one is free").first();
        assert_ne!(ranges.lease().expect("one is free").first(), first);
    }

    #[test]
    fn engines_begin_at_different_ranges() {
        let first = |tag| Ranges::new(tag).lease().expect("one is free").first();
        assert_ne!(first("ab12cd"), first("ab12ce"));
    }

    #[test]
    fn users_beyond_the_range_are_refused_by_number() {
        let identity = |uid, gid, groups: &[u32]| Identity { uid, gid, groups: groups.to_vec(), home: "/".to_owned() };
        assert_eq!(Users::Mapped(LOWEST).check(&identity(65_535, 65_534, &[0])), Ok(()));
        for (uid, gid, groups) in [(65_536, 0, &[][..]), (0, 70_000, &[]), (0, 0, &[5, 1_000_000])] {
            let refused = Users::Mapped(LOWEST).check(&identity(uid, gid, groups));
            assert!(refused.is_err_and(|cause| cause.ends_with("up to 65535")), "{uid}:{gid}");
            assert_eq!(Users::Hosts.check(&identity(uid, gid, groups)), Ok(()));
        }
        assert_eq!((Users::Mapped(LOWEST).of_host(5), Users::Hosts.of_host(5)), (LOWEST + 5, 5));
    }
}
