//! Rows out of and into the tables, without knowing what they mean.

use rusqlite::{
    Connection, ErrorCode, params_from_iter,
    types::{ToSql, ToSqlOutput, Value, ValueRef},
};

use super::quotas;
use crate::{MetadataError, Page, Row, RowValue, TABLES, Table};

/// Bytes at which a page ends: a few of the largest manifests (4 MiB).
const PAGE_BYTES: usize = 16 << 20;

impl ToSql for RowValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Integer(number) => ToSqlOutput::Owned(Value::Integer(*number)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

fn read_value(value: ValueRef<'_>) -> Result<RowValue, MetadataError> {
    Ok(match value {
        ValueRef::Null => RowValue::Null,
        ValueRef::Integer(number) => RowValue::Integer(number),
        ValueRef::Text(_) => RowValue::Text(value.as_str().map_err(rusqlite::Error::from)?.to_owned()),
        ValueRef::Blob(bytes) => RowValue::Bytes(bytes.to_vec()),
        ValueRef::Real(_) => {
            return Err(MetadataError::Damaged { reason: "a column holds a fraction".to_owned() });
        }
    })
}

fn length(value: &RowValue) -> usize {
    match value {
        RowValue::Null | RowValue::Integer(_) => size_of::<RowValue>(),
        RowValue::Text(text) => size_of::<RowValue>() + text.len(),
        RowValue::Bytes(bytes) => size_of::<RowValue>() + bytes.len(),
    }
}

/// What the rows weigh.
pub(super) fn bytes(rows: &[Row]) -> usize {
    rows.iter().flatten().map(length).sum()
}

/// Only what is carried: names become part of a statement.
fn check(table: &Table) -> Result<(), MetadataError> {
    if TABLES.contains(table) {
        return Ok(());
    }
    Err(MetadataError::Damaged { reason: format!("{} is no table that is carried", table.name) })
}

/// `name, name, name` of the first `count` columns.
fn names(table: &Table, count: usize) -> String {
    table.columns.iter().take(count).map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
}

/// The statement for a page behind a key, or for the first one.
pub(super) fn page_statement(table: &Table, first: bool) -> String {
    let key = names(table, table.key);
    let behind = if first { String::new() } else { format!("WHERE ({key}) > ({})", marks(table.key)) };
    format!("SELECT {} FROM {} {behind} ORDER BY {key}", names(table, table.columns.len()), table.name)
}

pub(super) fn export(
    connection: &Connection,
    table: &Table,
    after: Option<&[RowValue]>,
    limit: usize,
) -> Result<Page<Row>, MetadataError> {
    check(table)?;
    let mut statement = connection.prepare_cached(&page_statement(table, after.is_none()))?;
    let mut rows = statement.query(params_from_iter(after.unwrap_or_default()))?;
    let mut entries: Vec<Row> = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        if entries.len() >= limit || bytes > PAGE_BYTES {
            return Ok(Page { entries, more: true });
        }
        let values: Row = (0..table.columns.len())
            .map(|column| read_value(row.get_ref(column)?))
            .collect::<Result<_, _>>()?;
        bytes += values.iter().map(length).sum::<usize>();
        entries.push(values);
    }
    Ok(Page { entries, more: false })
}

pub(super) fn import(connection: &Connection, table: &Table, rows: &[Row]) -> Result<(), MetadataError> {
    check(table)?;
    let count = table.columns.len();
    let mut statement = connection.prepare_cached(&format!(
        "INSERT INTO {} ({}) VALUES ({})",
        table.name,
        names(table, count),
        marks(count)
    ))?;
    for row in rows {
        if row.len() != count {
            let reason = format!("a row for {} has {} columns instead of {count}", table.name, row.len());
            return Err(MetadataError::Damaged { reason });
        }
        statement.execute(params_from_iter(row)).map_err(|error| refused(table, error))?;
    }
    Ok(())
}

fn refused(table: &Table, error: rusqlite::Error) -> MetadataError {
    if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) {
        // The reason names the constraint and no value.
        return MetadataError::AlreadyExists { what: format!("a row of {} ({error})", table.name) };
    }
    error.into()
}

/// What rows alone do not say: the references of each repository, what quotas have used, and the last event's id.
pub(super) fn finish(connection: &Connection) -> Result<(), MetadataError> {
    connection.execute_batch(
        "DELETE FROM repository_references;
         INSERT INTO repository_references (repository_id, digest, kind, manifest_id)
             SELECT repository_id, digest, kind, manifest_id
             FROM repository_manifests JOIN manifest_references USING (manifest_id) WHERE kind <= 3;
         INSERT INTO sqlite_sequence (name, seq)
             SELECT 'events', 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'events');
         UPDATE sqlite_sequence
             SET seq = max(seq, coalesce((SELECT max(event_id) FROM event_cursors), 0))
             WHERE name = 'events'",
    )?;
    quotas::recount(connection)
}
