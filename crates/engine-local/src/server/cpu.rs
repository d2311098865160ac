//! The CPU of an instance, while it runs. All of it is done by the server itself, by files of the control groups.

use std::{io, sync::Arc};

use updraft_model::instance::InstanceId;

use super::{
    engine::Shared,
    live::{Live, Phase},
};
use crate::sys;

// === impl Shared ===

impl Shared {
    /// An instance that can be frozen.
    pub(super) fn switch(&self, id: &InstanceId) -> io::Result<Arc<Live>> {
        if self.layout.freezer().is_none() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.running(id)
    }

    /// Gives an instance so much CPU from now on, in thousandths.
    pub(super) fn limit_cpu(&self, id: &InstanceId, millis: u32) -> io::Result<()> {
        let unsupported = || io::Error::from(io::ErrorKind::Unsupported);
        let allowance = |leaf: &str| self.layout.cpu(&self.premises.tag, leaf, millis).ok_or_else(unsupported);
        // Said first, also of one that is not there.
        allowance("")?;
        let live = self.running(id)?;
        sys::cgroups::allow(&allowance(&live.leaf)?)
    }

    /// An instance whose program runs: before that its sandbox has work to do that must not be stopped.
    fn running(&self, id: &InstanceId) -> io::Result<Arc<Live>> {
        let running = |live: &Arc<Live>| matches!(*live.phase.borrow(), Phase::Running(_));
        self.table.get(id).filter(running).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
