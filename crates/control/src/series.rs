//! What there is and was of each job, for Prometheus: executions and attempts, those under way and those that are over.
//!
//! The names are those of Cloud Run's metrics under `updraft_`, the labels those of its monitored resource `cloud_run_job`.
//! What is over is counted once it is written down, and from the start of the server on.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError, Weak},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};
use updraft_model::job::{AttemptEnd, ExecutionPhase, JobName, Outcome};

use crate::Inner;

/// What is over, by job. A job that is deleted is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Tallies(Mutex<HashMap<JobName, Tally>>);

#[derive(Debug, Clone, Default)]
struct Tally {
    executions: BTreeMap<Verdict, u64>,
    /// By which attempt at their task they were, from 0.
    attempts: BTreeMap<(u32, Verdict), u64>,
}

/// How something ended. Cloud Run knows the first two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Succeeded,
    Failed,
    Cancelled,
}

/// Reads them.
pub(crate) struct Series(pub(crate) Weak<Inner>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Whose {
    project_id: String,
    location: String,
    job_name: String,
}

#[derive(EncodeLabelSet)]
struct Ended {
    #[prometheus(flatten)]
    whose: Whose,
    result: &'static str,
}

#[derive(EncodeLabelSet)]
struct EndedAttempt {
    #[prometheus(flatten)]
    whose: Whose,
    attempt: u32,
    result: &'static str,
}

// === impl Tallies ===

impl Tallies {
    /// These attempts at tasks of a job are over.
    pub(crate) fn attempts<'a>(&self, job: &JobName, ends: impl IntoIterator<Item = (u32, &'a AttemptEnd)>) {
        let mut ends = ends.into_iter().peekable();
        if ends.peek().is_none() {
            return;
        }
        let mut all = self.lock();
        let tally = of(&mut all, job);
        for (attempt, end) in ends {
            *tally.attempts.entry((attempt, Verdict::of_attempt(end))).or_default() += 1;
        }
    }

    /// An execution of a job is over.
    pub(crate) fn execution(&self, job: &JobName, phase: &ExecutionPhase) {
        *of(&mut self.lock(), job).executions.entry(Verdict::of_execution(phase)).or_default() += 1;
    }

    /// The job is deleted.
    pub(crate) fn forget(&self, job: &JobName) {
        self.lock().remove(job);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobName, Tally>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of<'a>(all: &'a mut HashMap<JobName, Tally>, job: &JobName) -> &'a mut Tally {
    all.entry(job.clone()).or_default()
}

// === impl Verdict ===

impl Verdict {
    fn of_attempt(end: &AttemptEnd) -> Self {
        match end {
            AttemptEnd::Succeeded => Self::Succeeded,
            AttemptEnd::Cancelled => Self::Cancelled,
            _ => Self::Failed,
        }
    }

    fn of_execution(phase: &ExecutionPhase) -> Self {
        match phase {
            ExecutionPhase::Ended(Outcome::Succeeded) => Self::Succeeded,
            ExecutionPhase::Ended(Outcome::Cancelled) => Self::Cancelled,
            _ => Self::Failed,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

// === impl Series ===

impl Collector for Series {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(inner) = self.0.upgrade() else { return Ok(()) };
        let running = inner.executions.by_job();
        let each = |value: fn(&(u32, u32)) -> u32| running.iter().map(move |(job, counts)| (whose(job), value(counts)));
        let name = "updraft_job_running_executions";
        gauges(&mut encoder, (name, "Executions under way (job/running_executions)"), each(|counts| counts.0))?;
        let name = "updraft_job_running_task_attempts";
        gauges(
            &mut encoder,
            (name, "Attempts at tasks that run (job/running_task_attempts)"),
            each(|counts| counts.1),
        )?;

        let tallies = inner.tallies.lock().clone();
        let executions = tallies.iter().flat_map(|(job, tally)| {
            let ended =
                |(verdict, count): (&Verdict, &u64)| (Ended { whose: whose(job), result: verdict.as_str() }, *count);
            tally.executions.iter().map(ended)
        });
        let name = "updraft_job_completed_execution_count";
        counters(&mut encoder, (name, "Executions that are over (job/completed_execution_count)"), executions)?;
        let attempts = tallies.iter().flat_map(|(job, tally)| {
            let ended = |((attempt, verdict), count): (&(u32, Verdict), &u64)| {
                (EndedAttempt { whose: whose(job), attempt: *attempt, result: verdict.as_str() }, *count)
            };
            tally.attempts.iter().map(ended)
        });
        let name = "updraft_job_completed_task_attempt_count";
        counters(&mut encoder, (name, "Attempts that are over (job/completed_task_attempt_count)"), attempts)
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Series")
    }
}

fn whose(job: &JobName) -> Whose {
    let (project_id, location) = (job.parent.project.clone(), job.parent.location.clone());
    Whose { project_id, location, job_name: job.job.clone() }
}

fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    values: impl Iterator<Item = (Whose, u32)>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, ConstGauge::new(0i64).metric_type())?;
    for (labels, value) in values {
        ConstGauge::new(i64::from(value)).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    values: impl Iterator<Item = (L, u64)>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, ConstCounter::new(0u64).metric_type())?;
    for (labels, value) in values {
        ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
