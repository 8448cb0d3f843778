//! Upload sessions. Each change is one statement on one row.

use registry_types::{Algorithm, HashState, RepositoryName, UploadId};
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::{
    columns::{SizeColumn, TextColumn, TimeColumn, limit},
    connection::Connection,
    error::Failure,
};
use crate::{MetadataError, UploadProgress, UploadRecord};

pub(super) async fn create(connection: &Connection, upload: &UploadRecord) -> Result<(), Failure> {
    let inserted = connection
        .execute(
            "INSERT INTO uploads
                 (id, repository, started_at, touched_at, algorithm, length, state, store, writer)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
            &[
                &TextColumn(upload.id),
                &upload.repository.as_str(),
                &TimeColumn(upload.started_at),
                &TimeColumn(upload.touched_at),
                &upload.progress.hash.algorithm.name(),
                &SizeColumn(upload.progress.hash.length),
                &upload.progress.hash.state,
                &upload.progress.store,
                &SizeColumn(upload.writer),
            ],
        )
        .await?;
    if inserted == 0 {
        return Err(MetadataError::AlreadyExists { what: format!("the upload session {}", upload.id) }.into());
    }
    Ok(())
}

pub(super) async fn find(
    connection: &Connection,
    repository: &RepositoryName,
    id: &UploadId,
) -> Result<Option<UploadRecord>, Failure> {
    let row = connection
        .row(
            "SELECT id, repository, started_at, touched_at, algorithm, length, state, store, writer
             FROM uploads WHERE id = $1 AND repository = $2",
            &[&TextColumn(id), &repository.as_str()],
        )
        .await?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn exists(connection: &Connection, id: &UploadId) -> Result<bool, Failure> {
    Ok(connection.row("SELECT 1 FROM uploads WHERE id = $1", &[&TextColumn(id)]).await?.is_some())
}

/// The session with a new writer number.
pub(super) async fn claim(
    connection: &Connection,
    repository: &RepositoryName,
    id: &UploadId,
) -> Result<Option<UploadRecord>, Failure> {
    let row = connection
        .row(
            "UPDATE uploads SET writer = writer + 1 WHERE id = $1 AND repository = $2
             RETURNING id, repository, started_at, touched_at, algorithm, length, state, store, writer",
            &[&TextColumn(id), &repository.as_str()],
        )
        .await?;
    row.as_ref().map(read).transpose()
}

/// Twice the same is the same: the row names the writer that may set it.
pub(super) async fn save_progress(
    connection: &Connection,
    id: &UploadId,
    writer: u64,
    progress: &UploadProgress,
    now: OffsetDateTime,
) -> Result<bool, Failure> {
    let updated = connection
        .execute(
            "UPDATE uploads SET touched_at = $3, algorithm = $4, length = $5, state = $6, store = $7
             WHERE id = $1 AND writer = $2",
            &[
                &TextColumn(id),
                &SizeColumn(writer),
                &TimeColumn(now),
                &progress.hash.algorithm.name(),
                &SizeColumn(progress.hash.length),
                &progress.hash.state,
                &progress.store,
            ],
        )
        .await?;
    Ok(updated > 0)
}

pub(super) async fn delete(
    connection: &Connection,
    repository: &RepositoryName,
    id: &UploadId,
) -> Result<bool, Failure> {
    let removed = connection
        .execute(
            "DELETE FROM uploads WHERE id = $1 AND repository = $2",
            &[&TextColumn(id), &repository.as_str()],
        )
        .await?;
    Ok(removed > 0)
}

/// Removes the session if `writer` is its last.
pub(super) async fn end(
    connection: &Connection,
    repository: &RepositoryName,
    id: &UploadId,
    writer: u64,
) -> Result<bool, Failure> {
    let removed = connection
        .execute(
            "DELETE FROM uploads WHERE id = $1 AND repository = $2 AND writer = $3",
            &[&TextColumn(id), &repository.as_str(), &SizeColumn(writer)],
        )
        .await?;
    Ok(removed > 0)
}

pub(super) const STALE: &str =
    "SELECT id, repository, started_at, touched_at, algorithm, length, state, store, writer FROM uploads
     WHERE touched_at < $1 ORDER BY touched_at, id LIMIT $2";

pub(super) async fn stale(
    connection: &Connection,
    before: OffsetDateTime,
    at_most: usize,
) -> Result<Vec<UploadRecord>, Failure> {
    let rows = connection.rows(STALE, &[&TimeColumn(before), &limit(at_most)]).await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<UploadRecord, Failure> {
    Ok(UploadRecord {
        id: row.try_get::<_, TextColumn<_>>(0)?.0,
        repository: row.try_get::<_, TextColumn<_>>(1)?.0,
        started_at: row.try_get::<_, TimeColumn>(2)?.0,
        touched_at: row.try_get::<_, TimeColumn>(3)?.0,
        progress: UploadProgress {
            hash: HashState {
                algorithm: row.try_get::<_, TextColumn<Algorithm>>(4)?.0,
                length: row.try_get::<_, SizeColumn>(5)?.0,
                state: row.try_get(6)?,
            },
            store: row.try_get(7)?,
        },
        writer: row.try_get::<_, SizeColumn>(8)?.0,
    })
}
