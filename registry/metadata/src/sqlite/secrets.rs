//! Secrets.

use rusqlite::{Connection, OptionalExtension};

use crate::MetadataError;

pub(super) fn find(connection: &Connection, name: &str) -> Result<Option<String>, MetadataError> {
    let mut statement = connection.prepare_cached("SELECT value FROM secrets WHERE name = ?1")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?)
}

pub(super) fn put(
    connection: &Connection,
    name: &str,
    before: Option<&str>,
    value: &str,
) -> Result<bool, MetadataError> {
    if find(connection, name)?.as_deref() != before {
        return Ok(false);
    }
    connection
        .prepare_cached(
            "INSERT INTO secrets (name, value) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )?
        .execute([name, value])?;
    Ok(true)
}
