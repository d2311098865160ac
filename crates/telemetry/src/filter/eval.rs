//! A tree and an entry → yes or no.

use std::{cmp::Ordering, net::IpAddr, time::SystemTime};

use jiff::Timestamp;
use serde_json::Value;
use updraft_model::name::fnv1a;

use super::{Call, Expr, Op, Operand, Path, parse::duration, severity};

/// Parts of an entry whose keys are the client's: they are taken as they are written.
const OPEN: [&str; 2] = ["jsonPayload", "labels"];

// === impl Expr ===

impl Expr {
    pub(super) fn matches(&self, entry: &Value) -> bool {
        match self {
            Self::And(parts) => parts.iter().all(|part| part.matches(entry)),
            Self::Or(parts) => parts.iter().any(|part| part.matches(entry)),
            Self::Not(part) => !part.matches(entry),
            Self::Compare { path, op, operand } => {
                path.values(entry).into_iter().any(|value| compare(value, *op, operand))
            }
            Self::Has(path) => !path.values(entry).is_empty(),
            Self::Anywhere(text) => contains(entry, &text.to_lowercase()),
            Self::Call(call) => call.matches(entry),
        }
    }
}

// === impl Call ===

impl Call {
    fn matches(&self, entry: &Value) -> bool {
        match self {
            Self::LogId(id) => {
                let name = entry["logName"].as_str().and_then(|name| name.rsplit_once("/logs/"));
                name.is_some_and(|(_, found)| found.replace("%2F", "/").eq_ignore_ascii_case(&id.replace("%2F", "/")))
            }
            Self::Search(path, words) => {
                let values = path.as_ref().map_or_else(|| vec![entry], |path| path.values(entry));
                let mut found = Vec::new();
                values.into_iter().for_each(|value| tokens(value, &mut found));
                words_of(words).iter().all(|word| found.contains(word))
            }
            Self::IpInNet(path, net, bits) => path.values(entry).into_iter().any(|value| {
                value.as_str().and_then(|text| text.parse().ok()).is_some_and(|address| is_in(address, *net, *bits))
            }),
            Self::Sample(path, share) => path.values(entry).first().is_some_and(|value| {
                (mixed(fnv1a(scalar(value).unwrap_or_default().as_bytes())) as f64) < share * 2f64.powi(64)
            }),
        }
    }
}

// === impl Path ===

impl Path {
    /// The values that a path leads to: none when the field is not there, several below a list.
    fn values<'v>(&self, entry: &'v Value) -> Vec<&'v Value> {
        static DEFAULT: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| Value::from("DEFAULT"));
        let mut level = vec![entry];
        let mut is_open = false;
        for name in &self.0 {
            let mut next = Vec::new();
            for value in level {
                step(value, name, is_open, &mut next);
            }
            is_open = is_open || OPEN.contains(&camel(name).as_str());
            level = next;
        }
        let mut found = Vec::new();
        level.into_iter().for_each(|value| flatten(value, &mut found));
        if found.is_empty() && self.0 == ["severity"] {
            found.push(&*DEFAULT);
        }
        found
    }
}

fn step<'v>(value: &'v Value, name: &str, is_open: bool, next: &mut Vec<&'v Value>) {
    match value {
        Value::Object(fields) => match fields.get(name) {
            Some(found) => next.push(found),
            None if !is_open => next.extend(fields.get(&camel(name))),
            None => {}
        },
        Value::Array(items) => items.iter().for_each(|item| step(item, name, is_open, next)),
        _ => {}
    }
}

fn flatten<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| flatten(item, found)),
        other => found.push(other),
    }
}

/// `service_name` → `serviceName`: fields may be written either way.
fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut chars = part.chars();
        camel.extend(chars.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(chars.as_str());
    }
    camel
}

fn compare(value: &Value, op: Op, operand: &Operand) -> bool {
    match (op, operand) {
        (Op::Contains, operand) => contains(value, &operand.text().to_lowercase()),
        (_, Operand::Pattern(pattern)) => scalar(value).is_some_and(|text| pattern.0.is_match(&text)),
        (op, operand) => order(value, operand).is_some_and(|order| op.holds(order)),
    }
}

/// How a value stands to an operand; `None` when they have nothing in common.
fn order(value: &Value, operand: &Operand) -> Option<Ordering> {
    match (value, operand) {
        (_, Operand::Severity(number, _)) => {
            let found = value.as_i64().or_else(|| severity(value.as_str()?))?;
            Some(found.cmp(number))
        }
        (_, Operand::Time(time, _)) => {
            let found: SystemTime = value.as_str()?.parse::<Timestamp>().ok()?.into();
            Some(found.cmp(time))
        }
        (_, Operand::Duration(seconds, _)) => duration(value.as_str()?)?.partial_cmp(seconds),
        (Value::Number(number), Operand::Text(text)) => number.as_f64()?.partial_cmp(&text.parse::<f64>().ok()?),
        (Value::Bool(found), Operand::Text(text)) => {
            let wanted = text.to_ascii_lowercase().parse::<bool>().ok()?;
            Some(found.cmp(&wanted))
        }
        (Value::Null, Operand::Text(text)) => (text == "NULL_VALUE").then_some(Ordering::Equal),
        (Value::String(found), Operand::Text(text)) => {
            // 64 bit integers are texts in JSON.
            match (found.parse::<i64>(), text.parse::<i64>()) {
                (Ok(found), Ok(wanted)) => Some(found.cmp(&wanted)),
                _ => Some(found.to_lowercase().cmp(&text.to_lowercase())),
            }
        }
        _ => None,
    }
}

// === impl Op ===

impl Op {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::Contains | Self::Matches => false,
        }
    }
}

/// Is the text, in lower case, in the value, in a value below it, or the name of one?
fn contains(value: &Value, text: &str) -> bool {
    match value {
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| name.to_lowercase() == text || contains(value, text))
        }
        Value::Array(items) => items.iter().any(|item| contains(item, text)),
        other => scalar(other).is_some_and(|found| found.to_lowercase().contains(text)),
    }
}

fn scalar(value: &Value) -> Option<std::borrow::Cow<'_, str>> {
    match value {
        Value::String(text) => Some(text.into()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(truth) => Some(if *truth { "true".into() } else { "false".into() }),
        _ => None,
    }
}

fn tokens(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.values().for_each(|value| tokens(value, found)),
        Value::Array(items) => items.iter().for_each(|item| tokens(item, found)),
        other => found.extend(scalar(other).iter().flat_map(|text| words_of(text))),
    }
}

fn words_of(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// Ids that count up differ in their last bits only; after this they differ in all.
fn mixed(mut hash: u64) -> u64 {
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}

fn is_in(address: IpAddr, net: IpAddr, bits: u8) -> bool {
    let bits_of = |address: IpAddr| match address.to_canonical() {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let ((address, size), (net, net_size)) = (bits_of(address), bits_of(net));
    size == net_size && (bits == 0 || (address ^ net) >> (128 - u32::from(bits)) == 0)
}
