//! The types.

use std::{collections::BTreeMap, time::Duration};

use super::name::JobName;
use crate::{
    instance::Egress,
    revision::{Container, Volume, egress},
};

/// A job as decisions see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its name.
    pub name: JobName,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// The template of the next execution.
    pub template: ExecutionTemplate,
    /// The execution that this write asks for, if it does.
    pub first_execution: Option<FirstExecution>,
    /// What made the request, and its version: free text.
    pub client: [String; 2],
    /// Fields of the job itself that are set and that this version does not act on, though ignoring them would run
    /// something else: such as `binary_authorization`.
    pub unsupported: Vec<String>,
}

/// An execution that is created together with a write of its job: what follows the job's id and a hyphen in its id.
/// Source: Cloud Run Admin API v2, `Job.create_execution`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstExecution {
    /// `start_execution_token`: the job is ready when the execution has started.
    Start(String),
    /// `run_execution_token`: the job is ready when the execution has completed.
    Run(String),
}

/// What an execution is made of.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExecutionTemplate {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// The most tasks that run at a time, 0 to `task_count`; 0 means as many as there is room for.
    pub parallelism: i32,
    /// How many tasks there are, 1 to 10,000. 0 means the default, 1.
    pub task_count: i32,
    /// What each task is made of.
    pub template: TaskTemplate,
}

/// What a task is made of.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TaskTemplate {
    /// Its containers.
    pub containers: Vec<Container>,
    /// Volumes.
    pub volumes: Vec<Volume>,
    /// How often a task is tried again after a failed attempt, 0 to 10, by default 3.
    pub max_retries: Option<i32>,
    /// How long one attempt may take: whole seconds, 1 s to 168 h, by default 600 s.
    pub timeout: Option<Duration>,
    /// As whom it runs.
    pub service_account: String,
    /// Fields that are set and that this version does not act on, though their absence would change what runs: such
    /// as `vpc_access`.
    pub unsupported: Vec<String>,
}

// === impl FirstExecution ===

impl FirstExecution {
    /// What follows the job's id and a hyphen in the execution's id.
    pub fn token(&self) -> &str {
        match self {
            Self::Start(token) | Self::Run(token) => token,
        }
    }

    /// The field that asked for it.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Start(_) => "start_execution_token",
            Self::Run(_) => "run_execution_token",
        }
    }
}

// === impl ExecutionTemplate ===

impl ExecutionTemplate {
    /// Where its tasks may open connections to: the annotation [`EGRESS`](crate::revision::EGRESS), checked; everywhere
    /// without it.
    pub fn egress(&self) -> Egress {
        egress::of(&self.annotations)
    }
}

// === impl TaskTemplate ===

impl TaskTemplate {
    /// The container whose end is the end of an attempt: the one with a port, or the first. The others are there for
    /// its sake and are stopped when it has ended.
    pub fn main_container(&self) -> Option<&Container> {
        self.containers.iter().find(|container| container.port_count > 0).or_else(|| self.containers.first())
    }
}
