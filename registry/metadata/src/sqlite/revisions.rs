//! Small lists that another process may change: kept in memory with the revision they were read at, which every
//! change by anyone raises. A reader asks only for that number.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use crate::MetadataError;

/// A list as last read, and the revision it had.
#[derive(Debug)]
pub(super) struct Revised<T> {
    kept: Mutex<Option<(i64, Arc<T>)>>,
}

impl<T> Default for Revised<T> {
    fn default() -> Self {
        Self { kept: Mutex::new(None) }
    }
}

impl<T> Revised<T> {
    /// The list as it is now. `revision`: the query for the number, `load`: reads the list.
    pub(super) fn read(
        &self,
        connection: &Connection,
        revision: &str,
        load: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<Arc<T>, MetadataError> {
        // One transaction: revision and rows are of the same moment.
        let transaction = connection.unchecked_transaction()?;
        let revision: i64 = transaction.prepare_cached(revision)?.query_row([], |row| row.get(0))?;
        if let Some((kept, list)) = &*self.kept.lock().unwrap_or_else(PoisonError::into_inner)
            && *kept == revision
        {
            return Ok(list.clone());
        }
        let list = Arc::new(load(&transaction)?);
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some((revision, list.clone()));
        Ok(list)
    }
}
