//! ProtoJSON, by descriptor.
//!
//! Out: lowerCamelCase, enum names (or numbers, for clients that ask with `enum-encoding=int`), 64-bit
//! integers as strings, `Any` inline with `@type`, defaults left out, maps sorted by key so that equal
//! messages print equally. In: both spellings of a field, names or numbers of an enum; what does not fit
//! is refused in Google's words, every field at once, and what is given twice as well.

mod parse;
mod query;
mod read;
mod write;

use prost_reflect::{DynamicMessage, MessageDescriptor};
use serde_json::Value;
use updraft_model::{Error, Violation};

use crate::{Named, message};

pub use parse::{NESTING_MAX, VALUES_MAX, parse};
pub use query::{bind_query, is_system};
pub use read::bind_text;
pub(crate) use read::find;
pub use write::write;

/// How enums are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EnumEncoding {
    /// `"INGRESS_TRAFFIC_ALL"`.
    #[default]
    Names,
    /// `1`.
    Numbers,
}

/// The JSON of a message.
///
/// # Errors
/// `Internal` when the message does not fit its descriptor, which the table's test rules out.
pub fn to_json<M: Named>(message: &M, enums: EnumEncoding) -> Result<Value, Error> {
    Ok(write(&to_dynamic(message)?, enums))
}

/// The message of a JSON value that stands at `at` in its request (`service`; empty for the request itself).
///
/// # Errors
/// `InvalidArgument` with one violation per field that does not fit.
pub fn from_json<M: Named>(json: &Value, at: &str) -> Result<M, Error> {
    from_dynamic(&read(&message(M::NAME), json, at)?)
}

/// As [`from_json`], by descriptor.
///
/// # Errors
/// As [`from_json`].
pub fn read(descriptor: &MessageDescriptor, json: &Value, at: &str) -> Result<DynamicMessage, Error> {
    let mut reader = read::Reader::default();
    let message = reader.message(descriptor, json, at);
    reader.finish(message)
}

/// A message with its descriptor.
///
/// # Errors
/// `Internal`, see [`to_json`].
pub fn to_dynamic<M: Named>(typed: &M) -> Result<DynamicMessage, Error> {
    let mut dynamic = DynamicMessage::new(message(M::NAME));
    dynamic.transcode_from(typed).map_err(|cause| Error::internal(format!("{}: {cause}", M::NAME)))?;
    Ok(dynamic)
}

/// The typed message of one with a descriptor.
///
/// # Errors
/// `InvalidArgument` when it does not decode, for one because it is nested too deeply.
pub fn from_dynamic<M: Named>(dynamic: &DynamicMessage) -> Result<M, Error> {
    dynamic.transcode_to().map_err(|cause| invalid("", format!("Invalid value ({}), {cause}", M::NAME)))
}

/// `InvalidArgument` whose message is the rule itself: Google's sentences name the field already.
fn invalid(field: &str, rule: String) -> Error {
    refuse(vec![Violation::new(field, rule)])
}

/// As [`invalid`], for several fields; the message has a line for each.
pub(crate) fn refuse(violations: Vec<Violation>) -> Error {
    let lines: Vec<&str> = violations.iter().map(|violation| violation.rule.as_str()).collect();
    let message = lines.join("\n");
    Error::invalid(violations).with_message(message)
}
