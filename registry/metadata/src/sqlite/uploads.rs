//! Upload sessions.

use registry_types::{Algorithm, HashState, RepositoryName, UploadId};
use rusqlite::{Connection, OptionalExtension, Row, params};
use time::OffsetDateTime;

use super::columns::{SizeColumn, TextColumn, TimeColumn};
use crate::{MetadataError, UploadProgress, UploadRecord};

pub(super) fn create(connection: &Connection, upload: &UploadRecord) -> Result<(), MetadataError> {
    let inserted = connection
        .prepare_cached(
            "INSERT INTO uploads
                 (id, repository, started_at, touched_at, algorithm, length, state, store, writer)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            TextColumn(upload.id),
            upload.repository.as_str(),
            TimeColumn(upload.started_at),
            TimeColumn(upload.touched_at),
            upload.progress.hash.algorithm.name(),
            SizeColumn(upload.progress.hash.length),
            upload.progress.hash.state,
            upload.progress.store,
            SizeColumn(upload.writer),
        ])?;
    if inserted == 0 {
        return Err(MetadataError::AlreadyExists { what: format!("the upload session {}", upload.id) });
    }
    Ok(())
}

pub(super) fn find(
    connection: &Connection,
    repository: &RepositoryName,
    id: &UploadId,
) -> Result<Option<UploadRecord>, MetadataError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, repository, started_at, touched_at, algorithm, length, state, store, writer
         FROM uploads
         WHERE id = ?1 AND repository = ?2",
    )?;
    Ok(statement.query_row(params![TextColumn(id), repository.as_str()], read).optional()?)
}

pub(super) fn exists(connection: &Connection, id: &UploadId) -> Result<bool, MetadataError> {
    Ok(connection.prepare_cached("SELECT 1 FROM uploads WHERE id = ?1")?.exists([TextColumn(id)])?)
}

/// The session with a new writer number.
pub(super) fn claim(
    connection: &Connection,
    repository: &RepositoryName,
    id: &UploadId,
) -> Result<Option<UploadRecord>, MetadataError> {
    let mut statement = connection.prepare_cached(
        "UPDATE uploads SET writer = writer + 1 WHERE id = ?1 AND repository = ?2
         RETURNING id, repository, started_at, touched_at, algorithm, length, state, store, writer",
    )?;
    Ok(statement.query_row(params![TextColumn(id), repository.as_str()], read).optional()?)
}

pub(super) fn save_progress(
    connection: &Connection,
    id: &UploadId,
    writer: u64,
    progress: &UploadProgress,
    now: OffsetDateTime,
) -> Result<bool, MetadataError> {
    let updated = connection
        .prepare_cached(
            "UPDATE uploads SET touched_at = ?3, algorithm = ?4, length = ?5, state = ?6, store = ?7
             WHERE id = ?1 AND writer = ?2",
        )?
        .execute(params![
            TextColumn(id),
            SizeColumn(writer),
            TimeColumn(now),
            progress.hash.algorithm.name(),
            SizeColumn(progress.hash.length),
            progress.hash.state,
            progress.store,
        ])?;
    Ok(updated > 0)
}

/// Removes the session if `writer` is its last.
pub(super) fn end(
    connection: &Connection,
    repository: &RepositoryName,
    id: &UploadId,
    writer: u64,
) -> Result<bool, MetadataError> {
    let removed = connection
        .prepare_cached("DELETE FROM uploads WHERE id = ?1 AND repository = ?2 AND writer = ?3")?
        .execute(params![TextColumn(id), repository.as_str(), SizeColumn(writer)])?;
    Ok(removed > 0)
}

pub(super) fn delete(
    connection: &Connection,
    repository: &RepositoryName,
    id: &UploadId,
) -> Result<bool, MetadataError> {
    let removed = connection
        .prepare_cached("DELETE FROM uploads WHERE id = ?1 AND repository = ?2")?
        .execute(params![TextColumn(id), repository.as_str()])?;
    Ok(removed > 0)
}

pub(super) fn stale(
    connection: &Connection,
    before: OffsetDateTime,
    limit: usize,
) -> Result<Vec<UploadRecord>, MetadataError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, repository, started_at, touched_at, algorithm, length, state, store, writer
         FROM uploads
         WHERE touched_at < ?1 ORDER BY touched_at, id LIMIT ?2",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![TimeColumn(before), limit], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<UploadRecord> {
    Ok(UploadRecord {
        id: row.get::<_, TextColumn<_>>(0)?.0,
        repository: row.get::<_, TextColumn<_>>(1)?.0,
        started_at: row.get::<_, TimeColumn>(2)?.0,
        touched_at: row.get::<_, TimeColumn>(3)?.0,
        progress: UploadProgress {
            hash: HashState {
                algorithm: row.get::<_, TextColumn<Algorithm>>(4)?.0,
                length: row.get::<_, SizeColumn>(5)?.0,
                state: row.get(6)?,
            },
            store: row.get(7)?,
        },
        writer: row.get::<_, SizeColumn>(8)?.0,
    })
}
