//! From a finished session to a blob. In this order, so that a crash at any point leaves either no blob or a
//! whole one, and an answer only after everything is on the disk:
//!
//! 1. all bytes written, their digest compared with the one expected;
//! 2. the file's data synced;
//! 3. the file renamed into the blob's folder, never over a blob of the same length;
//! 4. the blob's folder synced, then the shard that holds the folder, then what holds the shard if the shard
//!    may be new.
//!
//! Step 4 is done for content that was stored already too: another commit may have renamed it and not synced yet.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use registry_types::{Algorithm, Digest, DigestHasher};

use super::{io_error, lock, session::Session};
use crate::BlobError;

/// Length of the reads that hash a file again, in bytes: it stays in a core's cache.
const REHASH_BUFFER: usize = 128 << 10;

/// How often a commit makes the blob's folder again when a collector removes it at the same moment.
const FOLDER_ATTEMPTS: usize = 8;

/// Ends a session as the blob `expected`, and gives its size.
pub(super) fn commit_blocking(session: &Session, expected: &Digest) -> Result<u64, BlobError> {
    session.finish_blocking(|ingest, sync_data| {
        let size = ingest.hasher.length();
        let actual = if ingest.hasher.algorithm() == expected.algorithm() {
            ingest.hasher.clone().finish()
        } else {
            rehash_blocking(&ingest.file, size, expected.algorithm())
                .map_err(|error| session.failed("read", &error))?
        };
        if actual != *expected {
            fs::remove_file(&session.path).map_err(|error| session.failed("remove", &error))?;
            return Err(BlobError::DigestMismatch { expected: *expected, actual });
        }
        failpoint("blob-before-sync")?;
        sync_data()?;
        failpoint("blob-after-sync")?;
        publish_blocking(session, expected, size)?;
        Ok(size)
    })
}

fn rehash_blocking(file: &File, size: u64, algorithm: Algorithm) -> io::Result<Digest> {
    let mut hasher = DigestHasher::new(algorithm);
    let mut buffer = vec![0; REHASH_BUFFER];
    while hasher.length() < size {
        match file.read_at(&mut buffer, hasher.length()) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => hasher.update(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hasher.finish())
}

fn publish_blocking(session: &Session, digest: &Digest, size: u64) -> Result<(), BlobError> {
    let directory = session.shared.layout.blob_directory(digest);
    let data = directory.join("data");
    let mut attempts = 0..FOLDER_ATTEMPTS;
    loop {
        make_directory(&directory).map_err(|error| io_error("make", &directory, error))?;
        match registry_io::rename_noreplace(&session.path, &data) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if keep_stored(session, &data, size)? {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempts.next().is_some() => {}
            Err(error) => return Err(session.failed("store", &error)),
        }
    }
    failpoint("blob-after-rename")?;
    let sync = |path: &Path| match registry_io::sync_directory(path) {
        // A collector took the blob away at this very moment, and its folder with it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(BlobError::UploadLost { id: session.id })
        }
        synced => synced.map_err(|error| io_error("sync the folder", path, error)),
    };
    sync(&directory)?;
    if let Some(shard) = directory.parent() {
        sync(shard)?;
        sync_holder_of(shard, session)?;
    }
    failpoint("blob-after-directory-sync")
}

/// Syncs the folder that a shard is in, once per shard: who made the shard may not have come to it yet.
fn sync_holder_of(shard: &Path, session: &Session) -> Result<(), BlobError> {
    if lock(&session.shared.durable_shards).contains(shard) {
        return Ok(());
    }
    if let Some(holder) = shard.parent() {
        registry_io::sync_directory(holder).map_err(|error| io_error("sync the folder", holder, error))?;
    }
    lock(&session.shared.durable_shards).insert(shard.to_owned());
    Ok(())
}

fn make_directory(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // The first blob of its shard.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            registry_io::create_directories_synced(directory)
        }
        made => made,
    }
}

/// Drops the session's file in favour of the stored one. A stored one of another length is damaged, whatever
/// damaged it: it is replaced. False when it is gone again.
fn keep_stored(session: &Session, data: &Path, size: u64) -> Result<bool, BlobError> {
    let stored = match fs::metadata(data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        stored => stored.map_err(|error| io_error("read the length of", data, error))?.len(),
    };
    if stored == size {
        fs::remove_file(&session.path).map_err(|error| session.failed("remove", &error))?;
        return Ok(true);
    }
    tracing::warn!(blob = %data.display(), stored, size, "replaced a stored blob of the wrong length");
    fs::rename(&session.path, data).map_err(|error| io_error("replace", data, error))?;
    Ok(true)
}

/// A place where a test can make a commit fail or stop.
#[cfg(feature = "failpoints")]
fn failpoint(name: &'static str) -> Result<(), BlobError> {
    fail::fail_point!(name, |_| Err(BlobError::Io {
        action: "pass the failpoint",
        what: name.to_owned(),
        source: io::Error::other("made to fail by a test"),
    }));
    Ok(())
}

#[cfg(not(feature = "failpoints"))]
#[expect(clippy::unnecessary_wraps, reason = "the same form as where tests can make it fail")]
fn failpoint(_name: &'static str) -> Result<(), BlobError> {
    Ok(())
}
