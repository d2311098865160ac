//! `services logs`, `services explain`, and the `logs` of jobs, executions and worker pools.

use futures::TryStreamExt;
use reqwest::StatusCode;
use serde_json::Value;
use tokio::io::AsyncBufReadExt;
use tokio_util::io::StreamReader;

use crate::{
    args::{ExplainArgs, Format, LogsArgs},
    client::{Client, refusal},
    deploy,
    error::CliError,
    jobs, output, pools,
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
    let subject = Subject::Service { service, revision: args.revision.as_deref() };
    print(session, &subject, args.limit, args.follow).await
}

/// Whose entries are to be printed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// Those of a service, or of one revision of it.
    Service { service: &'a str, revision: Option<&'a str> },
    /// Those of a job, of one execution of it, of the tasks with one index.
    Job { job: &'a str, execution: Option<&'a str>, task: Option<u32> },
    /// Those of a worker pool, or of one revision of it.
    Pool { pool: &'a str, revision: Option<&'a str> },
}

// === impl Subject ===

impl Subject<'_> {
    /// The name that a query has to have: its parameter and its value.
    fn name(&self) -> (&'static str, &str) {
        match *self {
            Self::Service { service, .. } => ("service", service),
            Self::Job { job, .. } => ("job", job),
            Self::Pool { pool, .. } => ("workerPool", pool),
        }
    }

    /// What else it says, as parameters of a query.
    fn parts(&self) -> Vec<(&'static str, String)> {
        let parts = match *self {
            Self::Service { revision, .. } | Self::Pool { revision, .. } => {
                [("revision", revision.map(str::to_owned)), ("", None)]
            }
            Self::Job { execution, task, .. } => {
                [("execution", execution.map(str::to_owned)), ("task", task.map(|index| index.to_string()))]
            }
        };
        parts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// What to say when there is no such thing; `None` when there is.
    async fn missing(&self, client: &Client) -> Result<Option<CliError>, CliError> {
        Ok(match *self {
            Self::Service { service, .. } => client.service(service).await?.is_none().then(|| deploy::missing(service)),
            Self::Job { job, .. } => jobs::find(client, job).await?.is_none().then(|| jobs::missing(job)),
            Self::Pool { pool, .. } => pools::find(client, pool).await?.is_none().then(|| pools::missing(pool)),
        })
    }
}

/// Prints the latest decisions of the scaler for a service, oldest first, as they come in; with `--follow` also those to
/// come.
pub(crate) async fn explain(session: &mut Session<'_>, args: &ExplainArgs) -> Result<(), CliError> {
    let subject = Subject::Service { service: &args.service, revision: args.revision.as_deref() };
    let wanted = Wanted { subject: &subject, limit: args.limit, follow: args.follow, which: Some("decisions") };
    if print_which(session, wanted).await? == 0 && !args.follow {
        session
            .console
            .say(format_args!("Nothing has been decided for [{}] yet: it has had no instance.", args.service));
    }
    Ok(())
}

/// Prints the latest entries, oldest first, as they come in; with `follow` also those to come.
pub(crate) async fn print(
    session: &mut Session<'_>,
    subject: &Subject<'_>,
    limit: u32,
    follow: bool,
) -> Result<(), CliError> {
    print_which(session, Wanted { subject, limit, follow, which: None }).await.map(drop)
}

/// Which entries are to be printed.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    subject: &'a Subject<'a>,
    limit: u32,
    follow: bool,
    /// `decisions`, or what is printed unless something else is asked for.
    which: Option<&'static str>,
}

/// Prints them, and says how many there were.
async fn print_which(session: &mut Session<'_>, wanted: Wanted<'_>) -> Result<usize, CliError> {
    let Wanted { subject, follow, .. } = wanted;
    let (limit, parts) = (wanted.limit.to_string(), subject.parts());
    let client = &session.client;
    let mut query = vec![
        ("project", client.project.as_str()),
        ("location", client.region.as_str()),
        subject.name(),
        ("limit", limit.as_str()),
    ];
    query.extend(wanted.which.map(|which| ("which", which)));
    query.extend(parts.iter().map(|(name, value)| (*name, value.as_str())));
    query.extend(follow.then_some(("follow", "true")));
    let response = client.stream(&["updraft", "v1", "logs"], &query).await?;
    let broken = |error: std::io::Error| CliError::failed(format!("the log broke off: {error}"));
    let mut lines = StreamReader::new(response.bytes_stream().map_err(std::io::Error::other)).lines();
    let (mut entries, mut count) = (Vec::new(), 0);
    while let Some(line) = lines.next_line().await.map_err(broken)? {
        if line.is_empty() {
            continue;
        }
        count += 1;
        let entry: Value = serde_json::from_str(&line).map_err(CliError::unexpected)?;
        if let Some(lost) = entry["lost"].as_u64() {
            session.console.say(format_args!("{lost} lines came too fast to be shown; they are in the log"));
            continue;
        }
        // The last line of who may not go on reading.
        let code =
            entry["error"]["code"].as_u64().and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok());
        if let Some(code) = code {
            return Err(refusal(code, &line));
        }
        match session.format {
            // There is no end to wait for.
            Some(Format::Json) if follow => session.console.print(&format!("{entry}\n"))?,
            Some(Format::Yaml | Format::Export) if follow => {
                let document = output::one(session.format, &entry)?.unwrap_or_default();
                session.console.print(&format!("---\n{document}"))?;
            }
            Some(Format::Json | Format::Yaml | Format::Export) => entries.push(entry),
            Some(Format::Table) | None => session.console.print(&text(&entry))?,
        }
    }
    // What is gone may have left lines; what that never was has none, and saying nothing would look like success.
    if count == 0
        && let Some(missing) = subject.missing(&session.client).await?
    {
        return Err(missing);
    }
    match output::many(session.format, &entries)? {
        Some(text) if !follow => session.console.print(&text)?,
        Some(_) | None => {}
    }
    Ok(count)
}

/// `2026-11-21 08:14:40 hello`, as gcloud prints an entry: of a request its method, status and URL; of an object the
/// JSON on a line. Of a job there also is whose line it is: its tasks write at the same time.
fn text(entry: &Value) -> String {
    let time = time_of(entry);
    let http = &entry["httpRequest"];
    if let (Some(method), Some(url)) = (http["requestMethod"].as_str(), http["requestUrl"].as_str()) {
        return format!("{time} {method} {} {url}\n", http["status"]);
    }
    // A decision is for a revision, and a service has several.
    let revision = entry["resource"]["labels"]["revision_name"].as_str().unwrap_or_default();
    let time = match task(entry) {
        Some(task) => format!("{time} {task}"),
        None => time,
    };
    match (&entry["textPayload"], &entry["jsonPayload"]) {
        (Value::String(text), _) if is_decision(entry) => format!("{time} {revision} {text}\n"),
        (Value::String(text), _) => format!("{time} {text}\n"),
        (_, Value::Null) => format!("{time}\n"),
        (_, object) => format!("{time} {object}\n"),
    }
}

/// When an entry was written.
pub(crate) fn time_of(entry: &Value) -> String {
    let time = entry["timestamp"].as_str().unwrap_or_default();
    match time.parse::<jiff::Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => time.to_owned(),
    }
}

/// The execution and the index of the task that wrote an entry: `job1-dcb4a/3`.
fn task(entry: &Value) -> Option<String> {
    let label = |name: &str| entry["labels"][format!("run.googleapis.com/{name}")].as_str();
    Some(format!("{}/{}", label("execution_name")?, label("task_index")?))
}

fn is_decision(entry: &Value) -> bool {
    entry["logName"].as_str().is_some_and(|name| name.ends_with("varlog%2Fscaling"))
}
