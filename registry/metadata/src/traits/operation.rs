//! What operators need: totals, backups, and every row in a form that another engine takes.

use std::{future::Future, path::Path};

use super::Answer;
use crate::{Counts, Page, Row, RowValue, Table};

pub trait OperationMetadata: Clone + Send + Sync + 'static {
    /// Totals for metrics; costs the same however much there is.
    fn counts(&self) -> impl Future<Output = Answer<Counts>> + Send;

    /// Writes a copy of the whole store, as of one moment, to a new file, while others read and write. It is
    /// checked before this answers. Gives its length in bytes.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::MetadataError::AlreadyExists) when `path` exists.
    fn backup_to(&self, path: &Path) -> impl Future<Output = Answer<u64>> + Send;

    /// The rows of `table` whose key is greater than `after`, in the order of their keys, at most `limit`.
    fn export_rows(
        &self,
        table: &Table,
        after: Option<&[RowValue]>,
        limit: usize,
    ) -> impl Future<Output = Answer<Page<Row>>> + Send;

    /// Adds rows that [`Self::export_rows`] gave, all of them or none. Tables must come in the order of
    /// [`TABLES`](crate::TABLES), and into a store that nothing was written to.
    fn import_rows(&self, table: &Table, rows: Vec<Row>) -> impl Future<Output = Answer<()>> + Send;

    /// To be called once after the last row: what the engine derives from the rows is made to agree with them.
    fn finish_import(&self) -> impl Future<Output = Answer<()>> + Send;
}
