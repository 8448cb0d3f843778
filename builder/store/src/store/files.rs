//! Small files of the store: written whole or not at all, and locks that end with the process that holds them.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::FlockOperation;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{At as _, Result, StoreError};

/// Replaces the file at `path`: readers see the old content or the new one, also after a crash.
pub(super) fn write_record<T: Serialize>(path: &Path, record: &T) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let text = serde_json::to_vec(record)
        .map_err(|error| StoreError::Record { path: path.to_owned(), reason: error.to_string() })?;
    let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(directory).at("writing", path)?;
    file.write_all(&text).at("writing", path)?;
    file.as_file().sync_data().at("writing", path)?;
    file.persist(path).map_err(|error| error.error).at("writing", path)?;
    Ok(())
}

/// Reads a record; `None` if there is none.
pub(super) fn read_record<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.at("reading", path)?,
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| StoreError::Record { path: path.to_owned(), reason: error.to_string() })
}

/// Names that are left behind only by a process that was killed.
pub(super) const TEMPORARY: &str = ".tmp-";

/// Removes a file; that it is not there is fine.
pub(super) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).at("removing", path),
        _ => Ok(()),
    }
}

/// Notes that a file was used, for pruning. A failure loses nothing but the note.
pub(super) fn touch(path: &Path) {
    if let Ok(file) = File::open(path) {
        let _ = file.set_modified(SystemTime::now());
    }
}

/// Makes a directory with its parents.
pub(super) fn make_directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).at("making the directory", path)
}

/// Names in a directory that are text, which all of the store's are.
pub(super) fn names_in(path: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).at("listing", path)? {
        if let Ok(name) = entry.at("listing", path)?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

/// An advisory lock on a file; it ends when this is dropped or the process ends.
#[derive(Debug)]
pub(super) struct FileLock {
    file: File,
}

impl FileLock {
    /// Opens the lock file without locking it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::options().create(true).truncate(false).write(true).open(path);
        Ok(Self { file: file.at("opening the lock", path)? })
    }

    /// Waits until nobody else holds the lock.
    pub(super) fn exclusive(path: &Path) -> Result<Self> {
        let lock = Self::open(path)?;
        lock.wait(FlockOperation::LockExclusive).at("locking", path)?;
        Ok(lock)
    }

    /// Waits until nobody holds the lock alone.
    pub(super) fn share(&self) -> rustix::io::Result<()> {
        self.wait(FlockOperation::LockShared)
    }

    /// Takes the lock alone if nobody else holds it. What was held before may be lost if not.
    pub(super) fn try_exclusive(&self) -> bool {
        rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    fn wait(&self, operation: FlockOperation) -> rustix::io::Result<()> {
        loop {
            match rustix::fs::flock(&self.file, operation) {
                Err(rustix::io::Errno::INTR) => {}
                result => return result,
            }
        }
    }
}
