//! Blobs and the links that make them visible in a repository.
//!
//! Races: linking takes the row lock of the blob and adds a row; two who link the same blob to one repository meet
//! at the primary key, and the later does nothing. Unlinking takes the repository's lock, so it stands before or
//! after a push of a manifest that checks the link (see `manifests`), never within it.

use std::time::Duration;

use registry_types::{Digest, RepositoryName, UploadId};
use tokio_postgres::Row;

use super::{
    columns::{DigestColumn, SizeColumn, TimeColumn},
    connection::Connection,
    error::Failure,
    repositories, uploads,
};
use crate::{BlobRecord, MetadataError};

/// The blob as `from` links it, locked: what is collected at the same time is either gone before or kept by the
/// link that follows.
const LOCK_LINKED: &str = "SELECT blobs.digest, blobs.size FROM blobs
     JOIN repository_blobs ON repository_blobs.blob_id = blobs.id
     JOIN repositories ON repositories.id = repository_blobs.repository_id
     WHERE repositories.name = $1 AND blobs.digest = $2 FOR NO KEY UPDATE OF blobs";
const LOCK_ANYWHERE: &str = "SELECT digest, size FROM blobs
     WHERE digest = $1 AND EXISTS (SELECT 1 FROM repository_blobs WHERE blob_id = blobs.id) FOR NO KEY UPDATE";

/// How long a blob is kept from collection after it was linked, though no manifest names it: the time a slow
/// client may take from its first layer to its manifest.
const LEASE: Duration = Duration::from_hours(24);

pub(super) async fn find(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<BlobRecord>, Failure> {
    let row = connection
        .row(
            "SELECT blobs.digest, blobs.size FROM blobs
             JOIN repository_blobs ON repository_blobs.blob_id = blobs.id
             JOIN repositories ON repositories.id = repository_blobs.repository_id
             WHERE repositories.name = $1 AND blobs.digest = $2",
            &[&repository.as_str(), &DigestColumn(*digest)],
        )
        .await?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn find_anywhere(
    connection: &Connection,
    digest: &Digest,
) -> Result<Option<BlobRecord>, Failure> {
    let row = connection
        .row(
            "SELECT digest, size FROM blobs
             WHERE digest = $1 AND EXISTS (SELECT 1 FROM repository_blobs WHERE blob_id = blobs.id)",
            &[&DigestColumn(*digest)],
        )
        .await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<BlobRecord, Failure> {
    Ok(BlobRecord { digest: row.try_get::<_, DigestColumn>(0)?.0, size: row.try_get::<_, SizeColumn>(1)?.0 })
}

pub(super) async fn link(
    connection: &Connection,
    repository: &RepositoryName,
    blob: &BlobRecord,
    upload: Option<&UploadId>,
) -> Result<(), Failure> {
    let now = TimeColumn::now();
    let id = store(connection, blob, now).await?;
    let repository_id = repositories::find_or_create(connection, repository, now).await?;
    connection
        .execute(
            "INSERT INTO repository_blobs (repository_id, blob_id, linked_at) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
            &[&repository_id, &id, &now],
        )
        .await?;
    if let Some(upload) = upload {
        uploads::delete(connection, repository, upload).await?;
    }
    Ok(())
}

pub(super) async fn mount(
    connection: &Connection,
    from: Option<&RepositoryName>,
    to: &RepositoryName,
    digest: &Digest,
) -> Result<Option<BlobRecord>, Failure> {
    let digest = DigestColumn(*digest);
    let row = match from {
        Some(from) => connection.row(LOCK_LINKED, &[&from.as_str(), &digest]).await?,
        None => connection.row(LOCK_ANYWHERE, &[&digest]).await?,
    };
    let found = row.as_ref().map(read).transpose()?;
    if let Some(blob) = &found {
        link(connection, to, blob, None).await?;
    }
    Ok(found)
}

pub(super) async fn unlink(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<bool, Failure> {
    let Some(repository) = repositories::lock(connection, repository).await? else { return Ok(false) };
    let removed = connection
        .execute(
            "DELETE FROM repository_blobs
             WHERE repository_id = $1 AND blob_id = (SELECT id FROM blobs WHERE digest = $2)",
            &[&repository, &DigestColumn(*digest)],
        )
        .await?;
    Ok(removed > 0)
}

/// The blob's row, made or with its lease renewed, and locked.
async fn store(connection: &Connection, blob: &BlobRecord, now: TimeColumn) -> Result<i64, Failure> {
    let row = connection
        .one(
            "INSERT INTO blobs (digest, size, created_at, leased_until) VALUES ($1, $2, $3, $4)
             ON CONFLICT (digest) DO UPDATE SET leased_until = excluded.leased_until
             RETURNING id, size",
            &[&DigestColumn(blob.digest), &SizeColumn(blob.size), &now, &TimeColumn(now.0 + LEASE)],
        )
        .await?;
    let SizeColumn(size) = row.try_get(1)?;
    if size != blob.size {
        let reason =
            format!("{} is recorded with {size} bytes and was stored with {}", blob.digest, blob.size);
        return Err(MetadataError::Damaged { reason }.into());
    }
    Ok(row.try_get(0)?)
}
