//! The queue of what may have become garbage. An entry is an invitation to look, not a decision: it may be there
//! without need, and it is there whenever there is need.

use rusqlite::{Connection, params};
use time::OffsetDateTime;

use super::columns::TimeColumn;
use crate::MetadataError;

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueueKind {
    /// The link of a blob to a repository; the item is the blob.
    Link = 1,
    Manifest = 2,
    /// A blob that no repository links.
    Blob = 3,
}

/// The repository of entries that have none.
pub(super) const NO_REPOSITORY: i64 = 0;

/// When a manifest is looked at that the policy of the moment keeps: once another policy asks for it.
pub(super) const PARKED: i64 = i64::MAX;

/// Queues an item, or changes when it is looked at.
pub(super) fn put(
    connection: &Connection,
    kind: QueueKind,
    (repository, item): (i64, i64),
    due_at: TimeColumn,
) -> Result<(), MetadataError> {
    connection
        .prepare_cached(
            "INSERT INTO collection_queue (kind, repository_id, item_id, due_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (kind, repository_id, item_id) DO UPDATE SET due_at = excluded.due_at",
        )?
        .execute(params![kind as i64, repository, item, due_at])?;
    Ok(())
}

/// Entries that are due, the longest waiting first.
pub(super) const DUE: &str = "SELECT repository_id, item_id FROM collection_queue
     WHERE kind = ?1 AND due_at <= ?2 ORDER BY due_at LIMIT ?3";

pub(super) fn due(
    connection: &Connection,
    kind: QueueKind,
    now: OffsetDateTime,
    limit: usize,
) -> Result<Vec<(i64, i64)>, MetadataError> {
    let mut statement = connection.prepare_cached(DUE)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement
        .query_map(params![kind as i64, TimeColumn(now), limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Takes an item off the queue.
pub(super) fn drop_entry(
    connection: &Connection,
    kind: QueueKind,
    (repository, item): (i64, i64),
) -> Result<(), MetadataError> {
    connection
        .prepare_cached(
            "DELETE FROM collection_queue WHERE kind = ?1 AND repository_id = ?2 AND item_id = ?3",
        )?
        .execute([kind as i64, repository, item])?;
    Ok(())
}

/// Leaves a manifest until the policy changes.
pub(super) fn park(connection: &Connection, (repository, item): (i64, i64)) -> Result<(), MetadataError> {
    connection
        .prepare_cached(
            "UPDATE collection_queue SET due_at = ?3 WHERE kind = 2 AND repository_id = ?1 AND item_id = ?2",
        )?
        .execute([repository, item, PARKED])?;
    Ok(())
}

pub(super) const UNPARK: &str = "UPDATE collection_queue SET due_at = ?1
     WHERE (kind, repository_id, item_id) IN
         (SELECT kind, repository_id, item_id FROM collection_queue
          WHERE kind = 2 AND due_at = 9223372036854775807 LIMIT ?2)";

/// Makes parked manifests due, at most `limit`.
pub(super) fn unpark(
    connection: &Connection,
    now: OffsetDateTime,
    limit: usize,
) -> Result<(), MetadataError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection.prepare_cached(UNPARK)?.execute(params![TimeColumn(now), limit])?;
    Ok(())
}
