//! Whose an instance is.

use std::{fmt, str::FromStr};

use crate::{
    error::Error,
    job::AttemptName,
    name::{Parent, RevisionName, ServiceName},
};

/// What an instance was started for.
///
/// Instances of a revision are alike and come and go as there is need of them; of an attempt there is one, which runs once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// A revision of a service, or of a worker pool.
    Revision(RevisionName),
    /// One attempt at a task of a job.
    Attempt(AttemptName),
}

// === impl Owner ===

impl Owner {
    /// Its project and location.
    pub fn parent(&self) -> &Parent {
        match self {
            Self::Revision(name) => &name.service.parent,
            Self::Attempt(name) => &name.task.execution.job.parent,
        }
    }

    /// The revision, if it is one.
    pub fn revision(&self) -> Option<&RevisionName> {
        match self {
            Self::Revision(name) => Some(name),
            Self::Attempt(_) => None,
        }
    }

    /// The attempt, if it is one.
    pub fn attempt(&self) -> Option<&AttemptName> {
        match self {
            Self::Revision(_) => None,
            Self::Attempt(name) => Some(name),
        }
    }

    /// The service, worker pool or job that it belongs to, under whose name its log is kept.
    pub fn resource(&self) -> ServiceName {
        match self {
            Self::Revision(name) => name.service.clone(),
            Self::Attempt(name) => name.task.execution.job.resource(),
        }
    }
}

impl From<RevisionName> for Owner {
    fn from(name: RevisionName) -> Self {
        Self::Revision(name)
    }
}

impl From<AttemptName> for Owner {
    fn from(name: AttemptName) -> Self {
        Self::Attempt(name)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revision(name) => name.fmt(f),
            Self::Attempt(name) => name.fmt(f),
        }
    }
}

/// What [`fmt::Display`] writes.
impl FromStr for Owner {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        if let Ok(attempt) = name.parse() {
            return Ok(Self::Attempt(attempt));
        }
        name.parse().map(Self::Revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_read_as_it_is_written() {
        let here = Parent::new("demo-project", "us-central1");
        let attempt = here.job("import").execution("import-x7k2p").task(17).attempt(2);
        for owner in [
            Owner::from(here.service("hello").revision("hello-00001-abc")),
            Owner::from(here.worker_pool("consumer").revision("consumer-00001-abc")),
            Owner::from(attempt),
        ] {
            assert_eq!(owner.to_string().parse::<Owner>().expect("well formed"), owner);
            assert_eq!(owner.parent(), &here);
        }
        assert!("projects/p/locations/l/services/s".parse::<Owner>().is_err());
    }
}
