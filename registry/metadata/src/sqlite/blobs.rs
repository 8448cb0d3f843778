//! Blobs and the links that make them visible in a repository.

use std::time::Duration;

use registry_types::{Digest, RepositoryName, UploadId};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    BlobKey, Changes,
    columns::{DigestColumn, SizeColumn, TimeColumn},
    repositories, uploads,
};
use crate::{BlobRecord, MetadataError};

/// How long a blob is kept from collection after it was linked, though no manifest names it: the time a slow
/// client may take from its first layer to its manifest.
const LEASE: Duration = Duration::from_hours(24);

pub(super) fn find(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<BlobRecord>, MetadataError> {
    let mut statement = connection.prepare_cached(
        "SELECT blobs.digest, blobs.size FROM blobs
         JOIN repository_blobs ON repository_blobs.blob_id = blobs.id
         JOIN repositories ON repositories.id = repository_blobs.repository_id
         WHERE repositories.name = ?1 AND blobs.digest = ?2",
    )?;
    Ok(statement.query_row(params![repository.as_str(), DigestColumn(*digest)], read).optional()?)
}

pub(super) fn find_anywhere(
    connection: &Connection,
    digest: &Digest,
) -> Result<Option<BlobRecord>, MetadataError> {
    let mut statement = connection.prepare_cached(
        "SELECT digest, size FROM blobs
         WHERE digest = ?1 AND EXISTS (SELECT 1 FROM repository_blobs WHERE blob_id = blobs.id)",
    )?;
    Ok(statement.query_row([DigestColumn(*digest)], read).optional()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<BlobRecord> {
    Ok(BlobRecord { digest: row.get::<_, DigestColumn>(0)?.0, size: row.get::<_, SizeColumn>(1)?.0 })
}

pub(super) fn link(
    connection: &Connection,
    repository: &RepositoryName,
    blob: &BlobRecord,
    upload: Option<&UploadId>,
    changes: &mut Changes,
) -> Result<(), MetadataError> {
    let now = TimeColumn::now();
    let id = store(connection, blob, now)?;
    link_row(connection, repository, id, now)?;
    if let Some(upload) = upload {
        uploads::delete(connection, repository, upload)?;
    }
    changes.blobs.push(BlobKey { repository: repository.clone(), digest: blob.digest });
    Ok(())
}

pub(super) fn mount(
    connection: &Connection,
    from: Option<&RepositoryName>,
    to: &RepositoryName,
    digest: &Digest,
    changes: &mut Changes,
) -> Result<Option<BlobRecord>, MetadataError> {
    let found = match from {
        Some(from) => find(connection, from, digest)?,
        None => find_anywhere(connection, digest)?,
    };
    if let Some(blob) = &found {
        link(connection, to, blob, None, changes)?;
    }
    Ok(found)
}

pub(super) fn unlink(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
    changes: &mut Changes,
) -> Result<bool, MetadataError> {
    let removed = connection
        .prepare_cached(
            "DELETE FROM repository_blobs
             WHERE repository_id = (SELECT id FROM repositories WHERE name = ?1)
               AND blob_id = (SELECT id FROM blobs WHERE digest = ?2)",
        )?
        .execute(params![repository.as_str(), DigestColumn(*digest)])?;
    changes.blobs.push(BlobKey { repository: repository.clone(), digest: *digest });
    Ok(removed > 0)
}

/// The blob's row, made or with its lease renewed.
fn store(connection: &Connection, blob: &BlobRecord, now: TimeColumn) -> Result<i64, MetadataError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO blobs (digest, size, created_at, leased_until) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (digest) DO UPDATE SET leased_until = excluded.leased_until
         RETURNING id, size",
    )?;
    let leased_until = TimeColumn(now.0 + LEASE);
    let values = params![DigestColumn(blob.digest), SizeColumn(blob.size), now, leased_until];
    let (id, SizeColumn(size)) = statement.query_row(values, |row| Ok((row.get(0)?, row.get(1)?)))?;
    if size != blob.size {
        return Err(MetadataError::Damaged {
            reason: format!(
                "{} is recorded with {size} bytes and was stored with {}",
                blob.digest, blob.size
            ),
        });
    }
    Ok(id)
}

fn link_row(
    connection: &Connection,
    repository: &RepositoryName,
    blob: i64,
    now: TimeColumn,
) -> Result<(), MetadataError> {
    let repository = repositories::find_or_create(connection, repository, now)?;
    connection
        .prepare_cached(
            "INSERT INTO repository_blobs (repository_id, blob_id, linked_at) VALUES (?1, ?2, ?3)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![repository, blob, now])?;
    Ok(())
}
