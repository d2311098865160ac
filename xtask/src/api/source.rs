//! Finds the source of the crates that carry the API's messages, and parses it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::Error;

/// One protobuf package as generated source.
pub(super) struct Package {
    /// The package's name, such as `google.cloud.run.v2`.
    pub(super) name: String,
    /// Its generated items.
    pub(super) items: Vec<syn::Item>,
}

/// The folder, in each of those crates, of the flavour that is built by default.
const FLAVOUR: &str = "src/vec_u8_hash_map";
/// What those crates are called.
const PREFIX: &str = "googleapis-tonic-";

/// Parses the wanted packages, in the order they are asked for.
pub(super) fn read(root: &Path, wanted: &[&str]) -> Result<Vec<Package>, Error> {
    let folders = folders(root)?;
    wanted.iter().map(|name| package(&folders, name)).collect()
}

fn package(folders: &[PathBuf], name: &str) -> Result<Package, Error> {
    // A package whose last part is a keyword is written with it escaped.
    let escaped = name.split('.').map(|part| if part == "type" { "r#type" } else { part }).collect::<Vec<_>>();
    let file = format!("{}.rs", escaped.join("."));
    let path = folders
        .iter()
        .map(|folder| folder.join(&file))
        .find(|path| path.exists())
        .ok_or_else(|| format!("no dependency has the package {name} ({FLAVOUR}/{file})"))?;
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let items = syn::parse_file(&text).map_err(|error| format!("{}: {error}", path.display()))?.items;
    Ok(Package { name: name.to_owned(), items })
}

/// The folders with generated source, as cargo has them on this machine.
fn folders(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(["metadata", "--format-version", "1"]).current_dir(root).output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata: no packages")?;
    let ours = packages.iter().filter(|package| package["name"].as_str().is_some_and(|n| n.starts_with(PREFIX)));
    let folder =
        |package: &serde_json::Value| Some(Path::new(package["manifest_path"].as_str()?).parent()?.join(FLAVOUR));
    Ok(ours.filter_map(folder).collect())
}
