//! Sources: sizes, parameters, docs, words.

use std::{
    fs,
    path::{Path, PathBuf},
};

use syn::{spanned::Spanned as _, visit::Visit};

use crate::Error;

/// The longest file, in lines; longer ones no reader keeps in mind.
const FILE_LINES: usize = 900;
/// The most parameters of a function, `self` aside.
const PARAMETERS: usize = 5;
/// Markers of unfinished work. Written in two halves so that this file is not its own first find.
const MARKERS: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), concat!("unimplemented", "!(")];
/// Nouns of the product, which the ground floor may not know.
const NOUNS: &[&str] = &["revision", "instance", "container", "traffic", "cloud run"];
/// Where `unsafe` may be said: in the driver of this host, and in the example, which has only the standard library
/// and that cannot ask for a signal.
const UNSAFE: &[&str] = &["crates/engine-local/", "examples/"];

/// All that is wrong with the sources under `crates/` and `xtask/`.
pub(super) fn check(root: &Path) -> Result<Vec<String>, Error> {
    let mut complaints = Vec::new();
    for folder in ["crates", "xtask", "examples"] {
        for path in rust_files(&root.join(folder))? {
            let text = fs::read_to_string(&path)?;
            let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            complaints.extend(check_file(&shown, &text)?);
        }
    }
    Ok(complaints)
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() || folder.ends_with("target") {
            continue;
        }
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn check_file(shown: &str, text: &str) -> Result<Vec<String>, Error> {
    let mut complaints = Vec::new();
    let lines = text.lines().count();
    if lines > FILE_LINES {
        complaints.push(format!("{shown}: {lines} lines, at most {FILE_LINES}"));
    }
    if shown.ends_with("src/lib.rs") && !text.starts_with("//!") {
        complaints.push(format!("{shown}: begins without saying what the crate is for"));
    }
    for (number, line) in text.lines().enumerate() {
        for marker in MARKERS.iter().filter(|marker| line.contains(**marker)) {
            complaints.push(format!("{shown}:{}: `{marker}`", number + 1));
        }
        let lower = line.to_lowercase();
        if shown.starts_with("crates/base/") && NOUNS.iter().any(|noun| lower.contains(noun)) && !is_lib(shown) {
            complaints.push(format!("{shown}:{}: a noun of the product on the ground floor", number + 1));
        }
    }
    let file = syn::parse_file(text).map_err(|error| format!("{shown}: {error}"))?;
    let mut visitor = Functions { shown, complaints: &mut complaints };
    visitor.visit_file(&file);
    Ok(complaints)
}

fn is_lib(shown: &str) -> bool {
    shown.ends_with("lib.rs")
}

struct Functions<'a> {
    shown: &'a str,
    complaints: &'a mut Vec<String>,
}

impl Functions<'_> {
    fn check(&mut self, signature: &syn::Signature, public: bool) {
        let at = || format!("{}:{}: {}", self.shown, signature.span().start().line, signature.ident);
        let typed: Vec<&syn::PatType> = signature
            .inputs
            .iter()
            .filter_map(|input| match input {
                syn::FnArg::Typed(typed) => Some(typed),
                syn::FnArg::Receiver(_) => None,
            })
            .collect();
        if typed.len() > PARAMETERS {
            let complaint = format!("{} has {} parameters, at most {PARAMETERS}", at(), typed.len());
            self.complaints.push(complaint);
        }
        let bools =
            typed.iter().filter(|typed| matches!(&*typed.ty, syn::Type::Path(path) if path.path.is_ident("bool")));
        if public && bools.count() > 0 {
            let complaint = format!("{} is public and takes a bool: an enum says what true means", at());
            self.complaints.push(complaint);
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.check(&item.sig, matches!(item.vis, syn::Visibility::Public(_)));
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.check(&item.sig, matches!(item.vis, syn::Visibility::Public(_)));
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_expr_unsafe(&mut self, expression: &'ast syn::ExprUnsafe) {
        if !UNSAFE.iter().any(|folder| self.shown.starts_with(folder)) {
            let line = expression.span().start().line;
            self.complaints.push(format!("{}:{line}: unsafe outside of {}", self.shown, UNSAFE.join(" and ")));
        }
        syn::visit::visit_expr_unsafe(self, expression);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(shown: &str, text: &str) -> Vec<String> {
        check_file(shown, text).expect("parses")
    }

    #[test]
    fn a_clean_file_is_not_complained_about() {
        assert_eq!(complaints("crates/x/src/a.rs", "//! Fine.\nfn f(a: u8) -> u8 { a }\n"), Vec::<String>::new());
    }

    #[test]
    fn long_files_many_parameters_and_public_bools_are() {
        let long = "// x\n".repeat(FILE_LINES + 1);
        assert_eq!(complaints("crates/x/src/a.rs", &long).len(), 1);
        let many = "fn f(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8) {}";
        assert!(complaints("crates/x/src/a.rs", many)[0].contains("6 parameters"));
        assert!(complaints("crates/x/src/a.rs", "pub fn f(on: bool) {}")[0].contains("takes a bool"));
        assert!(complaints("crates/x/src/a.rs", "fn f(on: bool) {}").is_empty());
    }

    #[test]
    fn markers_nouns_in_base_and_unsafe_elsewhere_are() {
        let marked = format!("// {}: later\n", MARKERS[0]);
        assert_eq!(complaints("crates/x/src/a.rs", &marked).len(), 1);
        assert_eq!(complaints("crates/base/src/a.rs", "// of a revision\n").len(), 1);
        assert!(complaints("crates/x/src/a.rs", "fn f() { unsafe { g() } }")[0].contains("unsafe outside"));
        assert!(complaints("crates/engine-local/src/a.rs", "fn f() { unsafe { g() } }").is_empty());
        assert_eq!(complaints("crates/x/src/lib.rs", "mod a;\n").len(), 1);
    }
}
