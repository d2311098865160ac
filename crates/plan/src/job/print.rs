//! The state of an execution as a line of text.

use std::fmt;

use super::{Attempt, Progress};

/// `3 of 9 tasks over (2 succeeded, 1 failed), 2 running of at most 2, 4 pending (1 to be tried again), 1 retried`.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        write!(f, "{} of {} tasks over", counts.over(), self.terms.task_count)?;
        let over = [
            (counts.succeeded, "succeeded"),
            (counts.failed, "failed"),
            (counts.cancelled, "cancelled"),
            (counts.abandoned, "abandoned"),
        ];
        let over: Vec<String> =
            over.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
        if !over.is_empty() {
            write!(f, " ({})", over.join(", "))?;
        }
        if !self.is_over() {
            write!(f, ", {} running of at most {}", counts.running, self.terms.limit())?;
            write!(f, ", {} pending", counts.pending(self.terms.task_count))?;
            if !self.again.is_empty() {
                write!(f, " ({} to be tried again)", self.again.len())?;
            }
        }
        if counts.retried > 0 {
            write!(f, ", {} retried", counts.retried)?;
        }
        if self.is_cancelled { f.write_str(", cancelled") } else { Ok(()) }
    }
}

/// `#3.0`: the first attempt of the task with index 3.
impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.index, self.attempt)
    }
}
