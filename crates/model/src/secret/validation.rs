//! The rules of secrets, each with its field and the value that broke it. Values of secrets are not told.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use crate::{
    error::Violation,
    label::{LABEL_TEXT_MAX, LABELS_MAX, is_label_char, is_label_name},
    name::is_label,
};

/// The longest id, in characters.
pub const ID_MAX: usize = 255;
/// The largest value, in bytes.
pub const PAYLOAD_MAX: usize = 64 << 10;
/// The most aliases.
pub const ALIASES_MAX: usize = 50;
/// The most bytes all annotations may have together.
pub const ANNOTATIONS_BYTES_MAX: usize = 16 << 10;
/// The most places a value is said to be in.
pub const REPLICAS_MAX: usize = 50;
/// The shortest time from the wish to destroy a version to its destruction, where there is one.
pub const DESTROY_TTL_MIN: Duration = Duration::from_secs(24 * 3600);
/// The longest.
pub const DESTROY_TTL_MAX: Duration = Duration::from_secs(1000 * 24 * 3600);
/// The longest that a secret may be said to live: a hundred years.
pub const LIFETIME_MAX: Duration = Duration::from_secs(3_153_600_000);
/// The longest key of a label or an annotation and value of a label, in bytes.
const TEXT_BYTES_MAX: usize = 128;
/// The longest alias and key, in characters.
const ALIAS_MAX: usize = 63;

/// A secret, as its rules see it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Secret {
    /// For queries.
    pub labels: BTreeMap<String, String>,
    /// For tools.
    pub annotations: BTreeMap<String, String>,
    /// Names of versions, with their numbers.
    pub aliases: BTreeMap<String, i64>,
    /// Where its values are to be.
    pub replication: Option<Replication>,
    /// When it goes by itself.
    pub expires: Option<SystemTime>,
    /// How long a version that is to be destroyed is only disabled.
    pub destroy_ttl: Option<Duration>,
}

/// Where the values of a secret are to be. On one machine it is only kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replication {
    /// Anywhere.
    Automatic,
    /// At these locations.
    UserManaged(Vec<String>),
}

/// Checks an id: 1 to 255 letters, digits, hyphens and underscores.
///
/// # Errors
/// The violation.
pub fn check_id(field: &str, id: &str) -> Result<(), Violation> {
    if (1..=ID_MAX).contains(&id.len()) && id.bytes().all(is_word) {
        return Ok(());
    }
    let rule = format!("must be 1 to {ID_MAX} letters, digits, hyphens and underscores, got '{id}'");
    Err(Violation::new(field, rule))
}

/// Checks a value by its length.
///
/// # Errors
/// The violation, which does not tell the value.
pub fn check_payload(field: &str, length: usize) -> Result<(), Violation> {
    match length {
        0 => Err(Violation::new(field, "Secret Payload cannot be empty.")),
        1..=PAYLOAD_MAX => Ok(()),
        _ => Err(Violation::new(field, format!("must have at most {PAYLOAD_MAX} bytes, got {length}"))),
    }
}

/// Checks a secret at `secret`. `last` is the number of the version that was added last.
pub fn check(secret: &Secret, last: u64, now: SystemTime) -> Vec<Violation> {
    let mut found = Vec::new();
    check_labels(&secret.labels, &mut found);
    check_annotations(&secret.annotations, &mut found);
    check_aliases(&secret.aliases, last, &mut found);
    if let Some(Replication::UserManaged(locations)) = &secret.replication {
        check_replicas(locations, &mut found);
    }
    if let Some(expires) = secret.expires
        && !expires.duration_since(now).is_ok_and(|left| !left.is_zero() && left <= LIFETIME_MAX)
    {
        let rule = format!("must be in the future and within {} seconds", LIFETIME_MAX.as_secs());
        found.push(Violation::new("secret.expiration", rule));
    }
    if let Some(ttl) = secret.destroy_ttl.filter(|ttl| !(DESTROY_TTL_MIN..=DESTROY_TTL_MAX).contains(ttl)) {
        let (min, max) = (DESTROY_TTL_MIN.as_secs(), DESTROY_TTL_MAX.as_secs());
        let rule = format!("must be from {min}s to {max}s, got {}s", ttl.as_secs());
        found.push(Violation::new("secret.version_destroy_ttl", rule));
    }
    found
}

/// May this be an alias? 1 to 63 letters, digits, hyphens and underscores, a letter first; not `latest`, not `NEW`.
pub(super) fn is_alias(alias: &str) -> bool {
    alias.len() <= ALIAS_MAX
        && alias.starts_with(|c: char| c.is_ascii_alphabetic())
        && alias.bytes().all(is_word)
        && !matches!(alias, "latest" | "NEW")
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn check_labels(labels: &BTreeMap<String, String>, found: &mut Vec<Violation>) {
    const FIELD: &str = "secret.labels";
    if labels.len() > LABELS_MAX {
        found.push(Violation::new(FIELD, format!("must have at most {LABELS_MAX} labels, got {}", labels.len())));
    }
    for (key, value) in labels {
        let fits = |text: &str| text.chars().count() <= LABEL_TEXT_MAX && text.len() <= TEXT_BYTES_MAX;
        if !is_label_name(key) || !fits(key) {
            let rule = "key must be 1 to 63 lowercase letters, digits, '_' or '-', a letter first";
            found.push(Violation::new(format!("{FIELD}[{key}]"), format!("{rule}, got '{key}'")));
        }
        if !fits(value) || !value.chars().all(is_label_char) {
            let rule = "value must have at most 63 lowercase letters, digits, '_' or '-'";
            found.push(Violation::new(format!("{FIELD}[{key}]"), format!("{rule}, got '{value}'")));
        }
    }
}

fn check_annotations(annotations: &BTreeMap<String, String>, found: &mut Vec<Violation>) {
    const FIELD: &str = "secret.annotations";
    let bytes: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes >= ANNOTATIONS_BYTES_MAX {
        let rule = format!("must have less than {ANNOTATIONS_BYTES_MAX} bytes together, got {bytes}");
        found.push(Violation::new(FIELD, rule));
    }
    for key in annotations.keys() {
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = key.as_bytes();
        let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let fits = bytes.len() <= LABEL_TEXT_MAX && edge(bytes.first()) && edge(bytes.last());
        if !fits || !bytes.iter().all(inner) {
            let rule = "key must be 1 to 63 letters, digits, '-', '_' or '.', a letter or digit first and last";
            found.push(Violation::new(format!("{FIELD}[{key}]"), format!("{rule}, got '{key}'")));
        }
    }
}

fn check_aliases(aliases: &BTreeMap<String, i64>, last: u64, found: &mut Vec<Violation>) {
    const FIELD: &str = "secret.version_aliases";
    if aliases.len() > ALIASES_MAX {
        found.push(Violation::new(FIELD, format!("must have at most {ALIASES_MAX} aliases, got {}", aliases.len())));
    }
    for (alias, number) in aliases {
        let at = || format!("{FIELD}[{alias}]");
        if !is_alias(alias) {
            let rule = "must be 1 to 63 letters, digits, hyphens and underscores, begin with a letter and not be 'latest' or 'NEW'";
            found.push(Violation::new(at(), format!("{rule}, got '{alias}'")));
        }
        if !u64::try_from(*number).is_ok_and(|number| (1..=last).contains(&number)) {
            found.push(Violation::new(at(), format!("must be the number of a version of the secret, got {number}")));
        }
    }
}

fn check_replicas(locations: &[String], found: &mut Vec<Violation>) {
    const FIELD: &str = "secret.replication.user_managed.replicas";
    if locations.is_empty() || locations.len() > REPLICAS_MAX {
        let rule = format!("must have 1 to {REPLICAS_MAX} replicas, got {}", locations.len());
        found.push(Violation::new(FIELD, rule));
    }
    for (index, location) in locations.iter().enumerate().take(REPLICAS_MAX) {
        let at = || format!("{FIELD}[{index}].location");
        if !is_label(location) {
            found.push(Violation::new(at(), format!("must be the id of a location, got '{location}'")));
        } else if locations[..index].contains(location) {
            found.push(Violation::new(at(), format!("must not be named twice, got '{location}'")));
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn map<T: Clone>(entries: &[(&str, T)]) -> BTreeMap<String, T> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    }

    #[test]
    fn ids_follow_the_documented_rule() {
        for good in ["a", "Db_pass-1", "1", "-", &"a".repeat(255)] {
            assert!(check_id("secret_id", good).is_ok(), "{good}");
        }
        for bad in ["", "a.b", "a/b", "a b", "ä", &"a".repeat(256)] {
            assert!(check_id("secret_id", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_value_has_1_byte_to_64_kib() {
        assert!(check_payload("payload.data", 1).is_ok() && check_payload("payload.data", 65536).is_ok());
        assert_eq!(check_payload("payload.data", 0).expect_err("empty").rule, "Secret Payload cannot be empty.");
        let error = check_payload("payload.data", 65537).expect_err("too large").to_string();
        assert_eq!(error, "payload.data: must have at most 65536 bytes, got 65537");
    }

    #[test]
    fn every_part_of_a_secret_is_checked() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let secret = Secret {
            labels: map(&[("Team", "x".to_owned()), ("ok", "No".to_owned()), ("größe", "klein".to_owned())]),
            annotations: map(&[("-a", String::new()), ("a.b_C", "Any Text".to_owned())]),
            aliases: map(&[("latest", 1), ("fine", 2), ("off", 3), ("1st", 0)]),
            replication: Some(Replication::UserManaged(vec!["us".to_owned(), "us".to_owned(), "X".to_owned()])),
            expires: Some(now),
            destroy_ttl: Some(Duration::from_secs(60)),
        };
        let shown: String = check(&secret, 2, now).iter().map(|violation| format!("{violation}\n")).collect();
        expect![[r#"
            secret.labels[Team]: key must be 1 to 63 lowercase letters, digits, '_' or '-', a letter first, got 'Team'
            secret.labels[ok]: value must have at most 63 lowercase letters, digits, '_' or '-', got 'No'
            secret.annotations[-a]: key must be 1 to 63 letters, digits, '-', '_' or '.', a letter or digit first and last, got '-a'
            secret.version_aliases[1st]: must be 1 to 63 letters, digits, hyphens and underscores, begin with a letter and not be 'latest' or 'NEW', got '1st'
            secret.version_aliases[1st]: must be the number of a version of the secret, got 0
            secret.version_aliases[latest]: must be 1 to 63 letters, digits, hyphens and underscores, begin with a letter and not be 'latest' or 'NEW', got 'latest'
            secret.version_aliases[off]: must be the number of a version of the secret, got 3
            secret.replication.user_managed.replicas[1].location: must not be named twice, got 'us'
            secret.replication.user_managed.replicas[2].location: must be the id of a location, got 'X'
            secret.expiration: must be in the future and within 3153600000 seconds
            secret.version_destroy_ttl: must be from 86400s to 86400000s, got 60s
        "#]]
        .assert_eq(&shown);
    }

    #[test]
    fn collections_are_bounded() {
        let now = SystemTime::UNIX_EPOCH;
        let keys: Vec<String> = (0..65).map(|n| format!("k{n}")).collect();
        let secret = Secret {
            labels: keys.iter().map(|key| (key.clone(), String::new())).collect(),
            annotations: map(&[("a", "x".repeat(ANNOTATIONS_BYTES_MAX))]),
            aliases: keys.iter().map(|key| (key.clone(), 1)).collect(),
            replication: Some(Replication::UserManaged(Vec::new())),
            ..Secret::default()
        };
        let fields: Vec<String> = check(&secret, 1, now).into_iter().map(|violation| violation.field).collect();
        let expected = [
            "secret.labels",
            "secret.annotations",
            "secret.version_aliases",
            "secret.replication.user_managed.replicas",
        ];
        assert_eq!(fields, expected);
    }
}
