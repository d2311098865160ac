//! Floors: each package says on which it lives, and imports only from below.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::Error;

/// A package of the house.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    /// Its name, such as `updraft-proxy`.
    pub(super) name: String,
    /// Its floor; `None` when the manifest does not say.
    pub(super) floor: Option<i64>,
    /// What it imports of the house, tests aside.
    pub(super) imports: BTreeSet<String>,
    /// Does it take the lints of the workspace?
    pub(super) lints: bool,
}

/// Packages that stand beside the house: tests may use them, nothing else may.
const TEST_ONLY: &str = "updraft-testkit";

/// The nouns and decisions: they import nothing that can wait, tell the time or touch the world. `cel` evaluates the
/// conditions of policies, `jiff` knows the calendar; of `jiff` and `chrono`, which could tell the time, `clippy.toml` bans
/// what does.
const PURE: &[(&str, &[&str])] =
    &[("updraft-model", &["thiserror"]), ("updraft-plan", &["updraft-model", "thiserror", "cel", "chrono", "jiff"])];

/// Reads every manifest under `crates/`.
pub(super) fn read(root: &Path) -> Result<Vec<Package>, Error> {
    let mut packages = Vec::new();
    for entry in fs::read_dir(root.join("crates"))? {
        let manifest = entry?.path().join("Cargo.toml");
        if manifest.is_file() {
            let text = fs::read_to_string(&manifest)?;
            packages.push(parse(&text).map_err(|error| format!("{}: {error}", manifest.display()))?);
        }
    }
    packages.sort_by(|a, b| b.floor.cmp(&a.floor).then_with(|| a.name.cmp(&b.name)));
    Ok(packages)
}

fn parse(manifest: &str) -> Result<Package, Error> {
    let manifest: toml::Table = manifest.parse()?;
    let package = manifest.get("package").ok_or("no [package]")?;
    let name = package.get("name").and_then(toml::Value::as_str).ok_or("no name")?.to_owned();
    let floor = package
        .get("metadata")
        .and_then(|metadata| metadata.get("updraft"))
        .and_then(|ours| ours.get("floor"))
        .and_then(toml::Value::as_integer);
    let imports = dependency_tables(&manifest).into_iter().flatten().map(|(name, how)| package_of(name, how)).collect();
    let lints =
        manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool).unwrap_or(false);
    Ok(Package { name, floor, imports, lints })
}

/// Every table of a manifest that makes the package import something, tests aside: an import for one target, or one
/// of a build script, is an import.
fn dependency_tables(manifest: &toml::Table) -> Vec<&toml::Table> {
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let scopes = targets.into_iter().flat_map(toml::Table::values).filter_map(toml::Value::as_table);
    [manifest]
        .into_iter()
        .chain(scopes)
        .flat_map(|scope| [scope.get("dependencies"), scope.get("build-dependencies")])
        .filter_map(|table| table?.as_table())
        .collect()
}

/// The package behind a dependency, whatever name it is given here.
fn package_of(name: &str, how: &toml::Value) -> String {
    how.get("package").and_then(toml::Value::as_str).unwrap_or(name).to_owned()
}

/// All that is wrong with the edges.
pub(super) fn check(packages: &[Package]) -> Vec<String> {
    let floors: BTreeMap<&str, i64> =
        packages.iter().filter_map(|package| Some((package.name.as_str(), package.floor?))).collect();
    let mut complaints = Vec::new();
    for package in packages {
        let name = &package.name;
        if !package.lints {
            complaints.push(format!("{name}: lacks `[lints] workspace = true`"));
        }
        let Some(floor) = package.floor else {
            complaints.push(format!("{name}: lacks `[package.metadata.updraft] floor = N`"));
            continue;
        };
        for import in &package.imports {
            match floors.get(import.as_str()) {
                _ if import == TEST_ONLY => {
                    complaints.push(format!("{name}: imports {import}, which is for tests only"));
                }
                Some(&below) if below >= floor => complaints.push(format!(
                    "{name} (floor {floor}) imports {import} (floor {below}): imports only go down a floor"
                )),
                _ => {}
            }
        }
        complaints.extend(impure(package));
    }
    complaints
}

fn impure(package: &Package) -> Vec<String> {
    let Some((_, allowed)) = PURE.iter().find(|(name, _)| *name == package.name) else { return Vec::new() };
    let strangers = package.imports.iter().filter(|import| !allowed.contains(&import.as_str()));
    strangers.map(|import| format!("{}: is pure and may not import {import}", package.name)).collect()
}

/// The house as text: a line per floor, the packages of it side by side.
pub(super) fn draw(packages: &[Package]) -> String {
    let mut floors: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
    for package in packages {
        let short = package.name.strip_prefix("updraft-").unwrap_or(&package.name);
        floors.entry(package.floor.unwrap_or(-1)).or_default().push(short);
    }
    floors.iter().rev().map(|(floor, names)| format!("{floor}  {}\n", names.join("   "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, floor: i64, imports: &[&str]) -> Package {
        let imports = imports.iter().map(|&import| import.to_owned()).collect();
        Package { name: name.to_owned(), floor: Some(floor), imports, lints: true }
    }

    #[test]
    fn an_import_down_is_fine_and_one_up_or_sideways_is_not() {
        let low = package("updraft-base", 0, &["tokio"]);
        let good = package("updraft-fleet", 4, &["updraft-base"]);
        assert_eq!(check(&[low.clone(), good]), Vec::<String>::new());

        let sideways = package("updraft-fleet", 4, &["updraft-control"]);
        let control = package("updraft-control", 4, &[]);
        let complaints = check(&[sideways, control]);
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].contains("updraft-fleet (floor 4) imports updraft-control (floor 4)"));

        let up = package("updraft-base", 0, &["updraft-model"]);
        assert_eq!(check(&[up, package("updraft-model", 1, &[])]).len(), 1);
    }

    #[test]
    fn a_manifest_without_a_floor_or_lints_is_complained_about() {
        let bare = parse("[package]\nname = \"updraft-new\"\n").expect("well formed");
        let complaints = check(&[bare]);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
    }

    #[test]
    fn an_import_for_one_target_of_a_build_script_or_under_another_name_is_an_import() {
        let manifest = r#"
            [package]
            name = "updraft-fleet"
            [target.'cfg(unix)'.dependencies]
            updraft-control.workspace = true
            [build-dependencies]
            updraft-build = "1"
            [dependencies]
            harmless = { package = "updraft-proxy", version = "1" }
        "#;
        let imports = parse(manifest).expect("well formed").imports;
        assert_eq!(imports, ["updraft-build", "updraft-control", "updraft-proxy"].map(str::to_owned).into());
    }

    #[test]
    fn the_pure_crates_may_not_import_a_runtime() {
        let complaints = check(&[package("updraft-plan", 2, &["tokio"])]);
        assert_eq!(complaints, ["updraft-plan: is pure and may not import tokio"]);
    }

    #[test]
    fn the_testkit_is_for_tests() {
        let complaints = check(&[package("updraft", 6, &[TEST_ONLY]), package(TEST_ONLY, 7, &[])]);
        assert!(complaints[0].contains("for tests only"), "{complaints:?}");
    }
}
