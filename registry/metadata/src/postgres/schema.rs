//! The schema and its version. A database is brought forward by numbered migrations, each in one transaction with
//! the version it leads to; a database of a newer program is refused untouched. Replicas that start at once take
//! turns by a lock of the database.

use super::{connection::Connection, error::Failure};
use crate::MetadataError;

/// Migrations in order; the first leads to version 1. Never edit one that was released: add another.
const MIGRATIONS: &[&str] =
    &[include_str!("migrations/0001_initial.sql"), include_str!("migrations/0002_secrets.sql")];

/// The version this program reads and writes.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// The key of the lock that migrations take turns by: "slipway" in ASCII, so that it meets no other program's.
const LOCK: i64 = 0x0073_6c69_7077_6179;

/// Brings the schema to [`VERSION`]. After an error the connection may be within a transaction.
pub(super) async fn migrate(connection: &Connection) -> Result<(), Failure> {
    loop {
        // Waits as long as another replica's migration takes, which may be longer than any other statement.
        connection
            .command(&format!("BEGIN; SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock({LOCK})"))
            .await?;
        let version = version(connection).await?;
        let next = usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version));
        let Some(migration) = next else {
            connection.command("ROLLBACK").await?;
            return Ok(check_version(version)?);
        };
        connection.command(migration).await?;
        // A commit whose answer is lost is no harm: the next attempt reads the version.
        connection
            .command(&format!(
                "CREATE TABLE IF NOT EXISTS schema_version
                     (only_row BOOLEAN PRIMARY KEY CHECK (only_row), version BIGINT NOT NULL);
                 INSERT INTO schema_version VALUES (TRUE, {0})
                     ON CONFLICT (only_row) DO UPDATE SET version = excluded.version;
                 COMMIT",
                version + 1
            ))
            .await?;
        tracing::info!(version = version + 1, "metadata schema migrated");
    }
}

/// Checks that the schema is of [`VERSION`] and changes nothing.
pub(super) async fn check(connection: &Connection) -> Result<(), Failure> {
    Ok(check_version(version(connection).await?)?)
}

fn check_version(version: i64) -> Result<(), MetadataError> {
    if version == VERSION {
        return Ok(());
    }
    let mend = if version > VERSION {
        "use the newer program that wrote it, or restore the backup made before it"
    } else {
        "bring it forward with `slipway registry migrate`"
    };
    Err(MetadataError::Damaged {
        reason: format!("its schema has version {version} and this program knows version {VERSION}: {mend}"),
    })
}

/// 0 for an empty database.
async fn version(connection: &Connection) -> Result<i64, Failure> {
    let table = connection.one("SELECT to_regclass('schema_version') IS NOT NULL", &[]).await?;
    if !table.try_get(0)? {
        return Ok(0);
    }
    Ok(connection.one("SELECT version FROM schema_version", &[]).await?.try_get(0)?)
}
