//! Data in its formats.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;
use updraft_api::run;

use crate::{args::Format, error::CliError};

/// The mark of something that works.
pub(crate) const READY: &str = "✔";
/// The mark of something that does not.
pub(crate) const FAILED: &str = "X";
/// The mark of something that is not known yet.
pub(crate) const PENDING: &str = "…";

/// Rows under headings, in columns, as gcloud prints them. The first column is the mark.
pub(crate) fn table(headings: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned() + "\n");
    lines.collect()
}

/// One resource as JSON or YAML; `None` for the form for people, which is the caller's.
pub(crate) fn one(format: Option<Format>, value: &Value) -> Result<Option<String>, CliError> {
    match format {
        Some(Format::Json) => json(value).map(Some),
        Some(Format::Yaml | Format::Export) => yaml(value).map(Some),
        Some(Format::Table) | None => Ok(None),
    }
}

/// Several resources: a JSON list, or one YAML document each.
pub(crate) fn many(format: Option<Format>, values: &[Value]) -> Result<Option<String>, CliError> {
    match format {
        Some(Format::Json) => json(&Value::Array(values.to_vec())).map(Some),
        Some(Format::Yaml | Format::Export) => {
            let documents: Vec<String> = values.iter().map(yaml).collect::<Result<_, _>>()?;
            Ok(Some(documents.join("---\n")))
        }
        Some(Format::Table) | None => Ok(None),
    }
}

fn json(value: &Value) -> Result<String, CliError> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| CliError::failed(format!("cannot write JSON: {error}")))?;
    Ok(spelt(&text) + "\n")
}

/// JSON in which also those control characters are escaped that the format would let stand: DEL and those above it. The
/// others are between its values only when they end a line.
fn spelt(json: &str) -> String {
    let mut spelt = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\x7f'..='\u{9f}' => spelt.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => spelt.push(c),
        }
    }
    spelt
}

fn yaml(value: &Value) -> Result<String, CliError> {
    let text =
        serde_saphyr::to_string(value).map_err(|error| CliError::failed(format!("cannot write YAML: {error}")))?;
    Ok(text.trim_end().to_owned() + "\n")
}

/// The mark of a resource with this condition and its message, when it is not ready.
pub(crate) fn readiness(condition: Option<&run::Condition>) -> (&'static str, Option<&str>) {
    use run::condition::State;
    match condition.map(|condition| (condition.state(), condition.message.as_str())) {
        Some((State::ConditionSucceeded, _)) => (READY, None),
        Some((State::ConditionFailed, message)) => (FAILED, Some(message)),
        Some((_, message)) => (PENDING, Some(message)),
        None => (PENDING, None),
    }
}

/// The id at the end of a full name.
pub(crate) fn id(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The region in a full name.
pub(crate) fn region(name: &str) -> &str {
    name.split('/').nth(3).unwrap_or_default()
}

/// A time as the API writes it; empty when there is none.
pub(crate) fn time(stamp: Option<&prost_types::Timestamp>) -> String {
    timestamp(stamp).map(|time| time.to_string()).unwrap_or_default()
}

/// A time to the second: `2026-11-21 08:13:40 UTC`.
pub(crate) fn seconds(stamp: Option<&prost_types::Timestamp>) -> String {
    timestamp(stamp).map(|time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()).unwrap_or_default()
}

fn timestamp(stamp: Option<&prost_types::Timestamp>) -> Option<jiff::Timestamp> {
    stamp.and_then(|stamp| jiff::Timestamp::new(stamp.seconds, stamp.nanos).ok())
}
