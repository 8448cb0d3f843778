//! Comparing two stores: the number of rows of each table and a digest over them.

use registry_types::Digest;

use crate::{MetadataError, OperationMetadata, TABLES, Table, TableSummary};

/// Rows asked for at once.
const PAGE: usize = 1_000;

/// What a table of a store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableTotal {
    pub table: &'static str,
    pub rows: u64,
    /// Equal for equal rows, whatever the engine.
    pub digest: Digest,
}

/// Reads every row of every table. Nothing may be written meanwhile.
///
/// # Errors
/// Those of the store.
pub async fn summarize<M: OperationMetadata>(store: &M) -> Result<Vec<TableTotal>, MetadataError> {
    let mut totals = Vec::new();
    for table in TABLES {
        totals.push(summarize_table(store, table).await?);
    }
    Ok(totals)
}

async fn summarize_table<M: OperationMetadata>(
    store: &M,
    table: &Table,
) -> Result<TableTotal, MetadataError> {
    let mut summary = TableSummary::default();
    let mut after = None;
    loop {
        let page = store.export_rows(table, after.as_deref(), PAGE).await?;
        page.entries.iter().for_each(|row| summary.add(row));
        match page.entries.last() {
            Some(last) if page.more => after = last.get(..table.key).map(<[_]>::to_vec),
            _ => break,
        }
    }
    let (rows, digest) = summary.finish();
    Ok(TableTotal { table: table.name, rows, digest })
}
