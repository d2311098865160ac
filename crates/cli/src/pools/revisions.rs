//! `worker-pools revisions`.

use http::Method;
use updraft_api::run::{self, ListRevisionsResponse, Revision, condition::State};

use super::{COLLECTION, all, need, show};
use crate::{
    client::{Ask, Client},
    error::{CliError, Exit},
    follow, objects, output,
    output::id,
    progress::Progress,
    run::{Session, When},
};

/// In paths of v1 objects, in which revisions of services and of worker pools stand beside each other.
const OBJECTS: &str = "revisions";
/// What says of which worker pool one is.
const LABEL: &str = "run.googleapis.com/workerPool";

/// The revisions of one worker pool, or of all: by worker pool, the newest first.
pub(super) async fn list(session: &mut Session<'_>, of: Option<&str>) -> Result<(), CliError> {
    let client = &session.client;
    let pools = match of {
        Some(name) => vec![need(client, name).await?],
        // There is no name for all of them, as there is for services.
        None => all(client).await?,
    };
    let mut revisions: Vec<Revision> = Vec::new();
    for pool in &pools {
        let page = |page: ListRevisionsResponse| {
            revisions.extend(page.revisions);
            page.next_page_token
        };
        client.pages(&client.path(&[COLLECTION, id(&pool.name), "revisions"]), page).await?;
    }
    let condition = |revision: &Revision, kind: &str| -> Option<run::Condition> {
        revision.conditions.iter().find(|condition| condition.r#type == kind).cloned()
    };
    let row = |revision: &Revision| {
        let active = condition(revision, "Active");
        let is_active = active.is_some_and(|active| active.state() == State::ConditionSucceeded);
        vec![
            output::readiness(condition(revision, "Ready").as_ref()).0.to_owned(),
            id(&revision.name).to_owned(),
            if is_active { "yes" } else { "" }.to_owned(),
            revision.name.split('/').nth(5).unwrap_or_default().to_owned(),
            output::seconds(revision.create_time.as_ref()),
            revision.creator.clone(),
        ]
    };
    let values: Vec<_> = match objects::is_for(session.format) {
        true => revisions.iter().map(crate::client::encode).collect::<Result<_, _>>()?,
        false => Vec::new(),
    };
    let headings = ["", "REVISION", "ACTIVE", "WORKER_POOL", "DEPLOYED", "DEPLOYED BY"];
    let rows = revisions.iter().map(row).collect();
    objects::rows(session, &values, (&headings, rows))
}

/// What a revision runs.
pub(super) async fn describe(session: &mut Session<'_>, name: &str) -> Result<(), CliError> {
    if objects::is_for(session.format) {
        pool_of(&session.client, name).await?;
        return objects::print(session, &[OBJECTS, name]).await;
    }
    let client = &session.client;
    let pool = pool_of(client, name).await?;
    let revision: Option<Revision> = client.find(&[COLLECTION, &pool, "revisions", name]).await?;
    let revision = revision.ok_or_else(|| missing(name))?;
    session.console.print(&show::revision(&revision))
}

/// Deletes one that has no instances.
pub(super) async fn delete(session: &mut Session<'_>, name: &str, when: When) -> Result<(), CliError> {
    session.confirm(&format!("Revision [{name}] will be deleted"))?;
    let client = &session.client;
    let pool = pool_of(client, name).await?;
    let path = client.path(&[COLLECTION, &pool, "revisions", name]);
    let operation = client.message(Method::DELETE, &path, Ask::default()).await?;
    if when == When::Begun {
        session.console.say(format_args!("Revision [{name}] is being deleted."));
        return Ok(());
    }
    let mut progress = Progress::new(&mut session.console);
    follow::one_stage(client, operation, "Deleting", &mut progress).await?;
    session.console.say(format_args!("Deleted revision [{name}]."));
    Ok(())
}

/// The worker pool of a revision, which is given by its id alone: where the pool's name ends in it cannot be told from it.
async fn pool_of(client: &Client, name: &str) -> Result<String, CliError> {
    let object = objects::one(client, &[OBJECTS, name]).await;
    let object = object.map_err(|error| if error.is("NOT_FOUND") { missing(name) } else { error })?;
    let pool = object["metadata"]["labels"][LABEL].as_str();
    Ok(pool.ok_or_else(|| missing(name))?.to_owned())
}

fn missing(name: &str) -> CliError {
    CliError::new(Exit::NotFound, format!("cannot find revision [{name}] of a worker pool"))
        .with_hint("'updraft worker-pools revisions list' shows those of this project and region")
}
