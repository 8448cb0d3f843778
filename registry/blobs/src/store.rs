//! The trait.

use std::{fs::File, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use registry_types::{Digest, HashState, UploadId};

use crate::BlobError;

type Answer<T> = Result<T, BlobError>;

/// A stored blob, open for reading. The file is never truncated or changed; it may be unlinked.
#[derive(Debug, Clone)]
pub struct BlobHandle {
    pub file: Arc<File>,
    /// Length, in bytes.
    pub size: u64,
}

pub trait BlobStore: Clone + Send + Sync + 'static {
    type Writer: BlobWriter;

    /// Opens a session's data for writing at `progress`: a new session has a fresh state of length 0; one that
    /// goes on after a crash is cut back to `progress.length` first. A session that still has a writer is taken
    /// over: the old writer gets [`BlobError::UploadLost`] and no longer reaches the data.
    ///
    /// # Errors
    /// [`BlobError::UploadLost`] when fewer bytes than `progress.length` are there.
    fn resume(&self, id: UploadId, progress: &HashState)
    -> impl Future<Output = Answer<Self::Writer>> + Send;

    /// Removes a session's data, if there is any. A writer at work gets [`BlobError::UploadLost`].
    fn abort(&self, id: UploadId) -> impl Future<Output = Answer<()>> + Send;

    /// `None` when the blob is not here. A blob may be found moments before its commit has answered, and is not
    /// durable until then: what refers to it goes by the answer, not by this.
    fn open(&self, digest: &Digest) -> impl Future<Output = Answer<Option<BlobHandle>>> + Send;

    /// Removes a blob's bytes; false when there were none. Only for collectors: references must be gone first.
    fn remove(&self, digest: &Digest) -> impl Future<Output = Answer<bool>> + Send;

    /// Ids of sessions whose data was not touched for `age`, for sweeping those that no record names.
    fn stale_sessions(&self, age: Duration) -> impl Future<Output = Answer<Vec<UploadId>>> + Send;
}

/// One session being written. Dropping it leaves the session where its last checkpoint was.
pub trait BlobWriter: Send + 'static {
    /// Hands over the next bytes. Waits while the worker is behind: memory stays bounded.
    fn write(&mut self, chunk: Bytes) -> impl Future<Output = Answer<()>> + Send;

    /// Starts making everything written so far durable; further writes may go on while the future is awaited.
    /// It gives the progress that may then be recorded.
    fn checkpoint(&mut self) -> impl Future<Output = Answer<HashState>> + Send + use<Self>;

    /// Bytes handed over in all, those of earlier requests included.
    fn length(&self) -> u64;

    /// Verifies the digest and makes the blob durable and visible, in the order: data synced, renamed, directory
    /// synced. Content that is stored already is dropped and the stored blob kept. Gives the size in bytes.
    ///
    /// # Errors
    /// [`BlobError::DigestMismatch`]: the session's data is removed.
    fn commit(self, expected: &Digest) -> impl Future<Output = Answer<u64>> + Send;
}
