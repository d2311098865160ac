//! The structure, checked: what reviewers would otherwise have to remember.
//!
//! * `floors`: an import goes down a floor, never up or sideways; the picture in ARCHITECTURE.md.
//! * `walks`: the links of ARCHITECTURE.md.
//! * `sources`: lengths of files, parameters, docs, words that do not belong.

mod floors;
mod sources;
mod walks;

use std::{fs, path::Path};

use crate::Error;

/// What to do about a picture that is out of date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Complain.
    Check,
    /// Redraw it.
    Fix,
}

const PICTURE: &str = "ARCHITECTURE.md";
const BEGIN: &str = "<!-- floors: drawn by `cargo xtask tidy --fix` -->";
const END: &str = "<!-- /floors -->";

/// Checks everything and says all that is wrong, not only the first.
pub(crate) fn run(root: &Path, mode: Mode) -> Result<(), Error> {
    let packages = floors::read(root)?;
    let mut complaints = floors::check(&packages);
    complaints.extend(sources::check(root)?);
    let page = fs::read_to_string(root.join(PICTURE))?;
    complaints.extend(walks::check(root, &page));
    let redrawn = redraw(&page, &floors::draw(&packages))?;
    if redrawn != page {
        match mode {
            Mode::Fix => fs::write(root.join(PICTURE), redrawn)?,
            Mode::Check => {
                complaints.push(format!("{PICTURE}: the picture is out of date; run `cargo xtask tidy --fix`"))
            }
        }
    }
    if complaints.is_empty() {
        println!("tidy: {} packages, nothing to complain about", packages.len());
        return Ok(());
    }
    for complaint in &complaints {
        println!("{complaint}");
    }
    Err(format!("tidy: {} complaints", complaints.len()).into())
}

fn redraw(page: &str, picture: &str) -> Result<String, Error> {
    let missing = || format!("{PICTURE} lacks the lines `{BEGIN}` and `{END}`");
    let (head, rest) = page.split_once(BEGIN).ok_or_else(missing)?;
    let (_, tail) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{head}{BEGIN}\n```\n{picture}```\n{END}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        run(&crate::root(), Mode::Check).expect("cargo xtask tidy tells what is wrong");
    }

    #[test]
    fn redrawing_replaces_only_the_picture() {
        let page = format!("above\n{BEGIN}\nold\n{END}\nbelow\n");
        assert_eq!(redraw(&page, "new\n").expect("marked"), format!("above\n{BEGIN}\n```\nnew\n```\n{END}\nbelow\n"));
        assert!(redraw("no marks", "new").is_err());
    }
}
