//! A copy of the database while it is served: SQLite's own copy of one moment, which no writer waits for.

use std::{fs, io, os::unix::fs::OpenOptionsExt, path::Path};

use rusqlite::{Connection, OpenFlags};

use super::{connection, schema};
use crate::MetadataError;

/// Copies the database at `from` to the new file `to` and checks the copy; gives its length in bytes.
pub(super) fn backup_blocking(from: &Path, to: &Path) -> Result<u64, MetadataError> {
    create_blocking(to)?;
    let length = fill_blocking(from, to);
    if length.is_err() {
        // Half a backup is none. The first error is the one to tell.
        let _ = fs::remove_file(to);
    }
    length
}

/// Makes the file, which only its owner may read: it will hold password hashes.
fn create_blocking(path: &Path) -> Result<(), MetadataError> {
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(MetadataError::AlreadyExists { what: path.display().to_string() })
        }
        Err(error) => Err(failed(path, &error)),
    }
}

fn fill_blocking(from: &Path, to: &Path) -> Result<u64, MetadataError> {
    let Some(target) = to.to_str() else {
        return Err(MetadataError::Unavailable {
            reason: format!("{} is not UTF-8: choose another path for the backup", to.display()),
        });
    };
    // SQLite takes an empty file as if it were new.
    connection::open_plain_blocking(from)?.execute("VACUUM INTO ?1", [target])?;
    let file = fs::File::open(to).map_err(|error| failed(to, &error))?;
    file.sync_all().map_err(|error| failed(to, &error))?;
    drop(file);
    connection::sync_folder_blocking(to)?;
    check_blocking(to)?;
    Ok(fs::metadata(to).map_err(|error| failed(to, &error))?.len())
}

/// Reads every page and index of the copy.
fn check_blocking(path: &Path) -> Result<(), MetadataError> {
    let copy = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let verdict: String = copy.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(MetadataError::Damaged { reason: format!("the copy is not whole: {verdict}") });
    }
    schema::check_blocking(&copy)
}

fn failed(path: &Path, error: &io::Error) -> MetadataError {
    if error.kind() == io::ErrorKind::StorageFull {
        return MetadataError::Full;
    }
    MetadataError::Unavailable { reason: format!("{} cannot be written: {error}", path.display()) }
}
