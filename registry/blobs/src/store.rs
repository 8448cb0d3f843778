//! The trait.

use std::{fmt, fs::File, future::Future, io, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, future::BoxFuture};
use registry_types::{BlobLocation, Digest, UploadId, UploadProgress};
use url::Url;

use crate::BlobError;

type Answer<T> = Result<T, BlobError>;

/// A stored blob, open for reading.
#[derive(Debug, Clone)]
pub struct BlobHandle {
    /// Length, in bytes.
    pub size: u64,
    pub content: BlobSource,
}

/// Where an open blob's bytes come from.
#[derive(Debug, Clone)]
pub enum BlobSource {
    /// A file that is never truncated or changed; it may be unlinked.
    File(Arc<File>),
    /// An object elsewhere, of which nothing was read yet: it may turn out to be gone.
    Remote(Arc<dyn RemoteBlob>),
}

/// Bytes of a blob as they come, in chunks of bounded length.
pub type BlobStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A blob that is read over the network.
pub trait RemoteBlob: fmt::Debug + Send + Sync {
    /// Begins to read `length` bytes from `start` on, which must be in the blob. The stream gives exactly those or
    /// ends with an error; a connection that is cut on the way is made again.
    ///
    /// # Errors
    /// [`BlobError::Missing`] and [`BlobError::Unavailable`].
    fn stream(&self, start: u64, length: u64) -> BoxFuture<'_, Answer<BlobStream>>;

    /// A URL at which whoever has it can read the blob for `lifetime`; `None` where there is no such thing.
    fn presign(&self, lifetime: Duration) -> BoxFuture<'_, Answer<Option<Url>>>;
}

/// What a commit stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlob {
    /// Length, in bytes.
    pub size: u64,
    pub location: BlobLocation,
    /// What the upload needed on the way: for [`BlobStore::discard`] once its row is gone.
    pub leftovers: Vec<BlobLocation>,
}

pub trait BlobStore: Clone + Send + Sync + 'static {
    type Writer: BlobWriter;

    /// Whether what is being uploaded can only be found again by its recorded progress, so that every upload needs
    /// a record. If not, [`Self::stale_sessions`] finds what no record names.
    fn records_sessions(&self) -> bool;

    /// Answers when the store can be reached: for readiness checks.
    fn ping(&self) -> impl Future<Output = Answer<()>> + Send;

    /// Opens a session's data for writing at `progress`: a new session has a fresh state of length 0; one that
    /// goes on after a crash, or on another machine, goes on behind `progress` whatever was written after it. A
    /// session that still has a writer in this process is taken over: the old writer gets
    /// [`BlobError::UploadLost`] and no longer reaches the data. `writer` is greater for each resume of a session,
    /// on whatever machine, and grows by one from a resume to the next if nobody resumed between. The caller sees to
    /// it that no earlier writer's progress is recorded from now on.
    ///
    /// # Errors
    /// [`BlobError::UploadLost`] when fewer bytes than `progress` promises are there; it may come from the
    /// writer's commit instead.
    fn resume(
        &self,
        id: UploadId,
        writer: u64,
        progress: &UploadProgress,
    ) -> impl Future<Output = Answer<Self::Writer>> + Send;

    /// Removes a session's data, if there is any; `progress` is what its record says, if it has one. A writer at
    /// work in this process gets [`BlobError::UploadLost`]. Never for a session whose blob was linked.
    fn abort(
        &self,
        id: UploadId,
        progress: Option<&UploadProgress>,
    ) -> impl Future<Output = Answer<()>> + Send;

    /// Gives up what only this process knows of a session that another one goes on with from `progress`, or that has
    /// ended: its blob may be linked.
    fn abandon(
        &self,
        id: UploadId,
        progress: Option<&UploadProgress>,
    ) -> impl Future<Output = Answer<()>> + Send;

    /// The file that a session's bytes are written to, for readers beside its writer: what lies behind its end was not
    /// written yet, and it is never cut while the writer lives. `None`: this store has no such file.
    fn session_file(&self, _id: UploadId) -> impl Future<Output = Answer<Option<Arc<File>>>> + Send {
        async { Ok(None) }
    }

    /// Opens a blob of `size` bytes. `None` when it is not here; an object elsewhere may turn out so when it is
    /// read. A blob may be found moments before its commit has answered, and is not durable until then: what
    /// refers to it goes by the answer, not by this.
    fn open(
        &self,
        digest: &Digest,
        location: &BlobLocation,
        size: u64,
    ) -> impl Future<Output = Answer<Option<BlobHandle>>> + Send;

    /// Removes a blob's bytes; false when there were none, as far as the store can tell. Only for collectors:
    /// references must be gone first.
    fn remove(&self, digest: &Digest, location: &BlobLocation) -> impl Future<Output = Answer<bool>> + Send;

    /// Removes what a commit left over.
    fn discard(&self, leftovers: Vec<BlobLocation>) -> impl Future<Output = Answer<()>> + Send;

    /// Ids of sessions whose data was not touched for `age`, for sweeping those that no record names. Empty for a
    /// store that records its sessions.
    fn stale_sessions(&self, age: Duration) -> impl Future<Output = Answer<Vec<UploadId>>> + Send;
}

/// One session being written. Dropping it leaves the session where its last checkpoint was.
pub trait BlobWriter: Send + 'static {
    /// Hands over the next bytes. Waits while the worker is behind: memory stays bounded.
    fn write(&mut self, chunk: Bytes) -> impl Future<Output = Answer<()>> + Send;

    /// Starts making everything written so far durable; further writes may go on while the future is awaited.
    /// It gives the progress that may then be recorded.
    fn checkpoint(&mut self) -> impl Future<Output = Answer<UploadProgress>> + Send + use<Self>;

    /// Like [`Self::checkpoint`] in the middle of many bytes: the progress may stay behind what was written, if
    /// that spares work.
    fn checkpoint_on_the_way(&mut self) -> impl Future<Output = Answer<UploadProgress>> + Send + use<Self>;

    /// Makes everything durable and leaves the session to the next writer. It gives the progress to record.
    fn leave(self) -> impl Future<Output = Answer<UploadProgress>> + Send;

    /// Whether progress should be recorded soon, or the session could not be found after a crash, or could not go
    /// on. Progress that was asked for counts as recorded when more is asked for.
    fn wants_record(&self) -> bool;

    /// Bytes handed over in all, those of earlier requests included.
    fn length(&self) -> u64;

    /// Verifies the digest and makes the blob durable and visible. Content that is stored already under its
    /// digest is dropped and the stored blob kept.
    ///
    /// # Errors
    /// [`BlobError::DigestMismatch`]: the session's data is removed.
    fn commit(self, expected: &Digest) -> impl Future<Output = Answer<StoredBlob>> + Send;
}
