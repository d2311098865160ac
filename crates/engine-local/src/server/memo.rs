//! What a server writes down for the next one about an instance.

use std::{
    net::Ipv4Addr,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use updraft_engine::{Adopted, SpecDigest};
use updraft_model::instance::{Egress, InstanceId, InstanceSpec};

use crate::net::Attachment;

/// Enough to serve with it, and nothing that is somebody's: neither environment nor arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memo {
    /// The name is of a time when only revisions had instances.
    #[serde(rename = "revision")]
    owner: String,
    /// Stands for all of the spec.
    spec: String,
    port: u16,
    pub(super) memory_bytes: u64,
    /// In seconds since 1970.
    started: u64,
    pub(super) address: Ipv4Addr,
    egress: String,
    /// What it was told about name servers.
    pub(super) resolv_conf: String,
}

// === impl Memo ===

impl Memo {
    /// Of an instance of `spec` that starts `now`, in this network.
    pub(super) fn new(spec: &InstanceSpec, attachment: &Attachment, now: SystemTime) -> Self {
        Self {
            owner: spec.owner.to_string(),
            spec: SpecDigest::of(spec).to_string(),
            port: spec.port,
            memory_bytes: spec.ingress.limits.memory_bytes,
            started: now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs(),
            address: attachment.address,
            egress: spec.egress.to_string(),
            resolv_conf: attachment.resolv_conf().to_owned(),
        }
    }

    /// As the launcher keeps it.
    pub(super) fn write(&self) -> String {
        // Plain strings and numbers: there is nothing in it that JSON does not have.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The other end of [`Memo::write`].
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Where it may open connections to.
    pub(super) fn egress(&self) -> Option<Egress> {
        Egress::from_word(&self.egress)
    }

    /// The instance, as it is told to whoever has to decide about it.
    pub(super) fn adopted(&self, id: &str) -> Option<Adopted> {
        Some(Adopted {
            id: InstanceId(id.to_owned()),
            owner: self.owner.parse().ok()?,
            spec: self.spec.parse().ok()?,
            port: self.port,
            started: SystemTime::UNIX_EPOCH + Duration::from_secs(self.started),
        })
    }
}
