//! `updraft config show`.

use crate::config::Resolved;

/// Prints every setting as a line of TOML, with where it came from as its comment: the output is a valid file.
#[expect(clippy::print_stdout, reason = "data of a command")]
pub(super) fn show(resolved: &[Resolved]) {
    for Resolved { key, value, origin } in resolved {
        let line = format!("{key} = {}", toml::Value::String(value.clone()));
        println!("{line:<52} # {origin}");
    }
}
