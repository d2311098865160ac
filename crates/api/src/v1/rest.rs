//! The rest: what a v1 object says and the stored v2 message does not.
//!
//! A tree beside the tree of the object. A node holds values that the view of the message lacks, and nodes
//! for what both have. Elements of lists are found by what names them, not by where they stand, so that a
//! later change of the message neither shifts the rest nor revives it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use updraft_model::{Error, label::ANNOTATIONS_BYTES_MAX};

/// What names an element of a list, in this order of preference.
const NAMES: [&str; 3] = ["mountPath", "name", "path"];

/// Parts that every object has, though they are not shown when there is nothing in them. What is left of one is told
/// entry by entry, also when the view lacks it as a whole: later it may have entries of its own.
const PARTS: [&str; 5] = ["annotations", "labels", "metadata", "spec", "template"];

/// A node of the tree.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rest {
    /// Values that the view lacks, by field.
    whole: Map<String, Value>,
    /// What is left of values that the view has, by field or by the name of the element.
    inner: BTreeMap<String, Rest>,
}

/// The field of a probe that its message has no place for.
const SUCCESSES: &str = "successThreshold";

/// How a node is written: the two parts under one-letter keys.
const WHOLE: &str = "w";
const INNER: &str = "i";

// === impl Rest ===

impl Rest {
    /// Is there nothing?
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.inner.is_empty()
    }

    /// One value below these fields; an empty rest when it is nothing.
    pub(super) fn with(path: &[&str], field: &str, value: &Value) -> Self {
        if value.is_null() {
            return Self::default();
        }
        let leaf = Self { whole: Map::from_iter([(field.to_owned(), value.clone())]), ..Self::default() };
        path.iter().rev().fold(leaf, |inner, field| Self {
            inner: BTreeMap::from([((*field).to_owned(), inner)]),
            ..Self::default()
        })
    }

    /// With more values below these fields.
    #[must_use]
    pub(super) fn and(mut self, path: &[&str], values: &[(&str, Value)]) -> Self {
        let place = path.iter().fold(&mut self, |node, field| node.inner.entry((*field).to_owned()).or_default());
        place.whole.extend(values.iter().map(|(field, value)| ((*field).to_owned(), value.clone())));
        self
    }

    /// Of each pair: what is below the fields, under another one.
    #[must_use]
    pub(super) fn moved(&self, parts: &[(&[&str], &str)]) -> Self {
        let inner = parts.iter().map(|(path, field)| ((*field).to_owned(), self.below(path)));
        Self { inner: inner.filter(|(_, part)| !part.is_empty()).collect(), ..Self::default() }
    }

    /// What `sent` has and `view` lacks. Where both have a value that differs, the view's counts: there the
    /// message holds what was meant.
    pub(super) fn between(sent: &Value, view: &Value) -> Self {
        let mut rest = Self::default();
        match (sent, view) {
            (Value::Object(sent), Value::Object(view)) => {
                for (field, value) in sent {
                    match view.get(field) {
                        None if is_part(field, value) => rest.descend(field.clone(), value, &Value::Object(Map::new())),
                        None => drop(rest.whole.insert(field.clone(), value.clone())),
                        Some(shown) => rest.descend(field.clone(), value, shown),
                    }
                }
            }
            (Value::Array(sent), Value::Array(view)) => {
                for (index, (value, shown)) in sent.iter().zip(view).enumerate() {
                    rest.descend(name_of(shown, index), value, shown);
                }
            }
            _ => {}
        }
        rest
    }

    fn descend(&mut self, name: String, sent: &Value, view: &Value) {
        let inner = Self::between(sent, view);
        if !inner.is_empty() {
            self.inner.insert(name, inner);
        }
    }

    /// Puts the rest back. What the view has by now is left as it is, and so is what is gone from it.
    pub(super) fn put_back(&self, view: &mut Value) {
        match view {
            Value::Object(fields) => {
                for (field, value) in &self.whole {
                    fields.entry(field.clone()).or_insert_with(|| value.clone());
                }
                for (field, rest) in &self.inner {
                    if PARTS.contains(&&**field) {
                        rest.put_back(fields.entry(field.clone()).or_insert_with(|| Value::Object(Map::new())));
                    } else if let Some(value) = fields.get_mut(field) {
                        rest.put_back(value);
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    if let Some(rest) = self.inner.get(&name_of(item, index)) {
                        rest.put_back(item);
                    }
                }
            }
            _ => {}
        }
    }

    /// Without what has nothing to belong to any more in `view`, the view of a changed message.
    #[must_use]
    pub(super) fn pruned(&self, view: &Value) -> Self {
        let nothing = Value::Object(Map::new());
        let part = |name: &String| match view {
            Value::Object(fields) => match fields.get(name) {
                None if PARTS.contains(&&**name) => Some(&nothing),
                found => found,
            },
            Value::Array(items) => {
                items.iter().enumerate().find(|(index, item)| name_of(item, *index) == *name).map(|(_, item)| item)
            }
            _ => None,
        };
        let inner = self.inner.iter().filter_map(|(name, rest)| Some((name.clone(), rest.pruned(part(name)?))));
        Self { whole: self.whole.clone(), inner: inner.filter(|(_, rest)| !rest.is_empty()).collect() }
    }

    /// The node below these fields; an empty one when there is none.
    pub(super) fn below(&self, path: &[&str]) -> Self {
        let found = path.iter().try_fold(self, |node, field| node.inner.get(*field));
        found.cloned().unwrap_or_default()
    }

    /// The value of a field that the view lacks.
    pub(super) fn value(&self, path: &[&str], field: &str) -> Option<&Value> {
        path.iter().try_fold(self, |node, field| node.inner.get(*field))?.whole.get(field)
    }

    /// How often in a row the readiness probe of this container has to succeed before it gets requests again, if that
    /// was said; of the rest of a template. At least 1. The message of a probe has no field for it.
    pub fn readiness_successes(&self, container: &str) -> Option<u32> {
        let said = self.value(&["spec", "containers", container, "readinessProbe"], SUCCESSES)?;
        said.as_i64().and_then(|times| u32::try_from(times).ok()).filter(|&times| times > 0)
    }

    /// Every value with its path below `at`: `spec.template.spec.containers[web].imagePullPolicy`, and
    /// `…annotations[run.googleapis.com/sources]` for entries of maps.
    pub(super) fn leaves(&self, at: &str) -> Vec<(String, &Value)> {
        let named = at.ends_with("annotations") || at.ends_with("labels") || is_list(at);
        let path = |field: &str| match (at.is_empty(), named) {
            (true, _) => field.to_owned(),
            (false, true) => format!("{at}[{field}]"),
            (false, false) => format!("{at}.{field}"),
        };
        let mut found: Vec<(String, &Value)> = self.whole.iter().map(|(field, value)| (path(field), value)).collect();
        found.extend(self.inner.iter().flat_map(|(name, rest)| rest.leaves(&path(name))));
        found
    }

    /// As it is stored; nothing for an empty one.
    pub fn to_bytes(&self) -> Vec<u8> {
        if self.is_empty() { Vec::new() } else { self.to_value().to_string().into_bytes() }
    }

    /// Is it small enough to be stored, and in its ranges what is acted on? Most of it are annotations, so it may have
    /// as many bytes as these.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not.
    pub fn check(&self) -> Result<(), Error> {
        let thresholds = self.leaves("").into_iter().filter(|(path, _)| is_readiness_successes(path));
        for (path, value) in thresholds {
            let times = value.as_i64().unwrap_or_default();
            if u32::try_from(times).is_err() || times < 1 {
                return Err(Error::invalid_field(path, format!("must be at least 1, got {value}")));
            }
        }
        let bytes = self.to_bytes().len();
        if bytes <= ANNOTATIONS_BYTES_MAX {
            return Ok(());
        }
        let rule = format!("must have at most {ANNOTATIONS_BYTES_MAX} bytes in what only API v1 knows, got {bytes}");
        Err(Error::invalid_field("metadata", rule))
    }

    /// Reads what was stored.
    ///
    /// # Errors
    /// When these are not the bytes of a rest.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        if bytes.is_empty() { Ok(Self::default()) } else { Ok(Self::of_value(&serde_json::from_slice(bytes)?)) }
    }

    fn to_value(&self) -> Value {
        let mut fields = Map::new();
        if !self.whole.is_empty() {
            fields.insert(WHOLE.to_owned(), Value::Object(self.whole.clone()));
        }
        if !self.inner.is_empty() {
            let inner = self.inner.iter().map(|(name, rest)| (name.clone(), rest.to_value()));
            fields.insert(INNER.to_owned(), Value::Object(inner.collect()));
        }
        Value::Object(fields)
    }

    fn of_value(value: &Value) -> Self {
        let inner = value[INNER].as_object().into_iter().flatten();
        let mut rest =
            Self { whole: Map::new(), inner: inner.map(|(name, rest)| (name.clone(), Self::of_value(rest))).collect() };
        for (field, value) in value[WHOLE].as_object().into_iter().flatten() {
            // Parts as a whole were written once; two ways to say the same would be two templates.
            match is_part(field, value) {
                true => rest.descend(field.clone(), value, &Value::Object(Map::new())),
                false => drop(rest.whole.insert(field.clone(), value.clone())),
            }
        }
        rest
    }
}

/// What an element of a list is called.
fn name_of(item: &Value, index: usize) -> String {
    let named = NAMES.iter().find_map(|name| item[*name].as_str()).filter(|name| !name.is_empty());
    named.map_or_else(|| index.to_string(), str::to_owned)
}

fn is_part(field: &str, value: &Value) -> bool {
    PARTS.contains(&field) && value.is_object()
}

/// Is it how often a readiness probe has to succeed, which is acted on?
pub(super) fn is_readiness_successes(path: &str) -> bool {
    path.strip_suffix(SUCCESSES).is_some_and(|probe| probe.ends_with("readinessProbe."))
}

/// Do the elements of this field have names?
fn is_list(at: &str) -> bool {
    let field = at.rsplit('.').next().unwrap_or(at);
    matches!(field, "containers" | "env" | "volumes" | "volumeMounts" | "ports" | "items" | "httpHeaders" | "traffic")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_rest_put_back_gives_what_was_sent() {
        let sent = json!({"a": 1, "list": [{"name": "x", "v": 1, "odd": true}, {"name": "y"}], "only": {"here": []}});
        let view = json!({"a": 1, "list": [{"name": "x", "v": 1}, {"name": "y"}]});
        let rest = Rest::between(&sent, &view);
        let mut back = view.clone();
        rest.put_back(&mut back);
        assert_eq!(back, sent);
        assert_eq!(Rest::from_bytes(&rest.to_bytes()).expect("just written"), rest);
        assert!(Rest::between(&view, &view).is_empty());
    }

    #[test]
    fn an_element_keeps_its_rest_when_others_move_and_loses_it_when_it_goes() {
        let sent = json!({"containers": [{"name": "a"}, {"name": "b", "odd": 1}]});
        let rest = Rest::between(&sent, &json!({"containers": [{"name": "a"}, {"name": "b"}]}));
        let mut moved = json!({"containers": [{"name": "b"}]});
        rest.put_back(&mut moved);
        assert_eq!(moved, json!({"containers": [{"name": "b", "odd": 1}]}));
        let gone = json!({"containers": [{"name": "a"}]});
        assert!(rest.pruned(&gone).is_empty());
        assert_eq!(rest.pruned(&moved), rest);
    }

    #[test]
    fn a_rest_has_a_bound() {
        let rest = |bytes: usize| Rest::between(&json!({"a": "x".repeat(bytes)}), &json!({}));
        assert!(rest(ANNOTATIONS_BYTES_MAX / 2).check().is_ok());
        let refused = rest(ANNOTATIONS_BYTES_MAX).check().expect_err("there is a name beside it");
        assert!(refused.violations()[0].rule.contains("262144 bytes"), "{refused:?}");
    }

    #[test]
    fn how_often_a_readiness_probe_has_to_succeed_is_kept_for_its_container_and_is_at_least_once() {
        let rest = |times: i64| {
            let of = |probe| json!({"spec": {"containers": [{"name": "a", "readinessProbe": probe}, {"name": "b"}]}});
            Rest::between(&of(json!({"successThreshold": times})), &of(json!({})))
        };
        assert_eq!(rest(3).readiness_successes("a"), Some(3));
        assert_eq!(rest(3).readiness_successes("b"), None);
        assert!(rest(1).check().is_ok());
        let refused = rest(-1).check().expect_err("no probe succeeds less than once");
        assert_eq!(refused.violations()[0].field, "spec.containers[a].readinessProbe.successThreshold");
    }

    #[test]
    fn what_is_left_of_a_map_stands_beside_what_comes_into_it() {
        let sent = json!({"metadata": {"annotations": {"a": "1", "b": "2"}}});
        let rest = Rest::between(&sent, &json!({}));
        let mut view = json!({"metadata": {"name": "n", "annotations": {"b": "3", "c": "4"}}});
        assert_eq!(rest.pruned(&json!({})), rest);
        rest.put_back(&mut view);
        assert_eq!(view, json!({"metadata": {"name": "n", "annotations": {"a": "1", "b": "3", "c": "4"}}}));
        let mut empty = json!({});
        rest.put_back(&mut empty);
        assert_eq!(empty, sent);
        let as_once_written = br#"{"w":{"metadata":{"annotations":{"a":"1","b":"2"}}}}"#;
        assert_eq!(Rest::from_bytes(as_once_written).expect("readable"), rest);
    }

    #[test]
    fn what_the_message_says_by_now_counts() {
        let rest = Rest::between(&json!({"a": "0"}), &json!({}));
        let mut view = json!({"a": "3"});
        rest.put_back(&mut view);
        assert_eq!(view, json!({"a": "3"}));
    }

    #[test]
    fn leaves_are_told_by_their_path() {
        let sent = json!({"metadata": {"annotations": {"k/a": "v"}}, "spec": {"containers": [{"name": "w", "x": 1}]}});
        let view = json!({"metadata": {}, "spec": {"containers": [{"name": "w"}]}});
        let rest = Rest::between(&sent, &view);
        let paths: Vec<String> = rest.leaves("").into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["metadata.annotations[k/a]", "spec.containers[w].x"]);
    }
}
