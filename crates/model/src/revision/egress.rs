//! Where the instances of a revision may open connections to: an annotation of our own, since Cloud Run's `vpc_access`
//! speaks of networks that only Google's cloud has.

use std::collections::BTreeMap;

use super::{
    RevisionTemplate,
    targets::{self, CONCURRENCY_TARGET, CPU_TARGET},
};
use crate::{error::Violation, instance::Egress};

/// The annotation of a template: `none`, `private` or `all`. It is written the same in both APIs.
pub const EGRESS: &str = "updraft.dev/egress";
/// Keys that mean something to Updraft: one that it does not know would be a setting without effect.
const NAMESPACE: &str = "updraft.dev/";

/// Checks the annotations of a template at `field`.
pub(super) fn check(field: &str, annotations: &BTreeMap<String, String>, found: &mut Vec<Violation>) {
    for (key, value) in annotations.iter().filter(|(key, _)| key.starts_with(NAMESPACE)) {
        let rule = match key.as_str() {
            EGRESS if Egress::from_word(value).is_some() => continue,
            EGRESS => format!("must be 'none', 'private' or 'all', got '{value}'"),
            CPU_TARGET | CONCURRENCY_TARGET if targets::percent(value).is_some() => continue,
            CPU_TARGET | CONCURRENCY_TARGET => format!("{}, got '{value}'", targets::RULE),
            _ => format!(
                "the keys in the namespace updraft.dev are '{EGRESS}', '{CPU_TARGET}' and '{CONCURRENCY_TARGET}', got '{key}'"
            ),
        };
        found.push(Violation::new(format!("{field}[{key}]"), rule));
    }
    let template = RevisionTemplate { annotations: annotations.clone(), ..RevisionTemplate::default() };
    if template.is_driven_by_nothing() {
        let rule = format!("cannot be 0 together with '{CONCURRENCY_TARGET}': nothing would be scaled by");
        found.push(Violation::new(format!("{field}[{CPU_TARGET}]"), rule));
    }
}

/// Checks the annotations of a service at `field`: ours are about what runs, and belong to the template.
pub(crate) fn check_service(field: &str, annotations: &BTreeMap<String, String>, found: &mut Vec<Violation>) {
    for key in annotations.keys().filter(|key| key.starts_with(NAMESPACE)) {
        let rule = format!("keys in the namespace updraft.dev belong to the template, got '{key}'");
        found.push(Violation::new(format!("{field}[{key}]"), rule));
    }
}

/// Checks the annotations of an execution's template at `field`: tasks are not scaled.
pub(crate) fn check_execution(field: &str, annotations: &BTreeMap<String, String>, found: &mut Vec<Violation>) {
    for (key, value) in annotations.iter().filter(|(key, _)| key.starts_with(NAMESPACE)) {
        let rule = match key.as_str() {
            EGRESS if Egress::from_word(value).is_some() => continue,
            EGRESS => format!("must be 'none', 'private' or 'all', got '{value}'"),
            _ => format!("the key in the namespace updraft.dev is '{EGRESS}', got '{key}'"),
        };
        found.push(Violation::new(format!("{field}[{key}]"), rule));
    }
}

/// Where what has these `annotations` may open connections to. [`EGRESS`], checked; everywhere without it.
pub(crate) fn of(annotations: &BTreeMap<String, String>) -> Egress {
    // A value that was not checked restricts rather than opens.
    annotations.get(EGRESS).map_or(Egress::All, |word| Egress::from_word(word).unwrap_or(Egress::None))
}

// === impl RevisionTemplate ===

impl RevisionTemplate {
    /// Where its instances may open connections to. [`EGRESS`], checked; everywhere without it.
    pub fn egress(&self) -> Egress {
        of(&self.annotations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(key: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(key.to_owned(), value.to_owned()), ("other.example/key".to_owned(), "x".to_owned())])
    }

    fn violations(key: &str, value: &str) -> Vec<String> {
        let mut found = Vec::new();
        check("template.annotations", &annotations(key, value), &mut found);
        found.into_iter().map(|violation| format!("{}: {}", violation.field, violation.rule)).collect()
    }

    #[test]
    fn a_template_says_where_its_instances_may_go() {
        for (word, egress) in [("none", Egress::None), ("private", Egress::Private), ("all", Egress::All)] {
            assert_eq!(violations(EGRESS, word), Vec::<String>::new());
            let template = RevisionTemplate { annotations: annotations(EGRESS, word), ..RevisionTemplate::default() };
            assert_eq!((template.egress(), egress.to_string()), (egress, word.to_owned()));
        }
        assert_eq!(RevisionTemplate::default().egress(), Egress::All);
    }

    #[test]
    fn what_is_misspelt_is_refused_and_never_opens_anything() {
        let want = "template.annotations[updraft.dev/egress]: must be 'none', 'private' or 'all', got 'None'";
        assert_eq!(violations(EGRESS, "None"), [want]);
        let want = "template.annotations[updraft.dev/ergess]: the keys in the namespace updraft.dev are \
                    'updraft.dev/egress', 'updraft.dev/scaling-cpu-target' and 'updraft.dev/scaling-concurrency-target', got 'updraft.dev/ergess'";
        assert_eq!(violations("updraft.dev/ergess", "none"), [want]);
        let template = RevisionTemplate { annotations: annotations(EGRESS, ""), ..RevisionTemplate::default() };
        assert_eq!(template.egress(), Egress::None);
        let mut found = Vec::new();
        check_service("service.annotations", &annotations(EGRESS, "none"), &mut found);
        assert_eq!(found.len(), 1);
    }
}
