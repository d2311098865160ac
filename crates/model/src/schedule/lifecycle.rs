//! The states of a scheduled job, and how far it has come.

use std::{fmt, time::SystemTime};

use crate::error::{Error, ErrorKind};

/// Does it run?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum State {
    /// When it is due.
    #[default]
    Enabled,
    /// Only when somebody asks for it.
    Paused,
}

/// What is asked of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is to rest.
    Pause,
    /// It is to run again.
    Resume,
}

/// How far a job has come. What was handed over is in it only after that was done: a server that is killed forgets no time
/// that was due, and may repeat one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Counts how often it began anew: when it was made, resumed or given another schedule. What comes of an attempt of
    /// before does not count for it.
    pub epoch: u64,
    /// From when on the next time is looked for.
    pub last: SystemTime,
    /// What failed and is to be tried again.
    pub execution: Option<Execution>,
    /// Somebody asked for a run then, which is still to come.
    pub forced: Option<SystemTime>,
}

/// A run that failed so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execution {
    /// For which time it is.
    pub due: SystemTime,
    /// When its first attempt began.
    pub first: SystemTime,
    /// How many attempts there were.
    pub attempts: u32,
    /// When the next one is to be.
    pub retry_at: SystemTime,
}

// === impl State ===

impl State {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "ENABLED",
            Self::Paused => "PAUSED",
        }
    }

    /// The state of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Enabled, Self::Paused].into_iter().find(|state| state.as_str() == word)
    }

    /// The state after `change`, which only the other state can have. `name` is what the message calls the job.
    ///
    /// # Errors
    /// `FailedPrecondition` when it has that state.
    pub fn changed(self, change: Change, name: &impl fmt::Display) -> Result<Self, Error> {
        match (self, change) {
            (Self::Enabled, Change::Pause) => Ok(Self::Paused),
            (Self::Paused, Change::Resume) => Ok(Self::Enabled),
            (state, change) => {
                let (needed, verb) = match change {
                    Change::Pause => (Self::Enabled, "paused"),
                    Change::Resume => (Self::Paused, "resumed"),
                };
                let message = format!("Job {name} must be {} to be {verb}, it is {}.", needed.as_str(), state.as_str());
                Err(Error::new(ErrorKind::FailedPrecondition, message))
            }
        }
    }
}

// === impl Progress ===

impl Progress {
    /// One that begins now.
    pub fn starting(epoch: u64, now: SystemTime) -> Self {
        Self { epoch, last: now, execution: None, forced: None }
    }

    /// The same job, which begins anew. What somebody asked for stays.
    #[must_use]
    pub fn anew(self, now: SystemTime) -> Self {
        Self { epoch: self.epoch + 1, last: now, execution: None, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_runs_is_paused_and_only_what_rests_is_resumed() {
        assert_eq!(State::Enabled.changed(Change::Pause, &"j").expect("runs"), State::Paused);
        assert_eq!(State::Paused.changed(Change::Resume, &"j").expect("rests"), State::Enabled);
        for (state, change, message) in [
            (State::Paused, Change::Pause, "Job j must be ENABLED to be paused, it is PAUSED."),
            (State::Enabled, Change::Resume, "Job j must be PAUSED to be resumed, it is ENABLED."),
        ] {
            let error = state.changed(change, &"j").expect_err("has it");
            assert_eq!((error.kind(), error.message()), (ErrorKind::FailedPrecondition, message));
        }
        for state in [State::Enabled, State::Paused] {
            assert_eq!(State::from_word(state.as_str()), Some(state));
        }
    }
}
