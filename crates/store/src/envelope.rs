//! What is stored.

use std::{fmt, time::SystemTime};

use updraft_model::Parent;

/// The format of [`Envelope::spec`], [`Envelope::status`] and [`Envelope::internal`] that this version
/// writes. It reads every earlier one; see `migration`.
///
/// A new format is needed when an earlier version would misread, refuse or lose what this one writes: a column, another
/// meaning of a field, an encoding. It is not needed for a new field of a message (protobuf keeps what it does not know)
/// or of a record (JSON, every field with a default; see `control`'s `record`), as long as data without the field is
/// read as what it meant before, and an earlier version that drops the field does no harm but to what is new.
/// `crates/updraft/tests/it/formats` has a data directory of every format, which must open for ever.
pub const FORMAT: u32 = 1;

/// The kinds of stored resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A service.
    Service,
    /// A revision of a service.
    Revision,
    /// A long-running operation.
    Operation,
    /// A project, made on first use.
    Project,
    /// A domain that leads to a service.
    DomainMapping,
    /// A service account, by its address.
    ServiceAccount,
    /// A secret, without its values.
    Secret,
    /// A version of a secret, without its value: `{secret}/{number}`.
    SecretVersion,
    /// A job.
    Job,
    /// An execution of a job.
    Execution,
    /// A task of an execution that was begun, or will never be; the others are known by their number.
    Task,
    /// A worker pool. Its revisions are [`Kind::Revision`], owned by `workerPools/{id}`.
    WorkerPool,
    /// The sealed value of a version, under its name. Its owner is the id of the key that opens it.
    SecretValue,
}

/// Where an envelope is. `name` is the id within its parent, such as `hello` for a service,
/// `hello-00001-abc` for a revision, a UUID for an operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The kind.
    pub kind: Kind,
    /// Project and location; the location of a project and of what belongs to no region is `global`.
    pub parent: Parent,
    /// The id.
    pub name: String,
}

/// One resource: the client's intent, what became of it, and what only we know.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// Where it is.
    pub key: Key,
    /// The resource it belongs to (the service of a revision, the resource of an operation) by its
    /// id, or empty. An index column.
    pub owner: String,
    /// The format of the bytes below.
    pub format: u32,
    /// A UUID, new for every creation.
    pub uid: String,
    /// Counts changes of intent, from 1.
    pub generation: i64,
    /// Counts writes of any kind, over the whole store; set by the store. 0 before the first write.
    pub resource_version: i64,
    /// Which incarnation of the control plane wrote last; for several servers.
    pub owner_epoch: i64,
    /// When it was created.
    pub created: SystemTime,
    /// When its intent last changed.
    pub updated: SystemTime,
    /// The intent: a v2 message with defaults written in.
    pub spec: Vec<u8>,
    /// The part of the intent that v2 cannot hold.
    pub v1_only: Vec<u8>,
    /// What the resource says of itself; written by its reconciler only.
    pub status: Vec<u8>,
    /// What only the control plane knows.
    pub internal: Vec<u8>,
}

/// One step of a commit.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Writes an envelope. Its `resource_version` is the version it was read at, 0 for a new one.
    Put(Box<Envelope>),
    /// Removes what is at `key`, if it is at that version; 0 means at any version, or absent.
    Delete {
        /// Where.
        key: Key,
        /// The version it was read at.
        resource_version: i64,
    },
}

/// Which envelopes to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The kind.
    pub kind: Kind,
    /// Only here, or everywhere.
    pub parent: Option<Parent>,
    /// Only of this owner.
    pub owner: Option<String>,
}

/// Which part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// At most so many; 0 means all.
    pub limit: usize,
    /// After this one, by (created, name) as listed.
    pub after: Option<(SystemTime, String)>,
}

// === impl Kind ===

impl Kind {
    /// All of them.
    const ALL: [Self; 13] = [
        Self::Service,
        Self::Revision,
        Self::Operation,
        Self::Project,
        Self::DomainMapping,
        Self::ServiceAccount,
        Self::Secret,
        Self::SecretVersion,
        Self::SecretValue,
        Self::Job,
        Self::Execution,
        Self::Task,
        Self::WorkerPool,
    ];

    /// The word in the store. Never change one.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Revision => "revision",
            Self::Operation => "operation",
            Self::Project => "project",
            Self::DomainMapping => "domain-mapping",
            Self::ServiceAccount => "service-account",
            Self::Secret => "secret",
            Self::SecretVersion => "secret-version",
            Self::SecretValue => "secret-value",
            Self::Job => "job",
            Self::Execution => "execution",
            Self::Task => "task",
            Self::WorkerPool => "worker-pool",
        }
    }

    /// The kind of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

// === impl Key ===

impl Key {
    /// The key of `name` under `parent`.
    pub fn new(kind: Kind, parent: Parent, name: impl Into<String>) -> Self {
        Self { kind, parent, name: name.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.parent, self.kind.as_str(), self.name)
    }
}

// === impl Selection ===

impl Selection {
    /// Everything of a kind.
    pub fn of(kind: Kind) -> Self {
        Self { kind, parent: None, owner: None }
    }

    /// Only under `parent`.
    #[must_use]
    pub fn under(self, parent: Parent) -> Self {
        Self { parent: Some(parent), ..self }
    }

    /// Only of `owner`.
    #[must_use]
    pub fn owned_by(self, owner: impl Into<String>) -> Self {
        Self { owner: Some(owner.into()), ..self }
    }
}
