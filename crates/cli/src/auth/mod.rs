//! Credentials of a client: kept for an endpoint, and turned into tokens.
//!
//! A key file never leaves this machine: what is sent is an assertion that it signed. Each command that needs a token
//! asks for one; tokens are kept nowhere.

mod expiry;
mod kept;

use std::time::{SystemTime, UNIX_EPOCH};

use http::Method;
use serde_json::{Value, json};
use updraft_base::Clock;
use updraft_identity::{
    CLOUD_PLATFORM,
    account_key::{KeyFile, Want},
};

use crate::{
    args::{AuthCommand, Globals, IdentityTokenArgs, LoginArgs},
    client::{Ask, Client},
    console::Console,
    error::{CliError, Exit},
};

use kept::{Credential, Kept};

/// The scopes that a login asks for.
const SCOPE: &str = CLOUD_PLATFORM;
/// The grant of RFC 7523, section 2.1.
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// What a refusal is called whose caller is not known.
const UNAUTHENTICATED: &str = "UNAUTHENTICATED";
/// gcloud's sentence.
const NO_IDENTITY: &str = "No identity token can be obtained from the current credentials.";

/// Where the token of a command comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// From the command line or the environment; or there is none.
    Given,
    /// From the key file of this account, which is kept.
    KeyFile(String),
    /// It is one that is kept, and ends then, in seconds since 1970, if it says when.
    Kept(Option<i64>),
}

/// Carries out a verb about credentials: tokens go to the console's `out`, talk and errors to its `err`.
pub async fn auth(command: AuthCommand, globals: Globals, mut console: Console<'_>, clock: Clock) -> Exit {
    let done = match Kept::open() {
        Ok(kept) => carry_out(command, (&globals, &kept), &mut console, &clock).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => Exit::Done,
        Err(error) => {
            console.whisper(&error);
            error.exit()
        }
    }
}

/// Prints an access token of the credentials that are kept for the endpoint; `None` when there are none.
pub async fn print_kept_token(globals: &Globals) -> Option<Exit> {
    // Where there is no home there are no credentials either.
    let kept = Kept::open().ok()?;
    let mut console = Console::stdio();
    let printed = match kept_token(globals, &kept, &Clock::system()).await {
        Ok(found) => console.print(&format!("{}\n", found?.0)),
        Err(error) => Err(error),
    };
    Some(match printed {
        Ok(()) => Exit::Done,
        Err(error) => {
            console.whisper(&error);
            error.exit()
        }
    })
}

/// The same flags, with the token of the credentials that are kept for their endpoint where they give none; and where the
/// token comes from.
pub(crate) async fn authenticated(globals: Globals, clock: &Clock) -> Result<(Globals, Source), CliError> {
    match Kept::open() {
        Ok(kept) => with_token(globals, &kept, clock).await,
        Err(_) => Ok((globals, Source::Given)),
    }
}

async fn carry_out(
    command: AuthCommand,
    (globals, kept): (&Globals, &Kept),
    console: &mut Console<'_>,
    clock: &Clock,
) -> Result<(), CliError> {
    match command {
        AuthCommand::Login(args) => login(&args, (globals, kept), console, clock).await,
        AuthCommand::Logout => {
            let endpoint = Client::new(globals, clock.clone())?.name();
            match kept.remove(&endpoint)? {
                Some(_) => console.say(format_args!("Forgot the credentials for {endpoint}.")),
                None => console.say(format_args!("No credentials are kept for {endpoint}.")),
            }
            Ok(())
        }
        AuthCommand::PrintIdentityToken(args) => {
            let token = identity_token(&args, (globals, kept), clock).await?;
            console.print(&format!("{token}\n"))
        }
    }
}

// === impl Source ===

impl Source {
    /// A refusal with the advice that fits: a token that has ended is not a token that is missing.
    pub(crate) fn explained(&self, error: CliError, now: SystemTime) -> CliError {
        match self {
            Self::Kept(Some(end)) if error.is(UNAUTHENTICATED) && is_over(*end, now) => {
                let end = expiry::shown(*end);
                error.with_hint(format!(
                    "the token that was kept expired at {end}; log in again with 'updraft auth login'"
                ))
            }
            _ => error,
        }
    }
}

fn is_over(end: i64, now: SystemTime) -> bool {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    u64::try_from(end).is_ok_and(|end| end <= now)
}

/// Tries the credentials before they are kept: a mistake shows here and not in the next command.
async fn login(
    args: &LoginArgs,
    (globals, kept): (&Globals, &Kept),
    console: &mut Console<'_>,
    clock: &Clock,
) -> Result<(), CliError> {
    let client = Client::new(globals, clock.clone())?;
    let (credential, who) = match (&args.key_file, client.secret()) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| CliError::usage(format!("cannot read {}: {error}", path.display())))?;
            let key = KeyFile::parse(&text)
                .map_err(|error| CliError::usage(format!("{} cannot be used: {error}", path.display())))?;
            let without = Globals { token: None, token_file: None, ..globals.clone() };
            exchange(&Client::new(&without, clock.clone())?, &key, Want::Scope(SCOPE), clock).await?;
            let who = key.email().to_owned();
            (Credential::KeyFile(text), who)
        }
        (None, Some((token, _))) => {
            let end = expiry::of(token);
            let tried = client.call(Method::GET, &["updraft", "v1", "info"], Ask::default()).await;
            tried.map_err(|error| match end {
                Some(end) if error.is(UNAUTHENTICATED) && is_over(end, clock.now()) => {
                    error.with_hint(format!("the token expired at {}: get a new one", expiry::shown(end)))
                }
                _ => error,
            })?;
            let until = end.map(|end| format!(", which is good until {}", expiry::shown(end))).unwrap_or_default();
            (Credential::Token(token.to_owned()), format!("the holder of the token{until}"))
        }
        (None, None) => {
            return Err(CliError::usage("there are no credentials to keep")
                .with_hint("name a key file with --key-file, or give a token with UPDRAFT_TOKEN or --token-file"));
        }
    };
    let endpoint = client.name();
    kept.insert(&endpoint, credential)?;
    console.say(format_args!("Logged in at {endpoint} as {who}; kept in {}.", kept.path().display()));
    Ok(())
}

async fn with_token(globals: Globals, kept: &Kept, clock: &Clock) -> Result<(Globals, Source), CliError> {
    if globals.token.is_some() || globals.token_file.is_some() {
        return Ok((globals, Source::Given));
    }
    match kept_token(&globals, kept, clock).await? {
        Some((token, source)) => Ok((Globals { token: Some(token), ..globals }, source)),
        None => Ok((globals, Source::Given)),
    }
}

/// An access token of the credentials that are kept for the endpoint, and which they are.
async fn kept_token(globals: &Globals, kept: &Kept, clock: &Clock) -> Result<Option<(String, Source)>, CliError> {
    let without = Globals { token: None, token_file: None, ..globals.clone() };
    let client = Client::new(&without, clock.clone())?;
    match kept.find(&client.name())? {
        None => Ok(None),
        Some(Credential::Token(token)) => {
            let end = expiry::of(&token);
            Ok(Some((token, Source::Kept(end))))
        }
        Some(Credential::KeyFile(text)) => {
            let key = parsed(&text)?;
            let answer = exchange(&client, &key, Want::Scope(SCOPE), clock).await?;
            Ok(Some((field(&answer, "access_token")?, Source::KeyFile(key.email().to_owned()))))
        }
    }
}

async fn identity_token(
    args: &IdentityTokenArgs,
    (globals, kept): (&Globals, &Kept),
    clock: &Clock,
) -> Result<String, CliError> {
    if let Some(email) = &args.impersonate_service_account {
        let (globals, source) = with_token(globals.clone(), kept, clock).await?;
        let client = Client::new(&globals, clock.clone())?;
        let method = format!("{email}:generateIdToken");
        let path = ["iamcredentials", "v1", "projects", "-", "serviceAccounts", &method];
        let body = json!({"audience": args.audiences, "includeEmail": true});
        let answer = client.call(Method::POST, &path, Ask { query: Vec::new(), body: Some(body) }).await;
        return field(&answer.map_err(|error| source.explained(error, clock.now()))?, "token");
    }
    let client = Client::new(globals, clock.clone())?;
    let Some(Credential::KeyFile(text)) = kept.find(&client.name())? else {
        let hint =
            "log in with 'updraft auth login --key-file FILE', or name an account with --impersonate-service-account";
        return Err(CliError::new(Exit::Denied, NO_IDENTITY).with_hint(hint));
    };
    let answer = exchange(&client, &parsed(&text)?, Want::Audience(&args.audiences), clock).await?;
    field(&answer, "id_token")
}

fn parsed(text: &str) -> Result<KeyFile, CliError> {
    KeyFile::parse(text).map_err(|error| {
        CliError::failed(format!("the key file that is kept cannot be used: {error}"))
            .with_hint("log in again with 'updraft auth login --key-file FILE'")
    })
}

/// Asks the endpoint for a token. Not the address in the key file: who names an endpoint means that server.
async fn exchange(client: &Client, key: &KeyFile, want: Want<'_>, clock: &Clock) -> Result<Value, CliError> {
    let assertion =
        key.assertion(want, clock.now()).map_err(|error| CliError::failed(format!("cannot sign: {error}")))?;
    client.form(&["token"], &[("grant_type", GRANT_TYPE), ("assertion", &assertion)]).await
}

fn field(answer: &Value, name: &str) -> Result<String, CliError> {
    let text = answer[name].as_str().filter(|text| !text.is_empty());
    text.map(str::to_owned).ok_or_else(|| CliError::unexpected(format!("it has no {name}")))
}

#[cfg(test)]
mod tests;
