//! `updraft config show`.

use super::print;
use crate::config::Resolved;

/// Prints every setting as a line of TOML, with where it came from as its comment: the output is a valid file.
pub(super) fn show(resolved: &[Resolved]) {
    for Resolved { key, value, origin } in resolved {
        let line = format!("{key} = {}", toml::Value::String(value.clone()));
        print(format_args!("{line:<52} # {origin}"));
    }
}
