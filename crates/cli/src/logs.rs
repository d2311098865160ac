//! `services logs`.

use futures::TryStreamExt;
use serde_json::Value;
use tokio::io::AsyncBufReadExt;
use tokio_util::io::StreamReader;

use crate::{
    args::{Format, LogsArgs},
    deploy,
    error::CliError,
    output,
    run::Session,
};

/// Prints the latest lines of a service, oldest first, as they come in; with `--follow` also those to come.
pub(crate) async fn read(session: &mut Session<'_>, args: &LogsArgs) -> Result<(), CliError> {
    let service = match &args.words[..] {
        [service] => service,
        [verb, service] if verb == "read" => service,
        _ => {
            return Err(CliError::usage("logs takes one service")
                .with_hint("write 'updraft services logs SERVICE' or 'updraft services logs read SERVICE'"));
        }
    };
    let limit = args.limit.to_string();
    let client = &session.client;
    let mut query = vec![
        ("project", client.project.as_str()),
        ("location", client.region.as_str()),
        ("service", service.as_str()),
        ("limit", limit.as_str()),
    ];
    query.extend(args.revision.as_deref().map(|revision| ("revision", revision)));
    query.extend(args.follow.then_some(("follow", "true")));
    let response = client.stream(&["updraft", "v1", "logs"], &query).await?;
    let broken = |error: std::io::Error| CliError::failed(format!("the log broke off: {error}"));
    let mut lines = StreamReader::new(response.bytes_stream().map_err(std::io::Error::other)).lines();
    let (mut entries, mut any) = (Vec::new(), false);
    while let Some(line) = lines.next_line().await.map_err(broken)? {
        if line.is_empty() {
            continue;
        }
        any = true;
        let entry: Value = serde_json::from_str(&line).map_err(CliError::unexpected)?;
        if let Some(lost) = entry["lost"].as_u64() {
            session.console.say(format_args!("{lost} lines came too fast to be shown; they are in the log"));
            continue;
        }
        match session.format {
            // There is no end to wait for.
            Some(Format::Json) if args.follow => session.console.print(&format!("{entry}\n"))?,
            Some(Format::Yaml | Format::Export) if args.follow => {
                let document = output::one(session.format, &entry)?.unwrap_or_default();
                session.console.print(&format!("---\n{document}"))?;
            }
            Some(Format::Json | Format::Yaml | Format::Export) => entries.push(entry),
            Some(Format::Table) | None => session.console.print(&text(&entry))?,
        }
    }
    // A service that is gone may have left lines; one that never was has none, and saying nothing would look like success.
    if !any && session.client.service(service).await?.is_none() {
        return Err(deploy::missing(service));
    }
    match output::many(session.format, &entries)? {
        _ if args.follow => Ok(()),
        Some(text) => session.console.print(&text),
        None => Ok(()),
    }
}

/// `2026-11-21 08:14:40 hello`, as gcloud prints an entry: of a request its method, status and URL; of an object the
/// JSON on a line.
fn text(entry: &Value) -> String {
    let time = entry["timestamp"].as_str().unwrap_or_default();
    let time = match time.parse::<jiff::Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => time.to_owned(),
    };
    let http = &entry["httpRequest"];
    if let (Some(method), Some(url)) = (http["requestMethod"].as_str(), http["requestUrl"].as_str()) {
        return format!("{time} {method} {} {url}\n", http["status"]);
    }
    match (&entry["textPayload"], &entry["jsonPayload"]) {
        (Value::String(text), _) => format!("{time} {text}\n"),
        (_, Value::Null) => format!("{time}\n"),
        (_, object) => format!("{time} {object}\n"),
    }
}
