//! `services list`, `describe` and `delete`.

use http::Method;
use updraft_api::run;

use crate::{
    client::Ask,
    deploy::missing,
    describe,
    error::CliError,
    follow, objects, output,
    progress::Progress,
    run::{Session, When},
};

/// `services list`.
pub(crate) async fn list(session: &mut Session<'_>) -> Result<(), CliError> {
    if objects::is_for(session.format) {
        return objects::print_all(session, "services", "").await;
    }
    let client = &session.client;
    let mut services = Vec::new();
    let page = |page: run::ListServicesResponse| {
        services.extend(page.services);
        page.next_page_token
    };
    client.pages(&client.path(&["services"]), page).await?;
    services.sort_by(|a: &run::Service, b| a.name.cmp(&b.name));
    if services.is_empty() {
        session.console.say("Listed 0 items.");
        return Ok(());
    }
    let row = |service: &run::Service| {
        let ready = service.terminal_condition.as_ref();
        vec![
            output::readiness(ready).0.to_owned(),
            output::id(&service.name).to_owned(),
            output::region(&service.name).to_owned(),
            describe::url(service).to_owned(),
            service.last_modifier.clone(),
            output::seconds(ready.and_then(|ready| ready.last_transition_time.as_ref())),
        ]
    };
    let headings = ["", "SERVICE", "REGION", "URL", "LAST DEPLOYED BY", "LAST DEPLOYED AT"];
    session.console.print(&output::table(&headings, services.iter().map(row).collect()))
}

/// `services describe`.
pub(crate) async fn describe(session: &mut Session<'_>, name: &str) -> Result<(), CliError> {
    if objects::is_for(session.format) {
        let printed = objects::print(session, &["services", name]).await;
        return printed.map_err(|error| if error.is("NOT_FOUND") { missing(name) } else { error });
    }
    let service = session.client.service(name).await?.ok_or_else(|| missing(name))?;
    session.console.print(&describe::service(&service))
}

/// `services delete`.
pub(crate) async fn delete(session: &mut Session<'_>, name: &str, when: When) -> Result<(), CliError> {
    session.confirm(&format!("Service [{name}] will be deleted"))?;
    let client = &session.client;
    let operation = client.message(Method::DELETE, &client.path(&["services", name]), Ask::default()).await;
    let operation = operation.map_err(|error| if error.is("NOT_FOUND") { missing(name) } else { error })?;
    if when == When::Begun {
        session.console.say(format_args!("Service [{name}] is being deleted."));
        return Ok(());
    }
    let mut progress = Progress::new(&mut session.console);
    follow::one_stage(client, operation, "Deleting", &mut progress).await?;
    session.console.say(format_args!("Deleted service [{name}]."));
    Ok(())
}
