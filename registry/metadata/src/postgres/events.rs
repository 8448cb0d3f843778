//! The outbox: written in the transactions of the changes it tells of, delivered in an order that never changes.
//!
//! A transaction draws the id of its event before it commits, so ids alone are not the order in which events become
//! visible, and a cursor that is past an id could miss a lower one that comes later. So changes write to an inbox,
//! and whoever reads moves what is visible there to the outbox, where it gets its id for good. One moves at a time:
//! the next begins when the last has committed, so ids in the outbox grow with what is visible. Two events of one
//! repository whose changes came one after the other stand in that order in the inbox and are moved in it.

use time::OffsetDateTime;
use tokio_postgres::Row;

use super::{
    columns::{SizeColumn, TextColumn, TimeColumn, limit},
    connection::Connection,
    error::Failure,
};
use crate::{EventBacklog, EventCursor, EventRecord, NewEvent};

/// The key of the lock that movers take turns by: "events" in ASCII behind ours for migrations.
const MOVERS: i64 = 0x0073_6576_656e_7473;

pub(super) async fn record(
    connection: &Connection,
    events: &[NewEvent],
    now: OffsetDateTime,
) -> Result<(), Failure> {
    if events.is_empty() {
        return Ok(());
    }
    let repositories: Vec<&str> = events.iter().map(|event| event.repository.as_str()).collect();
    let payloads: Vec<&str> = events.iter().map(|event| event.payload.as_str()).collect();
    connection
        .execute(
            "INSERT INTO event_inbox (repository, payload, created_at)
             SELECT repository, payload, $3::BIGINT
             FROM unnest($1::TEXT[], $2::TEXT[]) WITH ORDINALITY event (repository, payload, position)
             ORDER BY position",
            &[&repositories, &payloads, &TimeColumn(now)],
        )
        .await?;
    Ok(())
}

/// Whether something waits to be moved.
pub(super) async fn waiting(connection: &Connection) -> Result<bool, Failure> {
    Ok(connection.row("SELECT 1 FROM event_inbox LIMIT 1", &[]).await?.is_some())
}

/// Moves what is visible in the inbox to the outbox, within a transaction.
pub(super) async fn publish(connection: &Connection) -> Result<(), Failure> {
    connection.row("SELECT pg_advisory_xact_lock($1)", &[&MOVERS]).await?;
    connection
        .execute(
            "WITH moved AS (DELETE FROM event_inbox RETURNING id, repository, payload, created_at)
             INSERT INTO events (repository, payload, created_at)
             SELECT repository, payload, created_at FROM moved ORDER BY id",
            &[],
        )
        .await?;
    Ok(())
}

pub(super) const AFTER: &str =
    "SELECT id, repository, payload, created_at FROM events WHERE id > $1 ORDER BY id LIMIT $2";

pub(super) async fn after(
    connection: &Connection,
    event_id: i64,
    at_most: usize,
) -> Result<Vec<EventRecord>, Failure> {
    let rows = connection.rows(AFTER, &[&event_id, &limit(at_most)]).await?;
    let read = |row: &Row| {
        Ok(EventRecord {
            id: row.try_get(0)?,
            repository: row.try_get::<_, TextColumn<_>>(1)?.0,
            payload: row.try_get(2)?,
            created_at: row.try_get::<_, TimeColumn>(3)?.0,
        })
    };
    rows.iter().map(read).collect()
}

/// A cursor behind everything that was published; the transaction has published just before.
pub(super) async fn add_endpoint(
    connection: &Connection,
    endpoint: &str,
    now: OffsetDateTime,
) -> Result<(), Failure> {
    // The sequence rather than the rows: those may have been trimmed.
    connection
        .execute(
            "INSERT INTO event_cursors
                 (endpoint, event_id, attempts, next_attempt_at, locked_until, claim)
             VALUES ($1, coalesce(pg_sequence_last_value(pg_get_serial_sequence('events', 'id')::REGCLASS), 0),
                 0, $2, $2, 0)
             ON CONFLICT (endpoint) DO NOTHING",
            &[&endpoint, &TimeColumn(now)],
        )
        .await?;
    Ok(())
}

pub(super) async fn remove_endpoint(connection: &Connection, endpoint: &str) -> Result<bool, Failure> {
    Ok(connection.execute("DELETE FROM event_cursors WHERE endpoint = $1", &[&endpoint]).await? > 0)
}

/// Of two who claim at once, the later sees what the earlier wrote and gets nothing.
pub(super) async fn claim(
    connection: &Connection,
    endpoint: &str,
    now: OffsetDateTime,
    until: OffsetDateTime,
) -> Result<Option<EventCursor>, Failure> {
    let row = connection
        .row(
            "UPDATE event_cursors SET locked_until = $3, claim = claim + 1
             WHERE endpoint = $1 AND locked_until <= $2 AND next_attempt_at <= $2
             RETURNING endpoint, event_id, attempts, next_attempt_at, locked_until, claim",
            &[&endpoint, &TimeColumn(now), &TimeColumn(until)],
        )
        .await?;
    row.as_ref().map(read_cursor).transpose()
}

fn read_cursor(row: &Row) -> Result<EventCursor, Failure> {
    let SizeColumn(attempts) = row.try_get(2)?;
    Ok(EventCursor {
        endpoint: row.try_get(0)?,
        event_id: row.try_get(1)?,
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        next_attempt_at: row.try_get::<_, TimeColumn>(3)?.0,
        locked_until: row.try_get::<_, TimeColumn>(4)?.0,
        claim: row.try_get::<_, SizeColumn>(5)?.0,
    })
}

pub(super) async fn advance(
    connection: &Connection,
    claim: &EventCursor,
    event_id: i64,
    until: OffsetDateTime,
) -> Result<bool, Failure> {
    let moved = connection
        .execute(
            "UPDATE event_cursors SET event_id = $3, attempts = 0, locked_until = $4
             WHERE endpoint = $1 AND claim = $2",
            &[&claim.endpoint, &SizeColumn(claim.claim), &event_id, &TimeColumn(until)],
        )
        .await?;
    Ok(moved > 0)
}

pub(super) async fn fail(
    connection: &Connection,
    claim: &EventCursor,
    next_attempt_at: OffsetDateTime,
) -> Result<bool, Failure> {
    let counted = connection
        .execute(
            "UPDATE event_cursors SET attempts = attempts + 1, next_attempt_at = $3, locked_until = $3
             WHERE endpoint = $1 AND claim = $2",
            &[&claim.endpoint, &SizeColumn(claim.claim), &TimeColumn(next_attempt_at)],
        )
        .await?;
    Ok(counted > 0)
}

pub(super) async fn replay(
    connection: &Connection,
    endpoint: &str,
    event_id: i64,
    now: OffsetDateTime,
) -> Result<bool, Failure> {
    let moved = connection
        .execute(
            "UPDATE event_cursors SET event_id = $2, attempts = 0, next_attempt_at = $3, locked_until = $3,
                 claim = claim + 1
             WHERE endpoint = $1",
            &[&endpoint, &event_id, &TimeColumn(now)],
        )
        .await?;
    Ok(moved > 0)
}

/// Looks at the oldest only: what it costs does not grow with the backlog.
pub(super) const TRIM: &str = "DELETE FROM events WHERE id IN
         (SELECT id FROM (SELECT id, created_at FROM events ORDER BY id LIMIT $2) oldest
          WHERE created_at < $1
             OR id <= coalesce((SELECT min(event_id) FROM event_cursors), 9223372036854775807))";

pub(super) async fn trim(
    connection: &Connection,
    before: OffsetDateTime,
    at_most: usize,
) -> Result<usize, Failure> {
    Ok(connection.execute(TRIM, &[&TimeColumn(before), &limit(at_most)]).await? as usize)
}

pub(super) async fn backlog(connection: &Connection) -> Result<Vec<EventBacklog>, Failure> {
    let rows = connection
        .rows(
            "SELECT endpoint, event_id, attempts, next_attempt_at, locked_until, claim,
                 (SELECT count(*) FROM events WHERE id > event_id),
                 (SELECT created_at FROM events WHERE id > event_id ORDER BY id LIMIT 1)
             FROM event_cursors ORDER BY endpoint",
            &[],
        )
        .await?;
    let read = |row: &Row| {
        Ok(EventBacklog {
            cursor: read_cursor(row)?,
            waiting: row.try_get::<_, SizeColumn>(6)?.0,
            oldest: row.try_get::<_, Option<TimeColumn>>(7)?.map(|column| column.0),
        })
    };
    rows.iter().map(read).collect()
}
