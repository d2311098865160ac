//! Secrets: the use cases of Secret Manager v1, and their values for containers.
//!
//! A secret, each of its versions and the sealed value of each are stored by themselves: a list of versions reads no
//! value, and what is destroyed is gone as a row. The secret's record counts its versions, so that `latest` and aliases
//! are found without reading any. What seals values is [`Sealer`](updraft_model::secret::Sealer).

mod iam;
mod keys;
mod list;
mod secret;
mod value;
mod version;

pub use keys::Rotated;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use updraft_api::{
    secretmanager,
    view::{secret as view_of, timestamp},
};
use updraft_model::{
    Error, ErrorKind, Parent,
    secret::{GLOBAL, SecretName, State, Version, VersionId, VersionName, is_expired},
};
use updraft_store::{Envelope, Key, Kind};

use crate::{
    Inner,
    access::Permitted,
    record::{self, PolicyRecord},
    view::etag,
};

/// How often a write is tried again because somebody else wrote meanwhile.
const ATTEMPTS: usize = 16;

/// What only we know of a secret.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SecretRecord {
    /// The number of the version that was added last; 0 before the first.
    pub(crate) versions: u64,
    /// When that was, in nanoseconds since 1970: lists are by time, and two versions may be of one moment.
    pub(crate) last_added: u64,
    /// Its policy.
    pub(crate) policy: PolicyRecord,
}

/// What only we know of a version.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct VersionRecord {
    /// The word of its state.
    state: String,
    /// When its value will go, in nanoseconds since 1970.
    destroy_at: Option<u64>,
    /// When its value went.
    destroyed: Option<u64>,
    /// A checksum came with its value.
    checksum_given: bool,
}

/// A secret as it is stored, read.
pub(crate) struct Found {
    pub(crate) name: SecretName,
    pub(crate) envelope: Envelope,
    pub(crate) record: SecretRecord,
    pub(crate) message: secretmanager::Secret,
}

/// The name of a secret's envelope.
pub(crate) fn secret_name(key: &Key) -> SecretName {
    SecretName { parent: key.parent.clone(), secret: key.name.clone() }
}

pub(crate) fn secret_key(name: &SecretName) -> Key {
    Key::new(Kind::Secret, name.parent.clone(), &name.secret)
}

fn version_key(kind: Kind, name: &SecretName, number: u64) -> Key {
    Key::new(kind, name.parent.clone(), format!("{}/{number}", name.secret))
}

/// The number in the key of a version or its value.
fn number_of(key: &Key) -> u64 {
    key.name.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// What a value is sealed under: the version's name, and which secret of that name it is. One that was deleted does not
/// lend its values to the next.
fn sealed_name(name: &SecretName, number: u64, uid: &str) -> String {
    format!("{name}/versions/{number}#{uid}")
}

/// The number that a version's id means by what is stored of its secret; `None` when it means none.
pub(crate) fn resolved(envelope: &Envelope, version: &VersionId) -> Option<u64> {
    let found = Found::of(envelope.clone()).ok()?;
    found.resolve(version)
}

fn missing_secret(name: &SecretName) -> Error {
    Error::new(ErrorKind::NotFound, format!("Secret [{}] not found.", name.numbered()))
}

fn missing_version(name: &VersionName) -> Error {
    let secret = name.secret.numbered();
    let message = match name.version {
        VersionId::Latest => format!("Secret [{secret}] not found or has no versions."),
        VersionId::Number(_) | VersionId::Alias(_) => {
            format!("Secret Version [{}] not found.", secret.version(name.version.clone()))
        }
    };
    Error::new(ErrorKind::NotFound, message)
}

fn busy(name: &SecretName) -> Error {
    Error::new(ErrorKind::Aborted, format!("Secret [{}] is being changed; try again.", name.numbered()))
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn at(nanos: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanos)
}

// === impl Found ===

impl Found {
    pub(crate) fn of(envelope: Envelope) -> Result<Self, Error> {
        let record = record::read(&envelope)?;
        let message = record::message(&envelope, &envelope.spec)?;
        Ok(Self { name: secret_name(&envelope.key), envelope, record, message })
    }

    /// When it goes by itself.
    pub(crate) fn expires(&self, now: SystemTime) -> Result<Option<SystemTime>, Error> {
        Ok(view_of::to_model(&self.message, now)?.expires)
    }

    fn resolve(&self, version: &VersionId) -> Option<u64> {
        version.resolve(self.record.versions, &view_of::aliases(&self.message))
    }

    /// As clients see it.
    fn shown(&self) -> secretmanager::Secret {
        secretmanager::Secret {
            name: self.name.numbered().to_string(),
            create_time: Some(timestamp(self.envelope.created)),
            etag: etag(&self.envelope),
            ..self.message.clone()
        }
    }

    /// One of its versions as clients see it.
    fn shown_version(&self, envelope: &Envelope, now: SystemTime) -> Result<secretmanager::SecretVersion, Error> {
        let record: VersionRecord = record::read(envelope)?;
        let name = self.name.numbered().version(VersionId::Number(number_of(&envelope.key)));
        Ok(secretmanager::SecretVersion {
            name: name.to_string(),
            create_time: Some(timestamp(envelope.created)),
            etag: etag(envelope),
            client_specified_payload_checksum: record.checksum_given,
            ..view_of::version(record.version().at(now), self.message.replication.as_ref())
        })
    }
}

// === impl VersionRecord ===

impl VersionRecord {
    pub(crate) fn version(&self) -> Version {
        Version {
            state: State::from_word(&self.state).unwrap_or_default(),
            destroy_at: self.destroy_at.map(at),
            destroyed: self.destroyed.map(at),
        }
    }

    pub(crate) fn with(self, version: Version) -> Self {
        Self {
            state: version.state.as_str().to_owned(),
            destroy_at: version.destroy_at.map(nanos),
            destroyed: version.destroyed.map(nanos),
            ..self
        }
    }
}

// === impl Inner ===

impl Inner {
    /// A secret's name as a request gives it, with the project's id.
    fn secret_named(&self, name: &str) -> Result<SecretName, Error> {
        self.placed(name.parse()?)
    }

    /// A version's name as a request gives it, with the project's id.
    fn version_named(&self, name: &str) -> Result<VersionName, Error> {
        let VersionName { secret, version } = name.parse()?;
        Ok(self.placed(secret)?.version(version))
    }

    fn placed(&self, name: SecretName) -> Result<SecretName, Error> {
        let parent = match name.parent.location.as_str() {
            GLOBAL => Parent::new(self.places.project("name", &name.parent.project)?, GLOBAL),
            _ => self.places.parent("name", &name.parent)?,
        };
        Ok(SecretName { parent, ..name })
    }

    /// The secret that a proof is about, unless its time is over.
    fn live_secret(&self, permit: &mut Permitted, name: &SecretName) -> Result<Found, Error> {
        let envelope = permit.take_found().ok_or_else(|| missing_secret(name))?;
        let found = Found::of(envelope)?;
        let now = self.clock.now();
        if is_expired(found.expires(now)?, now) { Err(missing_secret(name)) } else { Ok(found) }
    }
}
