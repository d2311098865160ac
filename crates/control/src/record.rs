//! What only the control plane knows of a resource: `Envelope::internal`, as JSON.
//!
//! Fields are only ever added, each with a default, so that what an earlier version wrote can be read.

use std::{collections::BTreeMap, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::Message;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use updraft_api::iam;
use updraft_model::{
    Error, Reason,
    diagnosis::{Code, Diagnosis},
    revision::lifecycle::{Failure, Phase},
};
use updraft_store::{Envelope, FORMAT, Key};

/// Of a service.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ServiceRecord {
    /// E-mail of who created it.
    pub(crate) creator: String,
    /// E-mail of who changed its intent last.
    pub(crate) last_modifier: String,
    /// How many revisions it has had.
    pub(crate) sequence: u64,
    /// The id of the revision that its template made last.
    pub(crate) latest_created: String,
    /// The generation that has come as far as it will get, well or badly; 0 before the first.
    pub(crate) settled_generation: i64,
    /// Operations that end when the service is settled.
    pub(crate) pending: Vec<String>,
    /// The operation that the last write began.
    pub(crate) operation: String,
    /// Its policy.
    pub(crate) policy: PolicyRecord,
    /// It is being deleted, by this operation.
    pub(crate) deleting: Option<String>,
}

/// A policy and how often it was set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PolicyRecord {
    /// The message, in base64.
    pub(crate) message: String,
    /// Counts from 0.
    pub(crate) version: u64,
}

/// Of a revision.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RevisionRecord {
    /// E-mail of who made the change that made it.
    pub(crate) creator: String,
    /// Its place in the order in which revisions became the latest.
    pub(crate) sequence: u64,
    /// How far it has come: `resolving`, `checking`, `ready`, `failed`.
    pub(crate) phase: String,
    /// Why it failed.
    pub(crate) reason: String,
    /// Why it failed, for people.
    pub(crate) message: String,
    /// What was found out about that.
    pub(crate) diagnosis: Option<DiagnosisRecord>,
    /// The image of the container that takes the traffic, pinned.
    pub(crate) image: String,
    /// Those of the other containers, by their names.
    pub(crate) sidecar_images: BTreeMap<String, String>,
    /// The numbers of the versions that its variables have, by secret and version as written; `None` before it was seen
    /// that its account may read them, and what is in its volumes.
    pub(crate) secret_versions: Option<BTreeMap<String, u64>>,
    /// The check before ready is left out; the message `Revision` has no field for it.
    pub(crate) health_check_disabled: bool,
    /// It is being deleted, by this operation.
    pub(crate) deleting: Option<String>,
}

/// Of a job.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct JobRecord {
    /// E-mail of who created it.
    pub(crate) creator: String,
    /// E-mail of who changed its intent last.
    pub(crate) last_modifier: String,
    /// How many executions it has had.
    pub(crate) executions: u64,
    /// The id of the newest of them; empty before the first, and when that is deleted.
    pub(crate) latest: String,
    /// The operation that the last write began.
    pub(crate) operation: String,
    /// Its policy.
    pub(crate) policy: PolicyRecord,
    /// It is being deleted, by this operation.
    pub(crate) deleting: Option<String>,
}

/// Of an execution.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ExecutionRecord {
    /// E-mail of who ran the job.
    pub(crate) creator: String,
    /// The images of its containers, pinned, by their names; empty before they are.
    pub(crate) images: BTreeMap<String, String>,
    /// As of a revision.
    pub(crate) secret_versions: Option<BTreeMap<String, u64>>,
    /// The operations that end when it is over.
    pub(crate) pending: Vec<String>,
    /// Those that end when it was cancelled.
    pub(crate) cancelling: Vec<String>,
    /// It is to end: when somebody said so.
    pub(crate) cancelled: Option<SystemTime>,
    /// Which tasks of another execution it runs again, as its own from 0 on; empty for all of its own.
    pub(crate) only: Vec<u32>,
    /// It is over.
    pub(crate) is_over: bool,
    /// It is being deleted, by this operation.
    pub(crate) deleting: Option<String>,
}

/// Of a task.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TaskRecord {
    /// Its place in its execution, from 0.
    pub(crate) index: u32,
    /// The word of its phase.
    pub(crate) phase: String,
    /// How many attempts were begun.
    pub(crate) attempts: u32,
    /// How the last that ended did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<EndRecord>,
    /// Since when the one that runs does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<SystemTime>,
    /// When and why that was told to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stop: Option<(String, SystemTime)>,
    /// When the next may begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_before: Option<SystemTime>,
    /// When its first attempt began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) started: Option<SystemTime>,
    /// When it was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) completed: Option<SystemTime>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct EndRecord {
    /// How, in a word.
    pub(crate) how: String,
    /// An exit code, a signal, or bytes of memory.
    pub(crate) number: i64,
    /// Another number: bytes of memory.
    pub(crate) other: i64,
    /// For programs, of one that was not started.
    pub(crate) reason: String,
    /// For people, of that.
    pub(crate) message: String,
}

/// What was found out about a start that failed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct DiagnosisRecord {
    /// The word of its code.
    pub(crate) code: String,
    /// What happened.
    pub(crate) sentence: String,
    /// Why.
    pub(crate) cause: String,
    /// What to do.
    pub(crate) advice: String,
    /// What else was seen.
    pub(crate) facts: Vec<String>,
    /// The container's last lines.
    pub(crate) last_lines: Vec<String>,
}

/// Of an operation. Its `status` is the message `Operation` once it is done.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct OperationRecord {
    /// The full name of the service or revision it is about.
    pub(crate) resource: String,
    /// The id of the revision it made, if it made one.
    pub(crate) revision: String,
}

/// Reads the internal part of an envelope.
pub(crate) fn read<T: DeserializeOwned>(envelope: &Envelope) -> Result<T, Error> {
    serde_json::from_slice(&envelope.internal)
        .map_err(|error| Error::internal(format!("{}: unreadable internal part: {error}", envelope.key)))
}

/// Writes the internal part of an envelope.
pub(crate) fn write<T: Serialize>(record: &T) -> Vec<u8> {
    // Structs of strings and numbers always serialise.
    serde_json::to_vec(record).unwrap_or_default()
}

/// Reads a message out of an envelope.
pub(crate) fn message<M: Message + Default>(envelope: &Envelope, bytes: &[u8]) -> Result<M, Error> {
    M::decode(bytes).map_err(|error| Error::internal(format!("{}: unreadable message: {error}", envelope.key)))
}

// === impl PolicyRecord ===

impl PolicyRecord {
    /// The policy; an empty one if none was set.
    pub(crate) fn policy(&self) -> Result<iam::Policy, Error> {
        let bytes = STANDARD.decode(&self.message).map_err(|error| Error::internal(format!("policy: {error}")))?;
        iam::Policy::decode(&bytes[..]).map_err(|error| Error::internal(format!("policy: {error}")))
    }

    /// The record after `policy` was set.
    pub(crate) fn set(&self, policy: &iam::Policy) -> Self {
        Self { message: STANDARD.encode(policy.encode_to_vec()), version: self.version + 1 }
    }
}

// === impl RevisionRecord ===

impl RevisionRecord {
    /// How far it has come.
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.as_str() {
            "checking" => Phase::Checking,
            "ready" => Phase::Ready,
            "failed" => {
                let reason = Reason::from_word(&self.reason).unwrap_or(Reason::Internal);
                let mut failure = Failure::new(reason, &self.message);
                if let Some(record) = &self.diagnosis {
                    failure.diagnosis = record.diagnosis().map(Box::new);
                    failure.last_lines.clone_from(&record.last_lines);
                }
                Phase::Failed(failure)
            }
            _ => Phase::Resolving,
        }
    }

    /// Writes how far it has come.
    pub(crate) fn set_phase(&mut self, phase: &Phase) {
        let word = match phase {
            Phase::Resolving => "resolving",
            Phase::Checking => "checking",
            Phase::Ready => "ready",
            Phase::Failed(failure) => {
                failure.reason.as_str().clone_into(&mut self.reason);
                self.message.clone_from(&failure.message);
                self.diagnosis =
                    failure.diagnosis.as_deref().map(|found| DiagnosisRecord::of(found, &failure.last_lines));
                "failed"
            }
        };
        word.clone_into(&mut self.phase);
    }
}

// === impl DiagnosisRecord ===

impl DiagnosisRecord {
    fn of(found: &Diagnosis, last_lines: &[String]) -> Self {
        let Diagnosis { code, sentence, cause, advice, facts } = found.clone();
        let code = code.as_str().to_owned();
        Self { code, sentence, cause, advice, facts, last_lines: last_lines.to_vec() }
    }

    /// `None` for a code that only a later version knows.
    fn diagnosis(&self) -> Option<Diagnosis> {
        let Self { code, sentence, cause, advice, facts, .. } = self.clone();
        Some(Diagnosis { code: Code::from_word(&code)?, sentence, cause, advice, facts })
    }
}

/// A new envelope of generation 1.
pub(crate) fn envelope(key: Key, owner: &str, now: SystemTime) -> Envelope {
    Envelope {
        key,
        owner: owner.to_owned(),
        format: FORMAT,
        uid: uuid::Uuid::new_v4().to_string(),
        generation: 1,
        resource_version: 0,
        owner_epoch: 0,
        created: now,
        updated: now,
        spec: Vec::new(),
        v1_only: Vec::new(),
        status: Vec::new(),
        internal: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_survive_being_written_down() {
        let failed = Phase::Failed(Failure::new(Reason::ContainerMissing, "Image 'x' not found."));
        let found = Diagnosis {
            code: Code::Exited,
            sentence: "It failed.".to_owned(),
            cause: "It exited.".to_owned(),
            advice: "Read on.".to_owned(),
            facts: vec!["It ended 0.10 s after its start.".to_owned()],
        };
        let diagnosed = Failure::diagnosed(Reason::HealthCheckContainerError, found, vec!["boom".to_owned()]);
        for phase in [Phase::Resolving, Phase::Checking, Phase::Ready, failed, Phase::Failed(diagnosed)] {
            let mut record = RevisionRecord::default();
            record.set_phase(&phase);
            let read: RevisionRecord = serde_json::from_slice(&write(&record)).expect("just written");
            assert_eq!(read.phase(), phase);
        }
    }

    #[test]
    fn a_record_of_an_earlier_version_is_readable() {
        let record: ServiceRecord = serde_json::from_str(r#"{"sequence": 3, "unknown": 1}"#).expect("tolerant");
        assert_eq!(record.sequence, 3);
        assert_eq!(record.policy.policy().expect("empty"), iam::Policy::default());
    }
}
