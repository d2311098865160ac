//! `updraft config show`.

use serde_json::json;
use updraft_cli::Format;

use super::print;
use crate::config::Resolved;

/// Prints every setting with where it came from: as lines of TOML, which are a valid file, or as JSON.
pub(super) fn show(resolved: &[Resolved], format: Option<Format>) {
    if format == Some(Format::Json) {
        let all = resolved
            .iter()
            .map(|Resolved { key, value, origin }| json!({"key": key, "value": value, "origin": origin.to_string()}))
            .collect();
        return print(format_args!("{:#}", serde_json::Value::Array(all)));
    }
    for Resolved { key, value, origin } in resolved {
        let line = format!("{key} = {}", toml::Value::String(value.clone()));
        print(format_args!("{line:<52} # {origin}"));
    }
}
