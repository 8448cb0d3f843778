//! The schema and its version. A database is brought forward by numbered migrations, each in one transaction with
//! the version it leads to; a database of a newer program is refused untouched.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use crate::MetadataError;

/// Migrations in order; the first leads to version 1. Never edit one that was released: add another.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_collection.sql"),
    include_str!("migrations/0003_secrets.sql"),
];

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

    /// Rows of a database of version 1: what they are worth to collection, quotas and totals must be found out.
    #[test]
    fn rows_of_the_first_version_are_brought_along() {
        let mut connection = Connection::open_in_memory().unwrap();
        let transaction = connection.transaction().unwrap();
        transaction.execute_batch(MIGRATIONS[0]).unwrap();
        set_version(&transaction, 1).unwrap();
        transaction
            .execute_batch(
                "INSERT INTO repositories VALUES (1, 'team/app', 0);
                 INSERT INTO blobs VALUES (1, x'01aa', 10, 0, 77), (2, x'01bb', 20, 0, 88), (3, x'01cc', 40, 0, 99);
                 INSERT INTO repository_blobs VALUES (1, 1, 0), (1, 2, 0);
                 INSERT INTO manifests VALUES
                     (1, x'0101', 'a/b', 'c/D', NULL, 1, x'00'), (2, x'0102', 'a/b', NULL, NULL, 1, x'00');
                 INSERT INTO manifest_references VALUES
                     (1, 1, x'01aa'), (1, 4, x'0102'), (2, 2, x'01aa'), (2, 3, x'0101');
                 INSERT INTO repository_manifests VALUES (1, 1, 1, x'0102', 5), (2, 1, 2, NULL, 6);
                 INSERT INTO tags VALUES (1, 'latest', 2, 7);
                 INSERT INTO uploads VALUES ('x', 'team/app', 0, 0, 'sha256', 3, x'00');",
            )
            .unwrap();
        transaction.commit().unwrap();
        migrate_blocking(&mut connection).unwrap();
        let rows = |query: &str| -> Vec<String> {
            let mut statement = connection.prepare(query).unwrap();
            let rows = statement.query_map([], |row| row.get(0)).unwrap();
            rows.collect::<Result<_, _>>().unwrap()
        };
        // Both links when their leases end, the manifest without a tag, the blob without a link.
        assert_eq!(
            rows(
                "SELECT kind || ' ' || repository_id || ' ' || item_id || ' ' || due_at
                  FROM collection_queue ORDER BY kind, item_id"
            ),
            ["1 1 1 77", "1 1 2 88", "2 1 1 5", "3 0 3 99"]
        );
        assert_eq!(
            rows(
                "SELECT hex(digest) || ' ' || kind || ' ' || manifest_id
                  FROM repository_references ORDER BY digest, kind"
            ),
            ["0101 3 2", "01AA 1 1", "01AA 2 2"]
        );
        assert_eq!(
            rows(
                "SELECT id || ' ' || coalesce(artifact_type, '-') || ' ' || coalesce(untagged_since, '-')
                  FROM repository_manifests ORDER BY id"
            ),
            ["1 c/D 5", "2 - -"]
        );
        assert_eq!(rows("SELECT blob_id || ' ' || leased_until FROM repository_blobs"), ["1 77", "2 88"]);
        assert_eq!(
            rows("SELECT name || ' ' || value FROM counters WHERE value > 0 ORDER BY name"),
            ["blob_bytes 70", "blobs 3", "manifests 2", "queued 4", "repositories 1", "tags 1", "uploads 1"]
        );
        assert_eq!(rows("SELECT location || store || writer FROM blobs, uploads LIMIT 1"), ["0"]);
    }
}
