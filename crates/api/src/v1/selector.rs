//! Label selectors: `a=b`, `a == b`, `a!=b`, `a`, `!a`, `a in (b, c)`, `a notin (b)`.
//!
//! Source: Kubernetes, "Labels and selectors". gcloud writes spaces around `=`.

use updraft_model::Error;

/// What labels have to be like. All requirements must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    /// It is one of these.
    In(Vec<String>),
    /// It is none of these; not having the label is none, too.
    NotIn(Vec<String>),
    Exists,
    Absent,
}

// === impl Selector ===

impl Selector {
    /// Reads a selector; the empty one lets everything through.
    ///
    /// # Errors
    /// `InvalidArgument` that shows the requirement which is none.
    pub fn parse(text: &str) -> Result<Self, Error> {
        split(text).into_iter().map(|part| requirement(part.trim())).collect::<Result<_, _>>().map(Self)
    }

    /// Do these labels fit?
    pub fn matches(&self, labels: &[(String, String)]) -> bool {
        self.0.iter().all(|requirement| {
            // A later pair replaces an earlier one, as in the map that they become.
            let value = labels.iter().rev().find(|(key, _)| *key == requirement.key).map(|(_, value)| value);
            match &requirement.test {
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
            }
        })
    }

    /// The one value that a label must have, if the selector says so.
    pub fn value_of(&self, key: &str) -> Option<&str> {
        self.0.iter().find_map(|requirement| match &requirement.test {
            Test::In(values) if requirement.key == key && values.len() == 1 => Some(values[0].as_str()),
            _ => None,
        })
    }
}

/// Cuts at the commas that are not in brackets.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0usize, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    if parts.iter().all(|part| part.trim().is_empty()) { Vec::new() } else { parts }
}

fn requirement(text: &str) -> Result<Requirement, Error> {
    let refused = || {
        let rule =
            format!("must have the form key=value, key!=value, key, !key, key in (…) or key notin (…), got '{text}'");
        Error::invalid_field("labelSelector", rule)
    };
    let (key, test) = if let Some(key) = text.strip_prefix('!').filter(|key| !key.contains('=')) {
        (key, Test::Absent)
    } else if let Some((key, value)) = text.split_once("!=") {
        (key, Test::NotIn(vec![value.trim().to_owned()]))
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (key, Test::In(vec![value.trim().to_owned()]))
    } else if let Some((head, set)) = text.split_once('(') {
        let set = set.trim().strip_suffix(')').ok_or_else(refused)?;
        let values = set.split(',').map(|value| value.trim().to_owned()).collect();
        let (key, word) = head.trim().rsplit_once(char::is_whitespace).ok_or_else(refused)?;
        match word.to_ascii_lowercase().as_str() {
            "in" => (key, Test::In(values)),
            "notin" => (key, Test::NotIn(values)),
            _ => return Err(refused()),
        }
    } else {
        (text, Test::Exists)
    };
    let key = key.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if key.is_empty() || !key.chars().all(fits) {
        return Err(refused());
    }
    Ok(Requirement { key: key.to_owned(), test })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str) -> bool {
        let labels = [("app", "web"), ("serving.knative.dev/service", "demo")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Selector::parse(selector).unwrap_or_else(|error| panic!("{selector}: {error}")).matches(&labels)
    }

    #[test]
    fn every_form_is_understood_with_and_without_spaces() {
        for yes in [
            "",
            "app=web",
            "app == web",
            "serving.knative.dev/service = demo",
            "app",
            "!missing",
            "app!=other",
            "missing != x",
            "app in (web, api)",
            "app notin (api),serving.knative.dev/service=demo",
            "app notIn (api)",
        ] {
            assert!(matches(yes), "{yes}");
        }
        for no in ["app=api", "!app", "missing", "app!=web", "app in (api)", "app notin (web)", "app=web,missing"] {
            assert!(!matches(no), "{no}");
        }
    }

    #[test]
    fn what_is_no_selector_is_shown() {
        for bad in ["a b", "=x", "a in (b", "a among (b)", "a=b,,c=d", "a~b"] {
            let error = Selector::parse(bad).expect_err(bad);
            assert_eq!(error.violations()[0].field, "labelSelector", "{bad}");
        }
    }

    #[test]
    fn the_service_that_is_asked_for_is_known() {
        let selector = Selector::parse("serving.knative.dev/service = demo").expect("one");
        assert_eq!(selector.value_of("serving.knative.dev/service"), Some("demo"));
        assert_eq!(selector.value_of("app"), None);
    }
}
