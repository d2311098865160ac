//! The walks of ARCHITECTURE.md: every link leads to a file, and no line takes more than eight of them.

use std::path::Path;

/// More files than a reader keeps in mind.
const FILES: usize = 8;

/// All that is wrong with the links of `page`, which stands at `root`.
pub(super) fn check(root: &Path, page: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut walk = 0;
    for (number, line) in page.lines().enumerate() {
        let is_step = line.split_once(". [").is_some_and(|(step, _)| step.parse::<usize>().is_ok());
        walk = if is_step { walk + 1 } else { 0 };
        if walk > FILES {
            complaints.push(format!("ARCHITECTURE.md:{}: a walk of more than {FILES} files", number + 1));
        }
        for link in links(line).filter(|link| !root.join(link).is_file()) {
            complaints.push(format!("ARCHITECTURE.md:{}: '{link}' is not there", number + 1));
        }
    }
    complaints
}

/// The targets of the links in `line` that lead into the tree.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|target| !target.contains("://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_nothing_and_a_walk_that_is_too_long_are_complained_about() {
        let root = crate::root();
        assert_eq!(check(&root, "see [it](Cargo.toml) and [that](https://example.com)"), Vec::<String>::new());
        assert_eq!(check(&root, "[x](no/such/file.rs)").len(), 1);
        let walk: String = (1..=9).map(|step| format!("{step}. [x](Cargo.toml)\n")).collect();
        assert!(check(&root, &walk)[0].contains("more than 8 files"));
    }
}
