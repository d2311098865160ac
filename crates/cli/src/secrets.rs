//! `secrets`: values in from files, out as they are.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use http::Method;
use serde_json::{Map, Value, json};
use updraft_api::secretmanager::{
    AccessSecretVersionResponse, AddSecretVersionRequest, ListSecretVersionsResponse, ListSecretsResponse, Secret,
    SecretPayload, SecretVersion, replication::Replication,
};
use updraft_model::{
    Confidential,
    secret::{PAYLOAD_MAX, crc32c},
};

use crate::{
    args::{
        CreateSecretArgs, ListSecretsArgs, ReplicationPolicy, SecretsArgs, SecretsCommand, VersionArgs, VersionsCommand,
    },
    client::{Ask, encode},
    error::{CliError, Exit},
    files::{replace, unwritable},
    objects, output,
    policy::{self, Policed},
    run::Session,
    values::Pairs,
};

/// Stands for standard input.
const STDIN: &str = "-";
/// How many secrets or versions are asked for at a time.
const PAGE: &str = "500";

/// Where secrets are.
struct Place(Vec<String>);

/// `secrets …`.
pub(crate) async fn secrets(session: &mut Session<'_>, args: SecretsArgs) -> Result<(), CliError> {
    let place = Place::of(session, args.location.as_deref());
    match args.command {
        SecretsCommand::Create(create) => self::create(session, &place, &create).await,
        SecretsCommand::List(list) => self::list(session, &place, &list).await,
        SecretsCommand::Describe { secret } => {
            let shown = session.client.call(Method::GET, &place.path(&[&secret]), Ask::default()).await?;
            objects::show(session, &shown)
        }
        SecretsCommand::Delete { secret, etag } => delete(session, &place, (&secret, etag.as_deref())).await,
        SecretsCommand::Versions(command) => versions(session, &place, command).await,
        SecretsCommand::RotateKey => rotate(session).await,
        SecretsCommand::Policy(command) => {
            policy::policy(session, command, |_, secret| Policed::secret(secret, &place.path(&[secret]))).await
        }
    }
}

async fn versions(session: &mut Session<'_>, place: &Place, command: VersionsCommand) -> Result<(), CliError> {
    match command {
        VersionsCommand::Add { secret, data_file } => {
            let value = read(session, &data_file)?;
            add(session, place, (&secret, &value)).await
        }
        VersionsCommand::List { secret, list } => list_versions(session, place, (&secret, &list)).await,
        VersionsCommand::Access { version, secret, out_file } => {
            access(session, place, (&secret, &version, out_file.as_deref())).await
        }
        VersionsCommand::Describe(args) => {
            let path = place.path(&[&args.secret, "versions", &args.version]);
            let shown = session.client.call(Method::GET, &path, Ask::default()).await?;
            objects::show(session, &shown)
        }
        VersionsCommand::Disable(args) => change(session, place, (&args, "disable", "Disabled")).await,
        VersionsCommand::Enable(args) => change(session, place, (&args, "enable", "Enabled")).await,
        VersionsCommand::Destroy(args) => {
            let VersionArgs { version, secret, .. } = &args;
            session.confirm(&format!("Version [{version}] of the secret [{secret}] will be destroyed for ever"))?;
            change(session, place, (&args, "destroy", "Destroyed")).await
        }
    }
}

async fn create(session: &mut Session<'_>, place: &Place, args: &CreateSecretArgs) -> Result<(), CliError> {
    // Before anything is made: a file that is not there leaves no secret without a version.
    let value = args.data_file.as_deref().map(|file| read(session, file)).transpose()?;
    let ask = Ask { query: vec![("secretId", args.secret.as_str())], body: Some(described(place, args)) };
    session.client.call(Method::POST, &place.path(&[]), ask).await?;
    match value {
        Some(value) => {
            let added = add(session, place, (&args.secret, &value)).await;
            added.map_err(|error| half_made(place, &args.secret, error))
        }
        None => {
            session.console.say(format_args!("Created secret [{}].", args.secret));
            Ok(())
        }
    }
}

/// The secret is there and its first version is not: to create it again would be refused.
fn half_made(place: &Place, secret: &str, error: CliError) -> CliError {
    let note = match error.exit() {
        // The answer may be what was lost.
        Exit::Unreachable => format!("the secret [{secret}] was created; it may be without a version"),
        _ => format!("the secret [{secret}] was created and is without a version"),
    };
    let location = place.location().map(|location| format!(" --location {location}")).unwrap_or_default();
    error
        .with_note(note)
        .with_hint(format!("add its value with 'updraft secrets versions add {secret}{location} --data-file FILE'"))
}

/// The secret that `secrets create` makes.
fn described(place: &Place, args: &CreateSecretArgs) -> Value {
    let mut secret = Map::new();
    // What belongs to a region is there and nowhere else.
    if place.location().is_none() {
        let replication = match args.replication_policy {
            ReplicationPolicy::Automatic => json!({"automatic": {}}),
            ReplicationPolicy::UserManaged => {
                let locations = args.locations.iter().flat_map(|list| &list.0);
                let replicas: Vec<Value> = locations.map(|location| json!({"location": location})).collect();
                json!({"userManaged": {"replicas": replicas}})
            }
        };
        secret.insert("replication".to_owned(), replication);
    }
    for (field, pairs) in [("labels", &args.labels), ("annotations", &args.annotations)] {
        let entries: Map<String, Value> =
            pairs.iter().flat_map(|Pairs(pairs)| pairs).map(|(key, value)| (key.clone(), json!(value))).collect();
        if !entries.is_empty() {
            secret.insert(field.to_owned(), Value::Object(entries));
        }
    }
    let texts =
        [("ttl", &args.ttl), ("expireTime", &args.expire_time), ("versionDestroyTtl", &args.version_destroy_ttl)];
    for (field, text) in texts {
        if let Some(text) = text {
            secret.insert(field.to_owned(), json!(text));
        }
    }
    Value::Object(secret)
}

async fn add(session: &mut Session<'_>, place: &Place, (secret, value): (&str, &Confidential)) -> Result<(), CliError> {
    let (data, data_crc32c) = (value.expose().to_vec(), Some(i64::from(crc32c(value.expose()))));
    let request = AddSecretVersionRequest { parent: String::new(), payload: Some(SecretPayload { data, data_crc32c }) };
    let ask = Ask { query: Vec::new(), body: Some(encode(&request)?) };
    let path = format!("{secret}:addVersion");
    let added: SecretVersion = session.client.message(Method::POST, &place.path(&[&path]), ask).await?;
    session.console.say(format_args!("Created version [{}] of the secret [{secret}].", output::id(&added.name)));
    Ok(())
}

async fn access(
    session: &mut Session<'_>,
    place: &Place,
    (secret, version, file): (&str, &str, Option<&Path>),
) -> Result<(), CliError> {
    let last = format!("{version}:access");
    let path = place.path(&[secret, "versions", &last]);
    let read: AccessSecretVersionResponse = session.client.message(Method::GET, &path, Ask::default()).await?;
    let payload = read.payload.unwrap_or_default();
    let value = Confidential::new(payload.data);
    if payload.data_crc32c.is_some_and(|sum| sum != i64::from(crc32c(value.expose()))) {
        return Err(CliError::failed("the value was damaged on its way: it does not have its checksum"));
    }
    let Some(file) = file else { return session.console.write(value.expose()) };
    keep(file, &value)
}

/// Writes a value for its owner alone. Into a file and nothing else: whoever else can write where it is to be could have
/// put a link or a pipe there, and the place of a device such as `/dev/stdout` is not to be taken by a file.
fn keep(file: &Path, value: &Confidential) -> Result<(), CliError> {
    match fs::symlink_metadata(file) {
        Ok(there) if !there.is_file() => {
            return Err(CliError::failed(format!("cannot write {}: it is there, and no file", file.display()))
                .with_hint("without --out-file the value goes to standard output"));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unwritable(file, &error)),
        _ => {}
    }
    replace(file, value.expose(), 0o600).map_err(|error| unwritable(file, &error))
}

async fn change(
    session: &mut Session<'_>,
    place: &Place,
    (args, verb, done): (&VersionArgs, &str, &str),
) -> Result<(), CliError> {
    let body = args.etag.as_ref().map_or_else(|| json!({}), |etag| json!({"etag": etag}));
    let last = format!("{}:{verb}", args.version);
    let path = place.path(&[&args.secret, "versions", &last]);
    let ask = Ask { query: Vec::new(), body: Some(body) };
    let changed: SecretVersion = session.client.message(Method::POST, &path, ask).await?;
    let (version, secret) = (output::id(&changed.name), &args.secret);
    match &changed.scheduled_destroy_time {
        Some(time) if verb == "destroy" => session.console.say(format_args!(
            "Disabled version [{version}] of the secret [{secret}]; it will be destroyed at {}.",
            output::seconds(Some(time))
        )),
        _ => session.console.say(format_args!("{done} version [{version}] of the secret [{secret}].")),
    }
    Ok(())
}

async fn delete(
    session: &mut Session<'_>,
    place: &Place,
    (secret, etag): (&str, Option<&str>),
) -> Result<(), CliError> {
    session.confirm(&format!("Secret [{secret}] will be deleted with all its versions"))?;
    let ask = Ask { query: etag.map(|etag| ("etag", etag)).into_iter().collect(), body: None };
    session.client.call(Method::DELETE, &place.path(&[secret]), ask).await?;
    session.console.say(format_args!("Deleted secret [{secret}]."));
    Ok(())
}

async fn list(session: &mut Session<'_>, place: &Place, args: &ListSecretsArgs) -> Result<(), CliError> {
    let mut secrets: Vec<Secret> = Vec::new();
    let mut token = String::new();
    loop {
        let query = query(&args.filter, &token);
        let page = session.client.message(Method::GET, &place.path(&[]), Ask { query, body: None }).await;
        let ListSecretsResponse { secrets: found, next_page_token, .. } = page?;
        secrets.extend(found);
        token = next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let row = |secret: &Secret| {
        let (policy, locations) = match secret.replication.as_ref().and_then(|it| it.replication.as_ref()) {
            Some(Replication::UserManaged(managed)) => {
                let locations: Vec<&str> = managed.replicas.iter().map(|replica| replica.location.as_str()).collect();
                ("user_managed", locations.join(","))
            }
            Some(Replication::Automatic(_)) => ("automatic", "-".to_owned()),
            None => ("-", output::region(&secret.name).to_owned()),
        };
        let created = output::seconds(secret.create_time.as_ref());
        vec![output::id(&secret.name).to_owned(), created, policy.to_owned(), locations]
    };
    let values = secrets.iter().map(encode).collect::<Result<Vec<Value>, _>>()?;
    let rows = secrets.iter().map(row).collect();
    objects::rows(session, &values, (&["NAME", "CREATED", "REPLICATION_POLICY", "LOCATIONS"], rows))
}

async fn list_versions(
    session: &mut Session<'_>,
    place: &Place,
    (secret, args): (&str, &ListSecretsArgs),
) -> Result<(), CliError> {
    let mut versions: Vec<SecretVersion> = Vec::new();
    let mut token = String::new();
    loop {
        let query = query(&args.filter, &token);
        let path = place.path(&[secret, "versions"]);
        let page = session.client.message(Method::GET, &path, Ask { query, body: None }).await;
        let ListSecretVersionsResponse { versions: found, next_page_token, .. } = page?;
        versions.extend(found);
        token = next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let row = |version: &SecretVersion| {
        let destroyed =
            version.destroy_time.as_ref().map_or_else(|| "-".to_owned(), |time| output::seconds(Some(time)));
        vec![
            output::id(&version.name).to_owned(),
            version.state().as_str_name().to_ascii_lowercase(),
            output::seconds(version.create_time.as_ref()),
            destroyed,
        ]
    };
    let values = versions.iter().map(encode).collect::<Result<Vec<Value>, _>>()?;
    let rows = versions.iter().map(row).collect();
    objects::rows(session, &values, (&["NAME", "STATE", "CREATED", "DESTROYED"], rows))
}

async fn rotate(session: &mut Session<'_>) -> Result<(), CliError> {
    let path = ["updraft", "v1", "secrets:rotateKey"];
    let done = session.client.call(Method::POST, &path, Ask::default()).await?;
    let key = done["key"].as_str().unwrap_or_default();
    let (resealed, values) = (&done["resealed"], &done["values"]);
    session.console.say(format_args!(
        "Values are sealed with the new key [{key}]: {resealed} of {values} have it since now. The keys before it are kept, \
         for backups that need them."
    ));
    Ok(())
}

fn query<'a>(filter: &'a str, token: &'a str) -> Vec<(&'a str, &'a str)> {
    let query = [("pageSize", PAGE), ("pageToken", token), ("filter", filter)];
    query.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// A value out of a file, or out of standard input. No more of it is read than a value can have.
fn read(session: &mut Session<'_>, file: &Path) -> Result<Confidential, CliError> {
    let most = PAYLOAD_MAX as u64 + 1;
    let mut value = Vec::with_capacity(PAYLOAD_MAX + 1);
    let read = if file.as_os_str() == STDIN {
        session.console.input().take(most).read_to_end(&mut value)
    } else {
        File::open(file).and_then(|file| file.take(most).read_to_end(&mut value))
    };
    let value = Confidential::new(value);
    read.map_err(|error: io::Error| CliError::failed(format!("cannot read {}: {error}", file.display())))?;
    match value.expose().len() {
        0 => Err(CliError::failed(format!("{} is empty, and a value is not", file.display()))),
        1..=PAYLOAD_MAX => Ok(value),
        _ => Err(CliError::failed(format!("{} has more than {PAYLOAD_MAX} bytes", file.display()))),
    }
}

// === impl Place ===

impl Place {
    fn of(session: &Session<'_>, location: Option<&str>) -> Self {
        let mut segments = vec!["v1".to_owned(), "projects".to_owned(), session.client.project.clone()];
        segments.extend(location.iter().flat_map(|location| ["locations".to_owned(), (*location).to_owned()]));
        segments.push("secrets".to_owned());
        Self(segments)
    }

    /// The region, if they are of one.
    fn location(&self) -> Option<&str> {
        let before = self.0.iter().position(|segment| segment == "locations")?;
        self.0.get(before + 1).map(String::as_str)
    }

    fn path<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        self.0.iter().map(String::as_str).chain(rest.iter().copied()).collect()
    }
}
