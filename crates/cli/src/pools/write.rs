//! `worker-pools deploy` and `worker-pools update`.

use http::Method;
use updraft_api::{longrunning::Operation, run::WorkerPool};

use super::{COLLECTION, OBJECTS, find, missing, need};
use crate::{
    args::{DeployPoolArgs, PoolSettingsArgs, UpdatePoolArgs},
    client::{Ask, Client, encode, subject},
    deploy::env_file,
    error::CliError,
    follow::{self, CREATING},
    objects,
    output::id,
    progress::Progress,
    run::Session,
    settings::{self, NewRevision, PoolPlan, PoolWish, Program},
};

/// How often a change is made anew on what somebody else has just written.
const ATTEMPTS: u32 = 4;
/// The stage of a change that makes no revision.
pub(super) const APPLYING: &str = "Applying";

/// `worker-pools deploy`.
pub(super) async fn deploy(session: &mut Session<'_>, args: &DeployPoolArgs) -> Result<(), CliError> {
    let name = args.worker_pool.as_str();
    let env_file = env_file(&args.settings.container.env)?;
    let project = session.client.project.clone();
    let container = &args.settings.container;
    let program = Program { project: &project, image: Some(&args.image), container, env_file: env_file.as_deref() };
    let wish = PoolWish { id: name, program, settings: &args.settings, revision: NewRevision::Always };
    let before = find(&session.client, name).await?;
    let region = &session.client.region;
    session
        .console
        .say(format_args!("Deploying container to worker pool [{name}] in project [{project}] region [{region}]"));
    session.console.say(if before.is_some() { "Deploying..." } else { "Deploying new worker pool..." });
    let operation = match &before {
        None => Some(create(&session.client, &wish).await?),
        Some(before) => change(&session.client, before, |before| settings::pool(Some(before), &wish)).await?,
    };
    let operation = operation.ok_or_else(|| CliError::failed("the deployment would change nothing"))?;
    if args.asynchronous {
        session.console.say(format_args!("Worker pool [{name}] is deploying asynchronously."));
        return objects::print_if_asked(session, &[OBJECTS, name]).await;
    }
    let pool = finish(session, operation, CREATING).await?;
    let revision = id(&pool.latest_created_revision);
    session.console.say(format_args!("Worker pool [{name}] revision [{revision}] has been deployed."));
    session.console.say(format_args!("\nSee logs with:\nupdraft worker-pools logs tail {name}"));
    objects::print_if_asked(session, &[OBJECTS, name]).await
}

/// `worker-pools update`.
pub(super) async fn update(session: &mut Session<'_>, args: &UpdatePoolArgs) -> Result<(), CliError> {
    let name = args.worker_pool.as_str();
    if args.image.is_none() && args.settings == PoolSettingsArgs::default() {
        return Err(CliError::usage("no change was asked for").with_hint("see 'updraft worker-pools update --help'"));
    }
    let env_file = env_file(&args.settings.container.env)?;
    let project = session.client.project.clone();
    let (image, container) = (args.image.as_deref(), &args.settings.container);
    let program = Program { project: &project, image, container, env_file: env_file.as_deref() };
    let wish = PoolWish { id: name, program, settings: &args.settings, revision: NewRevision::IfChanged };
    let before = need(&session.client, name).await?;
    let operation = change(&session.client, &before, |before| settings::pool(Some(before), &wish)).await?;
    let Some(operation) = operation else {
        session.console.say(format_args!("Worker pool [{name}] is that way already."));
        return objects::print_if_asked(session, &[OBJECTS, name]).await;
    };
    session.console.say("Updating...");
    if args.asynchronous {
        session.console.say(format_args!("Worker pool [{name}] is being updated asynchronously."));
        return objects::print_if_asked(session, &[OBJECTS, name]).await;
    }
    finish(session, operation, APPLYING).await?;
    session.console.say(format_args!("Worker pool [{name}] has been updated."));
    objects::print_if_asked(session, &[OBJECTS, name]).await
}

async fn create(client: &Client, wish: &PoolWish<'_>) -> Result<Operation, CliError> {
    let PoolPlan { pool, .. } = settings::pool(None, wish)?;
    let ask = Ask { query: vec![("workerPoolId", wish.id)], body: Some(encode(&pool)?) };
    client.message(Method::POST, &client.path(&[COLLECTION]), ask).await
}

/// Sends what `plan` makes of `before`. When somebody else was faster, reads again and plans anew. `None` when nothing would
/// change.
pub(super) async fn change(
    client: &Client,
    before: &WorkerPool,
    plan: impl Fn(&WorkerPool) -> Result<PoolPlan, CliError>,
) -> Result<Option<Operation>, CliError> {
    let (name, mut before, mut attempt) = (id(&before.name).to_owned(), before.clone(), 1);
    loop {
        let PoolPlan { pool, mask, revision } = plan(&before)?;
        if mask.is_empty() {
            return Ok(None);
        }
        let mask = mask.join(",");
        let mut query = vec![("updateMask", mask.as_str())];
        query.extend((revision == NewRevision::Always).then_some(("forceNewRevision", "true")));
        let ask = Ask { query, body: Some(encode(&pool)?) };
        match client.message(Method::PATCH, &client.path(&[COLLECTION, &name]), ask).await {
            Ok(operation) => return Ok(Some(operation)),
            Err(error) if error.is("ABORTED") && attempt < ATTEMPTS => {
                attempt += 1;
                before = find(client, &name).await?.ok_or_else(|| missing(&name))?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Waits for the end of a change, and returns the worker pool as it is then.
pub(super) async fn finish(
    session: &mut Session<'_>,
    operation: Operation,
    stage: &'static str,
) -> Result<WorkerPool, CliError> {
    let about: Option<WorkerPool> = subject(&operation);
    let mut progress = Progress::new(&mut session.console);
    let ended = follow::one_stage(&session.client, operation, stage, &mut progress).await;
    let ended = ended.map_err(|error| match &about {
        Some(pool) => {
            let name = id(&pool.name);
            error.with_hint(format!("'updraft worker-pools logs read {name}' shows what it wrote"))
        }
        None => error,
    })?;
    session.console.say("Done.");
    subject(&ended).ok_or_else(|| CliError::unexpected("an operation ended without a worker pool"))
}
