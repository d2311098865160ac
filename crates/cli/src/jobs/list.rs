//! `jobs list`, `describe` and `delete`.

use http::Method;
use updraft_api::run::{Job, ListJobsResponse};

use super::{find, missing, show};
use crate::{
    client::Ask,
    error::CliError,
    follow, objects, output,
    progress::Progress,
    run::{Session, When},
};

/// `jobs list`.
pub(super) async fn list(session: &mut Session<'_>) -> Result<(), CliError> {
    if objects::is_for(session.format) {
        return objects::print_all(session, "jobs", "").await;
    }
    let client = &session.client;
    let mut jobs = Vec::new();
    let page = |page: ListJobsResponse| {
        jobs.extend(page.jobs);
        page.next_page_token
    };
    client.pages(&client.path(&["jobs"]), page).await?;
    jobs.sort_by(|a: &Job, b| a.name.cmp(&b.name));
    let row = |job: &Job| {
        let latest = job.latest_created_execution.as_ref();
        vec![
            output::readiness(job.terminal_condition.as_ref()).0.to_owned(),
            output::id(&job.name).to_owned(),
            output::region(&job.name).to_owned(),
            output::seconds(latest.and_then(|latest| latest.create_time.as_ref())),
            output::seconds(job.create_time.as_ref()),
            job.creator.clone(),
        ]
    };
    let headings = ["", "JOB", "REGION", "LAST RUN AT", "CREATED", "CREATED BY"];
    let rows = jobs.iter().map(row).collect();
    objects::rows(session, &[], (&headings, rows))
}

/// `jobs describe`.
pub(super) async fn describe(session: &mut Session<'_>, name: &str) -> Result<(), CliError> {
    if objects::is_for(session.format) {
        let printed = objects::print(session, &["jobs", name]).await;
        return printed.map_err(|error| if error.is("NOT_FOUND") { missing(name) } else { error });
    }
    let job = find(&session.client, name).await?.ok_or_else(|| missing(name))?;
    session.console.print(&show::job(&job))
}

/// `jobs delete`.
pub(super) async fn delete(session: &mut Session<'_>, name: &str, when: When) -> Result<(), CliError> {
    session.confirm(&format!("Job [{name}] will be deleted"))?;
    let client = &session.client;
    let operation = client.message(Method::DELETE, &client.path(&["jobs", name]), Ask::default()).await;
    let operation = operation.map_err(|error| match error {
        error if error.is("NOT_FOUND") => missing(name),
        error if error.is("FAILED_PRECONDITION") => error.with_hint(format!(
            "'updraft executions list --job {name}' shows what runs, 'updraft executions cancel' ends it"
        )),
        error => error,
    })?;
    if when == When::Begun {
        session.console.say(format_args!("Job [{name}] is being deleted."));
        return Ok(());
    }
    let mut progress = Progress::new(&mut session.console);
    follow::one_stage(client, operation, "Deleting", &mut progress).await?;
    session.console.say(format_args!("Deleted job [{name}]."));
    Ok(())
}
