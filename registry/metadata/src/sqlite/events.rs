//! The outbox: written in the transactions of the changes it tells of, and read by one deliverer per endpoint.

use rusqlite::{Connection, OptionalExtension, Row, params};
use time::OffsetDateTime;

use super::columns::{SizeColumn, TextColumn, TimeColumn};
use crate::{EventBacklog, EventCursor, EventRecord, MetadataError, NewEvent};

pub(super) fn record(
    connection: &Connection,
    events: &[NewEvent],
    now: OffsetDateTime,
) -> Result<(), MetadataError> {
    if events.is_empty() {
        return Ok(());
    }
    let mut statement = connection
        .prepare_cached("INSERT INTO events (repository, payload, created_at) VALUES (?1, ?2, ?3)")?;
    for event in events {
        statement.execute(params![event.repository.as_str(), event.payload, TimeColumn(now)])?;
    }
    Ok(())
}

/// The cursor begins behind the last event there ever was, also when it is trimmed already.
pub(super) fn add_endpoint(
    connection: &Connection,
    endpoint: &str,
    now: OffsetDateTime,
) -> Result<(), MetadataError> {
    connection
        .prepare_cached(
            "INSERT INTO event_cursors (endpoint, event_id, attempts, next_attempt_at, locked_until, claim)
             VALUES (?1, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0), 0, ?2, ?2, 0)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![endpoint, TimeColumn(now)])?;
    Ok(())
}

pub(super) fn remove_endpoint(connection: &Connection, endpoint: &str) -> Result<bool, MetadataError> {
    let removed =
        connection.prepare_cached("DELETE FROM event_cursors WHERE endpoint = ?1")?.execute([endpoint])?;
    Ok(removed > 0)
}

pub(super) fn claim(
    connection: &Connection,
    endpoint: &str,
    now: OffsetDateTime,
    until: OffsetDateTime,
) -> Result<Option<EventCursor>, MetadataError> {
    let mut statement = connection.prepare_cached(
        "UPDATE event_cursors SET claim = claim + 1, locked_until = ?3
         WHERE endpoint = ?1 AND locked_until <= ?2 AND next_attempt_at <= ?2
         RETURNING endpoint, event_id, attempts, next_attempt_at, locked_until, claim",
    )?;
    Ok(statement.query_row(params![endpoint, TimeColumn(now), TimeColumn(until)], read_cursor).optional()?)
}

fn read_cursor(row: &Row<'_>) -> rusqlite::Result<EventCursor> {
    Ok(EventCursor {
        endpoint: row.get(0)?,
        event_id: row.get(1)?,
        attempts: row.get(2)?,
        next_attempt_at: row.get::<_, TimeColumn>(3)?.0,
        locked_until: row.get::<_, TimeColumn>(4)?.0,
        claim: row.get::<_, SizeColumn>(5)?.0,
    })
}

pub(super) const AFTER: &str =
    "SELECT id, repository, payload, created_at FROM events WHERE id > ?1 ORDER BY id LIMIT ?2";

pub(super) fn after(
    connection: &Connection,
    event: i64,
    limit: usize,
) -> Result<Vec<EventRecord>, MetadataError> {
    let mut statement = connection.prepare_cached(AFTER)?;
    let read = |row: &Row<'_>| {
        Ok(EventRecord {
            id: row.get(0)?,
            repository: row.get::<_, TextColumn<_>>(1)?.0,
            payload: row.get(2)?,
            created_at: row.get::<_, TimeColumn>(3)?.0,
        })
    };
    let rows = statement.query_map(params![event, i64::try_from(limit).unwrap_or(i64::MAX)], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn advance(
    connection: &Connection,
    claim: &EventCursor,
    event: i64,
    until: OffsetDateTime,
) -> Result<bool, MetadataError> {
    let moved = connection
        .prepare_cached(
            "UPDATE event_cursors SET event_id = ?3, attempts = 0, locked_until = ?4
             WHERE endpoint = ?1 AND claim = ?2",
        )?
        .execute(params![claim.endpoint, SizeColumn(claim.claim), event, TimeColumn(until)])?;
    Ok(moved > 0)
}

/// Nobody has the endpoint until the next attempt is due, and then whoever comes first.
pub(super) fn fail(
    connection: &Connection,
    claim: &EventCursor,
    next_attempt_at: OffsetDateTime,
) -> Result<bool, MetadataError> {
    let failed = connection
        .prepare_cached(
            "UPDATE event_cursors SET attempts = attempts + 1, next_attempt_at = ?3, locked_until = ?3
             WHERE endpoint = ?1 AND claim = ?2",
        )?
        .execute(params![claim.endpoint, SizeColumn(claim.claim), TimeColumn(next_attempt_at)])?;
    Ok(failed > 0)
}

pub(super) fn replay(
    connection: &Connection,
    endpoint: &str,
    event: i64,
    now: OffsetDateTime,
) -> Result<bool, MetadataError> {
    let moved = connection
        .prepare_cached(
            "UPDATE event_cursors SET event_id = ?2, attempts = 0, next_attempt_at = ?3, locked_until = ?3,
                 claim = claim + 1
             WHERE endpoint = ?1",
        )?
        .execute(params![endpoint, event, TimeColumn(now)])?;
    Ok(moved > 0)
}

pub(super) fn trim(
    connection: &Connection,
    before: OffsetDateTime,
    limit: usize,
) -> Result<usize, MetadataError> {
    // Few rows: one per endpoint. Without endpoints nobody waits for anything.
    let delivered: i64 = connection
        .prepare_cached("SELECT coalesce(min(event_id), ?1) FROM event_cursors")?
        .query_row([i64::MAX], |row| row.get(0))?;
    let mut last = None;
    let mut trimmed = 0;
    {
        let mut statement =
            connection.prepare_cached("SELECT id, created_at FROM events ORDER BY id LIMIT ?1")?;
        let mut rows = statement.query([i64::try_from(limit).unwrap_or(i64::MAX)])?;
        while let Some(row) = rows.next()? {
            let (id, TimeColumn(created_at)): (i64, TimeColumn) = (row.get(0)?, row.get(1)?);
            if id > delivered && created_at >= before {
                break;
            }
            last = Some(id);
            trimmed += 1;
        }
    }
    connection.prepare_cached("DELETE FROM events WHERE id <= ?1")?.execute([last])?;
    Ok(trimmed)
}

pub(super) fn backlog(connection: &Connection) -> Result<Vec<EventBacklog>, MetadataError> {
    let transaction = connection.unchecked_transaction()?;
    let mut statement = transaction.prepare_cached(
        "SELECT endpoint, event_id, attempts, next_attempt_at, locked_until, claim FROM event_cursors
         ORDER BY endpoint",
    )?;
    let cursors: Vec<EventCursor> = statement.query_map([], read_cursor)?.collect::<Result<_, _>>()?;
    cursors.into_iter().map(|cursor| backlog_of(&transaction, cursor)).collect()
}

fn backlog_of(connection: &Connection, cursor: EventCursor) -> Result<EventBacklog, MetadataError> {
    let SizeColumn(waiting) = connection
        .prepare_cached("SELECT count(*) FROM events WHERE id > ?1")?
        .query_row([cursor.event_id], |row| row.get(0))?;
    let oldest = after(connection, cursor.event_id, 1)?.first().map(|event| event.created_at);
    Ok(EventBacklog { cursor, waiting, oldest })
}
