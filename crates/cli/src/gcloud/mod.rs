//! `gcloud setup`, `env` and `ca`: how gcloud and the client libraries find the server and trust it.

mod ini;
mod properties;

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use http::Method;
use serde_json::{Map, Value};

use crate::{
    args::{ExportShell, ExportsArgs, Format, GcloudCommand, SetupArgs, SetupAuth},
    auth::Source,
    client::{Ask, Client},
    error::CliError,
    files::{unwritable, write},
    output,
    run::Session,
};
use properties::{Place, Secret, overruled, properties, variables};

/// The name of the configuration.
const NAME: &str = "updraft";
/// The file with the token, beside that of the authority.
const TOKEN: &str = "token";

/// What becomes of the client's own token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// It is put where others read it.
    Kept,
    /// It is nobody else's.
    Left,
}

/// `gcloud …`.
pub(crate) async fn gcloud(session: &mut Session<'_>, command: GcloudCommand) -> Result<(), CliError> {
    match command {
        GcloudCommand::Setup(args) => setup(session, &args).await,
    }
}

/// Prints the certificate of the server's own authority.
pub(crate) async fn ca(session: &mut Session<'_>) -> Result<(), CliError> {
    let pem = authority(&session.client).await?.ok_or_else(|| {
        CliError::failed("the server has no certificate authority of its own")
            .with_hint("TLS is off, or it shows a certificate of its operator's: see 'tls-listen' and 'tls-cert'")
    })?;
    session.console.print(&pem)
}

/// Writes gcloud's configuration. Running it again changes only what has changed; what others wrote into the
/// configuration stays.
async fn setup(session: &mut Session<'_>, args: &SetupArgs) -> Result<(), CliError> {
    let home = |rest: &str| home().map(|home| home.join(rest));
    let dir = match (&args.config_dir, std::env::var_os("CLOUDSDK_CONFIG")) {
        (Some(dir), _) => dir.clone(),
        (None, Some(dir)) if !dir.is_empty() => PathBuf::from(dir),
        (None, _) => home(".config/gcloud")?,
    };
    let dir = std::path::absolute(&dir).map_err(|error| unwritable(&dir, &error))?;
    let own = dir.join(NAME);
    let place = match is_by_account(args.auth, &session.source) {
        true => Place { secret: Secret::Account, ..find(&session.client, &own, Token::Left).await? },
        false => find(&session.client, &own, Token::Kept).await?,
    };
    let path = dir.join("configurations").join(format!("config_{NAME}"));
    let before = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(CliError::failed(format!("cannot read {}: {error}", path.display()))),
    };
    let properties = properties(&place);
    let after = ini::edit(&before, &properties);
    if after != before {
        write(&path, after.as_bytes(), 0o600)?;
    }
    // Now that no configuration names it.
    forget(&own.join(TOKEN), &place.secret)?;
    let console = &mut session.console;
    let done = if after == before { "is as it should be" } else { "written" };
    console.say(format_args!("gcloud configuration [{NAME}] {done}: {}", path.display()));
    let current = fs::read_to_string(dir.join("active_config")).unwrap_or_default();
    let current = match current.trim() {
        "" | NAME => "default",
        other => other,
    };
    console.say(format_args!(
        "Switch to it:      gcloud config configurations activate {NAME}\n\
         Switch back:       gcloud config configurations activate {current}\n\
         For one command:   gcloud --configuration {NAME} run services list\n\
         For one shell:     export CLOUDSDK_ACTIVE_CONFIG_NAME={NAME}"
    ));
    if place.secret == Secret::Account {
        console.say(account_advice(&session.source));
    }
    for variable in overruled(&properties, |name| std::env::var(name).ok()) {
        console.say(format_args!("${variable} is set and says something else: gcloud heeds it first. Unset it."));
    }
    if args.config_dir.is_some() {
        console.say(format_args!("gcloud reads this directory with CLOUDSDK_CONFIG={}", dir.display()));
    }
    if !place.is_secure() {
        console.say("The server has no TLS port: gcloud's commands that speak gRPC (worker pools) will not reach it.");
    }
    Ok(())
}

/// Prints the same as variables.
pub(crate) async fn env(session: &mut Session<'_>, args: &ExportsArgs) -> Result<(), CliError> {
    let dir = match (&args.config_dir, std::env::var_os("XDG_CONFIG_HOME")) {
        (Some(dir), _) => dir.clone(),
        (None, Some(dir)) if !dir.is_empty() => PathBuf::from(dir).join(NAME),
        (None, _) => home()?.join(".config").join(NAME),
    };
    let dir = std::path::absolute(&dir).map_err(|error| unwritable(&dir, &error))?;
    let place = find(&session.client, &dir, Token::Kept).await?;
    let variables = variables(&place);
    let format = session.format.filter(|format| *format != Format::Table);
    if format.is_some() {
        let set = variables.into_iter().filter_map(|(name, value)| Some((name, Value::from(value?))));
        let all: Map<String, Value> = set.collect();
        let text = output::one(format, &Value::Object(all))?.unwrap_or_default();
        return session.console.print(&text);
    }
    let line = |(name, value): (String, Option<String>)| match (args.shell, value) {
        (ExportShell::Bash, Some(value)) => format!("export {name}={}\n", quoted(&value, "'\\''")),
        (ExportShell::Bash, None) => format!("unset {name}\n"),
        (ExportShell::Fish, Some(value)) => format!("set -gx {name} {}\n", quoted(&value.replace('\\', "\\\\"), "\\'")),
        (ExportShell::Fish, None) => format!("set -e {name}\n"),
    };
    let text: String = variables.into_iter().map(line).collect();
    session.console.print(&text)
}

/// Does gcloud prove who it is by an account of its own? A key file that is kept is the better one of the two: a token of
/// it ends after an hour.
fn is_by_account(asked: Option<SetupAuth>, source: &Source) -> bool {
    match asked {
        Some(auth) => auth == SetupAuth::Account,
        None => matches!(source, Source::KeyFile(_)),
    }
}

fn account_advice(source: &Source) -> String {
    let which = match source {
        Source::KeyFile(email) => format!("{email} by its key file"),
        Source::Given | Source::Kept(_) => "a service account by its key file".to_owned(),
    };
    format!(
        "gcloud uses the account that is active in this configuration. To activate {which}:\n  \
         gcloud --configuration {NAME} auth activate-service-account --key-file KEY_FILE"
    )
}

/// Takes the token away that an earlier setup wrote, if it is not the one that is used now, by whatever name.
fn forget(own: &Path, secret: &Secret) -> Result<(), CliError> {
    let real = |path: &Path| fs::canonicalize(path).ok();
    if let Secret::File(file) = secret
        && real(Path::new(file)) == real(own)
    {
        return Ok(());
    }
    match fs::remove_file(own) {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        Err(error) => Err(CliError::failed(format!("cannot remove {}: {error}", own.display()))),
    }
}

/// Where the server is and how it is spoken to. What clients read from files is kept in `dir`: the authority, and the
/// token if it did not come from a file.
async fn find(client: &Client, dir: &Path, token: Token) -> Result<Place, CliError> {
    let info = client.call(Method::GET, &["updraft", "v1", "info"], Ask::default()).await?;
    let (base, is_secure) = client.base(info["tls"].as_str());
    let authority = match is_secure {
        true => authority(client).await?,
        false => None,
    };
    let ca_file = match authority {
        Some(pem) => Some(keep(&dir.join("ca.pem"), pem.as_bytes(), 0o644)?),
        None => None,
    };
    let secret = match client.secret().filter(|_| token == Token::Kept) {
        None => Secret::None,
        Some((_, Some(file))) => {
            let file = std::path::absolute(file).map_err(|error| unwritable(file, &error))?;
            Secret::File(file.display().to_string())
        }
        Some((token, None)) => Secret::File(keep(&dir.join(TOKEN), token.as_bytes(), 0o600)?),
    };
    Ok(Place { base, ca_file, secret, project: client.project.clone(), region: client.region.clone() })
}

async fn authority(client: &Client) -> Result<Option<String>, CliError> {
    match client.stream(&["updraft", "v1", "ca"], &[]).await {
        Ok(answer) => answer.text().await.map(Some).map_err(CliError::unexpected),
        Err(error) if error.is("NOT_FOUND") => Ok(None),
        Err(error) => Err(error),
    }
}

fn home() -> Result<PathBuf, CliError> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    home.map(PathBuf::from)
        .ok_or_else(|| CliError::usage("$HOME is not set").with_hint("--config-dir says where the files may go"))
}

/// A text in single quotes; `escape` is how the shell spells one inside.
fn quoted(text: &str, escape: &str) -> String {
    format!("'{}'", text.replace('\'', escape))
}

/// Writes a file unless it is there already, with this mode, and gives its name.
fn keep(path: &Path, content: &[u8], mode: u32) -> Result<String, CliError> {
    let has_mode = fs::symlink_metadata(path).is_ok_and(|there| there.is_file() && there.mode() & 0o7777 == mode);
    if !has_mode || fs::read(path).ok().as_deref() != Some(content) {
        write(path, content, mode)?;
    }
    Ok(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_used_when_it_is_asked_for_or_its_key_file_is_kept() {
        let key_file = Source::KeyFile("a@p.iam.gserviceaccount.com".to_owned());
        for (asked, source, expected) in [
            (None, &key_file, true),
            (None, &Source::Kept(None), false),
            (None, &Source::Given, false),
            (Some(SetupAuth::Token), &key_file, false),
            (Some(SetupAuth::Account), &Source::Given, true),
        ] {
            assert_eq!(is_by_account(asked, source), expected, "{asked:?} {source:?}");
        }
        assert!(account_advice(&key_file).contains("activate a@p.iam.gserviceaccount.com by its key file:"));
    }

    #[test]
    fn values_survive_the_shell() {
        assert_eq!(quoted("it's", "'\\''"), "'it'\\''s'");
        assert_eq!(quoted("$HOME `x`", "'\\''"), "'$HOME `x`'");
    }
}
