//! The writing end of a session: hands chunks to the worker and waits while there is no room.

use std::{fmt, future::Future, sync::Arc};

use bytes::Bytes;
use registry_types::{Digest, UploadProgress};
use tokio::sync::{mpsc, oneshot};

use super::{
    Shared,
    failure::Failure,
    session::{Command, Covers, Reply, Session},
};
use crate::{BlobError, BlobWriter, StoredBlob};

/// Bytes that wait for room at once: few enough that many uploads get their turns.
const PIECE: usize = 256 << 10;

/// A session of an [`ObjectBlobs`](super::ObjectBlobs) being written.
pub struct ObjectWriter {
    session: Arc<Session>,
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
    length: u64,
}

impl ObjectWriter {
    pub(super) fn new(
        session: Arc<Session>,
        shared: Arc<Shared>,
        commands: mpsc::UnboundedSender<Command>,
        length: u64,
    ) -> Self {
        Self { session, shared, commands, length }
    }

    fn send(&self, command: Command) -> Result<(), BlobError> {
        self.commands.send(command).map_err(|_| self.session.fail(Failure::Lost))
    }

    /// Asks the worker for something now; the future gives its answer.
    fn ask<T: Send + 'static, C: FnOnce(Reply<T>) -> Command>(
        &self,
        command: C,
    ) -> impl Future<Output = Result<T, BlobError>> + Send + use<T, C> {
        let (reply, answer) = oneshot::channel();
        let sent = self.send(command(reply));
        let session = Arc::clone(&self.session);
        async move {
            sent?;
            answer.await.unwrap_or_else(|_| Err(session.fail(Failure::Lost)))
        }
    }
}

impl BlobWriter for ObjectWriter {
    async fn write(&mut self, mut chunk: Bytes) -> Result<(), BlobError> {
        while !chunk.is_empty() {
            self.session.check()?;
            let bytes = chunk.split_to(chunk.len().min(PIECE));
            let length = bytes.len();
            let queue = self.session.queue(length as u32).await?;
            let room = self.shared.room.acquire(length as u32).await;
            self.send(Command::Chunk { bytes, room, queue })?;
            self.length += length as u64;
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> impl Future<Output = Result<UploadProgress, BlobError>> + Send + use<> {
        self.ask(|reply| Command::Checkpoint { covers: Covers::Everything, reply })
    }

    fn checkpoint_on_the_way(
        &mut self,
    ) -> impl Future<Output = Result<UploadProgress, BlobError>> + Send + use<> {
        self.ask(|reply| Command::Checkpoint { covers: Covers::Stored, reply })
    }

    async fn leave(self) -> Result<UploadProgress, BlobError> {
        self.ask(|reply| Command::Checkpoint { covers: Covers::EverythingAtLast, reply }).await
    }

    fn wants_record(&self) -> bool {
        self.session.wants_record()
    }

    fn length(&self) -> u64 {
        self.length
    }

    async fn commit(self, expected: &Digest) -> Result<StoredBlob, BlobError> {
        let expected = *expected;
        self.ask(|reply| Command::Commit { expected, reply }).await
    }
}

impl fmt::Debug for ObjectWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectWriter")
            .field("id", &self.session.id)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}
