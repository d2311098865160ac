//! The default: one SQLite database in the data directory.
//!
//! One connection writes, a few read. Every commit goes through one task (`store writer`), so a
//! caller that gives up waiting can never leave half a commit, nor one that watchers did not hear of.

mod writer;

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use sqlx::{
    ConnectOptions, Connection, QueryBuilder, Row, Sqlite, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};
use tokio::sync::{broadcast, mpsc, oneshot};
use updraft_base::{OnFailure, Tasks};
use updraft_model::Parent;

use self::writer::{Job, Writer};
use crate::{
    Change, Envelope, Key, Kind, Page, Selection, Store, StoreError, error::host, lock::DirLock, memory::WATCH_BACKLOG,
    migration, snapshot::Snapshots,
};

/// The database's file in the data directory.
pub(crate) const FILE: &str = "state.db";
/// Connections that read.
const READERS: u32 = 4;
/// Commits that may wait for the writer before callers wait to hand theirs over.
const QUEUE: usize = 256;
/// How long SQLite waits for a lock. Only its own checkpoints compete: the directory is ours.
const BUSY: Duration = Duration::from_secs(10);

const COLUMNS: &str = "kind, project, location, name, owner, format, uid, generation, resource_version, \
    owner_epoch, created, updated, spec, v1_only, status, internal";

/// Keeps everything in `DIR/state.db`: write-ahead log, synced at every commit, so that what was
/// acknowledged survives kill -9 and power loss. Holds the lock of the directory while it lives.
#[derive(Debug)]
pub struct SqliteStore {
    readers: SqlitePool,
    commits: mpsc::Sender<Job>,
    changed: broadcast::Sender<Key>,
    tasks: Tasks,
    _lock: Arc<DirLock>,
}

// === impl SqliteStore ===

impl SqliteStore {
    /// Opens the store in `dir`, makes it if there is none, migrates it if it is older.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another store has the directory, [`StoreError::TooNew`] when a
    /// later version wrote it, [`StoreError::Medium`] when it cannot be read or written.
    pub async fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(dir, &migration::ALL).await
    }

    pub(crate) async fn open_with(dir: &Path, steps: &[&'static str]) -> Result<Self, StoreError> {
        let lock = Arc::new(DirLock::take(dir)?);
        let path = dir.join(FILE);
        // Made by us, because SQLite would make it readable for all; its -wal and -shm follow its mode.
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(host("open the database", &path))?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // What is deleted or replaced is overwritten: the sealed value of a secret that was destroyed, what a variable was.
            .pragma("secure_delete", "ON")
            .busy_timeout(BUSY);
        let mut database = options.connect().await.map_err(medium("open the database"))?;
        migration::run(&mut database, dir, steps).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            // A file needs no greeting before each question: that would be two ways to SQLite's thread instead of one.
            .test_before_acquire(false)
            .connect_with(options.clone().read_only(true))
            .await
            .map_err(medium("open the database for reading"))?;
        let (commits, jobs) = mpsc::channel(QUEUE);
        let changed = broadcast::Sender::new(WATCH_BACKLOG);
        let tasks = Tasks::new();
        let _lock = Arc::clone(&lock);
        let writer = Writer::new((database, options), jobs, changed.clone(), _lock);
        tasks.spawn("store writer", OnFailure::Stop, writer.run());
        Ok(Self { readers, commits, changed, tasks, _lock: lock })
    }

    /// The keys of a kind in `dir`, without opening the store: nothing is locked, made, migrated or changed, and a server
    /// may have it open. None when there is no store.
    ///
    /// # Errors
    /// [`StoreError::Medium`] when it cannot be read, also because a later version has other tables.
    pub async fn peek(dir: &Path, kind: Kind) -> Result<Vec<Key>, StoreError> {
        let path = dir.join(FILE);
        if !path.exists() {
            return Ok(Vec::new());
        }
        // Without a log nobody has it open, and then SQLite must not make one either.
        let has_log = dir.join(format!("{FILE}-wal")).exists();
        let options =
            SqliteConnectOptions::new().filename(&path).read_only(true).immutable(!has_log).busy_timeout(BUSY);
        let mut database = options.connect().await.map_err(medium("open the database for reading"))?;
        let rows = sqlx::query("SELECT project, location, name FROM envelopes WHERE kind = ? ORDER BY 1, 2, 3")
            .bind(kind.as_str())
            .fetch_all(&mut database)
            .await
            .map_err(medium("list"))?;
        // Waited for: a server that stops meanwhile would not be the last to leave, and its log would stay.
        database.close().await.map_err(medium("close the database"))?;
        let key = |row: &SqliteRow| -> sqlx::Result<Key> {
            let parent = Parent::new(row.try_get::<String, _>(0)?, row.try_get::<String, _>(1)?);
            Ok(Key::new(kind, parent, row.try_get::<String, _>(2)?))
        };
        rows.iter().map(key).collect::<sqlx::Result<_>>().map_err(medium("list"))
    }

    /// Ends when the writer has failed. Every commit fails from then on: the process had better end.
    pub fn failed(&self) -> impl Future<Output = ()> + Send + use<> {
        let shutdown = self.tasks.shutdown().clone();
        async move { shutdown.asked().await }
    }

    /// Takes snapshots of it while it is in use.
    pub fn snapshots(&self) -> Snapshots {
        Snapshots::of(self.readers.clone())
    }

    /// Ends once everything handed over is written and the directory is free for another store.
    pub async fn close(self) {
        let Self { readers, commits, changed: _, tasks, _lock } = self;
        readers.close().await;
        drop(commits);
        tasks.drain().await;
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, key: &Key) -> Result<Option<Envelope>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        query.push(COLUMNS).push(" FROM envelopes WHERE ");
        push_key(&mut query, key);
        let row = query.build().fetch_optional(&self.readers).await.map_err(medium("read"))?;
        row.map(|row| envelope(&row)).transpose().map_err(medium("read"))
    }

    async fn list(&self, selection: &Selection, page: &Page) -> Result<Vec<Envelope>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        query.push(COLUMNS).push(" FROM envelopes WHERE ");
        push_selection(&mut query, selection);
        if let Some((created, name)) = &page.after {
            let created = nanos(*created)?;
            query.push(" AND (created < ").push_bind(created);
            query.push(" OR (created = ").push_bind(created).push(" AND name > ").push_bind(name).push("))");
        }
        query.push(" ORDER BY created DESC, name, project, location LIMIT ");
        // SQLite reads a negative limit as none.
        query.push_bind(if page.limit == 0 { -1 } else { i64::try_from(page.limit).unwrap_or(-1) });
        let rows = query.build().fetch_all(&self.readers).await.map_err(medium("list"))?;
        rows.iter().map(envelope).collect::<sqlx::Result<_>>().map_err(medium("list"))
    }

    async fn scan(&self, kind: Kind, after: Option<&Key>, limit: usize) -> Result<Vec<Envelope>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        query.push(COLUMNS).push(" FROM envelopes WHERE kind = ").push_bind(kind.as_str());
        if let Some(after) = after {
            query.push(" AND (project, location, name) > (").push_bind(&after.parent.project);
            query.push(", ").push_bind(&after.parent.location).push(", ").push_bind(&after.name).push(")");
        }
        query.push(" ORDER BY project, location, name LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = query.build().fetch_all(&self.readers).await.map_err(medium("scan"))?;
        rows.iter().map(envelope).collect::<sqlx::Result<_>>().map_err(medium("scan"))
    }

    async fn count(&self, selection: &Selection) -> Result<usize, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT count(*) FROM envelopes WHERE ");
        push_selection(&mut query, selection);
        let count: i64 = query.build_query_scalar().fetch_one(&self.readers).await.map_err(medium("count"))?;
        Ok(usize::try_from(count).unwrap_or_default())
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<Vec<Envelope>, StoreError> {
        let gone = || StoreError::Medium { operation: "commit", cause: "the task that writes has failed".to_owned() };
        let (answer, answered) = oneshot::channel();
        self.commits.send(Job { changes, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    fn watch(&self) -> broadcast::Receiver<Key> {
        self.changed.subscribe()
    }
}

// === statements ===

fn push_selection(query: &mut QueryBuilder<Sqlite>, selection: &Selection) {
    query.push("kind = ").push_bind(selection.kind.as_str());
    if let Some(parent) = &selection.parent {
        query.push(" AND project = ").push_bind(&parent.project);
        query.push(" AND location = ").push_bind(&parent.location);
    }
    if let Some(owner) = &selection.owner {
        query.push(" AND owner = ").push_bind(owner);
    }
}

fn push_key(query: &mut QueryBuilder<Sqlite>, key: &Key) {
    query.push("kind = ").push_bind(key.kind.as_str());
    query.push(" AND project = ").push_bind(&key.parent.project);
    query.push(" AND location = ").push_bind(&key.parent.location);
    query.push(" AND name = ").push_bind(&key.name);
}

fn envelope(row: &SqliteRow) -> sqlx::Result<Envelope> {
    let word: &str = row.try_get(0)?;
    let kind = Kind::from_word(word).ok_or_else(|| sqlx::Error::Decode(format!("unknown kind '{word}'").into()))?;
    Ok(Envelope {
        key: Key::new(
            kind,
            Parent::new(row.try_get::<String, _>(1)?, row.try_get::<String, _>(2)?),
            row.try_get::<String, _>(3)?,
        ),
        owner: row.try_get(4)?,
        format: row.try_get(5)?,
        uid: row.try_get(6)?,
        generation: row.try_get(7)?,
        resource_version: row.try_get(8)?,
        owner_epoch: row.try_get(9)?,
        created: time(row.try_get(10)?),
        updated: time(row.try_get(11)?),
        spec: row.try_get(12)?,
        v1_only: row.try_get(13)?,
        status: row.try_get(14)?,
        internal: row.try_get(15)?,
    })
}

/// Nanoseconds since 1970, negative before. 64 bits hold the years 1678 to 2262.
fn nanos(time: SystemTime) -> Result<i64, StoreError> {
    let nanos = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()),
        Err(before) => i64::try_from(before.duration().as_nanos()).map(|nanos| -nanos),
    };
    nanos.map_err(|_| StoreError::Medium { operation: "store a time", cause: format!("{time:?} is out of range") })
}

fn time(nanos: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanos.unsigned_abs());
    if nanos < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance }
}

pub(crate) fn medium(operation: &'static str) -> impl Fn(sqlx::Error) -> StoreError + Copy {
    move |error| {
        let cause = error.to_string();
        if is_full(&error) { StoreError::Full { operation, cause } } else { StoreError::Medium { operation, cause } }
    }
}

/// Is there no room on the disk? SQLite says so for the file system; a quota shows as an error of writing or of growing
/// the shared memory, whose extended codes are the same whatever the system's error was.
fn is_full(error: &sqlx::Error) -> bool {
    const FULL: &str = "13";
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == FULL)
}

#[cfg(test)]
mod tests;
