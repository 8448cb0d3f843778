//! What repositories use of their quotas: each distinct blob under a prefix counts once.
//!
//! Races: who adds or removes a link holds the blob's row locked, so the number of links to it is steady; the rows
//! of the quotas are locked in the order of their ids before they are changed. Which quotas cover a repository
//! changes only under the exclusive lock of `repository_quotas`, which everyone here reads.

use registry_types::{PathPrefix, RepositoryName};
use tokio_postgres::Row;

use super::{
    columns::{SizeColumn, TextColumn},
    connection::{Connection, WHOLE_TABLES},
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

/// Every quota, by prefix.
pub(super) async fn list(connection: &Connection) -> Result<Vec<QuotaRecord>, Failure> {
    let rows = connection
        .rows("SELECT id, prefix, limit_bytes, used_bytes FROM quotas ORDER BY prefix", &[])
        .await?;
    rows.iter().map(read).collect()
}

/// Whoever links or unlinks reads this table, and so comes before or after the rest of the transaction.
const EXCLUDE_LINKING: &str = "LOCK TABLE repository_quotas IN ACCESS EXCLUSIVE MODE";

/// Sets a limit. A new quota first counts what is there; links wait meanwhile.
pub(super) async fn set(
    connection: &Connection,
    prefix: &PathPrefix,
    limit_bytes: u64,
) -> Result<QuotaRecord, Failure> {
    const SET: &str = "UPDATE quotas SET limit_bytes = $2 WHERE prefix = $1
         RETURNING id, prefix, limit_bytes, used_bytes";
    let prefix = TextColumn(prefix);
    let limit_bytes = SizeColumn(limit_bytes.min(i64::MAX as u64));
    if let Some(row) = connection.row(SET, &[&prefix, &limit_bytes]).await? {
        return read(&row);
    }
    connection.command(WHOLE_TABLES).await?;
    connection.command(EXCLUDE_LINKING).await?;
    // Another may have made it before we had the lock.
    if let Some(row) = connection.row(SET, &[&prefix, &limit_bytes]).await? {
        return read(&row);
    }
    let id: i64 = connection
        .one(
            "INSERT INTO quotas (prefix, limit_bytes) VALUES ($1, $2) RETURNING id",
            &[&prefix, &limit_bytes],
        )
        .await?
        .try_get(0)?;
    count(connection, Some(id)).await?;
    let row = connection
        .one("SELECT id, prefix, limit_bytes, used_bytes FROM quotas WHERE id = $1", &[&id])
        .await?;
    read(&row)
}

pub(super) async fn delete(connection: &Connection, id: i64) -> Result<bool, Failure> {
    connection.command(WHOLE_TABLES).await?;
    connection.command(EXCLUDE_LINKING).await?;
    connection.execute("DELETE FROM quota_blobs WHERE quota_id = $1", &[&id]).await?;
    connection.execute("DELETE FROM repository_quotas WHERE quota_id = $1", &[&id]).await?;
    Ok(connection.execute("DELETE FROM quotas WHERE id = $1", &[&id]).await? > 0)
}

/// Counts for one quota or all of them what is there, while nobody links.
pub(super) async fn count(connection: &Connection, quota: Option<i64>) -> Result<(), Failure> {
    for statement in [
        "INSERT INTO repository_quotas (repository_id, quota_id)
         SELECT repositories.id, quotas.id FROM quotas JOIN repositories
             ON prefix IN ('*', name) OR starts_with(name, prefix || '/')
         WHERE $1::BIGINT IS NULL OR quotas.id = $1",
        "INSERT INTO quota_blobs (quota_id, blob_id, links)
         SELECT quota_id, blob_id, count(*) FROM repository_quotas JOIN repository_blobs USING (repository_id)
         WHERE $1::BIGINT IS NULL OR quota_id = $1 GROUP BY quota_id, blob_id",
        "UPDATE quotas SET used_bytes = (SELECT coalesce(sum(size), 0) FROM quota_blobs
             JOIN blobs ON blobs.id = blob_id WHERE quota_id = quotas.id)
         WHERE $1::BIGINT IS NULL OR quotas.id = $1",
    ] {
        connection.execute(statement, &[&quota]).await?;
    }
    Ok(())
}

/// Bytes that may still be linked; `None` when no quota covers the repository, which need not exist.
pub(super) async fn room(
    connection: &Connection,
    repository: &RepositoryName,
) -> Result<Option<u64>, Failure> {
    let row = connection
        .one(
            "SELECT min(greatest(limit_bytes - used_bytes, 0)) FROM quotas
             WHERE prefix IN ('*', $1::TEXT) OR starts_with($1::TEXT, prefix || '/')",
            &[&repository.as_str()],
        )
        .await?;
    Ok(row.try_get::<_, Option<SizeColumn>>(0)?.map(|column| column.0))
}
