//! Rows in the form that does not depend on the engine. Which tables and columns there are is said by
//! [`TABLES`]; the queries are made from that, and their names are its own.

use tokio_postgres::{Row as DatabaseRow, types::ToSql};

use super::{
    columns::limit,
    connection::{Connection, WHOLE_TABLES},
    error::Failure,
    quotas,
};
use crate::{ColumnKind, MetadataError, Page, Row, RowValue, TABLES, Table};

/// Bytes at which a page ends: a few of the largest manifests (4 MiB).
const PAGE_BYTES: i64 = 16 << 20;

/// Only what is carried: names become part of a query.
fn check(table: &Table) -> Result<(), MetadataError> {
    if TABLES.contains(table) {
        return Ok(());
    }
    Err(MetadataError::Damaged { reason: format!("{} is no table that is carried", table.name) })
}

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
    check(table)?;
    let columns = joined(table.columns.iter().map(|(name, kind)| match kind {
        ColumnKind::Truth => format!("{name}::INT::BIGINT"),
        kind => format!("{name}::{}", carried_as(*kind)),
    }));
    let lengths = table.columns.iter().map(|(name, kind)| match carried_as(*kind) {
        "BIGINT" => "8".to_owned(),
        _ => format!("coalesce(octet_length({name}), 0)"),
    });
    let length = lengths.collect::<Vec<_>>().join(" + ");
    let key: Vec<_> = table.columns.iter().take(table.key).collect();
    let names = joined(key.iter().map(|(name, _)| (*name).to_owned()));
    let behind = if after.is_some() {
        let places = key.iter().enumerate();
        let places = places.map(|(place, (_, kind))| format!("${}::{}", place + 1, carried_as(*kind)));
        format!("WHERE ({names}) > ({})", joined(places))
    } else {
        String::new()
    };
    // The page ends behind the row that takes it past its bytes; lengths are known without reading the values.
    let query = format!(
        "SELECT {columns}, seen FROM
             (SELECT *, count(*) OVER () AS seen, row_number() OVER behind AS position,
                 sum({length}) OVER behind - ({length}) AS before
              FROM (SELECT * FROM {table} {behind} ORDER BY {names} LIMIT {fetched}) fetched
              WINDOW behind AS (ORDER BY {names})) measured
         WHERE position <= {at_most} AND before <= {PAGE_BYTES} ORDER BY {names}",
        table = table.name,
        fetched = limit(at_most).saturating_add(1),
    );
    let values: Vec<_> = after.unwrap_or_default().iter().map(value).collect();
    let rows = connection.rows_once(&query, &values).await?;
    let seen: i64 = rows.first().map_or(Ok(0), |row| row.try_get(table.columns.len()))?;
    let entries = rows.iter().map(|row| read(row, table)).collect::<Result<Vec<_>, _>>()?;
    Ok(Page { more: seen > limit(entries.len()), entries })
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

/// A row of the table `events` with another number.
pub(super) fn event(id: i64, row: &DatabaseRow) -> Result<Row, Failure> {
    Ok(vec![
        RowValue::Integer(id),
        RowValue::Text(row.try_get(1)?),
        RowValue::Text(row.try_get(2)?),
        RowValue::Integer(row.try_get(3)?),
    ])
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
    table: &'static str,
    query: String,
    columns: Vec<Column>,
}

impl Import {
    /// # Errors
    /// Rows that are not of the table.
    pub(super) fn new(table: &Table, rows: Vec<Row>) -> Result<Self, MetadataError> {
        check(table)?;
        let foreign =
            || MetadataError::Damaged { reason: format!("a row is none of the table {}", table.name) };
        let mut columns: Vec<Column> = table.columns.iter().map(|(_, kind)| Column::new(*kind)).collect();
        for row in rows {
            if row.len() != columns.len()
                || !columns.iter_mut().zip(row).all(|(column, value)| column.push(value))
            {
                return Err(foreign());
            }
        }
        let names = joined(table.columns.iter().map(|(name, _)| (*name).to_owned()));
        let values = joined(table.columns.iter().map(|(name, kind)| match kind {
            ColumnKind::Truth => format!("{name} <> 0"),
            _ => (*name).to_owned(),
        }));
        let arrays = joined(
            table
                .columns
                .iter()
                .enumerate()
                .map(|(place, (_, kind))| format!("${}::{}[]", place + 1, carried_as(*kind))),
        );
        let overriding = if table.numbered { "OVERRIDING SYSTEM VALUE " } else { "" };
        let query = format!(
            "INSERT INTO {} ({names}) {overriding}SELECT {values} FROM unnest({arrays}) row ({names})",
            table.name
        );
        Ok(Self { table: table.name, query, columns })
    }

    pub(super) async fn run(&self, connection: &Connection) -> Result<(), Failure> {
        let values: Vec<_> = self.columns.iter().map(Column::value).collect();
        match connection.rows_once(&self.query, &values).await {
            Ok(_) => Ok(()),
            // Class 23: a row of that key is there, or one that it refers to is not. The message names the
            // constraint and no value.
            Err(error) => match error.as_db_error() {
                Some(refused) if refused.code().code().starts_with("23") => {
                    let what = format!("a row of {} ({})", self.table, refused.message());
                    Err(MetadataError::AlreadyExists { what }.into())
                }
                _ => Err(error.into()),
            },
        }
    }
}

/// Makes everything that is derived from the rows agree with them: what repositories refer to, what quotas have used,
/// and the numbers that new rows get.
pub(super) async fn finish(connection: &Connection) -> Result<(), Failure> {
    connection.command(WHOLE_TABLES).await?;
    connection
        .command(
            "LOCK TABLE repository_quotas IN ACCESS EXCLUSIVE MODE;
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
    // A cursor may stand behind events that were trimmed: no new one may get their numbers.
    connection
        .command(
            "SELECT setval(pg_get_serial_sequence('events', 'id'), last) FROM
                 (SELECT greatest(max(event_id), (SELECT max(id) FROM events)) AS last FROM event_cursors) ids
             WHERE last > 0",
        )
        .await?;
    Ok(())
}
