//! What was acknowledged, and what was under way when the server was killed.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What the clients know. One client changes a thing at a time, so of each thing there are at most two states that it
/// may be in after a crash: the one acknowledged last, and the one that was on its way.
#[derive(Debug, Default)]
pub(super) struct Ledger(RefCell<Known>);

#[derive(Debug, Default)]
struct Known {
    services: BTreeMap<String, Thing<Intent>>,
    /// By `repository:tag`, the digest.
    tags: BTreeMap<String, Thing<String>>,
    /// Blobs and manifests that were acknowledged since the last look: repository, digest.
    blobs: BTreeSet<(String, String)>,
    /// Every operation that was acknowledged, and how it ended if it was seen to.
    operations: BTreeMap<String, Option<Value>>,
    acknowledged: usize,
}

/// A thing that one client changes.
#[derive(Debug, Clone)]
pub(super) struct Thing<T> {
    /// What it is, as far as was acknowledged; `None` for nothing.
    acknowledged: Option<T>,
    /// What it was to become when the answer did not come.
    under_way: Option<Option<T>>,
    /// What the server said of it last.
    pub(super) said: Value,
}

/// What a service is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Intent {
    /// What its latest revision answers.
    pub(super) answer: String,
    /// Revision and percent; the latest is `LATEST`.
    pub(super) traffic: Vec<(String, i64)>,
    /// May everybody call it?
    pub(super) open: bool,
}

// === impl Ledger ===

impl Ledger {
    pub(super) fn service(&self, name: &str) -> Option<Intent> {
        self.0.borrow().services.get(name).and_then(|thing| thing.acknowledged.clone())
    }

    pub(super) fn services(&self) -> BTreeMap<String, Thing<Intent>> {
        self.0.borrow().services.clone()
    }

    pub(super) fn tags(&self) -> BTreeMap<String, Thing<String>> {
        self.0.borrow().tags.clone()
    }

    /// A request that is to make `name` an `intent` leaves now.
    pub(super) fn begin_service(&self, name: &str, intent: Option<Intent>) {
        self.0.borrow_mut().services.entry(name.to_owned()).or_default().under_way = Some(intent);
    }

    /// It was acknowledged: `said` is the service as the answer has it, if it has one.
    pub(super) fn end_service(&self, name: &str, said: Option<&Value>) {
        let mut known = self.0.borrow_mut();
        known.acknowledged += 1;
        if let Some(thing) = known.services.get_mut(name) {
            thing.end();
            if let Some(said) = said {
                thing.said = said.clone();
            }
        }
    }

    /// It was refused: nothing has changed.
    pub(super) fn refused_service(&self, name: &str) {
        if let Some(thing) = self.0.borrow_mut().services.get_mut(name) {
            thing.under_way = None;
        }
    }

    pub(super) fn begin_tag(&self, tag: &str, digest: Option<String>) {
        self.0.borrow_mut().tags.entry(tag.to_owned()).or_default().under_way = Some(digest);
    }

    pub(super) fn end_tag(&self, tag: &str) {
        let mut known = self.0.borrow_mut();
        known.acknowledged += 1;
        if let Some(thing) = known.tags.get_mut(tag) {
            thing.end();
        }
    }

    pub(super) fn blob(&self, repository: &str, digest: &str) {
        let mut known = self.0.borrow_mut();
        known.acknowledged += 1;
        known.blobs.insert((repository.to_owned(), digest.to_owned()));
    }

    /// The blobs and manifests that were acknowledged since this was asked last.
    pub(super) fn take_blobs(&self) -> BTreeSet<(String, String)> {
        std::mem::take(&mut self.0.borrow_mut().blobs)
    }

    pub(super) fn operation(&self, name: &str) {
        self.0.borrow_mut().operations.insert(name.to_owned(), None);
    }

    pub(super) fn operation_ended(&self, name: &str, outcome: &Value) {
        self.0.borrow_mut().operations.insert(name.to_owned(), Some(outcome.clone()));
    }

    pub(super) fn operations(&self) -> BTreeMap<String, Option<Value>> {
        self.0.borrow().operations.clone()
    }

    /// What was seen after a restart is what the next round begins with.
    pub(super) fn found_service(&self, name: &str, found: (Option<Intent>, Value)) {
        let (acknowledged, said) = found;
        self.0.borrow_mut().services.insert(name.to_owned(), Thing { acknowledged, under_way: None, said });
    }

    pub(super) fn found_tag(&self, tag: &str, found: Option<String>) {
        let thing = Thing { acknowledged: found, under_way: None, said: Value::Null };
        self.0.borrow_mut().tags.insert(tag.to_owned(), thing);
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.0.borrow().acknowledged
    }
}

// === impl Thing ===

impl<T> Default for Thing<T> {
    fn default() -> Self {
        Self { acknowledged: None, under_way: None, said: Value::Null }
    }
}

impl<T: Clone + PartialEq> Thing<T> {
    fn end(&mut self) {
        if let Some(intent) = self.under_way.take() {
            self.acknowledged = intent;
        }
    }

    /// May it be this after a crash?
    pub(super) fn may_be(&self, found: &Option<T>) -> bool {
        self.acknowledged == *found || self.under_way.as_ref() == Some(found)
    }

    /// Is nothing of it in doubt?
    pub(super) fn is_certain(&self) -> bool {
        self.under_way.is_none()
    }
}

// === impl Intent ===

impl Intent {
    /// The intent of a service as the API tells it, with its policy.
    pub(super) fn of(service: &Value, policy: &Value) -> Self {
        let traffic = service["traffic"].as_array().map(Vec::as_slice).unwrap_or_default();
        let line = |line: &Value| {
            let revision = line["revision"].as_str().unwrap_or("LATEST").to_owned();
            (revision, line["percent"].as_i64().unwrap_or(0))
        };
        let members = policy["bindings"][0]["members"].as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            answer: answer_of(&service["template"]),
            traffic: traffic.iter().map(line).collect(),
            open: members.iter().any(|member| member == "allUsers"),
        }
    }
}

/// What a revision with this template answers.
pub(super) fn answer_of(template: &Value) -> String {
    template["containers"][0]["env"][0]["value"].as_str().unwrap_or_default().to_owned()
}

/// The digest of some bytes.
pub(super) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}
