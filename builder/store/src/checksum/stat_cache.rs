//! Remembers the digests of files between builds, so that a large context that did not change is not read again.
//!
//! A file is the same if device, inode, size, and both its times to the nanosecond are; the time of the inode's change
//! cannot be set by programs. A file that changed within the last moments before it was read is not remembered, since
//! a second change in the same tick of the clock would not show.
//!
//! Any number of threads share a cache: it is locked while a digest is looked up or put in, never while a file is read.

use std::collections::HashMap;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use registry_types::{Algorithm, Digest};

use crate::error::{At as _, Result};
use crate::tree::Metadata;

/// Files that are remembered: some 20 MiB on disk.
const MAX_FILES: usize = 250_000;
/// Ticks of file times are at most 10 ms (HZ=100); some network file systems round to two seconds.
const SETTLED_SECONDS: i64 = 3;
/// First bytes of the file: what it is, and its version.
const MAGIC: &[u8; 8] = b"slipstt1";

const FIELDS: usize = 7;
const DIGEST: usize = 32;
const RECORD: usize = FIELDS * 8 + DIGEST;

type Key = [u64; FIELDS];

/// Digests by what the system says of the file.
#[derive(Debug, Default)]
pub struct StatCache {
    files: Mutex<Files>,
}

#[derive(Debug, Default)]
struct Files {
    known: HashMap<Key, Digest>,
    /// What this build asked for; only that is saved, so files that are gone are forgotten.
    used: HashMap<Key, Digest>,
}

impl StatCache {
    /// Reads a cache. One that is missing or damaged is empty: it only costs time.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            bytes => bytes.at("reading", path)?,
        };
        let (content, checksum) = bytes.split_at(bytes.len().saturating_sub(DIGEST));
        if Digest::sha256(content).as_bytes() != checksum {
            return Ok(Self::default());
        }
        let Some(records) = content.strip_prefix(MAGIC) else { return Ok(Self::default()) };
        let known = records.chunks_exact(RECORD).filter_map(|record| {
            let (fields, digest) = record.split_at(FIELDS * 8);
            let mut key = [0; FIELDS];
            for (field, bytes) in key.iter_mut().zip(fields.chunks_exact(8)) {
                *field = u64::from_le_bytes(bytes.try_into().ok()?);
            }
            Some((key, Digest::from_bytes(Algorithm::Sha256, digest)?))
        });
        Ok(Self { files: Mutex::new(Files { known: known.collect(), used: HashMap::new() }) })
    }

    /// Writes what this build used, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut entries: Vec<_> = self.files().used.iter().map(|(key, digest)| (*key, *digest)).collect();
        entries.sort();
        entries.truncate(MAX_FILES);
        let mut content = MAGIC.to_vec();
        for (key, digest) in entries {
            for field in key {
                content.extend_from_slice(&field.to_le_bytes());
            }
            content.extend_from_slice(digest.as_bytes());
        }
        let checksum = Digest::sha256(&content);
        content.extend_from_slice(checksum.as_bytes());
        let directory = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(directory).at("writing", path)?;
        file.write_all(&content).at("writing", path)?;
        file.persist(path).map_err(|error| error.error).at("writing", path)?;
        Ok(())
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, metadata: &Metadata) -> Option<Digest> {
        let key = key(metadata);
        let mut files = self.files();
        let digest = *files.used.get(&key).or_else(|| files.known.get(&key))?;
        files.used.insert(key, digest);
        Some(digest)
    }

    pub(super) fn insert(&self, metadata: &Metadata, digest: Digest) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64);
        let last_change = metadata.changed.0.max(metadata.modified.seconds);
        if now.saturating_sub(last_change) >= SETTLED_SECONDS {
            self.files().used.insert(key(metadata), digest);
        }
    }
}

fn key(metadata: &Metadata) -> Key {
    [
        metadata.identity.0,
        metadata.identity.1,
        metadata.size,
        metadata.modified.seconds as u64,
        u64::from(metadata.modified.nanoseconds),
        metadata.changed.0 as u64,
        u64::from(metadata.changed.1),
    ]
}
