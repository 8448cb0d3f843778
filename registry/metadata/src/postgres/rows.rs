//! Rows in the form that does not depend on the engine. Which tables and columns there are is said by
//! [`TABLES`](crate::TABLES); the queries are made from that, and their names are its own.

use std::fmt::Write;

use tokio_postgres::{Row as DatabaseRow, types::ToSql};

use super::{columns::limit, connection::Connection, error::Failure, quotas};
use crate::{ColumnKind, MetadataError, Page, Row, RowValue, TABLES, Table};

/// The type that a column has on its way.
fn carried_as(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Integer | ColumnKind::Time | ColumnKind::Truth => "BIGINT",
        ColumnKind::Text => "TEXT",
        ColumnKind::Bytes => "BYTEA",
    }
}

fn joined(columns: impl Iterator<Item = String>) -> String {
    columns.collect::<Vec<_>>().join(", ")
}

/// Rows behind `after` in the order of their keys.
pub(super) async fn export(
    connection: &Connection,
    table: &Table,
    after: Option<&[RowValue]>,
    at_most: usize,
) -> Result<Page<Row>, Failure> {
    let columns = table.columns.iter().map(|(name, kind)| match kind {
        ColumnKind::Truth => format!("{name}::INT::BIGINT"),
        kind => format!("{name}::{}", carried_as(*kind)),
    });
    let key: Vec<_> = table.columns.iter().take(table.key).collect();
    let names = joined(key.iter().map(|(name, _)| (*name).to_owned()));
    let fetched = limit(at_most).saturating_add(1);
    let mut query = format!("SELECT {} FROM {}", joined(columns), table.name);
    let mut values: Vec<&(dyn ToSql + Sync)> = Vec::new();
    if let Some(after) = after {
        let places = key.iter().enumerate().map(|(place, (_, kind))| {
            format!("${}::{}", place + 1, carried_as(*kind))
        });
        let _ = write!(query, " WHERE ({names}) > ({})", joined(places));
        values.extend(after.iter().map(value));
    }
    let _ = write!(query, " ORDER BY {names} LIMIT {fetched}");
    let rows = connection.rows_once(&query, &values).await?;
    let more = rows.len() > at_most;
    let entries = rows.iter().take(at_most).map(|row| read(row, table)).collect::<Result<_, _>>()?;
    Ok(Page { entries, more })
}

fn value(value: &RowValue) -> &(dyn ToSql + Sync) {
    match value {
        RowValue::Null => &None::<i64>,
        RowValue::Integer(number) => number,
        RowValue::Text(text) => text,
        RowValue::Bytes(bytes) => bytes,
    }
}

fn read(row: &DatabaseRow, table: &Table) -> Result<Row, Failure> {
    let columns = table.columns.iter().enumerate();
    let read = columns.map(|(place, (_, kind))| {
        Ok(match carried_as(*kind) {
            "BIGINT" => row.try_get::<_, Option<i64>>(place)?.map(RowValue::Integer),
            "TEXT" => row.try_get::<_, Option<String>>(place)?.map(RowValue::Text),
            _ => row.try_get::<_, Option<Vec<u8>>>(place)?.map(RowValue::Bytes),
        }
        .unwrap_or(RowValue::Null))
    });
    read.collect()
}

/// One column of all rows.
enum Column {
    Integers(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
}

impl Column {
    fn new(kind: ColumnKind) -> Self {
        match carried_as(kind) {
            "BIGINT" => Self::Integers(Vec::new()),
            "TEXT" => Self::Texts(Vec::new()),
            _ => Self::Bytes(Vec::new()),
        }
    }

    /// False: the value is of another kind.
    fn push(&mut self, value: RowValue) -> bool {
        match (self, value) {
            (Self::Integers(column), RowValue::Integer(number)) => column.push(Some(number)),
            (Self::Texts(column), RowValue::Text(text)) => column.push(Some(text)),
            (Self::Bytes(column), RowValue::Bytes(bytes)) => column.push(Some(bytes)),
            (Self::Integers(column), RowValue::Null) => column.push(None),
            (Self::Texts(column), RowValue::Null) => column.push(None),
            (Self::Bytes(column), RowValue::Null) => column.push(None),
            _ => return false,
        }
        true
    }

    fn value(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Integers(column) => column,
            Self::Texts(column) => column,
            Self::Bytes(column) => column,
        }
    }
}

/// Rows to add, column by column.
pub(super) struct Import {
    query: String,
    columns: Vec<Column>,
}

impl Import {
    /// # Errors
    /// Rows that are not of the table.
    pub(super) fn new(table: &Table, rows: Vec<Row>) -> Result<Self, MetadataError> {
        let foreign = || MetadataError::Damaged { reason: format!("a row is none of the table {}", table.name) };
        let mut columns: Vec<Column> = table.columns.iter().map(|(_, kind)| Column::new(*kind)).collect();
        for row in rows {
            if row.len() != columns.len() || !columns.iter_mut().zip(row).all(|(column, value)| column.push(value)) {
                return Err(foreign());
            }
        }
        let names = joined(table.columns.iter().map(|(name, _)| (*name).to_owned()));
        let values = joined(table.columns.iter().map(|(name, kind)| match kind {
            ColumnKind::Truth => format!("{name} <> 0"),
            _ => (*name).to_owned(),
        }));
        let arrays = joined(table.columns.iter().enumerate().map(|(place, (_, kind))| {
            format!("${}::{}[]", place + 1, carried_as(*kind))
        }));
        let overriding = if table.numbered { "OVERRIDING SYSTEM VALUE " } else { "" };
        let query = format!(
            "INSERT INTO {} ({names}) {overriding}SELECT {values} FROM unnest({arrays}) row ({names})",
            table.name
        );
        Ok(Self { query, columns })
    }

    pub(super) async fn run(&self, connection: &Connection) -> Result<(), Failure> {
        let values: Vec<_> = self.columns.iter().map(Column::value).collect();
        connection.rows_once(&self.query, &values).await?;
        Ok(())
    }
}

/// Makes everything that is derived from the rows agree with them: what repositories refer to, what quotas have used,
/// and the numbers that new rows get.
pub(super) async fn finish(connection: &Connection) -> Result<(), Failure> {
    connection
        .command(
            "SET LOCAL statement_timeout = 0;
             LOCK TABLE repository_quotas IN ACCESS EXCLUSIVE MODE;
             DELETE FROM repository_references;
             INSERT INTO repository_references (repository_id, digest, kind, manifest_id)
                 SELECT repository_id, digest, kind, manifest_id
                 FROM repository_manifests JOIN manifest_references USING (manifest_id) WHERE kind <= 3;
             DELETE FROM quota_blobs;
             DELETE FROM repository_quotas",
        )
        .await?;
    quotas::count(connection, None).await?;
    for table in TABLES.iter().filter(|table| table.numbered) {
        let renumber = format!(
            "SELECT setval(pg_get_serial_sequence('{0}', 'id'), greatest(max(id), 1), max(id) IS NOT NULL)
             FROM {0}",
            table.name
        );
        connection.command(&renumber).await?;
    }
    Ok(())
}
