//! `worker-pools update-instance-split`.

use std::collections::BTreeMap;

use updraft_api::run::WorkerPool;

use super::{OBJECTS, need, show, write};
use crate::{
    args::SplitArgs,
    error::CliError,
    objects,
    run::Session,
    settings,
    traffic::{self, Target},
};

/// `worker-pools update-instance-split`.
pub(super) async fn update(session: &mut Session<'_>, args: &SplitArgs) -> Result<(), CliError> {
    let name = args.worker_pool.as_str();
    let wanted = wanted(args);
    let before = need(&session.client, name).await?;
    let plan = |before: &WorkerPool| {
        let shares = traffic::set_shares(&settings::targets(&before.instance_splits), &wanted);
        let shares = shares.map_err(|error| CliError::usage(error.to_string().replace("traffic", "instances")))?;
        Ok(settings::with_splits(before, &shares))
    };
    let Some(operation) = write::change(&session.client, &before, plan).await? else {
        session.console.say(format_args!("The instance split of worker pool [{name}] is that way already."));
        return print(session, &before).await;
    };
    session.console.say("Updating instance split...");
    if args.asynchronous {
        session.console.say("Updating instance split asynchronously.");
        return Ok(());
    }
    let pool = write::finish(session, operation, write::APPLYING).await?;
    print(session, &pool).await
}

async fn print(session: &mut Session<'_>, pool: &WorkerPool) -> Result<(), CliError> {
    match objects::is_for(session.format) {
        true => objects::print(session, &[OBJECTS, crate::output::id(&pool.name)]).await,
        false => session.console.print(&show::split(pool)),
    }
}

/// The shares that were asked for.
fn wanted(args: &SplitArgs) -> BTreeMap<Target, i32> {
    let mut wanted: BTreeMap<Target, i32> = args
        .to_revisions
        .iter()
        .flat_map(|shares| &shares.0)
        .map(|(revision, percent)| (Target::named(revision), *percent))
        .collect();
    if args.to_latest {
        wanted.insert(Target::Latest, 100);
    }
    wanted
}
