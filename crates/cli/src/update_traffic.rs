//! `services update-traffic`.

use std::collections::BTreeMap;

use updraft_api::run::{Service, TrafficTarget};

use crate::{
    args::TrafficArgs,
    client::subject,
    deploy::{change, missing},
    describe,
    error::CliError,
    follow, objects, output,
    progress::Progress,
    run::Session,
    settings,
    traffic::{self, Remove, TagChange, Target, TrafficError},
    values::{Pairs, Shares},
};

/// `services update-traffic`.
pub(crate) async fn update_traffic(session: &mut Session<'_>, args: &TrafficArgs) -> Result<(), CliError> {
    let name = &args.service;
    let before = session.client.service(name).await?.ok_or_else(|| missing(name))?;
    let plan = |before: &Service| {
        let after = table(&before.traffic, args).map_err(|error| refusal(&error))?;
        Ok(settings::with_traffic(before, after))
    };
    let Some(change) = change(&session.client, &before, plan).await? else {
        session.console.say(format_args!("The traffic of service [{name}] is that way already."));
        return print(session, &before).await;
    };
    session.console.say("Updating traffic...");
    if args.asynchronous {
        session.console.say(format_args!("The traffic of service [{name}] is changing asynchronously."));
        let service: Option<Service> = subject(&change.operation);
        return print(session, &service.unwrap_or(before)).await;
    }
    let mut progress = Progress::new(&mut session.console);
    let service = follow::service(&session.client, change, &mut progress).await?;
    session.console.say("Done.");
    print(session, &service).await
}

async fn print(session: &mut Session<'_>, service: &Service) -> Result<(), CliError> {
    match session.format {
        None | Some(crate::args::Format::Table) => session.console.print(&describe::traffic(service)),
        Some(_) => objects::print_if_asked(session, &["services", output::id(&service.name)]).await,
    }
}

/// The table after the flags: tags first, then shares.
fn table(before: &[TrafficTarget], args: &TrafficArgs) -> Result<Vec<TrafficTarget>, TrafficError> {
    let mut table = before.to_vec();
    if let Some(change) = tag_change(args) {
        table = traffic::set_tags(&table, &change);
    }
    let mut shares = BTreeMap::new();
    if args.to_latest {
        shares.insert(Target::Latest, 100);
    }
    for (revision, percent) in all(&args.to_revisions) {
        shares.insert(Target::named(revision), percent);
    }
    for (tag, percent) in all(&args.to_tags) {
        // Two tags may lead to one revision; it gets both shares.
        *shares.entry(traffic::of_tag(&table, tag)?).or_default() += percent;
    }
    if shares.is_empty() { Ok(table) } else { traffic::set_shares(&table, &shares) }
}

fn tag_change(args: &TrafficArgs) -> Option<TagChange> {
    let given =
        args.clear_tags || !args.set_tags.is_empty() || !args.update_tags.is_empty() || !args.remove_tags.is_empty();
    let remove = if args.clear_tags || !args.set_tags.is_empty() {
        Remove::All
    } else {
        Remove::These(args.remove_tags.iter().flat_map(|list| list.0.clone()).collect())
    };
    let set = Pairs::all(&args.set_tags).chain(Pairs::all(&args.update_tags));
    let set = set.map(|(tag, revision)| (tag.to_owned(), Target::named(revision))).collect();
    given.then_some(TagChange { remove, set })
}

fn all(given: &[Shares]) -> impl Iterator<Item = (&str, i32)> {
    given.iter().flat_map(|shares| &shares.0).map(|(name, percent)| (name.as_str(), *percent))
}

fn refusal(error: &TrafficError) -> CliError {
    let refused = CliError::usage(error.to_string());
    match error {
        TrafficError::NoSuchTag(_) => refused.with_hint("'updraft services describe' shows the tags of a service"),
        TrafficError::TooMuch(_) | TrafficError::TooLittle(_) => refused,
    }
}
