//! `cargo xtask api`: the table of the API's names and numbers, `crates/api/descriptors.txt`.
//!
//! The crates that carry the API's messages have no descriptors, and JSON, field masks and reflection
//! need them. Everything a descriptor says is in the generated source of those crates, so the table is
//! derived from there: `source` finds and parses it, `derive` reads the attributes, `table` prints.

mod attributes;
mod derive;
mod source;
mod table;

use std::{fs, path::Path};

use crate::Error;

/// What to do about a table that is out of date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Complain.
    Check,
    /// Write it.
    Write,
}

/// Where the table is committed.
const TABLE: &str = "crates/api/descriptors.txt";

/// Packages that the table holds whole.
const WHOLE: [&str; 7] = [
    "google.cloud.location",
    "google.cloud.run.v2",
    "google.cloud.scheduler.v1",
    "google.cloud.secretmanager.v1",
    "google.iam.v1",
    "google.longrunning",
    "google.rpc",
];
/// Packages of which the table holds what the whole ones refer to.
const REFERRED: [&str; 2] = ["google.api", "google.type"];

/// Derives the table and compares it with the committed one, or writes it.
///
/// # Errors
/// When the source says something that is not known here, and when the tables differ in [`Mode::Check`].
pub(crate) fn run(root: &Path, mode: Mode) -> Result<(), Error> {
    let packages = source::read(root, &[&WHOLE[..], &REFERRED[..]].concat())?;
    let mut schema = derive::schema(&packages)?;
    schema.keep_reachable(&WHOLE);
    let derived = table::print(&schema);
    let path = root.join(TABLE);
    if mode == Mode::Write {
        fs::write(&path, derived).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("api: wrote {TABLE}");
        return Ok(());
    }
    let committed = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    match first_difference(&committed, &derived) {
        None => {
            println!("api: {TABLE} is up to date");
            Ok(())
        }
        Some(difference) => Err(format!("{TABLE} is out of date; run `cargo xtask api`\n{difference}").into()),
    }
}

/// The first line in which two tables differ, as a hint.
fn first_difference(committed: &str, derived: &str) -> Option<String> {
    let (mut old, mut new) = (committed.lines(), derived.lines());
    for number in 1.. {
        match (old.next(), new.next()) {
            (None, None) => return None,
            (before, after) if before == after => {}
            (before, after) => {
                let show = |line: Option<&str>| line.unwrap_or("(end of the table)").to_owned();
                return Some(format!("line {number}:\n- {}\n+ {}", show(before), show(after)));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_shown_with_its_line() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n").as_deref(), Some("line 2:\n- b\n+ c"));
        assert_eq!(first_difference("a\n", "a\nc\n").as_deref(), Some("line 2:\n- (end of the table)\n+ c"));
    }

    #[test]
    fn the_committed_table_is_what_the_source_says() {
        run(&crate::root(), Mode::Check).expect("up to date");
    }
}
