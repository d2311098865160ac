//! v1 objects in their normal form → messages.
//!
//! What fits no field of a message is left where it is: it ends up in the rest. Only texts that have to be
//! numbers, switches or JSON and are not are refused here; the rules are the model's.

mod container;
mod job;
mod service;
mod template;
mod worker_pool;

use std::str::FromStr;

use serde_json::Value;
use updraft_model::Violation;

use super::{keys, tree};

pub(super) use job::job;
pub use job::run_job_request;
pub(super) use service::service;
pub(super) use worker_pool::worker_pool;

/// The pairs of the annotation that names secrets of other projects: `alias:projects/P/secrets/S,…`.
pub(super) fn aliases(annotation: &str) -> impl Iterator<Item = (&str, &str)> {
    annotation.split(',').filter_map(|pair| pair.trim().split_once(':'))
}

/// The annotations of one object, and what is wrong with them.
pub(super) struct Annotations<'a> {
    object: &'a Value,
    at: &'static str,
    found: &'a mut Vec<Violation>,
}

// === impl Annotations ===

impl<'a> Annotations<'a> {
    /// The annotations of `object`, whose path is `at` (empty, or with a full stop at its end).
    pub(super) fn of(object: &'a Value, at: &'static str, found: &'a mut Vec<Violation>) -> Self {
        Self { object, at, found }
    }

    /// The text of a key.
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.object["metadata"]["annotations"][key].as_str()
    }

    /// The text of a key; empty when it is not there.
    pub(super) fn owned(&self, key: &str) -> String {
        self.text(key).unwrap_or_default().to_owned()
    }

    /// The count of a key.
    pub(super) fn count(&mut self, key: &str) -> Option<i32> {
        self.parse(key, "a whole number")
    }

    /// The switch of a key: gcloud writes `True` and `true`.
    pub(super) fn switch(&mut self, key: &str) -> Option<bool> {
        let text = self.text(key)?;
        let read = match text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        if read.is_none() {
            self.refuse(key, format!("must be true or false, got '{text}'"));
        }
        read
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.refuse(key, format!("must be one of {}, got '{text}'", words.join(", ")));
        }
        found
    }

    /// The JSON in a key.
    pub(super) fn json(&mut self, key: &str, fits: fn(&Value) -> bool, form: &str) -> Option<Value> {
        let text = self.text(key).filter(|text| !text.is_empty())?;
        let read = serde_json::from_str(text).ok().filter(fits);
        if read.is_none() {
            self.refuse(key, format!("must be JSON of the form {form}, got '{text}'"));
        }
        read
    }

    fn parse<T: FromStr>(&mut self, key: &str, what: &str) -> Option<T> {
        let text = self.text(key).filter(|text| !text.is_empty())?;
        let read = text.parse().ok();
        if read.is_none() {
            self.refuse(key, format!("must be {what}, got '{text}'"));
        }
        read
    }

    /// Notes that a key is wrong.
    pub(super) fn refuse(&mut self, key: &str, rule: String) {
        self.found.push(Violation::new(format!("{}metadata.annotations[{key}]", self.at), rule));
    }
}

/// Refuses keys of annotations that are not known in `scope`.
pub(super) fn check_keys(scope: keys::Scope, object: &Value, at: &str, found: &mut Vec<Violation>) {
    for (key, _) in tree::pairs(&object["metadata"], "annotations") {
        if !keys::is_known(scope, key) {
            let rule = format!("'{key}' is not an annotation that is known here");
            found.push(Violation::new(format!("{at}metadata.annotations[{key}]"), rule));
        }
    }
}

/// A map of texts: `{"a": "b"}`.
pub(super) fn is_map(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.values().all(Value::is_string))
}

/// A list of texts: `["a"]`.
pub(super) fn is_list(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(Value::is_string))
}

/// Labels or annotations that v2 has as they are.
fn own(object: &Value, field: &str) -> std::collections::HashMap<String, String> {
    let pairs = tree::pairs(&object["metadata"], field);
    pairs.filter(|(key, _)| !keys::is_reserved(key)).map(|(key, value)| (key.clone(), value.to_owned())).collect()
}
