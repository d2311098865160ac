//! Jobs, their executions and their tasks.

mod execute;
mod executions;
mod launch;
mod list;
mod show;
mod state;
mod tasks;
mod view;
mod watch;
mod write;

use updraft_api::run::Job;

use crate::{
    args::{JobLogsCommand, JobsCommand, TasksCommand},
    client::Client,
    error::{CliError, Exit},
    logs::{self, Subject},
    policy::{self, Policed},
    replace,
    run::{Session, When},
};

pub(crate) use executions::executions;

/// Carries out a verb on jobs.
pub(crate) async fn jobs(session: &mut Session<'_>, command: JobsCommand) -> Result<(), CliError> {
    match command {
        JobsCommand::List => list::list(session).await,
        JobsCommand::Describe { job } => list::describe(session, &job).await,
        JobsCommand::Create(args) => write::create(session, &args).await,
        JobsCommand::Deploy(args) => write::deploy(session, &args).await,
        JobsCommand::Update(args) => write::update(session, &args).await,
        JobsCommand::Replace(args) => replace::replace(session, &args, &replace::JOB).await,
        JobsCommand::Delete { job, asynchronous } => list::delete(session, &job, When::from(asynchronous)).await,
        JobsCommand::Execute(args) => execute::execute(session, &args).await,
        JobsCommand::Rerun(args) => execute::rerun(session, &args).await,
        JobsCommand::Logs(command) => {
            let (args, follow) = match &command {
                JobLogsCommand::Read(args) => (args, false),
                JobLogsCommand::Tail(args) => (args, true),
            };
            let subject = Subject::Job { job: &args.job, execution: args.execution.as_deref(), task: args.lines.task };
            logs::print(session, &subject, args.lines.limit, follow).await
        }
        JobsCommand::Executions(command) => executions(session, command).await,
        JobsCommand::Policy(command) => policy::policy(session, command, Policed::job).await,
    }
}

/// Carries out a verb on tasks.
pub(crate) async fn tasks(session: &mut Session<'_>, command: TasksCommand) -> Result<(), CliError> {
    match command {
        TasksCommand::List(args) => tasks::list(session, &args).await,
        TasksCommand::Describe { task } => tasks::describe(session, &task).await,
    }
}

/// A job, or nothing when there is none.
pub(crate) async fn find(client: &Client, id: &str) -> Result<Option<Job>, CliError> {
    client.find(&["jobs", id]).await
}

/// There is no such job.
pub(crate) fn missing(name: &str) -> CliError {
    CliError::new(Exit::NotFound, format!("cannot find job [{name}]"))
        .with_hint("'updraft jobs list' shows those of this project and region")
}
