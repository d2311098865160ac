//! Is what runs what is wanted?

use std::{
    fmt,
    hash::{Hash as _, Hasher},
    str::FromStr,
};

use sha2::{Digest as _, Sha256};
use updraft_model::instance::{ContainerSpec, InstanceSpec, Limits};

/// Stands for every field of an [`InstanceSpec`] and tells none of them; for every one but its CPU, of which an instance has more while it starts and which can be changed at any time. It is for a comparison
/// within one build of this program, and neither for disks nor for wires between versions.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpecDigest([u8; 32]);

/// Lets `derive(Hash)` walk the fields.
struct Walk(Sha256);

// === impl SpecDigest ===

impl SpecDigest {
    /// Of this spec.
    pub fn of(spec: &InstanceSpec) -> Self {
        let mut walk = Walk(Sha256::new());
        // With every name, so that one that is new cannot be forgotten.
        let InstanceSpec { owner, ingress, sidecars, volumes, port, egress } = spec;
        (owner, port, egress, volumes, sidecars.len()).hash(&mut walk);
        for container in std::iter::once(ingress).chain(sidecars) {
            let ContainerSpec { name, image, command, args, env, secret_env, working_dir, limits, mounts, depends_on } =
                container;
            let Limits { cpu_millis: _, memory_bytes, pids } = limits;
            (name, image, command, args, env, secret_env, working_dir).hash(&mut walk);
            (memory_bytes, pids, mounts, depends_on).hash(&mut walk);
        }
        Self(walk.0.finalize().into())
    }
}

impl fmt::Display for SpecDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SpecDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpecDigest({self})")
    }
}

/// What [`fmt::Display`] writes.
impl FromStr for SpecDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("must be 64 hexadecimal digits, got '{text}'");
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(malformed());
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| malformed())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| malformed())?;
        }
        Ok(Self(bytes))
    }
}

impl Hasher for Walk {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Nobody asks: the digest is longer.
    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use updraft_model::{
        instance::{Egress, Mount, SecretEnv},
        name::Parent,
    };

    use super::*;

    fn spec() -> InstanceSpec {
        InstanceSpec {
            owner: Parent::new("demo-project", "us-central1").service("a").revision("a-1").into(),
            ingress: ContainerSpec {
                name: "a-1".to_owned(),
                image: "registry.test/a@sha256:00".to_owned(),
                command: Vec::new(),
                args: vec!["x".to_owned(), "y".to_owned()],
                env: vec![("A".to_owned(), "1".to_owned())],
                secret_env: Vec::new(),
                working_dir: None,
                limits: Limits { cpu_millis: 1000, memory_bytes: 1 << 20, pids: 10 },
                mounts: Vec::new(),
                depends_on: Vec::new(),
            },
            sidecars: Vec::new(),
            volumes: Vec::new(),
            port: 8080,
            egress: Egress::All,
        }
    }

    #[test]
    fn every_difference_but_that_of_cpu_shows_and_nothing_else() {
        let digest = SpecDigest::of(&spec());
        assert_eq!(digest, SpecDigest::of(&spec()));
        let mut boosted = spec();
        boosted.ingress.limits.cpu_millis = 2000;
        assert_eq!(digest, SpecDigest::of(&boosted));
        let secret = |version| SecretEnv { name: "S".to_owned(), secret: "projects/p/secrets/s".to_owned(), version };
        let mut others = vec![spec(); 10];
        others[0].ingress.env[0].1 = "2".to_owned();
        others[1].ingress.args = vec!["xy".to_owned(), String::new()];
        let moved = std::mem::take(&mut others[2].ingress.args);
        others[2].ingress.command = moved;
        others[3].ingress.limits.pids = 11;
        others[4].ingress.working_dir = Some(String::new());
        others[5].egress = Egress::Private;
        others[6].sidecars = vec![spec().ingress];
        others[7].ingress.mounts = vec![Mount { volume: "a".to_owned(), path: "/a".to_owned() }];
        others[8].ingress.secret_env = vec![secret(1)];
        others[9].ingress.secret_env = vec![secret(2)];
        assert_ne!(SpecDigest::of(&others[8]), SpecDigest::of(&others[9]));
        for other in others {
            assert_ne!(SpecDigest::of(&other), digest, "{other:?}");
        }
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!("x".repeat(64).parse::<SpecDigest>().is_err());
    }
}
