//! Lists that are asked for with every request and change seldom. Any replica may change them, so each question goes
//! to the database; but it asks only for the list's revision, which every change by anyone raises, and what was read
//! at that revision is kept.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::Row;

use super::{connection::Connection, error::Failure};

/// A list as last read, and the revision it had.
#[derive(Debug)]
pub(super) struct Revised<T> {
    /// The list's row in `revisions`.
    name: &'static str,
    /// Gives one row at least: the revision first, then the columns of an entry, which are NULL for an empty list.
    /// One statement sees one moment, so the revision is that of the rows.
    query: &'static str,
    kept: Mutex<Option<(i64, Arc<Vec<T>>)>>,
}

impl<T> Revised<T> {
    pub(super) fn new(name: &'static str, query: &'static str) -> Self {
        Self { name, query, kept: Mutex::default() }
    }

    /// The list as it stands. `read`: one entry, `None` for the row of an empty list.
    pub(super) async fn get(
        &self,
        connection: &Connection,
        read: fn(&Row) -> Result<Option<T>, Failure>,
    ) -> Result<Arc<Vec<T>>, Failure> {
        let asked = connection.one("SELECT revision FROM revisions WHERE name = $1", &[&self.name]).await?;
        let asked: i64 = asked.try_get(0)?;
        if let Some((kept, list)) = &*self.kept.lock().unwrap_or_else(PoisonError::into_inner)
            && *kept == asked
        {
            return Ok(list.clone());
        }
        let rows = connection.rows(self.query, &[]).await?;
        let revision = rows.first().map_or(Ok(asked), |row| row.try_get(0))?;
        let list = rows.iter().filter_map(|row| read(row).transpose()).collect::<Result<Vec<T>, _>>()?;
        let list = Arc::new(list);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // A reader that was overtaken does not put an older list back.
        if kept.as_ref().is_none_or(|(known, _)| *known < revision) {
            *kept = Some((revision, list.clone()));
        }
        Ok(list)
    }
}
