//! Totals that triggers keep, so that asking for them costs the same however much there is.

use std::collections::HashMap;

use rusqlite::Connection;

use super::columns::SizeColumn;
use crate::{Counts, MetadataError};

pub(super) struct Counters(HashMap<String, u64>);

impl Counters {
    pub(super) fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }
}

pub(super) fn read(connection: &Connection) -> Result<Counters, MetadataError> {
    let mut statement = connection.prepare_cached("SELECT name, value FROM counters")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, SizeColumn>(1)?.0)))?;
    Ok(Counters(rows.collect::<Result<_, _>>()?))
}

pub(super) fn counts(connection: &Connection) -> Result<Counts, MetadataError> {
    let counters = read(connection)?;
    Ok(Counts {
        repositories: counters.get("repositories"),
        manifests: counters.get("manifests"),
        tags: counters.get("tags"),
        blobs: counters.get("blobs"),
        blob_bytes: counters.get("blob_bytes"),
        uploads: counters.get("uploads"),
        queued: counters.get("queued"),
        removals: counters.get("removals"),
        events: counters.get("events"),
    })
}
