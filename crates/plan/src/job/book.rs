//! The books of [`Progress`]: every change of a task goes through here, so that counts and queues never disagree.

use std::time::{Duration, SystemTime};

use updraft_model::job::TaskPhase;

use super::{Attempt, Progress, Running, Slot, Stop, StopReason};

impl Progress {
    /// The attempt, if it runs and is the current one of its task.
    pub(super) fn current(&mut self, attempt: Attempt) -> Option<&mut Running> {
        let slot = self.slots.get(usize::try_from(attempt.index).ok()?)?;
        if slot.attempts.checked_sub(1)? != attempt.attempt {
            return None;
        }
        self.running.get_mut(&attempt.index)
    }

    /// The task `index`, which there is.
    pub(super) fn slot(&mut self, index: u32) -> &mut Slot {
        &mut self.slots[usize::try_from(index).unwrap_or(usize::MAX)]
    }

    /// The task enters `phase`.
    pub(super) fn enter(&mut self, index: u32, phase: TaskPhase) {
        let before = std::mem::replace(&mut self.slot(index).phase, phase);
        if let Some(count) = self.counts.of(before) {
            *count -= 1;
        }
        if let Some(count) = self.counts.of(phase) {
            *count += 1;
        }
        self.changed.insert(index);
    }

    /// The attempt of the task does not run any more.
    pub(super) fn leave(&mut self, index: u32) {
        if let Some(running) = self.running.remove(&index) {
            self.deadlines.remove(&(running.deadline, index));
        }
    }

    /// The task, which is pending, may begin from `at` on.
    pub(super) fn wait(&mut self, index: u32, at: SystemTime) {
        self.unwait(index);
        self.again.insert((at, index));
        self.not_before.insert(index, at);
    }

    pub(super) fn unwait(&mut self, index: u32) {
        if let Some(at) = self.not_before.remove(&index) {
            self.again.remove(&(at, index));
        }
    }

    /// What has not begun does not begin any more.
    pub(super) fn drop_pending(&mut self) {
        self.again.clear();
        self.not_before.clear();
        for index in 0..self.terms.task_count {
            self.drop_one(index);
        }
    }

    /// The same of one task.
    fn drop_one(&mut self, index: u32) {
        match *self.slot(index) {
            Slot { phase: TaskPhase::Pending, attempts: 0 } => self.enter(index, TaskPhase::Abandoned),
            Slot { phase: TaskPhase::Pending, .. } => self.enter(index, TaskPhase::Cancelled),
            _ => {}
        }
    }

    /// The attempt of the task, which runs, is told to end; it keeps the reason for which it was first.
    pub(super) fn tell(&mut self, index: u32, why: StopReason, at: SystemTime) -> Attempt {
        if let Some(running) = self.running.get_mut(&index) {
            running.stop.get_or_insert(Stop { why, at });
        }
        self.changed.insert(index);
        Attempt { index, attempt: self.slot(index).attempts.saturating_sub(1) }
    }
}

/// `time` and `wait`; a time that cannot be said never comes nearer than that.
pub(super) fn later(time: SystemTime, wait: Duration) -> SystemTime {
    time.checked_add(wait).unwrap_or(time)
}
