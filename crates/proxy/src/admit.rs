//! A place in an instance, now or as soon as there is one.

use updraft_fleet::{Affinity, Cause, Fleet, Refusal, Slot, Timing};
use updraft_model::instance::InstanceId;

use crate::{respond::Rejection, split::Chosen};

/// A request with a place.
#[derive(Debug)]
pub(crate) struct Admitted {
    slot: Slot,
}

// === impl Admitted ===

impl Admitted {
    pub(crate) fn instance(&self) -> &InstanceId {
        self.slot.instance()
    }

    /// What names the instance to a client that wants to stay with it.
    pub(crate) fn affinity(&self) -> Affinity {
        self.slot.affinity()
    }

    /// Of the start of its instance, if this server started it.
    pub(crate) fn timing(&self) -> Option<Timing> {
        self.slot.timing()
    }

    /// Was there no place at once?
    pub(crate) fn has_waited(&self) -> bool {
        self.slot.has_waited()
    }

    pub(crate) fn into_slot(self) -> Slot {
        self.slot
    }
}

/// Waits for a place. The caller's time limit includes the wait.
pub(crate) async fn admit(fleet: &Fleet, chosen: &Chosen) -> Result<Admitted, Rejection> {
    match fleet.admit_to(chosen.revision(), chosen.wanted()).await {
        Ok(slot) => Ok(Admitted { slot }),
        Err(refusal) => Err(rejection(&refusal)),
    }
}

fn rejection(refusal: &Refusal) -> Rejection {
    match refusal {
        Refusal::QueueFull | Refusal::Overdue(Cause::Maximum) => Rejection::NoInstance,
        Refusal::Overdue(Cause::Start | Cause::Off) => Rejection::NotInTime,
        Refusal::StartFailed(_) => Rejection::StartFailed,
        Refusal::Unavailable => Rejection::NoRevision,
        Refusal::ShuttingDown => Rejection::ShuttingDown,
    }
}
