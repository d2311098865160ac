//! How tasks and executions fare, and the conditions that say so.
//!
//! Sources: Cloud Run Admin API v2, `Execution`, `Task` and `TaskAttemptResult`; the sentences are Google's where it has
//! some, since people search for them.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use super::ExecutionTemplate;
use crate::{
    condition::{Condition, Reason, State, kind},
    fault::StartFault,
    instance::Exit,
    revision::lifecycle::{Failure, unsupported_parts},
};

/// How one attempt of a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptEnd {
    /// Its main container exited with 0.
    Succeeded,
    /// It exited with this code, which is not 0.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
    /// The kernel ended it for its memory.
    OutOfMemory {
        /// What it may have, in bytes.
        limit: u64,
        /// What it had, in bytes.
        used: u64,
    },
    /// It never ran.
    NotStarted {
        /// For programs.
        reason: Reason,
        /// What was found out, for people.
        message: String,
    },
    /// It was told to end because it took longer than it may.
    TimedOut,
    /// It was told to end because its execution was cancelled.
    Cancelled,
    /// Nobody knows how: it was gone when the platform came back.
    Lost,
}

/// How far a task has come. Source: the states by which Cloud Run lists tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TaskPhase {
    /// No attempt runs; one will.
    #[default]
    Pending,
    /// An attempt runs.
    Running,
    /// An attempt succeeded.
    Succeeded,
    /// All its attempts failed, and it has none left.
    Failed,
    /// It had begun when its execution was cancelled.
    Cancelled,
    /// It had not begun when its execution was cancelled or found unable to begin, and never will.
    Abandoned,
}

/// How many tasks of an execution are in which phase. Those in none of these are pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Run now.
    pub running: u32,
    /// Succeeded.
    pub succeeded: u32,
    /// Failed for good.
    pub failed: u32,
    /// Had begun and were cancelled.
    pub cancelled: u32,
    /// Never begun and never will. The API counts them nowhere.
    pub abandoned: u32,
    /// Of all, those that were tried more than once.
    pub retried: u32,
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All its tasks succeeded.
    Succeeded,
    /// All its tasks were tried, and some failed for good.
    Failed(FailedTasks),
    /// It was cancelled before it was over.
    Cancelled,
}

/// The tasks for which an execution failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedTasks {
    /// Their indexes from the lowest on; of very many only the first [`FAILED_SHOWN`].
    pub indexes: Vec<u32>,
    /// How many there are.
    pub count: u32,
    /// How the last attempt of the first of them ended.
    pub end: AttemptEnd,
}

/// How far an execution has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecutionPhase {
    /// Its image is being resolved and prepared.
    Preparing,
    /// Its first task waits for room.
    Waiting {
        /// For what; may be empty.
        message: String,
    },
    /// It has begun.
    Running,
    /// It is to end; tasks run still.
    Cancelling,
    /// It is over.
    Ended(Outcome),
    /// It could not begin, and never will.
    Unable(Failure),
}

/// When things happened to an execution or a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// It was written down.
    pub created: SystemTime,
    /// Its first attempt began.
    pub started: Option<SystemTime>,
    /// It was over.
    pub completed: Option<SystemTime>,
}

/// The most failed tasks that are named.
pub const FAILED_SHOWN: usize = 10;

/// Google's sentence for a container that failed.
const EXITED: &str = "The container exited with an error.";
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// What an execution asks for and this version cannot give: field paths within the task's template.
pub fn unsupported(template: &ExecutionTemplate) -> Vec<String> {
    let task = &template.template;
    let mut fields = task.unsupported.clone();
    fields.extend(unsupported_parts(&task.containers, &task.volumes));
    for (index, container) in task.containers.iter().enumerate() {
        // What runs to its end is neither restarted nor kept from traffic.
        let probes = [("liveness_probe", &container.liveness_probe), ("readiness_probe", &container.readiness_probe)];
        let set = probes.into_iter().filter(|(_, probe)| probe.is_some());
        fields.extend(set.map(|(field, _)| format!("containers[{index}].{field}")));
    }
    fields
}

/// The conditions of the execution `id`, in the order in which they come true: `ResourcesAvailable`, `Started`,
/// `Completed`. Each is since what it is about, or since `now`.
pub fn execution_conditions(id: &str, phase: &ExecutionPhase, times: &Times, now: SystemTime) -> Vec<Condition> {
    let pending = |kind| Condition::new(kind, State::Pending, now);
    let [resources, started] = match (phase, times.started) {
        (ExecutionPhase::Unable(failure), _) => [
            Condition::failed(kind::RESOURCES_AVAILABLE, failure.reason, &failure.message, times.ended(now)),
            pending(kind::STARTED),
        ],
        (_, Some(at)) => [
            Condition::new(kind::RESOURCES_AVAILABLE, State::Succeeded, at)
                .with_message("Provisioned imported containers."),
            Condition::new(kind::STARTED, State::Succeeded, at)
                .with_message(format!("Started deployed execution in {}.", times.to_start(at))),
        ],
        // What was never tried stays open.
        (ExecutionPhase::Ended(_) | ExecutionPhase::Cancelling, None) => {
            [pending(kind::RESOURCES_AVAILABLE), pending(kind::STARTED)]
        }
        (ExecutionPhase::Waiting { message }, None) => [
            Condition::new(kind::RESOURCES_AVAILABLE, State::Reconciling, now).with_message(message),
            pending(kind::STARTED),
        ],
        (ExecutionPhase::Preparing | ExecutionPhase::Running, None) => {
            [Condition::new(kind::RESOURCES_AVAILABLE, State::Reconciling, now), pending(kind::STARTED)]
        }
    };
    vec![resources, started, completed(id, phase, times, now)]
}

fn completed(id: &str, phase: &ExecutionPhase, times: &Times, now: SystemTime) -> Condition {
    let end = times.ended(now);
    match phase {
        ExecutionPhase::Preparing | ExecutionPhase::Waiting { .. } => {
            Condition::new(kind::COMPLETED, State::Pending, now)
        }
        ExecutionPhase::Running => Condition::new(kind::COMPLETED, State::Reconciling, now),
        ExecutionPhase::Cancelling => Condition::new(kind::COMPLETED, State::Reconciling, now)
            .with_reason(Reason::Cancelling)
            .with_message("Execution is being cancelled."),
        ExecutionPhase::Ended(Outcome::Succeeded) => Condition::new(kind::COMPLETED, State::Succeeded, end)
            .with_message(format!("Execution completed successfully in {}.", times.to_end(end))),
        ExecutionPhase::Ended(Outcome::Failed(tasks)) => {
            Condition::failed(kind::COMPLETED, tasks.end.reason().unwrap_or(Reason::Internal), tasks.message(id), end)
        }
        ExecutionPhase::Ended(Outcome::Cancelled) => {
            Condition::failed(kind::COMPLETED, Reason::Cancelled, "Execution was cancelled.", end)
        }
        ExecutionPhase::Unable(failure) => Condition::failed(kind::COMPLETED, failure.reason, &failure.message, end),
    }
}

/// The conditions of a task, in the order in which they come true: `Started`, `Completed`. `last` is how the last of its
/// attempts ended, if one has.
pub fn task_conditions(phase: TaskPhase, last: Option<&AttemptEnd>, times: &Times, now: SystemTime) -> Vec<Condition> {
    let started = times.started.map(|at| {
        let message = format!("Started deployed task in {}.", times.to_start(at));
        Condition::new(kind::STARTED, State::Succeeded, at).with_message(message)
    });
    let end = times.ended(now);
    let completed = match (phase, last) {
        (TaskPhase::Pending, None) => Condition::new(kind::COMPLETED, State::Pending, now),
        (TaskPhase::Pending, Some(last)) => Condition::new(kind::COMPLETED, State::Reconciling, now)
            .with_reason(Reason::PostponedRetry)
            .with_message(format!("System will retry after a failed attempt: {}", last.message())),
        (TaskPhase::Running, _) => Condition::new(kind::COMPLETED, State::Reconciling, now),
        (TaskPhase::Succeeded, _) => Condition::new(kind::COMPLETED, State::Succeeded, end)
            .with_message(format!("Task completed successfully in {}.", times.to_end(end))),
        (TaskPhase::Failed, last) => {
            let last = last.unwrap_or(&AttemptEnd::Lost);
            Condition::failed(kind::COMPLETED, last.reason().unwrap_or(Reason::Internal), last.message(), end)
        }
        (TaskPhase::Cancelled, _) => {
            Condition::failed(kind::COMPLETED, Reason::Cancelled, AttemptEnd::Cancelled.message(), end)
        }
        (TaskPhase::Abandoned, _) => {
            let message = "The task had not started when its execution ended.";
            Condition::failed(kind::COMPLETED, Reason::Cancelled, message, end)
        }
    };
    vec![started.unwrap_or_else(|| Condition::new(kind::STARTED, State::Pending, now)), completed]
}

// === impl AttemptEnd ===

impl AttemptEnd {
    /// Did the task do its work?
    pub fn is_success(&self) -> bool {
        *self == Self::Succeeded
    }

    /// `TaskAttemptResult.exit_code`; at most one of this and [`term_signal`](Self::term_signal) is there.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Succeeded => Some(0),
            Self::Exited(code) => Some(*code),
            _ => None,
        }
    }

    /// `TaskAttemptResult.term_signal`: what ended the container. What is told to end is sent SIGTERM first, whatever it
    /// then did.
    pub fn term_signal(&self) -> Option<i32> {
        match self {
            Self::Signalled(signal) => Some(*signal),
            Self::OutOfMemory { .. } => Some(SIGKILL),
            Self::TimedOut | Self::Cancelled => Some(SIGTERM),
            Self::Succeeded | Self::Exited(_) | Self::NotStarted { .. } | Self::Lost => None,
        }
    }

    /// `TaskAttemptResult.status.code`, a number of `google.rpc.Code`. 0 on success; Google does not document which it
    /// uses for what, so these are by their own meaning.
    pub fn status_code(&self) -> i32 {
        match self {
            Self::Succeeded => 0,
            Self::Cancelled => 1,
            // What an exit means only the program knows.
            Self::Exited(_) | Self::Signalled(_) => 2,
            Self::TimedOut => 4,
            Self::OutOfMemory { .. } => 8,
            Self::NotStarted { .. } => 9,
            Self::Lost => 14,
        }
    }

    /// `TaskAttemptResult.status.message`; empty on success.
    pub fn message(&self) -> String {
        match self {
            Self::Succeeded => String::new(),
            Self::Exited(code) => format!("{EXITED} Its exit code was {code}."),
            Self::Signalled(signal) => format!("{EXITED} Container terminated on signal {signal}."),
            Self::OutOfMemory { limit, used } => {
                // The kernel stops it at the limit: what it had may be a little less.
                let [limit, used] = [*limit, *used.max(limit)].map(|bytes| bytes >> 20);
                format!(
                    "{EXITED} Memory limit of {limit} MiB exceeded with {used} MiB used. Consider increasing the memory limit, see https://cloud.google.com/run/docs/configuring/memory-limits"
                )
            }
            Self::NotStarted { message, .. } => message.clone(),
            Self::TimedOut => "The configured timeout was reached.".to_owned(),
            Self::Cancelled => "The task was cancelled.".to_owned(),
            Self::Lost => {
                "The attempt was lost: it ran when the platform stopped, and did not when it came back.".to_owned()
            }
        }
    }

    /// For programs; never on success.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Succeeded => None,
            Self::Exited(_) | Self::Signalled(_) | Self::OutOfMemory { .. } => Some(Reason::NonZeroExitCode),
            Self::NotStarted { reason, .. } => Some(*reason),
            Self::TimedOut => Some(Reason::ProgressDeadlineExceeded),
            Self::Cancelled => Some(Reason::Cancelled),
            Self::Lost => Some(Reason::Internal),
        }
    }
}

/// What the engine says of an instance, said of an attempt. A container that was refused a process or thread ended as it
/// did; whoever knows more than the cause of one that never ran makes [`AttemptEnd::NotStarted`] of it.
impl From<&Exit> for AttemptEnd {
    fn from(exit: &Exit) -> Self {
        match exit {
            Exit::Code(0) => Self::Succeeded,
            // As a shell says it: 128 and the signal.
            Exit::OutOfProcesses { status, .. } if *status > 128 => Self::Signalled(status - 128),
            Exit::Code(code) | Exit::OutOfProcesses { status: code, .. } => Self::Exited(*code),
            Exit::Signal(signal) => Self::Signalled(*signal),
            Exit::OutOfMemory { limit, used } => Self::OutOfMemory { limit: *limit, used: *used },
            Exit::NotStarted { cause } => {
                // The platform's fault is not the container's.
                let is_ours = matches!(cause, StartFault::Sandbox(_));
                let reason = if is_ours { Reason::Internal } else { Reason::NonZeroExitCode };
                Self::NotStarted { reason, message: format!("The container failed to start: {cause}") }
            }
            Exit::Lost => Self::Lost,
        }
    }
}

/// For logs and tests: `exited 1`.
impl fmt::Display for AttemptEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded => f.write_str("succeeded"),
            Self::Exited(code) => write!(f, "exited {code}"),
            Self::Signalled(signal) => write!(f, "signal {signal}"),
            Self::OutOfMemory { limit, used } => write!(f, "out of memory ({used} of {limit} bytes)"),
            Self::NotStarted { reason, .. } => write!(f, "not started ({})", reason.as_str()),
            Self::TimedOut => f.write_str("timed out"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Lost => f.write_str("lost"),
        }
    }
}

// === impl TaskPhase ===

impl TaskPhase {
    /// Every phase.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled, Self::Abandoned];

    /// The word in the store, and in v1's label `run.googleapis.com/runningState`. Never change one.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::Abandoned => "Abandoned",
        }
    }

    /// The phase of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == word)
    }

    /// Will nothing happen to the task any more?
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

// === impl Counts ===

impl Counts {
    /// Counts a task of this phase, of which so many attempts have begun.
    pub fn add(&mut self, phase: TaskPhase, attempts: u32) {
        self.retried += u32::from(attempts > 1);
        if let Some(count) = self.of(phase) {
            *count += 1;
        }
    }

    /// How many tasks are in this phase; those that are pending are not counted.
    pub fn of(&mut self, phase: TaskPhase) -> Option<&mut u32> {
        match phase {
            TaskPhase::Pending => None,
            TaskPhase::Running => Some(&mut self.running),
            TaskPhase::Succeeded => Some(&mut self.succeeded),
            TaskPhase::Failed => Some(&mut self.failed),
            TaskPhase::Cancelled => Some(&mut self.cancelled),
            TaskPhase::Abandoned => Some(&mut self.abandoned),
        }
    }

    /// Those that are over.
    pub fn over(&self) -> u32 {
        self.succeeded + self.failed + self.cancelled + self.abandoned
    }

    /// Of `task_count` tasks, those that are pending.
    pub fn pending(&self, task_count: u32) -> u32 {
        task_count.saturating_sub(self.running + self.over())
    }
}

// === impl FailedTasks ===

impl FailedTasks {
    /// Google's sentence about the first, and which others there are, by index.
    fn message(&self, execution: &str) -> String {
        let first = self.indexes.first().copied().unwrap_or_default();
        let mut message = format!("Task {execution}-task{first} failed with message: {}", self.end.message());
        if self.count > 1 {
            let named: Vec<String> = self.indexes.iter().take(FAILED_SHOWN).map(ToString::to_string).collect();
            let more = self.count.saturating_sub(u32::try_from(named.len()).unwrap_or(u32::MAX));
            message.push_str(&format!(" {} tasks failed: {}", self.count, named.join(", ")));
            message.push_str(&if more > 0 { format!(" and {more} more.") } else { ".".to_owned() });
        }
        message
    }
}

// === impl ExecutionPhase ===

impl ExecutionPhase {
    /// Is it one of the last?
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Ended(_) | Self::Unable(_))
    }
}

// === impl Times ===

impl Times {
    /// When it was over, or `now`.
    fn ended(&self, now: SystemTime) -> SystemTime {
        self.completed.unwrap_or(now)
    }

    fn to_start(self, started: SystemTime) -> Took {
        Took(started.duration_since(self.created).unwrap_or_default())
    }

    /// From the start to `end`.
    fn to_end(self, end: SystemTime) -> Took {
        Took(end.duration_since(self.started.unwrap_or(self.created)).unwrap_or_default())
    }
}

/// A duration as Google's sentences have it: `1h2m3.45s`, `3.4s`.
#[derive(Debug, Clone, Copy)]
struct Took(Duration);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.as_secs();
        let (hours, minutes) = (whole / 3600, whole / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if whole >= 60 {
            write!(f, "{minutes}m")?;
        }
        let hundredths = self.0.subsec_millis() / 10;
        let fraction = format!("{}.{hundredths:02}", whole % 60);
        write!(f, "{}s", fraction.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests;
