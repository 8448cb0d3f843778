//! The outbox: written in the transactions of the changes it tells of.

use rusqlite::{Connection, params};
use time::OffsetDateTime;

use super::columns::TimeColumn;
use crate::{MetadataError, NewEvent};

pub(super) fn record(
    connection: &Connection,
    events: &[NewEvent],
    now: OffsetDateTime,
) -> Result<(), MetadataError> {
    let mut statement = connection
        .prepare_cached("INSERT INTO events (repository, payload, created_at) VALUES (?1, ?2, ?3)")?;
    for event in events {
        statement.execute(params![event.repository.as_str(), event.payload, TimeColumn(now)])?;
    }
    Ok(())
}
