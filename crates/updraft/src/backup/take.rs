//! Taking a backup of a server that is in use.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _, Write},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use updraft_apiserver::{Backups, BoxError, Logs, Pieces};
use updraft_base::{Clock, OnFailure, Tasks};
use updraft_control::{Control, images_of};
use updraft_model::{Error, ErrorKind, iam::Principal};
use updraft_oci::{Hold, ImageStore};
use updraft_store::{Snapshots, SqliteStore, StoreError};
use updraft_telemetry::LogStore;

use super::format::{FORMAT, FileEntry, MANIFEST, MANIFEST_MAX, Manifest};

/// Where a backup keeps what it made for itself, below the data directory.
const SCRATCH: &str = "scratch";
/// Backups at a time. One reads the disk as fast as it can already.
const AT_ONCE: usize = 1;
/// Bytes in one piece of the stream.
const PIECE: usize = 256 << 10;
/// Pieces that may wait for the client.
const QUEUE: usize = 4;
/// How long a piece may wait for the client. While one waits nobody else can take a backup, and no garbage goes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Layers are compressed already; the least effort is enough for the rest.
const LEVEL: i32 = 1;

/// What backups are taken of.
#[derive(Clone)]
pub(crate) struct BackupDeps {
    pub(crate) data_dir: PathBuf,
    pub(crate) control: Control,
    pub(crate) snapshots: Snapshots,
    pub(crate) images: ImageStore,
    pub(crate) logs: LogStore,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
}

/// Takes backups of one server.
pub(crate) struct ServerBackups {
    deps: BackupDeps,
    turns: Arc<Semaphore>,
}

/// A backup that is ready to be written.
struct Prepared {
    manifest: Manifest,
    /// One for each file of the manifest.
    sources: Vec<Source>,
    /// Keeps the blobs.
    _hold: Hold,
    /// Goes with everything in it.
    _scratch: TempDir,
    _turn: OwnedSemaphorePermit,
}

enum Source {
    Memory(Vec<u8>),
    File(PathBuf),
}

/// Removes what backups left behind when the server was killed.
pub(crate) fn sweep(data_dir: &Path) {
    let scratch = data_dir.join(SCRATCH);
    match fs::remove_dir_all(&scratch) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %scratch.display(), %error, "what a broken backup left cannot be removed");
        }
        _ => {}
    }
}

/// Why a backup cannot be taken, for its caller: that the disk is full they can mend, the rest is in the server's log.
fn failed(error: &(dyn std::error::Error + 'static)) -> Error {
    if is_full(error) {
        tracing::warn!(%error, "the disk is full: no backup can be taken until there is space");
        return Error::new(ErrorKind::ResourceExhausted, "The disk of the server is full: no backup was taken.");
    }
    Error::internal(format!("a backup: {error}"))
}

/// Is a full disk at the bottom of it?
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let by_host = |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        error.downcast_ref().is_some_and(by_host)
            || error.downcast_ref().is_some_and(|error| matches!(error, StoreError::Full { .. }))
    })
}

// === impl ServerBackups ===

impl ServerBackups {
    pub(crate) fn new(deps: BackupDeps) -> Self {
        Self { deps, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Backups for ServerBackups {
    fn begin(&self, caller: Principal, logs: Logs) -> BoxFuture<'static, Result<Pieces, Error>> {
        let (deps, turns) = (self.deps.clone(), self.turns.clone());
        Box::pin(async move {
            deps.control.authorise_backup(&caller).await?;
            let busy = |_| Error::new(ErrorKind::ResourceExhausted, "Another backup is being taken; try again later.");
            let prepared = deps.prepare(logs, turns.try_acquire_owned().map_err(busy)?).await?;
            tracing::info!(files = prepared.sources.len(), by = %caller, "a backup is being taken");
            // One more for the last word, which has a place whatever the client does: without it the stream would
            // end as one that is whole.
            let (sender, pieces) = mpsc::channel(QUEUE + 1);
            let last = sender.clone().try_reserve_owned().map_err(Error::internal)?;
            let clock = deps.clock.clone();
            deps.tasks.spawn("backup", OnFailure::Log, async move {
                let writer = PieceWriter { pieces: sender, clock, buffer: BytesMut::with_capacity(PIECE) };
                let written = tokio::task::spawn_blocking(move || write(prepared, writer)).await;
                if let Ok(Err(error)) = written
                    && error.kind() != io::ErrorKind::BrokenPipe
                {
                    tracing::error!(%error, "a backup broke off");
                    last.send(Err(error.into()));
                }
            });
            Ok(pieces)
        })
    }
}

// === impl BackupDeps ===

impl BackupDeps {
    /// Takes the snapshot, then finds what it needs: whatever the snapshot speaks of was there before it.
    async fn prepare(&self, logs: Logs, turn: OwnedSemaphorePermit) -> Result<Prepared, Error> {
        let mut hold = self.images.hold().await;
        let scratch = self.scratch().map_err(|error| failed(&error))?;
        let taken = self.clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        self.snapshots.take(scratch.path()).await.map_err(|error| failed(&error))?;
        // The snapshot itself is asked which images it needs: the server's own state has moved on.
        let snapshot = SqliteStore::open(scratch.path()).await.map_err(|error| failed(&error))?;
        let images = images_of(&snapshot).await;
        snapshot.close().await;
        let inventory = self.images.inventory(&mut hold, &images?).await.map_err(|error| failed(&error))?;
        let frozen = match logs {
            Logs::Without => Vec::new(),
            Logs::With => self.logs.freeze(scratch.path()).await.map_err(|error| failed(&error))?,
        };
        let (data_dir, at) = (self.data_dir.clone(), scratch.path().to_owned());
        let listed = tokio::task::spawn_blocking(move || {
            let mut list = List::default();
            list.whole_file("state.db", at.join("state.db"))?;
            // Who trusts this server's authority and its tokens goes on trusting them after a restore.
            for secret in ["token", "tls/ca.key", "tls/ca.pem", "identity/keys.json"] {
                list.secret(secret, &data_dir)?;
            }
            list.secrets("identity/accounts", &data_dir)?;
            for name in inventory.names {
                list.memory(format!("images/{}", name.path), name.bytes);
            }
            for blob in inventory.blobs {
                let entry = FileEntry {
                    path: format!("images/{}", blob.path),
                    size: blob.size,
                    sha256: blob.digest.hex().to_owned(),
                };
                list.add(entry, Source::File(blob.file));
            }
            for log in frozen {
                list.file(format!("logs/{}", log.path), log.file, log.size)?;
            }
            Ok::<_, io::Error>(list)
        });
        let list = match listed.await {
            Ok(list) => list.map_err(|error| failed(&error))?,
            Err(error) => return Err(Error::internal(error)),
        };
        let manifest = Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            taken,
            store_format: updraft_store::FORMAT,
            files: list.files,
        };
        Ok(Prepared { manifest, sources: list.sources, _hold: hold, _scratch: scratch, _turn: turn })
    }

    fn scratch(&self) -> io::Result<TempDir> {
        let dir = self.data_dir.join(SCRATCH);
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        tempfile::Builder::new().prefix("backup-").tempdir_in(dir)
    }
}

/// Files, and where they are read.
#[derive(Default)]
struct List {
    files: Vec<FileEntry>,
    sources: Vec<Source>,
}

// === impl List ===

impl List {
    fn add(&mut self, entry: FileEntry, source: Source) {
        self.files.push(entry);
        self.sources.push(source);
    }

    fn memory(&mut self, path: String, bytes: Vec<u8>) {
        let sha256 = hex::encode(Sha256::digest(&bytes));
        self.add(FileEntry { path, size: bytes.len() as u64, sha256 }, Source::Memory(bytes));
    }

    /// The first `size` bytes of a file.
    fn file(&mut self, path: String, file: PathBuf, size: u64) -> io::Result<()> {
        let mut hash = Sha256::new();
        io::copy(&mut File::open(&file)?.take(size), &mut hash)?;
        self.add(FileEntry { path, size, sha256: hex::encode(hash.finalize()) }, Source::File(file));
        Ok(())
    }

    fn whole_file(&mut self, path: &str, file: PathBuf) -> io::Result<()> {
        let size = fs::metadata(&file)?.len();
        self.file(path.to_owned(), file, size)
    }

    /// The small files of a folder, if it is there; drafts of files are not among them.
    fn secrets(&mut self, folder: &str, data_dir: &Path) -> io::Result<()> {
        let entries = match fs::read_dir(data_dir.join(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        for name in names.iter().filter(|name| name.ends_with(".json")) {
            self.secret(&format!("{folder}/{name}"), data_dir)?;
        }
        Ok(())
    }

    /// A small file, if it is there.
    fn secret(&mut self, path: &str, data_dir: &Path) -> io::Result<()> {
        match fs::read(data_dir.join(path)) {
            Ok(content) => self.memory(path.to_owned(), content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Writes the whole of it. Ends early when nobody takes the pieces any more.
fn write(prepared: Prepared, pieces: PieceWriter) -> io::Result<()> {
    let Prepared { manifest, sources, .. } = &prepared;
    let list = serde_json::to_vec(manifest)?;
    if list.len() as u64 > MANIFEST_MAX {
        return Err(io::Error::other(format!("{} files are more than a backup can list", manifest.files.len())));
    }
    let mut zstd = zstd::Encoder::new(pieces, LEVEL)?;
    zstd.include_checksum(true)?;
    let mut tar = tar::Builder::new(zstd);
    append(&mut tar, MANIFEST, list.len() as u64, &list[..], manifest.taken)?;
    for (entry, source) in manifest.files.iter().zip(sources) {
        match source {
            Source::Memory(bytes) => append(&mut tar, &entry.path, entry.size, &bytes[..], manifest.taken)?,
            Source::File(file) => {
                let content = File::open(file)?.take(entry.size);
                append(&mut tar, &entry.path, entry.size, content, manifest.taken)?;
            }
        }
    }
    tar.into_inner()?.finish()?.flush()
}

fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    path: &str,
    size: u64,
    content: impl io::Read,
    time: u64,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o600);
    header.set_mtime(time);
    let mut counted = Counted { content, read: 0 };
    tar.append_data(&mut header, path, &mut counted)?;
    // A file that is shorter than it was would shift everything after it.
    if counted.read != size {
        return Err(io::Error::other(format!("{path} has {} bytes instead of {size}", counted.read)));
    }
    Ok(())
}

struct Counted<R> {
    content: R,
    read: u64,
}

impl<R: io::Read> io::Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}

/// Collects what is written and sends it in pieces.
struct PieceWriter {
    pieces: mpsc::Sender<Result<Bytes, BoxError>>,
    clock: Clock,
    buffer: BytesMut,
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = self.buffer.split().freeze();
        // This is a thread of the blocking pool.
        let sent = self.clock.timeout(PATIENCE, self.pieces.send(Ok(piece)));
        match tokio::runtime::Handle::current().block_on(sent) {
            Ok(sent) => sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe)),
            Err(_) => {
                let text = format!("the client took nothing for {} s", PATIENCE.as_secs());
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_takes_no_piece_for_a_minute_gets_no_more() {
        let (clock, hand) = Clock::stopped_at(SystemTime::UNIX_EPOCH);
        let (pieces, mut taken) = mpsc::channel(1);
        let mut writer = PieceWriter { pieces, clock, buffer: BytesMut::new() };
        let written = tokio::task::spawn_blocking(move || (0..3).try_for_each(|_| writer.write_all(&[0; PIECE])));
        // Slow, but alive: a piece in every half minute.
        hand.advance(PATIENCE / 2);
        assert_eq!(taken.recv().await.expect("sent").expect("a piece").len(), PIECE);
        for _ in 0..100_000 {
            hand.advance(PATIENCE / 4);
            tokio::task::yield_now().await;
            if written.is_finished() {
                break;
            }
        }
        let error = written.await.expect("no panic").expect_err("nobody takes the third");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
