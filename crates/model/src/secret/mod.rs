//! Secrets and their versions: names, rules, states.
//!
//! Values are [`crate::Confidential`]; nothing here sees one but its length and its checksum.
//! Source: Secret Manager API v1 and its documented limits.

mod checksum;
mod lifecycle;
mod name;
mod sealer;
mod validation;

pub use checksum::crc32c;
pub use lifecycle::{Change, State, Version, is_expired};
pub use name::{GLOBAL, SecretName, SecretReference, VersionId, VersionName};
pub use sealer::{Sealed, Sealer};
pub use validation::{
    ALIASES_MAX, ANNOTATIONS_BYTES_MAX, DESTROY_TTL_MAX, DESTROY_TTL_MIN, ID_MAX, LIFETIME_MAX, PAYLOAD_MAX,
    REPLICAS_MAX, Replication, Secret, check, check_id, check_payload,
};
