//! Bytes on their way to becoming a blob.
//!
//! They gather in a file, hashed as they come, so memory stays constant whatever the size. The file
//! becomes the blob by a rename after it has been synced. Until then it belongs to the [`Upload`],
//! which removes it when it is dropped, or to a session of the registry (see `session`), which
//! outlives requests, broken connections and the server.

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use bytes::BytesMut;
use sha2::{Digest as _, Sha256};

use crate::{
    content::{ContentStore, at, blocking, make_dirs, sync_dir},
    digest::Digest,
    error::ContentError,
    session::Seat,
    space::check_space,
};

/// How much an upload gathers before it hashes and writes, in bytes: large enough that the hop to
/// the blocking pool does not show, small enough for hundreds of uploads at once.
pub(crate) const CHUNK: usize = 256 << 10;

/// A blob on its way in.
#[derive(Debug)]
pub struct Upload {
    store: ContentStore,
    buffer: BytesMut,
    /// `None` while the blocking pool has it; a write that was cancelled loses it for good.
    part: Option<Part>,
}

/// The file of an upload. Dropped, it is removed, or goes back to its session.
#[derive(Debug)]
pub(crate) struct Part {
    path: PathBuf,
    file: fs::File,
    /// `None` for bytes of a dead server, until they are needed: they are read again then.
    hash: Option<Sha256>,
    size: u64,
    seat: Option<Seat>,
}

// === impl Upload ===

impl Upload {
    pub(crate) fn new(store: ContentStore, part: Part) -> Self {
        Self { store, buffer: BytesMut::new(), part: Some(part) }
    }

    /// How many bytes have been taken in.
    pub fn size(&self) -> u64 {
        self.part.as_ref().map_or(0, |part| part.size) + self.buffer.len() as u64
    }

    /// Takes in `bytes`. Memory stays constant, whatever the size of the blob.
    ///
    /// # Errors
    /// [`ContentError::Host`], and what was taken in is gone then; [`ContentError::is_full`] tells
    /// whether that is for want of space. [`ContentError::UploadBroken`] after a write that was cancelled.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK { self.flush().await } else { Ok(()) }
    }

    /// Everything that was taken in is in the file when this returns, so it outlives this process
    /// (not a power cut: that is what the digest at the end is for).
    ///
    /// # Errors
    /// As [`Upload::write`].
    pub async fn flush(&mut self) -> Result<(), ContentError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut part = self.part.take().ok_or(ContentError::UploadBroken)?;
        let bytes = self.buffer.split().freeze();
        // The part goes along, and with it the turn in its session: when the caller is gone, the next
        // request waits until this write is over.
        let part = blocking(move || match part.write_now(&bytes) {
            Ok(()) => Ok(part),
            Err(error) => {
                part.discard();
                Err(error)
            }
        })
        .await?;
        self.part = Some(part);
        Ok(())
    }

    /// Makes the blob visible if its digest is `expected`, durably.
    ///
    /// # Errors
    /// [`ContentError::DigestMismatch`]; otherwise as [`Upload::write`]. The bytes are gone then.
    pub async fn finish(self, expected: &Digest) -> Result<(), ContentError> {
        self.settle(expected, |_| Ok(())).await
    }

    /// The same, and `repository` holds the blob. To the collector it is one step.
    ///
    /// # Errors
    /// As [`Upload::finish`], and [`ContentError::NameInvalid`].
    pub async fn finish_into(self, repository: &str, expected: &Digest) -> Result<(), ContentError> {
        crate::reference::check_repository(repository)?;
        let (repository, digest) = (repository.to_owned(), expected.clone());
        let shared = self.store.gate.clone().read_owned().await;
        self.settle(expected, move |store| {
            let _shared = shared;
            store.link_blob_now(&repository, &digest)
        })
        .await
    }

    async fn settle(
        mut self,
        expected: &Digest,
        then: impl FnOnce(&ContentStore) -> Result<(), ContentError> + Send + 'static,
    ) -> Result<(), ContentError> {
        self.flush().await?;
        let mut part = self.part.take().ok_or(ContentError::UploadBroken)?;
        let (store, expected, now) = (self.store.clone(), expected.clone(), self.store.clock.now());
        blocking(move || {
            let actual = match part.digest() {
                Ok(actual) if actual == expected => actual,
                other => {
                    part.discard();
                    let actual = other?;
                    return Err(ContentError::DigestMismatch { expected, actual });
                }
            };
            part.settle(&store.blob_path(&actual), now)?;
            then(&store)
        })
        .await
    }
}

// === impl Part ===

impl Part {
    pub(crate) fn create(path: PathBuf) -> Result<Self, ContentError> {
        let file = fs::File::create_new(&path).map_err(at("create", &path))?;
        Ok(Self { path, file, hash: Some(Sha256::new()), size: 0, seat: None })
    }

    /// Goes on with the file of a session.
    pub(crate) fn resume(path: PathBuf, mut seat: Seat) -> Result<Self, ContentError> {
        let file = fs::OpenOptions::new().append(true).open(&path).map_err(at("open", &path))?;
        let size = file.metadata().map_err(at("read", &path))?.len();
        let hash = seat.take_hash(size);
        Ok(Self { path, file, hash, size, seat: Some(seat) })
    }

    pub(crate) fn write_now(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        check_space(&self.file, bytes.len() as u64).map_err(at("keep space to spare beside", &self.path))?;
        self.hash()?;
        self.file.write_all(bytes).map_err(at("write", &self.path))?;
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
        self.size += bytes.len() as u64;
        if let Some(seat) = &self.seat {
            seat.note_size(self.size);
        }
        Ok(())
    }

    /// The digest of what is there.
    pub(crate) fn digest(&mut self) -> Result<Digest, ContentError> {
        self.hash().map(Digest::from_hash)
    }

    /// Syncs and renames to `target`; the directory is synced too, or a power cut could lose the name.
    /// The file's age begins now, whenever its last byte came: the collector goes by it.
    /// When it fails, nothing is kept.
    pub(crate) fn settle(mut self, target: &Path, now: SystemTime) -> Result<(), ContentError> {
        let settled = self.rename(target, now);
        self.discard();
        settled
    }

    fn rename(&mut self, target: &Path, now: SystemTime) -> Result<(), ContentError> {
        let parent = target.parent().unwrap_or_else(|| Path::new("/"));
        make_dirs(parent)?;
        self.file.set_modified(now).map_err(at("date", &self.path))?;
        self.file.sync_all().map_err(at("sync", &self.path))?;
        fs::rename(&self.path, target).map_err(at("rename to", target))?;
        sync_dir(parent)
    }

    /// Removes what is there, and the session with it: half a blob on a full disk helps nobody.
    pub(crate) fn discard(mut self) {
        if let Some(seat) = self.seat.take() {
            seat.close();
        }
    }

    fn hash(&mut self) -> Result<Sha256, ContentError> {
        if let Some(hash) = &self.hash {
            return Ok(hash.clone());
        }
        let mut file = fs::File::open(&self.path).map_err(at("open", &self.path))?.take(self.size);
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; CHUNK]);
        loop {
            match file.read(&mut buffer).map_err(at("read", &self.path))? {
                0 => break,
                read => hash.update(&buffer[..read]),
            }
        }
        self.hash = Some(hash.clone());
        Ok(hash)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        match self.seat.take() {
            Some(mut seat) => seat.park(self.hash.take(), self.size),
            // After a rename there is nothing here any more, which is no error; whatever else stays
            // behind is removed at the next start.
            None => drop(fs::remove_file(&self.path)),
        }
    }
}
