//! `worker-pools revisions`.

use updraft_api::run::{ListRevisionsResponse, Revision};

use super::{COLLECTION, all, need, show};
use crate::{
    client::Client,
    error::{CliError, Exit},
    objects,
    output::id,
    revisions,
    run::{Session, When},
};

/// In paths of v1 objects, in which revisions of services and of worker pools stand beside each other.
const OBJECTS: &str = "revisions";
/// What says of which worker pool one is.
const LABEL: &str = "run.googleapis.com/workerPool";

/// The revisions of one worker pool, or of all: by worker pool, the newest first.
pub(super) async fn list(session: &mut Session<'_>, of: Option<&str>) -> Result<(), CliError> {
    if objects::is_for(session.format) {
        if let Some(name) = of {
            need(&session.client, name).await?;
        }
        let selector = of.map_or_else(|| LABEL.to_owned(), |pool| format!("{LABEL}={pool}"));
        return objects::print_all(session, OBJECTS, &selector).await;
    }
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
    let headings = ["", "REVISION", "ACTIVE", "WORKER_POOL", "DEPLOYED", "DEPLOYED BY"];
    let of_pool = |revision: &Revision| revision.name.split('/').nth(5).unwrap_or_default().to_owned();
    let rows = revisions.iter().map(|revision| revisions::row(revision, &of_pool(revision))).collect();
    objects::rows(session, &[], (&headings, rows))
}

/// What a revision runs.
pub(super) async fn describe(session: &mut Session<'_>, name: &str) -> Result<(), CliError> {
    let pool = pool_of(&session.client, name).await?;
    if objects::is_for(session.format) {
        return objects::print(session, &[OBJECTS, name]).await;
    }
    let revision: Option<Revision> = session.client.find(&[COLLECTION, &pool, "revisions", name]).await?;
    let revision = revision.ok_or_else(|| missing(name))?;
    session.console.print(&show::revision(&revision))
}

/// Deletes one that has no instances.
pub(super) async fn delete(session: &mut Session<'_>, name: &str, when: When) -> Result<(), CliError> {
    revisions::confirm(session, name)?;
    let pool = pool_of(&session.client, name).await?;
    revisions::delete_of(session, (COLLECTION, &pool), name, when).await
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
