//! The tasks of one execution: which attempts begin, which are told to end, what follows from an end, and what comes of
//! all of them. `(terms, what happened, now) → attempts to begin and to stop`.
//!
//! Sources: Cloud Run Admin API v2, `ExecutionTemplate` and `TaskTemplate`; its "Execute jobs" and "Set task retries": a
//! task is tried again until it succeeds or has used its retries, and an execution fails when a task has. That it fails
//! only after all its tasks were tried is ours: Google does not say when the others stop.
//!
//! What is due to be tried again begins before what was never tried. A task that fails for good decides the execution, so
//! it is known the sooner; and no more tasks are begun and not over than run at a time. Others do not starve: a task is
//! tried again at most ten times, and while it waits for that they begin.
//!
//! **What the caller owes.** An attempt is written down ([`Progress::take_changed`], [`Progress::task`]) before it begins,
//! a stop before it is sent, an end before it is acknowledged. What was written down is what [`Progress::resume`] goes on
//! with, after any crash.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::{Duration, SystemTime},
};

use updraft_model::job::{
    AttemptEnd, Counts, ExecutionTemplate, Outcome, TaskPhase,
    defaults::{MAX_RETRIES, TIMEOUT},
    lifecycle::{FAILED_SHOWN, FailedTasks},
};

mod book;
mod print;

use book::later;

/// What an execution was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How many tasks there are, at least 1.
    pub task_count: u32,
    /// The most that run at a time; 0: as many as there is room for.
    pub parallelism: u32,
    /// How often a task is tried again.
    pub max_retries: u32,
    /// How long one attempt may take.
    pub timeout: Duration,
}

/// One attempt of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attempt {
    /// The task's index, from 0.
    pub index: u32,
    /// Which of its attempts, from 0.
    pub attempt: u32,
}

/// An attempt was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// Why.
    pub why: StopReason,
    /// When.
    pub at: SystemTime,
}

/// Why an attempt is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// It takes longer than it may.
    TimedOut,
    /// Its execution was cancelled.
    Cancelled,
}

/// One task, as it is written down and gone on with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Task {
    /// How far it has come.
    pub phase: TaskPhase,
    /// How many attempts were begun, with the one that runs.
    pub attempts: u32,
    /// How the last one that ended did.
    pub last: Option<AttemptEnd>,
    /// Since when the one that runs does.
    pub since: Option<SystemTime>,
    /// It was told to end.
    pub stop: Option<Stop>,
    /// When the next may begin, if one is to.
    pub not_before: Option<SystemTime>,
}

/// What follows from the end of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follows {
    /// Nothing: the attempt is not the current one, or its end is known already.
    Nothing,
    /// The task is over.
    Over {
        /// As what the end counts.
        end: AttemptEnd,
        /// What became of the task.
        phase: TaskPhase,
    },
    /// The task is tried again.
    Retry {
        /// As what the end counts.
        end: AttemptEnd,
        /// When, at the earliest.
        at: SystemTime,
    },
}

/// How far the tasks of one execution have come. What a task costs here is its phase and a count; only those that run,
/// wait for a retry or failed cost more.
#[derive(Debug, Clone)]
pub struct Progress {
    terms: Terms,
    slots: Vec<Slot>,
    counts: Counts,
    /// Below it no task waits for its first attempt, but those in `again`.
    next: usize,
    /// Tasks that were begun and are pending, by when they may begin again.
    again: BTreeSet<(SystemTime, u32)>,
    /// The same by task.
    not_before: BTreeMap<u32, SystemTime>,
    running: BTreeMap<u32, Running>,
    /// When attempts that run and were not told to end are to be.
    deadlines: BTreeSet<(SystemTime, u32)>,
    /// How the last attempt of a task ended, of those that did not succeed.
    ends: BTreeMap<u32, AttemptEnd>,
    changed: BTreeSet<u32>,
    is_cancelled: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    phase: TaskPhase,
    attempts: u32,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    since: SystemTime,
    deadline: SystemTime,
    stop: Option<Stop>,
    /// It was told to by a server before this one: nobody knows whether that arrived.
    is_doubtful: bool,
}

/// The longest wait before a retry.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// How long after the end of an attempt the `retry`th, from 1, begins. Google documents no wait. The first comes at once,
/// for what fails by chance; then after 1 s, 2 s, 4 s … up to a minute, so that a fault that lasts a while is outlived by
/// ten retries, and one that lasts does not keep a host busy.
pub fn backoff(retry: u32) -> Duration {
    match retry {
        0 | 1 => Duration::ZERO,
        retry => Duration::from_secs(2u64.saturating_pow(retry - 2)).min(BACKOFF_MAX),
    }
}

// === impl Terms ===

impl Terms {
    /// The terms of a template that has its defaults and was checked.
    pub fn of(template: &ExecutionTemplate) -> Self {
        let task = &template.template;
        Self {
            task_count: u32::try_from(template.task_count).unwrap_or(0).max(1),
            parallelism: u32::try_from(template.parallelism).unwrap_or(0),
            max_retries: u32::try_from(task.max_retries.unwrap_or(MAX_RETRIES)).unwrap_or(0),
            timeout: task.timeout.unwrap_or(TIMEOUT),
        }
    }

    /// The most tasks that run at a time.
    pub fn limit(&self) -> u32 {
        if self.parallelism == 0 { self.task_count } else { self.parallelism.min(self.task_count) }
    }
}

// === impl StopReason ===

impl StopReason {
    /// As what the end counts of an attempt that was told to.
    pub fn end(self) -> AttemptEnd {
        match self {
            Self::TimedOut => AttemptEnd::TimedOut,
            Self::Cancelled => AttemptEnd::Cancelled,
        }
    }
}

// === impl Progress ===

impl Progress {
    /// Nothing has begun.
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            slots: vec![Slot::default(); usize::try_from(terms.task_count).unwrap_or(usize::MAX)],
            counts: Counts::default(),
            next: 0,
            again: BTreeSet::new(),
            not_before: BTreeMap::new(),
            running: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            ends: BTreeMap::new(),
            changed: BTreeSet::new(),
            is_cancelled: false,
        }
    }

    /// Goes on after a restart with the `tasks` that were written down; those that were not have not begun. Of the
    /// attempts that had begun, the `adopted` run on, or have an end that is still to be told; the others count as
    /// [`AttemptEnd::Lost`], a failed attempt like any other. Of an execution that is to be cancelled,
    /// [`cancel`](Self::cancel) is called next.
    pub fn resume(
        terms: Terms,
        tasks: impl IntoIterator<Item = (u32, Task)>,
        adopted: &BTreeSet<Attempt>,
        now: SystemTime,
    ) -> Self {
        let mut progress = Self::new(terms);
        let mut lost = Vec::new();
        for (index, task) in tasks.into_iter().filter(|(index, _)| *index < terms.task_count) {
            let current = Attempt { index, attempt: task.attempts.saturating_sub(1) };
            if task.phase == TaskPhase::Running && !adopted.contains(&current) {
                lost.push(current);
            }
            progress.restore(index, task, now);
        }
        progress.changed.clear();
        for attempt in lost {
            progress.ended(attempt, AttemptEnd::Lost, now);
        }
        if progress.is_cancelled {
            progress.drop_pending();
        }
        progress
    }

    fn restore(&mut self, index: u32, task: Task, now: SystemTime) {
        self.slot(index).attempts = task.attempts;
        self.counts.retried += u32::from(task.attempts > 1);
        self.enter(index, task.phase);
        if let Some(end) = task.last.filter(|end| !end.is_success()) {
            self.ends.insert(index, end);
        }
        let is_cancelled = matches!(task.phase, TaskPhase::Cancelled | TaskPhase::Abandoned)
            || task.stop.is_some_and(|stop| stop.why == StopReason::Cancelled);
        self.is_cancelled |= is_cancelled;
        match task.phase {
            TaskPhase::Running => {
                let since = task.since.unwrap_or(now);
                // Nobody knows whether the stop arrived: it is sent again.
                let deadline = task.stop.map_or_else(|| later(since, self.terms.timeout), |stop| stop.at);
                let is_doubtful = task.stop.is_some();
                self.running.insert(index, Running { since, deadline, stop: task.stop, is_doubtful });
                self.deadlines.insert((deadline, index));
            }
            TaskPhase::Pending if task.attempts > 0 || task.not_before.is_some() => {
                self.wait(index, task.not_before.unwrap_or(now));
            }
            _ => {}
        }
    }

    /// The attempts that begin now, at most `room` of them. They run from here on: each is either begun or
    /// has [ended](Self::ended).
    pub fn begin(&mut self, room: usize, now: SystemTime) -> Vec<Attempt> {
        let free = self.terms.limit().saturating_sub(self.counts.running);
        let room = usize::try_from(free).unwrap_or(usize::MAX).min(room);
        let mut begun = Vec::new();
        while begun.len() < room
            && let Some(index) = self.take_next(now)
        {
            let slot = self.slot(index);
            slot.attempts += 1;
            let attempts = slot.attempts;
            self.counts.retried += u32::from(attempts == 2);
            self.enter(index, TaskPhase::Running);
            let deadline = later(now, self.terms.timeout);
            self.running.insert(index, Running { since: now, deadline, stop: None, is_doubtful: false });
            self.deadlines.insert((deadline, index));
            begun.push(Attempt { index, attempt: attempts - 1 });
        }
        begun
    }

    fn take_next(&mut self, now: SystemTime) -> Option<u32> {
        if self.is_cancelled {
            return None;
        }
        if let Some(&(due, index)) = self.again.first()
            && due <= now
        {
            self.unwait(index);
            return Some(index);
        }
        loop {
            let slot = self.slots.get(self.next)?;
            let index = u32::try_from(self.next).ok()?;
            self.next += 1;
            if slot.phase == TaskPhase::Pending && slot.attempts == 0 && !self.not_before.contains_key(&index) {
                return Some(index);
            }
        }
    }

    /// `attempt` ended at the time `at`, as `end`, which is [`AttemptEnd::TimedOut`] or [`AttemptEnd::Cancelled`] of one
    /// that ended because it was told to: who tells it knows what it had to do with it. Only of what a server before this
    /// one told nobody knows: if it ended after that, it counts as told, whatever it exited with.
    pub fn ended(&mut self, attempt: Attempt, end: AttemptEnd, at: SystemTime) -> Follows {
        let Some(running) = self.current(attempt) else { return Follows::Nothing };
        let is_doubtful = running.is_doubtful;
        let told = running.stop.filter(|stop| is_doubtful && at >= stop.at);
        let end = told.map_or(end, |stop| stop.why.end());
        let index = attempt.index;
        self.leave(index);
        if end.is_success() {
            self.ends.remove(&index);
            self.enter(index, TaskPhase::Succeeded);
            return Follows::Over { end, phase: TaskPhase::Succeeded };
        }
        self.ends.insert(index, end.clone());
        let begun = attempt.attempt + 1;
        let may_retry = begun <= self.terms.max_retries;
        let phase = if self.is_cancelled && (may_retry || end == AttemptEnd::Cancelled) {
            TaskPhase::Cancelled
        } else if may_retry {
            TaskPhase::Pending
        } else {
            TaskPhase::Failed
        };
        self.enter(index, phase);
        if phase != TaskPhase::Pending {
            return Follows::Over { end, phase };
        }
        let at = later(at, backoff(begun));
        self.wait(index, at);
        Follows::Retry { end, at }
    }

    /// The execution is to end: nothing begins any more. The attempts that are to be told to end, each once; after a
    /// restart also those that had been told before it.
    pub fn cancel(&mut self, now: SystemTime) -> Vec<Attempt> {
        self.is_cancelled = true;
        self.drop_pending();
        let left = std::mem::take(&mut self.deadlines);
        left.into_iter().map(|(_, index)| self.tell(index, StopReason::Cancelled, now)).collect()
    }

    /// The attempts that are to be told to end because they take longer than they may, each once; after a restart also
    /// those that had been told before it.
    pub fn overdue(&mut self, now: SystemTime) -> Vec<Attempt> {
        let mut found = Vec::new();
        while let Some(&(deadline, index)) = self.deadlines.first()
            && deadline <= now
        {
            self.deadlines.pop_first();
            found.push(self.tell(index, StopReason::TimedOut, now));
        }
        found
    }

    /// How many tasks [`begin`](Self::begin) would begin now, if there were room for all.
    pub fn may_begin(&self, now: SystemTime) -> u32 {
        if self.is_cancelled {
            return 0;
        }
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let fresh = self.counts.pending(self.terms.task_count).saturating_sub(number(self.not_before.len()));
        let again = number(self.again.range(..=(now, u32::MAX)).count());
        let free = self.terms.limit().saturating_sub(self.counts.running);
        fresh.saturating_add(again).min(free)
    }

    /// When to call [`overdue`](Self::overdue) and [`begin`](Self::begin) again if nothing happens before. What may begin
    /// by `now` and did not waits for room, which comes with an end.
    pub fn due(&self, now: SystemTime) -> Option<SystemTime> {
        let later = (Bound::Excluded((now, u32::MAX)), Bound::Unbounded);
        let retry = self.again.range(later).next();
        self.deadlines.first().into_iter().chain(retry).map(|(at, _)| *at).min()
    }

    /// The tasks that are otherwise than at the last call: what is to be written down.
    pub fn take_changed(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.changed).into_iter().collect()
    }

    /// The task `index`, as it is to be written down; `None` if there is none.
    pub fn task(&self, index: u32) -> Option<Task> {
        let slot = self.slots.get(usize::try_from(index).ok()?)?;
        let running = self.running.get(&index);
        let last = match slot.phase {
            TaskPhase::Succeeded => Some(AttemptEnd::Succeeded),
            _ => self.ends.get(&index).cloned(),
        };
        Some(Task {
            phase: slot.phase,
            attempts: slot.attempts,
            last,
            since: running.map(|running| running.since),
            stop: running.and_then(|running| running.stop),
            not_before: self.not_before.get(&index).copied(),
        })
    }

    /// The attempts that run, by task.
    pub fn running(&self) -> impl Iterator<Item = Attempt> {
        self.running.keys().filter_map(|&index| {
            let slot = self.slots.get(usize::try_from(index).ok()?)?;
            Some(Attempt { index, attempt: slot.attempts.saturating_sub(1) })
        })
    }

    /// The terms.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// How many tasks are in which phase.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Is the execution to end?
    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled
    }

    /// Are all tasks over?
    pub fn is_over(&self) -> bool {
        self.counts.over() == self.terms.task_count
    }

    /// What came of it, when all tasks are over. What was cancelled too late for any task to notice ended by itself.
    pub fn outcome(&self) -> Option<Outcome> {
        if !self.is_over() {
            return None;
        }
        if self.counts.cancelled + self.counts.abandoned > 0 {
            return Some(Outcome::Cancelled);
        }
        let failed = (0u32..).zip(&self.slots).filter(|(_, slot)| slot.phase == TaskPhase::Failed);
        let indexes: Vec<u32> = failed.map(|(index, _)| index).take(FAILED_SHOWN).collect();
        let Some(end) = indexes.first().and_then(|first| self.ends.get(first)) else {
            return Some(Outcome::Succeeded);
        };
        Some(Outcome::Failed(FailedTasks { count: self.counts.failed, end: end.clone(), indexes }))
    }
}

#[cfg(test)]
mod tests;
