//! Secrets of a template: which ones, and as which files.
//!
//! Sources: Cloud Run Admin API v2, `SecretKeySelector`, `SecretVolumeSource`, `VersionToPath`; for the paths what
//! Kubernetes allows in projected volumes, whose layout ours have.

use super::{SecretSource, validation::PATH_BYTES_MAX};
use crate::{
    error::Violation,
    secret::{SecretReference, VersionId},
};

/// The most files of one secret volume: each may be 64 KiB in memory, twice while it changes.
pub const SECRET_ITEMS_MAX: usize = 100;
/// The longest name of a file, in bytes (`NAME_MAX` of Linux).
const NAME_BYTES_MAX: usize = 255;
/// All bits that a mode may have.
const MODE_MAX: i32 = 0o777;

/// Checks the reference to a secret at `{path}.secret`: `{name}` or `projects/{project}/secrets/{name}`.
pub(super) fn check_secret(path: &str, secret: &str, found: &mut Vec<Violation>) {
    if SecretReference::read("", secret, "own").is_err() {
        let rule = format!("must be {{name}} or projects/{{project}}/secrets/{{name}}, got '{secret}'");
        found.push(Violation::new(format!("{path}.secret"), rule));
    }
}

/// Checks the version at `{path}.version`.
pub(super) fn check_version(path: &str, version: &str, found: &mut Vec<Violation>) {
    if VersionId::read("", version).is_err() {
        let rule = format!("must be 'latest', a number or an alias, got '{version}'");
        found.push(Violation::new(format!("{path}.version"), rule));
    }
}

/// Checks what a volume at `path` shows.
pub(super) fn check_source(path: &str, source: &SecretSource, found: &mut Vec<Violation>) {
    check_secret(path, &source.secret, found);
    check_mode(&format!("{path}.default_mode"), source.default_mode, found);
    if source.items.len() > SECRET_ITEMS_MAX {
        let rule = format!("must have at most {SECRET_ITEMS_MAX} items, got {}", source.items.len());
        found.push(Violation::new(format!("{path}.items"), rule));
    }
    let mut taken: Vec<&str> = Vec::new();
    for (index, item) in source.items.iter().enumerate() {
        let at = format!("{path}.items[{index}]");
        check_version(&at, &item.version, found);
        check_mode(&format!("{at}.mode"), item.mode, found);
        let field = format!("{at}.path");
        if !is_clean(&item.path) {
            let rule = "must be a relative path without empty parts, '.' and parts that begin with '..'";
            found.push(Violation::new(field, format!("{rule}, got '{}'", item.path)));
        } else if let Some(other) = taken.iter().find(|other| overlap(&item.path, other)) {
            let rule = format!("each item must have a path of its own, got '{}' beside '{other}'", item.path);
            found.push(Violation::new(field, rule));
        } else {
            taken.push(&item.path);
        }
    }
}

fn check_mode(field: &str, mode: i32, found: &mut Vec<Violation>) {
    if !(0..=MODE_MAX).contains(&mode) {
        found.push(Violation::new(field, format!("must be between 0 and {MODE_MAX} (octal 0777), got {mode}")));
    }
}

/// Names that begin with two dots are those of the directories by which all files are exchanged at once.
fn is_clean(path: &str) -> bool {
    let is_name = |part: &str| {
        (1..=NAME_BYTES_MAX).contains(&part.len()) && part != "." && !part.starts_with("..") && !part.contains('\0')
    };
    path.len() <= PATH_BYTES_MAX && path.split('/').all(is_name)
}

/// Are they the same, or is one a directory on the way to the other?
fn overlap(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::revision::SecretItem;

    fn check_that(source: &SecretSource, expected: Expect) {
        let mut found = Vec::new();
        check_source("v", source, &mut found);
        expected.assert_eq(&found.iter().map(|violation| format!("{violation}\n")).collect::<String>());
    }

    fn item(path: &str, version: &str, mode: i32) -> SecretItem {
        SecretItem { path: path.to_owned(), version: version.to_owned(), mode }
    }

    fn source(items: Vec<SecretItem>) -> SecretSource {
        SecretSource { secret: "db".to_owned(), items, default_mode: 0 }
    }

    #[test]
    fn files_of_a_secret_have_relative_paths_of_their_own_side_by_side() {
        let items = vec![item("a", "latest", 0o400), item("b/c.pem", "7", 0), item("b/..d", "blue", 0o777)];
        let good = vec![items[0].clone(), items[1].clone(), item("b.c", "1", 0), item(".hidden", "1", 0)];
        check_that(&source(good), expect![[""]]);
        check_that(&source(Vec::new()), expect![[""]]);
        check_that(
            &source(items),
            expect![[r#"
                v.items[2].path: must be a relative path without empty parts, '.' and parts that begin with '..', got 'b/..d'
            "#]],
        );
    }

    #[test]
    fn what_cannot_be_a_file_of_a_secret_is_named() {
        let items = vec![
            item("", "1", 0),
            item("/a", "1", 0),
            item("a/../b", "1", 0),
            item("a//b", "1", 0),
            item("x", "", 0),
            item("x", "0", -1),
            item("x/y", "1", 0o1000),
            item("z/y", "1", 0),
            item("z", "1", 0),
        ];
        let bad = SecretSource { secret: "a b".to_owned(), default_mode: 0o1000, ..source(items) };
        check_that(
            &bad,
            expect![[r#"
                v.secret: must be {name} or projects/{project}/secrets/{name}, got 'a b'
                v.default_mode: must be between 0 and 511 (octal 0777), got 512
                v.items[0].path: must be a relative path without empty parts, '.' and parts that begin with '..', got ''
                v.items[1].path: must be a relative path without empty parts, '.' and parts that begin with '..', got '/a'
                v.items[2].path: must be a relative path without empty parts, '.' and parts that begin with '..', got 'a/../b'
                v.items[3].path: must be a relative path without empty parts, '.' and parts that begin with '..', got 'a//b'
                v.items[4].version: must be 'latest', a number or an alias, got ''
                v.items[5].version: must be 'latest', a number or an alias, got '0'
                v.items[5].mode: must be between 0 and 511 (octal 0777), got -1
                v.items[5].path: each item must have a path of its own, got 'x' beside 'x'
                v.items[6].mode: must be between 0 and 511 (octal 0777), got 512
                v.items[6].path: each item must have a path of its own, got 'x/y' beside 'x'
                v.items[8].path: each item must have a path of its own, got 'z' beside 'z/y'
            "#]],
        );
        check_that(
            &source((0..=SECRET_ITEMS_MAX).map(|number| item(&number.to_string(), "1", 0)).collect()),
            expect![[r#"
                v.items: must have at most 100 items, got 101
            "#]],
        );
    }
}
