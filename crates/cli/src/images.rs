//! `images load`, `list` and `delete`: the server's own registry.

mod archive;

use http::Method;
use serde_json::Value;

use crate::{
    args::LoadArgs,
    client::Ask,
    error::{CliError, Exit},
    output,
    progress::{Progress, Stage},
    run::Session,
};

const LOADING: &str = "Loading image";

/// `images load`.
pub(crate) async fn load(session: &mut Session<'_>, args: &LoadArgs) -> Result<(), CliError> {
    let archive = archive::open(&args.path)?;
    let query: Vec<(&str, &str)> = args.name.iter().map(|name| ("name", name.as_str())).collect();
    session.console.say(format_args!("Loading [{}] ({})", args.path.display(), archive.size()));
    let mut progress = Progress::new(&mut session.console);
    progress.show(&[(LOADING, Stage::Running)]);
    let answer = session.client.upload(&["updraft", "v1", "images:load"], &query, archive.into_body()).await;
    let answer = answer.inspect_err(|_| progress.fail())?;
    progress.show(&[(LOADING, Stage::Done)]);
    print(session, &answer)
}

/// `images list`.
pub(crate) async fn list(session: &mut Session<'_>) -> Result<(), CliError> {
    let answer = session.client.call(Method::GET, &["updraft", "v1", "images"], Ask::default()).await?;
    print(session, &answer)
}

/// `images delete`.
pub(crate) async fn delete(session: &mut Session<'_>, image: &str) -> Result<(), CliError> {
    session.confirm(&format!("Image [{image}] will be deleted"))?;
    let ask = Ask { query: vec![("name", image)], body: None };
    let deleted = session.client.call(Method::DELETE, &["updraft", "v1", "images"], ask).await;
    deleted.map_err(|error| match error.exit() {
        Exit::NotFound => CliError::new(Exit::NotFound, format!("cannot find image [{image}]"))
            .with_hint("'updraft images list' shows those of this server"),
        _ => error,
    })?;
    session.console.say(format_args!("Deleted image [{image}]."));
    Ok(())
}

fn print(session: &mut Session<'_>, answer: &Value) -> Result<(), CliError> {
    let images = answer["images"].as_array().cloned().unwrap_or_default();
    if let Some(text) = output::many(session.format, &images)? {
        return session.console.print(&text);
    }
    if images.is_empty() {
        session.console.say("Listed 0 items.");
        return Ok(());
    }
    let cell = |image: &Value, field: &str| image[field].as_str().unwrap_or_default().to_owned();
    let rows = images.iter().map(|image| vec![cell(image, "reference"), cell(image, "digest")]);
    session.console.print(&output::table(&["IMAGE", "DIGEST"], rows.collect()))
}
