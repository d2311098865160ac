//! Content by digest, on disk: `blobs/sha256/ab/abcd…`.
//!
//! A blob appears by a rename after its bytes have been hashed and synced, so a file under `blobs/`
//! is always whole, whatever killed the process. Half-written ones live in `uploads/` and are removed
//! at the next start, or in `sessions/` and go on (see `session`).

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
};

use bytes::Bytes;
use updraft_base::Clock;

use crate::{
    digest::Digest,
    error::ContentError,
    session::Sessions,
    upload::{CHUNK, Part, Upload},
};

/// The content store. Cheap to clone; all clones are one store.
#[derive(Debug, Clone)]
pub struct ContentStore {
    root: Arc<PathBuf>,
    /// Held shared by whoever makes references to content, exclusively by the garbage collector.
    pub(crate) gate: Arc<tokio::sync::RwLock<()>>,
    /// Held shared by a [`Hold`](crate::Hold), exclusively by whoever removes a name.
    pub(crate) names: Arc<tokio::sync::RwLock<()>>,
    /// Held shared by whoever names content that must be there, exclusively by whoever removes names:
    /// between the look and the name nothing disappears. Only for moments, and only where blocking is fine.
    pub(crate) naming: Arc<RwLock<()>>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) clock: Clock,
}

/// Makes a directory that only its owner may enter, whatever it was before: unpacked layers hold
/// setuid programs of strangers, which no user of this host may run.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

// === impl ContentStore ===

impl ContentStore {
    /// Opens the store in `dir`, making it when it is not there. Uploads of the registry that a dead
    /// server left go on; everything else that was half written is removed.
    /// One process at a time may have it open; the data directory's lock sees to that.
    ///
    /// # Errors
    /// [`ContentError::Host`].
    pub fn open(dir: &Path, clock: Clock) -> Result<Self, ContentError> {
        let store = Self {
            root: Arc::new(dir.to_owned()),
            gate: Arc::default(),
            names: Arc::default(),
            naming: Arc::default(),
            sessions: Arc::default(),
            clock,
        };
        let uploads = store.uploads();
        match fs::remove_dir_all(&uploads) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at("remove", &uploads)(error)),
            _ => {}
        }
        for dir in [dir.to_owned(), uploads, store.sessions_dir(), store.blobs(), store.repositories_dir()] {
            private_dir(&dir).map_err(at("create", &dir))?;
        }
        store.load_sessions()?;
        Ok(store)
    }

    /// Where the blob is, or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(&digest.hex()[..2]).join(digest.hex())
    }

    /// The size of a blob in bytes, `None` when it is not here.
    ///
    /// # Errors
    /// [`ContentError::Host`].
    pub async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, ContentError> {
        let path = self.blob_path(digest);
        blocking(move || size_of(&path)).await
    }

    /// The bytes of a small blob.
    ///
    /// # Errors
    /// [`ContentError::BlobUnknown`]; [`ContentError::Host`], also when it is larger than `limit` bytes.
    pub async fn read_blob(&self, digest: &Digest, limit: usize) -> Result<Bytes, ContentError> {
        let (store, digest) = (self.clone(), digest.clone());
        blocking(move || store.read_blob_now(&digest, limit)).await
    }

    /// A blob to stream from, and its size in bytes.
    ///
    /// # Errors
    /// [`ContentError::BlobUnknown`], [`ContentError::Host`].
    pub async fn open_blob(&self, digest: &Digest) -> Result<(fs::File, u64), ContentError> {
        let (path, digest) = (self.blob_path(digest), digest.clone());
        blocking(move || {
            let file = match fs::File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ContentError::BlobUnknown(digest)),
                other => other.map_err(at("open", &path))?,
            };
            let size = file.metadata().map_err(at("read", &path))?.len();
            Ok((file, size))
        })
        .await
    }

    /// Starts a blob that is to come in one piece.
    ///
    /// # Errors
    /// [`ContentError::Host`].
    pub async fn upload(&self) -> Result<Upload, ContentError> {
        let path = self.new_upload();
        let part = blocking(move || Part::create(path)).await?;
        Ok(Upload::new(self.clone(), part))
    }

    /// Stores a small blob.
    ///
    /// # Errors
    /// [`ContentError::Host`].
    pub async fn put_blob(&self, bytes: Bytes) -> Result<Digest, ContentError> {
        let store = self.clone();
        blocking(move || store.put_blob_now(&bytes)).await
    }

    pub(crate) fn put_blob_now(&self, bytes: &[u8]) -> Result<Digest, ContentError> {
        let digest = Digest::of(bytes);
        self.write_atomic(&self.blob_path(&digest), bytes)?;
        Ok(digest)
    }

    /// Stores what `reader` gives, in constant memory.
    pub(crate) fn put_reader_now(&self, reader: &mut dyn io::Read) -> Result<Digest, ContentError> {
        let mut part = Part::create(self.new_upload())?;
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = reader.read(&mut buffer).map_err(|e| ContentError::host("read the content", e))?;
            if read == 0 {
                break;
            }
            part.write_now(&buffer[..read])?;
        }
        let digest = part.digest()?;
        part.settle(&self.blob_path(&digest), self.clock.now())?;
        Ok(digest)
    }

    pub(crate) fn read_blob_now(&self, digest: &Digest, limit: usize) -> Result<Bytes, ContentError> {
        let path = self.blob_path(digest);
        match size_of(&path)? {
            None => Err(ContentError::BlobUnknown(digest.clone())),
            Some(size) if size > limit as u64 => {
                let error = io::Error::other(format!("{size} bytes are more than the {limit} expected"));
                Err(at("read", &path)(error))
            }
            Some(_) => Ok(fs::read(&path).map_err(at("read", &path))?.into()),
        }
    }

    /// Replaces the file at `path`, making its directories: after a crash it is the old or the new one.
    pub(crate) fn write_atomic(&self, path: &Path, bytes: &[u8]) -> Result<(), ContentError> {
        let mut part = Part::create(self.new_upload())?;
        part.write_now(bytes)?;
        part.settle(path, self.clock.now())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(crate) fn repositories_dir(&self) -> PathBuf {
        self.root.join("repositories")
    }

    fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// A name nobody has, for what is half written.
    fn new_upload(&self) -> PathBuf {
        self.uploads().join(uuid::Uuid::new_v4().to_string())
    }
}

/// Runs file work where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ContentError> + Send + 'static,
) -> Result<T, ContentError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(ContentError::host("run file work", io::Error::other(error))),
    }
}

pub(crate) fn at<'a>(verb: &'static str, path: &'a Path) -> impl Fn(io::Error) -> ContentError + 'a {
    move |source| ContentError::host(format!("{verb} {}", path.display()), source)
}

pub(crate) fn size_of(path: &Path) -> Result<Option<u64>, ContentError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at("read", path)(error)),
    }
}

/// Makes a directory and those above it, each one's name synced.
pub(crate) fn make_dirs(dir: &Path) -> Result<(), ContentError> {
    if dir.is_dir() {
        return Ok(());
    }
    let Some(parent) = dir.parent() else { return Ok(()) };
    make_dirs(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(at("create", dir)(error)),
        _ => sync_dir(parent),
    }
}

pub(crate) fn sync_dir(dir: &Path) -> Result<(), ContentError> {
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(at("sync", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, ContentStore) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = ContentStore::open(dir.path(), Clock::system()).expect("store");
        (dir, store)
    }

    fn uploads(store: &ContentStore) -> usize {
        fs::read_dir(store.uploads()).expect("uploads").count()
    }

    #[tokio::test]
    async fn an_upload_becomes_a_blob_only_under_its_own_digest() {
        let (_dir, store) = store();
        let bytes = vec![7u8; 3 * CHUNK + 11];
        let digest = Digest::of(&bytes);

        let mut wrong = store.upload().await.expect("upload");
        wrong.write(b"something else").await.expect("write");
        let error = wrong.finish(&digest).await.expect_err("wrong digest");
        assert!(matches!(error, ContentError::DigestMismatch { .. }));
        assert_eq!(store.blob_size(&digest).await.expect("size"), None);

        let mut upload = store.upload().await.expect("upload");
        for chunk in bytes.chunks(1000) {
            upload.write(chunk).await.expect("write");
        }
        assert_eq!(upload.size(), bytes.len() as u64);
        upload.finish(&digest).await.expect("right digest");
        assert_eq!(store.read_blob(&digest, bytes.len()).await.expect("blob"), bytes);
        assert!(store.read_blob(&digest, bytes.len() - 1).await.is_err());
        assert_eq!(uploads(&store), 0);
    }

    #[tokio::test]
    async fn an_upload_that_is_dropped_leaves_nothing() {
        let (dir, store) = store();
        let mut upload = store.upload().await.expect("upload");
        upload.write(&vec![0; 2 * CHUNK]).await.expect("write");
        assert_eq!(uploads(&store), 1);
        drop(upload);
        assert_eq!(uploads(&store), 0);
        fs::write(store.uploads().join("left-by-a-crash"), b"x").expect("write");
        let again = ContentStore::open(dir.path(), Clock::system()).expect("store");
        assert_eq!(uploads(&again), 0);
    }
}
