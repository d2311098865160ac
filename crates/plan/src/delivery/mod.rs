//! When a scheduled job is to be requested, what comes of an attempt, and which way a request goes.
//!
//! Sources: Cloud Scheduler API v1 (`Job.schedule`), its documentation of failed runs and of retries ("Retry jobs", which is
//! newer than what the messages of the API say of `RetryConfig`).

mod way;

#[cfg(test)]
mod tests;

pub use way::{Ours, Token, Way, way};

use std::time::{Duration, SystemTime};

use jiff::{Timestamp, tz::TimeZone};
use updraft_model::schedule::{Execution, Progress, Retry, State};

use crate::cron::{self, CountsFrom, Schedule, ScheduleError};

/// The shortest pause before a retry: with a backoff of nothing a target that fails would be asked as fast as it can answer.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// So far ahead of now may be what was written down, for a clock that is set a little. What is further ahead was written by a
/// clock that was wrong.
pub const AHEAD_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A schedule in its zone.
#[derive(Debug, Clone)]
pub struct Timing {
    schedule: Schedule,
    zone: TimeZone,
}

/// What is to be done about a job now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Its request is to be made.
    Attempt(Attempt),
    /// Nothing before this time.
    Wait(SystemTime),
    /// Nothing until it is changed.
    Rest,
}

/// One request to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// The time that it is for.
    pub due: SystemTime,
    /// How many attempts for that time there were before.
    pub number: u32,
    /// When the first of them began, if there was one.
    pub first: Option<SystemTime>,
    /// Why it is to be made.
    pub cause: Cause,
}

/// Why a request is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It is due.
    Due,
    /// It failed before.
    Retry,
    /// Somebody asked for it.
    Forced,
}

/// An attempt that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// When it began.
    pub started: SystemTime,
    /// When it was over.
    pub ended: SystemTime,
    /// Did it succeed?
    pub outcome: Outcome,
}

/// Did an attempt succeed?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The target answered with a status from 200 to 299.
    Succeeded,
    /// It answered with another one, or not in time, or not at all.
    Failed,
}

/// What is to be done about a job at `now`.
///
/// What somebody asked for comes first, also where a job rests. A run that failed is tried again before there is another, and
/// times of the schedule that pass until it is over are skipped ([`after`]). Times that passed while an attempt took longer, or
/// while there was no server, are one run.
pub fn step(timing: &Timing, state: State, progress: &Progress, now: SystemTime) -> Step {
    if let Some(due) = progress.forced {
        return Step::Attempt(Attempt { due, number: 0, first: None, cause: Cause::Forced });
    }
    // Of a job that rests, too: whoever let it rest cleared what was there, so that this was asked for since.
    if let Some(Execution { due, first, attempts, retry_at }) = progress.execution {
        if retry_at > now {
            return Step::Wait(retry_at);
        }
        let first = Some(first);
        return Step::Attempt(Attempt { due, number: attempts, first, cause: Cause::Retry });
    }
    if state == State::Paused {
        return Step::Rest;
    }
    match timing.next(progress.last) {
        Some(due) if due <= now => Step::Attempt(Attempt { due, number: 0, first: None, cause: Cause::Due }),
        Some(next) => Step::Wait(next),
        None => Step::Rest,
    }
}

/// How far a job has come when what was written down is of a clock that was far ahead: it counts from now on, or it would be
/// silent until that time is there. `None` when nothing is wrong.
pub fn set_right(progress: &Progress, now: SystemTime) -> Option<Progress> {
    let is_ahead = |time: SystemTime| time.duration_since(now).is_ok_and(|ahead| ahead > AHEAD_MAX);
    let execution = progress.execution.filter(|execution| !is_ahead(execution.first));
    let last = if is_ahead(progress.last) { now } else { progress.last };
    let right = Progress { last, execution, ..*progress };
    (right != *progress).then_some(right)
}

/// How far a job has come by an attempt.
pub fn after(timing: &Timing, retry: &Retry, progress: &Progress, attempt: &Attempt, ended: Ended) -> Progress {
    let (first, attempts) = (attempt.first.unwrap_or(ended.started), attempt.number + 1);
    let so_far = ended.ended.duration_since(first).unwrap_or_default();
    let pause = match ended.outcome {
        Outcome::Succeeded => None,
        Outcome::Failed => pause(retry, attempts, so_far),
    };
    let retry_at = pause.and_then(|pause| ended.ended.checked_add(pause));
    let execution = retry_at.map(|retry_at| Execution { due: attempt.due, first, attempts, retry_at });
    let last = match (timing.schedule.counts_from(), attempt.cause) {
        // The end of the run, retries and all.
        (CountsFrom::End, _) if execution.is_none() => ended.ended,
        // Times until it began are dropped ([`Timing::dropped`]).
        (CountsFrom::Clock, Cause::Due) => ended.started.max(attempt.due),
        // Those that passed while it was tried again are skipped.
        (CountsFrom::Clock, Cause::Retry) if execution.is_none() => ended.ended.max(progress.last),
        _ => progress.last,
    };
    let forced = progress.forced.filter(|_| attempt.cause != Cause::Forced);
    Progress { epoch: progress.epoch, last, execution, forced }
}

/// When a job is requested next, as far as that is known.
pub fn next_time(timing: &Timing, state: State, progress: &Progress) -> Option<SystemTime> {
    let asked = progress.forced.or_else(|| progress.execution.map(|execution| execution.retry_at));
    match state {
        State::Enabled => asked.or_else(|| timing.next(progress.last)),
        State::Paused => asked,
    }
}

/// The pause before the attempt that follows `attempts` failed ones, the first of which began `so_far` ago; `None` when
/// there is none.
///
/// It doubles `doublings` times, then grows by the same amount each time, up to the longest. There are `count` retries, and
/// others as long as there is time in the window: where there are both, both have to be used up. It is a second at least.
pub fn pause(retry: &Retry, attempts: u32, so_far: Duration) -> Option<Duration> {
    let is_left = attempts <= retry.count || (!retry.window.is_zero() && so_far < retry.window);
    if !is_left {
        return None;
    }
    let doubled = (attempts - 1).min(retry.doublings);
    let doubling = retry.min_backoff.saturating_mul(2_u32.saturating_pow(doubled));
    let steps = (attempts - 1 - doubled).saturating_add(1);
    Some(doubling.saturating_mul(steps).min(retry.max_backoff).max(PAUSE_MIN))
}

/// What a status of HTTP is in the words of `google.rpc.Code`. Source: the mapping in `google/rpc/code.proto`.
pub fn code_of(status: u16) -> i32 {
    match status {
        200..=299 => 0,
        400 => 3,
        401 => 16,
        403 => 7,
        404 => 5,
        409 => 10,
        416 => 11,
        429 => 8,
        499 => 1,
        501 => 12,
        503 => 14,
        504 => 4,
        402..=499 => 9,
        500..=599 => 13,
        _ => 2,
    }
}

// === impl Timing ===

impl Timing {
    /// Reads both.
    ///
    /// # Errors
    /// What is wrong with the one or the other.
    pub fn read(schedule: &str, zone: &str) -> Result<Self, ScheduleError> {
        Ok(Self { schedule: Schedule::parse(schedule)?, zone: cron::zone(zone)? })
    }

    /// The first time after `after`.
    pub fn next(&self, after: SystemTime) -> Option<SystemTime> {
        let after = Timestamp::try_from(after).ok()?;
        self.schedule.next(after, &self.zone).map(SystemTime::from)
    }

    /// How many times after the one that an attempt is for have passed as well, and are dropped. It takes a while to count
    /// those of a long downtime.
    pub fn dropped(&self, attempt: &Attempt, now: SystemTime) -> u32 {
        match (attempt.cause, Timestamp::try_from(attempt.due), Timestamp::try_from(now)) {
            (Cause::Due, Ok(due), Ok(now)) => self.schedule.dropped(due, now, &self.zone),
            _ => 0,
        }
    }
}
