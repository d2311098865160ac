//! How the store lies on disk: the layout's number, and what belongs to it.
//!
//! ```text
//! FORMAT                  the number of the layout; a store without it has layout 1
//! blobs/sha256/ab/abcd…   content, see `content`
//! repositories/…          names for content, see `repository`
//! pulled/…                images of other registries, see `collect`
//! uploads/…               content on its way in, in one request
//! sessions/…              uploads that go on over several requests, see `session`
//! layers/…                unpacked layers, see `layers`
//! ```
//!
//! The number changes when an earlier version would misread or lose what this one writes. A file more that earlier
//! versions pass over needs no new number; what is there already never changes its meaning under one.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    content::ContentStore,
    digest::Digest,
    error::{ContentError, ImageError},
    layers::TEMPORARY,
    session::REPOSITORY,
};

/// The layout that this version writes. It reads every earlier one.
pub const LAYOUT: u32 = 1;

const MARK: &str = "FORMAT";
const UPLOADS: &str = "uploads";
const SESSIONS: &str = "sessions";
/// What a store has in its directory.
const PARTS: [&str; 7] = [MARK, "blobs", "repositories", "pulled", UPLOADS, SESSIONS, "layers"];

/// A file or directory of a store that is of no use to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stray {
    /// Where it is.
    pub path: PathBuf,
    /// Why it is there.
    pub kind: StrayKind,
}

/// Why something is in a store that is of no use to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StrayKind {
    /// Content on its way in, or a layer that is being unpacked or removed: rubbish once its server is gone.
    Unfinished,
    /// Nothing of the store has such a name.
    Unknown,
}

/// Refuses a store that a later version laid out. One without a mark, or none at all, is as old as layouts are.
pub(crate) fn check(dir: &Path) -> Result<(), ImageError> {
    let path = dir.join(MARK);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|error| ImageError::host(format!("read {}", path.display()), error))?,
    };
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("it holds no number: '{}'", text.trim()));
    let found: u32 =
        text.trim().parse().map_err(|_| ImageError::host(format!("read {}", path.display()), damaged()))?;
    if found > LAYOUT {
        return Err(ImageError::TooNew { dir: dir.display().to_string(), found, known: LAYOUT });
    }
    Ok(())
}

/// Writes the layout's number down, if it is not there.
pub(crate) fn mark(content: &ContentStore) -> Result<(), ContentError> {
    let path = content.root().join(MARK);
    if path.exists() { Ok(()) } else { content.write_atomic(&path, format!("{LAYOUT}\n").as_bytes()) }
}

/// What of the store in `dir` is of no use to it, in order. Reads only; none when there is no store.
///
/// # Errors
/// When a directory cannot be read.
pub fn strays(dir: &Path) -> io::Result<Vec<Stray>> {
    let unknown = |path| Stray { path, kind: StrayKind::Unknown };
    let unfinished = |path| Stray { path, kind: StrayKind::Unfinished };
    let mut strays = Vec::new();
    strays.extend(others(dir, |name| PARTS.contains(&name))?.into_iter().map(unknown));
    strays.extend(others(&dir.join("blobs"), |name| name == "sha256")?.into_iter().map(unknown));
    for shelf in entries(&dir.join("blobs/sha256"))? {
        let belongs = |hex: &str| is_digest(hex) && shelf.file_name().is_some_and(|name| name == &hex[..2]);
        strays.extend(others(&shelf, belongs)?.into_iter().map(unknown));
    }
    strays.extend(others(&dir.join("pulled"), is_digest)?.into_iter().map(unknown));
    strays.extend(entries(&dir.join(UPLOADS))?.into_iter().map(unfinished));
    strays.extend(unpaired(&dir.join(SESSIONS))?.into_iter().map(unfinished));
    let layers = dir.join("layers");
    let halves = halves(&layers)?;
    let known = |name: &str| is_digest(name.strip_suffix(".json").unwrap_or(name));
    strays.extend(others(&layers, known)?.into_iter().filter(|path| !halves.contains(path)).map(unknown));
    strays.extend(halves.into_iter().map(unfinished));
    strays.sort();
    Ok(strays)
}

/// What a crash left of layers: directories on their way in or out, and of each pair of a directory and its facts the
/// one whose other is missing.
pub(crate) fn halves(layers: &Path) -> io::Result<Vec<PathBuf>> {
    let is_half = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(TEMPORARY)
            || match name.strip_suffix(".json") {
                Some(hex) => is_digest(hex) && !layers.join(hex).is_dir(),
                None => is_digest(name) && !layers.join(format!("{name}.json")).is_file(),
            }
    };
    Ok(entries(layers)?.into_iter().filter(is_half).collect())
}

/// Of each pair of an upload's bytes and its repository, the one whose other is missing. A whole pair is no stray: its
/// client may come back, and an hour after the last use the server removes it.
fn unpaired(sessions: &Path) -> io::Result<Vec<PathBuf>> {
    let is_alone = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match name.strip_suffix(REPOSITORY) {
            Some(id) => !sessions.join(id).is_file(),
            None => !sessions.join(format!("{name}{REPOSITORY}")).is_file(),
        }
    };
    Ok(entries(sessions)?.into_iter().filter(is_alone).collect())
}

fn is_digest(hex: &str) -> bool {
    format!("sha256:{hex}").parse::<Digest>().is_ok()
}

/// What is in a directory besides what belongs there.
fn others(dir: &Path, belongs: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
    let is_other = |path: &PathBuf| !path.file_name().and_then(|name| name.to_str()).is_some_and(&belongs);
    Ok(entries(dir)?.into_iter().filter(is_other).collect())
}

/// What is in a directory, in order; nothing when it is none, or is gone.
fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let read = match fs::read_dir(dir) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        other => other?,
    };
    let mut paths = read.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use updraft_base::Clock;

    use super::*;
    use crate::store::{ImageStore, ImageStoreConfig};

    fn open(dir: &Path) -> Result<ImageStore, ImageError> {
        ImageStore::open(ImageStoreConfig::new(dir), Clock::system())
    }

    fn put(dir: &Path, path: &str) {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("below")).expect("writable");
        fs::write(path, b"x").expect("writable");
    }

    #[test]
    fn a_store_without_a_mark_is_of_layout_1_and_gets_one() {
        let dir = tempfile::tempdir().expect("temporary directory");
        open(dir.path()).expect("new");
        fs::remove_file(dir.path().join(MARK)).expect("written");
        open(dir.path()).expect("of the time before marks");
        assert_eq!(fs::read_to_string(dir.path().join(MARK)).expect("written again"), "1\n");
        open(dir.path()).expect("marked");
    }

    #[test]
    fn a_later_layout_is_refused_and_not_touched() {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::write(dir.path().join(MARK), "7\n").expect("writable");
        put(dir.path(), "uploads/of-the-later-version");
        let error = open(dir.path()).expect_err("too new");
        assert!(matches!(&error, ImageError::TooNew { found: 7, known: LAYOUT, .. }), "{error}");
        assert!(dir.path().join("uploads/of-the-later-version").exists() && !dir.path().join("blobs").exists());
        fs::write(dir.path().join(MARK), "seven").expect("writable");
        assert!(matches!(open(dir.path()), Err(ImageError::Host { .. })));
    }

    #[test]
    fn a_healthy_store_has_no_strays_and_halves_are_swept_at_the_next_start() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let dir = dir.path();
        assert_eq!(strays(&dir.join("none")).expect("nothing there"), []);
        open(dir).expect("new");
        let (a, b, c) = ("a".repeat(64), "b".repeat(64), "c".repeat(64));
        put(dir, &format!("blobs/sha256/aa/{a}"));
        put(dir, &format!("layers/{a}/file"));
        put(dir, &format!("layers/{a}.json"));
        put(dir, "sessions/one");
        put(dir, "sessions/one.repository");
        assert_eq!(strays(dir).expect("readable"), []);

        let sessions = ["sessions/bytes".to_owned(), "sessions/name.repository".to_owned()];
        sessions.iter().for_each(|path| put(dir, path));
        let halves = [format!("layers/{b}"), format!("layers/{c}.json"), "layers/.new-77".to_owned()];
        put(dir, &format!("{}/file", halves[0]));
        put(dir, &halves[1]);
        put(dir, &format!("{}/file", halves[2]));
        let unknown = [format!("blobs/sha256/aa/{b}"), "layers/notes".to_owned(), "notes".to_owned()];
        unknown.iter().for_each(|path| put(dir, path));
        let expected = |kind, paths: &[String]| -> Vec<Stray> {
            paths.iter().map(|path| Stray { path: dir.join(path), kind }).collect()
        };
        let mut all = expected(StrayKind::Unfinished, &halves);
        all.extend(expected(StrayKind::Unfinished, &sessions));
        all.extend(expected(StrayKind::Unknown, &unknown));
        all.sort();
        assert_eq!(strays(dir).expect("readable"), all);

        open(dir).expect("again");
        assert_eq!(strays(dir).expect("readable"), expected(StrayKind::Unknown, &unknown), "strangers are left alone");
        assert!(dir.join(format!("layers/{a}/file")).exists());
    }
}
