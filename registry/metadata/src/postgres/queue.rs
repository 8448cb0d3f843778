//! The queue of what may have become garbage. An entry is an invitation to look, not a decision: it may be there
//! without need, and it is there whenever there is need.
//!
//! Locks are taken in one order everywhere: the repository's row, the blob's, the link's or manifest's, the
//! quotas', the queue's. Whoever skips some of them keeps to the order of the rest, so nobody waits in a circle.
//! Collection, which comes from the other side, from the entry to its item, never waits for any of these: what
//! another holds it leaves for the next batch.

use time::OffsetDateTime;

use super::{columns::TimeColumn, connection::Connection, error::Failure};

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
pub(super) async fn put(
    connection: &Connection,
    kind: QueueKind,
    (repository, item): (i64, i64),
    due_at: OffsetDateTime,
) -> Result<(), Failure> {
    connection
        .execute(
            "INSERT INTO collection_queue (kind, repository_id, item_id, due_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (kind, repository_id, item_id) DO UPDATE SET due_at = excluded.due_at",
            &[&(kind as i16), &repository, &item, &TimeColumn(due_at)],
        )
        .await?;
    Ok(())
}
