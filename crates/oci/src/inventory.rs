//! What a copy of the store consists of.

use std::{fs, io, path::PathBuf};

use crate::{
    collect::{Reach, pulled_dir},
    content::{ContentStore, at, blocking, size_of},
    digest::Digest,
    error::{ContentError, ImageError},
    hold::Hold,
    reference::Reference,
    repository::names_in,
    store::ImageStore,
};

/// The largest file that can be a name, in bytes: it holds a digest, a media type or a reference.
const MAX_NAME: u64 = 64 << 10;

/// Names, and the content that they and the images asked for lead to. A store that has these files has these images.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Tags, manifests and links of the embedded registry, and notes of what was fetched from other ones.
    pub names: Vec<StoredName>,
    /// Content, in order of digest.
    pub blobs: Vec<StoredBlob>,
}

/// A small file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredName {
    /// Where it is, below the store's directory.
    pub path: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// A blob that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlob {
    /// Where it is, below the store's directory.
    pub path: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Where to read it.
    pub file: PathBuf,
}

// === impl ImageStore ===

impl ImageStore {
    /// Everything that the embedded registry holds and that `images` (pinned references) lead to. Pushes may go on:
    /// what was there when this began is in it, whole. What an image leads to and is not here is passed over, such as
    /// images for other hosts. Unpacked layers are not in it: they can be made again.
    ///
    /// The blobs stay until `hold` is dropped; names need no holding once this has returned.
    ///
    /// # Errors
    /// [`ImageError::Invalid`], [`ImageError::Host`].
    pub async fn inventory(&self, hold: &mut Hold, images: &[String]) -> Result<Inventory, ImageError> {
        let mut roots = Vec::new();
        for image in images {
            roots.extend(image.parse::<Reference>()?.digest().cloned());
        }
        let content = self.inner.content.clone();
        let taken = blocking(move || take(&content, &roots)).await;
        hold.release_names();
        taken.map_err(|error| ImageError::of_content("", error))
    }
}

fn take(content: &ContentStore, roots: &[Digest]) -> Result<Inventory, ContentError> {
    let names = names(content)?;
    let mut reach = Reach::default();
    for root in roots {
        reach.follow(content, root);
    }
    // Links last: to follow a digest means nothing any more once it is known.
    let (mut manifests, mut links) = (Vec::new(), Vec::new());
    for name in &names {
        match name.path.rsplit_once('/') {
            Some((folder, hex)) if folder.ends_with("/_manifests") => manifests.extend(of_hex(hex)),
            Some((folder, hex)) if folder.ends_with("/_blobs") => links.extend(of_hex(hex)),
            Some(("pulled", _)) => {
                let reference = std::str::from_utf8(&name.bytes).ok().and_then(|text| text.parse::<Reference>().ok());
                manifests.extend(reference.and_then(|reference| reference.digest().cloned()));
            }
            _ => {}
        }
    }
    manifests.iter().for_each(|digest| reach.follow(content, digest));
    reach.blobs.extend(links);
    let mut blobs = Vec::new();
    for digest in reach.blobs {
        let file = content.blob_path(&digest);
        if let Some(size) = size_of(&file)? {
            blobs.push(StoredBlob { path: below(content, &file), digest, size, file });
        }
    }
    blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
    Ok(Inventory { names, blobs })
}

fn of_hex(hex: &str) -> Option<Digest> {
    format!("sha256:{hex}").parse().ok()
}

/// Every name: what points to something before what it points to, so that nothing in the copy leads nowhere.
fn names(content: &ContentStore) -> Result<Vec<StoredName>, ContentError> {
    let mut names = Vec::new();
    for part in [Part::Tags, Part::Manifests, Part::Rest] {
        walk(content, content.repositories_dir(), part, &mut names)?;
    }
    walk(content, pulled_dir(content), Part::Rest, &mut names)?;
    Ok(names)
}

/// Which names a walk collects.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Tags,
    Manifests,
    Rest,
}

// === impl Part ===

impl Part {
    fn of(path: &str) -> Self {
        match path {
            tags if tags.contains("/_tags/") => Self::Tags,
            manifests if manifests.contains("/_manifests/") => Self::Manifests,
            _ => Self::Rest,
        }
    }
}

fn walk(content: &ContentStore, root: PathBuf, part: Part, names: &mut Vec<StoredName>) -> Result<(), ContentError> {
    let mut open = vec![root];
    while let Some(dir) = open.pop() {
        for name in names_in(&dir)? {
            let file = dir.join(name);
            let found = match fs::symlink_metadata(&file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(at("read", &file))?,
            };
            let path = below(content, &file);
            if found.is_dir() {
                open.push(file);
            } else if found.is_file() && found.len() <= MAX_NAME && Part::of(&path) == part {
                let bytes = fs::read(&file).map_err(at("read", &file))?;
                names.push(StoredName { path, bytes });
            }
        }
    }
    Ok(())
}

/// A path of the store, from the store's directory on. Every one of them was made by us from ASCII.
fn below(content: &ContentStore, file: &std::path::Path) -> String {
    file.strip_prefix(content.root()).unwrap_or(file).to_string_lossy().into_owned()
}
