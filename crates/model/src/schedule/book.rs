//! What the control plane and who delivers tell each other.

use std::{sync::Arc, time::Duration, time::SystemTime};

use super::{HttpTarget, Progress, Retry, ScheduledJobName, State};
use crate::level::Level;

/// Which jobs there are, and how far each has come. A level, control → events.
#[derive(Debug, Clone, Default)]
pub struct ScheduleBook {
    /// By their names.
    pub entries: Level<Arc<ScheduledJobName>, Arc<ScheduleEntry>>,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleEntry {
    /// Which job of that name: one that is made again is another one.
    pub uid: String,
    /// When.
    pub schedule: String,
    /// In which zone.
    pub zone: String,
    /// What is requested.
    pub target: Arc<HttpTarget>,
    /// What is done about a failure.
    pub retry: Retry,
    /// How long one attempt may take.
    pub deadline: Duration,
    /// Does it run when it is due?
    pub state: State,
    /// How far it has come.
    pub progress: Progress,
}

/// What came of an attempt. events → control; it counts once it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptReport {
    /// The job.
    pub name: ScheduledJobName,
    /// Which one of that name.
    pub uid: String,
    /// When the attempt began.
    pub started: SystemTime,
    /// What came of it.
    pub end: AttemptEnd,
    /// How far the job has come by it. It counts only for the epoch that it names.
    pub progress: Progress,
    /// It was for a run that somebody asked for then.
    pub forced: Option<SystemTime>,
}

/// How an attempt ended, in the words of `google.rpc.Code`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptEnd {
    /// 0 is success.
    pub code: i32,
    /// Why not; empty for success.
    pub message: String,
    /// What the target answered, if it did.
    pub status: Option<u16>,
}

/// An entry of the log of scheduled jobs. events → telemetry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptEntry {
    /// When it is written.
    pub time: SystemTime,
    /// The job.
    pub name: ScheduledJobName,
    /// What is requested.
    pub url: String,
    /// The time that the attempt is for.
    pub due: SystemTime,
    /// What happened.
    pub event: AttemptEvent,
}

/// What happened to an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptEvent {
    /// It begins. So many times that have passed as well are dropped for it: after a downtime, or a long run.
    Started {
        /// How many.
        dropped: u32,
    },
    /// It is over.
    Finished(AttemptEnd),
}
