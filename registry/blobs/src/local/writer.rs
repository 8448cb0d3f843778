//! The writing end of a session: hands chunks to the session's queue and waits while there is no room.

use std::{fmt, future::Future, sync::Arc};

use bytes::Bytes;
use registry_types::{BlobLocation, Digest, UploadProgress};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    STORE_QUEUE,
    commit::commit_blocking,
    run_blocking,
    session::{BATCH, Session},
    write_job::Queued,
};
use crate::{BlobError, BlobWriter, StoredBlob};

/// While at least this much room is left, a short queue may wait for more before a thread is woken for it. With
/// less, every chunk is written at once, so that what waits never fills the room.
const ROOM_FOR_PATIENCE: usize = STORE_QUEUE / 2;

/// A session of a [`LocalBlobs`](super::LocalBlobs) being written.
pub struct LocalWriter {
    session: Arc<Session>,
    length: u64,
}

impl LocalWriter {
    pub(super) fn new(session: Arc<Session>, length: u64) -> Self {
        Self { session, length }
    }

    fn submit(&self) {
        self.session.shared.pool.submit(Arc::clone(&self.session));
    }

    /// Waits until the session and the store have room for `length` bytes.
    async fn room(&self, length: u32) -> Result<[OwnedSemaphorePermit; 2], BlobError> {
        let acquire = async |room: &Arc<Semaphore>| {
            let closed = |_| BlobError::UploadLost { id: self.session.id };
            Arc::clone(room).acquire_many_owned(length).await.map_err(closed)
        };
        let own = acquire(&self.session.room).await?;
        let all = &self.session.shared.room;
        if all.available_permits() < length as usize && self.session.needs_turn() {
            // What this session holds back must not be what all wait for.
            self.submit();
        }
        Ok([own, acquire(all).await?])
    }
}

impl BlobWriter for LocalWriter {
    async fn write(&mut self, mut chunk: Bytes) -> Result<(), BlobError> {
        while !chunk.is_empty() {
            self.session.check()?;
            let bytes = chunk.split_to(chunk.len().min(BATCH));
            let length = bytes.len();
            let room = self.room(length as u32).await?;
            let patient = self.session.shared.room.available_permits() >= ROOM_FOR_PATIENCE;
            if self.session.push(Queued::new(bytes, room), patient)? {
                self.submit();
            }
            self.length += length as u64;
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> impl Future<Output = Result<UploadProgress, BlobError>> + Send + use<> {
        let (session, until) = (Arc::clone(&self.session), self.length);
        // Begun here, not when the future is first awaited.
        run_blocking("checkpoint", &self.session.path, move || {
            session.checkpoint_blocking(until).map(UploadProgress::from)
        })
    }

    fn checkpoint_on_the_way(
        &mut self,
    ) -> impl Future<Output = Result<UploadProgress, BlobError>> + Send + use<> {
        self.checkpoint()
    }

    async fn leave(mut self) -> Result<UploadProgress, BlobError> {
        self.checkpoint().await
    }

    fn wants_record(&self) -> bool {
        false
    }

    fn length(&self) -> u64 {
        self.length
    }

    async fn commit(self, expected: &Digest) -> Result<StoredBlob, BlobError> {
        let (session, expected) = (self.session, *expected);
        let path = session.path.clone();
        run_blocking("commit", &path, move || {
            let size = commit_blocking(&session, &expected)?;
            Ok(StoredBlob { size, location: BlobLocation::ByDigest, leftovers: Vec::new() })
        })
        .await
    }
}

impl fmt::Debug for LocalWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalWriter").field("id", &self.session.id).field("length", &self.length).finish()
    }
}
