//! Worker pools.

mod revisions;
mod show;
mod split;
mod write;

use http::Method;
use updraft_api::run::{ListWorkerPoolsResponse, WorkerPool};

use crate::{
    args::{PoolLogsCommand, PoolRevisionsCommand, PoolsCommand},
    client::{Ask, Client},
    error::{CliError, Exit},
    follow,
    logs::{self, Subject},
    objects, output,
    output::id,
    policy::{self, Policed},
    progress::Progress,
    replace,
    run::{Session, When},
};

/// In paths.
const COLLECTION: &str = "workerPools";
/// The same in those of v1 objects.
const OBJECTS: &str = "workerpools";

/// Carries out a verb on worker pools.
pub(crate) async fn pools(session: &mut Session<'_>, command: PoolsCommand) -> Result<(), CliError> {
    match command {
        PoolsCommand::List => list(session).await,
        PoolsCommand::Describe { worker_pool } => describe(session, &worker_pool).await,
        PoolsCommand::Deploy(args) => write::deploy(session, &args).await,
        PoolsCommand::Update(args) => write::update(session, &args).await,
        PoolsCommand::UpdateInstanceSplit(args) => split::update(session, &args).await,
        PoolsCommand::Replace(args) => replace::replace(session, &args, &replace::POOL).await,
        PoolsCommand::Delete { worker_pool, asynchronous } => {
            delete(session, &worker_pool, When::from(asynchronous)).await
        }
        PoolsCommand::Logs(command) => {
            let (args, follow) = match &command {
                PoolLogsCommand::Read(args) => (args, false),
                PoolLogsCommand::Tail(args) => (args, true),
            };
            let subject = Subject::Pool { pool: &args.worker_pool, revision: args.revision.as_deref() };
            logs::print(session, &subject, args.limit, follow).await
        }
        PoolsCommand::Revisions(command) => match command {
            PoolRevisionsCommand::List { worker_pool } => revisions::list(session, worker_pool.as_deref()).await,
            PoolRevisionsCommand::Describe { revision } => revisions::describe(session, &revision).await,
            PoolRevisionsCommand::Delete { revision, asynchronous } => {
                revisions::delete(session, &revision, When::from(asynchronous)).await
            }
        },
        PoolsCommand::Policy(command) => policy::policy(session, command, Policed::pool).await,
    }
}

async fn list(session: &mut Session<'_>) -> Result<(), CliError> {
    if objects::is_for(session.format) {
        return objects::print_all(session, OBJECTS, "").await;
    }
    let pools = all(&session.client).await?;
    let row = |pool: &WorkerPool| {
        let ready = pool.terminal_condition.as_ref();
        vec![
            output::readiness(ready).0.to_owned(),
            id(&pool.name).to_owned(),
            output::region(&pool.name).to_owned(),
            pool.last_modifier.clone(),
            output::time(ready.and_then(|ready| ready.last_transition_time.as_ref())),
            pool.creator.clone(),
            output::time(pool.create_time.as_ref()),
        ]
    };
    let headings = ["", "WORKER_POOL", "REGION", "LAST DEPLOYED BY", "LAST DEPLOYED AT", "CREATED BY", "CREATED"];
    let rows = pools.iter().map(row).collect();
    objects::rows(session, &[], (&headings, rows))
}

async fn describe(session: &mut Session<'_>, name: &str) -> Result<(), CliError> {
    if objects::is_for(session.format) {
        let printed = objects::print(session, &[OBJECTS, name]).await;
        return printed.map_err(|error| if error.is("NOT_FOUND") { missing(name) } else { error });
    }
    let pool = need(&session.client, name).await?;
    session.console.print(&show::pool(&pool))
}

async fn delete(session: &mut Session<'_>, name: &str, when: When) -> Result<(), CliError> {
    session.confirm(&format!("Worker pool [{name}] will be deleted"))?;
    let client = &session.client;
    let operation = client.message(Method::DELETE, &client.path(&[COLLECTION, name]), Ask::default()).await;
    let operation = operation.map_err(|error| if error.is("NOT_FOUND") { missing(name) } else { error })?;
    if when == When::Begun {
        session.console.say(format_args!("Worker pool [{name}] is being deleted."));
        return Ok(());
    }
    let mut progress = Progress::new(&mut session.console);
    follow::one_stage(client, operation, "Deleting", &mut progress).await?;
    session.console.say(format_args!("Deleted worker pool [{name}]."));
    Ok(())
}

async fn all(client: &Client) -> Result<Vec<WorkerPool>, CliError> {
    let mut pools = Vec::new();
    let page = |page: ListWorkerPoolsResponse| {
        pools.extend(page.worker_pools);
        page.next_page_token
    };
    client.pages(&client.path(&[COLLECTION]), page).await?;
    pools.sort_by(|a: &WorkerPool, b| a.name.cmp(&b.name));
    Ok(pools)
}

/// A worker pool, or nothing when there is none.
pub(crate) async fn find(client: &Client, id: &str) -> Result<Option<WorkerPool>, CliError> {
    client.find(&[COLLECTION, id]).await
}

async fn need(client: &Client, name: &str) -> Result<WorkerPool, CliError> {
    find(client, name).await?.ok_or_else(|| missing(name))
}

/// There is no such worker pool.
pub(crate) fn missing(name: &str) -> CliError {
    CliError::new(Exit::NotFound, format!("cannot find worker pool [{name}]"))
        .with_hint("'updraft worker-pools list' shows those of this project and region")
}
