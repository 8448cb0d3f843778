//! [`Metadata`](crate::Metadata) in one SQLite file: the engine of one machine.
//!
//! - A write is answered after a synced commit; writes that wait together share one (see [`writer`]).
//! - A read begins after every write acknowledged before it and sees it, whether it comes from the database or
//!   from the cache, which is never stale (see [`crate::cache`]).
//! - One process serves; the data folder's lock sees to that. Another process may stand beside it with
//!   [`SqliteMetadata::open_beside_server_blocking`]: it changes only accounts and rules, which are never cached
//!   without asking the database, so the server sees such a change with the next request.

mod accounts;
mod background;
mod backup;
mod blobs;
mod collection;
mod columns;
mod connection;
mod counters;
mod error;
mod events;
mod explanation;
mod manifest_rows;
mod manifests;
mod metadata;
mod policies;
mod queue;
mod quotas;
mod readers;
mod referrers;
mod removals;
mod repositories;
mod revisions;
mod rows;
mod schema;
mod secrets;
#[cfg(test)]
mod tests;
mod uploads;
mod verdicts;
mod worker;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use registry_types::{Digest, Reference, RepositoryName, Tag};

use self::{
    readers::Readers,
    revisions::Revised,
    writer::{Role, Writer},
};
use crate::{BlobRecord, ManifestRecord, MetadataError, RuleRecord, TagRuleRecord, cache::ExactCache};

/// Metadata in one SQLite file. Cloning is cheap; all clones share one writer, its readers and the cache.
///
/// Dropping the last clone finishes what is queued and copies the log into the database, which blocks for some
/// milliseconds: on a runtime's worker call [`Self::close`] first.
#[derive(Debug, Clone)]
pub struct SqliteMetadata {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    role: Role,
    path: PathBuf,
    caches: Arc<Caches>,
    rules: Arc<Revised<Vec<RuleRecord>>>,
    tag_rules: Arc<Revised<Vec<TagRuleRecord>>>,
    // The order of dropping: no reader stands in the way of the writer's last checkpoint.
    readers: Readers,
    writer: Writer,
}

/// What can be set.
#[derive(Debug, Clone, Copy)]
pub struct SqliteOptions {
    /// Most memory that cached manifests take, in bytes; zero caches nothing.
    pub manifest_cache_bytes: usize,
    /// Most memory that cached blob records take, in bytes; zero caches nothing.
    pub blob_cache_bytes: usize,
    /// Threads that read, each with a connection of its own (about 1 MiB).
    pub readers: usize,
}

impl Default for SqliteOptions {
    /// 8 MiB hold about 4,000 ordinary manifests, 1 MiB about 4,000 blob records, more images than one machine
    /// serves at a time. Two readers: what they wait for is the disk, and what is hot they are not asked for.
    fn default() -> Self {
        Self { manifest_cache_bytes: 8 << 20, blob_cache_bytes: 1 << 20, readers: 2 }
    }
}

impl SqliteMetadata {
    /// Opens the database at `path`, makes it if it is missing and brings its schema forward. The caller holds the
    /// lock of the data folder: only one process may have the file open this way. Blocks on the disk.
    ///
    /// # Errors
    /// [`MetadataError::Damaged`] for a file of a newer program or no database at all,
    /// [`MetadataError::Unavailable`] when it cannot be opened or written.
    pub fn open(path: &Path) -> Result<Self, MetadataError> {
        Self::open_with(path, SqliteOptions::default())
    }

    /// [`Self::open`] with options.
    pub fn open_with(path: &Path, options: SqliteOptions) -> Result<Self, MetadataError> {
        connection::create_file_blocking(path)?;
        let opened = Self::start_blocking(path, Role::Sole, options)?;
        connection::sync_folder_blocking(path)?;
        Ok(opened)
    }

    /// Opens the database of a server that may be running in another process, to read anything and to change
    /// accounts and rules. Other writes are refused: the server would not see them. Blocks on the disk.
    ///
    /// # Errors
    /// Those of [`Self::open`]; a missing database or one of an older schema is also refused.
    pub fn open_beside_server_blocking(path: &Path) -> Result<Self, MetadataError> {
        let options = SqliteOptions { manifest_cache_bytes: 0, blob_cache_bytes: 0, readers: 1 };
        Self::start_blocking(path, Role::Beside, options)
    }

    fn start_blocking(path: &Path, role: Role, options: SqliteOptions) -> Result<Self, MetadataError> {
        let caches = Arc::new(Caches::new(options));
        let writer = Writer::open_blocking(path, role, caches.clone())?;
        let readers = Readers::open_blocking(path, options.readers)?;
        let (rules, tag_rules) = (Arc::default(), Arc::default());
        Ok(Self {
            inner: Arc::new(Inner { role, path: path.to_owned(), caches, rules, tag_rules, readers, writer }),
        })
    }

    /// Finishes every call that is under way, copies the log into the database and closes the file. Later calls
    /// on any clone answer [`MetadataError::Unavailable`].
    pub async fn close(&self) {
        self.inner.readers.close().await;
        self.inner.writer.close().await;
    }
}

/// What a manifest is cached under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ManifestKey {
    repository: RepositoryName,
    reference: Reference,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct BlobKey {
    repository: RepositoryName,
    digest: Digest,
}

#[derive(Debug)]
struct Caches {
    manifests: ExactCache<ManifestKey, Arc<ManifestRecord>>,
    blobs: ExactCache<BlobKey, BlobRecord>,
}

/// The keys that a transaction changes.
#[derive(Debug, Default)]
struct Changes {
    manifests: Vec<ManifestKey>,
    blobs: Vec<BlobKey>,
}

impl Caches {
    fn new(options: SqliteOptions) -> Self {
        Self {
            manifests: ExactCache::new(options.manifest_cache_bytes, |record| record.bytes.len()),
            blobs: ExactCache::new(options.blob_cache_bytes, |_| 0),
        }
    }

    fn begin(&self, changes: &Changes) {
        self.manifests.begin(&changes.manifests);
        self.blobs.begin(&changes.blobs);
    }

    fn end(&self, changes: &Changes) {
        self.manifests.end(&changes.manifests);
        self.blobs.end(&changes.blobs);
    }
}

impl Changes {
    fn manifest(&mut self, repository: &RepositoryName, reference: Reference) {
        self.manifests.push(ManifestKey { repository: repository.clone(), reference });
    }

    fn tags(&mut self, repository: &RepositoryName, tags: impl IntoIterator<Item = Tag>) {
        for tag in tags {
            self.manifest(repository, tag.into());
        }
    }

    fn append(&mut self, mut other: Self) {
        self.manifests.append(&mut other.manifests);
        self.blobs.append(&mut other.blobs);
    }
}
