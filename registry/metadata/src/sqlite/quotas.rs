//! Quotas: counted in the transactions that link and unlink blobs, so that what is used is always exact. A blob
//! counts once under a quota, for as long as any repository under it links it.

use registry_types::{PathPrefix, RepositoryName};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::columns::{SizeColumn, TextColumn};
use crate::{MetadataError, QuotaRecord};

type Done = Result<(), MetadataError>;

/// The prefixes that cover a repository, the widest first.
fn prefixes(repository: &RepositoryName) -> impl Iterator<Item = &str> {
    let name = repository.as_str();
    let parents = name.match_indices('/').map(|(slash, _)| &name[..slash]);
    std::iter::once("*").chain(parents).chain(std::iter::once(name))
}

/// Puts a new repository under the quotas that cover it.
pub(super) fn cover(connection: &Connection, id: i64, repository: &RepositoryName) -> Done {
    let mut statement = connection
        .prepare_cached("INSERT INTO repository_quotas SELECT ?1, id FROM quotas WHERE prefix = ?2")?;
    for prefix in prefixes(repository) {
        statement.execute(params![id, prefix])?;
    }
    Ok(())
}

pub(super) const COVERING: &str = "SELECT quota_id FROM repository_quotas WHERE repository_id = ?1";

fn covering(connection: &Connection, repository: i64) -> Result<Vec<i64>, MetadataError> {
    let mut statement = connection.prepare_cached(COVERING)?;
    let rows = statement.query_map([repository], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Counts a new link.
///
/// # Errors
/// [`MetadataError::QuotaExceeded`]: the transaction is to be undone.
pub(super) fn linked(connection: &Connection, repository: i64, blob: i64, size: u64) -> Done {
    for quota in covering(connection, repository)? {
        let links: i64 = connection
            .prepare_cached(
                "INSERT INTO quota_blobs (quota_id, blob_id, links) VALUES (?1, ?2, 1)
                 ON CONFLICT (quota_id, blob_id) DO UPDATE SET links = links + 1 RETURNING links",
            )?
            .query_row([quota, blob], |row| row.get(0))?;
        if links > 1 {
            continue;
        }
        let record = connection
            .prepare_cached(
                "UPDATE quotas SET used_bytes = used_bytes + ?2 WHERE id = ?1
                 RETURNING id, prefix, limit_bytes, used_bytes",
            )?
            .query_row(params![quota, SizeColumn(size)], read)?;
        if record.used_bytes > record.limit_bytes {
            return Err(MetadataError::QuotaExceeded {
                prefix: record.prefix,
                limit: record.limit_bytes,
                used: record.used_bytes - size,
            });
        }
    }
    Ok(())
}

/// Counts a removed link. The blob's row is still there.
pub(super) fn unlinked(connection: &Connection, repository: i64, blob: i64) -> Done {
    for quota in covering(connection, repository)? {
        let others = connection
            .prepare_cached(
                "UPDATE quota_blobs SET links = links - 1 WHERE quota_id = ?1 AND blob_id = ?2 AND links > 1",
            )?
            .execute([quota, blob])?;
        if others == 0 {
            connection
                .prepare_cached("DELETE FROM quota_blobs WHERE quota_id = ?1 AND blob_id = ?2")?
                .execute([quota, blob])?;
            connection
                .prepare_cached(
                    "UPDATE quotas SET used_bytes = used_bytes - (SELECT size FROM blobs WHERE id = ?2)
                     WHERE id = ?1",
                )?
                .execute([quota, blob])?;
        }
    }
    Ok(())
}

pub(super) fn list(connection: &Connection) -> Result<Vec<QuotaRecord>, MetadataError> {
    let mut statement = connection
        .prepare_cached("SELECT id, prefix, limit_bytes, used_bytes FROM quotas ORDER BY prefix")?;
    let rows = statement.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<QuotaRecord> {
    Ok(QuotaRecord {
        id: row.get(0)?,
        prefix: row.get::<_, TextColumn<_>>(1)?.0,
        limit_bytes: row.get::<_, SizeColumn>(2)?.0,
        used_bytes: row.get::<_, SizeColumn>(3)?.0,
    })
}

pub(super) fn set(
    connection: &Connection,
    prefix: &PathPrefix,
    limit: u64,
) -> Result<QuotaRecord, MetadataError> {
    // A limit past the largest number of a column is no limit that anybody could reach.
    let limit = SizeColumn(limit.min(i64::MAX as u64));
    let changed: Option<QuotaRecord> = connection
        .prepare_cached(
            "UPDATE quotas SET limit_bytes = ?2 WHERE prefix = ?1
             RETURNING id, prefix, limit_bytes, used_bytes",
        )?
        .query_row(params![TextColumn(prefix), limit], read)
        .optional()?;
    if let Some(changed) = changed {
        return Ok(changed);
    }
    connection
        .prepare_cached("INSERT INTO quotas (prefix, limit_bytes) VALUES (?1, ?2)")?
        .execute(params![TextColumn(prefix), limit])?;
    let id = connection.last_insert_rowid();
    fill(connection, id, prefix)?;
    Ok(connection
        .prepare_cached("SELECT id, prefix, limit_bytes, used_bytes FROM quotas WHERE id = ?1")?
        .query_row([id], read)?)
}

pub(super) const REPOSITORIES_BELOW: &str = "INSERT INTO repository_quotas SELECT id, ?1 FROM repositories WHERE name > ?2 || '/' AND name < ?2 || '0'";

/// Counts what is there under a quota that has counted nothing so far.
fn fill(connection: &Connection, id: i64, prefix: &PathPrefix) -> Done {
    match prefix.path() {
        None => {
            connection
                .prepare_cached("INSERT INTO repository_quotas SELECT id, ?1 FROM repositories")?
                .execute([id])?;
        }
        Some(path) => {
            connection
                .prepare_cached(
                    "INSERT INTO repository_quotas SELECT id, ?1 FROM repositories WHERE name = ?2",
                )?
                .execute(params![id, path.as_str()])?;
            // What begins with a slash behind the path: the digit 0 is the character behind the slash.
            connection.prepare_cached(REPOSITORIES_BELOW)?.execute(params![id, path.as_str()])?;
        }
    }
    connection
        .prepare_cached(
            "INSERT INTO quota_blobs (quota_id, blob_id, links)
             SELECT ?1, repository_blobs.blob_id, count(*)
             FROM repository_quotas JOIN repository_blobs USING (repository_id)
             WHERE repository_quotas.quota_id = ?1 GROUP BY repository_blobs.blob_id",
        )?
        .execute([id])?;
    connection
        .prepare_cached(
            "UPDATE quotas SET used_bytes =
                 (SELECT coalesce(sum(blobs.size), 0) FROM quota_blobs
                  JOIN blobs ON blobs.id = quota_blobs.blob_id WHERE quota_blobs.quota_id = ?1)
             WHERE id = ?1",
        )?
        .execute([id])?;
    Ok(())
}

/// Counts everything anew, for rows that came from another store.
pub(super) fn recount(connection: &Connection) -> Done {
    connection.execute_batch("DELETE FROM quota_blobs; DELETE FROM repository_quotas")?;
    for quota in list(connection)? {
        fill(connection, quota.id, &quota.prefix)?;
    }
    Ok(())
}

pub(super) fn delete(connection: &Connection, id: i64) -> Result<bool, MetadataError> {
    for statement in
        ["DELETE FROM quota_blobs WHERE quota_id = ?1", "DELETE FROM repository_quotas WHERE quota_id = ?1"]
    {
        connection.prepare_cached(statement)?.execute([id])?;
    }
    Ok(connection.prepare_cached("DELETE FROM quotas WHERE id = ?1")?.execute([id])? > 0)
}

/// By the name: a repository that is not there yet has room too.
pub(super) fn room(
    connection: &Connection,
    repository: &RepositoryName,
) -> Result<Option<u64>, MetadataError> {
    let mut statement = connection
        .prepare_cached("SELECT id, prefix, limit_bytes, used_bytes FROM quotas WHERE prefix = ?1")?;
    let mut least: Option<u64> = None;
    for prefix in prefixes(repository) {
        if let Some(quota) = statement.query_row([prefix], read).optional()? {
            let room = quota.limit_bytes.saturating_sub(quota.used_bytes);
            least = Some(least.map_or(room, |least| least.min(room)));
        }
    }
    Ok(least)
}
