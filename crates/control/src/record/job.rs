//! Of jobs, executions and tasks.

use std::{collections::BTreeMap, time::SystemTime};

use serde::{Deserialize, Serialize};
use updraft_model::{
    Reason,
    job::{AttemptEnd, TaskPhase},
    revision::lifecycle::Failure,
};
use updraft_plan::job::{Stop, StopReason, Task};

use super::PolicyRecord;

/// Of a job.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct JobRecord {
    /// E-mail of who created it.
    pub(crate) creator: String,
    /// E-mail of who changed its intent last.
    pub(crate) last_modifier: String,
    /// How many executions it has had.
    pub(crate) executions: u64,
    /// The id of the newest of them, which may be gone; empty before the first.
    pub(crate) latest: String,
    /// The id of the newest that a token asked for, which may be gone.
    pub(crate) token: String,
    /// The operation that the last write began.
    pub(crate) operation: String,
    /// Its policy.
    pub(crate) policy: PolicyRecord,
    /// It is being deleted, by this operation.
    pub(crate) deleting: Option<String>,
}

/// Of an execution.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ExecutionRecord {
    /// E-mail of who ran the job.
    pub(crate) creator: String,
    /// The images of its containers, pinned, by their names; empty before they are.
    pub(crate) images: BTreeMap<String, String>,
    /// As of a revision.
    pub(crate) secret_versions: Option<BTreeMap<String, u64>>,
    /// The operations that end when it is over.
    pub(crate) pending: Vec<String>,
    /// Those that end when it was cancelled.
    pub(crate) cancelling: Vec<String>,
    /// It is to end: when somebody said so.
    pub(crate) cancelled: Option<SystemTime>,
    /// The indexes of its tasks, where it runs some tasks of another execution again; empty if they are `0..task_count`.
    pub(crate) only: Vec<u32>,
    /// How many tasks each is told that there are, in that case.
    pub(crate) of: u32,
    /// Operations about its job that end when it has started.
    pub(crate) starting: Vec<String>,
    /// It is over.
    pub(crate) is_over: bool,
    /// It could not begin: why, for programs.
    pub(crate) reason: String,
    /// The same for people.
    pub(crate) message: String,
    /// It is being deleted, by this operation.
    pub(crate) deleting: Option<String>,
}

/// Of a task.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TaskRecord {
    /// Its index.
    pub(crate) index: u32,
    /// The word of its phase.
    pub(crate) phase: String,
    /// How many attempts were begun.
    pub(crate) attempts: u32,
    /// How the last that ended did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<EndRecord>,
    /// Since when the one that runs does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<SystemTime>,
    /// When and why that was told to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stop: Option<(String, SystemTime)>,
    /// When the next may begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_before: Option<SystemTime>,
    /// When its first attempt began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) started: Option<SystemTime>,
    /// When it was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) completed: Option<SystemTime>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct EndRecord {
    /// How, in a word.
    pub(crate) how: String,
    /// An exit code, a signal, or bytes of memory.
    pub(crate) number: i64,
    /// Another number: bytes of memory.
    pub(crate) other: i64,
    /// For programs, of one that was not started.
    pub(crate) reason: String,
    /// For people, of that.
    pub(crate) message: String,
}

const TIMED_OUT: &str = "timed-out";
const CANCELLED: &str = "cancelled";

// === impl ExecutionRecord ===

impl ExecutionRecord {
    /// Why it could not begin, if it could not.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let reason = (!self.reason.is_empty()).then(|| Reason::from_word(&self.reason).unwrap_or(Reason::Internal))?;
        Some(Failure::new(reason, &self.message))
    }

    /// The index of the task at this place.
    pub(crate) fn index_at(&self, place: u32) -> u32 {
        usize::try_from(place).ok().and_then(|place| self.only.get(place)).copied().unwrap_or(place)
    }

    /// The place of the task with this index, if it is one of its tasks.
    pub(crate) fn place_of(&self, index: u32, count: u32) -> Option<u32> {
        if self.only.is_empty() {
            return Some(index).filter(|index| *index < count);
        }
        self.only.binary_search(&index).ok().and_then(|place| u32::try_from(place).ok())
    }
}

// === impl TaskRecord ===

impl TaskRecord {
    /// What is written down of a task.
    pub(crate) fn of(index: u32, task: &Task) -> Self {
        let stop = task.stop.map(|stop| {
            let why = match stop.why {
                StopReason::TimedOut => TIMED_OUT,
                StopReason::Cancelled => CANCELLED,
            };
            (why.to_owned(), stop.at)
        });
        Self {
            index,
            phase: task.phase.as_str().to_owned(),
            attempts: task.attempts,
            last: task.last.as_ref().map(EndRecord::of),
            since: task.since,
            stop,
            not_before: task.not_before,
            started: None,
            completed: None,
        }
    }

    /// How far it has come.
    pub(crate) fn task(&self) -> Task {
        let stop = self.stop.as_ref().map(|(why, at)| {
            let why = if why == TIMED_OUT { StopReason::TimedOut } else { StopReason::Cancelled };
            Stop { why, at: *at }
        });
        Task {
            phase: TaskPhase::from_word(&self.phase).unwrap_or_default(),
            attempts: self.attempts,
            last: self.last.as_ref().map(EndRecord::end),
            since: self.since,
            stop,
            not_before: self.not_before,
        }
    }
}

// === impl EndRecord ===

impl EndRecord {
    fn of(end: &AttemptEnd) -> Self {
        let plain = |how: &str, number: i64| Self { how: how.to_owned(), number, ..Self::default() };
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        match end {
            AttemptEnd::Succeeded => plain("succeeded", 0),
            AttemptEnd::Exited(code) => plain("exited", (*code).into()),
            AttemptEnd::Signalled(signal) => plain("signalled", (*signal).into()),
            AttemptEnd::OutOfMemory { limit, used } => {
                Self { other: bytes(*used), ..plain("out-of-memory", bytes(*limit)) }
            }
            AttemptEnd::NotStarted { reason, message } => {
                Self { reason: reason.as_str().to_owned(), message: message.clone(), ..plain("not-started", 0) }
            }
            AttemptEnd::TimedOut => plain(TIMED_OUT, 0),
            AttemptEnd::Cancelled => plain(CANCELLED, 0),
            AttemptEnd::Lost => plain("lost", 0),
        }
    }

    fn end(&self) -> AttemptEnd {
        let number = i32::try_from(self.number).unwrap_or(i32::MAX);
        let bytes = |bytes: i64| u64::try_from(bytes).unwrap_or_default();
        match self.how.as_str() {
            "succeeded" => AttemptEnd::Succeeded,
            "exited" => AttemptEnd::Exited(number),
            "signalled" => AttemptEnd::Signalled(number),
            "out-of-memory" => AttemptEnd::OutOfMemory { limit: bytes(self.number), used: bytes(self.other) },
            "not-started" => AttemptEnd::NotStarted {
                reason: Reason::from_word(&self.reason).unwrap_or(Reason::Internal),
                message: self.message.clone(),
            },
            TIMED_OUT => AttemptEnd::TimedOut,
            CANCELLED => AttemptEnd::Cancelled,
            _ => AttemptEnd::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_read_as_it_was_written() {
        let ends = [
            AttemptEnd::Succeeded,
            AttemptEnd::Exited(7),
            AttemptEnd::Signalled(11),
            AttemptEnd::OutOfMemory { limit: 1 << 40, used: 3 },
            AttemptEnd::NotStarted { reason: Reason::ContainerMissing, message: "no image".to_owned() },
            AttemptEnd::TimedOut,
            AttemptEnd::Cancelled,
            AttemptEnd::Lost,
        ];
        let at = SystemTime::UNIX_EPOCH;
        for (end, phase) in ends.into_iter().zip(TaskPhase::ALL.into_iter().cycle()) {
            for why in [StopReason::TimedOut, StopReason::Cancelled] {
                let stop = Some(Stop { why, at });
                let task =
                    Task { phase, attempts: 3, last: Some(end.clone()), since: Some(at), stop, not_before: Some(at) };
                let record = TaskRecord::of(17, &task);
                let bytes = crate::record::write(&record);
                let read: TaskRecord = serde_json::from_slice(&bytes).expect("it was written here");
                assert_eq!((read.index, read.task()), (17, task));
            }
        }
    }

    #[test]
    fn places_and_indexes_are_each_others_inverse() {
        let some = ExecutionRecord { only: vec![3, 17, 40], ..ExecutionRecord::default() };
        assert_eq!([0, 1, 2].map(|place| some.index_at(place)), [3, 17, 40]);
        assert_eq!([3, 17, 40, 4].map(|index| some.place_of(index, 3)), [Some(0), Some(1), Some(2), None]);
        let all = ExecutionRecord::default();
        assert_eq!((all.index_at(5), all.place_of(5, 6), all.place_of(6, 6)), (5, Some(5), None));
    }
}
