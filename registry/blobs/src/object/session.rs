//! An upload session as its writer, the store and its worker know it. At most one worker of a process reaches a
//! session's data; one that was closed starts nothing more, and whoever closed it waits until what it had begun
//! has ended, so that nothing of it arrives late.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use registry_types::{Digest, UploadId, UploadProgress};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use super::{failure::Failure, state::Multipart};
use crate::{BlobError, StoredBlob};

/// Most bytes of one session between its writer and its worker: enough to keep hashing while the socket is read.
pub(super) const QUEUE: usize = 1 << 20;

pub(super) type Reply<T> = oneshot::Sender<Result<T, BlobError>>;

/// What a writer asks its worker for, in order.
#[derive(Debug)]
pub(super) enum Command {
    Chunk {
        bytes: Bytes,
        /// The room that the bytes take in the store until they are stored.
        room: OwnedSemaphorePermit,
        /// And in the queue until the worker takes them.
        queue: OwnedSemaphorePermit,
    },
    Checkpoint {
        covers: Covers,
        reply: Reply<UploadProgress>,
    },
    Commit {
        expected: Digest,
        reply: Reply<StoredBlob>,
    },
}

/// What a checkpoint makes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Covers {
    /// What is durable anyway.
    Stored,
    Everything,
    /// Everything, and nothing more comes from this writer.
    EverythingAtLast,
}

/// What writer, store and worker share.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: UploadId,
    queue: Arc<Semaphore>,
    failure: Mutex<Option<Failure>>,
    /// A multipart upload that this worker began: an abort must find it though no record names it.
    multipart: Mutex<Option<Multipart>>,
    unrecorded: AtomicBool,
    /// Nothing is left that only this session knows.
    settled: AtomicBool,
    closed: CancellationToken,
    ended: CancellationToken,
}

impl Session {
    pub(super) fn new(id: UploadId) -> Self {
        Self {
            id,
            queue: Arc::new(Semaphore::new(QUEUE)),
            failure: Mutex::default(),
            multipart: Mutex::default(),
            unrecorded: AtomicBool::new(false),
            settled: AtomicBool::new(true),
            closed: CancellationToken::new(),
            ended: CancellationToken::new(),
        }
    }

    /// Why the session takes no more bytes, if it does not.
    pub(super) fn check(&self) -> Result<(), BlobError> {
        lock(&self.failure).as_ref().map_or(Ok(()), |failure| Err(failure.error(self.id)))
    }

    /// Ends the session; the first failure is the one that is told.
    pub(super) fn fail(&self, failure: Failure) -> BlobError {
        lock(&self.failure).get_or_insert(failure).error(self.id)
    }

    /// Waits for room in the queue.
    pub(super) async fn queue(&self, length: u32) -> Result<OwnedSemaphorePermit, BlobError> {
        let acquired = Arc::clone(&self.queue).acquire_many_owned(length).await;
        acquired.map_err(|_| self.fail(Failure::Lost))
    }

    /// Begins to close the session and waits until nothing of it is under way.
    pub(super) async fn close(&self) {
        self.fail(Failure::Lost);
        self.closed.cancel();
        self.ended.cancelled().await;
    }

    /// Answers when the session is closed.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Called when the worker has ended.
    pub(super) fn end(&self) {
        self.fail(Failure::Lost);
        self.ended.cancel();
    }

    pub(super) fn note_multipart(&self, multipart: &Multipart) {
        *lock(&self.multipart) = Some(multipart.clone());
        self.settled.store(false, Ordering::Relaxed);
        self.want_record();
    }

    pub(super) fn want_record(&self) {
        self.unrecorded.store(true, Ordering::Relaxed);
    }

    pub(super) fn multipart(&self) -> Option<Multipart> {
        lock(&self.multipart).clone()
    }

    pub(super) fn wants_record(&self) -> bool {
        self.unrecorded.load(Ordering::Relaxed)
    }

    /// The session was committed, or left with a progress that its writer records.
    pub(super) fn settle(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// A progress that names everything was handed over.
    pub(super) fn recorded(&self) {
        self.unrecorded.store(false, Ordering::Relaxed);
    }
}

/// Locks a mutex whose holders keep their data whole at every step, so that a panic of one harms no other.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
