//! Letting go of containers that are over.

use rustix::process::{Pid, WaitOptions, waitpid};

use super::{Ended, Instance, Launcher};
use crate::{protocol::Report, sys};

// === impl Launcher ===

impl Launcher {
    /// Ends what a keeper left that was killed itself: all of it is ours now. True when nothing is left.
    fn hunt(&self) -> bool {
        let keepers: Vec<u32> = self.instances.values().filter_map(Instance::keeper).collect();
        let own = std::process::id();
        let strays: Vec<u32> = sys::tree::children(own).into_iter().filter(|pid| !keepers.contains(pid)).collect();
        for &pid in &strays {
            for member in sys::tree::descendants(pid) {
                sys::tree::kill(member);
            }
            sys::tree::kill(sys::tree::Member { pid, parent: own });
            let _ = waitpid(Pid::from_raw(pid.cast_signed()), WaitOptions::NOHANG);
        }
        strays.is_empty()
    }

    /// Lets go of instances that are over, as far as the kernel does.
    pub(super) fn bury(&mut self) {
        // They may hold the pipes that have to end first.
        if self.strays {
            self.strays = !self.hunt();
        }
        if self.strays {
            return;
        }
        let leaving = std::mem::take(&mut self.leaving);
        for key in leaving {
            let Some(instance) = self.instances.get_mut(&key) else { continue };
            let Some(exit) = instance.bury() else {
                self.leaving.push(key);
                continue;
            };
            let Some(instance) = self.instances.remove(&key) else { continue };
            let id = instance.id.clone();
            self.names.remove(&id);
            if let Some(all) = &mut self.volumes {
                all.ended(&id);
            }
            let introduction = instance.introduction();
            let at = instance.ended_at();
            let ended = Ended { exit: exit.clone(), at, introduction, memo: instance.memo, backlog: instance.backlog };
            // A sandbox that nobody used is nobody's without the server that had ordered it.
            if ended.memo.is_some() || !self.succession.is_open() {
                self.ended.insert(id.clone(), ended);
            }
            // A failure to poll shows at the next turn.
            let _ = self.report(&Report::Exited { id, exit, at });
        }
    }
}
