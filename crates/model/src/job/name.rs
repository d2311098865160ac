//! Names of jobs, executions, tasks and attempts, and their rules.
//!
//! Sources: Cloud Run Admin API v2 (`jobId`, `Job.start_execution_token`, `Task.name`); for the letters of generated
//! names Kubernetes, which leaves out vowels so that no words come about, and digits that look like letters.

use std::{fmt, str::FromStr};

use crate::{
    error::{Error, Violation},
    name::{Collection, Parent, SERVICE_ID_MAX, ServiceName, is_label, malformed, segments, starts_with_letter},
};

/// `projects/{project}/locations/{location}/jobs/{job}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobName {
    /// Project and location.
    pub parent: Parent,
    /// The job's id.
    pub job: String,
}

/// `{job}/executions/{execution}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExecutionName {
    /// The job it belongs to.
    pub job: JobName,
    /// The execution's id; begins with the job's id and a hyphen.
    pub execution: String,
}

/// `{execution}/tasks/{execution id}-task{index}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskName {
    /// The execution it belongs to.
    pub execution: ExecutionName,
    /// Which of its tasks, from 0.
    pub index: u32,
}

/// `{task}/attempts/{attempt}`. Google has no such resource: it is what the platform calls one run of a task.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptName {
    /// The task it is one of.
    pub task: TaskName,
    /// Which of its attempts, from 0.
    pub attempt: u32,
}

/// The longest job id, in characters.
pub const JOB_ID_MAX: usize = SERVICE_ID_MAX;
/// A job's id and the token of an execution have fewer characters than this together.
pub const JOB_AND_TOKEN_LIMIT: usize = 63;

/// Between the id of an execution and the index of its task, in the id of that.
const TASK: &str = "-task";
/// What generated ids are made of.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// So many of them.
const LETTERS_COUNT: usize = 5;

// === impl Parent ===

impl Parent {
    /// The job `id` here.
    pub fn job(&self, id: impl Into<String>) -> JobName {
        JobName { parent: self.clone(), job: id.into() }
    }
}

// === impl JobName ===

impl JobName {
    /// The execution `id` of this job.
    pub fn execution(&self, id: impl Into<String>) -> ExecutionName {
        ExecutionName { job: self.clone(), execution: id.into() }
    }

    /// The same among all that has a log.
    pub fn resource(&self) -> ServiceName {
        self.parent.resource(Collection::Jobs, &self.job)
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/jobs/{}", self.parent, self.job)
    }
}

impl FromStr for JobName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match segments(name)[..] {
            ["projects", project, "locations", location, "jobs", job] => Ok(Parent::new(project, location).job(job)),
            _ => Err(malformed("name", name, "projects/{project}/locations/{location}/jobs/{job}")),
        }
    }
}

// === impl ExecutionName ===

impl ExecutionName {
    /// The task `index` of this execution.
    pub fn task(&self, index: u32) -> TaskName {
        TaskName { execution: self.clone(), index }
    }
}

impl fmt::Display for ExecutionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/executions/{}", self.job, self.execution)
    }
}

impl FromStr for ExecutionName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match segments(name)[..] {
            ["projects", project, "locations", location, "jobs", job, "executions", execution] => {
                Ok(Parent::new(project, location).job(job).execution(execution))
            }
            _ => Err(malformed(
                "name",
                name,
                "projects/{project}/locations/{location}/jobs/{job}/executions/{execution}",
            )),
        }
    }
}

// === impl TaskName ===

impl TaskName {
    /// `{execution}-task{index}`.
    pub fn id(&self) -> String {
        format!("{}{TASK}{}", self.execution.execution, self.index)
    }

    /// The attempt `number` of this task.
    pub fn attempt(&self, number: u32) -> AttemptName {
        AttemptName { task: self.clone(), attempt: number }
    }

    /// The task of `execution` that is called `id`, if one of its tasks may be called so.
    fn of(execution: ExecutionName, id: &str) -> Option<Self> {
        let index = id.strip_prefix(&execution.execution)?.strip_prefix(TASK).and_then(number)?;
        Some(Self { execution, index })
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/tasks/{}{TASK}{}", self.execution, self.execution.execution, self.index)
    }
}

impl FromStr for TaskName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = match segments(name)[..] {
            ["projects", project, "locations", location, "jobs", job, "executions", execution, "tasks", task] => {
                Self::of(Parent::new(project, location).job(job).execution(execution), task)
            }
            _ => None,
        };
        let form =
            "projects/{project}/locations/{location}/jobs/{job}/executions/{execution}/tasks/{execution}-task{index}";
        found.ok_or_else(|| malformed("name", name, form))
    }
}

// === impl AttemptName ===

impl fmt::Display for AttemptName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/attempts/{}", self.task, self.attempt)
    }
}

impl FromStr for AttemptName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = name.rsplit_once("/attempts/").and_then(|(task, attempt)| {
            let task: TaskName = task.parse().ok()?;
            Some(task.attempt(number(attempt)?))
        });
        found.ok_or_else(|| malformed("name", name, "{task}/attempts/{attempt}"))
    }
}

/// A number as it is printed: what is read in one way only names one thing.
fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|c| c.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

// === rules ===

/// A job id: at most 49 of `[a-z0-9-]`, a letter first, no hyphen last. Google documents the rule for services; tools
/// keep to it for jobs.
pub fn check_job_id(field: &str, id: &str) -> Result<(), Violation> {
    if id.len() <= JOB_ID_MAX && is_label(id) && starts_with_letter(id) {
        return Ok(());
    }
    Err(Violation::new(
        field,
        format!(
            "only lowercase, digits, and hyphens; must begin with letter, and cannot end with hyphen; must be less than 50 characters, got '{id}'"
        ),
    ))
}

/// The token of an execution of `job`: `[a-z0-9-]`, no hyphen last, and with the job's id fewer than 63 characters. The
/// execution is called `{job}-{token}`.
pub fn check_execution_token(field: &str, job: &str, token: &str) -> Result<(), Violation> {
    let most = JOB_AND_TOKEN_LIMIT.saturating_sub(job.len() + 1);
    // A hyphen may come first: it is not the first of the execution's id.
    if token.len() <= most && is_label(&format!("a{token}")) && !token.is_empty() {
        return Ok(());
    }
    Err(Violation::new(
        field,
        format!(
            "must be 1 to {most} lowercase letters, digits and hyphens and not end with a hyphen: job id and token together must be less than {JOB_AND_TOKEN_LIMIT} characters, got '{token}'"
        ),
    ))
}

/// The id of an execution nobody named: `{job}-{5 letters or digits}`. `entropy` picks them, of 27⁵ (14 million).
pub fn generated_execution_id(job: &str, entropy: u64) -> String {
    let base = LETTERS.len() as u64;
    let pick = |rest: u64| char::from(LETTERS[usize::try_from(rest % base).unwrap_or(0)]);
    let letters = std::iter::successors(Some(entropy), |rest| Some(rest / base)).take(LETTERS_COUNT).map(pick);
    format!("{job}-{}", letters.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execution() -> ExecutionName {
        Parent::new("demo-project", "us-central1").job("nightly").execution("nightly-bcdfg")
    }

    #[test]
    fn names_parse_and_print_as_google_writes_them() {
        let text = "projects/demo-project/locations/us-central1/jobs/nightly/executions/nightly-bcdfg/tasks/nightly-bcdfg-task17";
        let task: TaskName = text.parse().expect("well formed");
        assert_eq!((task.to_string(), task.id(), task.index), (text.to_owned(), "nightly-bcdfg-task17".to_owned(), 17));
        assert_eq!(task, execution().task(17));
        let attempt: AttemptName = format!("{text}/attempts/2").parse().expect("well formed");
        assert_eq!((attempt.clone(), attempt.to_string()), (task.attempt(2), format!("{text}/attempts/2")));
        assert_eq!(execution().to_string().parse::<ExecutionName>().expect("well formed"), execution());
        let job = execution().job;
        assert_eq!(job.to_string().parse::<JobName>().expect("well formed"), job);
    }

    #[test]
    fn what_could_be_written_in_two_ways_or_belongs_elsewhere_is_no_name() {
        let tasks = format!("{}/tasks/", execution());
        for bad in
            ["nightly-bcdfg-task", "nightly-bcdfg-task01", "nightly-bcdfg-task+1", "nightly-xxxxx-task1", "task1"]
        {
            assert!(format!("{tasks}{bad}").parse::<TaskName>().is_err(), "{bad}");
        }
        assert!(format!("{tasks}nightly-bcdfg-task4294967296").parse::<TaskName>().is_err(), "no such number");
        for bad in ["", "/attempts/", "/attempts/x", "/attempts/00", "/attempts/1/"] {
            assert!(format!("{tasks}nightly-bcdfg-task0{bad}").parse::<AttemptName>().is_err(), "{bad}");
        }
        for bad in ["projects/p/locations/l/services/s", "projects/p/locations/l/jobs/", "projects//locations/l/jobs/j"]
        {
            assert!(bad.parse::<JobName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn job_ids_follow_the_rule_of_services() {
        for good in ["a", "nightly", "a-1", "a---b", &"a".repeat(49)] {
            assert!(check_job_id("job_id", good).is_ok(), "{good}");
        }
        for bad in ["", "1a", "a-", "-a", "A", "a_b", &"a".repeat(50)] {
            assert!(check_job_id("job_id", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn job_and_token_together_leave_room_for_a_hyphen() {
        let job = "a".repeat(49);
        for good in ["x", "1", "-x", &"x".repeat(13)] {
            assert!(check_execution_token("f", &job, good).is_ok(), "{good}");
        }
        for bad in ["", "-", "x-", "X", "a.b", &"x".repeat(14)] {
            assert!(check_execution_token("f", &job, bad).is_err(), "{bad}");
        }
        let said = check_execution_token("f", &job, &"x".repeat(14)).expect_err("too long").to_string();
        assert!(said.starts_with("f: must be 1 to 13 lowercase"), "{said}");
    }

    #[test]
    fn generated_ids_have_five_letters_without_vowels_and_use_all_of_them() {
        assert_eq!(generated_execution_id("nightly", 0), "nightly-bbbbb");
        assert_eq!(generated_execution_id("nightly", 27u64.pow(5) - 1), "nightly-99999");
        assert_eq!(generated_execution_id("nightly", 27), "nightly-bcbbb");
        let long = generated_execution_id(&"a".repeat(JOB_ID_MAX), u64::MAX);
        assert!(is_label(&long), "{long}");
    }
}
