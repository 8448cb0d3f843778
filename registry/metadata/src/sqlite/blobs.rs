//! Blobs and the links that make them visible in a repository.

use registry_types::{BlobLocation, Digest, RepositoryName};
use rusqlite::{Connection, OptionalExtension, Row, params};
use time::OffsetDateTime;

use super::{
    BlobKey, Changes,
    columns::{DigestColumn, LocationColumn, SizeColumn, TimeColumn},
    queue::{self, NO_REPOSITORY, QueueKind},
    quotas, removals, repositories,
};
use crate::{BlobRecord, Change, MetadataError, NewBlob};

pub(super) fn find(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<BlobRecord>, MetadataError> {
    let mut statement = connection.prepare_cached(
        "SELECT blobs.digest, blobs.size, blobs.location, repository_blobs.leased_until FROM blobs
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
        "SELECT digest, size, location, leased_until FROM blobs
         WHERE digest = ?1 AND EXISTS (SELECT 1 FROM repository_blobs WHERE blob_id = blobs.id)",
    )?;
    Ok(statement.query_row([DigestColumn(*digest)], read).optional()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<BlobRecord> {
    Ok(BlobRecord {
        digest: row.get::<_, DigestColumn>(0)?.0,
        size: row.get::<_, SizeColumn>(1)?.0,
        location: row.get::<_, LocationColumn>(2)?.0,
        leased_until: row.get::<_, TimeColumn>(3)?.0,
    })
}

pub(super) fn link(
    connection: &Connection,
    repository: &RepositoryName,
    blob: &NewBlob,
    change: &Change,
    changes: &mut Changes,
) -> Result<BlobRecord, MetadataError> {
    let (id, location) = store(connection, blob, change)?;
    let repository_id = repositories::find_or_create(connection, repository, TimeColumn(change.now))?;
    let leased_until = link_row(connection, repository_id, (id, blob.size), change)?;
    queue::put(connection, QueueKind::Link, (repository_id, id), leased_until)?;
    if location != blob.location && blob.location.key().is_some() {
        removals::put(connection, blob.digest, blob.location.clone(), blob.size, change.now)?;
    }
    changes.blobs.push(BlobKey { repository: repository.clone(), digest: blob.digest });
    Ok(BlobRecord { digest: blob.digest, size: blob.size, location, leased_until: leased_until.0 })
}

/// Whether the repository links the blob with these very bytes: only a key tells them from others of the digest.
pub(super) fn is_linked(
    connection: &Connection,
    repository: &RepositoryName,
    blob: &NewBlob,
) -> Result<bool, MetadataError> {
    let found = find(connection, repository, &blob.digest)?;
    Ok(blob.location.key().is_some() && found.is_some_and(|found| found.location == blob.location))
}

pub(super) fn mount(
    connection: &Connection,
    from: Option<&RepositoryName>,
    to: &RepositoryName,
    digest: &Digest,
    change: &Change,
    changes: &mut Changes,
) -> Result<Option<BlobRecord>, MetadataError> {
    let found = match from {
        Some(from) => find(connection, from, digest)?,
        None => find_anywhere(connection, digest)?,
    };
    let Some(blob) = found else { return Ok(None) };
    link(connection, to, &blob.into(), change, changes).map(Some)
}

pub(super) fn unlink(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
    now: OffsetDateTime,
    changes: &mut Changes,
) -> Result<bool, MetadataError> {
    changes.blobs.push(BlobKey { repository: repository.clone(), digest: *digest });
    let ids = connection
        .prepare_cached(
            "SELECT repositories.id, blobs.id FROM repositories JOIN blobs
             WHERE repositories.name = ?1 AND blobs.digest = ?2",
        )?
        .query_row(params![repository.as_str(), DigestColumn(*digest)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    ids.map_or(Ok(false), |(repository, blob)| remove_link(connection, repository, blob, now))
}

/// Removes the row of a link, if it is there, and queues the blob when that was its last.
pub(super) fn remove_link(
    connection: &Connection,
    repository: i64,
    blob: i64,
    now: OffsetDateTime,
) -> Result<bool, MetadataError> {
    let removed = connection
        .prepare_cached("DELETE FROM repository_blobs WHERE repository_id = ?1 AND blob_id = ?2")?
        .execute([repository, blob])?;
    if removed == 0 {
        return Ok(false);
    }
    quotas::unlinked(connection, repository, blob)?;
    let linked = connection
        .prepare_cached("SELECT 1 FROM repository_blobs WHERE blob_id = ?1 LIMIT 1")?
        .exists([blob])?;
    if !linked {
        let TimeColumn(leased_until) = connection
            .prepare_cached("SELECT leased_until FROM blobs WHERE id = ?1")?
            .query_row([blob], |row| row.get(0))?;
        let due_at = TimeColumn(leased_until.max(now));
        queue::put(connection, QueueKind::Blob, (NO_REPOSITORY, blob), due_at)?;
    }
    Ok(true)
}

/// Makes the lease of a link last until `until` at least; false when there is no link.
pub(super) fn renew(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
    until: OffsetDateTime,
    changes: &mut Changes,
) -> Result<bool, MetadataError> {
    let renewed = connection
        .prepare_cached(
            "UPDATE repository_blobs SET leased_until = max(leased_until, ?3)
             WHERE repository_id = (SELECT id FROM repositories WHERE name = ?1)
               AND blob_id = (SELECT id FROM blobs WHERE digest = ?2)",
        )?
        .execute(params![repository.as_str(), DigestColumn(*digest), TimeColumn(until)])?;
    changes.blobs.push(BlobKey { repository: repository.clone(), digest: *digest });
    Ok(renewed > 0)
}

/// The blob's row, made or with its lease renewed, and where its bytes are.
fn store(
    connection: &Connection,
    blob: &NewBlob,
    change: &Change,
) -> Result<(i64, BlobLocation), MetadataError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO blobs (digest, size, location, created_at, leased_until) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (digest) DO UPDATE SET leased_until = max(leased_until, excluded.leased_until)
         RETURNING id, size, location",
    )?;
    let values = params![
        DigestColumn(blob.digest),
        SizeColumn(blob.size),
        LocationColumn(blob.location.clone()),
        TimeColumn(change.now),
        TimeColumn(change.leased_until()),
    ];
    let (id, SizeColumn(size), LocationColumn(location)) =
        statement.query_row(values, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if size != blob.size {
        return Err(MetadataError::Damaged {
            reason: format!(
                "{} is recorded with {size} bytes and was stored with {}",
                blob.digest, blob.size
            ),
        });
    }
    Ok((id, location))
}

/// The link, made or with its lease renewed; gives the end of the lease.
fn link_row(
    connection: &Connection,
    repository: i64,
    (blob, size): (i64, u64),
    change: &Change,
) -> Result<TimeColumn, MetadataError> {
    let leased_until = TimeColumn(change.leased_until());
    let renewed = connection
        .prepare_cached(
            "UPDATE repository_blobs SET leased_until = max(leased_until, ?3)
             WHERE repository_id = ?1 AND blob_id = ?2 RETURNING leased_until",
        )?
        .query_row(params![repository, blob, leased_until], |row| row.get(0))
        .optional()?;
    if let Some(renewed) = renewed {
        return Ok(renewed);
    }
    connection
        .prepare_cached(
            "INSERT INTO repository_blobs (repository_id, blob_id, linked_at, leased_until)
             VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![repository, blob, TimeColumn(change.now), leased_until])?;
    quotas::linked(connection, repository, blob, size)?;
    Ok(leased_until)
}
