//! Upload sessions: start, append, ask, cancel, complete, and mounting instead of uploading.
//!
//! The crash argument. A session's row says how many bytes are durable and holds the hash state over exactly
//! those; it is written only after the blob store has synced them, at the end of every append and every
//! [`CHECKPOINT_BYTES`] inside one. Completing syncs the bytes, renames them into place, syncs the directory,
//! and only then links the blob and ends the session in one transaction. So after a crash at any point a
//! session goes on from its row, or the blob is whole and linked, or the client was told nothing.
//!
//! A request that fails leaves its session's data as long as the row says, so that what nobody was promised takes
//! no room. A session ends data first, row second: a row without data is found and removed, data without a row
//! would only be in the way.

use std::pin::pin;

use futures_util::future::OptionFuture;
use registry_auth::{CatalogGrant, Grant, Pull, Push};
use registry_blobs::{BlobStore, BlobWriter};
use registry_metadata::{Metadata, NewBlob, UploadProgress, UploadRecord};
use registry_types::{Algorithm, BlobLocation, ContentRange, Digest, DigestHasher, HashState, UploadId};
use time::OffsetDateTime;

use crate::{
    CoreError, Registry,
    sessions::SessionLock,
    upload_body::{Chunks, UploadBody},
};

/// Bytes between two checkpoints of one append: a client whose server died sends at most this much again.
const CHECKPOINT_BYTES: u64 = 64 << 20;

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
            progress: DigestHasher::new(algorithm).save().into(),
            writer: 0,
        };
        self.metadata.create_upload(&upload).await?;
        Ok(UploadStatus { id: upload.id, length: 0 })
    }

    /// What the session's row says, at once: a request that is still writing makes it more.
    pub async fn upload_status(&self, grant: &Grant<Push>, id: UploadId) -> Result<UploadStatus, CoreError> {
        let record = self.upload_record(grant, id).await?;
        Ok(UploadStatus { id, length: record.progress.length() })
    }

    /// Ends a session and removes its data.
    pub async fn cancel_upload(&self, grant: &Grant<Push>, id: UploadId) -> Result<(), CoreError> {
        let lock = self.lock_session(id).await?;
        let record = self.upload_record(grant, id).await?;
        if self.end_session(&lock, &record).await? { Ok(()) } else { Err(CoreError::UploadUnknown { id }) }
    }

    /// Appends a chunk. What arrived before a cut is kept, and the session's status tells how much that is.
    ///
    /// # Errors
    /// [`CoreError::WrongOffset`] when `range` does not begin where the session ends; nothing is read then.
    /// [`CoreError::WrongLength`] when the chunk is not as long as `range`; nothing of it is kept then.
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
            let record = registry.claim_upload(&grant, id).await?;
            check_offset(id, range, record.progress.length())?;
            let appended = registry.append_to(&record, Chunks::of_session(body, range, &lock)).await;
            if let Err(error) = &appended {
                registry.settle(&lock, &record, error).await;
            }
            appended
        });
        task.await.map_err(|error| CoreError::Internal { reason: error.to_string() })?
    }

    async fn append_to(&self, record: &UploadRecord, chunks: Chunks<'_>) -> Result<UploadStatus, CoreError> {
        let id = record.id;
        let mut writer = self.blobs.resume(id, &record.progress.hash).await?;
        let received = self.receive(record, &mut writer, chunks).await;
        match received {
            Ok(()) | Err(CoreError::BodyCut { .. }) => {}
            Err(CoreError::WrongLength) => {
                // Checkpoints on the way may have recorded a part of it.
                self.save_progress(record, record.progress.clone()).await?;
                return Err(CoreError::WrongLength);
            }
            Err(error) => return Err(error),
        }
        let progress = writer.checkpoint().await?;
        let length = progress.length;
        self.save_progress(record, progress.into()).await?;
        received?;
        Ok(UploadStatus { id, length })
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
            let lock = registry.lock_session(id).await?;
            let record = registry.claim_upload(&grant, id).await?;
            check_offset(id, range, record.progress.length())?;
            let chunks = Chunks::of_session(body, range, &lock);
            let completed = registry.complete_with(&record, chunks, expected).await;
            if let Err(error) = &completed {
                registry.settle(&lock, &record, error).await;
            }
            completed
        });
        task.await.map_err(|error| CoreError::Internal { reason: error.to_string() })?
    }

    /// On an error the session stays where its row says; the client may send the chunk again.
    async fn complete_with(
        &self,
        record: &UploadRecord,
        chunks: Chunks<'_>,
        expected: Digest,
    ) -> Result<(), CoreError> {
        let mut writer = self.blobs.resume(record.id, &record.progress.hash).await?;
        receive_unrecorded(&mut writer, chunks).await?;
        // What was acknowledged must outlive a crash inside the commit, when the bytes are a blob already and not
        // linked: a record that covers the whole of them lets the store find them again.
        if record.progress.length() > 0 && writer.length() > record.progress.length() {
            let progress = writer.checkpoint().await?;
            self.save_progress(record, progress.into()).await?;
        }
        let _storing = self.digests.storing(&expected).await;
        let blob = new_blob(expected, writer.commit(&expected).await?);
        self.metadata.link_blob(&record.repository, &blob, Some(&record.id), self.change()).await?;
        Ok(())
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
            let pushed = registry.push_as(id, &grant, body, expected).await;
            if pushed.is_err() {
                // Whatever went wrong, nobody can go on with these bytes.
                if let Err(error) = registry.blobs.abort(id).await {
                    tracing::warn!(%id, %error, "cannot remove the data of a failed push; the next start does");
                }
            }
            pushed
        });
        task.await.map_err(|error| CoreError::Internal { reason: error.to_string() })?
    }

    async fn push_as(
        &self,
        id: UploadId,
        grant: &Grant<Push>,
        body: UploadBody,
        expected: Digest,
    ) -> Result<(), CoreError> {
        let start = DigestHasher::new(expected.algorithm()).save();
        let mut writer = self.blobs.resume(id, &start).await?;
        receive_unrecorded(&mut writer, Chunks::alone(body)).await?;
        let _storing = self.digests.storing(&expected).await;
        let blob = new_blob(expected, writer.commit(&expected).await?);
        self.metadata.link_blob(grant.repository(), &blob, None, self.change()).await?;
        Ok(())
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
            (Some(from), _) => {
                self.metadata.mount_blob(Some(from.repository()), to, digest, self.change()).await?
            }
            (None, Some(_)) => self.metadata.mount_blob(None, to, digest, self.change()).await?,
            (None, None) => self.metadata.mount_blob(Some(to), to, digest, self.change()).await?,
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

    /// The session, from which this request alone may go on.
    async fn claim_upload(&self, grant: &Grant<Push>, id: UploadId) -> Result<UploadRecord, CoreError> {
        let record = self.metadata.claim_upload(grant.repository(), &id).await?;
        record.ok_or(CoreError::UploadUnknown { id })
    }

    async fn save_progress(&self, record: &UploadRecord, progress: UploadProgress) -> Result<(), CoreError> {
        let UploadRecord { id, writer, .. } = *record;
        if self.metadata.save_progress(&id, writer, &progress, OffsetDateTime::now_utc()).await? {
            Ok(())
        } else {
            Err(CoreError::UploadUnknown { id })
        }
    }

    /// Writes the body, recording progress on the way while more is being received.
    async fn receive(
        &self,
        record: &UploadRecord,
        writer: &mut B::Writer,
        mut chunks: Chunks<'_>,
    ) -> Result<(), CoreError> {
        let mut recorded = writer.length();
        let mut checkpoint = pin!(OptionFuture::default());
        loop {
            tokio::select! {
                biased;
                Some(progress) = &mut checkpoint => {
                    let progress: HashState = progress?;
                    self.save_progress(record, progress.into()).await?;
                    checkpoint.set(OptionFuture::default());
                }
                chunk = chunks.next() => {
                    let Some(chunk) = chunk? else { return Ok(()) };
                    writer.write(chunk).await?;
                    if writer.length() - recorded >= CHECKPOINT_BYTES {
                        recorded = writer.length();
                        checkpoint.set(Some(writer.checkpoint()).into());
                    }
                }
            }
        }
    }
}

fn new_blob(digest: Digest, size: u64) -> NewBlob {
    NewBlob { digest, size, location: BlobLocation::ByDigest }
}

async fn receive_unrecorded(writer: &mut impl BlobWriter, mut chunks: Chunks<'_>) -> Result<(), CoreError> {
    while let Some(chunk) = chunks.next().await? {
        writer.write(chunk).await?;
    }
    Ok(())
}

fn check_offset(id: UploadId, range: Option<ContentRange>, length: u64) -> Result<(), CoreError> {
    match range {
        Some(range) if range.start != length => Err(CoreError::WrongOffset { id, length }),
        _ => Ok(()),
    }
}
