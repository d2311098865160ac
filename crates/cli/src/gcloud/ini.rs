//! gcloud's configuration files: sections of `key = value`. Only what is ours is touched.

use super::properties::Property;

/// The text with these properties set or taken out. What else is in it stays, in its order.
pub(super) fn edit(text: &str, properties: &[Property]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for property in properties {
        put(&mut lines, property);
    }
    let mut text = lines.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn put(lines: &mut Vec<String>, property: &Property) {
    let (begin, end) = match section(lines, property.section) {
        Some(range) => range,
        None if property.value.is_none() => return,
        None => {
            if lines.last().is_some_and(|last| !last.is_empty()) {
                lines.push(String::new());
            }
            lines.push(format!("[{}]", property.section));
            (lines.len(), lines.len())
        }
    };
    let place = (begin..end).find(|&index| key(&lines[index]) == Some(property.key));
    match (&property.value, place) {
        (Some(value), Some(index)) => lines[index] = format!("{} = {value}", property.key),
        (Some(value), None) => {
            // Before the empty lines that part the sections.
            let last = (begin..end).rev().find(|&index| !lines[index].trim().is_empty());
            lines.insert(last.map_or(begin, |index| index + 1), format!("{} = {value}", property.key));
        }
        (None, Some(index)) => drop(lines.remove(index)),
        (None, None) => {}
    }
}

/// The lines of a section, without its heading.
fn section(lines: &[String], name: &str) -> Option<(usize, usize)> {
    let heading = |line: &String| line.trim().starts_with('[');
    let begin =
        lines.iter().position(|line| line.trim().strip_prefix('[').and_then(|l| l.strip_suffix(']')) == Some(name))?
            + 1;
    let end = lines[begin..].iter().position(heading).map_or(lines.len(), |index| begin + index);
    Some((begin, end))
}

fn key(line: &str) -> Option<&str> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    line.split_once(['=', ':']).map(|(key, _)| key.trim())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn property(section: &'static str, key: &'static str, value: Option<&str>) -> Property {
        Property { section, key, value: value.map(str::to_owned) }
    }

    #[test]
    fn what_is_ours_is_set_and_what_is_not_stays() {
        let before = "# mine\n[core]\naccount = me@example.com\nproject=old\n\n[compute]\nzone = a\n";
        let properties = [
            property("core", "project", Some("demo-project")),
            property("core", "custom_ca_certs_file", Some("/ca.pem")),
            property("auth", "disable_credentials", Some("True")),
        ];
        let after = edit(before, &properties);
        expect![[r"
            # mine
            [core]
            account = me@example.com
            project = demo-project
            custom_ca_certs_file = /ca.pem

            [compute]
            zone = a

            [auth]
            disable_credentials = True
        "]]
        .assert_eq(&after);
        assert_eq!(edit(&after, &properties), after, "again changes nothing");
        let without = edit(&after, &[property("core", "custom_ca_certs_file", None), property("none", "x", None)]);
        assert!(!without.contains("custom_ca") && without.contains("account = me") && !without.contains("none"));
    }

    #[test]
    fn a_new_file_has_the_sections_in_their_order() {
        let made = edit("", &[property("core", "project", Some("p")), property("run", "region", Some("r"))]);
        assert_eq!(made, "[core]\nproject = p\n\n[run]\nregion = r\n");
    }
}
