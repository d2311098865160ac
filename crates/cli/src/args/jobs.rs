//! Verbs on jobs, their executions and their tasks.

use clap::{Args, Subcommand};

use super::{ContainerArgs, LabelArgs, PolicyCommand, ReplaceArgs};
use crate::values::{List, Pairs, Parallelism, TaskTimeout};

/// The most tasks of an execution.
const TASKS_MAX: i64 = 10_000;
/// The most often that a task is tried again.
const RETRIES_MAX: i64 = 10;

/// Verbs on jobs.
#[derive(Debug, Clone, Subcommand)]
pub enum JobsCommand {
    /// List jobs.
    List,
    /// Show a job: what it runs, and when it ran last.
    Describe {
        /// The job.
        job: String,
    },
    /// Create a job.
    Create(Box<CreateJobArgs>),
    /// Create or update a job from an image.
    Deploy(Box<CreateJobArgs>),
    /// Change settings of a job. Executions that are under way keep what they began with.
    Update(Box<UpdateJobArgs>),
    /// Create or replace jobs from manifests.
    Replace(ReplaceArgs),
    /// Delete a job and all its executions.
    Delete {
        /// The job.
        job: String,
        /// Return without waiting for the end.
        #[arg(long = "async")]
        asynchronous: bool,
    },
    /// Run a job.
    Execute(Box<ExecuteArgs>),
    /// Run the tasks of an execution again that failed.
    Rerun(RerunArgs),
    /// Read what jobs have written.
    #[command(subcommand)]
    Logs(JobLogsCommand),
    /// List, describe, cancel and delete executions.
    #[command(subcommand, visible_alias = "execution")]
    Executions(ExecutionsCommand),
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    Policy(PolicyCommand),
}

/// Flags of `jobs create` and `jobs deploy`.
#[derive(Debug, Clone, Args)]
pub struct CreateJobArgs {
    /// The job.
    #[arg(value_name = "JOB")]
    pub job: String,
    /// The image to run, such as `localhost:5000/batch` or `docker.io/library/busybox:1`.
    #[arg(long, value_name = "IMAGE")]
    pub image: String,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub settings: JobSettingsArgs,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub after: AfterArgs,
}

/// Flags of `jobs update`.
#[derive(Debug, Clone, Args)]
pub struct UpdateJobArgs {
    /// The job.
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Another image.
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub settings: JobSettingsArgs,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub after: AfterArgs,
}

/// Settings of a job. What is not given stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct JobSettingsArgs {
    /// Tasks of an execution, 1 to 10000: each runs the container once, and knows by CLOUD_RUN_TASK_INDEX which it is.
    #[arg(long, value_name = "TASKS", value_parser = clap::value_parser!(i32).range(1..=TASKS_MAX))]
    pub tasks: Option<i32>,
    /// Tasks that may run at a time, or `none` for as many as there are.
    #[arg(long, value_name = "TASKS")]
    pub parallelism: Option<Parallelism>,
    /// How often a task that failed is tried again, 0 to 10.
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(i32).range(0..=RETRIES_MAX))]
    pub max_retries: Option<i32>,
    /// How long an attempt at a task may take, at most seven days: seconds, or such as 10m5s.
    #[arg(long, value_name = "TIMEOUT")]
    pub task_timeout: Option<TaskTimeout>,
    /// As whom tasks run.
    #[arg(long, value_name = "EMAIL")]
    pub service_account: Option<String>,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub container: ContainerArgs,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub labels: LabelArgs,
}

/// What happens once a job is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Args)]
pub struct AfterArgs {
    /// Run the job afterwards.
    #[arg(long)]
    pub execute_now: bool,
    /// Run the job afterwards, and wait until it has run.
    #[arg(long)]
    pub wait: bool,
    /// Return without waiting until the job is ready.
    #[arg(long = "async", conflicts_with_all = ["execute_now", "wait"])]
    pub asynchronous: bool,
}

/// Flags of `jobs execute`.
#[derive(Debug, Clone, Args)]
pub struct ExecuteArgs {
    /// The job.
    #[arg(value_name = "JOB")]
    pub job: String,
    /// For this execution, other arguments; empty for none.
    #[arg(long, value_name = "WORD,…", allow_hyphen_values = true)]
    pub args: Option<List>,
    /// For this execution, these environment variables as well.
    #[arg(long, value_name = "NAME=VALUE,…")]
    pub update_env_vars: Vec<Pairs>,
    /// For this execution, so many tasks.
    #[arg(long, value_name = "TASKS", value_parser = clap::value_parser!(i32).range(1..=TASKS_MAX))]
    pub tasks: Option<i32>,
    /// For this execution, how long an attempt at a task may take.
    #[arg(long, value_name = "TIMEOUT")]
    pub task_timeout: Option<TaskTimeout>,
    /// For this execution, how many tasks may run at a time, or `none`. Not one of gcloud's flags.
    #[arg(long, value_name = "TASKS")]
    pub parallelism: Option<Parallelism>,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub until: UntilArgs,
}

/// How long a command that starts an execution goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Args)]
pub struct UntilArgs {
    /// Wait until the execution has ended; the command fails if the execution does.
    #[arg(long, conflicts_with = "asynchronous")]
    pub wait: bool,
    /// Return without waiting until the execution has started.
    #[arg(long = "async")]
    pub asynchronous: bool,
}

/// Flags of `jobs rerun`.
#[derive(Debug, Clone, Args)]
pub struct RerunArgs {
    /// The execution, or a job for its latest one.
    #[arg(value_name = "JOB|EXECUTION")]
    pub name: String,
    /// Only the tasks that failed, each with the index it had.
    #[arg(long, required = true)]
    pub failed_only: bool,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub until: UntilArgs,
}

/// Verbs on the logs of jobs.
#[derive(Debug, Clone, Subcommand)]
pub enum JobLogsCommand {
    /// Print what a job has written, the oldest line first.
    Read(JobLogsArgs),
    /// The same, and go on with what it writes from now on, until interrupted.
    Tail(JobLogsArgs),
}

/// Flags of `jobs logs read` and `jobs logs tail`.
#[derive(Debug, Clone, Args)]
pub struct JobLogsArgs {
    /// The job.
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Only of this execution.
    #[arg(long, value_name = "EXECUTION")]
    pub execution: Option<String>,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub lines: TaskLinesArgs,
}

/// Which lines.
#[derive(Debug, Clone, Copy, Args)]
pub struct TaskLinesArgs {
    /// Only of the task with this index.
    #[arg(long, value_name = "INDEX", value_parser = clap::value_parser!(u32).range(0..TASKS_MAX))]
    pub task: Option<u32>,
    /// At most so many lines, the latest.
    #[arg(long, value_name = "LINES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
}

/// Verbs on executions.
#[derive(Debug, Clone, Subcommand)]
pub enum ExecutionsCommand {
    /// List executions, the newest first.
    List {
        /// Only of this job.
        #[arg(long, value_name = "JOB")]
        job: Option<String>,
    },
    /// Show an execution: how far it is, and what it runs.
    Describe {
        /// The execution.
        execution: String,
    },
    /// End the tasks of an execution that run, and start no more.
    Cancel {
        /// The execution.
        execution: String,
        /// Return without waiting for the end.
        #[arg(long = "async")]
        asynchronous: bool,
    },
    /// Delete an execution and its tasks.
    Delete {
        /// The execution.
        execution: String,
        /// Return without waiting for the end.
        #[arg(long = "async")]
        asynchronous: bool,
    },
    /// Read what an execution has written.
    #[command(subcommand)]
    Logs(ExecutionLogsCommand),
    /// List and describe the tasks of an execution.
    #[command(subcommand, visible_alias = "task")]
    Tasks(TasksCommand),
}

/// Verbs on the logs of an execution.
#[derive(Debug, Clone, Subcommand)]
pub enum ExecutionLogsCommand {
    /// Print what an execution has written, the oldest line first.
    Read(ExecutionLogsArgs),
    /// The same, and go on with what it writes from now on, until interrupted.
    Tail(ExecutionLogsArgs),
}

/// Flags of `executions logs read` and `executions logs tail`.
#[derive(Debug, Clone, Args)]
pub struct ExecutionLogsArgs {
    /// The execution.
    #[arg(value_name = "EXECUTION")]
    pub execution: String,
    #[expect(missing_docs, reason = "a doc comment on a flattened group would become its help heading")]
    #[command(flatten)]
    pub lines: TaskLinesArgs,
}

/// Verbs on tasks.
#[derive(Debug, Clone, Subcommand)]
pub enum TasksCommand {
    /// List the tasks of an execution by their index.
    List(ListTasksArgs),
    /// Show a task: how it stands, and how its last attempt ended.
    Describe {
        /// The task.
        task: String,
    },
}

/// Flags of `tasks list`. Without a state, tasks in all of them.
#[derive(Debug, Clone, Args)]
pub struct ListTasksArgs {
    /// The execution.
    #[arg(long, value_name = "EXECUTION")]
    pub execution: String,
    /// Those that succeeded.
    #[arg(long)]
    pub succeeded: bool,
    /// Those that failed.
    #[arg(long)]
    pub failed: bool,
    /// Those that were cancelled.
    #[arg(long)]
    pub cancelled: bool,
    /// Those that had not run when their execution was cancelled.
    #[arg(long)]
    pub abandoned: bool,
    /// Those that run.
    #[arg(long)]
    pub running: bool,
    /// Those that have not started yet.
    #[arg(long)]
    pub pending: bool,
}
