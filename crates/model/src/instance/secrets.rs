//! Secrets of an instance: its spec says which ones go where, the values come beside it.

use std::collections::BTreeMap;

use super::{ContainerSpec, Contents, InstanceSpec};
use crate::Confidential;

/// A variable whose value is that of a version of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretEnv {
    /// The variable.
    pub name: String,
    /// The secret: `projects/{project}/secrets/{secret}`.
    pub secret: String,
    /// The version, by number: resolved once, so that all instances of a revision have the same.
    pub version: u64,
}

/// A file of a secret volume.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretPath {
    /// Relative to where the volume is seen, clean.
    pub path: String,
    /// Its mode; nobody may write.
    pub mode: u32,
    /// The version, as the user wrote it: `latest` and aliases are followed.
    pub version: String,
}

/// The values that go with an [`InstanceSpec`]. They are not part of it: a spec is compared, printed and told to
/// successors, a value none of that.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Secrets {
    /// Those of variables, by secret and version.
    pub env: BTreeMap<(String, u64), Confidential>,
    /// Those of volumes, by the volume's name and in the order of its files.
    pub files: BTreeMap<String, Vec<SecretFile>>,
    /// Why no instance can be started with them: what a variable refers to cannot be read any more.
    pub fault: Option<String>,
}

/// The contents of a file, or why it cannot be read.
pub type SecretFile = Result<Confidential, String>;

// === impl InstanceSpec ===

impl InstanceSpec {
    /// The secrets that something of it comes from; one may be there more than once.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let variables = self.containers().flat_map(|container| &container.secret_env);
        let volumes = self.volumes.iter().filter_map(|volume| match &volume.contents {
            Contents::Memory { .. } => None,
            Contents::Secret { secret, .. } => Some(secret.as_str()),
        });
        variables.map(|variable| variable.secret.as_str()).chain(volumes)
    }

    /// Does anything of it come from a secret?
    pub fn has_secrets(&self) -> bool {
        self.secrets().next().is_some()
    }
}

// === impl Secrets ===

impl Secrets {
    /// The variables of `container` with their values.
    ///
    /// # Errors
    /// The variable for which there is none.
    pub fn env_of<'a>(&'a self, container: &'a ContainerSpec) -> Result<Vec<(&'a str, &'a Confidential)>, &'a str> {
        let value = |variable: &'a SecretEnv| {
            let value = self.env.get(&(variable.secret.clone(), variable.version));
            value.map(|value| (variable.name.as_str(), value)).ok_or(variable.name.as_str())
        };
        container.secret_env.iter().map(value).collect()
    }
}
