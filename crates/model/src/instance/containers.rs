//! The containers of an instance, and what they share.

use super::{InstanceSpec, Limits, SecretEnv, SecretPath};

/// One container of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ContainerSpec {
    /// Its name.
    pub name: String,
    /// The image, pinned: `registry/repository@sha256:…`.
    pub image: String,
    /// Replaces the image's `ENTRYPOINT` when not empty; then the image's `CMD` is dropped too.
    pub command: Vec<String>,
    /// Replaces the image's `CMD` when not empty.
    pub args: Vec<String>,
    /// Added to the image's environment, the later wins. Includes `K_SERVICE`, … and `PORT`, if it takes the traffic.
    pub env: Vec<(String, String)>,
    /// Variables from secrets, none of which is in `env`.
    pub secret_env: Vec<SecretEnv>,
    /// Replaces the image's working directory.
    pub working_dir: Option<String>,
    /// What it may use; an instance may use the sum of its containers' limits.
    pub limits: Limits,
    /// Where it sees volumes of the instance.
    pub mounts: Vec<Mount>,
    /// The names of the containers that have to be up before it is started.
    pub depends_on: Vec<String>,
}

/// A place where a container sees a volume.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mount {
    /// The volume's name.
    pub volume: String,
    /// An absolute path in the container; made if it is not there, and hidden if it is.
    pub path: String,
}

/// A volume, the same for all containers that mount it and gone with the instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VolumeSpec {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub contents: Contents,
}

/// What is in a volume.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Contents {
    /// Nothing when the instance starts (`emptyDir`). What is put there counts against the memory of the container that
    /// wrote it.
    Memory {
        /// How much fits, in bytes; never 0.
        size_bytes: u64,
    },
    /// Versions of a secret as files in memory, which can be read and nothing else.
    Secret {
        /// The secret: `projects/{project}/secrets/{secret}`.
        secret: String,
        /// The files.
        paths: Vec<SecretPath>,
    },
}

// === impl VolumeSpec ===

impl VolumeSpec {
    /// A volume in memory, for so many bytes.
    pub fn in_memory(name: impl Into<String>, size_bytes: u64) -> Self {
        Self { name: name.into(), contents: Contents::Memory { size_bytes } }
    }

    /// Its files, if they are those of a secret.
    pub fn secret_paths(&self) -> Option<&[SecretPath]> {
        match &self.contents {
            Contents::Memory { .. } => None,
            Contents::Secret { paths, .. } => Some(paths),
        }
    }
}

// === impl InstanceSpec ===

impl InstanceSpec {
    /// Its containers, the one that takes the traffic first.
    pub fn containers(&self) -> impl Iterator<Item = &ContainerSpec> {
        std::iter::once(&self.ingress).chain(&self.sidecars)
    }

    /// Its container of this name.
    pub fn container(&self, name: &str) -> Option<&ContainerSpec> {
        self.containers().find(|container| container.name == name)
    }

    /// What `container`, one of its own, is called among the sidecars; `None` for the one that takes the traffic.
    pub fn sidecar_name<'a>(&self, container: &'a ContainerSpec) -> Option<&'a str> {
        (container.name != self.ingress.name).then_some(container.name.as_str())
    }

    /// What the whole instance may use: the sum over its containers.
    pub fn limits(&self) -> Limits {
        self.sidecars.iter().fold(self.ingress.limits, |sum, sidecar| sum + sidecar.limits)
    }
}

// === impl Limits ===

/// Beyond what can be counted is without limit.
impl std::ops::Add for Limits {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_add(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            pids: self.pids.saturating_add(other.pids),
        }
    }
}
