//! What repositories use of their quotas: each distinct blob under a prefix counts once.
//!
//! Races: who adds or removes a link holds the blob's row locked, so the number of links to it is steady; the rows
//! of the quotas are locked in the order of their ids before they are changed. Which quotas cover a repository
//! changes only under the exclusive lock of `repository_quotas`, which everyone here reads.

use registry_types::{PathPrefix, RepositoryName};
use tokio_postgres::Row;

use super::{
    columns::{SizeColumn, TextColumn},
    connection::Connection,
    error::Failure,
};
use crate::{MetadataError, QuotaRecord};

/// The quotas that cover a repository, locked.
const LOCK_COVERING: &str = "SELECT quotas.id, prefix, limit_bytes, used_bytes FROM quotas
     JOIN repository_quotas ON repository_quotas.quota_id = quotas.id
     WHERE repository_quotas.repository_id = $1 ORDER BY quotas.id FOR NO KEY UPDATE OF quotas";

/// Notes which quotas cover a new repository.
pub(super) async fn cover(
    connection: &Connection,
    repository: i64,
    name: &RepositoryName,
) -> Result<(), Failure> {
    connection
        .execute(
            "INSERT INTO repository_quotas (repository_id, quota_id)
             SELECT $1::BIGINT, id FROM quotas WHERE prefix IN ('*', $2::TEXT) OR starts_with($2::TEXT, prefix || '/')",
            &[&repository, &name.as_str()],
        )
        .await?;
    Ok(())
}

/// Counts a new link. An error: a quota has no room for the blob.
pub(super) async fn take(
    connection: &Connection,
    repository: i64,
    (blob, size): (i64, u64),
) -> Result<(), Failure> {
    for row in connection.rows(LOCK_COVERING, &[&repository]).await? {
        let quota = read(&row)?;
        let links: i64 = connection
            .one(
                "INSERT INTO quota_blobs (quota_id, blob_id, links) VALUES ($1, $2, 1)
                 ON CONFLICT (quota_id, blob_id) DO UPDATE SET links = quota_blobs.links + 1
                 RETURNING links",
                &[&quota.id, &blob],
            )
            .await?
            .try_get(0)?;
        if links > 1 {
            continue;
        }
        let used = quota.used_bytes.saturating_add(size);
        if used > quota.limit_bytes {
            let QuotaRecord { prefix, limit_bytes: limit, used_bytes: used, .. } = quota;
            return Err(MetadataError::QuotaExceeded { prefix, limit, used }.into());
        }
        use_bytes(connection, quota.id, used).await?;
    }
    Ok(())
}

/// Counts a link that is no more.
pub(super) async fn release(
    connection: &Connection,
    repository: i64,
    (blob, size): (i64, u64),
) -> Result<(), Failure> {
    for row in connection.rows(LOCK_COVERING, &[&repository]).await? {
        let quota = read(&row)?;
        let last = connection
            .execute(
                "DELETE FROM quota_blobs WHERE quota_id = $1 AND blob_id = $2 AND links = 1",
                &[&quota.id, &blob],
            )
            .await?;
        if last == 0 {
            let others = "UPDATE quota_blobs SET links = links - 1 WHERE quota_id = $1 AND blob_id = $2";
            connection.execute(others, &[&quota.id, &blob]).await?;
        } else {
            use_bytes(connection, quota.id, quota.used_bytes.saturating_sub(size)).await?;
        }
    }
    Ok(())
}

async fn use_bytes(connection: &Connection, quota: i64, used: u64) -> Result<(), Failure> {
    connection
        .execute("UPDATE quotas SET used_bytes = $2 WHERE id = $1", &[&quota, &SizeColumn(used)])
        .await?;
    Ok(())
}

fn read(row: &Row) -> Result<QuotaRecord, Failure> {
    Ok(QuotaRecord {
        id: row.try_get(0)?,
        prefix: row.try_get::<_, TextColumn<PathPrefix>>(1)?.0,
        limit_bytes: row.try_get::<_, SizeColumn>(2)?.0,
        used_bytes: row.try_get::<_, SizeColumn>(3)?.0,
    })
}
