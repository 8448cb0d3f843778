//! A copy of the whole store as of one moment: a SQLite database with the same rows. It can be looked at and served
//! by itself, and moved back; one form of backup does for both engines.

use std::{fs, io, path::Path};

use super::{
    columns::limit,
    connection::Connection,
    error::{Failure, unavailable},
    rows,
};
use crate::{MetadataError, OperationMetadata, Row, SqliteMetadata, TABLES, Table, TableSummary, summarize};

/// Rows carried at once. A page ends earlier when its rows are long.
const PAGE: usize = 1_000;

/// Makes the file, which only its owner may read: it will hold password hashes.
pub(super) async fn reserve(path: &Path) -> Result<(), MetadataError> {
    let made = tokio::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).await;
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(MetadataError::AlreadyExists { what: path.display().to_string() })
        }
        Err(error) => Err(failed(path, &error)),
    }
}

/// Fills the reserved file within a transaction that sees one moment, checks it, and gives its length in bytes.
/// May be called again after a failure.
pub(super) async fn fill(connection: &Connection, path: &Path) -> Result<u64, Failure> {
    tokio::fs::write(path, b"").await.map_err(|error| failed(path, &error))?;
    let copy = open(path).await?;
    let carried = carry(connection, &copy).await;
    copy.close().await;
    let carried = carried?;
    // Read again from the file, not from what is in memory.
    let copy = open(path).await?;
    let found = summarize(&copy).await;
    copy.close().await;
    for (total, (rows, digest)) in found?.into_iter().zip(carried) {
        if (total.rows, total.digest) != (rows, digest) {
            let reason = format!("the table {} of the copy is not what was copied", total.table);
            return Err(MetadataError::Damaged { reason }.into());
        }
    }
    let metadata = tokio::fs::metadata(path).await.map_err(|error| failed(path, &error))?;
    Ok(metadata.len())
}

async fn open(path: &Path) -> Result<SqliteMetadata, MetadataError> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || SqliteMetadata::open(&path))
        .await
        .map_err(|error| unavailable(format!("the backup was not opened: {error}")))?
}

/// Carries every row and gives the number of rows and their digest, table by table.
async fn carry(
    connection: &Connection,
    copy: &SqliteMetadata,
) -> Result<Vec<(u64, registry_types::Digest)>, Failure> {
    let mut totals = Vec::new();
    for table in TABLES {
        let mut summary = TableSummary::default();
        let mut after: Option<Row> = None;
        loop {
            let page = rows::export(connection, table, after.as_deref(), PAGE).await?;
            after = page.entries.last().and_then(|last| last.get(..table.key)).map(<[_]>::to_vec);
            put(copy, table, page.entries, &mut summary).await?;
            if !page.more {
                break;
            }
        }
        if table.name == "events" {
            carry_inbox(connection, copy, table, &mut summary).await?;
        }
        totals.push(summary.finish());
    }
    copy.finish_import().await?;
    Ok(totals)
}

/// Events that were not published yet get the numbers behind the published ones.
async fn carry_inbox(
    connection: &Connection,
    copy: &SqliteMetadata,
    table: &Table,
    summary: &mut TableSummary,
) -> Result<(), Failure> {
    let mut after = 0_i64;
    let mut carried = 0_i64;
    let last = connection
        .one(
            "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('events', 'id')::REGCLASS), 0)",
            &[],
        )
        .await?;
    let last: i64 = last.try_get(0)?;
    loop {
        let page = connection
            .rows(
                "SELECT id, repository, payload, created_at FROM event_inbox WHERE id > $1 ORDER BY id LIMIT $2",
                &[&after, &limit(PAGE)],
            )
            .await?;
        let Some(end) = page.last() else { return Ok(()) };
        after = end.try_get(0)?;
        let mut entries = Vec::new();
        for row in &page {
            carried += 1;
            entries.push(rows::event(last + carried, row)?);
        }
        put(copy, table, entries, summary).await?;
    }
}

async fn put(
    copy: &SqliteMetadata,
    table: &Table,
    entries: Vec<Row>,
    summary: &mut TableSummary,
) -> Result<(), MetadataError> {
    for row in &entries {
        summary.add(row);
    }
    copy.import_rows(table, entries).await
}

fn failed(path: &Path, error: &io::Error) -> MetadataError {
    if error.kind() == io::ErrorKind::StorageFull {
        return MetadataError::Full;
    }
    unavailable(format!("{} cannot be written: {error}", path.display()))
}

/// Half a backup is none: takes away what [`fill`] left, and what SQLite keeps beside it.
pub(super) fn remove_blocking(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        // The error that is told is the one that came before.
        let _ = fs::remove_file(name);
    }
}
