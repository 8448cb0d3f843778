//! Where collection stands: what is queued, and the bytes that wait to be removed.

use std::time::Duration;

use registry_types::{BlobLocation, Digest};
use rusqlite::{Connection, Row, params};
use time::OffsetDateTime;

use super::{
    columns::{DigestColumn, LocationColumn, SizeColumn, TimeColumn},
    counters,
    queue::PARKED,
};
use crate::{BlobRemoval, CollectionStatus, KindCounts, MetadataError, later};

pub(super) fn status(
    connection: &Connection,
    now: OffsetDateTime,
) -> Result<CollectionStatus, MetadataError> {
    let transaction = connection.unchecked_transaction()?;
    let mut status = CollectionStatus::default();
    for (kind, field) in [
        (1, (|counts| &mut counts.links) as fn(&mut KindCounts) -> &mut u64),
        (2, |counts| &mut counts.manifests),
        (3, |counts| &mut counts.blobs),
    ] {
        let (SizeColumn(due), oldest) = transaction
            .prepare_cached(
                "SELECT count(*), min(due_at) FROM collection_queue WHERE kind = ?1 AND due_at <= ?2",
            )?
            .query_row(params![kind, TimeColumn(now)], |row| {
                Ok((row.get(0)?, row.get::<_, Option<TimeColumn>>(1)?.map(|column| column.0)))
            })?;
        let SizeColumn(queued) = transaction
            .prepare_cached("SELECT count(*) FROM collection_queue WHERE kind = ?1 AND due_at < ?2")?
            .query_row([kind, PARKED], |row| row.get(0))?;
        *field(&mut status.due) = due;
        *field(&mut status.queued) = queued;
        status.oldest_due = status.oldest_due.into_iter().chain(oldest).min();
    }
    let SizeColumn(parked) = transaction
        .prepare_cached("SELECT count(*) FROM collection_queue WHERE kind = 2 AND due_at = ?1")?
        .query_row([PARKED], |row| row.get(0))?;
    let counters = counters::read(&transaction)?;
    Ok(CollectionStatus {
        untagged_kept: parked,
        removals: counters.get("removals"),
        removal_bytes: counters.get("removal_bytes"),
        collected: KindCounts {
            links: counters.get("collected_links"),
            manifests: counters.get("collected_manifests"),
            blobs: counters.get("collected_blobs"),
        },
        collected_bytes: counters.get("collected_bytes"),
        ..status
    })
}

/// Puts bytes on the list that no row names.
pub(super) fn put(
    connection: &Connection,
    digest: Digest,
    location: BlobLocation,
    size: u64,
    now: OffsetDateTime,
) -> Result<(), MetadataError> {
    connection
        .prepare_cached(
            "INSERT INTO blob_removals (digest, location, size, next_attempt_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (digest, location) DO UPDATE SET next_attempt_at = excluded.next_attempt_at",
        )?
        .execute(params![
            DigestColumn(digest),
            LocationColumn(location),
            SizeColumn(size),
            TimeColumn(now)
        ])?;
    Ok(())
}

pub(super) const TAKE: &str = "UPDATE blob_removals SET next_attempt_at = ?2 WHERE id IN
         (SELECT id FROM blob_removals WHERE next_attempt_at <= ?1 ORDER BY next_attempt_at, id LIMIT ?3)
     RETURNING id, digest, location, size";

pub(super) fn take(
    connection: &Connection,
    now: OffsetDateTime,
    hold: Duration,
    limit: usize,
) -> Result<Vec<BlobRemoval>, MetadataError> {
    let mut statement = connection.prepare_cached(TAKE)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![TimeColumn(now), TimeColumn(later(now, hold)), limit], read)?;
    let mut removals = rows.collect::<Result<Vec<_>, _>>()?;
    removals.sort_by_key(|removal| removal.id);
    Ok(removals)
}

fn read(row: &Row<'_>) -> rusqlite::Result<BlobRemoval> {
    Ok(BlobRemoval {
        id: row.get(0)?,
        digest: row.get::<_, DigestColumn>(1)?.0,
        location: row.get::<_, LocationColumn>(2)?.0,
        size: row.get::<_, SizeColumn>(3)?.0,
    })
}

pub(super) fn wanted(connection: &Connection, removal: &BlobRemoval) -> Result<bool, MetadataError> {
    let stands = connection
        .prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1 AND location = ?2")?
        .exists(params![DigestColumn(removal.digest), LocationColumn(removal.location.clone())])?;
    Ok(!stands)
}

pub(super) fn finish(connection: &Connection, id: i64) -> Result<(), MetadataError> {
    connection.prepare_cached("DELETE FROM blob_removals WHERE id = ?1")?.execute([id])?;
    Ok(())
}
