//! The trait of what operators ask for.

use std::{path::Path, sync::Arc};

use super::{
    PostgresMetadata,
    attempts::{LONG_WORK, ONE_MOMENT},
    backup,
    connection::Connection,
    metadata::Answer,
    removals, rows,
};
use crate::{Counts, OperationMetadata, Page, Row, RowValue, Table};

impl OperationMetadata for PostgresMetadata {
    async fn counts(&self) -> Answer<Counts> {
        self.inner.attempts.repeat(|at| async move { removals::counts(&at).await }).await
    }

    async fn backup_to(&self, path: &Path) -> Answer<u64> {
        backup::reserve(path).await?;
        let fill = |at: Arc<Connection>| async move { backup::fill(&at, path).await };
        let length = self.inner.attempts.undone(ONE_MOMENT, fill).await;
        if length.is_err() {
            let path = path.to_owned();
            let removed = tokio::task::spawn_blocking(move || backup::remove_blocking(&path));
            // Whether or not it worked, the first error is the one to tell.
            let _ = removed.await;
        }
        length
    }

    async fn export_rows(
        &self,
        table: &Table,
        after: Option<&[RowValue]>,
        limit: usize,
    ) -> Answer<Page<Row>> {
        self.publish().await?;
        self.inner.attempts.repeat(|at| async move { rows::export(&at, table, after, limit).await }).await
    }

    async fn import_rows(&self, table: &Table, rows: Vec<Row>) -> Answer<()> {
        let import = &rows::Import::new(table, rows)?;
        self.inner.attempts.write(|at| async move { import.run(&at).await }).await
    }

    async fn finish_import(&self) -> Answer<()> {
        self.inner.attempts.write_within(LONG_WORK, |at| async move { rows::finish(&at).await }).await
    }
}
