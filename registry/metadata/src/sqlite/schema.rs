//! The schema and its version. A database is brought forward by numbered migrations, each in one transaction with
//! the version it leads to; a database of a newer program is refused untouched.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use crate::MetadataError;

/// Migrations in order; the first leads to version 1. Never edit one that was released: add another.
const MIGRATIONS: &[&str] =
    &[include_str!("migrations/0001_initial.sql"), include_str!("migrations/0002_collection.sql")];

/// The version this program reads and writes.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Brings the schema to [`VERSION`].
pub(super) fn migrate_blocking(connection: &mut Connection) -> Result<(), MetadataError> {
    loop {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Read inside the transaction: another process may be migrating too.
        let version = version(&transaction)?;
        let next = usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version));
        let Some(migration) = next else { return check(version) };
        transaction.execute_batch(migration)?;
        set_version(&transaction, version + 1)?;
        transaction.commit()?;
        tracing::info!(version = version + 1, "metadata schema migrated");
    }
}

/// Checks that the schema is of [`VERSION`] and changes nothing.
pub(super) fn check_blocking(connection: &Connection) -> Result<(), MetadataError> {
    check(version(connection)?)
}

fn check(version: i64) -> Result<(), MetadataError> {
    if version == VERSION {
        return Ok(());
    }
    let mend = if version > VERSION {
        "use the newer program that wrote it, or restore the backup made before it"
    } else {
        "start the server once to bring it forward"
    };
    Err(MetadataError::Damaged {
        reason: format!("its schema has version {version} and this program knows version {VERSION}: {mend}"),
    })
}

/// 0 for an empty database.
fn version(connection: &Connection) -> Result<i64, MetadataError> {
    let table: Option<i64> = connection
        .query_row(
            "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_version'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    if table.is_none() {
        return Ok(0);
    }
    Ok(connection.query_row("SELECT version FROM schema_version", [], |row| row.get(0))?)
}

fn set_version(transaction: &Transaction<'_>, version: i64) -> Result<(), MetadataError> {
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_version
             (only INTEGER PRIMARY KEY CHECK (only = 1), version INTEGER NOT NULL) STRICT",
    )?;
    transaction.execute(
        "INSERT INTO schema_version VALUES (1, ?1) ON CONFLICT (only) DO UPDATE SET version = excluded.version",
        [version],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_database_is_brought_to_the_version_and_stays_there() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert!(matches!(check_blocking(&connection), Err(MetadataError::Damaged { .. })));
        for _ in 0..2 {
            migrate_blocking(&mut connection).unwrap();
            check_blocking(&connection).unwrap();
        }
    }

    #[test]
    fn a_newer_schema_is_refused_untouched() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate_blocking(&mut connection).unwrap();
        connection.execute("UPDATE schema_version SET version = 99", []).unwrap();
        let error = migrate_blocking(&mut connection).unwrap_err().to_string();
        assert!(error.contains("version 99") && error.contains("newer program"), "{error}");
        assert_eq!(version(&connection).unwrap(), 99);
    }
}
