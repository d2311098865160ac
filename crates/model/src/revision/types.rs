//! The types.

use std::{collections::BTreeMap, time::Duration};

use crate::instance::SecretPath;

/// What a revision is made of.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RevisionTemplate {
    /// The revision's id, when the user wants a certain one.
    pub revision: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its own scaling bounds.
    pub scaling: RevisionScaling,
    /// How long one request may take, queue and start included. 1 s to 3600 s, by default 300 s.
    pub timeout: Option<Duration>,
    /// As whom it runs.
    pub service_account: String,
    /// Its containers; exactly one takes the traffic.
    pub containers: Vec<Container>,
    /// Volumes.
    pub volumes: Vec<Volume>,
    /// Requests one instance takes at a time. 0 means the default, at most 1000.
    pub concurrency: u32,
    /// Do requests of one client stay with one instance?
    pub session_affinity: bool,
    /// Is the check before the revision is ready left out?
    pub health_check_disabled: bool,
    /// Fields that are set and that this version does not act on, though their absence would change
    /// what runs: such as `vpc_access`.
    pub unsupported: Vec<String>,
}

/// The bounds of a revision's scaling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RevisionScaling {
    /// Kept even without traffic; 0 by default.
    pub min: u32,
    /// Never more; 0 means the default, 100.
    pub max: u32,
}

/// A container of a revision.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image, as the user wrote it.
    pub image: String,
    /// Replaces `ENTRYPOINT`.
    pub command: Vec<String>,
    /// Replaces `CMD`.
    pub args: Vec<String>,
    /// Environment; of plain duplicates the last wins.
    pub env: Vec<EnvVar>,
    /// CPU, memory.
    pub resources: Resources,
    /// The port that takes traffic: name and number. At most one container has it.
    pub port: Option<(Protocol, u16)>,
    /// How many ports the message had; only 0 and 1 are allowed.
    pub port_count: usize,
    /// The port's name as written, for validation.
    pub port_name: String,
    /// The port's number as written, for validation.
    pub port_number: i32,
    /// Mounts: volume name, path.
    pub volume_mounts: Vec<(String, String)>,
    /// Working directory; empty means the image's.
    pub working_dir: String,
    /// The check that ends the start.
    pub startup_probe: Option<Probe>,
    /// The check that restarts.
    pub liveness_probe: Option<Probe>,
    /// The check that withholds traffic.
    pub readiness_probe: Option<Probe>,
    /// Containers that must be up before.
    pub depends_on: Vec<String>,
    /// The image below its own, for updates of it; stored, without effect.
    pub base_image_uri: String,
}

/// What speaks to the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 in clear, end to end.
    H2c,
}

/// One environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvVar {
    /// Name.
    pub name: String,
    /// Value, or where it comes from.
    pub value: EnvValue,
}

/// Where the value of a variable comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// The text itself.
    Plain(String),
    /// A version of a secret.
    Secret {
        /// The secret.
        secret: String,
        /// The version.
        version: String,
    },
}

/// Limits of a container, as written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resources {
    /// Was the message there at all? Its absence is what makes `cpuIdle` true by default.
    pub given: bool,
    /// `cpu`, `memory`, `nvidia.com/gpu`, as written (Kubernetes quantities).
    pub limits: BTreeMap<String, String>,
    /// Is CPU given only while requests are in flight?
    pub cpu_idle: bool,
    /// More CPU while starting.
    pub startup_cpu_boost: bool,
}

/// A probe, as written; 0 means the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Wait before the first attempt, in seconds.
    pub initial_delay: i32,
    /// Of one attempt, in seconds.
    pub timeout: i32,
    /// From one attempt to the next, in seconds.
    pub period: i32,
    /// Failures in a row that decide.
    pub failure_threshold: i32,
    /// What an attempt does.
    pub kind: ProbeKind,
}

/// What an attempt of a probe does. A port of 0 means the container's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeKind {
    /// Nothing was chosen.
    Unset,
    /// GET; 2xx and 3xx pass.
    Http {
        /// The path, `/` by default.
        path: String,
        /// Further headers.
        headers: Vec<(String, String)>,
        /// The port.
        port: i32,
    },
    /// Connect.
    Tcp {
        /// The port.
        port: i32,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// The port.
        port: i32,
        /// The service asked for.
        service: String,
    },
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: VolumeKind,
}

/// What a volume is; only those in memory are built yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeKind {
    /// Nothing was chosen.
    Unset,
    /// Versions of a secret.
    Secret(SecretSource),
    /// Sockets to Cloud SQL.
    CloudSql,
    /// Memory of the instance.
    EmptyDir {
        /// How much fits, as written (a Kubernetes quantity); empty means half of the instance's memory.
        size_limit: String,
    },
    /// NFS.
    Nfs,
    /// A bucket.
    Gcs,
}

/// Which versions of a secret are files of a volume, as written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecretSource {
    /// The secret, of the same project or with its own.
    pub secret: String,
    /// The files; none means the latest version alone, as a file called like the secret.
    pub items: Vec<SecretItem>,
    /// The mode of files that have none; 0 means 0444.
    pub default_mode: i32,
}

/// A version as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretItem {
    /// Relative to where the volume is seen.
    pub path: String,
    /// The version.
    pub version: String,
    /// The mode; 0 means the volume's.
    pub mode: i32,
}

// === impl Protocol ===

impl Protocol {
    /// The name of a port that speaks it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::H2c => "h2c",
        }
    }

    /// What the name of a port means; empty is HTTP/1.1.
    pub fn from_port_name(name: &str) -> Option<Self> {
        match name {
            "" | "http1" => Some(Self::Http1),
            "h2c" => Some(Self::H2c),
            _ => None,
        }
    }
}

// === impl RevisionTemplate ===

impl RevisionTemplate {
    /// The container that takes the traffic: the one with a port, or the only one. Where none does, as in a worker pool,
    /// the first.
    pub fn ingress_container(&self) -> Option<&Container> {
        match &self.containers[..] {
            [only] => Some(only),
            several => several.iter().find(|container| container.port_count > 0).or_else(|| several.first()),
        }
    }
}

// === impl SecretSource ===

impl SecretSource {
    /// The modes of files when nobody says otherwise.
    const MODE: i32 = 0o444;
    /// What Google takes away from a mode that is given: nobody may write.
    const UMASK: i32 = 0o222;

    /// The files, with their defaults; `id` is what the secret is called in its project.
    pub fn files(&self, id: &str) -> Vec<SecretPath> {
        let whole = SecretItem { path: id.to_owned(), version: "latest".to_owned(), mode: 0 };
        let items = if self.items.is_empty() { std::slice::from_ref(&whole) } else { &self.items };
        let mode = |mode: i32| match (mode, self.default_mode) {
            (0, 0) => Self::MODE,
            (0, default) => default & !Self::UMASK,
            (own, _) => own & !Self::UMASK,
        };
        let file = |item: &SecretItem| SecretPath {
            path: item.path.clone(),
            mode: mode(item.mode).unsigned_abs(),
            version: item.version.clone(),
        };
        items.iter().map(file).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_a_secret_has_its_own_mode_or_that_of_the_volume_and_nobody_may_write_it() {
        let modes = |default_mode, mode| {
            let items = vec![SecretItem { path: "a".to_owned(), version: "1".to_owned(), mode }];
            SecretSource { secret: "s".to_owned(), items, default_mode }.files("s")[0].mode
        };
        assert_eq!((modes(0, 0), modes(0o600, 0), modes(0o600, 0o777)), (0o444, 0o400, 0o555));
        let whole = SecretSource { secret: "projects/p/secrets/s".to_owned(), ..SecretSource::default() }.files("s");
        let want = SecretPath { path: "s".to_owned(), mode: 0o444, version: "latest".to_owned() };
        assert_eq!(whole, [want]);
    }
}
