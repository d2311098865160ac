//! A set of numbers from 0 to 63.

/// The set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bits(u64);

// === impl Bits ===

impl Bits {
    /// Every number from `first` to `last`, in steps.
    pub(super) fn range(first: u8, last: u8, step: u8) -> Self {
        (first..=last).step_by(step.max(1).into()).collect()
    }

    /// With another number.
    pub(super) fn insert(&mut self, number: u8) {
        self.0 |= 1 << number;
    }

    /// Without a number.
    pub(super) fn remove(&mut self, number: u8) {
        self.0 &= !(1 << number);
    }

    /// Is it in the set?
    pub(super) fn has(self, number: u8) -> bool {
        number < 64 && self.0 & (1 << number) != 0
    }

    /// The smallest number in the set that is at least this.
    pub(super) fn at_least(self, number: u8) -> Option<u8> {
        let rest = self.0.checked_shr(number.into())?;
        (rest != 0).then(|| number + rest.trailing_zeros() as u8)
    }

    /// Everything in either.
    pub(super) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<u8> for Bits {
    fn from_iter<I: IntoIterator<Item = u8>>(numbers: I) -> Self {
        let mut bits = Self::default();
        numbers.into_iter().for_each(|number| bits.insert(number));
        bits
    }
}
