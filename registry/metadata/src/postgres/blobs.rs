//! Blobs and the links that make them visible in a repository.
//!
//! Races: whoever adds or removes a link holds the row of the blob locked. So two who add the same link come one
//! after the other, of two who remove the last two links the later sees that none is left, and a blob that is
//! mounted is not collected in between. Removing takes the repository's lock before, so it stands before or after
//! a push of a manifest that checks the link (see `manifests`), never within it.

use registry_types::{BlobLocation, Digest, RepositoryName, UploadId};
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::{
    columns::{DigestColumn, LocationColumn, SizeColumn, TimeColumn},
    connection::Connection,
    error::Failure,
    queue::{self, NO_REPOSITORY, QueueKind},
    quotas, removals, repositories, uploads,
};
use crate::{BlobRecord, Change, MetadataError, NewBlob};

pub(super) const FIND: &str =
    "SELECT blobs.digest, blobs.size, blobs.location, repository_blobs.leased_until FROM blobs
     JOIN repository_blobs ON repository_blobs.blob_id = blobs.id
     JOIN repositories ON repositories.id = repository_blobs.repository_id
     WHERE repositories.name = $1 AND blobs.digest = $2";

pub(super) const FIND_ANYWHERE: &str = "SELECT digest, size, location, leased_until FROM blobs
     WHERE digest = $1 AND EXISTS (SELECT 1 FROM repository_blobs WHERE blob_id = blobs.id)";

/// As above, and the blob's row is locked.
const LOCK: &str = "SELECT blobs.digest, blobs.size, blobs.location, repository_blobs.leased_until FROM blobs
     JOIN repository_blobs ON repository_blobs.blob_id = blobs.id
     JOIN repositories ON repositories.id = repository_blobs.repository_id
     WHERE repositories.name = $1 AND blobs.digest = $2 FOR NO KEY UPDATE OF blobs";

const LOCK_ANYWHERE: &str = "SELECT digest, size, location, leased_until FROM blobs
     WHERE digest = $1 AND EXISTS (SELECT 1 FROM repository_blobs WHERE blob_id = blobs.id)
     FOR NO KEY UPDATE";

pub(super) async fn find(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<BlobRecord>, Failure> {
    let row = connection.row(FIND, &[&repository.as_str(), &DigestColumn(*digest)]).await?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn find_anywhere(
    connection: &Connection,
    digest: &Digest,
) -> Result<Option<BlobRecord>, Failure> {
    let row = connection.row(FIND_ANYWHERE, &[&DigestColumn(*digest)]).await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<BlobRecord, Failure> {
    Ok(BlobRecord {
        digest: row.try_get::<_, DigestColumn>(0)?.0,
        size: row.try_get::<_, SizeColumn>(1)?.0,
        location: row.try_get::<_, LocationColumn>(2)?.0,
        leased_until: row.try_get::<_, TimeColumn>(3)?.0,
    })
}

pub(super) async fn link(
    connection: &Connection,
    repository: &RepositoryName,
    blob: &NewBlob,
    upload: Option<(&UploadId, u64)>,
    change: &Change,
) -> Result<BlobRecord, Failure> {
    if let Some((id, writer)) = upload
        && !uploads::end(connection, repository, id, writer).await?
        && !is_linked(connection, repository, blob).await?
    {
        return Err(MetadataError::UploadLost { id: *id }.into());
    }
    let (id, location) = store(connection, blob, change).await?;
    let repository_id = repositories::find_or_create(connection, repository, TimeColumn(change.now)).await?;
    let leased_until = link_row(connection, repository_id, (id, blob.size), change).await?;
    queue::put(connection, QueueKind::Link, (repository_id, id), leased_until).await?;
    if location != blob.location && blob.location.key().is_some() {
        removals::put(connection, blob.digest, blob.location.clone(), blob.size, change.now).await?;
    }
    Ok(BlobRecord { digest: blob.digest, size: blob.size, location, leased_until })
}

/// Whether the repository links the blob with these very bytes: only a key tells them from others of the digest.
async fn is_linked(
    connection: &Connection,
    repository: &RepositoryName,
    blob: &NewBlob,
) -> Result<bool, Failure> {
    let found = find(connection, repository, &blob.digest).await?;
    Ok(blob.location.key().is_some() && found.is_some_and(|found| found.location == blob.location))
}

pub(super) async fn mount(
    connection: &Connection,
    from: Option<&RepositoryName>,
    to: &RepositoryName,
    digest: &Digest,
    change: &Change,
) -> Result<Option<BlobRecord>, Failure> {
    let digest = DigestColumn(*digest);
    let row = match from {
        Some(from) => connection.row(LOCK, &[&from.as_str(), &digest]).await?,
        None => connection.row(LOCK_ANYWHERE, &[&digest]).await?,
    };
    let Some(row) = row else { return Ok(None) };
    link(connection, to, &read(&row)?.into(), None, change).await.map(Some)
}

pub(super) async fn unlink(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
    now: OffsetDateTime,
) -> Result<bool, Failure> {
    let Some(repository) = repositories::lock(connection, repository).await? else { return Ok(false) };
    let blob = connection
        .row(
            "SELECT id, size, leased_until FROM blobs WHERE digest = $1 FOR NO KEY UPDATE",
            &[&DigestColumn(*digest)],
        )
        .await?;
    let Some(blob) = blob else { return Ok(false) };
    remove_link(connection, repository, &LockedBlob::read(&blob)?, now).await
}

/// A blob whose row is locked.
#[derive(Debug)]
pub(super) struct LockedBlob {
    pub(super) id: i64,
    pub(super) size: u64,
    pub(super) leased_until: OffsetDateTime,
}

impl LockedBlob {
    /// From id, size and lease.
    pub(super) fn read(row: &Row) -> Result<Self, Failure> {
        let (SizeColumn(size), TimeColumn(leased_until)) = (row.try_get(1)?, row.try_get(2)?);
        Ok(Self { id: row.try_get(0)?, size, leased_until })
    }
}

/// Removes the row of a link, if it is there, and queues the blob when that was its last.
pub(super) async fn remove_link(
    connection: &Connection,
    repository: i64,
    blob: &LockedBlob,
    now: OffsetDateTime,
) -> Result<bool, Failure> {
    let removed = connection
        .execute(
            "DELETE FROM repository_blobs WHERE repository_id = $1 AND blob_id = $2",
            &[&repository, &blob.id],
        )
        .await?;
    if removed == 0 {
        return Ok(false);
    }
    quotas::release(connection, repository, (blob.id, blob.size)).await?;
    let linked =
        connection.row("SELECT 1 FROM repository_blobs WHERE blob_id = $1 LIMIT 1", &[&blob.id]).await?;
    if linked.is_none() {
        let due_at = blob.leased_until.max(now);
        queue::put(connection, QueueKind::Blob, (NO_REPOSITORY, blob.id), due_at).await?;
    }
    Ok(true)
}

/// Makes the lease of a link last until `until` at least; false when there is no link. Twice the same is the same.
pub(super) async fn renew(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
    until: OffsetDateTime,
) -> Result<bool, Failure> {
    let renewed = connection
        .execute(
            "UPDATE repository_blobs SET leased_until = greatest(leased_until, $3::BIGINT)
             WHERE repository_id = (SELECT id FROM repositories WHERE name = $1)
               AND blob_id = (SELECT id FROM blobs WHERE digest = $2)",
            &[&repository.as_str(), &DigestColumn(*digest), &TimeColumn(until)],
        )
        .await?;
    Ok(renewed > 0)
}

/// The blob's row, made or with its lease renewed, and locked; and where its bytes are.
async fn store(
    connection: &Connection,
    blob: &NewBlob,
    change: &Change,
) -> Result<(i64, BlobLocation), Failure> {
    let row = connection
        .one(
            "INSERT INTO blobs (digest, size, location, created_at, leased_until) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (digest)
             DO UPDATE SET leased_until = greatest(blobs.leased_until, excluded.leased_until)
             RETURNING id, size, location",
            &[
                &DigestColumn(blob.digest),
                &SizeColumn(blob.size),
                &LocationColumn(blob.location.clone()),
                &TimeColumn(change.now),
                &TimeColumn(change.leased_until()),
            ],
        )
        .await?;
    let SizeColumn(size) = row.try_get(1)?;
    if size != blob.size {
        let reason =
            format!("{} is recorded with {size} bytes and was stored with {}", blob.digest, blob.size);
        return Err(MetadataError::Damaged { reason }.into());
    }
    let LocationColumn(location) = row.try_get(2)?;
    Ok((row.try_get(0)?, location))
}

/// The link, made or with its lease renewed; gives the end of the lease.
async fn link_row(
    connection: &Connection,
    repository: i64,
    (blob, size): (i64, u64),
    change: &Change,
) -> Result<OffsetDateTime, Failure> {
    let leased_until = TimeColumn(change.leased_until());
    let renewed = connection
        .row(
            "UPDATE repository_blobs SET leased_until = greatest(leased_until, $3::BIGINT)
             WHERE repository_id = $1 AND blob_id = $2 RETURNING leased_until",
            &[&repository, &blob, &leased_until],
        )
        .await?;
    if let Some(row) = renewed {
        let TimeColumn(leased_until) = row.try_get(0)?;
        return Ok(leased_until);
    }
    connection
        .execute(
            "INSERT INTO repository_blobs (repository_id, blob_id, linked_at, leased_until)
             VALUES ($1, $2, $3, $4)",
            &[&repository, &blob, &TimeColumn(change.now), &leased_until],
        )
        .await?;
    quotas::take(connection, repository, (blob, size)).await?;
    Ok(leased_until.0)
}
