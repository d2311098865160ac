//! The one who writes.
//!
//! Commits that wait for it are written in one transaction, a savepoint each: what a commit costs is the sync of the
//! disk, and a sync takes as long for many as for one.

use std::sync::Arc;

use sqlx::{ConnectOptions, Connection, QueryBuilder, Sqlite, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{COLUMNS, medium, nanos, push_key};
use crate::{Change, Envelope, Key, StoreError, lock::DirLock};

/// The most commits of one transaction.
const BATCH: usize = 64;

/// A commit, and who waits for it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) changes: Vec<Change>,
    pub(super) answer: oneshot::Sender<Result<Vec<Envelope>, StoreError>>,
}

/// It. Ends when nobody is left who could hand anything over.
pub(super) struct Writer {
    database: SqliteConnection,
    options: SqliteConnectOptions,
    /// After a failure of the medium nobody knows how far the connection got: SQLite ends the transaction itself when
    /// the disk is full, and the next one could not begin.
    doubtful: bool,
    jobs: mpsc::Receiver<Job>,
    changed: broadcast::Sender<Key>,
    // Freed after the last write, not when the last handle is dropped.
    _lock: Arc<DirLock>,
}

/// What came of one commit of several.
type Outcome = Result<Written, StoreError>;

/// What was put, every key that changed, and the number of the last write.
struct Written {
    stored: Vec<Envelope>,
    keys: Vec<Key>,
    writes: i64,
}

// === impl Writer ===

impl Writer {
    pub(super) fn new(
        (database, options): (SqliteConnection, SqliteConnectOptions),
        jobs: mpsc::Receiver<Job>,
        changed: broadcast::Sender<Key>,
        _lock: Arc<DirLock>,
    ) -> Self {
        Self { database, options, doubtful: false, jobs, changed, _lock }
    }

    pub(super) async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.jobs.recv_many(&mut batch, BATCH).await > 0 {
            let (commits, answers): (Vec<_>, Vec<_>) = batch.drain(..).map(|job| (job.changes, job.answer)).unzip();
            for (outcome, answer) in self.commit_all(commits).await.into_iter().zip(answers) {
                let outcome = outcome.map(|Written { stored, keys, .. }| {
                    for key in keys {
                        // Nobody may be watching.
                        let _ = self.changed.send(key);
                    }
                    stored
                });
                // Whoever asked may have stopped waiting; it is written all the same.
                let _ = answer.send(outcome);
            }
        }
        if let Err(error) = self.database.close().await {
            tracing::warn!(%error, "the database did not close cleanly; its log will be replayed");
        }
    }

    /// Commits, each of which is written wholly or not at all. They are synced together; where that fails, each is tried
    /// by itself, so that one that cannot be written is the failure of nobody else.
    async fn commit_all(&mut self, commits: Vec<Vec<Change>>) -> Vec<Outcome> {
        if commits.len() > 1
            && let Ok(outcomes) = self.commit(commits.clone()).await
        {
            return outcomes;
        }
        let mut outcomes = Vec::with_capacity(commits.len());
        for changes in commits {
            let outcome = self.commit(vec![changes]).await;
            outcomes.push(outcome.and_then(|mut alone| alone.remove(0)));
        }
        outcomes
    }

    /// One transaction. A failure of it is not one of the next: there may be space again.
    async fn commit(&mut self, commits: Vec<Vec<Change>>) -> Result<Vec<Outcome>, StoreError> {
        if self.doubtful {
            let fresh = self.options.connect().await.map_err(medium("open the database again"))?;
            // Whatever it still held it lets go of; how well it closes tells nothing.
            let _ = std::mem::replace(&mut self.database, fresh).close_hard().await;
            self.doubtful = false;
        }
        let outcome = self.try_commit(commits).await;
        self.doubtful = outcome.is_err();
        outcome
    }

    async fn try_commit(&mut self, commits: Vec<Vec<Change>>) -> Result<Vec<Outcome>, StoreError> {
        let failed = medium("commit");
        let mut transaction = self.database.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        let mut writes: i64 =
            sqlx::query_scalar("SELECT count FROM writes").fetch_one(&mut *transaction).await.map_err(failed)?;
        let mut outcomes = Vec::with_capacity(commits.len());
        // An early return drops the transaction, which rolls it back.
        for changes in commits {
            let mut part = transaction.begin().await.map_err(failed)?;
            let outcome = write(&mut part, changes, writes).await;
            match &outcome {
                Ok(written) => {
                    writes = written.writes;
                    part.commit().await.map_err(failed)?;
                }
                Err(StoreError::Conflict { .. }) => part.rollback().await.map_err(failed)?,
                Err(_) => {
                    drop(part);
                    return outcome.map(|_| Vec::new());
                }
            }
            outcomes.push(outcome);
        }
        sqlx::query("UPDATE writes SET count = ?").bind(writes).execute(&mut *transaction).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(outcomes)
    }
}

// === statements ===

/// Carries out the changes of one commit, of which the first takes the number after `writes`.
async fn write(database: &mut SqliteConnection, changes: Vec<Change>, writes: i64) -> Outcome {
    let failed = medium("commit");
    let mut written = Written { stored: Vec::new(), keys: Vec::new(), writes };
    for change in changes {
        match change {
            Change::Put(mut envelope) => {
                let found = version(database, &envelope.key).await.map_err(failed)?;
                if found != envelope.resource_version {
                    return Err(StoreError::Conflict { expected: envelope.resource_version, key: envelope.key });
                }
                written.writes += 1;
                envelope.resource_version = written.writes;
                put(database, &envelope).await?;
                written.keys.push(envelope.key.clone());
                written.stored.push(*envelope);
            }
            Change::Delete { key, resource_version: expected } => {
                let found = version(database, &key).await.map_err(failed)?;
                if expected != 0 && found != expected {
                    return Err(StoreError::Conflict { key, expected });
                }
                if found != 0 {
                    written.writes += 1;
                    delete(database, &key).await.map_err(failed)?;
                    written.keys.push(key);
                }
            }
        }
    }
    Ok(written)
}

/// The version at `key`, 0 when there is nothing.
async fn version(database: &mut SqliteConnection, key: &Key) -> sqlx::Result<i64> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT resource_version FROM envelopes WHERE ");
    push_key(&mut query, key);
    Ok(query.build_query_scalar().fetch_optional(database).await?.unwrap_or(0))
}

async fn delete(database: &mut SqliteConnection, key: &Key) -> sqlx::Result<()> {
    let mut query = QueryBuilder::<Sqlite>::new("DELETE FROM envelopes WHERE ");
    push_key(&mut query, key);
    query.build().execute(database).await.map(drop)
}

async fn put(database: &mut SqliteConnection, envelope: &Envelope) -> Result<(), StoreError> {
    let Envelope { key, .. } = envelope;
    let mut query = QueryBuilder::<Sqlite>::new("INSERT OR REPLACE INTO envelopes (");
    query.push(COLUMNS).push(") VALUES (");
    query
        .separated(", ")
        .push_bind(key.kind.as_str())
        .push_bind(&key.parent.project)
        .push_bind(&key.parent.location)
        .push_bind(&key.name)
        .push_bind(&envelope.owner)
        .push_bind(envelope.format)
        .push_bind(&envelope.uid)
        .push_bind(envelope.generation)
        .push_bind(envelope.resource_version)
        .push_bind(envelope.owner_epoch)
        .push_bind(nanos(envelope.created)?)
        .push_bind(nanos(envelope.updated)?)
        .push_bind(&envelope.spec)
        .push_bind(&envelope.v1_only)
        .push_bind(&envelope.status)
        .push_bind(&envelope.internal);
    query.push(")");
    query.build().execute(database).await.map(drop).map_err(medium("commit"))
}
