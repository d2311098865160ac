//! From the format of the data to the format of this version.
//!
//! The format counts the steps that were taken; when it changes and when it need not, [`FORMAT`] says. A new one is a
//! new file in `migrations`, an entry in [`ALL`] and a new [`FORMAT`]; an old file never changes.

use std::path::Path;

use sqlx::{Connection, Row, SqliteConnection};

use crate::{FORMAT, StoreError, sqlite::medium};

/// What takes data from the format before to this one, first to last.
pub(crate) const ALL: [&str; FORMAT as usize] = [include_str!("../migrations/0001_envelopes.sql")];

/// Brings the database to format `steps.len()`, one transaction per step: a crash in between leaves
/// a whole format, and the next start goes on from there.
///
/// # Errors
/// [`StoreError::TooNew`] when more steps were taken than this version knows; then nothing is touched.
pub(crate) async fn run(database: &mut SqliteConnection, dir: &Path, steps: &[&'static str]) -> Result<(), StoreError> {
    let known = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    let found = format(database).await.map_err(medium("read the format of the data"))?;
    if found > known {
        return Err(StoreError::TooNew { dir: dir.display().to_string(), found, known });
    }
    for (step, number) in steps.iter().zip(1..=known).skip(found as usize) {
        advance(database, step, number).await.map_err(medium("migrate the data"))?;
        tracing::info!(format = number, "the data directory is now in this format");
    }
    Ok(())
}

/// The format of the data; 0 for a database with nothing in it.
async fn format(database: &mut SqliteConnection) -> sqlx::Result<u32> {
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS store_format (id INTEGER PRIMARY KEY CHECK (id = 1), format INTEGER NOT NULL) STRICT",
    )
    .execute(&mut *database)
    .await?;
    let row = sqlx::query("SELECT format FROM store_format").fetch_optional(database).await?;
    row.map_or(Ok(0), |row| row.try_get(0))
}

async fn advance(database: &mut SqliteConnection, step: &'static str, number: u32) -> sqlx::Result<()> {
    let mut transaction = database.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql(step).execute(&mut *transaction).await?;
    sqlx::query(
        "INSERT INTO store_format (id, format) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET format = excluded.format",
    )
    .bind(number)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}
