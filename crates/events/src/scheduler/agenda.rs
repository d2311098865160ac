//! Which job is to be looked at when, and which have an attempt under way.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};

use updraft_model::schedule::{ScheduleBook, ScheduleEntry, ScheduledJobName};
use updraft_plan::delivery::{Step, Timing, set_right, step};

use super::Limits;

/// What is overdue after a start begins this far apart, so that it does not all begin at once.
const APART: Duration = Duration::from_millis(50);
/// And the last of it no later than this.
const SPREAD_MAX: Duration = Duration::from_secs(60);

/// The agenda.
pub(super) struct Agenda {
    jobs: HashMap<Arc<ScheduledJobName>, Job>,
    /// When to look at which, the first first. One that is busy is not in it.
    due: BTreeSet<(SystemTime, Arc<ScheduledJobName>)>,
    /// Those that were due and had no room.
    held: BTreeSet<(SystemTime, Arc<ScheduledJobName>)>,
    /// How many attempts each project has under way.
    under_way: HashMap<String, usize>,
    seen: Arc<ScheduleBook>,
    limits: Limits,
}

/// A job.
pub(super) struct Job {
    pub(super) entry: Arc<ScheduleEntry>,
    pub(super) timing: Timing,
    /// When it is to be looked at; none while it is busy or rests.
    at: Option<SystemTime>,
    is_busy: bool,
}

/// Is it the first look at a book?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// It is: much may be overdue.
    First,
    /// It is not.
    Later,
}

// === impl Agenda ===

impl Agenda {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            jobs: HashMap::new(),
            due: BTreeSet::new(),
            held: BTreeSet::new(),
            under_way: HashMap::new(),
            seen: Arc::default(),
            limits,
        }
    }

    /// Takes in what is new in a book.
    pub(super) fn take_in(&mut self, book: &Arc<ScheduleBook>, now: SystemTime, start: Start) {
        let seen = std::mem::replace(&mut self.seen, book.clone());
        let mut overdue = Vec::new();
        for (name, entry) in book.entries.changes(&seen.entries, |now, before| now == before) {
            let Some(entry) = entry else {
                self.remove(name);
                continue;
            };
            if !self.put(name, entry, now) {
                continue;
            }
            let Some(job) = self.jobs.get(name).filter(|job| !job.is_busy) else { continue };
            match step(&job.timing, job.entry.state, &job.entry.progress, now) {
                Step::Rest => {}
                Step::Wait(until) => self.wait(name, until),
                Step::Attempt(attempt) if start == Start::First => overdue.push((attempt.due, name.clone())),
                Step::Attempt(_) => self.wait(name, now),
            }
        }
        overdue.sort();
        let apart =
            SPREAD_MAX.checked_div(u32::try_from(overdue.len()).unwrap_or(u32::MAX)).unwrap_or(APART).min(APART);
        for (index, (_, name)) in overdue.iter().enumerate() {
            self.wait(name, now + apart.saturating_mul(u32::try_from(index).unwrap_or(u32::MAX)));
        }
    }

    /// The clock was set back far: what was planned by it is planned anew.
    pub(super) fn plan_anew(&mut self, now: SystemTime) {
        let book = std::mem::take(&mut self.seen);
        self.take_in(&book, now, Start::Later);
    }

    /// Puts a job in as it is now; `false` when nobody can tell when it is due, which nobody could write.
    fn put(&mut self, name: &Arc<ScheduledJobName>, entry: &Arc<ScheduleEntry>, now: SystemTime) -> bool {
        let is_busy = self.jobs.get(name).is_some_and(|job| job.is_busy);
        let known =
            self.jobs.get(name).filter(|job| job.entry.schedule == entry.schedule && job.entry.zone == entry.zone);
        let timing = match known.map(|job| job.timing.clone()) {
            Some(timing) => timing,
            None => match Timing::read(&entry.schedule, &entry.zone) {
                Ok(timing) => timing,
                Err(error) => {
                    tracing::error!(%error, job = %name, "schedule could not be read");
                    self.remove(name);
                    return false;
                }
            },
        };
        self.unplan(name);
        let entry = match set_right(&entry.progress, now) {
            None => entry.clone(),
            Some(progress) => {
                tracing::warn!(job = %name, "what is known of a job is of a clock that was far ahead; it counts from now on");
                Arc::new(ScheduleEntry { progress, ..ScheduleEntry::clone(entry) })
            }
        };
        self.jobs.insert(name.clone(), Job { entry, timing, at: None, is_busy });
        true
    }

    /// A job that is gone. One that is busy stays until its attempt is over, so that one that is made again in its place
    /// does not have two.
    fn remove(&mut self, name: &Arc<ScheduledJobName>) {
        self.unplan(name);
        if self.jobs.get(name).is_some_and(|job| !job.is_busy) {
            self.jobs.remove(name);
        }
    }

    fn unplan(&mut self, name: &Arc<ScheduledJobName>) {
        if let Some(at) = self.jobs.get_mut(name).and_then(|job| job.at.take()) {
            let planned = (at, name.clone());
            self.due.remove(&planned);
            self.held.remove(&planned);
        }
    }

    pub(super) fn get(&self, name: &Arc<ScheduledJobName>) -> Option<&Job> {
        self.jobs.get(name)
    }

    /// A job is to be looked at then.
    pub(super) fn wait(&mut self, name: &Arc<ScheduledJobName>, until: SystemTime) {
        self.unplan(name);
        if let Some(job) = self.jobs.get_mut(name).filter(|job| !job.is_busy) {
            job.at = Some(until);
            self.due.insert((until, name.clone()));
        }
    }

    /// The next job to be looked at now, for which there is room.
    pub(super) fn next_due(&mut self, now: SystemTime) -> Option<Arc<ScheduledJobName>> {
        while self.has_room() && self.due.first().is_some_and(|(at, _)| *at <= now) {
            let first = self.due.pop_first()?;
            let project = &first.1.parent.project;
            if self.under_way.get(project).copied().unwrap_or_default() < self.limits.most_of_project {
                if let Some(job) = self.jobs.get_mut(&first.1) {
                    job.at = None;
                }
                return Some(first.1);
            }
            self.held.insert(first);
        }
        None
    }

    /// How long nothing is to be looked at; `None` when only the end of an attempt or a change makes a difference.
    pub(super) fn pause(&self, now: SystemTime) -> Option<Duration> {
        let (at, _) = self.due.first().filter(|_| self.has_room())?;
        Some(at.duration_since(now).unwrap_or_default())
    }

    /// An attempt of a job begins.
    pub(super) fn began(&mut self, name: &Arc<ScheduledJobName>) {
        self.unplan(name);
        if let Some(job) = self.jobs.get_mut(name) {
            job.is_busy = true;
            *self.under_way.entry(name.parent.project.clone()).or_default() += 1;
        }
    }

    /// An attempt is over; the job is looked at again then. So are, at once, those that had no room.
    pub(super) fn finished(&mut self, name: &Arc<ScheduledJobName>, again: SystemTime) {
        self.due.append(&mut self.held);
        let project = &name.parent.project;
        if let Some(count) = self.under_way.get_mut(project) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(project);
            }
        }
        if let Some(job) = self.jobs.get_mut(name) {
            job.is_busy = false;
        }
        if self.seen.entries.contains_key(name) {
            self.wait(name, again);
        } else {
            self.remove(name);
        }
    }

    fn has_room(&self) -> bool {
        self.under_way.values().sum::<usize>() < self.limits.most
    }
}
