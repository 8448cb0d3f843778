//! Upload sessions: start, append, ask, cancel, complete, and mounting instead of uploading.
//!
//! The crash argument. A session's row says how many bytes are durable and holds the hash state over exactly
//! those; it is written only after the blob store has synced them, at the end of every append and every
//! [`CHECKPOINT_BYTES`] inside one. Completing syncs the bytes, renames them into place, syncs the directory,
//! and only then links the blob and ends the session in one transaction. So after a crash at any point a
//! session goes on from its row, or the blob is whole and linked, or the client was told nothing.

use std::pin::{Pin, pin};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, future::OptionFuture};
use registry_auth::{CatalogGrant, Grant, Pull, Push};
use registry_blobs::{BlobStore, BlobWriter};
use registry_metadata::{BlobRecord, Metadata, UploadRecord};
use registry_types::{Algorithm, ContentRange, Digest, DigestHasher, HashState, UploadId};
use time::OffsetDateTime;

use crate::{CoreError, Registry, sessions::SessionLock};

/// Bytes between two checkpoints of one append: a client whose server died sends at most this much again.
const CHECKPOINT_BYTES: u64 = 64 << 20;

/// Why a request's body ended early.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BodyError(pub String);

/// A request's body.
pub type UploadBody = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// A session as its client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadStatus {
    pub id: UploadId,
    /// Bytes received and durable.
    pub length: u64,
}

/// What became of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounted {
    Linked,
    /// The blob cannot be mounted; the client is to upload it through this session.
    Upload(UploadStatus),
}

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// Starts a session that will be hashed with `algorithm`.
    pub async fn start_upload(
        &self,
        grant: &Grant<Push>,
        algorithm: Algorithm,
    ) -> Result<UploadStatus, CoreError> {
        let now = OffsetDateTime::now_utc();
        let upload = UploadRecord {
            id: UploadId::random(),
            repository: grant.repository().clone(),
            started_at: now,
            touched_at: now,
            progress: DigestHasher::new(algorithm).save(),
        };
        self.metadata.create_upload(&upload).await?;
        Ok(UploadStatus { id: upload.id, length: 0 })
    }

    pub async fn upload_status(&self, grant: &Grant<Push>, id: UploadId) -> Result<UploadStatus, CoreError> {
        // A request that is still writing would make the answer stale; it is waited for.
        let _lock = self.lock_session(id).await?;
        let record = self.upload_record(grant, id).await?;
        Ok(UploadStatus { id, length: record.progress.length })
    }

    /// Ends a session and removes its data.
    pub async fn cancel_upload(&self, grant: &Grant<Push>, id: UploadId) -> Result<(), CoreError> {
        let _lock = self.lock_session(id).await?;
        if !self.metadata.delete_upload(grant.repository(), &id).await? {
            return Err(CoreError::UploadUnknown { id });
        }
        Ok(self.blobs.abort(id).await?)
    }

    /// Appends a chunk. What arrived before a cut is kept, and the session's status tells how much that is.
    ///
    /// # Errors
    /// [`CoreError::WrongOffset`] when `range` does not begin where the session ends; nothing is read then.
    pub async fn append(
        &self,
        grant: &Grant<Push>,
        id: UploadId,
        range: Option<ContentRange>,
        body: UploadBody,
    ) -> Result<UploadStatus, CoreError> {
        let (registry, grant) = (self.clone(), grant.clone());
        // In a task of its own: when the connection dies the request's future is dropped, and what has arrived
        // must still become durable and be recorded.
        let task = self.running.spawn(async move {
            let lock = registry.lock_session(id).await?;
            registry.append_locked(&lock, &grant, id, range, body).await
        });
        task.await.map_err(|error| CoreError::Internal { reason: error.to_string() })?
    }

    async fn append_locked(
        &self,
        _lock: &SessionLock,
        grant: &Grant<Push>,
        id: UploadId,
        range: Option<ContentRange>,
        body: UploadBody,
    ) -> Result<UploadStatus, CoreError> {
        let record = self.upload_record(grant, id).await?;
        check_offset(id, range, record.progress.length)?;
        let mut writer = self.blobs.resume(id, &record.progress).await?;
        let received = self.receive(id, &mut writer, body).await;
        let progress = writer.checkpoint().await?;
        self.save_progress(id, &progress).await?;
        received?;
        check_chunk_length(range, progress.length - record.progress.length)?;
        Ok(UploadStatus { id, length: progress.length })
    }

    /// Takes an optional last chunk, verifies the whole against `expected` and makes it a blob of the repository.
    ///
    /// # Errors
    /// [`CoreError::DigestMismatch`]: the session is over and its data removed.
    pub async fn complete(
        &self,
        grant: &Grant<Push>,
        id: UploadId,
        range: Option<ContentRange>,
        body: UploadBody,
        expected: Digest,
    ) -> Result<(), CoreError> {
        let (registry, grant) = (self.clone(), grant.clone());
        let task = self.running.spawn(async move {
            let _lock = registry.lock_session(id).await?;
            let record = registry.upload_record(&grant, id).await?;
            check_offset(id, range, record.progress.length)?;
            let mut writer = registry.blobs.resume(id, &record.progress).await?;
            let received = registry.receive_unrecorded(&mut writer, body).await;
            let chunk = writer.length() - record.progress.length;
            // On an error the session stays where its row says; the client may send the chunk again.
            received.and_then(|()| check_chunk_length(range, chunk))?;
            let committed = writer.commit(&expected).await;
            if let Err(registry_blobs::BlobError::DigestMismatch { .. }) = &committed {
                registry.metadata.delete_upload(grant.repository(), &id).await?;
            }
            let blob = BlobRecord { digest: expected, size: committed? };
            Ok(registry.metadata.link_blob(grant.repository(), &blob, Some(&id)).await?)
        });
        task.await.map_err(|error| CoreError::Internal { reason: error.to_string() })?
    }

    /// Stores a blob sent in one request. No session is recorded: a client that is cut off starts anew.
    pub async fn push_blob(
        &self,
        grant: &Grant<Push>,
        body: UploadBody,
        expected: Digest,
    ) -> Result<(), CoreError> {
        let (registry, grant) = (self.clone(), grant.clone());
        let task = self.running.spawn(async move {
            let id = UploadId::random();
            let start = DigestHasher::new(expected.algorithm()).save();
            let mut writer = registry.blobs.resume(id, &start).await?;
            if let Err(error) = registry.receive_unrecorded(&mut writer, body).await {
                drop(writer);
                registry.blobs.abort(id).await?;
                return Err(error);
            }
            let blob = BlobRecord { digest: expected, size: writer.commit(&expected).await? };
            Ok(registry.metadata.link_blob(grant.repository(), &blob, None).await?)
        });
        task.await.map_err(|error| CoreError::Internal { reason: error.to_string() })?
    }

    /// Links a blob of `from` to the grant's repository. Without `from` only a caller who may see every
    /// repository gets blobs of any: to others a digest alone must not give content.
    pub async fn mount(
        &self,
        grant: &Grant<Push>,
        from: Option<&Grant<Pull>>,
        everywhere: Option<&CatalogGrant>,
        digest: &Digest,
    ) -> Result<Mounted, CoreError> {
        let to = grant.repository();
        let linked = match (from, everywhere) {
            (Some(from), _) => self.metadata.mount_blob(Some(from.repository()), to, digest).await?,
            (None, Some(_)) => self.metadata.mount_blob(None, to, digest).await?,
            (None, None) => self.metadata.mount_blob(Some(to), to, digest).await?,
        };
        match linked {
            Some(_) => Ok(Mounted::Linked),
            None => Ok(Mounted::Upload(self.start_upload(grant, digest.algorithm()).await?)),
        }
    }

    async fn lock_session(&self, id: UploadId) -> Result<SessionLock, CoreError> {
        self.sessions.take(id).await.ok_or(CoreError::UploadBusy { id })
    }

    async fn upload_record(&self, grant: &Grant<Push>, id: UploadId) -> Result<UploadRecord, CoreError> {
        let record = self.metadata.upload(grant.repository(), &id).await?;
        record.ok_or(CoreError::UploadUnknown { id })
    }

    async fn save_progress(&self, id: UploadId, progress: &HashState) -> Result<(), CoreError> {
        if self.metadata.save_progress(&id, progress).await? {
            Ok(())
        } else {
            Err(CoreError::UploadUnknown { id })
        }
    }

    /// Writes the body, recording progress on the way while more is being received.
    async fn receive(
        &self,
        id: UploadId,
        writer: &mut B::Writer,
        mut body: UploadBody,
    ) -> Result<(), CoreError> {
        let mut recorded = writer.length();
        let mut checkpoint = pin!(OptionFuture::default());
        loop {
            tokio::select! {
                biased;
                Some(progress) = &mut checkpoint => {
                    self.save_progress(id, &progress?).await?;
                    checkpoint.set(OptionFuture::default());
                }
                chunk = body.next() => {
                    let Some(chunk) = chunk else { return Ok(()) };
                    writer.write(chunk.map_err(body_cut)?).await?;
                    if writer.length() - recorded >= CHECKPOINT_BYTES {
                        recorded = writer.length();
                        checkpoint.set(Some(writer.checkpoint()).into());
                    }
                }
            }
        }
    }

    async fn receive_unrecorded(
        &self,
        writer: &mut B::Writer,
        mut body: UploadBody,
    ) -> Result<(), CoreError> {
        while let Some(chunk) = body.next().await {
            writer.write(chunk.map_err(body_cut)?).await?;
        }
        Ok(())
    }
}

fn body_cut(error: BodyError) -> CoreError {
    CoreError::BodyCut { reason: error.to_string() }
}

fn check_offset(id: UploadId, range: Option<ContentRange>, length: u64) -> Result<(), CoreError> {
    match range {
        Some(range) if range.start != length => Err(CoreError::WrongOffset { id, length }),
        _ => Ok(()),
    }
}

fn check_chunk_length(range: Option<ContentRange>, received: u64) -> Result<(), CoreError> {
    match range {
        // An empty last chunk cannot be written as first-last; clients send `0-0` or nothing for it.
        Some(range) if received != 0 && range.last - range.start + 1 != received => {
            Err(CoreError::WrongLength)
        }
        _ => Ok(()),
    }
}
