//! Connections to one database file, set up alike: write-ahead log, every commit synced, foreign keys checked.
//!
//! POSIX record locks belong to the process, and closing any descriptor of a file drops all of them. So nothing
//! but SQLite may open the database file while this process has a connection to it.

use std::{fs, io, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};

use crate::MetadataError;

/// How long a write waits for another process's. Those only change accounts and rules, in milliseconds.
const BUSY_PATIENCE: Duration = Duration::from_secs(10);

/// Prepared statements each connection keeps: more than this crate has.
const STATEMENTS: usize = 128;

/// Pages of the log after which a commit also copies it into the database: 16 MiB. Pages that many commits
/// touched are copied once; recovery after a crash reads at most about this much.
const CHECKPOINT_PAGES: u32 = 4_000;

/// The log is cut back to this after a burst, in bytes.
const LONGEST_LOG: u32 = 64 << 20;

/// SQLite's own page cache, in KiB: the writer touches the same index pages again and again, readers come only
/// for what the caches above missed, and the kernel's page cache is behind both.
const WRITER_CACHE_KIB: i32 = 4 << 10;
const READER_CACHE_KIB: i32 = 1 << 10;

/// Makes an empty file that only its owner may read: it will hold password hashes. SQLite gives its log the
/// same mode. An existing file is left alone, not even opened.
pub(super) fn create_file_blocking(path: &Path) -> Result<(), MetadataError> {
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(MetadataError::Unavailable { reason: format!("{} cannot be made: {error}", path.display()) })
        }
        _ => Ok(()),
    }
}

/// Makes the names of the database and its log durable.
pub(super) fn sync_folder_blocking(path: &Path) -> Result<(), MetadataError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| MetadataError::Unavailable {
        reason: format!("{} cannot be synced: {error}", folder.display()),
    })
}

pub(super) fn open_writer_blocking(path: &Path) -> Result<Connection, MetadataError> {
    let connection = open(path, WRITER_CACHE_KIB)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(MetadataError::Unavailable {
            reason: format!(
                "{} is on a file system without shared memory (journal mode {mode})",
                path.display()
            ),
        });
    }
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update_and_check(None, "journal_size_limit", LONGEST_LOG, |_| Ok(()))?;
    Ok(connection)
}

pub(super) fn open_reader_blocking(path: &Path) -> Result<Connection, MetadataError> {
    let connection = open(path, READER_CACHE_KIB)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// A connection for one task beside those of the store, which writes nothing to this database.
pub(super) fn open_plain_blocking(path: &Path) -> Result<Connection, MetadataError> {
    open(path, READER_CACHE_KIB)
}

fn open(path: &Path, cache_kib: i32) -> Result<Connection, MetadataError> {
    // No mutex: each connection stays on one thread. No URI: a path is a path. No creation: see above.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // FULL: a commit is on the disk when it returns, not only consistent after a power loss.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Negative: KiB rather than pages.
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn commits_are_synced_and_files_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metadata.db");
        create_file_blocking(&path).unwrap();
        let writer = open_writer_blocking(&path).unwrap();
        let synchronous: i64 = writer.query_row("PRAGMA synchronous", [], |row| row.get(0)).unwrap();
        assert_eq!(synchronous, 2, "2 is FULL");
        let mode: String = writer.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
        writer.execute_batch("CREATE TABLE t (x)").unwrap();
        for name in ["metadata.db", "metadata.db-wal"] {
            let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let reader = open_reader_blocking(&path).unwrap();
        assert!(reader.execute_batch("DROP TABLE t").is_err(), "a reader wrote");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = create_file_blocking(&folder.path().join("none/metadata.db")).unwrap_err();
        assert!(
            matches!(&error, MetadataError::Unavailable { reason } if reason.contains("none/metadata.db"))
        );
    }
}
