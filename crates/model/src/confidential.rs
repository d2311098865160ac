//! What must not be seen by chance: the value of a secret on its way to who may have it.

use std::{fmt, hint::black_box, sync::Arc};

/// Bytes that no log, error or printout shows. Copies share one place in memory, which is overwritten with the last of them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Confidential(Arc<Wiped>);

#[derive(PartialEq, Eq, Default)]
struct Wiped(Vec<u8>);

// === impl Confidential ===

impl Confidential {
    /// Takes care of `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Wiped(bytes)))
    }

    /// The bytes, for who needs them now.
    pub fn expose(&self) -> &[u8] {
        &self.0.0
    }
}

impl fmt::Debug for Confidential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Confidential(…)")
    }
}

// === impl Wiped ===

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.fill(0);
        // Otherwise the compiler may leave out what nobody reads.
        black_box(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::Confidential;

    #[test]
    fn what_is_confidential_is_not_printed() {
        assert_eq!(format!("{:?}", Confidential::new(b"hunter2".to_vec())), "Confidential(…)");
    }
}
