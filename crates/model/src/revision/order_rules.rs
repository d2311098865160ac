//! What containers may depend on.
//!
//! Source: Cloud Run Admin API v2, `Container.depends_on`.

use std::collections::HashMap;

use super::Container;
use crate::error::Violation;

/// Checks what each of `containers`, which are at the path `at`, depends on.
pub(super) fn check(at: &str, containers: &[Container], found: &mut Vec<Violation>) {
    for (index, container) in containers.iter().enumerate() {
        for (place, wanted) in container.depends_on.iter().enumerate() {
            if *wanted == container.name || !containers.iter().any(|other| other.name == *wanted) {
                let rule = format!("must name another container of the template, got '{wanted}'");
                found.push(Violation::new(format!("{at}[{index}].depends_on[{place}]"), rule));
            }
        }
    }
    if let Some(circle) = circle(containers)
        && let Some(index) = circle.first().and_then(|name| containers.iter().position(|one| one.name == *name))
    {
        let rule = format!("containers must not wait for each other in a circle, got {}", circle.join(" → "));
        found.push(Violation::new(format!("{at}[{index}].depends_on"), rule));
    }
}

/// Containers that wait for each other, if there are some: from one of them back to itself.
fn circle(containers: &[Container]) -> Option<Vec<&str>> {
    let waits_for: HashMap<&str, Vec<&str>> = containers
        .iter()
        .map(|one| {
            // What waits for itself is told apart already, and what is not there waits for nobody.
            let others = one.depends_on.iter().map(String::as_str).filter(|name| *name != one.name);
            (one.name.as_str(), others.collect())
        })
        .collect();
    // Whoever waits for nobody that is left can start: what remains in the end is in circles or waits for one.
    let mut left: Vec<&str> = containers.iter().map(|one| one.name.as_str()).collect();
    loop {
        let blocked = |name: &&str| waits_for.get(name).is_some_and(|all| all.iter().any(|one| left.contains(one)));
        let still: Vec<&str> = left.iter().copied().filter(blocked).collect();
        if still.len() == left.len() {
            break;
        }
        left = still;
    }
    let mut way = vec![*left.first()?];
    loop {
        let next = waits_for.get(way.last()?)?.iter().copied().find(|name| left.contains(name))?;
        if let Some(begin) = way.iter().position(|name| *name == next) {
            way.drain(..begin);
            way.push(next);
            return Some(way);
        }
        way.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a<b,c` is a container `a` that depends on `b` and `c`.
    fn said(containers: &[&str]) -> Vec<String> {
        let container = |text: &&str| {
            let (name, before) = text.split_once('<').unwrap_or((text, ""));
            let depends_on = before.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            Container { name: name.to_owned(), depends_on, ..Container::default() }
        };
        let containers: Vec<Container> = containers.iter().map(container).collect();
        let mut found = Vec::new();
        check("c", &containers, &mut found);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_order_that_can_be_kept_is_accepted() {
        for containers in [&["a"][..], &["a<b", "b"], &["a<b,c", "b<c", "c"], &["a<b", "b<c", "c", "d<a,c"]] {
            assert_eq!(said(containers), [""; 0], "{containers:?}");
        }
    }

    #[test]
    fn who_is_not_there_is_named() {
        assert_eq!(
            said(&["a<b,x", "b<b"]),
            [
                "c[0].depends_on[1]: must name another container of the template, got 'x'",
                "c[1].depends_on[0]: must name another container of the template, got 'b'",
            ]
        );
    }

    #[test]
    fn a_circle_is_shown_once_and_without_those_that_only_wait_for_it() {
        let rule = "containers must not wait for each other in a circle, got";
        for (containers, want) in [
            (&["a<b", "b<a"][..], format!("c[0].depends_on: {rule} a → b → a")),
            (&["d<a", "a<b", "b<c", "c<a"], format!("c[1].depends_on: {rule} a → b → c → a")),
            (&["x<y", "y", "a<b,y", "b<y,a"], format!("c[2].depends_on: {rule} a → b → a")),
        ] {
            assert_eq!(said(containers), [want], "{containers:?}");
        }
    }
}
