//! JSON → messages.

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value as Field};
use serde_json::{Map, Value};
use updraft_model::{Error, Violation, error::VIOLATIONS_MAX};

use super::refuse;

/// The longest piece of a wrong value that is shown.
const MOST_SHOWN: usize = 64;

/// Messages that hold values of secrets: what is sent instead of one is not told.
const CONFIDENTIAL: [&str; 2] =
    ["google.cloud.secretmanager.v1.AddSecretVersionRequest", "google.cloud.secretmanager.v1.SecretPayload"];

/// Reads by descriptor and collects what does not fit.
#[derive(Debug, Default)]
pub(super) struct Reader {
    violations: Vec<Violation>,
}

/// Sets the field at the dotted `path` from a text, as path captures and query parameters give them. A
/// repeated field gains one entry.
///
/// # Errors
/// `InvalidArgument` when there is no such field or the text does not fit it.
pub fn bind_text(message: &mut DynamicMessage, path: &str, text: &str) -> Result<(), Error> {
    let mut reader = Reader::default();
    reader.bind(message, path, (path, text));
    reader.finish(())
}

// === impl Reader ===

impl Reader {
    pub(super) fn finish<T>(self, value: T) -> Result<T, Error> {
        if self.violations.is_empty() { Ok(value) } else { Err(refuse(self.violations)) }
    }

    pub(super) fn message(&mut self, descriptor: &MessageDescriptor, json: &Value, at: &str) -> DynamicMessage {
        if descriptor.full_name().starts_with("google.protobuf.") {
            return self.well_known(descriptor, json, at);
        }
        let mut message = DynamicMessage::new(descriptor.clone());
        match json {
            Value::Object(fields) => self.fields(&mut message, fields, at),
            _ => self.wrong(at, &type_url(descriptor.full_name()), json),
        }
        message
    }

    fn fields(&mut self, message: &mut DynamicMessage, fields: &Map<String, Value>, at: &str) {
        for (name, json) in fields {
            match find(&message.descriptor(), name) {
                None => self.unknown(at, name, "Cannot find field."),
                // `null` is how ProtoJSON spells "not set".
                Some(_) if json.is_null() => {}
                Some(field) => self.field(message, &field, (json, at)),
            }
        }
    }

    fn field(&mut self, message: &mut DynamicMessage, field: &FieldDescriptor, (json, at): (&Value, &str)) {
        let path = join(at, field.name());
        // Once as `serviceAccount` and once as `service_account`; an empty one counts for nothing.
        if message.has_field(field) {
            return self.unknown(at, field.json_name(), "The field is given twice.");
        }
        if let Some(oneof) = field.containing_oneof()
            && let Some(other) = oneof.fields().find(|other| other != field && message.has_field(other))
        {
            let (oneof, name, other) = (oneof.name(), field.name(), other.name());
            let rule = format!(
                "Invalid value at '{path}' (oneof), oneof field '{oneof}' is already set by '{other}'. Cannot set '{name}'"
            );
            return self.add(&path, rule);
        }
        let value = match json {
            Value::Object(entries) if field.is_map() => Some(self.map(field, entries, &path)),
            Value::Array(items) if field.is_list() => Some(self.list(&field.kind(), items, &path)),
            Value::Array(_) if !field.is_map() && !is_free_form(&field.kind()) => {
                self.unknown(at, field.json_name(), "Proto field is not repeating, cannot start list.");
                None
            }
            _ if field.is_map() || field.is_list() => {
                self.wrong(&path, &type_name(&field.kind()), json);
                None
            }
            _ => self.single(&field.kind(), json, &path),
        };
        if let Some(value) = value {
            message.set_field(field, value);
        }
    }

    fn list(&mut self, kind: &Kind, items: &[Value], path: &str) -> Field {
        let numbered = items.iter().enumerate();
        Field::List(numbered.filter_map(|(n, item)| self.single(kind, item, &format!("{path}[{n}]"))).collect())
    }

    fn map(&mut self, field: &FieldDescriptor, entries: &Map<String, Value>, path: &str) -> Field {
        let Kind::Message(entry) = field.kind() else { return Field::Map(Default::default()) };
        let (key_kind, value_kind) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
        let mut read = std::collections::HashMap::new();
        for (name, json) in entries {
            let path = format!("{path}[{name}]");
            let key = self.single(&key_kind, &Value::String(name.clone()), &path).and_then(map_key);
            if let (Some(key), Some(value)) = (key, self.single(&value_kind, json, &path)) {
                read.insert(key, value);
            }
        }
        Field::Map(read)
    }

    fn single(&mut self, kind: &Kind, json: &Value, path: &str) -> Option<Field> {
        if let Kind::Message(descriptor) = kind {
            return Some(Field::Message(self.message(descriptor, json, path)));
        }
        let value = scalar(kind, json);
        if value.is_none() {
            self.wrong(path, &type_name(kind), json);
        }
        value
    }

    /// Timestamps, durations and the like have forms of their own, which the library knows.
    fn well_known(&mut self, descriptor: &MessageDescriptor, json: &Value, at: &str) -> DynamicMessage {
        let paths = json.as_str().filter(|_| descriptor.full_name() == "google.protobuf.FieldMask");
        if let Some(paths) = paths {
            return field_mask(descriptor, paths);
        }
        let is_time = ["google.protobuf.Duration", "google.protobuf.Timestamp"].contains(&descriptor.full_name());
        if is_time && json.as_str().is_some_and(is_finer_than_nanos) {
            self.wrong(at, &type_url(descriptor.full_name()), json);
            return DynamicMessage::new(descriptor.clone());
        }
        DynamicMessage::deserialize(descriptor.clone(), json).unwrap_or_else(|error| {
            let kind = type_url(descriptor.full_name());
            self.add(at, format!("Invalid value at '{at}' ({kind}), {error}"));
            DynamicMessage::new(descriptor.clone())
        })
    }

    fn bind(&mut self, message: &mut DynamicMessage, path: &str, (whole, text): (&str, &str)) {
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let Some(field) = find(&message.descriptor(), name) else {
            return self.add(
                "",
                format!(
                    "Invalid JSON payload received. Unknown name \"{whole}\": Cannot bind query parameter. Field '{whole}' could not be found in request message."
                ),
            );
        };
        match (rest, field.kind()) {
            (Some(rest), Kind::Message(_)) if !field.is_list() && !field.is_map() => {
                if let Some(inner) = message.get_field_mut(&field).as_message_mut() {
                    self.bind(inner, rest, (whole, text));
                }
            }
            (None, kind) if !field.is_map() => {
                let Some(value) = self.single(&kind, &Value::String(text.to_owned()), whole) else { return };
                match message.get_field_mut(&field).as_list_mut() {
                    Some(list) => list.push(value),
                    None => message.set_field(&field, value),
                }
            }
            _ => self.add("", format!("Invalid value at '{whole}', the field cannot be given in the URL")),
        }
    }

    fn unknown(&mut self, at: &str, name: &str, why: &str) {
        let place = if at.is_empty() { String::new() } else { format!(" at '{at}'") };
        self.add(at, format!("Invalid JSON payload received. Unknown name \"{name}\"{place}: {why}"));
    }

    fn wrong(&mut self, path: &str, kind: &str, json: &Value) {
        // It may be the value of a secret.
        if kind == "TYPE_BYTES" || CONFIDENTIAL.iter().any(|name| kind == type_url(name)) {
            return self.add(path, format!("Invalid value at '{path}' ({kind})"));
        }
        let mut shown = json.to_string();
        if let Some((cut, _)) = shown.char_indices().nth(MOST_SHOWN) {
            shown.truncate(cut);
            shown.push('…');
        }
        self.add(path, format!("Invalid value at '{path}' ({kind}), {shown}"));
    }

    fn add(&mut self, field: &str, rule: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation::new(field, rule));
        }
    }
}

/// The field that a client means by `name`, in either spelling.
pub(crate) fn find(descriptor: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    descriptor.get_field_by_json_name(name).or_else(|| descriptor.get_field_by_name(name))
}

/// Has a time more than nine digits of fraction? The library would drop them.
fn is_finer_than_nanos(text: &str) -> bool {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    fraction.bytes().take_while(u8::is_ascii_digit).count() > 9
}

fn field_mask(descriptor: &MessageDescriptor, paths: &str) -> DynamicMessage {
    let mut mask = DynamicMessage::new(descriptor.clone());
    let paths = paths.split(',').map(str::trim).filter(|path| !path.is_empty());
    mask.set_field_by_name("paths", Field::List(paths.map(|path| Field::String(path.to_owned())).collect()));
    mask
}

fn scalar(kind: &Kind, json: &Value) -> Option<Field> {
    Some(match kind {
        Kind::Bool => Field::Bool(json.as_bool().or_else(|| json.as_str()?.parse().ok())?),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Field::I32(integer(json)?.try_into().ok()?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Field::I64(integer(json)?.try_into().ok()?),
        Kind::Uint32 | Kind::Fixed32 => Field::U32(integer(json)?.try_into().ok()?),
        Kind::Uint64 | Kind::Fixed64 => Field::U64(integer(json)?.try_into().ok()?),
        Kind::Float => Field::F32(float(json)? as f32),
        Kind::Double => Field::F64(float(json)?),
        Kind::String => Field::String(json.as_str()?.to_owned()),
        Kind::Bytes => Field::Bytes(bytes(json.as_str()?)?.into()),
        Kind::Enum(descriptor) => {
            let named = json.as_str().and_then(|name| descriptor.get_value_by_name(name));
            Field::EnumNumber(match named {
                Some(value) => value.number(),
                None => integer(json)?.try_into().ok()?,
            })
        }
        Kind::Message(_) => return None,
    })
}

/// An integer as a number, a number without fraction, or a text.
fn integer(json: &Value) -> Option<i128> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match json {
        Value::Number(number) => {
            let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
            let float = number.as_f64().filter(|value| value.fract() == 0.0 && value.abs() <= EXACT);
            whole.or_else(|| float.map(|value| value as i128))
        }
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn float(json: &Value) -> Option<f64> {
    match json {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            number => number.parse().ok().filter(|value: &f64| value.is_finite()),
        },
        _ => None,
    }
}

/// Base64 in either alphabet, with or without padding.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
    GeneralPurpose::new(&alphabet, config).decode(text).ok()
}

fn map_key(value: Field) -> Option<MapKey> {
    Some(match value {
        Field::Bool(key) => MapKey::Bool(key),
        Field::I32(key) => MapKey::I32(key),
        Field::I64(key) => MapKey::I64(key),
        Field::U32(key) => MapKey::U32(key),
        Field::U64(key) => MapKey::U64(key),
        Field::String(key) => MapKey::String(key),
        _ => return None,
    })
}

/// May a value of this kind be a list although the field is not repeated?
fn is_free_form(kind: &Kind) -> bool {
    let names = ["google.protobuf.ListValue", "google.protobuf.Value"];
    kind.as_message().is_some_and(|message| names.contains(&message.full_name()))
}

/// What Google calls the type in its messages.
fn type_name(kind: &Kind) -> String {
    match kind {
        Kind::Message(descriptor) => type_url(descriptor.full_name()),
        Kind::Enum(descriptor) => type_url(descriptor.full_name()),
        scalar => format!("TYPE_{}", format!("{scalar:?}").to_uppercase()),
    }
}

fn type_url(name: &str) -> String {
    format!("type.googleapis.com/{name}")
}

fn join(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}
