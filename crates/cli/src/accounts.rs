//! `iam service-accounts`: accounts, and their keys, whose files are written once and for their owner alone.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Method;
use serde_json::{Value, json};
use updraft_model::Confidential;

use crate::{
    args::{CreateAccountArgs, KeyArgs, KeysCommand, ManagedBy, ServiceAccountsCommand},
    client::Ask,
    error::CliError,
    files::unwritable,
    objects, output,
    policy::{self, Policed},
    run::Session,
};

/// Stands for standard output.
const STDOUT: &str = "-";
/// How many accounts are asked for at a time.
const PAGE: &str = "100";
/// The end of all days, which a key has that does not end.
const NEVER: &str = "9999-";

/// `iam service-accounts …`.
pub(crate) async fn accounts(session: &mut Session<'_>, command: ServiceAccountsCommand) -> Result<(), CliError> {
    match command {
        ServiceAccountsCommand::Create(args) => create(session, &args).await,
        ServiceAccountsCommand::List => list(session).await,
        ServiceAccountsCommand::Describe(args) => {
            let account = session.client.call(Method::GET, &path(&[&args.email]), Ask::default()).await?;
            objects::show(session, &account)
        }
        ServiceAccountsCommand::Delete(args) => {
            let email = &args.email;
            session.confirm(&format!("Service account [{email}] will be deleted with its keys"))?;
            session.client.call(Method::DELETE, &path(&[email]), Ask::default()).await?;
            session.console.say(format_args!("deleted service account [{email}]"));
            Ok(())
        }
        ServiceAccountsCommand::Disable(args) => switch(session, &[&args.email], "disable").await,
        ServiceAccountsCommand::Enable(args) => switch(session, &[&args.email], "enable").await,
        ServiceAccountsCommand::Keys(command) => keys(session, command).await,
        ServiceAccountsCommand::Policy(command) => {
            policy::policy(session, command, |_, email| Policed::account(email)).await
        }
    }
}

async fn keys(session: &mut Session<'_>, command: KeysCommand) -> Result<(), CliError> {
    match command {
        KeysCommand::Create { file, iam_account } => create_key(session, &iam_account, &file).await,
        KeysCommand::List { iam_account, managed_by } => list_keys(session, &iam_account, managed_by).await,
        KeysCommand::Delete(KeyArgs { key, iam_account }) => {
            session.confirm(&format!("Key [{key}] of the service account [{iam_account}] will be deleted"))?;
            session.client.call(Method::DELETE, &path(&[&iam_account, "keys", &key]), Ask::default()).await?;
            session.console.say(format_args!("deleted key [{key}] for service account [{iam_account}]"));
            Ok(())
        }
        KeysCommand::Disable(KeyArgs { key, iam_account }) => {
            switch(session, &[&iam_account, "keys", &key], "disable").await
        }
        KeysCommand::Enable(KeyArgs { key, iam_account }) => {
            switch(session, &[&iam_account, "keys", &key], "enable").await
        }
    }
}

async fn create(session: &mut Session<'_>, args: &CreateAccountArgs) -> Result<(), CliError> {
    let account = json!({"displayName": args.display_name, "description": args.description});
    let body = json!({"accountId": args.name, "serviceAccount": account});
    let project = session.client.project.clone();
    let path = ["iam", "v1", "projects", &project, "serviceAccounts"];
    let made = session.client.call(Method::POST, &path, Ask { query: Vec::new(), body: Some(body) }).await?;
    session.console.say(format_args!("Created service account [{}].", args.name));
    session.console.say(format_args!("Service account email: {}", text(&made, "email")));
    if objects::is_for(session.format) { objects::show(session, &made) } else { Ok(()) }
}

async fn list(session: &mut Session<'_>) -> Result<(), CliError> {
    let (mut accounts, mut token) = (Vec::new(), String::new());
    let project = session.client.project.clone();
    loop {
        let query = [("pageSize", PAGE), ("pageToken", token.as_str())];
        let query = query.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let path = ["iam", "v1", "projects", &project, "serviceAccounts"];
        let mut page = session.client.call(Method::GET, &path, Ask { query, body: None }).await?;
        if let Value::Array(found) = page["accounts"].take() {
            accounts.extend(found);
        }
        text(&page, "nextPageToken").clone_into(&mut token);
        if token.is_empty() {
            break;
        }
    }
    let row = |account: &Value| {
        vec![
            text(account, "displayName").to_owned(),
            text(account, "email").to_owned(),
            yes(account, "disabled").to_owned(),
        ]
    };
    let rows = accounts.iter().map(row).collect();
    objects::rows(session, &accounts, (&["DISPLAY NAME", "EMAIL", "DISABLED"], rows))
}

/// Makes a key and writes its file. The file comes first: the server gives a key out once, so nothing may fail after that
/// which can be seen before.
async fn create_key(session: &mut Session<'_>, email: &str, file: &Path) -> Result<(), CliError> {
    let mut kept = match file.as_os_str() == STDOUT {
        true => None,
        false => Some(
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(file)
                .map_err(|error| unwritable(file, &error))?,
        ),
    };
    let made = match made(session, email).await {
        Ok(made) => made,
        Err(error) => {
            if kept.is_some() {
                // It is empty, and was made a moment ago.
                let _ = fs::remove_file(file);
            }
            return Err(error);
        }
    };
    let written = match &mut kept {
        Some(kept) => {
            let written = kept.write_all(made.file.expose()).and_then(|()| kept.sync_all());
            if written.is_err() {
                // Half of a key is of no use, and no less of a secret.
                let _ = fs::remove_file(file);
            }
            written.map_err(|error| unwritable(file, &error))
        }
        None => session.console.write(made.file.expose()),
    };
    let id = &made.id;
    written.map_err(|error| {
        let hint = format!(
            "the key [{id}] was made and is lost: 'updraft iam service-accounts keys delete {id} --iam-account {email}'"
        );
        error.with_hint(hint)
    })?;
    let place = file.display();
    session.console.say(format_args!("created key [{id}] of type [json] as [{place}] for [{email}]"));
    Ok(())
}

/// A key that was made: its id, and its file.
struct Made {
    id: String,
    file: Confidential,
}

async fn made(session: &Session<'_>, email: &str) -> Result<Made, CliError> {
    let ask = Ask { query: Vec::new(), body: Some(json!({})) };
    let answer = session.client.call(Method::POST, &path(&[email, "keys"]), ask).await?;
    // The decoder's own words could quote the key.
    let file = STANDARD.decode(text(&answer, "privateKeyData")).ok().filter(|file| !file.is_empty());
    let file = file.ok_or_else(|| CliError::unexpected("there is no key file in it"))?;
    Ok(Made { id: output::id(text(&answer, "name")).to_owned(), file: Confidential::new(file) })
}

async fn list_keys(session: &mut Session<'_>, email: &str, managed_by: ManagedBy) -> Result<(), CliError> {
    let query = match managed_by {
        ManagedBy::User => vec![("keyTypes", "USER_MANAGED")],
        ManagedBy::System => vec![("keyTypes", "SYSTEM_MANAGED")],
        ManagedBy::Any => Vec::new(),
    };
    let mut answer = session.client.call(Method::GET, &path(&[email, "keys"]), Ask { query, body: None }).await?;
    let keys = match answer["keys"].take() {
        Value::Array(keys) => keys,
        _ => Vec::new(),
    };
    let row = |key: &Value| {
        let until = text(key, "validBeforeTime");
        vec![
            output::id(text(key, "name")).to_owned(),
            text(key, "validAfterTime").to_owned(),
            if until.starts_with(NEVER) { String::new() } else { until.to_owned() },
            yes(key, "disabled").to_owned(),
        ]
    };
    let rows = keys.iter().map(row).collect();
    objects::rows(session, &keys, (&["KEY_ID", "CREATED_AT", "EXPIRES_AT", "DISABLED"], rows))
}

/// Enables or disables what is at this path: an account or a key.
async fn switch(session: &mut Session<'_>, rest: &[&str], verb: &str) -> Result<(), CliError> {
    let (last, before) = rest.split_last().unwrap_or((&"", &[]));
    let method = format!("{last}:{verb}");
    let ask = Ask { query: Vec::new(), body: Some(json!({})) };
    session.client.call(Method::POST, &path(&[before, &[method.as_str()]].concat()), ask).await?;
    let done = if verb == "enable" { "Enabled" } else { "Disabled" };
    session.console.say(match before {
        [] => format!("{done} service account [{last}]."),
        [email, ..] => format!("{done} key [{last}] for service account [{email}]."),
    });
    Ok(())
}

/// Of whichever project it is: the address says that.
fn path<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&["iam", "v1", "projects", "-", "serviceAccounts"], rest].concat()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn yes(value: &Value, field: &str) -> &'static str {
    if value[field].as_bool() == Some(true) { "True" } else { "False" }
}
