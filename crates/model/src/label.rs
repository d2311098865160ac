//! Labels and annotations.
//!
//! Sources: Cloud Run Admin API v2 (`Service.labels`, `Service.annotations`), Google Cloud's limits on
//! labels, Kubernetes' on annotations.

use std::collections::BTreeMap;

use crate::{error::Violation, name::is_label};

/// Key prefixes that only the platform may write.
pub const RESERVED_NAMESPACES: [&str; 4] =
    ["run.googleapis.com", "cloud.googleapis.com", "serving.knative.dev", "autoscaling.knative.dev"];
/// The most labels a resource may have.
pub const LABELS_MAX: usize = 64;
/// The longest name part of a key and the longest value of a label, in characters.
pub const LABEL_TEXT_MAX: usize = 63;
/// The most bytes all annotations of a resource may have together.
pub const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;

/// The longest prefix of a key, in characters (a DNS name).
pub const PREFIX_MAX: usize = 253;

/// Checks labels at `field`.
pub fn check_labels(field: &str, labels: &BTreeMap<String, String>, found: &mut Vec<Violation>) {
    if labels.len() > LABELS_MAX {
        found.push(Violation::new(field, format!("must have at most {LABELS_MAX} labels, got {}", labels.len())));
    }
    for (key, value) in labels {
        let rule =
            "key must be [prefix/]name with a name of 1 to 63 lowercase letters, digits, '_' or '-', a letter first";
        check_key((field, key), (is_label_name, rule), found);
        if value.chars().count() > LABEL_TEXT_MAX || !value.chars().all(is_label_char) {
            let rule = "value must be at most 63 lowercase letters, digits, underscores or hyphens";
            found.push(Violation::new(format!("{field}[{key}]"), format!("{rule}, got '{value}'")));
        }
    }
}

/// Checks annotations at `field`.
pub fn check_annotations(field: &str, annotations: &BTreeMap<String, String>, found: &mut Vec<Violation>) {
    let bytes: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > ANNOTATIONS_BYTES_MAX {
        let rule = format!("must have at most {ANNOTATIONS_BYTES_MAX} bytes of keys and values, got {bytes}");
        found.push(Violation::new(field, rule));
    }
    for key in annotations.keys() {
        let rule = "key must be [prefix/]name with a name of 1 to 63 letters, digits, '-', '_' or '.', a letter or digit first and last";
        check_key((field, key), (is_annotation_name, rule), found);
    }
}

/// A key is `[prefix/]name`; the prefix is a DNS name and not one of the reserved.
fn check_key((field, key): (&str, &str), (is_name, rule): (fn(&str) -> bool, &str), found: &mut Vec<Violation>) {
    let path = format!("{field}[{key}]");
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let reserved = |namespace: &&str| {
        prefix.is_some_and(|prefix| prefix == *namespace || prefix.ends_with(&format!(".{namespace}")))
    };
    if let Some(namespace) = RESERVED_NAMESPACES.into_iter().find(reserved) {
        found.push(Violation::new(path, format!("keys in the namespace {namespace} are reserved, got '{key}'")));
    } else if !prefix.is_none_or(is_dns_name) || !is_name(name) {
        found.push(Violation::new(path, format!("{rule}, got '{key}'")));
    }
}

fn is_dns_name(prefix: &str) -> bool {
    prefix.len() <= PREFIX_MAX && prefix.split('.').all(is_label)
}

pub(crate) fn is_label_name(name: &str) -> bool {
    let first = name.chars().next().is_some_and(|c| c.is_alphabetic() && !c.is_uppercase());
    first && name.chars().count() <= LABEL_TEXT_MAX && name.chars().all(is_label_char)
}

fn is_annotation_name(name: &str) -> bool {
    let edge = |c: &u8| c.is_ascii_alphanumeric();
    let bytes = name.as_bytes();
    bytes.len() <= LABEL_TEXT_MAX
        && bytes.first().is_some_and(edge)
        && bytes.last().is_some_and(edge)
        && bytes.iter().all(|c| edge(c) || b"-_.".contains(c))
}

pub(crate) fn is_label_char(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, '_' | '-') || (c.is_alphabetic() && !c.is_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn reserved_namespaces_are_refused_others_kept() {
        for (key, fine) in [
            ("team", true),
            ("client.knative.dev/nonce", true),
            ("run.googleapis.com/x", false),
            ("serving.knative.dev/x", false),
            ("", false),
            ("a b", false),
            ("/x", false),
            ("a/b/c", false),
            ("Example.com/x", false),
            ("example..com/x", false),
        ] {
            let mut found = Vec::new();
            check_labels("service.labels", &of(key, "v"), &mut found);
            check_annotations("service.annotations", &of(key, "Any Text"), &mut found);
            assert_eq!(found.is_empty(), fine, "{key}: {found:?}");
        }
    }

    #[test]
    fn a_label_value_is_short_and_lower_case() {
        let mut found = Vec::new();
        check_labels("service.labels", &of("team", "Blue"), &mut found);
        assert_eq!(found[0].field, "service.labels[team]");
        assert!(found[0].rule.ends_with("got 'Blue'"));
    }

    #[test]
    fn names_of_labels_are_lower_case_those_of_annotations_are_not() {
        for (key, label, annotation) in [
            ("Team", false, true),
            ("a.b", false, true),
            ("9lives", false, true),
            ("größe", true, false),
            ("-a", false, false),
            ("a-", true, false),
            (&"a".repeat(63), true, true),
            (&"a".repeat(64), false, false),
        ] {
            let (mut labels, mut annotations) = (Vec::new(), Vec::new());
            check_labels("l", &of(key, "v"), &mut labels);
            check_annotations("a", &of(key, "v"), &mut annotations);
            assert_eq!((labels.is_empty(), annotations.is_empty()), (label, annotation), "{key}");
        }
    }
}
