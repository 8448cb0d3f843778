//! Upload sessions. Each change is one statement on one row.

use registry_types::{Algorithm, HashState, RepositoryName, UploadId};
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::{
    columns::{SizeColumn, TextColumn, TimeColumn, limit},
    connection::Connection,
    error::Failure,
};
use crate::{MetadataError, UploadRecord};

pub(super) async fn create(connection: &Connection, upload: &UploadRecord) -> Result<(), Failure> {
    let inserted = connection
        .execute(
            "INSERT INTO uploads (id, repository, started_at, touched_at, algorithm, length, state)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
            &[
                &TextColumn(upload.id),
                &upload.repository.as_str(),
                &TimeColumn(upload.started_at),
                &TimeColumn(upload.touched_at),
                &upload.progress.algorithm.name(),
                &SizeColumn(upload.progress.length),
                &&upload.progress.state[..],
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
            "SELECT id, repository, started_at, touched_at, algorithm, length, state FROM uploads
             WHERE id = $1 AND repository = $2",
            &[&TextColumn(id), &repository.as_str()],
        )
        .await?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn exists(connection: &Connection, id: &UploadId) -> Result<bool, Failure> {
    Ok(connection.row("SELECT 1 FROM uploads WHERE id = $1", &[&TextColumn(id)]).await?.is_some())
}

pub(super) async fn save_progress(
    connection: &Connection,
    id: &UploadId,
    progress: &HashState,
) -> Result<bool, Failure> {
    let updated = connection
        .execute(
            "UPDATE uploads SET touched_at = $2, algorithm = $3, length = $4, state = $5 WHERE id = $1",
            &[
                &TextColumn(id),
                &TimeColumn::now(),
                &progress.algorithm.name(),
                &SizeColumn(progress.length),
                &&progress.state[..],
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

pub(super) async fn stale(
    connection: &Connection,
    before: OffsetDateTime,
    at_most: usize,
) -> Result<Vec<UploadRecord>, Failure> {
    let rows = connection
        .rows(
            "SELECT id, repository, started_at, touched_at, algorithm, length, state FROM uploads
             WHERE touched_at < $1 ORDER BY touched_at, id LIMIT $2",
            &[&TimeColumn(before), &limit(at_most)],
        )
        .await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<UploadRecord, Failure> {
    Ok(UploadRecord {
        id: row.try_get::<_, TextColumn<_>>(0)?.0,
        repository: row.try_get::<_, TextColumn<_>>(1)?.0,
        started_at: row.try_get::<_, TimeColumn>(2)?.0,
        touched_at: row.try_get::<_, TimeColumn>(3)?.0,
        progress: HashState {
            algorithm: row.try_get::<_, TextColumn<Algorithm>>(4)?.0,
            length: row.try_get::<_, SizeColumn>(5)?.0,
            state: row.try_get(6)?,
        },
    })
}
