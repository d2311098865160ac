//! `services doctor`.

use std::fmt::Write as _;

use http::Method;
use serde_json::Value;
use updraft_model::diagnosis::printable;

use crate::{client::Ask, deploy::missing, error::CliError, output, run::Session};

/// Says how a revision came up, or why it did not.
pub(crate) async fn doctor(session: &mut Session<'_>, service: &str, revision: Option<&str>) -> Result<(), CliError> {
    let client = &session.client;
    let mut query =
        vec![("project", client.project.as_str()), ("location", client.region.as_str()), ("service", service)];
    query.extend(revision.map(|revision| ("revision", revision)));
    let told = client.call(Method::GET, &["updraft", "v1", "diagnosis"], Ask { query, body: None }).await;
    let told = told.map_err(|error| match revision {
        None if error.is("NOT_FOUND") => missing(service),
        _ => error,
    })?;
    let text = match output::one(session.format, &told)? {
        Some(text) => text,
        None => text(&told),
    };
    session.console.print(&text)
}

/// For people: what happened, why, what to do; then what else was seen.
fn text(told: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (revision, service) = (word(&told["revision"]), word(&told["service"]));
    let found = &told["diagnosis"];
    let code = word(&found["code"]);
    let (mark, head) = match (told["state"].as_str(), found.is_null()) {
        (Some("READY"), true) => (output::READY, "started and is ready; nothing is wrong with it".to_owned()),
        (Some("READY"), false) => (output::FAILED, format!("started once, and its latest start failed: {code}")),
        (Some("FAILED"), true) => (output::FAILED, "is not ready".to_owned()),
        (Some("FAILED"), false) => (output::FAILED, format!("did not start: {code}")),
        _ => (output::PENDING, "is on its way".to_owned()),
    };
    let mut page = format!("{mark} Revision [{revision}] of service [{service}] {head}\n");
    // Writing to a text cannot fail.
    if found.is_null() {
        let message = word(&told["message"]);
        if !message.is_empty() {
            let _ = write!(page, "\n{message}\n");
        }
    } else {
        let _ = write!(
            page,
            "\n{}\n\nCause:  {}\nAdvice: {}\n",
            word(&found["sentence"]),
            word(&found["cause"]),
            word(&found["advice"])
        );
        lines(&mut page, "What was seen:", &found["facts"]);
        lines(&mut page, "Last lines of the container's output:", &found["lastLines"]);
    }
    let serving: Vec<&str> = told["serving"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match &serving[..] {
        [] => page.push_str("\nNo revision takes traffic.\n"),
        [one] if *one == revision => {}
        [one] => {
            let _ = write!(page, "\nRevision [{one}] takes the traffic.\n");
        }
        several => {
            let _ = write!(page, "\nRevisions [{}] take the traffic.\n", several.join("], ["));
        }
    }
    page
}

fn lines(page: &mut String, title: &str, lines: &Value) {
    // They are the container's, and this may be a terminal.
    let lines: Vec<_> = lines.as_array().into_iter().flatten().filter_map(Value::as_str).map(printable).collect();
    if !lines.is_empty() {
        let _ = write!(page, "\n{title}\n  {}\n", lines.join("\n  "));
    }
}
