//! Where collection stands: what is queued, and the bytes that wait to be removed.

use std::{collections::HashMap, time::Duration};

use registry_types::{BlobLocation, Digest};
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::{
    columns::{DigestColumn, LocationColumn, SizeColumn, TimeColumn, limit},
    connection::Connection,
    error::Failure,
    queue::PARKED,
};
use crate::{BlobRemoval, CollectionStatus, Counts, KindCounts, later};

/// Totals that triggers keep.
struct Counters(HashMap<String, u64>);

impl Counters {
    fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }
}

async fn counters(connection: &Connection) -> Result<Counters, Failure> {
    let rows = connection.rows("SELECT name, sum(value)::BIGINT FROM counters GROUP BY name", &[]).await?;
    let read = |row: &Row| Ok((row.try_get(0)?, row.try_get::<_, SizeColumn>(1)?.0));
    Ok(Counters(rows.iter().map(read).collect::<Result<_, Failure>>()?))
}

pub(super) async fn counts(connection: &Connection) -> Result<Counts, Failure> {
    let counters = counters(connection).await?;
    Ok(Counts {
        repositories: counters.get("repositories"),
        manifests: counters.get("manifests"),
        tags: counters.get("tags"),
        blobs: counters.get("blobs"),
        blob_bytes: counters.get("blob_bytes"),
        uploads: counters.get("uploads"),
        queued: counters.get("queued"),
        removals: counters.get("removals"),
        events: counters.get("events"),
    })
}

/// To be asked within a transaction that sees one moment.
pub(super) async fn status(
    connection: &Connection,
    now: OffsetDateTime,
) -> Result<CollectionStatus, Failure> {
    let rows = connection
        .rows(
            "SELECT kind, count(*) FILTER (WHERE due_at < $2), count(*) FILTER (WHERE due_at <= $1),
                 min(due_at) FILTER (WHERE due_at <= $1), count(*) FILTER (WHERE due_at = $2)
             FROM collection_queue GROUP BY kind",
            &[&TimeColumn(now), &PARKED],
        )
        .await?;
    let mut status = CollectionStatus::default();
    for row in &rows {
        let kind: i16 = row.try_get(0)?;
        let field: fn(&mut KindCounts) -> &mut u64 = match kind {
            1 => |counts| &mut counts.links,
            2 => |counts| &mut counts.manifests,
            _ => |counts| &mut counts.blobs,
        };
        *field(&mut status.queued) = row.try_get::<_, SizeColumn>(1)?.0;
        *field(&mut status.due) = row.try_get::<_, SizeColumn>(2)?.0;
        let oldest = row.try_get::<_, Option<TimeColumn>>(3)?.map(|column| column.0);
        status.oldest_due = status.oldest_due.into_iter().chain(oldest).min();
        status.untagged_kept += row.try_get::<_, SizeColumn>(4)?.0;
    }
    let counters = counters(connection).await?;
    Ok(CollectionStatus {
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

pub(super) async fn put(
    connection: &Connection,
    digest: Digest,
    location: BlobLocation,
    size: u64,
    now: OffsetDateTime,
) -> Result<(), Failure> {
    connection
        .execute(
            "INSERT INTO blob_removals (digest, location, size, next_attempt_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (digest, location) DO UPDATE SET next_attempt_at = excluded.next_attempt_at",
            &[&DigestColumn(digest), &LocationColumn(location), &SizeColumn(size), &TimeColumn(now)],
        )
        .await?;
    Ok(())
}

pub(super) const TAKE: &str = "UPDATE blob_removals SET next_attempt_at = $2 WHERE id IN
         (SELECT id FROM blob_removals WHERE next_attempt_at <= $1
          ORDER BY next_attempt_at, id LIMIT $3 FOR UPDATE SKIP LOCKED)
     RETURNING id, digest, location, size";

pub(super) async fn take(
    connection: &Connection,
    now: OffsetDateTime,
    hold: Duration,
    at_most: usize,
) -> Result<Vec<BlobRemoval>, Failure> {
    let values = (TimeColumn(now), TimeColumn(later(now, hold)), limit(at_most));
    let rows = connection.rows(TAKE, &[&values.0, &values.1, &values.2]).await?;
    let mut removals = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    removals.sort_by_key(|removal| removal.id);
    Ok(removals)
}

fn read(row: &Row) -> Result<BlobRemoval, Failure> {
    Ok(BlobRemoval {
        id: row.try_get(0)?,
        digest: row.try_get::<_, DigestColumn>(1)?.0,
        location: row.try_get::<_, LocationColumn>(2)?.0,
        size: row.try_get::<_, SizeColumn>(3)?.0,
    })
}

pub(super) async fn wanted(connection: &Connection, removal: &BlobRemoval) -> Result<bool, Failure> {
    let stands = connection
        .row(
            "SELECT 1 FROM blobs WHERE digest = $1 AND location = $2",
            &[&DigestColumn(removal.digest), &LocationColumn(removal.location.clone())],
        )
        .await?;
    Ok(stands.is_none())
}

/// Twice the same is the same.
pub(super) async fn finish(connection: &Connection, id: i64) -> Result<(), Failure> {
    connection.execute("DELETE FROM blob_removals WHERE id = $1", &[&id]).await?;
    Ok(())
}
