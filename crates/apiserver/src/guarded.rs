//! What is not in the control plane's store, behind the same lock.

use updraft_control::Permitted;

/// Something that opens only for a call that was let go on. A handler that asked for no permission does not compile.
pub(crate) struct Guarded<T>(T);

// === impl Guarded ===

impl<T> Guarded<T> {
    pub(crate) fn new(guarded: T) -> Self {
        Self(guarded)
    }

    /// What is guarded, for whoever was permitted to have it.
    pub(crate) fn open(&self, _: &Permitted) -> &T {
        &self.0
    }
}
