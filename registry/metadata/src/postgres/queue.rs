//! The queue of what may have become garbage. An entry is an invitation to look, not a decision: it may be there
//! without need, and it is there whenever there is need.
//!
//! Locks are taken in one order everywhere: the repository's row, the blob's, the link's or manifest's, the
//! quotas', the queue's. Whoever skips some of them keeps to the order of the rest, so nobody waits in a circle.
//! Collection, which comes from the other side, from the entry to its item, never waits for any of these: what
//! another holds it leaves for the next batch.

use time::OffsetDateTime;

use super::{
    columns::{TimeColumn, limit},
    connection::Connection,
    error::Failure,
};

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

/// When a manifest is looked at that the policy of the moment keeps: once another policy asks for it.
pub(super) const PARKED: i64 = i64::MAX;

/// Entries that are due, the longest waiting first.
pub(super) const DUE: &str = "SELECT repository_id, item_id FROM collection_queue
     WHERE kind = $1 AND due_at <= $2 ORDER BY due_at LIMIT $3";

pub(super) async fn due(
    connection: &Connection,
    kind: QueueKind,
    now: OffsetDateTime,
    at_most: usize,
) -> Result<Vec<(i64, i64)>, Failure> {
    let rows = connection.rows(DUE, &[&(kind as i16), &TimeColumn(now), &limit(at_most)]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Locks an entry that is still due. False: another has it, or it changed.
pub(super) async fn lock(
    connection: &Connection,
    kind: QueueKind,
    (repository, item): (i64, i64),
    now: OffsetDateTime,
) -> Result<bool, Failure> {
    let row = connection
        .row(
            "SELECT 1 FROM collection_queue
             WHERE kind = $1 AND repository_id = $2 AND item_id = $3 AND due_at <= $4 FOR UPDATE SKIP LOCKED",
            &[&(kind as i16), &repository, &item, &TimeColumn(now)],
        )
        .await?;
    Ok(row.is_some())
}

/// Takes an item off the queue.
pub(super) async fn drop_entry(
    connection: &Connection,
    kind: QueueKind,
    (repository, item): (i64, i64),
) -> Result<(), Failure> {
    connection
        .execute(
            "DELETE FROM collection_queue WHERE kind = $1 AND repository_id = $2 AND item_id = $3",
            &[&(kind as i16), &repository, &item],
        )
        .await?;
    Ok(())
}

/// Leaves a manifest until the policy changes.
pub(super) async fn park(connection: &Connection, (repository, item): (i64, i64)) -> Result<(), Failure> {
    connection
        .execute(
            "UPDATE collection_queue SET due_at = $3 WHERE kind = 2 AND repository_id = $1 AND item_id = $2",
            &[&repository, &item, &PARKED],
        )
        .await?;
    Ok(())
}

/// Makes parked manifests due, at most `at_most`.
pub(super) async fn unpark(
    connection: &Connection,
    now: OffsetDateTime,
    at_most: usize,
) -> Result<(), Failure> {
    connection
        .execute(
            "UPDATE collection_queue SET due_at = $1 WHERE (kind, repository_id, item_id) IN
                 (SELECT kind, repository_id, item_id FROM collection_queue
                  WHERE kind = 2 AND due_at = $3 LIMIT $2 FOR UPDATE SKIP LOCKED)",
            &[&TimeColumn(now), &limit(at_most), &PARKED],
        )
        .await?;
    Ok(())
}
