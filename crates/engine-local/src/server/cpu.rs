//! The CPU of an instance, while it runs. All of it is done by the server itself, by files of the control groups.

use std::{io, sync::Arc};

use updraft_model::instance::InstanceId;

use super::{
    engine::Shared,
    live::{Live, Phase},
    prepare,
};
use crate::{sandbox::cgroups::Priority, sys};

// === impl Shared ===

impl Shared {
    /// An instance that can be frozen.
    pub(super) fn switch(&self, id: &InstanceId) -> io::Result<Arc<Live>> {
        if self.layout.freezer().is_none() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // Before its programs run, its sandboxes have work to do that must not be stopped.
        self.table.get(id).filter(|live| live.all_run()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Gives a container of an instance so much CPU from now on, in thousandths.
    pub(super) fn limit_cpu(&self, id: &InstanceId, sidecar: Option<&str>, millis: u32) -> io::Result<()> {
        let unsupported = || io::Error::from(io::ErrorKind::Unsupported);
        let allowance = |leaf: &str, priority| {
            self.layout.cpu((&self.premises.tag, leaf), (millis, priority)).ok_or_else(unsupported)
        };
        // Said first, also of one that is not there.
        allowance("", Priority::default())?;
        let live = self.table.get(id).ok_or(io::ErrorKind::NotFound)?;
        let phase = live.phase_of(sidecar).filter(|phase| matches!(*phase.borrow(), Phase::Running(_)));
        let leaf = phase.and_then(|_| live.leaf_of(sidecar)).ok_or(io::ErrorKind::NotFound)?;
        sys::cgroups::allow(&allowance(leaf, prepare::priority(&live.owner))?)
    }
}
