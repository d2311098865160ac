//! `audit`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{args::AuditArgs, client::Ask, console::one_line, error::CliError, logs::time_of, output, run::Session};

/// Prints the latest calls of the audit log, the oldest first. Of calls that read something there are those that the
/// caller may see.
pub(crate) async fn audit(session: &mut Session<'_>, args: &AuditArgs) -> Result<(), CliError> {
    let mut filter = "logName:\"cloudaudit.googleapis.com\"".to_owned();
    if args.denied {
        // PERMISSION_DENIED and UNAUTHENTICATED.
        filter.push_str(" AND protoPayload.status.code=(7 OR 16)");
    }
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let (mut entries, mut token) = (Vec::new(), String::new());
    loop {
        let body = json!({
            "resourceNames": [format!("projects/{}", session.client.project)],
            "filter": filter,
            "orderBy": "timestamp desc",
            "pageSize": limit - entries.len(),
            "pageToken": token,
        });
        let ask = Ask { query: Vec::new(), body: Some(body) };
        let mut page = session.client.call(Method::POST, &["logging", "v2", "entries:list"], ask).await?;
        if let Value::Array(found) = page["entries"].take() {
            entries.extend(found);
        }
        token = page["nextPageToken"].as_str().unwrap_or_default().to_owned();
        if token.is_empty() || entries.len() >= limit {
            break;
        }
    }
    entries.reverse();
    match output::many(session.format, &entries)? {
        Some(text) => session.console.print(&text),
        None if entries.is_empty() => {
            session.console.say(format_args!("Nothing is on record for project [{}].", session.client.project));
            Ok(())
        }
        None => {
            let rows = entries.iter().map(row).collect();
            session.console.print(&output::table(&["TIME", "WHO", "METHOD", "RESOURCE", "OUTCOME"], rows))
        }
    }
}

fn row(entry: &Value) -> Vec<String> {
    let payload = &entry["protoPayload"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let who = match &payload["authenticationInfo"]["principalEmail"] {
        Value::String(who) => who.clone(),
        _ => "nobody".to_owned(),
    };
    let method = text(&payload["methodName"]);
    let outcome = match payload["status"]["code"].as_i64() {
        None | Some(0) => "ok".to_owned(),
        Some(7 | 16) => "denied".to_owned(),
        Some(code) => format!("failed ({code})"),
    };
    // What is before the name of the method is the same for most of them.
    let method = method.rsplit('.').next().unwrap_or_default().to_owned();
    // Callers choose what they ask for, and who had no right to has a row as well.
    [time_of(entry), who, method, text(&payload["resourceName"]), outcome].map(|cell| one_line(&cell)).into()
}
