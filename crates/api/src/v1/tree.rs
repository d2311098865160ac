//! Small things about JSON trees.

use serde_json::{Map, Value, json};

/// Pairs of which only those with something in them become keys.
pub(super) type Pairs = Vec<(&'static str, Value)>;

/// An object of the pairs that have something in them: gcloud shows no empty fields.
pub(super) fn object(pairs: Pairs) -> Value {
    let filled = pairs.into_iter().filter(|(_, value)| !is_empty(value));
    Value::Object(filled.map(|(key, value)| (key.to_owned(), value)).collect())
}

pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// With the keys of every object in order, as gcloud prints them.
pub(super) fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> =
                fields.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

pub(super) fn put(map: &mut Map<String, Value>, key: &str, value: Value) {
    if !is_empty(&value) {
        map.insert(key.to_owned(), value);
    }
}

/// A number that 0 stands for "not set" in.
pub(super) fn number(number: i32) -> Value {
    if number == 0 { Value::Null } else { json!(number) }
}

/// A count that 0 stands for "not set" in, as annotations write it.
pub(super) fn count(count: i32) -> Value {
    if count == 0 { Value::Null } else { json!(count.to_string()) }
}

/// As annotations write a switch; off is "not set".
pub(super) fn flag(set: bool) -> Value {
    if set { json!("true") } else { Value::Null }
}

/// A list as annotations hold it: JSON in a string.
pub(super) fn json_list(items: &[String]) -> Value {
    if items.is_empty() { Value::Null } else { json!(json!(items).to_string()) }
}

/// The text of a field; empty when there is none.
pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// The number of a field; 0 when there is none.
pub(super) fn integer(value: &Value, field: &str) -> i32 {
    value[field].as_i64().and_then(|number| i32::try_from(number).ok()).unwrap_or_default()
}

/// The elements of a list; none when there is no list.
pub(super) fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

/// The texts of a list.
pub(super) fn texts(value: &Value, field: &str) -> Vec<String> {
    items(value, field).filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The pairs of a map of texts.
pub(super) fn pairs<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = (&'a String, &'a str)> {
    let map = value[field].as_object().into_iter().flatten();
    map.filter_map(|(key, value)| Some((key, value.as_str()?)))
}

/// What follows the last slash of a name.
pub(super) fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The id that follows a collection in a name: of `jobs` in `projects/p/locations/l/jobs/j` it is `j`.
pub(super) fn id_in<'a>(name: &'a str, collection: &str) -> Option<&'a str> {
    let mut parts = name.split('/');
    while let (Some(found), Some(id)) = (parts.next(), parts.next()) {
        if found == collection {
            return Some(id);
        }
    }
    None
}

/// A switch that off stands for "not set" in.
pub(super) fn flag_value(set: bool) -> Value {
    if set { json!(true) } else { Value::Null }
}
