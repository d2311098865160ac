//! `revisions list`, `describe` and `delete`.

use http::Method;
use updraft_api::run::{self, Revision, condition::State};

use crate::{
    client::Ask,
    describe,
    error::{CliError, Exit},
    follow, objects, output,
    progress::Progress,
    run::{Session, When},
};

/// `revisions list`.
pub(crate) async fn list(session: &mut Session<'_>, service: Option<&str>) -> Result<(), CliError> {
    if objects::is_for(session.format) {
        let selector = service.map(|service| format!("serving.knative.dev/service={service}")).unwrap_or_default();
        return objects::print_all(session, "revisions", &selector).await;
    }
    let revisions = all(session, service.unwrap_or("-")).await?;
    if revisions.is_empty() {
        session.console.say("Listed 0 items.");
        return Ok(());
    }
    let headings = ["", "REVISION", "ACTIVE", "SERVICE", "DEPLOYED", "DEPLOYED BY"];
    let rows = revisions.iter().map(|revision| row(revision, output::id(&revision.service)));
    session.console.print(&output::table(&headings, rows.collect()))
}

/// A line of a list of revisions of services or worker pools.
pub(crate) fn row(revision: &Revision, parent: &str) -> Vec<String> {
    let is_active = condition(revision, "Active").is_some_and(|active| active.state() == State::ConditionSucceeded);
    vec![
        output::readiness(condition(revision, "Ready")).0.to_owned(),
        output::id(&revision.name).to_owned(),
        if is_active { "yes" } else { "" }.to_owned(),
        parent.to_owned(),
        output::seconds(revision.create_time.as_ref()),
        revision.creator.clone(),
    ]
}

/// `revisions describe`.
pub(crate) async fn describe(session: &mut Session<'_>, name: &str) -> Result<(), CliError> {
    if objects::is_for(session.format) {
        let printed = objects::print(session, &["revisions", name]).await;
        return printed.map_err(|error| if error.is("NOT_FOUND") { missing(name) } else { error });
    }
    let revision = find(session, name).await?;
    session.console.print(&describe::revision(&revision))
}

/// `revisions delete`.
pub(crate) async fn delete(session: &mut Session<'_>, name: &str, when: When) -> Result<(), CliError> {
    confirm(session, name)?;
    let revision = find(session, name).await?;
    delete_of(session, ("services", output::id(&revision.service)), name, when).await
}

/// Asks whether a revision is to be deleted.
pub(crate) fn confirm(session: &mut Session<'_>, name: &str) -> Result<(), CliError> {
    session.confirm(&format!("Revision [{name}] will be deleted"))
}

/// Deletes a revision of a service or a worker pool, which is given by its collection and its id.
pub(crate) async fn delete_of(
    session: &mut Session<'_>,
    (collection, parent): (&str, &str),
    name: &str,
    when: When,
) -> Result<(), CliError> {
    let client = &session.client;
    let path = client.path(&[collection, parent, "revisions", name]);
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

async fn all(session: &Session<'_>, service: &str) -> Result<Vec<Revision>, CliError> {
    let client = &session.client;
    let mut revisions = Vec::new();
    let page = |page: run::ListRevisionsResponse| {
        revisions.extend(page.revisions);
        page.next_page_token
    };
    client.pages(&client.path(&["services", service, "revisions"]), page).await?;
    Ok(revisions)
}

/// A revision by its id alone, as gcloud's users give it. The API wants its service too, and where
/// that ends in the id cannot be told from the id: so among all.
async fn find(session: &Session<'_>, name: &str) -> Result<Revision, CliError> {
    let found = all(session, "-").await?.into_iter().find(|revision| output::id(&revision.name) == name);
    found.ok_or_else(|| missing(name))
}

fn missing(name: &str) -> CliError {
    CliError::new(Exit::NotFound, format!("cannot find revision [{name}]"))
        .with_hint("'updraft revisions list' shows those of this project and region")
}

fn condition<'a>(revision: &'a Revision, kind: &str) -> Option<&'a run::Condition> {
    revision.conditions.iter().find(|condition| condition.r#type == kind)
}
