//! Messages → JSON.

use base64::{Engine, prelude::BASE64_STANDARD};
use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, ReflectMessage, SerializeOptions, Value as Field,
};
use serde_json::{Map, Value, json};

use super::EnumEncoding;

/// The JSON of a message, by its descriptor.
pub fn write(message: &DynamicMessage, enums: EnumEncoding) -> Value {
    let descriptor = message.descriptor();
    match descriptor.full_name() {
        "google.protobuf.Any" => any(message, enums),
        name if name.starts_with("google.protobuf.") => well_known(message),
        _ => {
            let set = descriptor.fields().filter(|field| message.has_field(field));
            let pair = |f: FieldDescriptor| (f.json_name().to_owned(), field(&f, &message.get_field(&f), enums));
            Value::Object(set.map(pair).collect())
        }
    }
}

fn field(descriptor: &FieldDescriptor, value: &Field, enums: EnumEncoding) -> Value {
    match value {
        Field::List(items) => items.iter().map(|item| single(&descriptor.kind(), item, enums)).collect(),
        Field::Map(entries) => {
            let kind = match descriptor.kind() {
                Kind::Message(entry) => entry.map_entry_value_field().kind(),
                other => other,
            };
            let mut entries: Vec<(String, Value)> =
                entries.iter().map(|(key, value)| (map_key(key), single(&kind, value, enums))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        other => single(&descriptor.kind(), other, enums),
    }
}

fn single(kind: &Kind, value: &Field, enums: EnumEncoding) -> Value {
    match value {
        Field::Bool(value) => json!(value),
        Field::I32(value) => json!(value),
        Field::U32(value) => json!(value),
        Field::I64(value) => json!(value.to_string()),
        Field::U64(value) => json!(value.to_string()),
        Field::F32(value) => float(f64::from(*value)),
        Field::F64(value) => float(*value),
        Field::String(text) => json!(text),
        Field::Bytes(bytes) => json!(BASE64_STANDARD.encode(bytes)),
        Field::EnumNumber(number) => enum_value(kind.as_enum(), *number, enums),
        Field::Message(message) => write(message, enums),
        // Lists and maps are written by `field`; nothing nests them.
        Field::List(_) | Field::Map(_) => Value::Null,
    }
}

fn enum_value(descriptor: Option<&EnumDescriptor>, number: i32, enums: EnumEncoding) -> Value {
    let named = descriptor.and_then(|descriptor| descriptor.get_value(number));
    match (enums, named) {
        (EnumEncoding::Names, Some(value)) => json!(value.name()),
        _ => json!(number),
    }
}

fn float(value: f64) -> Value {
    match serde_json::Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => json!("NaN"),
        None if value > 0.0 => json!("Infinity"),
        None => json!("-Infinity"),
    }
}

fn map_key(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

/// The message inside, with its type beside its fields. One of a type that is not known here is written
/// as its bytes, so that nothing is hidden.
fn any(message: &DynamicMessage, enums: EnumEncoding) -> Value {
    let url = text(message, "type_url");
    let bytes = message.get_field_by_name("value");
    let bytes = bytes.as_ref().and_then(|value| value.as_bytes()).cloned().unwrap_or_default();
    let name = url.rsplit('/').next().unwrap_or_default();
    let known = message.descriptor().parent_pool().get_message_by_name(name);
    let inner = known.and_then(|descriptor| DynamicMessage::decode(descriptor, &bytes[..]).ok());
    let mut object = Map::new();
    object.insert("@type".to_owned(), json!(url));
    match inner.map(|inner| (name.starts_with("google.protobuf."), write(&inner, enums))) {
        Some((false, Value::Object(fields))) => object.extend(fields),
        Some((_, value)) => drop(object.insert("value".to_owned(), value)),
        None => drop(object.insert("value".to_owned(), json!(BASE64_STANDARD.encode(&bytes)))),
    }
    Value::Object(object)
}

fn text(message: &DynamicMessage, field: &str) -> String {
    let value = message.get_field_by_name(field);
    value.as_ref().and_then(|value| value.as_str()).unwrap_or_default().to_owned()
}

/// Timestamps, durations and the like have forms of their own, which the library knows.
fn well_known(message: &DynamicMessage) -> Value {
    let options = SerializeOptions::new().stringify_64_bit_integers(true);
    // A time out of range has no form; `null` is how ProtoJSON spells "not set".
    message.serialize_with_options(serde_json::value::Serializer, &options).unwrap_or(Value::Null)
}
