//! Scheduled jobs: the use cases of Cloud Scheduler v1.
//!
//! A job is one envelope: what the client wants is its message, how far it has come its record. Who makes the requests
//! reads a level ([`ScheduleBook`](updraft_model::schedule::ScheduleBook), written by [`book`]) and reports each attempt; it
//! counts once it is committed (`reconcile/schedules.rs`). When a job is due is [`updraft_plan::delivery`]'s to say.

mod book;
mod read;
mod state;
mod write;

pub(crate) use book::Schedules;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use updraft_api::{
    rpc,
    scheduler::Job,
    view::{schedule as view_of, timestamp},
};
use updraft_model::{
    Error, ErrorKind,
    schedule::{AttemptReport, Execution, Progress, ScheduleEntry, ScheduledJob, ScheduledJobName, State},
};
use updraft_plan::delivery::{Timing, next_time};
use updraft_store::{Envelope, Key, Kind};

use crate::{Inner, record};

/// How often a write is tried again because somebody else wrote meanwhile.
pub(crate) const ATTEMPTS: usize = 16;
/// The most jobs of a project and location; the documented quota.
pub(crate) const JOBS_MAX: usize = 1000;

/// What only we know of a job. Times are in nanoseconds since 1970.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ScheduledJobRecord {
    /// The word of its state.
    state: String,
    /// When a client changed it last.
    user_updated: u64,
    /// Counts how often it began anew.
    epoch: u64,
    /// From when on the next time is looked for.
    last: u64,
    /// What failed and is to be tried again.
    execution: Option<ExecutionRecord>,
    /// When somebody asked for a run that is still to come.
    forced: Option<u64>,
    /// When the last attempt began.
    last_attempt: Option<u64>,
    /// What came of it, in the words of `google.rpc.Code`.
    code: i32,
    /// Why it failed.
    message: String,
}

/// A run that failed so far.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
struct ExecutionRecord {
    due: u64,
    first: u64,
    attempts: u32,
    retry_at: u64,
}

/// A job as it is stored, read.
pub(crate) struct Found {
    pub(crate) name: ScheduledJobName,
    pub(crate) envelope: Envelope,
    pub(crate) record: ScheduledJobRecord,
    pub(crate) message: Job,
}

pub(crate) fn job_key(name: &ScheduledJobName) -> Key {
    Key::new(Kind::ScheduledJob, name.parent.clone(), &name.job)
}

pub(crate) fn job_name(key: &Key) -> ScheduledJobName {
    ScheduledJobName::new(key.parent.clone(), &key.name)
}

fn missing() -> Error {
    Error::new(ErrorKind::NotFound, "Job not found.")
}

fn busy(name: &ScheduledJobName) -> Error {
    Error::new(ErrorKind::Aborted, format!("Job {name} is being changed; try again."))
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn at(nanos: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanos)
}

// === impl ScheduledJobRecord ===

impl ScheduledJobRecord {
    /// Of a job that is made now.
    fn new(now: SystemTime) -> Self {
        let record = Self { user_updated: nanos(now), ..Self::default() };
        record.with(State::Enabled, Progress::starting(1, now))
    }

    pub(crate) fn state(&self) -> State {
        State::from_word(&self.state).unwrap_or_default()
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            epoch: self.epoch,
            last: at(self.last),
            execution: self.execution.map(|execution| Execution {
                due: at(execution.due),
                first: at(execution.first),
                attempts: execution.attempts,
                retry_at: at(execution.retry_at),
            }),
            forced: self.forced.map(at),
        }
    }

    pub(crate) fn with(self, state: State, progress: Progress) -> Self {
        Self {
            state: state.as_str().to_owned(),
            epoch: progress.epoch,
            last: nanos(progress.last),
            execution: progress.execution.map(|execution| ExecutionRecord {
                due: nanos(execution.due),
                first: nanos(execution.first),
                attempts: execution.attempts,
                retry_at: nanos(execution.retry_at),
            }),
            forced: progress.forced.map(nanos),
            ..self
        }
    }

    /// With what came of an attempt. How far the job has come by it counts unless it began anew meanwhile; a run that was
    /// asked for meanwhile is still to come.
    pub(crate) fn after(self, report: &AttemptReport) -> Self {
        let (state, now) = (self.state(), self.progress());
        let forced = now.forced.filter(|_| now.forced != report.forced);
        let progress = match now.epoch == report.progress.epoch {
            true => Progress { forced, ..report.progress },
            false => Progress { forced, ..now },
        };
        Self {
            last_attempt: Some(nanos(report.started)),
            code: report.end.code,
            message: report.end.message.clone(),
            ..self.with(state, progress)
        }
    }
}

// === impl Found ===

impl Found {
    pub(crate) fn of(envelope: Envelope) -> Result<Self, Error> {
        let record = record::read(&envelope)?;
        let message = record::message(&envelope, &envelope.spec)?;
        Ok(Self { name: job_name(&envelope.key), envelope, record, message })
    }

    /// What the record says, written into the envelope.
    pub(crate) fn with(self, record: &ScheduledJobRecord) -> Envelope {
        Envelope { internal: record::write(record), ..self.envelope }
    }

    /// As clients see it.
    fn shown(&self) -> Job {
        let (record, state) = (&self.record, self.record.state());
        let status = rpc::Status { code: record.code, message: record.message.clone(), ..rpc::Status::default() };
        let timing = Timing::read(&self.message.schedule, &self.message.time_zone).ok();
        let next = timing.and_then(|timing| next_time(&timing, state, &record.progress()));
        Job {
            name: self.name.to_string(),
            user_update_time: Some(timestamp(at(record.user_updated))),
            schedule_time: next.map(timestamp),
            last_attempt_time: record.last_attempt.map(|nanos| timestamp(at(nanos))),
            status: record.last_attempt.map(|_| status),
            ..view_of::shown(self.message.clone(), state)
        }
    }

    /// As whoever makes its requests sees it.
    fn entry(&self) -> Result<ScheduleEntry, Error> {
        let ScheduledJob { schedule, zone, target, retry, deadline, .. } = view_of::to_model(&self.message)?;
        let (state, progress) = (self.record.state(), self.record.progress());
        let uid = self.envelope.uid.clone();
        Ok(ScheduleEntry { uid, schedule, zone, target: Arc::new(target), retry, deadline, state, progress })
    }
}

// === impl Inner ===

impl Inner {
    /// A job's name as a request gives it, with the project's id.
    fn scheduled_job_named(&self, field: &str, name: &str) -> Result<ScheduledJobName, Error> {
        let name = ScheduledJobName::read(field, name)?;
        Ok(ScheduledJobName::new(self.places.parent(field, &name.parent)?, name.job))
    }
}
