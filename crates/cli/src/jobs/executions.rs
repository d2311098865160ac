//! Verbs on executions.

use http::Method;
use serde_json::json;
use updraft_api::run::{Execution, ListExecutionsResponse};

use super::{show, state::condition};
use crate::{
    args::{ExecutionLogsCommand, ExecutionsCommand},
    client::{Ask, Client},
    error::{CliError, Exit},
    follow,
    logs::{self, Subject},
    objects, output,
    output::id,
    progress::Progress,
    run::{Session, When},
};

/// Carries out a verb on executions.
pub(crate) async fn executions(session: &mut Session<'_>, command: ExecutionsCommand) -> Result<(), CliError> {
    match command {
        ExecutionsCommand::List { job } => list(session, job.as_deref()).await,
        ExecutionsCommand::Describe { execution } => describe(session, &execution).await,
        ExecutionsCommand::Cancel { execution, asynchronous } => {
            end(session, &execution, (&CANCEL, When::from(asynchronous))).await
        }
        ExecutionsCommand::Delete { execution, asynchronous } => {
            end(session, &execution, (&DELETE, When::from(asynchronous))).await
        }
        ExecutionsCommand::Logs(command) => {
            let (args, follow) = match &command {
                ExecutionLogsCommand::Read(args) => (args, false),
                ExecutionLogsCommand::Tail(args) => (args, true),
            };
            let execution = need(&session.client, &args.execution).await?;
            let job = job_of(&execution).to_owned();
            let subject = Subject::Job { job: &job, execution: Some(&args.execution), task: args.lines.task };
            logs::print(session, &subject, args.lines.limit, follow).await
        }
        ExecutionsCommand::Tasks(command) => super::tasks(session, command).await,
    }
}

async fn list(session: &mut Session<'_>, job: Option<&str>) -> Result<(), CliError> {
    if objects::is_for(session.format) {
        let selector = job.map(|job| format!("run.googleapis.com/job={job}")).unwrap_or_default();
        return objects::print_all(session, "executions", &selector).await;
    }
    let mut executions = all(&session.client, job.unwrap_or("-")).await?;
    executions.sort_by_key(|execution| std::cmp::Reverse(execution.create_time.map(|time| (time.seconds, time.nanos))));
    let row = |execution: &Execution| {
        vec![
            output::readiness(condition(&execution.conditions, "Completed")).0.to_owned(),
            job_of(execution).to_owned(),
            id(&execution.name).to_owned(),
            output::region(&execution.name).to_owned(),
            execution.running_count.to_string(),
            format!("{} / {}", execution.succeeded_count, execution.task_count),
            output::seconds(execution.create_time.as_ref()),
            execution.creator.clone(),
        ]
    };
    let headings = ["", "JOB", "EXECUTION", "REGION", "RUNNING", "COMPLETE", "CREATED", "RUN BY"];
    let rows = executions.iter().map(row).collect();
    objects::rows(session, &[], (&headings, rows))
}

async fn describe(session: &mut Session<'_>, name: &str) -> Result<(), CliError> {
    if objects::is_for(session.format) {
        let printed = objects::print(session, &["executions", name]).await;
        return printed.map_err(|error| if error.is("NOT_FOUND") { missing(name) } else { error });
    }
    let execution = need(&session.client, name).await?;
    session.console.print(&show::execution(&execution))
}

/// One of the two ways in which an execution ends before its time, in the words of its sentences.
#[derive(Debug)]
struct Ending {
    /// It is to be `deleted`.
    done: &'static str,
    /// The stage in which it is.
    stage: &'static str,
    /// The sentence about it at the end.
    told: &'static str,
    method: Method,
    /// What follows the name in the path.
    call: &'static str,
}

const CANCEL: Ending =
    Ending { done: "cancelled", stage: "Cancelling", told: "Cancelled", method: Method::POST, call: ":cancel" };
const DELETE: Ending = Ending { done: "deleted", stage: "Deleting", told: "Deleted", method: Method::DELETE, call: "" };

async fn end(session: &mut Session<'_>, name: &str, (ending, when): (&Ending, When)) -> Result<(), CliError> {
    let Ending { done, stage, told, .. } = *ending;
    session.confirm(&format!("Execution [{name}] will be {done}"))?;
    let execution = need(&session.client, name).await?;
    let client = &session.client;
    let call = format!("{name}{}", ending.call);
    let path = client.path(&["jobs", job_of(&execution), "executions", &call]);
    let body = (ending.method == Method::POST).then(|| json!({}));
    let operation = client.message(ending.method.clone(), &path, Ask { query: Vec::new(), body }).await?;
    if when == When::Begun {
        session.console.say(format_args!("Execution [{name}] is being {done}."));
        return Ok(());
    }
    let mut progress = Progress::new(&mut session.console);
    follow::one_stage(client, operation, stage, &mut progress).await?;
    session.console.say(format_args!("{told} execution [{name}]."));
    Ok(())
}

async fn all(client: &Client, job: &str) -> Result<Vec<Execution>, CliError> {
    let mut executions = Vec::new();
    let page = |page: ListExecutionsResponse| {
        executions.extend(page.executions);
        page.next_page_token
    };
    client.pages(&client.path(&["jobs", job, "executions"]), page).await?;
    Ok(executions)
}

/// An execution by its id alone, as gcloud's users give it.
pub(super) async fn need(client: &Client, name: &str) -> Result<Execution, CliError> {
    find(client, name).await?.ok_or_else(|| missing(name))
}

/// The same, or nothing when there is none. The API wants its job too: its name without the last part, unless somebody chose
/// the name; then it is looked for among all.
pub(super) async fn find(client: &Client, name: &str) -> Result<Option<Execution>, CliError> {
    if let Some((job, _)) = name.rsplit_once('-')
        && let Some(found) = client.find(&["jobs", job, "executions", name]).await?
    {
        return Ok(Some(found));
    }
    let mut found = None;
    let page = |page: ListExecutionsResponse| {
        found = page.executions.into_iter().find(|execution| id(&execution.name) == name);
        if found.is_some() { String::new() } else { page.next_page_token }
    };
    client.pages(&client.path(&["jobs", "-", "executions"]), page).await?;
    Ok(found)
}

/// The id of an execution's job.
pub(super) fn job_of(execution: &Execution) -> &str {
    // The field has an id or a full name; the name of the execution has it at its place.
    match execution.name.split('/').nth(5) {
        Some(job) => job,
        None => id(&execution.job),
    }
}

/// There is no such execution.
pub(super) fn missing(name: &str) -> CliError {
    CliError::new(Exit::NotFound, format!("cannot find execution [{name}]"))
        .with_hint("'updraft executions list' shows those of this project and region")
}
