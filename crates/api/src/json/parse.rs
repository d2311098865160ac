//! Bytes → JSON, within bounds: of nesting, of the number of values; each name once.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use updraft_model::Error;

use super::invalid;

/// The deepest nesting; protobuf's own limit.
pub const NESTING_MAX: usize = 100;
/// The most values in one request. In memory each takes many times the byte it may be on the wire.
pub const VALUES_MAX: usize = 200_000;

/// Parses the text of a request.
///
/// # Errors
/// `InvalidArgument` with the position: for what is no JSON or no UTF-8, is nested too deeply, has too many values
/// or a name twice in one object, of which one would be lost without a word.
pub fn parse(text: &[u8]) -> Result<Value, Error> {
    let refused = |error: serde_json::Error| invalid("", format!("Invalid JSON payload received. {error}"));
    let left = Cell::new(VALUES_MAX);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Bounded { depth: 0, left: &left }.deserialize(&mut reader).map_err(refused)?;
    reader.end().map_err(refused)?;
    Ok(value)
}

/// A value at this depth; `left` counts down over the whole text.
#[derive(Clone, Copy)]
struct Bounded<'a> {
    depth: usize,
    left: &'a Cell<usize>,
}

// === impl Bounded ===

impl Bounded<'_> {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == NESTING_MAX {
            return Err(E::custom(format_args!("Message too deep. Max recursion depth is {NESTING_MAX}")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Some(left) = self.left.get().checked_sub(1) else {
            return Err(D::Error::custom(format_args!("More than {VALUES_MAX} values")));
        };
        self.left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut read = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            read.push(item);
        }
        Ok(Value::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut read = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if read.contains_key(&name) {
                let shown: String = name.chars().take(64).collect();
                return Err(A::Error::custom(format_args!("Duplicate name \"{shown}\"")));
            }
            let value = fields.next_value_seed(inner)?;
            read.insert(name, value);
        }
        Ok(Value::Object(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_parsed_is_what_stands_there() {
        let text = r#"{"a": [1, -2, 2.5, 18446744073709551615, "é\u00e9", true, null], "b": {}}"#;
        assert_eq!(parse(text.as_bytes()).expect("fine"), text.parse::<Value>().expect("the library agrees"));
    }

    #[test]
    fn bounds_and_twice_given_names_are_refused_with_their_place() {
        let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(deep(NESTING_MAX).as_bytes()).is_ok());
        let many = format!("[{}0]", "0,".repeat(VALUES_MAX));
        for (text, says) in [
            (deep(NESTING_MAX + 1).as_str(), "Message too deep"),
            (&deep(100_000), "Message too deep"),
            (&many, "More than 200000 values"),
            (r#"{"a": 1, "b": {"a": 1}, "a": 2}"#, "Duplicate name \"a\" at line 1 column"),
            ("{} {}", "trailing characters"),
            ("{\"a\": 1e999}", "number out of range"),
            ("{\"a\": NaN}", "expected value"),
            ("", "EOF"),
        ] {
            let error = parse(text.as_bytes()).expect_err(says);
            assert!(error.message().contains(says), "{says} in {}", error.message());
        }
    }
}
