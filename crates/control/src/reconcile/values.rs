//! Secrets of a revision: which versions its variables have, once and for all, and what is in its files now.
//!
//! A variable gets the number of a version when the revision is made ready, and that number is stored; values never are.
//! They are read anew, as the account that the revision runs as, whenever the book is told of it.

use std::collections::{BTreeMap, HashMap};

use updraft_model::{
    Confidential, Error, ErrorKind,
    instance::{Contents, InstanceSpec, SecretFile, Secrets},
    owner::Owner,
    revision::{
        Container, EnvValue, Volume, VolumeKind,
        validation::{ENV_BYTES_MAX, EXEC_BYTES_MAX},
    },
    secret::{SecretName, SecretReference},
};
use updraft_store::{Key, Kind};

use crate::{Inner, queue::Work};

/// What a variable or a file without a version gets.
const LATEST: &str = "latest";

/// What names secrets.
pub(super) type Parts<'a> = (&'a [Container], &'a [Volume]);

/// What came of reading something: a value, or why there is none, for people.
type Read = Result<(u64, Confidential), String>;

/// Reads for one revision; the same thing once.
struct Reader<'a> {
    inner: &'a Inner,
    account: &'a str,
    known: HashMap<(SecretReference, String), Read>,
}

/// Where a template names a version of a secret.
struct Mention {
    /// The field, as Google's messages name it.
    field: String,
    secret: SecretReference,
    version: String,
    /// Is it a variable's? Then its number stays, and it has to be a text.
    is_variable: bool,
}

/// What a version is called in the record of a revision.
pub(super) fn key(secret: &str, version: &str) -> String {
    format!("{secret}/versions/{}", or_latest(version))
}

/// The secret that `text` means in a template of this revision: `projects/{project}/secrets/{secret}`.
pub(super) fn full_name(name: &Owner, text: &str) -> Result<String, Error> {
    let secret = reference(name, text)?;
    Ok(SecretName::global(secret.project, secret.secret).to_string())
}

fn or_latest(version: &str) -> &str {
    if version.is_empty() { LATEST } else { version }
}

fn reference(name: &Owner, text: &str) -> Result<SecretReference, Error> {
    SecretReference::read("secret", text, &name.parent().project)
        .map_err(|violation| Error::internal(format!("{name}: {violation}")))
}

/// Everything that a template names, in its order.
fn mentions(name: &Owner, (containers, volumes): Parts<'_>) -> Result<Vec<Mention>, Error> {
    let mut found = Vec::new();
    for (place, container) in containers.iter().enumerate() {
        for (index, variable) in container.env.iter().enumerate() {
            let EnvValue::Secret { secret, version } = &variable.value else { continue };
            found.push(Mention {
                field: format!("spec.template.spec.containers[{place}].env[{index}].value_from.secret_key_ref.name"),
                secret: reference(name, secret)?,
                version: or_latest(version).to_owned(),
                is_variable: true,
            });
        }
    }
    for (place, volume) in volumes.iter().enumerate() {
        let VolumeKind::Secret(source) = &volume.kind else { continue };
        let secret = reference(name, &source.secret)?;
        let mention = |version| Mention {
            field: format!("spec.template.spec.volumes[{place}].secret.secret_name"),
            secret: secret.clone(),
            version,
            is_variable: false,
        };
        found.extend(source.files(&secret.secret).into_iter().map(|file| mention(file.version)));
    }
    Ok(found)
}

/// Does a template name secrets at all?
pub(super) fn has_secrets((containers, volumes): Parts<'_>) -> bool {
    let is_secret =
        |container: &Container| container.env.iter().any(|variable| matches!(variable.value, EnvValue::Secret { .. }));
    containers.iter().any(is_secret)
        || volumes.iter().any(|volume| matches!(volume.kind, VolumeKind::Secret(_)))
}

/// May the revision's account read everything that it names? The numbers of its variables' versions if so, by [`key`];
/// else what is in the way, a line for each.
///
/// # Errors
/// The store's: nothing is known then.
pub(super) async fn check(
    inner: &Inner,
    (name, account): (&Owner, &str),
    parts: Parts<'_>,
) -> Result<Result<BTreeMap<String, u64>, String>, Error> {
    let mut reader = Reader { inner, account, known: HashMap::new() };
    let (mut numbers, mut wrong) = (BTreeMap::new(), Vec::new());
    for mention in mentions(name, parts)? {
        let Mention { field, secret, version, is_variable } = mention;
        match reader.read(&secret, &version).await? {
            Ok((number, value)) if is_variable => {
                wrong.extend(unfit(&value).map(|why| format!("{field}: {}: {why}", of(&secret, number))));
                let secret = SecretName::global(&secret.project, &secret.secret).to_string();
                numbers.insert(key(&secret, &version), number);
            }
            Ok(_) => {}
            Err(why) => wrong.push(format!("{field}: {why}")),
        }
    }
    // The same of two files of one volume need not be said twice.
    wrong.dedup();
    Ok(if wrong.is_empty() { Ok(numbers) } else { Err(wrong.join("\n")) })
}

/// The values that go with `spec`, as they are now.
///
/// # Errors
/// The store's: nothing is known then.
pub(super) async fn values(inner: &Inner, account: &str, spec: &InstanceSpec) -> Result<Secrets, Error> {
    let mut reader = Reader { inner, account, known: HashMap::new() };
    let (mut secrets, mut wrong) = (Secrets::default(), Vec::new());
    for container in spec.containers() {
        let mut bytes: usize = container.env.iter().map(|(name, value)| name.len() + value.len() + 1).sum();
        for variable in &container.secret_env {
            let secret = reference(&spec.owner, &variable.secret)?;
            match reader.read(&secret, &variable.version.to_string()).await? {
                Ok((_, value)) => {
                    bytes += variable.name.len() + value.expose().len() + 1;
                    wrong.extend(unfit(&value).map(|why| format!("{}: {why}", of(&secret, variable.version))));
                    secrets.env.insert((variable.secret.clone(), variable.version), value);
                }
                Err(why) => wrong.push(why),
            }
        }
        if bytes > EXEC_BYTES_MAX {
            let rule = format!("take {bytes} bytes with their secrets, of at most {EXEC_BYTES_MAX}");
            wrong.push(format!("The variables of the container '{}' {rule}.", container.name));
        }
    }
    wrong.dedup();
    secrets.fault = Some(wrong.join("\n")).filter(|text| !text.is_empty());
    for volume in &spec.volumes {
        let Contents::Secret { secret, paths } = &volume.contents else { continue };
        let secret = reference(&spec.owner, secret)?;
        let mut files: Vec<SecretFile> = Vec::with_capacity(paths.len());
        for path in paths {
            files.push(reader.read(&secret, &path.version).await?.map(|(_, value)| value));
        }
        secrets.files.insert(volume.name.clone(), files);
    }
    Ok(secrets)
}

fn of(secret: &SecretReference, number: u64) -> String {
    format!("{}/versions/{number}", SecretName::global(&secret.project, &secret.secret).numbered())
}

/// Why a value cannot be that of a variable, without any of it.
fn unfit(value: &Confidential) -> Option<String> {
    let bytes = value.expose();
    if bytes.len() > ENV_BYTES_MAX {
        return Some(format!("it has {} bytes, and a variable at most {ENV_BYTES_MAX}", bytes.len()));
    }
    let is_text = std::str::from_utf8(bytes).is_ok() && !bytes.contains(&0);
    (!is_text).then(|| "it is no text (UTF-8 without NUL), which a variable has to be; a volume takes it".to_owned())
}

// === impl Reader ===

impl Reader<'_> {
    /// # Errors
    /// What says nothing of the secret, nor of who may read it.
    async fn read(&mut self, secret: &SecretReference, version: &str) -> Result<Read, Error> {
        let asked = (secret.clone(), version.to_owned());
        if let Some(read) = self.known.get(&asked) {
            return Ok(read.clone());
        }
        let read = match self.inner.secret_value(self.account, secret, version).await {
            Ok(found) => Ok(found),
            Err(error) => match error.kind() {
                ErrorKind::PermissionDenied
                | ErrorKind::NotFound
                | ErrorKind::FailedPrecondition
                | ErrorKind::InvalidArgument => Err(error.to_string()),
                _ => return Err(error),
            },
        };
        self.known.insert(asked, read.clone());
        Ok(read)
    }
}

// === impl Inner ===

impl Inner {
    /// What is stored at `key` may decide what secrets containers have: wakes the revisions that have to look.
    pub(super) fn wake_for_secrets(&self, key: &Key) {
        // A template may name a project by its number.
        let is_named = |named: &str, id: &str| {
            let whole = SecretName::global(&key.parent.project, id);
            let begins = |whole: String| if id.is_empty() { named.starts_with(&whole) } else { named == whole };
            begins(whole.numbered().to_string()) || begins(whole.to_string())
        };
        let stale = match key.kind {
            Kind::Secret | Kind::SecretVersion => {
                // A version's key begins with its secret's.
                let id = key.name.split('/').next().unwrap_or_default();
                self.board.secrets_changed(|named| is_named(named, id))
            }
            // Its policy.
            Kind::Project => self.board.secrets_changed(|named| is_named(named, "")),
            // It may be disabled now, or enabled.
            Kind::ServiceAccount => self.board.secrets_changed(|_| true),
            _ => return,
        };
        stale.into_iter().for_each(|name| self.queue.wake(Work::Revision(name)));
    }

    /// Time alone may have changed them: a condition of a policy, the end of a secret.
    pub(super) fn wake_for_all_secrets(&self) {
        self.board.secrets_changed(|_| true).into_iter().for_each(|name| self.queue.wake(Work::Revision(name)));
    }
}
