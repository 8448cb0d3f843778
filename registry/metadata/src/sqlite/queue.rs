//! The queue of what may have become garbage. An entry is an invitation to look, not a decision: it may be there
//! without need, and it is there whenever there is need.

use rusqlite::{Connection, params};

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
